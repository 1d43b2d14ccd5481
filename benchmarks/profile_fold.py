"""``python -m benchmarks.profile_fold``: where the time of one fold goes, by torch.profiler.

It trains resnet18 as the rows fold-32 and fold-128 do, from pixels that are decoded beforehand, with icf's own
``fit_fold``, and prints the seconds by kind of operator and of the slowest operators.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from benchmarks.inside import make_job, open_plan, prepare_data
from benchmarks.machine import describe_machine
from benchmarks.rows.training import make_large_task, make_small_task
from benchmarks.task import ONE_FOLD, PLUGIN, write_recipe
from benchmarks.workspace import Workspace
from icf.pipeline.jobs import FoldJob
from icf.pipeline.training.fit import fit_fold

KINDS = {
    "convolution": ("conv",),
    "batch normalisation": ("batch_norm",),
    "activation and pooling": ("relu", "threshold", "pool"),
    "optimizer": ("optimizer", "adam", "_foreach"),
    "copies and number formats": ("copy", "aten::to", "clone", "contiguous"),
    "gathering and augmenting": ("index", "flip", "where"),
    "other arithmetic": ("aten::",),
}
"""Kind -> parts of an operator's name; the first kind that fits counts."""

OUTSIDE = "outside of operators (Python, files, waiting)"


def profile_fold(job: FoldJob) -> tuple[float, dict[str, float]]:
    """Train a fold; return its seconds, and the seconds of each operator without those that it calls."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        started = time.perf_counter()
        fit_fold(job)
        seconds = time.perf_counter() - started
    averages: Iterable[Any] = profiler.key_averages()
    return seconds, {event.key: event.self_cpu_time_total / 1e6 for event in averages}


def sum_kinds(operators: Mapping[str, float], seconds: float) -> dict[str, float]:
    """Return the seconds of each kind, and what is left of the fold's."""
    kinds: Counter[str] = Counter()
    for name, spent in operators.items():
        kinds[_find_kind(name)] += spent  # type: ignore[assignment]
    kinds[OUTSIDE] += max(0.0, seconds - sum(kinds.values()))  # type: ignore[assignment]
    return dict(kinds.most_common())


def _find_kind(operator: str) -> str:
    return next((kind for kind, parts in KINDS.items() if any(part in operator.lower() for part in parts)), OUTSIDE)


def print_shares(console: Console, title: str, seconds: Mapping[str, float], whole: float) -> None:
    """Print seconds and shares of the whole."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in (title, "seconds", "share"):
        table.add_column(name, justify="left" if name == title else "right")
    for name, spent in seconds.items():
        table.add_row(name, f"{spent:,.2f}", f"{spent / whole:.1%}")
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile a fold and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile_fold", description=__doc__)
    parser.add_argument("--size", type=int, choices=(32, 128), default=128, help="pixels of a side (default 128)")
    parser.add_argument("--quick", action="store_true", help="very few images")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="keep data sets here (default: a temporary folder)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="icf-profile-") as temporary:
        folder = Path(temporary)
        os.environ["ICF_CACHE"] = str(folder / "cache")
        workspace = Workspace((options.data or folder).resolve(), options.quick)
        task = (make_large_task if options.size == 128 else make_small_task)(workspace)
        plan = open_plan(write_recipe(task.recipe(compute=ONE_FOLD), folder), [PLUGIN])
        torch.set_num_threads(workspace.threads)
        job = make_job(plan, prepare_data(plan), folder / "runs", workspace.threads)
        seconds, operators = profile_fold(job)
    console = Console()
    print(", ".join(f"{name} {value}" for name, value in describe_machine().items()))
    print(f"one fold of resnet18 at {options.size}x{options.size}, {task.epochs} epochs: {seconds:.1f} s")
    print_shares(console, "kind", sum_kinds(operators, seconds), seconds)
    print_shares(console, "operator", dict(Counter(operators).most_common(12)), seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
