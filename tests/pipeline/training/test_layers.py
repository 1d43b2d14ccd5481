from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from timm.optim import param_groups_layer_decay
from torch import nn

import distributions
from icf.errors import PluginError, RecipeError
from icf.pipeline.folder import RunFolder
from icf.pipeline.training.checkpoint import list_states
from icf.pipeline.training.fit import train_epoch
from icf.pipeline.training.layers import count_open, list_layers, scale_rates
from icf.pipeline.training.network import find_head
from icf.pipeline.training.parameters import Setting, group_parameters
from icf.pipeline.training.team import Team
from icf.pipeline.training.trainer import Trainer, build_trainer
from icf_nn.models import SequentialCnn
from runs import find_run, finish, kill, start_run, wait_until
from training import SMALL, fit, make_jobs, make_plan, read_history, without_speed

installer = pytest.fixture(distributions.installer)

DEEP = ("model.widths=[8, 16, 24]", 'scheduler="scheduler/constant"')


pytestmark = pytest.mark.usefixtures("cache_of_file")


def list_names(model: nn.Module, num_classes: int) -> list[str]:
    return [layer.name for layer in list_layers(model, find_head(model, num_classes, "a test"))]


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit", "test_efficientnet", "resnet18", "convnext_atto"])
@pytest.mark.parametrize("decay", [0.75, 0.5])
def test_rates_fall_as_timm_lets_them(arch: str, decay: float) -> None:
    model = timm.create_model(arch, num_classes=7)
    theirs = param_groups_layer_decay(model, weight_decay=0.05, layer_decay=decay)
    expected = {id(p): (group["lr_scale"], group["weight_decay"] > 0) for group in theirs for p in group["params"]}
    layers = list_layers(model, find_head(model, 7, "a test"))
    groups = group_parameters(model, {key: Setting(scale) for key, scale in scale_rates(layers, decay).items()})
    found = {id(p): (group["lr_scale"], "weight_decay" not in group) for group in groups for p in group["params"]}
    assert found.keys() == expected.keys()
    for key, (scale, decayed) in found.items():
        assert (pytest.approx(scale), decayed) == expected[key]
    assert groups[0]["lr_scale"] == 1.0
    assert len({group["lr_scale"] for group in groups}) > 4


BLOCKS = [f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2)]
FIRES = [f"features.{number}" for number in (0, 3, 4, 6, 7, 9, 10, 11, 12)]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (torchvision.models.resnet18(num_classes=7), ["conv1", *BLOCKS, "fc"]),
        (torchvision.models.squeezenet1_1(num_classes=7), [*FIRES, "classifier.1"]),
        (
            torchvision.models.mobilenet_v3_small(num_classes=7),
            [*(f"features.{number}" for number in range(13)), "classifier.0", "classifier.3"],
        ),
        (SequentialCnn(widths=(8, 16), num_classes=7, channels=1, image_size=(8, 8)), ["stages.0", "stages.1", "head"]),
    ],
)
def test_layers_of_other_networks_follow_their_modules(model: nn.Module, expected: list[str]) -> None:
    layers = list_layers(model, find_head(model, 7, "a test"))
    for layer, name in zip(layers, expected, strict=True):
        assert f"{layer.name}.".startswith(f"{name}.")
        assert model.get_submodule(layer.name) is not model
    parameters = [id(parameter) for layer in layers for parameter in layer.parameters]
    assert sorted(parameters) == sorted(id(parameter) for parameter in model.parameters())


def test_a_head_that_is_made_first_is_still_the_last_layer() -> None:
    class HeadFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 7)
            self.first = nn.Linear(3, 4)
            self.norm = nn.BatchNorm1d(4)

    assert list_names(HeadFirst(), 7) == ["first", "head"]


@pytest.mark.parametrize(
    ("unfreeze", "layers", "expected"),
    [((1,), 4, [1, 4, 4, 4]), ((1, 2, 3), 9, [1, 2, 3, 9]), ((2, 3), 2, [1, 1, 2, 2]), ((1, 2, 3), 2, [1, 2, 2, 2])],
)
def test_layers_open_one_by_one_and_then_all(unfreeze: Sequence[int], layers: int, expected: list[int]) -> None:
    assert [count_open(unfreeze, epoch, layers) for epoch in range(4)] == expected


def make_trainer(runs: Path, *overrides: str) -> Trainer:
    torch.set_num_threads(1)
    return build_trainer(make_jobs(make_plan(*DEEP, *overrides), runs)[0], Team())


def find_changed(trainer: Trainer, before: dict[str, torch.Tensor]) -> set[str]:
    after = trainer.model.state_dict()
    return {".".join(name.split(".")[:2]) for name in before if not torch.equal(before[name], after[name])}


def test_each_epoch_trains_the_layers_that_are_open_and_leaves_the_others_alone(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "model.unfreeze=[1, 2]", "train.epochs=3")
    changed = []
    for epoch in range(3):
        before = copy.deepcopy(trainer.model.state_dict())
        trainer.state.epoch = epoch
        train_epoch(trainer)
        changed.append(find_changed(trainer, before))
    head = {"head.weight", "head.bias"}
    assert changed == [head, head | {"stages.2"}, head | {"stages.2", "stages.1", "stages.0"}]


def test_a_rate_decays_from_layer_to_layer(tmp_path: Path) -> None:
    """Plain gradient descent in one step: the change of a layer is its rate times its gradient."""
    sgd = 'optimizer={use="optimizer/sgd", lr=0.5, momentum=0.0, nesterov=false, weight_decay=0.0}'
    steps = []
    for decay in (1.0, 0.5):
        trainer = make_trainer(tmp_path / str(decay), sgd, "train.batch_size=1000", f"model.layer_decay={decay}")
        before = copy.deepcopy(trainer.model.state_dict())
        train_epoch(trainer)
        after = trainer.model.state_dict()
        steps.append({name: (after[name] - before[name]) for name, _ in trainer.model.named_parameters()})
    for name, step in steps[0].items():
        depth = 0 if name.startswith("head") else 3 - int(name.split(".")[1])
        torch.testing.assert_close(steps[1][name], step * 0.5**depth, rtol=1e-4, atol=1e-7)
        assert step.abs().max() > 1e-5


def test_the_history_shows_the_rate_of_the_head(tmp_path: Path) -> None:
    job = fit(tmp_path, *DEEP, "model.layer_decay=0.5", "train.epochs=1", "optimizer.lr=0.004")
    assert read_history(job.folder)[0]["learning_rate"] == 0.004


def test_killed_and_resumed_layers_open_as_if_nothing_had_happened(tmp_path: Path) -> None:
    settings = (
        *SMALL, "train.epochs=6", "model.widths=[24, 48]", 'compute.executor="inline"', "split.folds=2",
        "model.unfreeze=[2, 4]", "model.layer_decay=0.5", "model.head_dropout=0.3", "model.dropout_samples=3",
        'train.average="ema"',
    )  # fmt: skip
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    with start_run(whole, *settings) as process:
        finish(process)
    with start_run(broken, *settings) as process:
        wait_until(lambda: bool(list(broken.glob("*/*/folds/0/checkpoint/epoch-00003"))), process)
        kill(process)
    with start_run(broken, *settings) as process:
        finish(process)
    for fold in range(2):
        one, other = (RunFolder(find_run(runs)).fold(fold) for runs in (whole, broken))
        assert without_speed(read_history(one)) == without_speed(read_history(other))
        assert one.oof.read_bytes() == other.oof.read_bytes()
        last = [list_states(each.checkpoints)[-1] / "model.safetensors" for each in (one, other)]
        assert last[0].read_bytes() == last[1].read_bytes()


FORGETFUL = """
    import icf
    import torch

    @icf.hookimpl
    def icf_optimizers():
        yield icf.Optimizer(name="one-group", factory="{module}:build", summary="All parameters in one group")

    def build(params, ctx):
        return torch.optim.SGD([p for group in ctx.parameter_groups for p in group["params"]], lr=0.1)
"""


def test_an_optimizer_that_loses_the_groups_is_told(tmp_path: Path, installer: distributions.Installer) -> None:
    installer.install("forgetful", {"forgetful": FORGETFUL}, entry_points={"forgetful": "forgetful"})
    settings = (*DEEP, 'optimizer="forgetful/one-group"', "train.epochs=1")
    fit(tmp_path / "a", *settings)
    with pytest.raises(PluginError, match=r"forgetful/one-group.*changes the groups of parameters"):
        fit(tmp_path / "b", *settings, "model.layer_decay=0.9")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("model.unfreeze=[1]", 'model.freeze="backbone"'), 'freeze = "backbone" would leave it alone'),
        (("model.unfreeze=[2, 1]",), r"unfreeze = \[2, 1\]: each number must be larger"),
        (("model.unfreeze=[0]",), r"model.unfreeze\[0\]: found 0; must be greater than or equal to 1"),
        (("model.layer_decay=1.5",), "model.layer_decay: found 1.5"),
        (("model.dropout_samples=4",), "dropout_samples above 1 needs head_dropout above 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        make_plan(*settings)


def test_layers_that_never_open_are_told() -> None:
    [warning] = make_plan("model.unfreeze=[1, 3]").warnings
    assert warning == "model.unfreeze = [1, 3]: training ends after 3 epochs, before all layers are open"
