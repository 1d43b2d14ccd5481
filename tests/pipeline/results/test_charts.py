from __future__ import annotations

import math
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icf.pipeline.results.charts import (
    COLOURS,
    Line,
    choose_ticks,
    clean,
    draw_confusion,
    draw_lines,
    find_range,
    format_count,
    format_tick,
    shorten,
)

NAN, INF = math.nan, math.inf


def draw(*lines: Line) -> ElementTree.Element:
    return ElementTree.fromstring(draw_lines(lines, title="loss", x_label="epoch", y_label="loss"))


def find_class(root: ElementTree.Element, tag: str, name: str) -> list[ElementTree.Element]:
    return [element for element in root.iter(tag) if name in element.get("class", "").split()]


def read_points(polyline: ElementTree.Element) -> np.ndarray:
    return np.array([point.split(",") for point in polyline.get("points", "").split()], dtype=float)


def test_each_line_is_one_polyline_with_all_its_points() -> None:
    root = draw(Line([1, 2, 3], [3.0, 2.0, 1.0], "fold 0"), Line([1, 2], [2.0, 1.5], "fold 1", 1, dashed=True))
    polylines = list(root.iter("polyline"))
    assert [len(read_points(polyline)) for polyline in polylines] == [3, 2]
    assert [polyline.get("class") for polyline in polylines] == ["curve c0", "curve c1 dashed"]


def test_points_stand_where_the_numbers_say() -> None:
    points = read_points(next(draw(Line([0, 1, 4], [0.0, 10.0, 5.0])).iter("polyline")))
    across, down = points[:, 0], points[:, 1]
    assert (across[1] - across[0]) / (across[2] - across[0]) == pytest.approx(0.25, abs=0.001)
    assert (down[0] - down[2]) / (down[0] - down[1]) == pytest.approx(0.5, abs=0.001)
    assert down[1] < down[2] < down[0]


def test_ticks_stand_where_the_numbers_say() -> None:
    root = draw(Line([0, 10], [0.0, 10.0]))
    points = read_points(next(root.iter("polyline")))
    ticks = {
        text.text: float(text.get("y", "")) - 4 for text in find_class(root, "text", "end") if text.text != "epoch"
    }
    assert ticks["0"] == pytest.approx(points[0, 1], abs=0.11)
    assert ticks["10"] == pytest.approx(points[1, 1], abs=0.11)


def test_missing_values_break_a_line_and_lone_points_are_dots() -> None:
    root = draw(Line([1, 2, 3, 4, 5, 6, 7], [1.0, 2.0, NAN, 3.0, INF, 2.0, 1.0]))
    assert len(list(root.iter("polyline"))) == 2
    assert len(find_class(root, "circle", "dot")) == 1


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [Line([], [])],
        [Line([1], [0.5], mark=0)],
        [Line([1, 2, 3], [0.5, 0.5, 0.5])],
        [Line([1, 2], [NAN, NAN], mark=0)],
        [Line([1, 2], [-INF, 1e308])],
        [Line([1, 2], [0.0, 5e-324])],
        [Line([1, 1], [0.0, 1.0])],
    ],
)
def test_degenerate_lines_still_give_a_chart_with_axes(lines: list[Line]) -> None:
    root = draw(*lines)
    assert "nan" not in ElementTree.tostring(root, "unicode").lower()
    assert find_class(root, "line", "grid")
    assert find_class(root, "path", "axis")


@given(st.lists(st.floats(), min_size=1, max_size=20), st.integers(0, 19))
def test_any_numbers_give_valid_xml_inside_the_picture(values: list[float], mark: int) -> None:
    root = draw(Line(range(len(values)), values, "fold", mark=mark % len(values)))
    _, _, width, height = (float(part) for part in root.get("viewBox", "").split())
    drawn = 0
    for polyline in root.iter("polyline"):
        points = read_points(polyline)
        drawn += len(points)
        assert (points >= 0).all()
        assert (points <= [width, height]).all()
    drawn += len(find_class(root, "circle", "dot"))
    assert drawn == sum(math.isfinite(value) and abs(value) <= 1e100 for value in values)
    assert len(find_class(root, "line", "grid")) <= 12


def test_the_mark_is_a_ring_on_its_point() -> None:
    root = draw(Line([1, 2, 3], [0.1, 0.9, 0.5], "fold 0", 2, mark=1))
    (ring,) = find_class(root, "circle", "ring")
    expected = read_points(next(root.iter("polyline")))[1]
    assert [float(ring.get("cx", "")), float(ring.get("cy", ""))] == expected.tolist()
    assert "c2" in ring.get("class", "").split()
    assert "best at 2: 0.9000" in "".join(ring.itertext())


def test_legend_names_labelled_lines_and_wraps_into_the_picture() -> None:
    lines = [Line([1, 2], [0, 1], f"fold {index}", index) for index in range(20)] + [Line([1, 2], [1, 0])]
    root = draw(*lines)
    keys = find_class(root, "line", "curve")
    assert len(keys) == 20
    _, _, width, height = (float(part) for part in root.get("viewBox", "").split())
    assert all(float(key.get("x2", "")) <= width and float(key.get("y1", "")) <= height for key in keys)
    assert len({(key.get("x1"), key.get("y1")) for key in keys}) == 20
    assert f"c{19 % COLOURS}" in keys[19].get("class", "").split()


@given(st.floats(-1e90, 1e90), st.floats(1e-8, 1e8), st.booleans())
def test_ticks_are_round_inside_and_evenly_spaced(low: float, width: float, whole: bool) -> None:
    low, high = find_range([low, low + width], margin=0)
    ticks, step = choose_ticks(low, high, whole=whole)
    assert all(low - 1e-5 * step <= tick <= high + 1e-5 * step for tick in ticks)
    assert len(ticks) <= 7
    if not whole:
        assert len(ticks) >= 2
        assert len({format_tick(tick, step) for tick in ticks}) == len(ticks)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert round(mantissa, 6) in {1, 2, 5}


def test_whole_ticks_are_whole_numbers() -> None:
    ticks, step = choose_ticks(1, 3, whole=True)
    assert [format_tick(tick, step) for tick in ticks] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("value", "step", "text"),
    [
        (0.25, 0.05, "0.25"),
        (0.1 * 3, 0.1, "0.3"),
        (-1e-17, 0.1, "0"),
        (2000.0, 500.0, "2000"),
        (3e7, 1e7, "3e+07"),
        (2e-6, 1e-6, "2e-06"),
    ],
)
def test_tick_text(value: float, step: float, text: str) -> None:
    assert format_tick(value, step) == text


def test_confusion_has_a_cell_for_each_count_that_is_not_zero() -> None:
    root = ElementTree.fromstring(draw_confusion([[9, 1, 0], [0, 0, 0], [2, 0, 2]], ["a", "b", "c"]))
    right, wrong = find_class(root, "rect", "right"), find_class(root, "rect", "wrong")
    assert len(right) == 2
    assert len(wrong) == 2
    assert [text.text for text in find_class(root, "text", "count")] == ["9", "1", "2", "2"]
    assert [float(cell.get("fill-opacity", "")) for cell in right] == pytest.approx(
        [0.08 + 0.92 * 0.9, 0.54], abs=0.006
    )
    assert "true a, predicted b: 1 of 10 (10%)" in "".join(wrong[0].itertext())
    assert right[0].get("x") == right[0].get("y")
    assert float(wrong[1].get("y", "")) > float(right[0].get("y", ""))
    assert wrong[1].get("x") == right[0].get("x")


@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_any_class_names_give_valid_xml(names: list[str]) -> None:
    root = ElementTree.fromstring(draw_confusion(np.eye(len(names), dtype=int).tolist(), names))
    assert len(find_class(root, "rect", "cell")) == len(names)


def test_labels_are_escaped() -> None:
    chart = draw_lines([Line([1], [1], "</svg><script>")], title='"><b>', x_label="<x>", y_label="&")
    root = ElementTree.fromstring(chart)
    assert "<script" not in chart
    assert root.get("aria-label") == '"><b>'
    assert "</svg><script>" in "".join(root.itertext())
    matrix = draw_confusion([[1, 1], [0, 3]], ["<script>", "'\""])
    assert "<script" not in matrix
    assert "<script>" in "".join(ElementTree.fromstring(matrix).itertext())


def test_clean_replaces_what_xml_forbids() -> None:
    assert clean("a\x00b\x1f\ud800\ufffe<") == "a\ufffdb\ufffd\ufffd\ufffd&lt;"


@pytest.mark.parametrize(
    ("count", "text"), [(7, "7"), (999, "999"), (1000, "1.0k"), (1234, "1.2k"), (34_567, "35k"), (999_700, "1.0M")]
)
def test_counts_as_text(count: int, text: str) -> None:
    assert format_count(count) == text


@given(st.text(max_size=60), st.integers(2, 30))
def test_shortened_text_fits(text: str, most: int) -> None:
    assert len(shorten(text, most)) <= max(most, min(len(text), most))
    assert shorten("abcdef", 4) == "abc…"
