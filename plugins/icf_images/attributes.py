"""Attributes of images/csv: columns such as mask, gender and age that a class is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

import icf
from icf.tables import Report, Row
from icf_images.plugin import AttributeColumn
from icf_images.submission import sort_classes


@dataclass(frozen=True)
class Attributes:
    """The attributes, each row's value of each, int64 [N, A] (-1 where it was reported), and numbers behind them."""

    attributes: tuple[icf.Attribute, ...]
    values: icf.IntArray
    numbers: Mapping[str, icf.FloatArray]


def read_attributes(
    columns: Sequence[AttributeColumn], rows: Sequence[Row], external: Sequence[Row], report: Report
) -> Attributes:
    """Read the attributes of all rows, those of external rows last; values are those of ``rows``."""
    everything = [*rows, *external]
    attributes = tuple(_describe(column, rows) for column in columns)
    numbers = {item.column: _read_numbers(item.column, everything, report) for item in columns if item.starts}
    values = [
        _find_bands(numbers[item.column], item.starts) if item.starts else _find_values(attribute, everything, report)
        for item, attribute in zip(columns, attributes, strict=True)
    ]
    return Attributes(attributes, np.stack(values, axis=1), numbers)


def find_combinations(
    found: Attributes, rows: Sequence[Row], scored: int, report: Report
) -> tuple[tuple[str, ...], icf.IntArray, icf.IntArray]:
    """Make a class of each combination of values among the first ``scored`` rows; others are reported.

    Returns names of classes, their values int64 [K, A], and targets int64 [N].
    """
    known = found.values[:scored]
    class_values = np.unique(known[(known >= 0).all(axis=1)], axis=0)
    index = {tuple(row): target for target, row in enumerate(class_values.tolist())}
    targets = np.array([index.get(tuple(row), -1) for row in found.values.tolist()], np.int64)
    names = [" ".join(item.values[value] for item, value in zip(found.attributes, row, strict=True)) for row in index]
    for row, target, values in zip(rows, targets, found.values, strict=True):
        if target < 0 and (values >= 0).all():
            report.add(row.where, "no row that is scored has these values of the attributes together")
    return tuple(names), class_values, targets


def describe_classes(
    found: Attributes, targets: icf.IntArray, classes: Sequence[str], rows: Sequence[Row], report: Report
) -> icf.IntArray:
    """Return each class's values int64 [K, A]; rows of a class that differ, and classes without rows, are reported."""
    class_values = np.zeros((len(classes), len(found.attributes)), np.int64)
    for target, name in enumerate(classes):
        own = np.flatnonzero(targets == target)
        if not len(own):
            report.add(rows[0].path if rows else "", f"class {name!r} has no row, so its attributes are not known")
            continue
        class_values[target] = found.values[own[0]]
        for place in own[(found.values[own] != class_values[target]).any(axis=1)]:
            report.add(rows[place].where, f"class {name!r} has other attributes in {rows[own[0]].where}")
    return class_values


def _describe(column: AttributeColumn, rows: Sequence[Row]) -> icf.Attribute:
    if column.starts:
        return icf.Attribute(name=column.column, values=name_bands(column.starts), ordered=True, starts=column.starts)
    values = column.values or sort_classes({row[column.column] for row in rows})
    return icf.Attribute(name=column.column, values=values, ordered=column.ordered)


def name_bands(starts: Sequence[float]) -> tuple[str, ...]:
    """Name bands of numbers: starts of 30 and 60 make <30, 30-59 and >=60; fractions make <0.5, 0.5 to 1, >=1."""
    if all(float(start).is_integer() for start in starts):
        inner = [f"{low:.0f}-{high - 1:.0f}" if high - low > 1 else f"{low:.0f}" for low, high in pairwise(starts)]
    else:
        inner = [f"{low:g} to {high:g}" for low, high in pairwise(starts)]
    return (f"<{starts[0]:g}", *inner, f">={starts[-1]:g}")


def _read_numbers(column: str, rows: Sequence[Row], report: Report) -> icf.FloatArray:
    numbers = np.full(len(rows), np.nan)
    for place, row in enumerate(rows):
        try:
            number = float(row[column])
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            numbers[place] = number
        elif row[column]:
            report.add(row.where, f"column {column!r} must be a number, not {row[column]!r}")
    return numbers


def _find_bands(numbers: icf.FloatArray, starts: Sequence[float]) -> icf.IntArray:
    return np.where(np.isnan(numbers), -1, np.searchsorted(np.asarray(starts), numbers, side="right"))


def _find_values(attribute: icf.Attribute, rows: Sequence[Row], report: Report) -> icf.IntArray:
    index = {name: value for value, name in enumerate(attribute.values)}
    for row in rows:
        cell = row[attribute.name]
        if cell and cell not in index:
            report.add(row.where, f"{attribute.name} {cell!r} is not one of {', '.join(map(repr, index))}")
    return np.array([index.get(row[attribute.name], -1) for row in rows], np.int64)
