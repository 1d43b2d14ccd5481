"""Public names, with signature and docstring."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from docs.reference.markdown import clean, write_table
from docs.reference.signatures import write_signature

HOOKS = Path(__file__).parents[1] / "plugins" / "hooks.md"

CALLS = {
    "icf.plan": ("load_plan",),
    "icf.pipeline.run": ("run_pipeline",),
    "icf.executors": ("choose_executor",),
    "icf.pipeline.listener": ("Listener", "RunResult"),
    "icf.pipeline.predict": ("predict_images", "Predictions"),
    "icf.local": ("read_local_plugins",),
}
"""Module -> what a program needs of it to run a recipe and to predict."""


def write_calls() -> list[str]:
    """Describe what runs a recipe and predicts."""
    return [line for module, names in CALLS.items() for line in ["", *write_module(module, names)]][1:]


def write_module(name: str, names: Iterable[str] = ()) -> list[str]:
    """Describe names of a module, by default all that it offers."""
    module = importlib.import_module(name)
    chosen = names or module.__all__
    return [line for item in chosen for line in ["", *_write_object(f"{name}.{item}", getattr(module, item))]][1:]


write_names = partial(write_module, "icf")
write_testing = partial(write_module, "icf.testing")


def _write_object(path: str, value: Any) -> list[str]:
    name = path.rpartition(".")[2]
    return [f"### {path}", "", *_describe(name, value)]


def _describe(name: str, value: Any) -> list[str]:
    link = f"[{name}](plugins/hooks.md#{name.lower()})"
    is_in_contract = f"#### {name}\n" in HOOKS.read_text(encoding="utf-8")
    if isinstance(value, str):
        return ["```python", f"{name} = {value}", "```", *["", f"See {link}."] * is_in_contract]
    if is_in_contract:
        return [*write_docstring(value), "", f"More: {link}."]
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return [f"Marks a function as a hook, with or without options of pluggy: `@icf.{name}`."]
    lines = ["```python", write_signature(name, value), "```", "", *write_docstring(value)]
    return [*lines, *_write_methods(value)] if inspect.isclass(value) else lines


def _write_methods(cls: type) -> list[str]:
    methods = [item for name, item in vars(cls).items() if inspect.isfunction(item) and not name.startswith("_")]
    rows = [(f"`{' '.join(write_signature(item.__name__, item).split())}`", clean(item.__doc__)) for item in methods]
    return ["", *write_table(["method", "meaning"], rows)] if rows else []


def write_docstring(value: Any) -> list[str]:
    """Return a docstring as Markdown; its table of errors becomes a list."""
    lines = []
    for line in clean(value.__doc__).splitlines():
        found = re.match(r"    (\w+): (.*)", line)
        lines += ["Raises:", ""] if line == "Raises:" else [f"- `{found[1]}`: {found[2]}" if found else line]
    return lines
