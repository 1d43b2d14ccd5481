from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from icf.components import Attribute, DatasetContent, Samples
from icf.errors import DataError
from icf.pipeline.data.attributes import find_class, list_attributes
from icf.pipeline.data.content import check_content

COLOUR = Attribute(name="colour", values=("red", "blue"))
SIZE = Attribute(name="size", values=("small", "large"), ordered=True, starts=(10.0,))


def make_content(**changes: Any) -> DatasetContent:
    targets = np.array([0, 1, 2])
    samples = Samples(
        ids=("a", "b", "c"),
        images=np.zeros((3, 2, 2), np.uint8),
        targets=targets,
        numbers={"size": np.array([3.0, np.nan, 10.0])},
    )
    content = DatasetContent(
        classes=("red small", "blue small", "blue large"),
        train=samples,
        attributes=(COLOUR, SIZE),
        class_values=np.array([[0, 0], [1, 0], [1, 1]]),
    )
    return replace(content, **changes)


def test_every_data_set_has_its_class_as_an_attribute() -> None:
    check_content(make_content())
    colour, size, whole = list_attributes(make_content())
    assert (colour.of_class, size.of_class, whole.of_class) == ((0, 1, 1), (0, 0, 1), (0, 1, 2))
    assert whole.values == make_content().classes
    assert find_class((colour, size, whole), {"colour": 1, "size": 1}) == 2
    assert find_class((colour, size, whole), {"colour": 0, "size": 1}) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_values": None}, r"class_values must be whole numbers \[3, 2\]"),
        ({"class_values": np.array([[0, 0], [1, 0], [1, 2]])}, "a value is none of its attribute's"),
        ({"class_values": np.array([[0, 0], [1, 0], [1, 0]])}, "'blue small' and 'blue large' have the same"),
        ({"attributes": (COLOUR, replace(SIZE, name="colour"))}, "a name occurs twice"),
        ({"attributes": (COLOUR, replace(SIZE, starts=(1.0, 2.0)))}, "starts must be ascending"),
        ({"attributes": (replace(COLOUR, values=("red",)), SIZE)}, "two or more distinct names"),
        ({"attributes": (COLOUR, replace(SIZE, starts=(2.0,)))}, "'size' of 1 rows is none of their class.*3 of 'a'"),
        ({"attributes": (COLOUR, replace(SIZE, starts=None))}, "'size' is no attribute with starts"),
    ],
)
def test_contradictions_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_content(make_content(**changes))
