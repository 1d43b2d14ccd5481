from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import pytest

import distributions
from icf.components import ModelInfo
from icf.errors import PluginError, RecipeError
from icf.plan import Plan, load_plan, make_plan
from icf.plugins import Catalogue, load_plugins
from icf.recipe import to_toml
from icf.sections import ModelSection

installer = pytest.fixture(distributions.installer)

KIT = """
    from pathlib import Path
    from typing import Annotated, Literal

    import icf
    from pydantic import Field

    class Nothing(icf.Params):
        pass

    class Size(icf.Params):
        height: int = Field(default=8, gt=0)

    class Rich(icf.Params):
        root: Path = Path("data")
        rate: float = Field(default=0.5, ge=0, le=1)
        mode: Literal["fast", "slow"] = "fast"
        betas: tuple[float, float] = (0.9, 0.999)
        weights: dict[int, float] = {}
        limit: float = float("inf")
        size: Size = Size()
        choice: int | tuple[int, int] | None = None
        deny: bool = False

    @icf.hookimpl
    def icf_datasets():
        yield icf.Dataset(name="data", factory="{module}:make", params=Rich, summary="")

    @icf.hookimpl
    def icf_models():
        yield icf.Model(name="net", factory="{module}:make", params=Rich, summary="")
        yield icf.Model(
            name="seen", factory="{module}:make", params=Nothing, summary="", inspect="{module}:look"
        )
        yield icf.Model(
            name="unseen", factory="{module}:make", params=Nothing, summary="", inspect="{module}:make"
        )

    @icf.hookimpl
    def icf_losses():
        yield icf.Loss(name="good", factory="{module}:make", params=Rich, summary="")
        yield icf.Loss(name="crash", factory="{module}:crash", params=Nothing, summary="")
        yield icf.Loss(name="refuse", factory="{module}:refuse", params=Nothing, summary="")
        yield icf.Loss(name="absent", factory="{module}:absent", params=Nothing, summary="")
        yield icf.Loss(name="old", factory="{module}:make", summary="", deprecated="use kit/good")

    @icf.hookimpl
    def icf_optimizers():
        yield icf.Optimizer(name="step", factory="{module}:make", params=Rich, summary="")

    @icf.hookimpl
    def icf_schedulers():
        yield icf.Scheduler(name="flat", factory="{module}:make", params=Nothing, summary="")

    @icf.hookimpl
    def icf_samplers():
        yield icf.Sampler(name="all", factory="{module}:make", params=Nothing, summary="")

    @icf.hookimpl
    def icf_ensemblers():
        yield icf.Ensembler(name="mean", factory="{module}:make", params=Nothing, summary="")

    @icf.hookimpl
    def icf_transforms():
        yield icf.Transform(name="flip", factory="{module}:make", params=Rich, summary="")

    @icf.hookimpl
    def icf_mixers():
        yield icf.Mixer(name="blend", factory="{module}:make", params=Rich, summary="")

    @icf.hookimpl
    def icf_metrics():
        yield icf.Metric(name="score", factory="{module}:make", params=Rich, summary="")
        yield icf.Metric(name="cost", factory="{module}:make", params=Rich, summary="", maximize=False)

    @icf.hookimpl
    def icf_run_end(event):
        pass

    def make(params, ctx):
        return params, ctx

    def look(params, ctx):
        return icf.ModelInfo(mean=(0.5,), weights=ctx)

    def crash(params, ctx):
        raise KeyError("no\\nkey")

    def refuse(params, ctx):
        raise icf.PluginError("labels are missing") from ValueError("empty")
"""

RECIPE = {
    "problem": {"question": "Which?"},
    "dataset": {"use": "kit/data", "root": "somewhere", "on_bad_image": "skip"},
    "model": {"use": "kit/net", "freeze": "backbone", "rate": 0.25},
    "loss": {"use": "kit/good", "weights": {"1": 2.0}, "size": {"height": 4}},
    "optimizer": "kit/step",
    "scheduler": "kit/flat",
    "sampler": "kit/all",
    "ensemble": "kit/mean",
    "transforms": {"image_size": 32, "train": ["kit/flip", {"use": "kit/flip", "rate": 1.0}], "mix": ["kit/blend"]},
    "metrics": {"select": "kit/score", "report": ["kit/cost", {"use": "kit/score"}]},
    "observers": ["kit"],
}


@pytest.fixture
def catalogue(installer) -> Catalogue:
    installer.install("kit-dist", {"kit_plugin": KIT}, version="1.2", entry_points={"kit": "kit_plugin"})
    return load_plugins(only=["kit"])


@pytest.fixture
def plan(catalogue) -> Plan:
    return make_plan(RECIPE, catalogue, "sample")


def changed(**sections) -> dict:
    return RECIPE | sections


def problems_of(raw, catalogue) -> dict[str, str]:
    with pytest.raises(RecipeError) as caught:
        make_plan(raw, catalogue, "sample")
    return {problem.where: problem.message for problem in caught.value.problems}


def choose_loss(catalogue, name):
    return make_plan(changed(loss=f"kit/{name}"), catalogue, "sample").loss


def test_choices_are_filled_and_know_their_source(plan):
    assert (plan.name, plan.recipe.dataset.on_bad_image, plan.recipe.model.freeze) == (
        "sample",
        "skip",
        "backbone",
    )
    assert (plan.loss.ref, plan.loss.kind, plan.loss.factory) == ("kit/good", "loss", "kit_plugin:make")
    assert (plan.loss.distribution, plan.loss.version) == ("kit-dist", "1.2")
    assert plan.loss.params["weights"] == {"1": 2.0}
    assert plan.loss.params["size"] == {"height": 4}
    assert plan.dataset.params["root"] == "somewhere"
    assert [choice.params["rate"] for choice in plan.train_transforms] == [0.5, 1.0]
    assert [choice.ref for choice in plan.mixers] == ["kit/blend"]
    assert plan.observers[0].module == "kit_plugin"


def test_the_selecting_metric_comes_first_and_none_twice(plan):
    assert [(choice.ref, choice.maximize) for choice in plan.metrics] == [
        ("kit/score", True),
        ("kit/cost", False),
    ]


def report(*metrics):
    return changed(metrics={"select": "kit/score", "report": list(metrics)})


def test_a_metric_may_be_listed_twice_under_two_names(catalogue):
    other = {"use": "kit/cost", "rate": 0.25}
    plan = make_plan(report("kit/cost", other | {"name": "low-cost"}), catalogue, "sample")
    assert [choice.key for choice in plan.metrics] == ["kit/score", "kit/cost", "low-cost"]
    assert plan.metrics[2].params["rate"] == 0.25
    assert plan.filled_recipe()["metrics"]["report"][1].items() >= (other | {"name": "low-cost"}).items()
    assert Plan.from_json(plan.to_json()) == plan


def test_a_metric_listed_twice_without_a_name_is_told(catalogue):
    raw = report("kit/cost", {"use": "kit/cost", "rate": 0.25}, {"use": "kit/score", "name": "epoch"})
    advice = "give this metric a name of its own, such as name ="
    assert problems_of(raw, catalogue) == {
        "metrics.report[1]": f"'kit/cost' is taken by metrics.report[0]; {advice} \"cost-2\"",
        "metrics.report[2]": f"'epoch' is taken by a column of history.csv; {advice} \"score-2\"",
    }


def test_a_name_of_a_metric_has_no_spaces(catalogue):
    [where] = problems_of(report({"use": "kit/cost", "name": "My cost"}), catalogue)
    assert where == "metrics.report[0].name"


def test_build_gives_the_factory_what_was_validated(plan):
    params, ctx = plan.loss.build("context")
    assert ctx == "context"
    assert (params.weights, params.size.height, params.betas) == ({1: 2.0}, 4, (0.9, 0.999))
    assert plan.dataset.build(None)[0].root == Path("somewhere")


def test_a_crashing_factory_is_one_line_that_names_its_source(catalogue):
    with pytest.raises(PluginError) as caught:
        choose_loss(catalogue, "crash").build(None)
    assert str(caught.value) == "loss 'kit/crash' (kit-dist 1.2) failed: KeyError: 'no\\nkey'"
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_error_for_people_passes_unchanged(catalogue):
    with pytest.raises(PluginError) as caught:
        choose_loss(catalogue, "refuse").build(None)
    assert str(caught.value) == "labels are missing"


def test_a_factory_that_does_not_exist_names_its_source(catalogue):
    with pytest.raises(PluginError, match=r"loss 'kit/absent' \(kit-dist 1.2\).*'kit_plugin:absent'"):
        choose_loss(catalogue, "absent").build(None)


def test_inspecting_a_model(plan, catalogue):
    assert plan.model.inspect_model(None) == ModelInfo()
    seen = make_plan(changed(model="kit/seen"), catalogue, "sample").model
    assert seen.inspect_model("ours") == ModelInfo(mean=(0.5,), weights="ours")
    unseen = make_plan(changed(model="kit/unseen"), catalogue, "sample").model
    with pytest.raises(PluginError, match="returned tuple, not ModelInfo"):
        unseen.inspect_model(None)


def test_every_problem_of_every_section_is_found_at_once(catalogue):
    raw = changed(
        train={"epochs": 0},
        loss={"use": "kit/good", "rate": 2, "rte": 1, "size": {"height": 0, "width": 1}, "choice": "x"},
        model="kit/nte",
        optimizer={"use": "kit/good"},
        transforms={"train": ["kit/flip", {"use": "kit/flip", "mode": "fats"}], "shared": ["kitt/flip"]},
        metrics={"select": "kit/score", "report": ["score"]},
        observers=["kit", "absent-plugin"],
    )
    problems = problems_of(raw, catalogue)
    assert problems["train.epochs"] == "found 0; must be greater than or equal to 1"
    assert problems["loss.rate"] == "found 2; must be less than or equal to 1 [kit/good, kit-dist 1.2]"
    assert "did you mean 'rate'" in problems["loss.rte"]
    assert problems["loss.size.height"] == "found 0; must be greater than 0 [kit/good, kit-dist 1.2]"
    assert problems["loss.size.width"] == "unknown key 'width' (allowed: height) [kit/good, kit-dist 1.2]"
    assert problems["loss.choice"] == "found 'x'; must be a whole number, or must be an array [kit/good, kit-dist 1.2]"
    assert "did you mean 'kit/net'" in problems["model"]
    assert problems["optimizer"] == "'kit/good' is of kind loss, not optimizer"
    assert "did you mean 'fast'" in problems["transforms.train[1].mode"]
    assert "no plugin 'kitt' is installed; did you mean 'kit'" in problems["transforms.shared[0]"]
    assert "did you mean 'kit/score'" in problems["metrics.report[0]"]
    assert "no plugin 'absent-plugin' is installed" in problems["observers[1]"]
    assert len(problems) == 12


def test_json_round_trip_is_exact(plan):
    assert Plan.from_json(plan.to_json()) == plan
    assert Plan.from_json(plan.to_json()).to_json() == plan.to_json()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "format: found None"),
        ('{"format": 99}', "format: found 99; this version of icf reads format 1"),
        ('{"format": 1}', "icf_version: is missing"),
    ],
)
def test_a_plan_of_something_else_is_refused(text, message):
    with pytest.raises(RecipeError) as caught:
        Plan.from_json(text)
    assert message in str(caught.value)


def test_the_filled_recipe_gives_the_same_plan(plan, catalogue):
    filled = tomllib.loads(to_toml(plan.filled_recipe()))
    section = ModelSection(use="kit/net", freeze="backbone").model_dump(mode="json", exclude_none=True)
    assert filled["model"] == section | {key: value for key, value in plan.model.params.items() if value is not None}
    again = make_plan(filled, catalogue, "sample")
    assert again.identity == plan.identity
    assert again.filled_recipe() == plan.filled_recipe()


SAME = [
    {"problem": {"question": "Another?"}},
    {"observers": []},
    {"cache": {"mode": "off", "max_gb": 1.5}},
    {
        "compute": {
            "executor": "inline",
            "max_concurrent_folds": 1,
            "max_failures": 0,
            "checkpoint_minutes": 1.0,
            "storage": "x",
        }
    },
    {"optimizer": {"use": "kit/step", "rate": 0.5}},
]
OTHER = [
    {"train": {"epochs": 11}},
    {"train": {"seed": 1}},
    {"compute": {"threads": 2}},
    {"compute": {"precision": "fp32"}},
    {"split": {"folds": 4}},
    {"dataset": {"use": "kit/data", "root": "somewhere"}},
    {"model": {"use": "kit/net", "rate": 0.25}},
    {"optimizer": {"use": "kit/step", "rate": 0.4}},
    {"transforms": {"image_size": 32}},
    {"transforms": RECIPE["transforms"] | {"resize": "pad"}},
    {"transforms": RECIPE["transforms"] | {"mix": []}},
    {"transforms": RECIPE["transforms"] | {"unmixed_epochs": 1}},
    {"metrics": {"select": "kit/cost", "report": ["kit/score"]}},
]


@pytest.mark.parametrize("change", SAME)
def test_identity_ignores_what_can_not_change_the_numbers(plan, catalogue, change):
    assert make_plan(changed(**change), catalogue, "other").identity == plan.identity


@pytest.mark.parametrize("change", OTHER)
def test_identity_follows_what_can(plan, catalogue, change):
    assert make_plan(changed(**change), catalogue, "sample").identity != plan.identity


def test_identity_follows_the_version_of_a_component(plan):
    data = json.loads(plan.to_json())
    data["loss"]["version"] = "1.3"
    assert Plan.from_json(json.dumps(data)).identity != plan.identity


def test_a_deprecated_component_is_a_warning(plan, catalogue):
    old = make_plan(changed(loss="kit/old"), catalogue, "sample")
    assert old.warnings == ("loss: 'kit/old' is deprecated: use kit/good",)
    assert plan.warnings == ()


@pytest.fixture
def recipe_file(tmp_path) -> Path:
    path = tmp_path / "lab-note.toml"
    path.write_text(to_toml(RECIPE))
    return path


@pytest.mark.usefixtures("catalogue")
def test_load_plan_reads_overrides_and_resolves(recipe_file):
    plan = load_plan(recipe_file, ["model.rate=0.75", "train.epochs=2"])
    assert (plan.name, plan.model.params["rate"], plan.recipe.train.epochs) == ("lab-note", 0.75, 2)


@pytest.mark.usefixtures("catalogue")
def test_load_plan_imports_only_what_the_recipe_names(recipe_file, installer):
    installer.install("bad-dist", {"bad_plugin": "raise RuntimeError"}, entry_points={"bad": "bad_plugin"})
    installer.install("idle-dist", {"idle_plugin": "import icf"}, entry_points={"idle": "idle_plugin"})
    load_plan(recipe_file)
    assert not {"bad_plugin", "idle_plugin"} & set(sys.modules)
    with pytest.raises(RecipeError, match="does not load: RuntimeError"):
        load_plan(recipe_file, ["loss=bad/loss"])


@pytest.mark.usefixtures("catalogue")
def test_load_plan_leaves_blocked_plugins_out(recipe_file):
    with pytest.raises(RecipeError, match=r"dataset: plugin 'kit' \(kit-dist 1.2\) is blocked"):
        load_plan(recipe_file, blocked=["kit"])
