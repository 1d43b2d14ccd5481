"""What icf promises of every plugin, whatever it computes: docs/plugins/testing.md of icf."""

from __future__ import annotations

from pathlib import Path

from icf.cli.main import main
from icf.testing import BoundCheck, parametrize_with_checks

RECIPE = Path(__file__).parents[1] / "recipe.toml"


@parametrize_with_checks("example")
def test_the_plugin_keeps_the_contract(check: BoundCheck, tmp_path: Path) -> None:
    check(tmp_path)


def test_the_recipe_can_be_used() -> None:
    assert main(["check", str(RECIPE), "--recipe-only"]) == 0
