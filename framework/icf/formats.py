"""Numbers, as a person reads them."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path


def format_score(value: float, decimals: int = 4) -> str:
    """Write a metric or a loss, such as 0.8712; large ones get fewer decimals, tiny ones an exponent, NaN a dash."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else str(value)
    if value and abs(value) < 5e-4:
        return f"{value:.1e}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{decimals - (abs(value) >= 10)}f}"


def format_share(value: float) -> str:
    """Write a fraction as per cent; only what is exactly all or nothing is written as 100 % or 0 %."""
    if not math.isfinite(value):
        return "–"
    percent = 100 * value
    if 99.5 <= percent < 100:
        return f"{min(percent, 99.9):.1f} %"
    return "< 1 %" if 0 < percent < 0.5 else f"{percent:.0f} %"


def format_interval(score: dict[str, float]) -> str:
    """Write the interval of a score {"value", "low", "high"}."""
    return f"[{format_score(score['low'])}, {format_score(score['high'])}]"


def format_speed(images_per_second: float | None) -> str:
    """Write images per second; with a decimal where that matters."""
    if images_per_second is None:
        return ""
    return f"{images_per_second:,.0f}" if images_per_second >= 10 else f"{images_per_second:.1f}"


def format_seconds(seconds: float) -> str:
    """Write a duration in words, such as ``1.2 s``, ``3 min 12 s`` or ``1 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_clock(seconds: float | None) -> str:
    """Write a duration in little space, such as ``3:12`` or ``1:05:09``."""
    if seconds is None:
        return ""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    clock = f"{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
    return f"{hours}:{clock}" if hours else clock


def format_bytes(count: int) -> str:
    """Return a number of bytes in the unit that suits it: 512 bytes, 3.4 MB, 20 GB."""
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def format_count(count: int, noun: str) -> str:
    """Write a number of things, such as ``1 image`` or ``1,200 images``."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def format_path(path: Path) -> str:
    """Write a path as short as it can be typed from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def shorten_refs(refs: Iterable[str]) -> dict[str, str]:
    """Return component -> its name without the plugin, where that is not ambiguous."""
    names = {ref: ref.partition("/")[2] or ref for ref in refs}
    counts = Counter(names.values())
    return {ref: name if counts[name] == 1 else ref for ref, name in names.items()}
