"""Runs of icf on a number of places: when their folds were trained, and what their driver holds.

Places are logical: icf is told of as many cores as there are to be places.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.processes import PROC, ROOT, Finished, run_process
from benchmarks.task import use_cache, write_arguments
from benchmarks.timeline import Span, read_spans
from benchmarks.workspace import Workspace

PROGRAM = """
import os, sys
if {cores}:
    os.sched_getaffinity = lambda _: range({cores})
from icf.cli.main import main
sys.exit(main())
"""
"""The command ``icf`` on a machine of which it is told that it has so many cores; 0: those that there are."""

DIGITS: dict[str, Any] = {
    "dataset": {"use": "sklearn/digits"},
    "transforms": {"channels": 1},
    "model": {"use": "nn/sequential-cnn", "widths": [32, 64]},
    "optimizer": {"use": "optimizer/adamw", "lr": 0.004},
    "scheduler": {"use": "scheduler/one-cycle"},
}
COMPUTE = {"threads": 1, "precision": "fp32", "tune": "off"}


@dataclass(frozen=True)
class Run:
    """A run that has ended: its process, its time, and those of its folds."""

    process: Finished
    span: Span
    folds: Sequence[Span]


@dataclass
class DriverWatch:
    """What the driver holds and uses, once a second: its time, memory in MB, and processor seconds so far."""

    samples: list[tuple[float, float, float]] = field(default_factory=list)

    def look(self, process: int) -> None:
        """Take a sample."""
        with contextlib.suppress(OSError):
            fields = (PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
            ticks = int(fields[11]) + int(fields[12])  # user and system time: fields 14 and 15 of proc_pid_stat(5)
            resident = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
            self.samples.append((time.time(), resident, ticks / os.sysconf("SC_CLK_TCK")))

    def summarize(self, span: Span) -> dict[str, float]:
        """Return peaks of the first and the last quarter of a time, in MB, and the driver's share of a core."""
        inside = [sample for sample in self.samples if span.begin <= sample[0] <= span.end]
        if len(inside) < 4:
            raise SystemExit("the folds were over before the driver's memory could be seen; raise --seconds or --folds")
        quarter = len(inside) // 4
        took = inside[-1][0] - inside[0][0]
        return {
            "first_quarter_mb": max(sample[1] for sample in inside[:quarter]),
            "last_quarter_mb": max(sample[1] for sample in inside[-quarter:]),
            "peak_mb": max(sample[1] for sample in self.samples),
            "core_share": (inside[-1][2] - inside[0][2]) / took,
        }


def run_recipe(
    recipe: Mapping[str, Any],
    folder: Path,
    cores: int = 0,
    tree: Path = ROOT,
    look: Callable[[int], None] | None = None,
) -> Finished:
    """Run a recipe by the icf of a source tree, with everything that it writes below ``folder``."""
    command = [sys.executable, "-c", PROGRAM.format(cores=cores), *write_arguments(dict(recipe), folder)]
    paths = os.pathsep.join(str(tree / name) for name in ("framework", "plugins"))
    return run_process(command, 1, {**use_cache(folder), "PYTHONPATH": paths}, look=look)


def run_folds(
    workspace: Workspace, recipe: Mapping[str, Any], places: int, look: Callable[[int], None] | None = None
) -> Run:
    """Run a recipe on so many places, and read when its folds were trained."""
    with workspace.fresh_folder() as folder:
        finished = run_recipe(recipe, folder, cores=places, look=look)
        begin = time.time() - (time.monotonic() - finished.started)
        (plan,) = (folder / "runs").glob("*/*/plan.json")
        placement = json.loads((plan.parent / "placement.json").read_text())
        if placement["concurrent"] != places:
            raise SystemExit(f"{places} places were asked for, and there were {placement['concurrent']}")
        return Run(finished, Span(begin, begin + finished.seconds), read_spans(plan.parent))


def make_naps(executor: str, folds: int, seconds: float) -> dict[str, Any]:
    """Return a recipe of folds that do nothing for some seconds each."""
    return {
        "dataset": {"use": "bench/pixels", "rows": max(10, 2 * folds), "classes": 2, "folds": folds},
        "split": {"method": "predefined", "duplicates": "allow"},
        "model": {"use": "nn/sequential-cnn", "widths": [2]},
        "optimizer": {"use": "bench/nap", "seconds": seconds},
        "train": {"epochs": 1, "batch_size": 2 * folds + 10},
        "metrics": {"select": "metric/accuracy"},
        "compute": {**COMPUTE, "executor": executor},
    }


def make_digits(executor: str, folds: int, epochs: int) -> dict[str, Any]:
    """Return a recipe of folds that compute."""
    train, compute = {"epochs": epochs, "batch_size": 64}, {**COMPUTE, "executor": executor}
    return {**DIGITS, "split": {"folds": folds}, "train": train, "compute": compute}
