"""The journal of a cache that is being filled: what a killed process has decoded is not decoded again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from icf.pipeline.pixels.table import ImageFacts


class Journal:
    """One line for each image that is done, in the order of the images; the last line may be torn."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")
        self._kept = 0

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def recall(self) -> Iterator[ImageFacts]:
        """Yield what earlier processes noted; an image is kept once the next one is asked for."""
        self._file.seek(0)
        for line in self._file:
            facts = _parse(line)
            if facts is None:
                return
            yield facts
            self._kept += len(line)

    def forget_rest(self) -> None:
        """Drop what ``recall`` did not keep."""
        self._file.truncate(self._kept)

    def append(self, facts: ImageFacts) -> None:
        """Note the next image; the note outlives the process."""
        line = json.dumps([facts.digest.hex(), facts.format, facts.error])
        self._file.write(line.encode() + b"\n")
        self._file.flush()


def _parse(line: bytes) -> ImageFacts | None:
    try:
        digest, true_format, error = json.loads(line)
        facts = ImageFacts(bytes.fromhex(digest), true_format, error)
    except (ValueError, TypeError):
        return None
    return facts if line.endswith(b"\n") else None


def count_lines(path: Path) -> int:
    """Return how many images are done, for those who wait."""
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0
