"""``python -m benchmarks.scale``: seconds and peak memory of the stages around training, for a million rows.

"index" reads a CSV file with a row per image, which names one of a thousand real files, and checks it; the
other stages use an array of invented pixels, so that they can be run without a disk of images. The probabilities of
five folds are random.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.inside import open_plan, prepare_data
from benchmarks.machine import describe_machine
from benchmarks.task import PLUGIN, write_recipe

if TYPE_CHECKING:
    from icf.pipeline.folder import RunFolder

FILES = 1000
ROWS_PER_GROUP = 7
FOLDS = 5
TEST_SHARE = 10
"""One test row for so many training rows."""

SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Cost:
    """Of a stage: seconds, seconds of processor time, and the memory of the process in MB at its peaks.

    ``resident`` is all of it; ``own`` is without the pages of mapped files, which the system takes back when it needs
    them.
    """

    seconds: float
    processor: float
    resident: float
    own: float


class _OwnMemory(threading.Thread):
    """Samples the memory that is no file's; the kernel keeps no peak of it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0
        self._ended = threading.Event()

    def run(self) -> None:
        """Sample until the end."""
        while not self._ended.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, _read_status("RssAnon"))

    def stop(self) -> float:
        """Return the peak in MB."""
        self._ended.set()
        self.join()
        return max(self.peak, _read_status("RssAnon"))


@dataclass
class Stages:
    """Stages as they end: name -> cost."""

    found: dict[str, Cost] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is in the block."""
        _forget_peak()
        own = _OwnMemory()
        own.start()
        started, busy = time.perf_counter(), time.process_time()
        yield
        seconds, processor = time.perf_counter() - started, time.process_time() - busy
        cost = Cost(seconds, processor, _read_status("VmHWM"), own.stop())
        self.found[name] = cost
        print(f"{name}: {cost.seconds:.1f} s, {cost.resident:,.0f} MB", file=sys.stderr, flush=True)


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
        from icf.pipeline.files import read_table
        from icf.pipeline.folder import open_run_folder
        from icf.pipeline.results.ensemble import ensemble
        from icf.pipeline.results.pictures import read_guesses
        from icf.pipeline.results.submission import write_submission

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
    names = data.classes
    del data, split
    table = read_table(run.split, ["id", "target", "fold"])
    with stages.stage(f"save {scored:,} rows of {FOLDS} folds"):
        for fold in range(FOLDS):
            save_fold(run, fold, {name: column[:scored] for name, column in table.items()}, names)
    with stages.stage("vote, join and score"):
        ensemble(plan, run, FOLDS, names)
    with stages.stage("submission"):
        write_submission(run, None, names)
    with stages.stage("mistakes of the report"):
        read_guesses(run.path / "oof.parquet", names, np.asarray(table["target"][:scored]))
    return stages.found


def make_recipe(rows: int, classes: int) -> dict[str, Any]:
    """Return a recipe of invented pixels in groups."""
    pixels = {"use": "bench/pixels", "rows": rows, "classes": classes, "rows_per_group": ROWS_PER_GROUP}
    return {
        "dataset": pixels,
        "split": {"duplicates": "together"},
        "model": {"use": "nn/sequential-cnn"},
    }


def save_fold(run: RunFolder, fold: int, rows: Mapping[str, Any], classes: Sequence[str]) -> None:
    """Write what a fold leaves: random probabilities of its rows, and of a test row for every TEST_SHARE of all."""
    from icf.pipeline.files import write_json, write_probabilities, write_table

    folder, count = run.fold(fold), len(classes)
    mine = np.flatnonzero(rows["fold"] == fold)
    folder.path.mkdir(parents=True)
    ids = [rows["id"][row] for row in mine.tolist()]
    write_probabilities(folder.oof, ids, classes, draw(len(mine), count, folder.path), target=rows["target"][mine])
    ids = [f"test row {row}" for row in range(len(rows["id"]) // TEST_SHARE)]
    write_probabilities(folder.test, ids, classes, draw(len(ids), count, folder.path))
    write_table(run.test_rows, {"id": ids, "target": np.full(len(ids), -1), "row": np.arange(len(ids))})
    write_json(folder.metrics, {"fold": fold})


def draw(rows: int, classes: int, folder: Path) -> np.ndarray:
    """Return random probabilities, float64 [rows, classes], as icf holds them."""
    from icf.pipeline.files import count_part_rows, make_table

    generator, table = np.random.default_rng(0), make_table(rows, classes, folder)
    for start in range(0, rows, count_part_rows(classes)):
        part = table[start : start + count_part_rows(classes)]
        generator.random(out=part)
        part /= part.sum(axis=1, keepdims=True)
    return table


def print_stages(stages: dict[str, Cost]) -> None:
    """Print the table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("stage", "seconds", "processor", "peak MB", "own MB"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for name, cost in stages.items():
        numbers = (f"{cost.seconds:,.1f}", f"{cost.processor:,.1f}", f"{cost.resident:,.0f}", f"{cost.own:,.0f}")
        table.add_row(name, *numbers)
    Console().print(table)


def explain_end(code: int) -> str:
    """Return why a process ended with another code than 0."""
    if code == -signal.SIGKILL:
        return "the system has killed the process, most likely because the memory was full"
    return (
        f"the process was ended by {signal.Signals(-code).name}" if code < 0 else f"the process ended with code {code}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages in a process of their own, whose death is told, and print the table."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _read_options(given)
    if not options.inside:
        code = subprocess.call([sys.executable, "-m", "benchmarks.scale", "--inside", *given])
        if code:
            print(f"benchmarks.scale: {explain_end(code)}; fewer --rows or --scored need less", file=sys.stderr)
        return int(code != 0)
    scored = options.scored or options.rows
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="icf-scale-", dir=options.folder) as folder:
        needed = 8 * options.classes * scored * (3 + (FOLDS + 2) / TEST_SHARE)
        if needed > shutil.disk_usage(folder).free:
            print(f"{needed / 1e9:,.0f} GB are needed in {folder}; see --scored and --folder", file=sys.stderr)
            return 1
        stages = run_stages(options.rows, options.classes, scored, Path(folder))
    print(", ".join(f"{name} {value}" for name, value in describe_machine().items()))
    print_stages(stages)
    return 0


def _read_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows (default 1,000,000)")
    parser.add_argument("--classes", type=int, default=1000, help="classes (default 1,000)")
    parser.add_argument(
        "--scored", type=int, help="rows that are scored (default: all; 30 bytes a row and class on disk)"
    )
    parser.add_argument("--folder", type=Path, help="where all files lie (default: the system's temporary folder)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
