"""Sharpness-aware minimisation, around any other optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

import icf

if TYPE_CHECKING:
    from icf_optimizer.plugin import SAMParams


class SAM(torch.optim.Optimizer):
    """Steps of another optimizer, with the gradient of where the loss nearby is about highest.

    Foret et al. 2021, "Sharpness-Aware Minimization for Efficiently Improving Generalization", equation 2: weights are
    moved by ``rho * g / ||g||`` along their gradient g, the gradient is computed there, and the other optimizer uses it
    at the weights as they were. ``adaptive``: by ``rho * w^2 g / || |w| g ||`` (Kwon et al. 2021, "ASAM", equation 7).
    Groups and state are the other optimizer's.
    """

    needs_closure = True

    def __init__(self, base: torch.optim.Optimizer, rho: float, *, adaptive: bool) -> None:
        super().__init__(base.param_groups, {})
        self.base = base
        self.rho = rho
        self.adaptive = adaptive
        self._share()

    def _share(self) -> None:
        self.param_groups = self.base.param_groups
        self.state = self.base.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one step with the gradients that there are, and those that ``closure`` computes; return its loss."""
        if closure is None:
            raise icf.PluginError("optimizer/sam computes gradients twice: call step with a function that does it")
        moved = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        before = [parameter.clone() for parameter in moved]
        for parameter, offset in zip(moved, self._find_offsets(moved), strict=True):
            parameter.add_(offset)
        with torch.enable_grad():
            loss = closure()
        for parameter, value in zip(moved, before, strict=True):
            parameter.copy_(value)
        self.base.step()
        return loss

    def _find_offsets(self, parameters: list[torch.Tensor]) -> list[torch.Tensor]:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return []
        sizes = [parameter.abs() if self.adaptive else torch.ones_like(parameter) for parameter in parameters]
        scaled = [size * gradient for size, gradient in zip(sizes, gradients, strict=True)]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(item) for item in scaled]))
        return [size * item * (self.rho / (norm + 1e-12)) for size, item in zip(sizes, scaled, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the other optimizer, which is all there is."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what state_dict returned."""
        self.base.load_state_dict(state_dict)
        self._share()


def sam(params: SAMParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Build SAM around the other optimizer. Raises what that raises, and PluginError if it computes gradients, too."""
    base: torch.optim.Optimizer = params.base.build(ctx)
    if getattr(base, "needs_closure", False):
        raise icf.PluginError(f"optimizer/sam: base = '{params.base.use}' computes gradients itself; choose another")
    return SAM(base, params.rho, adaptive=params.adaptive)
