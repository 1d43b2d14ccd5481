"""``python -m benchmarks.placing start|places|many``: what it costs to run folds elsewhere, and side by side.

start: seconds from the command to the first optimizer step, for each executor, and with --before of an older commit.
places: a few folds on 1, 2 and 4 places, against the ideal, and where the rest goes.
many: hundreds of folds that do nothing for some seconds: what a fold costs besides, and the memory of the driver.

Places are logical: icf is told of as many cores as there are places. Folds that only sleep ("nap") show the cost of
scheduling, folds that compute ("digits") how they hinder each other as well.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.driver import DriverWatch, make_digits, make_naps, run_folds, run_recipe
from benchmarks.machine import describe_machine
from benchmarks.processes import ROOT, ProcessError
from benchmarks.timeline import Division, Span, divide
from benchmarks.workspace import Workspace

EXECUTORS = ("inline", "process", "ray-task", "ray-train")
SIDE_BY_SIDE = ("process", "ray-task")
"""Those that have places on one machine, and start a fold within a second."""


@contextlib.contextmanager
def unpack(commit: str | None) -> Iterator[dict[str, Path]]:
    """Yield the source trees that are compared: "now", and with a commit "before"."""
    with tempfile.TemporaryDirectory(prefix="icf-before-") as folder:
        if commit is None:
            yield {"now": ROOT}
            return
        packed = subprocess.run(
            ["git", "archive", "--format=zip", commit], cwd=ROOT, check=True, capture_output=True
        ).stdout
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(folder)
        yield {"now": ROOT, "before": Path(folder)}


def measure_start(workspace: Workspace, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the seconds until the first step: all executors in turn, from empty caches."""
    found: dict[tuple[str, str], list[float]] = {}
    with unpack(options.before) as trees:
        sides = [(name, tree) for name in options.executors for tree in trees if (name, tree) != ("process", "before")]
        for number in range(options.repeats):
            for name, tree in sides if number % 2 == 0 else reversed(sides):
                _tell(f"start, {name}, {tree}: {number + 1} of {options.repeats}")
                found.setdefault((name, tree), []).append(time_first_step(workspace, name, trees[tree]))
    rows = []
    for name in options.executors:
        now, before = found[name, "now"], found.get((name, "before"))
        row: dict[str, Any] = {"executor": name, "seconds": now}
        if before:
            row |= {"before": before, "ratios": [old / new for old, new in zip(before, now, strict=True)]}
        rows.append(row)
    return rows


def time_first_step(workspace: Workspace, executor: str, tree: Path) -> float:
    """Return the seconds from the command to the end of the first optimizer step."""
    with workspace.fresh_folder() as folder:
        clock = {"use": "bench/clock", "file": str(folder / "first-step")}
        recipe = {**make_digits(executor, 2, 1), "optimizer": clock, "compute": {"executor": executor}}
        finished = run_recipe(recipe, folder, tree=tree)
        return float((folder / "first-step").read_text()) - finished.started


def measure_places(workspace: Workspace, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return where the time goes on each number of places; the repeat of the median efficiency, and the range."""
    rows = []
    for work in options.work:
        for name in options.executors:
            make = make_naps if work == "nap" else make_digits
            recipe = make(name, options.folds, options.seconds if work == "nap" else options.epochs)
            found: dict[int, list[Division]] = {places: [] for places in options.places}
            for number in range(options.repeats):
                _tell(f"places, {work}, {name}: {number + 1} of {options.repeats}")
                runs = {places: run_folds(workspace, recipe, places) for places in dict.fromkeys((1, *options.places))}
                alone = sum(fold.seconds for fold in runs[1].folds)
                for places in options.places:
                    run = runs[places]
                    found[places].append(divide(run.span, run.folds, places, alone))
            rows += [_summarize(work, name, places, divisions) for places, divisions in found.items()]
    return rows


def _summarize(work: str, executor: str, places: int, divisions: Sequence[Division]) -> dict[str, Any]:
    ranked = sorted(divisions, key=lambda division: division.efficiency)
    middle = ranked[len(ranked) // 2]
    return {
        "work": work,
        "executor": executor,
        "places": places,
        "seconds": middle.total,
        "efficiency": middle.efficiency,
        "low": ranked[0].efficiency,
        "high": ranked[-1].efficiency,
        **asdict(middle),
    }


def measure_many(workspace: Workspace, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what a fold costs besides its work, and what the driver holds."""
    rows = []
    for name in options.executors:
        _tell(f"many, {name}: at least {options.seconds * options.folds / options.places:.0f} s")
        watch = DriverWatch()
        run = run_folds(workspace, make_naps(name, options.folds, options.seconds), options.places, watch.look)
        parts = divide(run.span, run.folds, options.places, options.folds * options.seconds)
        training = Span(min(run.folds).begin, max(fold.end for fold in run.folds))
        share = options.places / options.folds
        rows.append(
            {
                "executor": name,
                "folds": options.folds,
                "nap": options.seconds,
                "places": options.places,
                "seconds": parts.total,
                "overhead": parts.total * share - options.seconds,
                "fold": parts.contention * share,
                "handover": parts.handover * share,
                "uneven": parts.uneven * share,
                "start": parts.start,
                "end": parts.end,
                "driver": watch.summarize(training),
            }
        )
    return rows


def print_start(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of ``start``."""
    table = _make_table("executor", "first step", "spread", "before", "spread", "ratio", "spread")
    for row in rows:
        cells = [f"{statistics.median(row[key]):.1f}" if key in row else "" for key in ("seconds", "before", "ratios")]
        spreads = [_spread(row[key]) if key in row else "" for key in ("seconds", "before", "ratios")]
        table.add_row(row["executor"], *(cell for pair in zip(cells, spreads, strict=True) for cell in pair))
    return table


def print_places(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of ``places``."""
    parts = ("ideal", "contention", "uneven", "handover", "start", "end")
    table = _make_table("folds", "executor", "places", "efficiency", "spread", "seconds", *parts)
    for row in rows:
        share, spread = f"{row['efficiency']:.0%}", f"{row['low']:.0%} to {row['high']:.0%}"
        numbers = [f"{row[name]:.1f}" for name in ("seconds", *parts)]
        table.add_row(row["work"], row["executor"], str(row["places"]), share, spread, *numbers)
    return table


def print_many(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of ``many``: costs of a fold in milliseconds."""
    costs = ("overhead", "fold", "handover", "uneven")
    head = ("executor", "folds", "nap", "places", "seconds", *(f"{name} ms" for name in costs), "start", "end")
    table = _make_table(*head, "driver's first MB", "last MB", "of a core")
    for row in rows:
        driver = row["driver"]
        table.add_row(
            row["executor"],
            *(f"{row[name]:g}" for name in ("folds", "nap", "places")),
            f"{row['seconds']:.1f}",
            *(f"{1000 * row[name]:.0f}" for name in costs),
            *(f"{row[name]:.1f}" for name in ("start", "end")),
            *(f"{driver[f'{name}_quarter_mb']:.1f}" for name in ("first", "last")),
            f"{driver['core_share']:.1%}",
        )
    return table


def _make_table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, justify="left" if name in ("executor", "folds") else "right")
    return table


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):.1f} to {max(values):.1f}"


MEASURES: dict[str, tuple[Callable[..., list[dict[str, Any]]], Callable[..., Table]]] = {
    "start": (measure_start, print_start),
    "places": (measure_places, print_places),
    "many": (measure_many, print_many),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, and write a file if one is named; return 1 if a run failed."""
    options = read_options(arguments)
    measure, show = MEASURES[options.measure]
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="icf-placing-") as folder:
        try:
            rows = measure(Workspace(Path(folder)), options)
        except ProcessError as error:
            print(error, file=sys.stderr)
            return 1
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()), style="dim")
    console.print(show(rows))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, options.measure: rows}, indent=2) + "\n")
    return 0


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.placing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="measure", required=True)
    start, places, many = (kinds.add_parser(name) for name in MEASURES)
    for kind, known in ((start, EXECUTORS), (places, SIDE_BY_SIDE), (many, SIDE_BY_SIDE)):
        kind.add_argument("--executors", type=_choose(known), default=known, help="separated by commas")
        kind.add_argument("--json", type=Path, metavar="FILE", help="write machine and rows to this file")
    start.add_argument("--repeats", type=_count, default=5, help="runs of each kind, in turn (default 5)")
    start.add_argument("--before", metavar="COMMIT", help="measure the icf of this commit as well")
    places.add_argument("--repeats", type=_count, default=3, help="runs of each kind, in turn (default 3)")
    places.add_argument("--folds", type=_count, default=5)
    places.add_argument("--places", type=_counts, default=(1, 2, 4), help="separated by commas")
    places.add_argument("--work", type=_choose(("nap", "digits")), default=("nap", "digits"), help="what folds do")
    places.add_argument("--seconds", type=float, default=10, help="of a nap")
    places.add_argument("--epochs", type=_count, default=60, help="of digits")
    many.add_argument("--folds", type=_count, default=200)
    many.add_argument("--places", type=_count, default=8)
    many.add_argument("--seconds", type=float, default=20, help="of a nap")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _choose(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        if unknown := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(known)}")
        return chosen

    return read


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
