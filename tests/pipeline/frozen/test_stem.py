from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from icf.errors import IcfError
from icf.pipeline.frozen.separation import Embedder, InseparableError, Separation, check_separation
from icf.pipeline.frozen.stem import freeze_stem, make_rest
from icf.pipeline.training.network import set_training_mode

IMAGES = torch.randn((8, 3, 32, 32), generator=torch.Generator().manual_seed(1))


class Network(nn.Module):
    """A chain with everything that can move in training, and branches that do not belong to it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.first = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8, affine=False)
        self.drop = nn.Dropout(0.5)
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 3)
        self.unused = nn.Linear(2, 2)
        self.pair = Pair()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.drop(self.norm(self.first(images * self.scale)))
        self.pair(features)
        logits: torch.Tensor = self.head(self.pool(self.second(features)).flatten(1))
        return logits


class Pair(nn.Module):
    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return features, features


def freeze(model: nn.Module, name: str) -> nn.Module:
    freeze_stem(model, name, torch.zeros(1, 3, 32, 32), "model 'a/b' (c 1)")
    return model


def list_trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def separate(model: nn.Module, name: str) -> Separation:
    rest = make_rest(model)
    return Separation(model, Embedder(model, model.get_submodule(name), of_output=True), rest)


@pytest.mark.parametrize(
    ("name", "frozen"),
    [
        ("first", {"scale", "first.weight", "first.bias"}),
        ("drop", {"scale", "first.weight", "first.bias"}),
        ("second.0", {"scale", "first.weight", "first.bias", "second.0.weight", "second.0.bias"}),
    ],
)
def test_what_the_output_depends_on_is_frozen(name: str, frozen: set[str]) -> None:
    model = Network()
    everything = list_trained(model)
    assert everything - list_trained(freeze(model, name)) == frozen


def test_frozen_layers_without_parameters_are_in_evaluation_mode_too() -> None:
    model = freeze(Network(), "drop")
    set_training_mode(model)
    modes = {name: module.training for name, module in model.named_children()}
    assert [name for name, training in modes.items() if not training] == ["first", "norm", "drop"]
    before = model.norm.running_mean.clone()  # type: ignore[union-attr,operator]
    model(IMAGES)
    assert torch.equal(model.norm.running_mean, before)  # type: ignore[union-attr,arg-type]


def test_freezing_changes_nothing_else() -> None:
    model, state = Network(), torch.get_rng_state()
    model.norm.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    freeze(model, "second")
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "secnd",
            r"model 'a/b' \(c 1\): model\.freeze = \"secnd\": the network has no such module; did you mean 'second'"
            r".*allowed: \"none\", \"backbone\", first, norm, drop, second, pool, head, unused, pair, and parts",
        ),
        ("", "no such module"),
        ("unused", "gives no tensor"),
        ("pair", "gives no tensor"),
    ],
)
def test_a_module_that_can_not_be_the_last_is_told(name: str, message: str) -> None:
    with pytest.raises(IcfError, match=message):
        freeze(Network(), name)


def test_something_must_be_left_to_train() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))
    with pytest.raises(IcfError, match="nothing would be left to train"):
        freeze(model, "1")


@pytest.mark.parametrize(
    ("arch", "name"),
    [("test_resnet", "layer1"), ("test_resnet", "layer2.0"), ("test_efficientnet", "blocks.1"), ("resnet10t", "conv1")],
)
def test_networks_that_are_chains_can_be_run_from_there(arch: str, name: str) -> None:
    torch.manual_seed(0)
    model = freeze(timm.create_model(arch, num_classes=3), name)
    parts = separate(model, name)
    assert check_separation(parts, None, IMAGES) == 0.0
    for network in (model, parts.rest):
        network.eval()
    embeddings = parts.embed(IMAGES)
    torch.testing.assert_close(parts.rest(embeddings), model(IMAGES))
    set_training_mode(parts.rest)
    parts.rest(embeddings).square().sum().backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} <= list_trained(model)
    torch.optim.SGD([p for p in parts.rest.parameters() if p.requires_grad], lr=0.1).step()
    for network in (model, parts.rest):
        network.eval()
    torch.testing.assert_close(parts.rest(embeddings), model(IMAGES))  # weights and running statistics are shared


@pytest.mark.parametrize(("arch", "name"), [("test_vit", "blocks.0"), ("test_resnet", "layer2.0.conv1")])
def test_others_are_not(arch: str, name: str) -> None:
    model = freeze(timm.create_model(arch, num_classes=3, **({"img_size": 32} if "vit" in arch else {})), name)
    with pytest.raises(InseparableError, match=r"one after the other|can't be run from where"):
        check_separation(separate(model, name), None, IMAGES)


def test_a_position_is_frozen_with_what_it_is_added_to() -> None:
    model = freeze(timm.create_model("test_vit", img_size=32), "blocks.0")
    trained = list_trained(model)
    assert not {"pos_embed", "cls_token", "patch_embed.proj.weight"} & trained
    assert any(name.startswith("blocks.1.") for name in trained)
