"""What classes are made of: each attribute with the value that every class has of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from icf.choice import Frozen
from icf.components import Attribute, DatasetContent, FloatArray, IntArray
from icf.errors import Problem, did_you_mean

CLASS = "class"
"""The attribute that every data set has: the class itself."""


class ClassAttribute(Frozen):
    """An attribute: the names of its values, and the value of each class, by index."""

    name: str
    values: tuple[str, ...]
    ordered: bool
    starts: tuple[float, ...] | None
    of_class: tuple[int, ...]

    def find_value(self, name: str, where: str) -> int | Problem:
        """Return the index of a value by its name, or what is wrong with the name."""
        if name in self.values:
            return self.values.index(name)
        return Problem(where, f"{name!r} is no value of {self.name!r}{did_you_mean(name, self.values)}")


def list_attributes(content: DatasetContent) -> tuple[ClassAttribute, ...]:
    """Return the attributes of a data set, with the class itself as the last, unless one has its name.

    Whether classes ascend is not known; who wants an ordinal head for them says so.
    """
    found = [
        ClassAttribute(
            name=item.name,
            values=item.values,
            ordered=item.ordered,
            starts=item.starts,
            of_class=_read_column(content, place),
        )
        for place, item in enumerate(content.attributes)
    ]
    if all(item.name != CLASS for item in found):
        count = len(content.classes)
        found.append(
            ClassAttribute(name=CLASS, values=content.classes, ordered=True, starts=None, of_class=tuple(range(count)))
        )
    return tuple(found)


def read_attributes(described: Sequence[Any]) -> tuple[ClassAttribute, ...]:
    """Return the attributes that ``model_dump`` described, as they stand in data.json."""
    return tuple(ClassAttribute.model_validate(item) for item in described)


def _read_column(content: DatasetContent, place: int) -> tuple[int, ...]:
    return tuple(np.asarray(content.class_values)[:, place].tolist())


def find_attribute(attributes: Sequence[ClassAttribute], name: str, where: str) -> ClassAttribute | Problem:
    """Return the attribute of a name, or what is wrong with the name."""
    for attribute in attributes:
        if attribute.name == name:
            return attribute
    return Problem(where, f"the data set has no attribute {name!r}{did_you_mean(name, (a.name for a in attributes))}")


def find_bands(numbers: FloatArray, starts: Sequence[float]) -> IntArray:
    """Return the value that each number belongs to, int64 [N]."""
    return np.searchsorted(np.asarray(starts), numbers, side="right")


def check_attributes(content: DatasetContent) -> list[str]:
    """Return every contradiction in a data set's attributes and numbers."""
    names = [attribute.name for attribute in content.attributes]
    faults = ["attributes: a name occurs twice"] * (len(set(names)) < len(names))
    for attribute in content.attributes:
        faults += [f"attribute {attribute.name!r}: {fault}" for fault in _check_attribute(attribute)]
    faults += _check_class_values(content)
    return faults or [*_check_numbers(content)]


def _check_attribute(attribute: Attribute) -> Iterator[str]:
    if len(set(attribute.values)) < max(2, len(attribute.values)):
        yield "its values must be two or more distinct names"
    starts = attribute.starts
    if starts is not None and (len(starts) != len(attribute.values) - 1 or list(starts) != sorted(set(starts))):
        yield "starts must be ascending numbers, one for each value but the first"


def _check_class_values(content: DatasetContent) -> list[str]:
    if not content.attributes:
        return []
    table, shape = np.asarray(content.class_values), (len(content.classes), len(content.attributes))
    if table.shape != shape or table.dtype.kind not in "iu":
        return [f"class_values must be whole numbers {list(shape)}, not {table.dtype} {list(table.shape)}"]
    counts = [len(attribute.values) for attribute in content.attributes]
    if (table < 0).any() or (table >= counts).any():
        return ["class_values: a value is none of its attribute's"]
    seen: dict[tuple[int, ...], str] = {}
    for name, row in zip(content.classes, map(tuple, table.tolist()), strict=True):
        if row in seen:
            return [f"class_values: {seen[row]!r} and {name!r} have the same attributes"]
        seen[row] = name
    return []


def _check_numbers(content: DatasetContent) -> Iterator[str]:
    with_starts = {attribute.name: attribute for attribute in list_attributes(content) if attribute.starts is not None}
    for name, numbers in (content.train.numbers or {}).items():
        if name not in with_starts:
            yield f"numbers: {name!r} is no attribute with starts{did_you_mean(name, with_starts)}"
        elif len(numbers) != len(content.train):
            yield f"numbers: {len(content.train)} ids but {len(numbers)} of {name!r}"
        elif content.train.targets is not None:
            yield from _check_bands(with_starts[name], np.asarray(numbers), content)


def _check_bands(attribute: ClassAttribute, numbers: FloatArray, content: DatasetContent) -> Iterator[str]:
    values = np.asarray(attribute.of_class)[np.asarray(content.train.targets)]
    wrong = np.flatnonzero(~np.isnan(numbers) & (find_bands(numbers, attribute.starts or ()) != values))
    if len(wrong):
        row = int(wrong[0])
        value = attribute.values[values[row]]
        yield (
            f"numbers: {attribute.name!r} of {len(wrong)} rows is none of their class, for example"
            f" {numbers[row]:g} of {content.train.ids[row]!r}, which is {value!r}"
        )


def find_class(attributes: Sequence[ClassAttribute], values: Mapping[str, int]) -> int | None:
    """Return the class with these values of all attributes but the class itself; None if there is none."""
    parts = [attribute for attribute in attributes if attribute.name != CLASS]
    rows = zip(*(attribute.of_class for attribute in parts), strict=True)
    wanted = tuple(values[attribute.name] for attribute in parts)
    return next(itertools.compress(itertools.count(), (row == wanted for row in rows)), None)
