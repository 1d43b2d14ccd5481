"""``python -m benchmarks.scale``: seconds and peak memory of the stages around training, for a million rows.

"index" reads a CSV file with a row per image, which names one of a thousand real files, and checks it; the
other stages use an array of invented pixels, so that they can be run without a disk of images.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.inside import open_plan, prepare_data
from benchmarks.machine import describe_machine
from benchmarks.task import PLUGIN, write_recipe

FILES = 1000
ROWS_PER_GROUP = 7


@dataclass(frozen=True)
class Cost:
    """Of a stage: seconds, seconds of processor time, and the peak memory of the process in MB while it ran."""

    seconds: float
    processor: float
    megabytes: float


@dataclass
class Stages:
    """Stages as they end: name -> cost."""

    found: dict[str, Cost] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is in the block."""
        _forget_peak()
        started, busy = time.perf_counter(), time.process_time()
        yield
        cost = Cost(time.perf_counter() - started, time.process_time() - busy, _read_status("VmHWM"))
        self.found[name] = cost
        print(f"{name}: {cost.seconds:.1f} s, {cost.megabytes:,.0f} MB", file=sys.stderr, flush=True)


def _forget_peak() -> None:
    """Let the kernel begin to count the peak anew (man 5 proc, clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def _read_status(name: str) -> float:
    """Return a field of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024 / 1e6


def write_csv(folder: Path, rows: int, classes: int) -> None:
    """Write FILES small images, and train.csv with ``rows`` rows of ids, images, labels and groups."""
    for number in range(FILES):
        Image.new("RGB", (2, 2), (number % 256, number // 256, 0)).save(folder / f"{number:04d}.png")
    with (folder / "train.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "image", "label", "person"))
        for row in range(rows):
            label, person = f"class {row % classes}", f"person {row // ROWS_PER_GROUP}"
            writer.writerow((f"row {row}", f"{row % FILES:04d}.png", label, person))


def index_csv(folder: Path) -> None:
    """Read and check the rows as ``icf check`` does before it opens the first image."""
    from icf import DatasetContext
    from icf.pipeline.data.content import check_content
    from icf_images.listed import load_csv
    from icf_images.plugin import CsvParams

    params = CsvParams(root=folder, id_column="id", group_column="person")
    check_content(load_csv(params, DatasetContext(cache_dir=folder)))


def run_stages(rows: int, classes: int, scored: int, folder: Path) -> dict[str, Cost]:
    """Run every stage; return what it costs."""
    os.environ["ICF_CACHE"] = str(folder / "cache")
    stages = Stages()
    images = folder / "images"
    images.mkdir()
    write_csv(images, rows, classes)
    with stages.stage("start (imports)"):
        from icf.pipeline.data.prepare import save_prepared
        from icf.pipeline.data.split import make_split, save_split
        from icf.pipeline.folder import open_run_folder

        plan = open_plan(write_recipe(make_recipe(rows, classes), folder), [PLUGIN])
    with stages.stage("index a CSV file"):
        index_csv(images)
    with stages.stage("prepare (2x2 pixels)"):
        data = prepare_data(plan)
        run = open_run_folder(plan, folder / "runs")
        save_prepared(data, run)
    with stages.stage("split by group"):
        split = make_split(plan.recipe.split, data.train, data.classes, 0)
        save_split(split, data.train, run)
    del data, split
    with stages.stage(f"score {scored:,} rows"):
        score(plan, scored, classes)
    return stages.found


def make_recipe(rows: int, classes: int) -> dict[str, Any]:
    """Return a recipe of invented pixels in groups."""
    pixels = {"use": "bench/pixels", "rows": rows, "classes": classes, "rows_per_group": ROWS_PER_GROUP}
    return {
        "dataset": pixels,
        "split": {"duplicates": "together"},
        "model": {"use": "nn/sequential-cnn"},
    }


def score(plan: Any, rows: int, classes: int) -> None:
    """Score random probabilities, float64 [rows, classes], with an interval from resampled groups."""
    from icf.pipeline.data.attributes import ClassAttribute
    from icf.pipeline.results.score import bootstrap, build_metrics

    generator = np.random.default_rng(0)
    probabilities = generator.random((rows, classes))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    targets = generator.integers(classes, size=rows)
    groups = [f"person {row // ROWS_PER_GROUP}" for row in range(rows)]
    whole = ClassAttribute(
        name="class", values=tuple(map(str, range(classes))), ordered=True, starts=None, of_class=tuple(range(classes))
    )
    bootstrap(build_metrics(plan, [whole]), probabilities, targets, groups, 0)


def print_stages(stages: dict[str, Cost]) -> None:
    """Print the table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("stage", "seconds", "processor", "peak MB"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for name, cost in stages.items():
        table.add_row(name, f"{cost.seconds:,.1f}", f"{cost.processor:,.1f}", f"{cost.megabytes:,.0f}")
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows (default 1,000,000)")
    parser.add_argument("--classes", type=int, default=1000, help="classes (default 1,000)")
    parser.add_argument(
        "--scored", type=int, help="rows that are scored (default: all; 8 bytes for each row and class)"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="icf-scale-") as folder:
        stages = run_stages(options.rows, options.classes, options.scored or options.rows, Path(folder))
    print(", ".join(f"{name} {value}" for name, value in describe_machine().items()))
    print_stages(stages)
    return 0


if __name__ == "__main__":
    sys.exit(main())
