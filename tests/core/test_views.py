from __future__ import annotations

import json
from pathlib import Path

import pytest

from icf.cli.plan_table import describe_plan
from icf.errors import RecipeError
from icf.plan import Plan, load_plan
from icf.recipe import to_toml

RECIPE = """
    dataset = "sklearn/digits"
    model = "nn/sequential-cnn"
"""
CROP = '{use="augment/crop", place="top-left"}'
ALL = f'["vertical-flip", "augment/crop", ["horizontal-flip", {CROP}, {{use="augment/scale", factor=0.8}}]]'


def plan_of(folder: Path, views: str) -> Plan:
    (folder / "small.toml").write_text(RECIPE)
    return load_plan(folder / "small.toml", [f"inference.tta={views}"])


def test_views_are_resolved_in_order(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ALL)
    steps = [[step if isinstance(step, str) else (step.ref, step.params) for step in view.steps] for view in plan.views]
    assert steps == [
        ["vertical-flip"],
        [("augment/crop", {"share": 0.875, "place": "centre"})],
        [
            "horizontal-flip",
            ("augment/crop", {"share": 0.875, "place": "top-left"}),
            ("augment/scale", {"factor": 0.8, "mode": "reflect"}),
        ],
    ]
    assert {"augment/crop", "augment/scale"} <= {choice.ref for choice in plan.choices()}
    assert Plan.from_json(plan.to_json()) == plan


def test_the_filled_recipe_is_the_same_plan(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ALL)
    (tmp_path / "filled.toml").write_text(to_toml(plan.filled_recipe()))
    filled = load_plan(tmp_path / "filled.toml")
    assert filled.views == plan.views
    assert filled.identity == plan.identity
    assert plan.filled_recipe()["inference"]["tta"][0] == "vertical-flip"


def test_a_plan_from_before_views_were_components_keeps_its_flips(tmp_path: Path) -> None:
    written = json.loads(plan_of(tmp_path, '["horizontal-flip", "vertical-flip"]').to_json())
    del written["view_transforms"], written["recipe"]["inference"]["average"]
    views = Plan.from_json(json.dumps(written)).views
    assert [view.steps for view in views] == [("horizontal-flip",), ("vertical-flip",)]


def test_the_identity_follows_the_views(tmp_path: Path) -> None:
    views = ("[]", '["horizontal-flip"]', '["augment/crop"]', f"[{CROP}]", f'[["horizontal-flip", {CROP}]]')
    identities = [plan_of(tmp_path, view).identity for view in views]
    assert len(set(identities)) == len(views)
    written_out = '[{use="augment/crop", share=0.875, place="centre"}]'
    assert plan_of(tmp_path, written_out).identity == plan_of(tmp_path, '["augment/crop"]').identity


def test_people_are_told_the_views(tmp_path: Path) -> None:
    assert dict(describe_plan(plan_of(tmp_path, ALL)))["inference"] == (
        "views: plain, vertical-flip, augment/crop,"
        " horizontal-flip + augment/crop (place = top-left) + augment/scale (factor = 0.8)"
    )


@pytest.mark.parametrize(
    ("views", "where", "message"),
    [
        ('["horizontal-flop"]', "inference.tta[0]", "must be 'horizontal-flip', 'vertical-flip', a transform such as"),
        ('["vertical-flip", ["horizontal-flip", 3]]', "inference.tta[1]", "3: must be 'horizontal-flip'"),
        ("[[]]", "inference.tta[0]", "an empty array is the plain image"),
        ('[{place="centre"}]', "inference.tta[0]", "found a table; must be 'horizontal-flip'"),
        ('"horizontal-flip"', "inference.tta", "must be an array"),
        ('["augment/mixup"]', "inference.tta[0]", "'augment/mixup' is of kind mixer, not transform"),
        ('[["vertical-flip", "augment/crp"]]', "inference.tta[0][1]", "did you mean 'augment/crop'?"),
        ('[{use="augment/crop", place="left"}]', "inference.tta[0].place", "(allowed: bottom-left, bottom-right"),
    ],
)
def test_what_is_no_view_is_told(tmp_path: Path, views: str, where: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        plan_of(tmp_path, views)
    [problem] = caught.value.problems
    assert problem.where == where
    assert message in problem.message
