from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from icf.overrides import merge
from icf.plan import make_plan
from icf.plugins import load_plugins

PAGE = Path(__file__).parents[2] / "docs" / "plugins" / "baseline.md"
TEXT = PAGE.read_text(encoding="utf-8")
BASE = {"dataset": {"use": "sklearn/digits"}, "model": {"use": "nn/sequential-cnn"}}


def find_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", find_blocks("toml"))
def test_recipes_are_accepted(block):
    plan = make_plan(merge(BASE, tomllib.loads(block)), load_plugins(), "docs")
    assert [choice.ref for choice in plan.choices() if choice.local_code] == [
        "baseline/model",
        "baseline/loss",
        "baseline/transform",
    ]


def test_every_component_of_the_table_exists():
    refs = set(re.findall(r'use = "([\w/-]+)"', TEXT))
    known = {entry.ref for entry in load_plugins().entries()}
    assert len(refs) > 6
    assert refs <= known
