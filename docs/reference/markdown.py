"""Markdown, from tables and docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table."""
    head = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return [*head, *(f"| {' | '.join(map(_escape, row))} |" for row in rows)]


def _escape(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")


def clean(docstring: str | None) -> str:
    """Return a docstring as Markdown: double backticks become single ones."""
    return inspect.cleandoc(docstring or "").replace("``", "`")
