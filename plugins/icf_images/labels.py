"""What the rows of images/csv are labelled with: a class, any number of labels, or attributes of the class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

import icf
from icf.tables import Report, Row, Table
from icf_images.attributes import describe_classes, find_combinations, read_attributes
from icf_images.plugin import CsvParams
from icf_images.submission import sort_classes


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Names of the classes, what each row has of them, and what classes are made of."""

    classes: tuple[str, ...]
    targets: icf.IntArray
    attributes: tuple[icf.Attribute, ...] = ()
    class_values: icf.IntArray | None = None
    numbers: Mapping[str, icf.FloatArray] | None = None


def are_several(params: CsvParams) -> bool:
    """Tell whether an image can have any number of labels."""
    return params.label_columns is not None or params.label_separator is not None


def has_class_column(params: CsvParams, table: Table) -> bool:
    """Tell whether a column names the class; without it, the attributes make it up."""
    return not params.attribute_columns or params.label_column in table.columns


def list_columns(params: CsvParams, *, has_class: bool) -> tuple[str, ...]:
    """Return the columns that labels are read from."""
    attributes = tuple(item.column for item in params.attribute_columns)
    return attributes + (params.label_columns or (params.label_column,) * has_class)


def read_labels(
    params: CsvParams, rows: Sequence[Row], external: Sequence[Row], report: Report, *, has_class: bool
) -> Labels:
    """Read the labels of all rows, those of external rows last; classes are those of ``rows``."""
    everything = [*rows, *external]
    if not params.attribute_columns:
        classes = _find_classes(params, rows)
        return Labels(classes=classes, targets=_read_targets(params, everything, classes, report))
    found = read_attributes(params.attribute_columns, rows, external, report)
    if has_class:
        classes = _find_classes(params, rows)
        targets = _read_targets(params, everything, classes, report)
        class_values = describe_classes(found, targets, classes, everything, report)
    else:
        classes, class_values, targets = find_combinations(found, everything, len(rows), report)
    return Labels(
        classes=classes,
        targets=targets,
        attributes=found.attributes,
        class_values=class_values,
        numbers=found.numbers or None,
    )


def _find_classes(params: CsvParams, rows: Sequence[Row]) -> tuple[str, ...]:
    return params.label_columns or params.classes or sort_classes(_find_labels(params, rows))


def _read_targets(params: CsvParams, rows: Sequence[Row], classes: Sequence[str], report: Report) -> icf.IntArray:
    index = {name: target for target, name in enumerate(classes)}
    if are_several(params):
        labels = [_read_row(params, row, index, report) for row in rows]
        return np.array(labels, np.int64).reshape(len(rows), len(classes))
    for row in rows:
        label = row[params.label_column]
        if label not in index:
            report.add(row.where, f"label {label!r} is not one of {', '.join(map(repr, classes))}")
    return np.array([index.get(row[params.label_column], -1) for row in rows], np.int64)


def _split_labels(params: CsvParams, row: Row) -> list[str]:
    """Return the labels that stand in label_column; there may be none."""
    cell = row[params.label_column]
    parts = [cell] if params.label_separator is None else cell.split(params.label_separator)
    return [part.strip() for part in parts if part.strip()]


def _find_labels(params: CsvParams, rows: Sequence[Row]) -> set[str]:
    return {label for row in rows for label in _split_labels(params, row)}


def _read_row(params: CsvParams, row: Row, index: Mapping[str, int], report: Report) -> list[int]:
    """Return 0 or 1 for each label; what can't be read is reported."""
    if params.label_columns is None:
        found = _split_labels(params, row)
        for label in found:
            if label not in index:
                report.add(row.where, f"label {label!r} is not one of {', '.join(map(repr, index))}")
        return [int(label in found) for label in index]
    cells = [row[column] for column in params.label_columns]
    for column, cell in zip(params.label_columns, cells, strict=True):
        if cell not in ("0", "1"):
            report.add(row.where, f"column {column!r} must be 0 or 1, not {cell!r}")
    return [int(cell == "1") for cell in cells]
