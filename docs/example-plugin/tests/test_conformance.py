from __future__ import annotations

import icf_poly.plugin

from icf.cli.main import main
from icf.testing import parametrize_with_checks

pytest_plugins = ["icf.testing.fixtures"]


@parametrize_with_checks("poly")
def test_poly_keeps_the_contract(check, tmp_path):
    check(tmp_path)


def test_the_hooks_can_be_registered(icf_register):
    assert [loss.name for loss in icf_register(icf_poly.plugin).components] == ["poly"]


def test_a_recipe_with_poly_trains(icf_recipe, tmp_path):
    recipe = icf_recipe(loss={"use": "poly/poly", "epsilon": 2.0})
    assert main(["run", str(recipe), "--runs", str(tmp_path / "runs"), "--quiet"]) == 0
