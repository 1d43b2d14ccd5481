"""What plugins, recipes and scripts may rely on, recorded: ``python -m docs.reference.surface`` adds what is new.

The record is docs/plugins/surface.json: name -> the version that brought it, its type, whether it must be given, and
the version that deprecated it. What is recorded may vanish, or change its type, two minor versions after it was
deprecated and not before. A change that breaks nobody, such as a wider range, is recorded by naming it:
``python -m docs.reference.surface NAME ...``. With ``--check`` nothing is written, and what would be is told.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from docs.reference.public_names import Promise, list_public_names

import icf
from icf.components import KINDS

RECORD = Path(__file__).parents[1] / "plugins" / "surface.json"

MINORS = 2
"""A deprecated name stays for so many minor versions."""

Entry = dict[str, Any]
Record = Mapping[str, Entry]
Surface = Mapping[str, Promise]


def read_record() -> dict[str, Entry]:
    """Return the record."""
    record: dict[str, Entry] = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    return record


def find_breaks(record: Record, surface: Surface, version: str) -> list[str]:
    """Return what breaks those who rely on the record: names that changed too early, and fields now required."""
    return [text for name, entry in record.items() if (text := _find_break(name, entry, surface.get(name), version))]


def _find_break(name: str, entry: Entry, now: Promise | None, version: str) -> str:
    if now is None or not _keeps_type(name, entry.get("type", now.type), now.type):
        change = "has vanished" if now is None else f"was '{entry['type']}' and is '{now.type}'"
        deprecated = entry.get("deprecated")
        if deprecated is None:
            return f"{name} {change}; deprecate it first, for {MINORS} minor versions"
        if _count_minors(deprecated, version) < MINORS:
            return f"{name} {change}, but it is deprecated only since {deprecated}"
    elif now.required and not entry["required"]:
        return f"{name} must be given now; give it a default"
    return ""


def _keeps_type(name: str, before: str, now: str) -> bool:
    """Tell whether a type is the same, or one more choice for what a recipe says."""
    is_given = name.partition(" ")[0] in {"recipe", *KINDS}
    choices, more = (set(re.split(r" \| | or ", text)) for text in (before, now))
    return before == now or (is_given and choices <= more)


def _count_minors(earlier: str, later: str) -> int:
    """Return the minor versions between two versions; a new major version counts for enough of them."""
    (major, minor), (new_major, new_minor) = (tuple(map(int, text.split(".")[:2])) for text in (earlier, later))
    return MINORS if new_major > major else new_minor - minor


def update_record(record: Record, surface: Surface, version: str) -> dict[str, Entry]:
    """Return the record of a surface that breaks nothing."""
    since = ".".join(version.split(".")[:2])
    return {
        name: {"since": since, **promise._asdict(), **record.get(name, {}), **promise._asdict()}
        for name, promise in sorted(surface.items())
    }


def main(arguments: Sequence[str]) -> int:
    """Write the record, unless something breaks it or it is only checked; return the exit code."""
    record, surface = read_record(), list_public_names()
    kept = {name: entry for name, entry in record.items() if name not in arguments}
    breaks = find_breaks(kept, surface, icf.__version__)
    updated = update_record(record, surface, icf.__version__)
    if "--check" in arguments and updated != record:
        breaks.append("docs/plugins/surface.json is out of date: python -m docs.reference.surface")
    print("\n".join(breaks) or f"{len(surface)} public names")
    if not (breaks or "--check" in arguments):
        lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in updated.items()]
        RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return int(bool(breaks))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
