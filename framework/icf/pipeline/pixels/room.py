"""Room on the disk: caches that nothing uses make way for a new one, the oldest first."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from icf.pipeline.pixels.lease import is_used, remove_unused

SPARE_BYTES = 500_000_000
"""What is left free on the disk for checkpoints and everybody else."""

GB = 10**9

SHARING = ("pixels", "embeddings")
"""Names of folders side by side whose caches share the room."""


@dataclass(frozen=True)
class CacheFiles:
    """The files of one cache: complete under the names without a dot, and while it is being filled under those with."""

    folder: Path
    key: str

    @property
    def array(self) -> Path:
        """The pixels, uint8 [N, H, W, C], or embeddings of them, [N, ...]."""
        return self.folder / f"{self.key}.npy"

    @property
    def table(self) -> Path:
        """What is known of every image; beside pixels only."""
        return self.folder / f"{self.key}.npz"

    @property
    def part(self) -> Path:
        """An array that is being filled."""
        return self.folder / f".{self.key}.part"

    @property
    def journal(self) -> Path:
        """Which of its rows are done."""
        return self.folder / f".{self.key}.journal"

    @property
    def lock(self) -> Path:
        """Held by the process that fills it."""
        return self.folder / f".{self.key}.lock"


@dataclass(frozen=True)
class _Cache:
    files: CacheFiles
    bytes: int
    last_used: float

    def is_used(self) -> bool:
        return is_used(self.files.array) or is_used(self.files.part)

    def remove(self) -> bool:
        if not (remove_unused(self.files.array) and remove_unused(self.files.part)):
            return False
        self.files.table.unlink(missing_ok=True)
        self.files.journal.unlink(missing_ok=True)
        return True


def make_room(folder: Path, needed: int, most: int) -> str:
    """Remove unused caches until ``needed`` more bytes fit beside the rest into ``most`` and onto the disk.

    A folder with one of the names in SHARING shares its room with those beside it.
    Return "", or why they can't fit; then nothing is removed.
    """
    caches = sorted(_list_caches(folder), key=lambda cache: cache.last_used)
    free = shutil.disk_usage(folder).free
    too_much = max(sum(cache.bytes for cache in caches) + needed - most, needed + SPARE_BYTES - free)
    removable = [cache for cache in caches if not cache.is_used()] if too_much > 0 else []
    if needed > most:
        return f"they take {_format(needed)}, but cache.max_gb is {most / GB:g}"
    if too_much > sum(cache.bytes for cache in removable):
        limits = f"cache.max_gb is {most / GB:g}, and {_format(free)} are free on the disk"
        return f"they take {_format(needed)}, but {folder} has no room: {limits}"
    for cache in removable:
        if too_much <= 0:
            break
        too_much -= cache.bytes if cache.remove() else 0
    return "" if too_much <= 0 else f"other processes use the room of {folder}"


def _list_caches(folder: Path) -> list[_Cache]:
    beside = [folder.with_name(name) for name in SHARING] if folder.name in SHARING else [folder]
    sizes: dict[CacheFiles, list[tuple[int, float]]] = {}
    for path in (path for each in beside if each.exists() for path in each.iterdir()):
        if path.suffix in (".npy", ".npz", ".part", ".journal"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                files = CacheFiles(path.parent, path.stem.removeprefix("."))
                sizes.setdefault(files, []).append((status.st_size, status.st_mtime))
    return [
        _Cache(files, sum(size for size, _ in found), max(time for _, time in found)) for files, found in sizes.items()
    ]


def _format(size: int) -> str:
    return f"{size / GB:.3g} GB"
