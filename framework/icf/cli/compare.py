"""``icf compare``: how much better one run is than another, with an interval."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from icf.cli.options import make_console, make_table, to_json
from icf.cli.predict import find_run_dir

if TYPE_CHECKING:
    from icf.pipeline.results.score import Interval


def compare(
    base: Annotated[
        Path, typer.Argument(metavar="BASE", help="A run folder, or runs/RECIPE for its newest finished run.")
    ],
    others: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs to compare with it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Write the differences as one JSON object.")] = False,
) -> None:
    """Show how far the out-of-fold scores of runs on the same rows are from those of a first one.

    The 95 % interval is that of a paired bootstrap by group: where it holds 0, the difference may be chance.
    With --json: {"base", "runs": [{"run_dir", "differences": {metric: {"value", "low", "high"}}}]}.
    """
    from icf.pipeline.results.comparison import compare_runs

    first = find_run_dir(base)
    found = {run: compare_runs(first, run) for run in map(find_run_dir, others)}
    if as_json:
        runs = [{"run_dir": str(run), "differences": _to_json(scores)} for run, scores in found.items()]
        print(to_json({"base": str(first), "runs": runs}))
    else:
        _print_table(first, found)


def _to_json(differences: Mapping[str, Interval]) -> dict[str, dict[str, float]]:
    return {metric: interval.to_json() for metric, interval in differences.items()}


def _print_table(base: Path, found: Mapping[Path, Mapping[str, Interval]]) -> None:
    table = make_table()
    for header in ("run", "metric", "difference", "95 % interval"):
        table.add_column(header, overflow="fold")
    for run, differences in found.items():
        for metric, interval in differences.items():
            table.add_row(str(run), metric, f"{interval.value:+.4f}", f"{interval.low:+.4f} to {interval.high:+.4f}")
    console = make_console()
    console.print(f"out-of-fold scores minus those of {base}")
    console.print(table)
