"""Every built-in component, and part of the core, says where it comes from and what a test compares it with."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from icf.components import KINDS
from icf.plugins import load_plugins

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs/components.md"
ENTRIES = [
    pytest.param(entry, id=f"{kind}-{entry.ref}")
    for kind in KINDS
    for entry in load_plugins().entries(kind)
    if entry.plugin.distribution == "icf"
]


def find_names(text: str) -> list[str]:
    """Names of modules, functions and classes, such as sklearn.metrics.f1_score."""
    return re.findall(r"\b[a-z]\w*(?:\.\w+)+", re.sub(r"arXiv:[\d.]+|\w+\.py\b", "", text))


def resolve(name: str) -> object:
    """Import what a dotted name stands for; ImportError or AttributeError where it stands for nothing."""
    parts = name.split(".")
    found = importlib.import_module(parts[0])
    for length, part in enumerate(parts[1:], start=2):
        if not hasattr(found, part):
            importlib.import_module(".".join(parts[:length]))
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("entry", ENTRIES)
def test_it_says_where_it_comes_from_and_what_it_is_compared_with(entry):
    assert entry.descriptor.source
    assert entry.descriptor.reference
    for name in find_names(f"{entry.descriptor.source} {entry.descriptor.reference}"):
        assert resolve(name) is not None


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_it_is_compared_with_is_in_the_tests_of_its_plugin(entry):
    plugin = entry.descriptor.factory.partition(".")[0]
    text = "\n".join(
        path.read_text(encoding="utf-8")
        for path in TESTS.glob("plugins/test_*.py")
        if re.search(rf"^(from|import) {plugin}\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert text, f"no file of tests/plugins imports {plugin}"
    assert find_missing(entry.descriptor.reference, text) == []


def find_missing(reference: str, text: str) -> list[str]:
    """Names in a reference that a text does not use."""
    return [name for name in find_names(reference) if not re.search(rf"\b{name.rpartition('.')[2]}\b", text)]


def list_parts_of_the_core():
    _, _, table = PAGE.read_text(encoding="utf-8").partition("## Parts of the core\n")
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return [pytest.param(*row[2:], id=row[0]) for row in rows[1:]]


def test_the_page_has_parts_of_the_core():
    assert len(list_parts_of_the_core()) >= 14


@pytest.mark.parametrize(("source", "reference"), list_parts_of_the_core())
def test_parts_of_the_core_are_compared_with_what_the_page_says(source, reference):
    assert source.strip()
    text = "\n".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    assert find_missing(reference, text) == []
    assert all(resolve(name) is not None for name in find_names(reference))
