"""``python -m benchmarks``: measure icf against its references, print a table, and with --json write a file."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.machine import describe_machine
from benchmarks.measure import Result, measure
from benchmarks.processes import ProcessError
from benchmarks.rows import ROWS
from benchmarks.table import print_results, print_rows
from benchmarks.workspace import Workspace
from icf.errors import IcfError

WIDTH = 140


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return 0, or 1 when a program failed. A missed aim is a finding, not a failure."""
    options = _read_options(arguments)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    if options.list:
        print_rows(console, ROWS.values())
        return 0
    machine = describe_machine()
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="icf-benchmarks-") as temporary:
        workspace = Workspace(options.data or Path(temporary), options.quick)
        for name in options.row or ROWS:
            try:
                results.append(measure(ROWS[name], workspace, options.repeats, _tell))
            except (ProcessError, IcfError) as error:  # IcfError: data that is not there
                print(f"{name}: {error}", file=sys.stderr)
            _write(options.json, machine, results)
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()), style="dim")
    print_results(console, results)
    if options.quick:
        console.print("quick: sizes too small for the figures to mean anything", style="bold")
    return int(len(results) < len(options.row or ROWS))


def _read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--list", action="store_true", help="show the rows, and measure nothing")
    parser.add_argument("--row", action="append", choices=list(ROWS), help="measure this row only; repeatable")
    parser.add_argument("--repeats", type=int, metavar="N", help="pairs of runs for each row (default 5)")
    parser.add_argument("--quick", action="store_true", help="smallest sizes, one pair: tries the programs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine and rows to this file")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="keep data sets here (default: a temporary folder)")
    options = parser.parse_args(arguments)
    if options.repeats is None:
        options.repeats = 1 if options.quick else 5
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    options.data = options.data.resolve() if options.data else None
    return options


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write(path: Path | None, machine: dict[str, Any], results: Sequence[Result]) -> None:
    """Write what is measured so far: a row takes minutes, and a later one may fail."""
    if path is not None:
        content = {"machine": machine, "rows": [result.to_json() for result in results]}
        path.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
