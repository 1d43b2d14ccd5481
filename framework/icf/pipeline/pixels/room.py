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


@dataclass(frozen=True)
class CacheFiles:
    """The files of one cache: complete under the names without a dot, and while it is being filled under those with."""

    folder: Path
    key: str

    @property
    def array(self) -> Path:
        """The pixels, uint8 [N, H, W, C]."""
        return self.folder / f"{self.key}.npy"

    @property
    def table(self) -> Path:
        """What is known of every image."""
        return self.folder / f"{self.key}.npz"

    @property
    def part(self) -> Path:
        """Pixels that are being decoded."""
        return self.folder / f".{self.key}.part"

    @property
    def journal(self) -> Path:
        """Which of them are done."""
        return self.folder / f".{self.key}.journal"

    @property
    def lock(self) -> Path:
        """Held by the process that decodes."""
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

    Return "", or why they can't fit; then nothing is removed.
    """
    caches = sorted(_list_caches(folder), key=lambda cache: cache.last_used)
    free = shutil.disk_usage(folder).free
    too_much = max(sum(cache.bytes for cache in caches) + needed - most, needed + SPARE_BYTES - free)
    removable = [cache for cache in caches if not cache.is_used()] if too_much > 0 else []
    if needed > most:
        return f"they take {_format(needed)}, but cache.max_gb is {most / GB:g}"
    if too_much > sum(cache.bytes for cache in removable):
        return f"they take {_format(needed)}, but {folder} has no room: {_format(free)} are free on the disk"
    for cache in removable:
        if too_much <= 0:
            break
        too_much -= cache.bytes if cache.remove() else 0
    return "" if too_much <= 0 else f"other processes use the room of {folder}"


def _list_caches(folder: Path) -> list[_Cache]:
    sizes: dict[str, list[tuple[int, float]]] = {}
    for path in folder.iterdir():
        if path.suffix in (".npy", ".npz", ".part", ".journal"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                sizes.setdefault(path.stem.removeprefix("."), []).append((status.st_size, status.st_mtime))
    return [
        _Cache(CacheFiles(folder, key), sum(size for size, _ in found), max(time for _, time in found))
        for key, found in sizes.items()
    ]


def _format(size: int) -> str:
    return f"{size / GB:.3g} GB"
