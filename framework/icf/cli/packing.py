"""What travels to a cluster: the plan, with the texts of local plugins in it, small data, and wheels of plugins.

A path of the recipe that is relative is one of this machine, and what is there travels; an absolute one is a path
that the cluster's machines see, and nothing of it does.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import typing
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from icf.choice import Choice
from icf.errors import DataError, PluginError, UsageError
from icf.formats import format_path
from icf.plan import Plan
from icf.plugins import load_object

LARGEST_DATA = 100_000_000
"""Bytes of all files that travel with a job; Ray keeps them in the head's memory."""

PLAN = "plan.json"


@dataclass(frozen=True)
class Parcel:
    """What was packed: a zip file with the plan and data, wheels, and bytes of data by path."""

    archive: Path
    wheels: tuple[Path, ...]
    data: dict[str, int]


def pack(plan: Plan, folder: Path, wheels: Sequence[Path] = ()) -> Parcel:
    """Write into ``folder`` what a job needs; the same plan and data give the same bytes.

    Raises:
        DataError: data is too large to travel, or lies outside of the working folder.
        PluginError: a plugin's folder can't be made into a wheel.
        UsageError: a wheel that was named is none.
    """
    for wheel in wheels:
        if wheel.suffix != ".whl" or not wheel.is_file():
            raise UsageError(f"--wheel {wheel}: must be a wheel, a file whose name ends in .whl")
    built = [_find_wheel(name, place, folder) for name, place in find_disk_plugins(plan, wheels).items()]
    archive = folder / "icf-job.zip"
    data: dict[str, int] = {}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        _add(file, PLAN, plan.to_json().encode())
        for label, path in find_data(plan):
            if path.as_posix() not in data:
                data[path.as_posix()] = _add_data(file, label, path, LARGEST_DATA - sum(data.values()))
    return Parcel(archive, (*wheels, *built), data)


def _add(file: zipfile.ZipFile, name: str, content: bytes) -> None:
    file.writestr(zipfile.ZipInfo(name), content)  # ZipInfo's own date: equal content gives equal bytes


def _add_data(file: zipfile.ZipFile, label: str, path: Path, room: int) -> int:
    size = 0
    for found in _walk(path):
        size += found.stat().st_size
        if size > room:
            raise DataError(
                f"{label} = {str(path)!r}: more than {LARGEST_DATA / 1e6:.0f} MB, too much to travel with a job; put it"
                " on storage that all machines of the cluster see, and give its absolute path there:"
                f" --set {label}=/shared/{path.name}"
            )
        _add(file, found.as_posix(), found.read_bytes())
    return size


def _walk(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for place, folders, names in os.walk(path, followlinks=True):
        folders.sort()
        yield from (found for name in sorted(names) if (found := Path(place, name)).is_file())


def find_data(plan: Plan) -> Iterator[tuple[str, Path]]:
    """Yield the relative paths among the parameters of a plan's components that exist here, each with its key.

    Raises:
        DataError: such a path leads out of the working folder, whose layout the job keeps.
    """
    for choice in plan.choices():
        for name in _path_fields(choice):
            value = choice.params.get(name)
            path = Path(value) if isinstance(value, str) else None
            if path is None or path.is_absolute() or not path.exists():
                continue
            label = f"{choice.kind}.{name}"
            if ".." in path.parts or path == Path():
                raise DataError(
                    f"{label} = {value!r}: a relative path travels with the job, and must lie below the folder where"
                    " you are; change to another folder, or give an absolute path that the cluster's machines see"
                )
            yield label, path


def _path_fields(choice: Choice) -> list[str]:
    fields = load_object(choice.params_type).model_fields
    return [name for name, field in fields.items() if _may_be_path(field.annotation)]


def _may_be_path(annotation: object) -> bool:
    return annotation is Path or any(map(_may_be_path, typing.get_args(annotation)))


def find_disk_plugins(plan: Plan, wheels: Sequence[Path] = ()) -> dict[str, Path]:
    """Return the distributions of a plan that were installed from this disk, with the folder or wheel of each.

    Those of ``wheels``, and icf itself, are left out.
    """
    sources = [*plan.choices(), *plan.observers]
    named = {_normalise(wheel.name.partition("-")[0]) for wheel in wheels} | {"icf"}
    names = sorted({source.distribution for source in sources if _normalise(source.distribution) not in named})
    return {name: place for name in names if (place := _find_source(name)) is not None}


def _normalise(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def _find_source(name: str) -> Path | None:
    """Return from where pip installed a distribution, if that is on this disk (PEP 610)."""
    try:
        text = importlib.metadata.distribution(name).read_text("direct_url.json")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    url = urlsplit(json.loads(text)["url"]) if text else None
    if url is None or url.scheme != "file":
        return None
    place = Path(urllib.request.url2pathname(url.path))
    return place if place.exists() else None


def _find_wheel(name: str, place: Path, into: Path) -> Path:
    if place.suffix == ".whl":
        return place
    target = into / _normalise(name)
    base = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(target)]
    # What is installed here builds it at once; only without that, pip downloads what builds it.
    for options in (["--no-build-isolation"], []):
        done = subprocess.run([*base, *options, str(place)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return next(target.glob("*.whl"))
    last = done.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
    raise PluginError(
        f"{name} was installed from {format_path(place)}, and no wheel could be made of it to send: {last[0]};"
        " build one yourself and name it: --wheel FILE, or install the plugin on the cluster"
    )
