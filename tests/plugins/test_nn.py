from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import icf
from icf_nn.models import build_sequential_cnn
from icf_nn.plugin import SequentialCnnParams, icf_models


def count_parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 33),
    width=st.integers(1, 33),
    channels=st.integers(1, 5),
    widths=st.lists(st.integers(1, 8), min_size=1, max_size=6),
    residual=st.booleans(),
)
def test_any_size_and_channels_give_finite_logits(
    height: int, width: int, channels: int, widths: list[int], residual: bool
) -> None:
    params = SequentialCnnParams(widths=tuple(widths), residual=residual)
    ctx = icf.ModelContext(num_classes=3, channels=channels, image_size=(height, width))
    network = build_sequential_cnn(params, ctx).eval()
    logits = network(torch.rand(2, channels, height, width))
    assert logits.shape == (2, 3)
    assert torch.isfinite(logits).all()


def answer_by_hand(images: torch.Tensor, state: dict[str, torch.Tensor], stages: int, residual: bool) -> torch.Tensor:
    """The layout of ResNet-9 in functions: convolution, norm, ReLU; pooling; every second stage residual."""

    def block(features: torch.Tensor, name: str) -> torch.Tensor:
        norm = [state[f"{name}.1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.relu(F.batch_norm(F.conv2d(features, state[f"{name}.0.weight"], padding=1), *norm))

    features = images
    for stage in range(stages):
        first = f"stages.{stage}.{min(stage, 1)}"
        features = block(F.max_pool2d(features, 2) if stage else features, first)
        if residual and stage % 2 == 0:
            added = f"stages.{stage}.{min(stage, 1) + 1}"
            features = features + block(block(features, f"{added}.first"), f"{added}.second")
    return F.linear(features.mean((2, 3)), state["head.weight"], state["head.bias"])


@pytest.mark.parametrize("residual", [False, True])
def test_network_answers_as_its_layout_written_with_functions_does(residual: bool) -> None:
    ctx = icf.ModelContext(num_classes=3, channels=3, image_size=(24, 16))
    network = build_sequential_cnn(SequentialCnnParams(widths=(4, 6, 8), residual=residual), ctx)
    images = torch.rand(5, 3, 24, 16)
    network(images)  # moves the statistics of batch norm
    network.eval()
    with torch.no_grad():
        expected = answer_by_hand(images, network.state_dict(), 3, residual)
        assert torch.allclose(network(images), expected, atol=1e-5)


def test_residual_network_has_the_published_size() -> None:
    ctx = icf.ModelContext(num_classes=10, channels=1, image_size=(28, 28))
    network = build_sequential_cnn(SequentialCnnParams(residual=True), ctx)
    assert 390_000 < count_parameters(network) < 420_000


def test_plain_network_has_the_parameters_of_the_formula() -> None:
    ctx = icf.ModelContext(num_classes=10, channels=1, image_size=(8, 8))
    network = build_sequential_cnn(SequentialCnnParams(widths=(4, 8)), ctx)
    assert count_parameters(network) == 9 * 4 + 2 * 4 + 9 * 4 * 8 + 2 * 8 + 8 * 10 + 10


def test_images_are_halved_between_stages_only_while_large_enough() -> None:
    ctx = icf.ModelContext(num_classes=2, channels=1, image_size=(8, 8))
    network = build_sequential_cnn(SequentialCnnParams(widths=(2, 2, 2, 2)), ctx)
    assert network.stages(torch.rand(1, 1, 8, 8)).shape[2:] == (2, 2)


def test_same_seed_same_weights_and_global_state_is_untouched() -> None:
    before = torch.get_rng_state()
    networks = [
        build_sequential_cnn(SequentialCnnParams(), icf.ModelContext(num_classes=2, seed=seed)) for seed in (1, 1, 2)
    ]
    assert torch.equal(before, torch.get_rng_state())
    first, same, other = (network.head.weight for network in networks)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("residual", [False, True])
def test_network_learns_a_simple_task(residual: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(64) % 2
    images = torch.rand(64, 1, 8, 8, generator=generator)
    images[targets == 1, :, 2:6, 2:6] += 1.0
    ctx = icf.ModelContext(num_classes=2, channels=1, image_size=(8, 8))
    network = build_sequential_cnn(SequentialCnnParams(widths=(8, 16), residual=residual), ctx)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(images), targets)
        torch.autograd.backward([loss])
        optimizer.step()
    accuracy = (network.eval()(images).argmax(1) == targets).double().mean()
    assert accuracy > 0.95


def test_head_is_named_and_dropout_is_used() -> None:
    network = build_sequential_cnn(SequentialCnnParams(dropout=0.3), icf.ModelContext(num_classes=7))
    assert network.head.out_features == 7
    assert network.dropout.p == 0.3


def test_no_stage_and_widths_of_zero_are_refused() -> None:
    for widths in ((), (0,)):
        with pytest.raises(ValidationError):
            SequentialCnnParams(widths=widths)


def test_plugin_offers_the_network() -> None:
    assert [model.name for model in icf_models()] == ["sequential-cnn"]
