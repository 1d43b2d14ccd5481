"""An optimizer, as torch has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import icf
import torch

if TYPE_CHECKING:
    from icf_example.plugin import SignSgdParams


class SignSgd(torch.optim.Optimizer):
    """Moves each weight by ``lr`` against the sign of its gradient.

    Bernstein et al. 2018, "signSGD: Compressed Optimisation for Non-Convex Problems", algorithm 1.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one step; ``closure`` computes the loss again, with its gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.sub_(weight.grad.sign(), alpha=group["lr"])
        return loss


def build_sign_sgd(params: SignSgdParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Build the optimizer."""
    return SignSgd(ctx.parameter_groups, {"lr": params.lr})
