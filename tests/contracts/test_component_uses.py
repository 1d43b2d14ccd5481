"""Every built-in component is named by a recipe, an example of the docs, or a recipe of the tests."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from icf.components import KINDS
from icf.plugins import load_plugins

ROOT = Path(__file__).parents[2]
REFS = sorted(
    entry.ref
    for kind in KINDS
    for entry in load_plugins().entries(kind)
    if entry.plugin.distribution == "icf" and not entry.descriptor.deprecated
)


def list_recipes() -> Iterator[str]:
    """The texts of all recipes and parts of recipes that a test checks."""
    for folder in ("recipes", "tests/recipes"):
        yield from (path.read_text(encoding="utf-8") for path in sorted((ROOT / folder).glob("*.toml")))
    for page in sorted((ROOT / "docs").rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        yield from re.findall(r"(?<!<!-- wrong -->\n)^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def list_texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from list_texts(item)


@pytest.fixture(scope="module")
def named() -> set[str]:
    return {text for recipe in list_recipes() for text in list_texts(tomllib.loads(recipe))}


@pytest.mark.parametrize("ref", REFS)
def test_a_recipe_names_it(ref: str, named: set[str]) -> None:
    assert ref in named, f"no recipe of recipes/, docs/ or tests/recipes/ uses {ref}"
