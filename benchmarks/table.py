"""The table for people."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Result, Row

HEAD = ("row", "ratio", "spread", "aim", "met", "icf", "reference", "accuracy: icf", "reference")


def print_results(console: Console, results: Iterable[Result]) -> None:
    """Print one line for each measured row."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in HEAD:
        table.add_column(name, justify="left" if name in ("row", "aim", "met") else "right")
    for result in results:
        table.add_row(*_describe(result))
    console.print(table)


def _describe(result: Result) -> list[str]:
    row = result.row
    costs = result.medians(row.compares) or {}
    unit = " s" if row.compares == "seconds" else " MB"
    accuracy = result.medians("accuracy") or {}
    return [
        row.name,
        f"{result.ratio:.2f}",
        f"{min(result.ratios):.2f} to {max(result.ratios):.2f}",
        str(row.aim),
        "yes" if row.aim.is_met(result.ratio) else "no",
        *(f"{costs[side]:,.{0 if costs[side] >= 100 else 2}f}{unit}" for side in ("icf", "reference")),
        *(f"{accuracy[side]:.3f}" if accuracy else "" for side in ("icf", "reference")),
    ]


def print_rows(console: Console, rows: Iterable[Row]) -> None:
    """Print what can be measured."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("row", no_wrap=True)
    table.add_column("what is compared")
    table.add_column("aim", no_wrap=True)
    for row in rows:
        table.add_row(row.name, row.summary, str(row.aim))
    console.print(table)
