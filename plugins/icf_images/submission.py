"""What a sample submission asks for."""

from __future__ import annotations

from collections.abc import Sequence

import icf
from icf.tables import Report, Table


def submission_values(classes: tuple[str, ...]) -> tuple[str | int, ...]:
    """Return the labels as they are written: as whole numbers if all are, else as text ('01' is text)."""
    if all(_is_whole_number(name) for name in classes):
        return tuple(int(name) for name in classes)
    return classes


def sort_classes(labels: set[str]) -> tuple[str, ...]:
    """Return the labels in order: by value if all are whole numbers (without leading zeros), else as text."""
    if all(isinstance(value, int) for value in submission_values(tuple(labels))):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))


def _is_whole_number(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= 18 and str(int(text)) == text


def read_submission(
    table: Table,
    classes: tuple[str, ...],
    test_ids: Sequence[str],
    report: Report,
    *,
    notes: list[str],
    allow_repeats: bool = False,
) -> icf.SubmissionFormat:
    """Read the format from a sample: its first column has the ids.

    Two columns ask for labels, more for one probability per class, in the file's order of columns. Its
    ids must be the test ids; with ``allow_repeats`` an id may stand in several rows, which then all
    get the same answer. Problems are added to ``report``; DataError where the columns don't fit.
    """
    id_column, *columns = table.columns
    if not columns:
        raise icf.DataError(f"{table.path} has only the column {id_column!r}; a column for the answer is missing")
    if len(columns) > 1:
        _check_class_columns(table, columns, classes)
    ids = [row[id_column] for row in table.rows]
    _check_ids(table, ids, test_ids, report)
    repeats = len(ids) - len(set(ids))
    if repeats and allow_repeats:
        notes.append(f"{table.path.name}: {repeats} rows repeat an id; each gets the same answer")
    elif repeats:
        _report_repeats(table, ids, report)
    values = submission_values(classes) if len(columns) == 1 else None
    return icf.SubmissionFormat(id_column=id_column, columns=tuple(columns), ids=ids, values=values)


def _check_class_columns(table: Table, columns: Sequence[str], classes: Sequence[str]) -> None:
    unknown = [name for name in columns if name not in classes]
    missing = [name for name in classes if name not in columns]
    if unknown or missing:
        raise icf.DataError(
            f"{table.path}: its columns after the id must be the classes. "
            f"No classes: {', '.join(map(repr, unknown)) or 'none'}; "
            f"classes without a column: {', '.join(map(repr, missing)) or 'none'}"
        )


def _check_ids(table: Table, ids: Sequence[str], test_ids: Sequence[str], report: Report) -> None:
    known = set(test_ids)
    for row, row_id in zip(table.rows, ids, strict=True):
        if row_id not in known:
            report.add(row.where, f"id {row_id!r} is not among the test images")
    asked = set(ids)
    for test_id in test_ids:
        if test_id not in asked:
            report.add(table.path, f"has no row for the test image {test_id!r}")


def _report_repeats(table: Table, ids: Sequence[str], report: Report) -> None:
    first: dict[str, int] = {}
    for row, row_id in zip(table.rows, ids, strict=True):
        earlier = first.setdefault(row_id, row.number)
        if earlier != row.number:
            report.add(
                row.where,
                f"id {row_id!r} is also in row {earlier}; duplicates = 'drop' or 'first' answers both alike",
            )
