"""Optimizers against the formulas of their papers in numpy, and SAM around any of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch

import icf
from icf_optimizer import plugin
from icf_optimizer.optimizers import adamw, radam, sgd
from icf_optimizer.sam import SAM, sam
from icf_optimizer.timm_optimizers import adamp, lion, muon

Rule: TypeAlias = Callable[[icf.FloatArray, list[icf.FloatArray]], icf.FloatArray]

STEPS = 12
LR, BETAS, EPS, DECAY = 0.05, (0.8, 0.9), 1e-6, 0.1
TARGET = torch.linspace(-2, 3, 12).reshape(3, 4)


def draw_weights() -> torch.Tensor:
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def draw_gradients() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(STEPS)]


def follow(build: Callable[..., torch.optim.Optimizer], params: icf.Params) -> icf.FloatArray:
    """Return the weights after steps with given gradients."""
    weights = draw_weights().requires_grad_()
    optimizer = build(params, icf.OptimizerContext(parameter_groups=[{"params": [weights]}]))
    for gradient in draw_gradients():
        weights.grad = gradient.clone()
        optimizer.step()
    return weights.detach().numpy()


def adam_means(gradients: list[icf.FloatArray], step: int) -> tuple[icf.FloatArray, icf.FloatArray]:
    """Return the bias-corrected running means of the gradient and of its square after ``step`` steps."""
    means = []
    for beta, power in zip(BETAS, (1, 2), strict=True):
        shares = (1 - beta) * beta ** np.arange(step)[::-1]
        mean = sum(share * gradient**power for share, gradient in zip(shares, gradients, strict=False))
        means.append(np.asarray(mean) / (1 - beta**step))
    return means[0], means[1]


def radam_of_paper(weights: icf.FloatArray, gradients: list[icf.FloatArray]) -> icf.FloatArray:
    longest = 2 / (1 - BETAS[1]) - 1
    for step in range(1, len(gradients) + 1):
        mean, square = adam_means(gradients, step)
        length = longest - 2 * step * BETAS[1] ** step / (1 - BETAS[1] ** step)
        weights = weights * (1 - LR * DECAY)
        if length > 5:  # as in the authors' program; the paper says 4
            top = (length - 4) * (length - 2) * longest
            rectified = np.sqrt(top / ((longest - 4) * (longest - 2) * length))
            weights = weights - LR * rectified * mean / (np.sqrt(square) + EPS)
        else:
            weights = weights - LR * mean
    return weights


def adamp_of_paper(weights: icf.FloatArray, gradients: list[icf.FloatArray]) -> icf.FloatArray:
    for step in range(1, len(gradients) + 1):
        mean, square = adam_means(gradients, step)
        move = mean / (np.sqrt(square) + EPS)
        is_free = False
        for shape in ((3, 4), (1, 12)):  # each row, or all weights together
            rows, slopes, moves = (item.reshape(shape) for item in (weights, gradients[step - 1], move))
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            cosines = (rows * slopes).sum(axis=1) / norms[:, 0] / np.linalg.norm(slopes, axis=1)
            if np.abs(cosines).max() < 0.8 / np.sqrt(shape[1]):
                radial = (rows / norms * moves).sum(axis=1, keepdims=True) * rows / norms
                move, is_free = (moves - radial).reshape(3, 4), True
                break
        weights = weights * (1 - LR * DECAY * (0.3 if is_free else 1)) - LR * move
    return weights


def lion_of_paper(weights: icf.FloatArray, gradients: list[icf.FloatArray]) -> icf.FloatArray:
    momentum = np.zeros_like(weights)
    for gradient in gradients:
        move = np.sign(BETAS[0] * momentum + (1 - BETAS[0]) * gradient)
        weights = weights - LR * (move + DECAY * weights)
        momentum = BETAS[1] * momentum + (1 - BETAS[1]) * gradient
    return weights


ADAM = {"lr": LR, "betas": BETAS, "eps": EPS, "weight_decay": DECAY}
CASES: list[tuple[Callable[..., torch.optim.Optimizer], icf.Params, Rule]] = [
    (radam, plugin.AdamWParams(**ADAM), radam_of_paper),
    (adamp, plugin.AdamPParams(**ADAM, delta=0.8, decay_ratio=0.3), adamp_of_paper),
    (lion, plugin.LionParams(lr=LR, betas=BETAS, weight_decay=DECAY), lion_of_paper),
]


@pytest.mark.parametrize(("build", "params", "rule"), CASES)
def test_steps_are_those_of_the_paper(
    build: Callable[..., torch.optim.Optimizer], params: icf.Params, rule: Rule
) -> None:
    expected = rule(draw_weights().numpy(), [gradient.numpy() for gradient in draw_gradients()])
    np.testing.assert_allclose(follow(build, params), expected, rtol=1e-6, atol=1e-9)


def test_adamp_without_free_weights_is_adamw() -> None:
    params: dict[str, Any] = {"lr": LR, "betas": BETAS, "eps": EPS, "weight_decay": DECAY}
    found = follow(adamp, plugin.AdamPParams(**params, delta=0))
    np.testing.assert_allclose(found, follow(adamw, plugin.AdamWParams(**params)), rtol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_muon_is_torchs_for_matrices_and_adamw_for_the_rest(nesterov: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    shapes = [(6, 4), (4, 8), (5,)]
    start = [torch.randn(shape, generator=generator) for shape in shapes]
    ours, theirs = ([value.clone().requires_grad_() for value in start] for _ in range(2))
    params = plugin.MuonParams(lr=LR, weight_decay=DECAY, momentum=0.9, nesterov=nesterov)
    optimizer = muon(params, icf.OptimizerContext(parameter_groups=[{"params": ours}]))
    matrices = torch.optim.Muon(
        theirs[:2], lr=LR, weight_decay=DECAY, momentum=0.9, nesterov=nesterov, adjust_lr_fn="match_rms_adamw"
    )
    values: dict[str, Any] = {"lr": LR, "weight_decay": DECAY, "betas": (0.9, 0.95), "eps": 1e-7}
    vectors = torch.optim.AdamW(theirs[2:], **values)
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            gradient = torch.randn(one.shape, generator=generator)
            one.grad, other.grad = gradient.clone(), gradient.clone()
        for item in (optimizer, matrices, vectors):
            item.step()
    # Orthogonalisation is done in bfloat16, which has two to three digits.
    torch.testing.assert_close(ours[:2], theirs[:2], rtol=0.05, atol=0.01)
    if not nesterov:  # with it timm has NAdamW, whose schedule torch has not
        torch.testing.assert_close(ours[2], theirs[2], rtol=1e-4, atol=1e-5)
    assert all((after - before).abs().max() > 0.03 for after, before in zip(ours, start, strict=True))


def test_muon_takes_the_kernels_of_convolutions_as_matrices() -> None:
    kernel = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    weights = [kernel.clone().requires_grad_(), kernel.reshape(4, 18).clone().requires_grad_()]
    for weight in weights:
        optimizer = muon(plugin.MuonParams(lr=LR), icf.OptimizerContext(parameter_groups=[{"params": [weight]}]))
        (weight.reshape(4, 18) ** 3).sum().backward()
        optimizer.step()
    torch.testing.assert_close(weights[0].reshape(4, 18), weights[1], rtol=0.02, atol=1e-3)


def loss_of(weights: torch.Tensor) -> torch.Tensor:
    return (torch.cosh(weights - TARGET.to(weights.dtype))).sum()


def slope_of(weights: icf.FloatArray) -> icf.FloatArray:
    return np.asarray(np.sinh(weights - TARGET.numpy()))


def build_sam(weights: torch.Tensor, use: str = "optimizer/sgd", **values: Any) -> SAM:
    """Build SAM around plain gradient descent, as icf does after it has looked the optimizer up."""
    params = plugin.SAMParams(base=icf.NestedOptimizer(use=use), **values)
    base = plugin.SGDParams(lr=LR, momentum=0, nesterov=False, weight_decay=0)
    params.base.bind(lambda ctx: sgd(base, ctx))
    optimizer = sam(params, icf.OptimizerContext(parameter_groups=[{"params": [weights]}]))
    assert isinstance(optimizer, SAM)
    return optimizer


def step(optimizer: torch.optim.Optimizer, weights: torch.Tensor) -> None:
    def compute() -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(weights)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    compute()
    optimizer.step(compute)  # type: ignore[arg-type]


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_follows_the_papers(adaptive: bool) -> None:
    weights = draw_weights().requires_grad_()
    optimizer = build_sam(weights, rho=0.3, adaptive=adaptive)
    expected = weights.detach().numpy().copy()
    for _ in range(5):
        step(optimizer, weights)
        gradient = slope_of(expected)
        size = np.abs(expected) if adaptive else np.ones_like(expected)
        offset = 0.3 * size**2 * gradient / np.linalg.norm(size * gradient)
        expected = expected - LR * slope_of(expected + offset)
    np.testing.assert_allclose(weights.detach().numpy(), expected, rtol=1e-6)


def test_a_tiny_sam_is_its_base() -> None:
    weights, plain = draw_weights().requires_grad_(), draw_weights().requires_grad_()
    optimizer = build_sam(weights, rho=1e-9)
    base = torch.optim.SGD([plain], lr=LR)
    for _ in range(5):
        step(optimizer, weights)
        step(base, plain)
    torch.testing.assert_close(weights, plain, rtol=1e-6, atol=1e-8)


def test_sam_follows_the_rates_of_its_groups_also_when_it_is_restored() -> None:
    weights = draw_weights().requires_grad_()
    optimizer = build_sam(weights)
    optimizer.load_state_dict(optimizer.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = weights.detach().clone()
    step(optimizer, weights)
    assert torch.equal(weights, before)


def test_sam_without_a_closure_says_so() -> None:
    with pytest.raises(icf.PluginError, match="computes gradients twice"):
        build_sam(draw_weights().requires_grad_()).step()


def test_sam_around_sam_is_refused() -> None:
    weights = draw_weights().requires_grad_()
    params = plugin.SAMParams(base=icf.NestedOptimizer(use="optimizer/sam"))
    params.base.bind(lambda ctx: build_sam(weights))
    with pytest.raises(icf.PluginError, match="base = 'optimizer/sam' computes gradients itself"):
        sam(params, icf.OptimizerContext(parameter_groups=[{"params": [weights]}]))
