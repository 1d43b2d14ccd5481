"""Components that come with icf."""

from __future__ import annotations

from docs.reference.markdown import write_table

from icf.cli.parameters import list_parameters
from icf.components import KINDS
from icf.plugins import Entry, load_plugins


def write_components() -> list[str]:
    """Describe every built-in component and its parameters, by kind."""
    lines: list[str] = []
    for kind in KINDS:
        entries = [entry for entry in load_plugins().entries(kind) if entry.plugin.distribution == "icf"]
        lines += ["", f"## {kind}", ""]
        lines += write_table(
            ["component", "what it is", "source", "tested against"],
            (
                (
                    f"[`{item.ref}`](#{_anchor(item, kind)})",
                    item.descriptor.summary,
                    item.descriptor.source or "",
                    item.descriptor.reference or "",
                )
                for item in entries
            ),
        )
        for entry in entries:
            lines += ["", f"### {entry.ref} ({kind})", "", f"{entry.descriptor.summary}.", "", *_parameters(entry)]
    return lines[1:]


def _anchor(entry: Entry, kind: str) -> str:
    return f"{entry.ref.replace('/', '')}-{kind}"


def _parameters(entry: Entry) -> list[str]:
    rows = [
        (f"`{item.name}`", item.type, item.shown_default, item.bounds, item.description)
        for item in list_parameters(entry.descriptor.params)
    ]
    if not rows:
        return ["No parameters."]
    return write_table(["parameter", "type", "default", "bounds", "meaning"], rows)
