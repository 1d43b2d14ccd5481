"""The JSON of ``icf list-plugins`` and ``icf describe``."""

from __future__ import annotations

import json
import re

from docs.reference.markdown import clean, write_table
from pydantic import BaseModel

from icf.cli import records
from icf.components import KINDS

OBJECTS: tuple[type[BaseModel], ...] = (records.PluginList, records.ComponentList)
PARTS: tuple[type[BaseModel], ...] = (
    records.PluginRecord,
    records.ComponentRecord,
    records.ComponentDescription,
    records.ParameterRecord,
)


def write_records() -> list[str]:
    """Describe every object and its keys, then show the schemas."""
    lines: list[str] = []
    for record in (*OBJECTS, *PARTS):
        rows = [
            (f"`{name}`", f"`{_type_of(record, name)}`", field.description or "")
            for name, field in record.model_fields.items()
        ]
        lines += [f"## {record.__name__}", "", clean(record.__doc__), ""]
        lines += [*write_table(["key", "type", "meaning"], rows), ""]
    lines += ["## The schemas", ""]
    for record in OBJECTS:
        schema = json.dumps(record.model_json_schema(mode="serialization"), indent=2)
        lines += [f"[JSON Schema](https://json-schema.org) of `{record.__name__}`:", "", "```json", schema, "```", ""]
    return lines[:-1]


def _type_of(record: type[BaseModel], name: str) -> str:
    text = re.sub(r"Literal\[(.*?)\]", lambda found: found[1].replace(", ", " | "), record.__annotations__[name])
    return (
        text.replace("Kind", " | ".join(KINDS))
        .replace("tuple[", "array[")
        .replace(", ...]", "]")
        .replace("None", "null")
    )
