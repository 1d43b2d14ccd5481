"""Charts as small SVG pictures: numbers in, a string out; colours come from the style sheet of page or file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = 8
"""Number of line colours, classes c0 to c7 of the style sheet; further lines begin again."""

FILE_STYLE = """svg { background: #ffffff; font: 12.5px sans-serif; }
text { fill: #1b1f24; } .tick { fill: #5b6470; font-size: 12px; }
.middle { text-anchor: middle; } .end { text-anchor: end; }
.axis { fill: none; stroke: #5b6470; } .grid { stroke: #dde1e6; } .curve { fill: none; stroke-width: 1.8; }
.dashed { stroke-dasharray: 5 4; } .ring { fill: #ffffff; stroke-width: 2; }
.c0 { stroke: #0072b2; } .c1 { stroke: #d55e00; } .c2 { stroke: #009e73; } .c3 { stroke: #b0578d; }
.dot.c0 { fill: #0072b2; } .dot.c1 { fill: #d55e00; } .dot.c2 { fill: #009e73; } .dot.c3 { fill: #b0578d; }"""
"""Of a chart that is a file of its own, with up to four colours."""

LARGEST = 1e100
"""Values beyond are not drawn: their differences would overflow."""

_WIDTH, _LEFT, _RIGHT, _TOP, _PLOT_HEIGHT, _FOOT = 460.0, 52.0, 448.0, 28.0, 220.0, 40.0
_LEGEND_LINE = 18.0


@dataclass(frozen=True)
class Line:
    """One curve. ``mark`` is the position of a point that gets a ring; without a label it is not in the legend."""

    xs: Sequence[float]
    ys: Sequence[float]
    label: str = ""
    colour: int = 0
    dashed: bool = False
    mark: int | None = None


@dataclass(frozen=True)
class _Frame:
    """The data range that the plot area shows."""

    left: float
    right: float
    low: float
    high: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.left) / (self.right - self.left)
        up = (y - self.low) / (self.high - self.low)
        return _LEFT + across * (_RIGHT - _LEFT), _TOP + (1 - up) * _PLOT_HEIGHT


def draw_lines(lines: Sequence[Line], *, title: str, x_label: str, y_label: str) -> str:
    """Return a line chart with axes, ticks and legend.

    Points that are NaN, infinite or beyond LARGEST leave a gap. An unbroken run of points is one polyline; a
    point that stands alone is a dot.
    """
    frame = _find_frame(lines)
    legend, rows = _draw_legend([line for line in lines if line.label])
    height = _TOP + _PLOT_HEIGHT + _FOOT + rows * _LEGEND_LINE
    parts = [*_draw_axes(frame, x_label, y_label)]
    for line in lines:
        parts += _draw_line(line, frame)
    return _wrap(_WIDTH, height, title, "chart", [*parts, *legend])


def _find_frame(lines: Sequence[Line]) -> _Frame:
    points = [point for line in lines for run in _find_runs(line) for point in run]
    left, right = find_range([x for x, _ in points], margin=0)
    return _Frame(left, right, *find_range([y for _, y in points], margin=0.05))


def find_range(values: Sequence[float], margin: float) -> tuple[float, float]:
    """Return limits around finite values, always some way apart; ``margin`` is a fraction of their distance."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    size = max(abs(low), abs(high))
    if high - low <= max(1e-9 * size, 1 / LARGEST):
        room = max(0.1 * size, 0.5)
        return low - room, high + room
    return low - margin * (high - low), high + margin * (high - low)


def choose_ticks(low: float, high: float, most: int = 6, *, whole: bool = False) -> tuple[list[float], float]:
    """Return round values from ``low`` to ``high`` (1, 2 or 5 times a power of ten apart), and their distance."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    if whole:
        step = max(1.0, step)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [number * step for number in range(first, last + 1)], step


def format_tick(value: float, step: float) -> str:
    """Return a tick's text with as many digits as its distance to the next one needs."""
    if abs(value) < step / 2:
        return "0"
    if step >= 1e-4 and abs(value) < 1e6:
        return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"
    digits = math.ceil(math.log10(abs(value) / step)) + 1
    return f"{value:.{max(1, digits)}g}"


def _draw_axes(frame: _Frame, x_label: str, y_label: str) -> Iterator[str]:
    bottom = _TOP + _PLOT_HEIGHT
    ticks, step = choose_ticks(frame.low, frame.high)
    for value in ticks:
        _, y = frame.place(frame.left, value)
        yield f'<line class="grid" x1="{_LEFT:.0f}" x2="{_RIGHT:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(_LEFT - 7, y + 4, format_tick(value, step), "tick end")
    ticks, step = choose_ticks(frame.left, frame.right, most=8, whole=True)
    for value in ticks:
        x, _ = frame.place(value, frame.low)
        yield f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom:.0f}" y2="{bottom + 4:.0f}"/>'
        yield _text(x, bottom + 18, format_tick(value, step), "tick middle")
    yield f'<path class="axis" d="M{_LEFT:.0f} {_TOP:.0f}V{bottom:.0f}H{_RIGHT:.0f}"/>'
    yield _text(0, 14, y_label, "label")
    yield _text(_RIGHT, bottom + 34, x_label, "label end")


def _find_runs(line: Line) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(line.xs, line.ys, strict=True):
        if abs(x) <= LARGEST and abs(y) <= LARGEST:  # False for NaN
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _draw_line(line: Line, frame: _Frame) -> Iterator[str]:
    colour = f"c{line.colour % COLOURS}"
    for run in _find_runs(line):
        places = [frame.place(x, y) for x, y in run]
        if len(places) == 1:
            yield f'<circle class="dot {colour}" cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="2.5"/>'
        else:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            yield f'<polyline class="curve {colour}{" dashed" if line.dashed else ""}" points="{points}"/>'
    if line.mark is None:
        return
    x, y = line.xs[line.mark], line.ys[line.mark]
    if abs(x) <= LARGEST and abs(y) <= LARGEST:
        across, down = frame.place(x, y)
        hint = f"<title>{clean(f'{line.label} best at {x:g}: {y:.4f}'.strip())}</title>"
        yield f'<circle class="ring {colour}" cx="{across:.1f}" cy="{down:.1f}" r="4.5">{hint}</circle>'


def _draw_legend(lines: Sequence[Line]) -> tuple[list[str], int]:
    parts = []
    x, row = _LEFT, 0
    for line in lines:
        text = shorten(line.label, 40)
        width = 28 + 7 * len(text)
        if x > _LEFT and x + width > _WIDTH:
            x, row = _LEFT, row + 1
        y = _TOP + _PLOT_HEIGHT + _FOOT + row * _LEGEND_LINE + 9
        dash = " dashed" if line.dashed else ""
        ends = f'x1="{x:.0f}" x2="{x + 16:.0f}" y1="{y:.0f}" y2="{y:.0f}"'
        parts.append(f'<line class="curve c{line.colour % COLOURS}{dash}" {ends}/>')
        parts.append(_text(x + 21, y + 4, text, "label"))
        x += width
    return parts, row + 1 if parts else 0


def draw_confusion(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """Return a confusion matrix, [true][predicted] counts shaded by their share of the row.

    Right predictions and mistakes have different colours; a count of zero is an empty cell.
    """
    size = 32 if len(classes) <= 12 else 26 if len(classes) <= 24 else 22
    names = [shorten(name, 24) for name in classes]
    margin = 30 + 6.8 * max((len(name) for name in names), default=0)
    extent = size * len(classes)
    parts = [
        _text(margin, 13, "predicted →", "label"),
        f'<g transform="translate(13 {margin + extent:.0f}) rotate(-90)">{_text(extent, 0, "← true", "label end")}</g>',
        f'<rect class="frame" x="{margin:.1f}" y="{margin:.1f}" width="{extent}" height="{extent}"/>',
    ]
    for index, (name, full) in enumerate(zip(names, classes, strict=True)):
        middle = margin + (index + 0.5) * size + 4
        parts.append(_text(margin - 6, middle, name, "tick end", full))
        turn = f'<g transform="translate({middle:.1f} {margin - 6:.1f}) rotate(-90)">'
        parts.append(f"{turn}{_text(0, 0, name, 'tick', full)}</g>")
    for true, row in enumerate(counts):
        parts += _draw_confusion_row(true, row, classes, size, margin)
    return _wrap(margin + extent + 2, margin + extent + 2, "confusion matrix", "matrix", parts)


def _draw_confusion_row(
    true: int, row: Sequence[int], classes: Sequence[str], size: int, margin: float
) -> Iterator[str]:
    total, y = sum(row), margin + true * size
    for predicted, count in enumerate(row):
        if not count:
            continue
        share, x = count / total, margin + predicted * size
        kind = "right" if predicted == true else "wrong"
        # The faintest shade must still differ from an empty cell.
        shade = f'class="cell {kind}" fill-opacity="{0.08 + 0.92 * share:.2f}"'
        hint = f"true {classes[true]}, predicted {classes[predicted]}: {count} of {total} ({share:.0%})"
        yield f'<rect {shade} x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{size - 1}" height="{size - 1}">'
        yield f"<title>{clean(hint)}</title></rect>"
        tone = "count strong" if share > 0.75 else "count"
        yield _text(x + size / 2, y + size / 2 + 4, format_count(count), f"{tone} middle")


def format_count(count: int) -> str:
    """Return a count in at most four characters: 999, 1.2k, 35k, 1.2M."""
    for unit, name in ((1, ""), (1_000, "k"), (1_000_000, "M"), (1_000_000_000, "G")):
        if count < 999.5 * unit:
            number = count / unit
            return f"{number:.1f}{name}" if name and number < 9.95 else f"{number:.0f}{name}"
    return f"{count:.0e}"


def shorten(text: str, most: int) -> str:
    """Return text of at most ``most`` characters, with an ellipsis in place of what is cut off."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def clean(text: str) -> str:
    """Return text that is safe in XML content and attributes; characters that XML forbids become U+FFFD."""
    return escape(re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text))


def _text(x: float, y: float, text: str, style: str, full: str | None = None) -> str:
    hint = f"<title>{clean(full)}</title>" if full is not None and full != text else ""
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{clean(text)}{hint}</text>'


def _wrap(width: float, height: float, title: str, style: str, parts: Iterable[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    return f'<svg class="{style}" role="img" aria-label="{clean(title)}" {size}>{"".join(parts)}</svg>'


def make_file(svg: str) -> str:
    """Return a chart as the text of a file that any viewer of pictures opens."""
    head, tag, rest = svg.partition(">")
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f"{head}{tag}<style>{FILE_STYLE}</style>{rest}\n"
