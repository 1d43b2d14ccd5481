"""Where a benchmark writes: data sets, which are kept, and folders of runs, which are new for every run."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import count_cores


@dataclass(frozen=True)
class Workspace:
    """``quick`` asks for the smallest sizes that exercise the programs; their figures mean nothing."""

    folder: Path
    quick: bool = False
    threads: int = field(default_factory=count_cores)
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def choose(self, full: int, quick: int) -> int:
        """Return a size."""
        return quick if self.quick else full

    def ensure(self, name: str, write: Callable[[Path], None]) -> Path:
        """Return a folder that ``write`` fills unless an earlier benchmark has; an interrupted one leaves none."""
        final = self.folder / "data" / name
        if not final.exists():
            part = final.with_name(f"{name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            write(part)
            part.rename(final)
        return final

    @contextmanager
    def fresh_folder(self) -> Iterator[Path]:
        """Yield an empty folder for one run, with the run's caches, and remove it afterwards."""
        folder = self.folder / f"run-{next(self._numbers)}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
