"""How the small products of a run come back from a cluster: as lines of the job's log, which need no shared disk.

The lines hold a zip file in base64. Only products of known names are taken from it, so that nothing that a cluster
sends can leave the run folder, and nothing is executed or unpickled.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from icf.errors import IcfError
from icf.formats import format_count

PREFIX = "icf-products: "
LARGEST = 16_000_000
"""Bytes of the zip file."""

LARGEST_UNPACKED = 200_000_000
"""Bytes of all files in it."""

LINE_BYTES = 12_000
"""Bytes in a line, before base64: Ray passes a log on in pieces of 20,000 characters."""

NAMES = (
    "metrics.json",
    "submission.csv",
    "report.html",
    "recipe.toml",
    "plan.json",
    "environment.json",
    "placement.json",
    "ensemble.json",
    "oof.parquet",
    "test.parquet",
)
"""What is brought back, in the order in which it gets the room; and history and scores of every fold."""

FOLD_NAMES = ("metrics.json", "history.csv")
ALLOWED = re.compile(
    f"(?:{'|'.join(map(re.escape, NAMES))})|folds/[0-9]{{1,4}}/(?:{'|'.join(map(re.escape, FOLD_NAMES))})"
)


def pack_products(run_dir: Path) -> tuple[bytes, list[str]]:
    """Return a zip file with the products of a run, and the names of those for which there is no room."""
    packed: dict[str, bytes] = {}
    left_out = []
    room = LARGEST
    for path in _find_products(run_dir):
        name = path.relative_to(run_dir).as_posix()
        content = _zip({name: path.read_bytes()})
        if len(content) > room:
            left_out.append(name)
        else:
            room -= len(content)
            packed[name] = path.read_bytes()
    return _zip(packed), left_out


def _find_products(run_dir: Path) -> list[Path]:
    found = [run_dir / name for name in NAMES]
    for name in FOLD_NAMES:
        found += sorted(run_dir.glob(f"folds/[0-9]*/{name}"))
    return [path for path in found if path.is_file()]


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def write_lines(content: bytes, folder: Path) -> Iterator[str]:
    """Yield the lines that bring a zip file; ``folder`` is the run folder, whose two last names are kept."""
    header = {
        "recipe": folder.parent.name,
        "run": folder.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    yield PREFIX + json.dumps(header)
    for start in range(0, len(content), LINE_BYTES):
        yield PREFIX + base64.b64encode(content[start : start + LINE_BYTES]).decode()
    yield PREFIX + "end"


class ProductReader:
    """Takes the products out of the lines of a log; those of a later part of it replace earlier ones."""

    def __init__(self) -> None:
        self._header: dict[str, object] | None = None
        self._parts: list[str] = []
        self._content: bytes | None = None

    def take(self, line: str) -> bool:
        """Tell whether a line belongs to the products; then it need not be shown.

        Raises:
            IcfError: the products are not what the log says they are.
        """
        if not line.startswith(PREFIX):
            return False
        text = line.removeprefix(PREFIX)
        if text.startswith("{"):
            self._header, self._parts, self._content = _read_header(text), [], None
        elif text != "end":
            if len(self._parts) * LINE_BYTES > LARGEST:
                raise IcfError(f"the cluster sends more than {LARGEST:,} bytes of products; they are not taken")
            self._parts.append(text)
        elif self._header is not None:
            self._content = _join(self._header, self._parts)
        return True

    def save(self, runs: Path) -> Path | None:
        """Write the products into their run folder below ``runs`` and return it; None if no products came.

        Raises:
            IcfError: they hold what is no product of a run, or the folder can't be written.
        """
        if self._content is None or self._header is None:
            return None
        folder = runs / _check_name(self._header["recipe"]) / _check_name(self._header["run"])
        unpack(self._content, folder)
        return folder


def _read_header(text: str) -> dict[str, object]:
    try:
        header = json.loads(text)
    except ValueError:
        header = None
    if not isinstance(header, dict) or not {"recipe", "run", "bytes", "sha256"} <= header.keys():
        raise IcfError("the cluster's products begin with a line that this version of icf can't read")
    return header


def _join(header: dict[str, object], parts: list[str]) -> bytes:
    try:
        content = b"".join(base64.b64decode(part, validate=True) for part in parts)
    except binascii.Error:
        content = b""
    if hashlib.sha256(content).hexdigest() != header["sha256"]:
        raise IcfError("the products were damaged on their way from the cluster; get them again: icf jobs fetch")
    return content


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[^/\\:\0.][^/\\:\0]*", name):
        raise IcfError(f"the cluster names a run folder {name!r}, which is no folder's name; nothing was written")
    return name


def unpack(content: bytes, folder: Path) -> None:
    """Write the files of a zip file into a folder, once all of them are known to be products of a run.

    Raises:
        IcfError: it holds something else, or too much, or is damaged; nothing was written then.
    """
    from icf.pipeline.files import write_bytes

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            entries = file.infolist()
            if strange := [entry.filename for entry in entries if not ALLOWED.fullmatch(entry.filename)]:
                raise IcfError(f"the cluster sends {strange[0]!r}, which is no product of a run; nothing was written")
            if sum(entry.file_size for entry in entries) > LARGEST_UNPACKED:
                raise IcfError(f"the cluster's products are above {LARGEST_UNPACKED:,} bytes; nothing was written")
            files = {entry.filename: file.read(entry) for entry in entries}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, RuntimeError, zlib.error) as error:
        raise IcfError("the cluster's products are no zip file that can be read; nothing was written") from error
    try:
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, data)
    except OSError as error:
        raise IcfError(f"can't write to {folder}: {error.strerror}; choose another place with --runs") from error


def describe_left_out(names: list[str], run_dir: Path) -> str:
    """Say which products stay on the cluster, and where."""
    room = f"{LARGEST:,} bytes travel"
    return f"{format_count(len(names), 'product')} stayed in {run_dir} ({room}): {', '.join(names[:5])}"
