"""The JSON of ``icf list-plugins`` and ``icf describe``, as tables and as JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from docs.reference.markdown import write_table

from icf.cli import records

SCHEMAS: dict[str, type[records.Output]] = {
    "list-plugins.schema.json": records.PluginList,
    "describe.schema.json": records.ComponentList,
}
"""File beside the page -> the object that it describes."""

PARTS: tuple[type[records.Record], ...] = (
    records.PluginRecord,
    records.ComponentRecord,
    records.FolderRecord,
    records.ComponentDescription,
    records.ParameterRecord,
)


def write_records() -> list[str]:
    """Describe every object and its keys."""
    lines: list[str] = []
    for name, output in SCHEMAS.items():
        lines += [*_write_record(output), "", f"JSON Schema: [{name}]({name}).", ""]
    for record in PARTS:
        lines += [*_write_record(record), ""]
    return lines[:-1]


def _write_record(record: type[records.Record]) -> list[str]:
    rows = [(f"`{name}`", f"`{kind}`", meaning) for name, (kind, meaning) in list_keys(record).items()]
    text = (record.__doc__ or "").strip()
    return [f"## {record.__name__}", "", text, "", *write_table(["key", "type", "meaning"], rows)]


def list_keys(record: type[records.Record]) -> dict[str, tuple[str, str]]:
    """Return type and meaning of an object's keys."""
    schema = _write_json_schema(record)
    parts = schema.get("$defs", {})
    return {name: (_type_of(item, parts), item["description"]) for name, item in schema["properties"].items()}


def _type_of(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    match schema:
        case {"const": value}:
            return json.dumps(value)
        case {"enum": [*values]}:
            return " | ".join(json.dumps(value) for value in values)
        case {"anyOf": [*options]}:
            return " | ".join(_type_of(option, parts) for option in options)
        case {"$ref": str(path)}:
            name = path.rpartition("/")[2]
            return _type_of(parts[name], parts) if "enum" in parts[name] else name
        case {"type": "array", "items": dict(items)}:
            return f"array of {_type_of(items, parts)}"
    return str(schema.get("type", "any"))


def write_schema(name: str) -> str:
    """Return the text of a file of ``SCHEMAS``."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(head | _write_json_schema(SCHEMAS[name]), indent=2) + "\n"


def _write_json_schema(record: type[records.Record]) -> dict[str, Any]:
    return record.model_json_schema(mode="serialization")
