"""What an executor is given and gives back: one job per fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from icf.pipeline.folder import FoldFolder, RunFolder
from icf.plan import Plan


@dataclass(frozen=True)
class FoldJob:
    """Train one fold of a plan in a run folder, with ``threads`` CPU threads; ``key`` names its inputs.

    ``concurrent`` processes like this one share the machine.
    """

    plan: Plan
    run_dir: Path
    fold: int
    threads: int
    key: str
    concurrent: int = 1

    @property
    def run_folder(self) -> RunFolder:
        """The run folder."""
        return RunFolder(self.run_dir)

    @property
    def folder(self) -> FoldFolder:
        """The fold's own folder."""
        return self.run_folder.fold(self.fold)

    @property
    def products(self) -> list[Path]:
        """What exists when the fold is finished."""
        own = [self.folder.history, self.folder.metrics, self.folder.oof]
        return [*own, self.folder.test] if self.run_folder.test_rows.exists() else own


@dataclass(frozen=True)
class Placement:
    """Where folds run, and why: ``concurrent`` folds at a time with ``threads`` threads and ``workers`` each."""

    executor: str
    reason: str
    concurrent: int
    threads: int
    device: str
    workers: int = 1
    gpus: float = 0.0


class Executor(Protocol):
    """Runs fold jobs somewhere. One bad fold never takes the others with it."""

    def run(self, jobs: Sequence[FoldJob]) -> Mapping[int, str]:
        """Run all jobs; return fold -> error for those that failed."""
        ...


Place = Callable[[Plan, int, int], tuple[Placement, Executor]]
"""Choose where to run: (plan, folds, work in pixels times epochs, 0 for next to none) -> placement and executor."""
