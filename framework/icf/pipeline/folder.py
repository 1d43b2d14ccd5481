"""The run folder: the interface between stages, and what makes an interrupted run continue."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from icf.errors import IcfError
from icf.pipeline.files import read_json, write_json, write_text
from icf.plan import Plan
from icf.recipe import to_toml


@dataclass(frozen=True)
class FoldFolder:
    """The folder of one fold."""

    path: Path

    @property
    def history(self) -> Path:
        """CSV file, one row per finished epoch."""
        return self.path / "history.csv"

    @property
    def metrics(self) -> Path:
        """The fold's result; it exists only when the fold is finished."""
        return self.path / "metrics.json"

    @property
    def progress(self) -> Path:
        """What the fold is doing now; rewritten about twice a second."""
        return self.path / "progress.json"

    @property
    def log(self) -> Path:
        """What libraries and plugins print while the fold trains in a process of its own; it lies beside the folder."""
        return self.path.with_suffix(".log")

    @property
    def failure(self) -> Path:
        """Why the fold was given up; it lies beside the folder, and is absent until then."""
        return self.path.with_suffix(".failed.json")

    @property
    def checkpoints(self) -> Path:
        """Weights of the best epoch, and everything of the last."""
        return self.path / "checkpoint"

    @property
    def attempt(self) -> Path:
        """The name of the attempt that may write the fold."""
        return self.path / "attempt.txt"

    @property
    def augmented(self) -> Path:
        """A picture of the first training batch, as the network sees it."""
        return self.path / "augmented.png"

    @property
    def oof(self) -> Path:
        """Probabilities of the fold's validation rows."""
        return self.path / "oof.parquet"

    @property
    def test(self) -> Path:
        """Probabilities of the test rows."""
        return self.path / "test.parquet"


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run; every product has a fixed name below it."""

    path: Path

    @property
    def plan(self) -> Path:
        """The resolved plan."""
        return self.path / "plan.json"

    @property
    def placement(self) -> Path:
        """Where folds run, in which number format, and why."""
        return self.path / "placement.json"

    @property
    def data(self) -> Path:
        """What is known of the data: classes, preprocessing, caches, what was skipped."""
        return self.path / "data.json"

    @property
    def split(self) -> Path:
        """One row per training image: id, target, group, fold, row of the pixel cache."""
        return self.path / "split.parquet"

    @property
    def embeddings(self) -> Path:
        """Where the embeddings of a frozen backbone are, or why there are none; absent when none are wanted."""
        return self.path / "embeddings.json"

    @property
    def test_rows(self) -> Path:
        """One row per test image: id, target or -1, row of the pixel cache or -1."""
        return self.path / "test_rows.parquet"

    @property
    def lock(self) -> Path:
        """Locked by the process that is at work in the folder."""
        return self.path / "run.lock"

    @property
    def owner(self) -> Path:
        """The process that locked the folder last: host, number, start."""
        return self.path / "process.json"

    @property
    def metrics(self) -> Path:
        """Scores of the whole run."""
        return self.path / "metrics.json"

    def fold(self, number: int) -> FoldFolder:
        """Return the folder of one fold."""
        return FoldFolder(self.path / "folds" / str(number))

    def run_stage(self, name: str, key: str, products: Sequence[Path], work: Callable[[], None]) -> bool:
        """Run ``work`` unless its products are there and were made from the same ``key``; return True if it ran."""
        if self.is_done(name, key, products):
            return False
        work()
        self.mark_done(name, key)
        return True

    def is_done(self, name: str, key: str, products: Sequence[Path]) -> bool:
        """Tell whether a stage is complete for these inputs."""
        record = self.path / "stages" / f"{name}.json"
        current = record.exists() and read_json(record)["inputs"] == key
        return current and all(product.exists() for product in products)

    def mark_done(self, name: str, key: str) -> None:
        """Record that a stage is complete for these inputs."""
        write_json(self.path / "stages" / f"{name}.json", {"inputs": key})


def open_run_folder(
    plan: Plan, runs: Path, *, fresh: bool = False, retry: bool = False, stored: Sequence[str] = ()
) -> RunFolder:
    """Return the newest folder of the same plan, so that a run continues, or a new one.

    ``stored`` are the names of the recipe's run folders in a store, which need not be on this machine.

    Raises:
        IcfError: the folder can't be made, or there is none although there is something to ``retry``.
    """
    parent = runs / plan.name
    suffix = f"-{plan.identity[:8]}"
    names = {*(path.name for path in parent.glob("[0-9]*")), *stored}
    found = sorted(parent / name for name in names if name.endswith(suffix))
    if retry and not found:
        raise IcfError(f"there is no run of this recipe in {parent} to try again; leave --retry out")
    if found and not fresh:
        folder = RunFolder(found[-1].resolve())
    else:
        folder = RunFolder((parent / f"{_make_stamp(parent, suffix)}{suffix}").resolve())
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IcfError(f"can't write to {folder.path}: {error.strerror}; choose another place with --runs") from error
    write_text(folder.path / "recipe.toml", to_toml(plan.filled_recipe()))
    write_text(folder.plan, plan.to_json())
    return folder


def _make_stamp(parent: Path, suffix: str) -> str:
    """Return the time, to the second, or the next one that has no folder yet."""
    moment = datetime.datetime.now()
    while (parent / f"{moment:%Y%m%d-%H%M%S}{suffix}").exists():
        moment += datetime.timedelta(seconds=1)
    return f"{moment:%Y%m%d-%H%M%S}"
