"""Checks of losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError, gradcheck

from icf.components import LossContext
from icf.errors import IcfError
from icf.testing.case import Case, CheckFailure, expect

CLASSES = 4
ROWS = 6
EXTREME = 1e4
LONGEST_TEXT = 200

LossFunction: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def build_loss(case: Case) -> LossFunction:
    """Build the loss for classes of unequal size."""
    counts = np.array([40, 5, 20, 10], dtype=np.int64)
    loss: LossFunction = case.build(LossContext(num_classes=CLASSES, class_counts=counts, seed=1))
    return loss


def draw_batch() -> tuple[Tensor, Tensor]:
    """Return logits float32 [ROWS, CLASSES] and targets int64 [ROWS] in which every class occurs."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(ROWS, CLASSES, generator=generator), torch.tensor([0, 1, 2, 3, 0, 2])


def check_scalar(case: Case) -> None:
    """The loss of a batch is one finite number."""
    value = build_loss(case)(*draw_batch())
    expect(isinstance(value, Tensor), f"the loss is {type(value).__name__}, not a tensor")
    expect(value.ndim == 0 and value.is_floating_point(), f"the loss is {value.dtype} of shape {tuple(value.shape)}")
    expect(value.isfinite(), f"the loss is {value.item()}")


def check_extreme_logits(case: Case) -> None:
    """The loss and its gradient stay finite where the network is very sure, or it says that no logit is so large."""
    loss, (_, targets) = build_loss(case), draw_batch()
    for name, shift in (("right", 0), ("wrong", 1)):
        sure = torch.nn.functional.one_hot((targets + shift) % CLASSES, CLASSES)
        logits = (sure.float() * 2 - 1).mul(EXTREME).requires_grad_()
        try:
            value = loss(logits, targets)
        except IcfError:
            return
        which = f"for logits of +-{EXTREME:g} that are {name}"
        expect(value.isfinite(), f"{which}, the loss is {value.item()}")
        [gradient] = torch.autograd.grad(value, logits)
        expect(gradient.isfinite().all(), f"{which}, the gradient is not finite")


def check_gradient(case: Case) -> None:
    """The gradient is the slope of the loss, as finite differences measure it."""
    loss, (logits, targets) = build_loss(case), draw_batch()
    exact = _computes_in_float64(loss)
    # A loss that computes in float32 has rounding errors, so the step is wide and the tolerance too.
    eps, atol, rtol = (1e-6, 1e-5, 1e-3) if exact else (1e-2, 1e-3, 1e-2)

    def evaluate(values: Tensor) -> Tensor:
        return loss(values, targets) if exact else loss(values.float(), targets).double()

    try:
        gradcheck(evaluate, (logits.double().requires_grad_(),), eps=eps, atol=atol, rtol=rtol)
    except GradcheckError as error:
        text = " ".join(str(error).split())
        raise CheckFailure(f"the gradient is not the slope of the loss: {text[:LONGEST_TEXT]}") from None


def _computes_in_float64(loss: LossFunction) -> bool:
    """Tell whether logits of float64 give a loss as exact; class weights of float32, say, refuse them."""
    logits, targets = draw_batch()
    values = logits.double()
    try:
        value, moved = loss(values, targets), loss(values + 1e-12 * values.sign(), targets)
    except RuntimeError:
        return False
    # Inside, float32 would round the difference away.
    return value.dtype == torch.float64 and bool(value != moved)


def check_mean(case: Case) -> None:
    """The loss is a mean: every row twice gives the same."""
    loss, (logits, targets) = build_loss(case), draw_batch()
    once, twice = loss(logits, targets), loss(logits.repeat(2, 1), targets.repeat(2))
    expect(
        torch.allclose(once, twice, rtol=1e-4),
        f"the loss is {once.item():g}, but every row twice gives {twice.item():g}",
    )


def check_row_order(case: Case) -> None:
    """The order of the rows does not matter."""
    loss, (logits, targets) = build_loss(case), draw_batch()
    order = torch.tensor([5, 3, 1, 0, 4, 2])
    one, other = loss(logits, targets), loss(logits[order], targets[order])
    expect(torch.allclose(one, other, rtol=1e-4), f"the loss is {one.item():g}, but {other.item():g} in another order")


LOSS_CHECKS = (check_scalar, check_extreme_logits, check_gradient, check_mean, check_row_order)
