from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from icf.cli.main import app
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


@pytest.mark.parametrize("command", [line for block in find_blocks("sh") for line in block.splitlines()])
def test_commands_parse(command):
    group = typer.main.get_command(app)
    arguments = shlex.split(command)[1:]
    name, subcommand, rest = group.resolve_command(group.make_context("icf", [*arguments[:1]]), arguments)
    assert name == arguments[0]
    subcommand.make_context(name, rest)


def test_every_component_of_the_table_exists():
    refs = set(re.findall(r'use = "([\w/-]+)"', TEXT))
    known = {entry.ref for entry in load_plugins().entries()}
    assert len(refs) > 6
    assert refs <= known
