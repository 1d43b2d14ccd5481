"""Every built-in component says where it comes from and what a test compares it with."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from icf.components import KINDS
from icf.plugins import load_plugins

TESTS = Path(__file__).parents[1] / "plugins"
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
        for path in TESTS.glob("test_*.py")
        if re.search(rf"^(from|import) {plugin}\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert text, f"no file of tests/plugins imports {plugin}"
    names = {name: name.rpartition(".")[2] for name in find_names(entry.descriptor.reference)}
    assert [name for name, last in names.items() if not re.search(rf"\b{last}\b", text)] == []
