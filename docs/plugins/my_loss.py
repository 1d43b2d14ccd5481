"""PolyLoss, as the plugin my-loss in one file."""

from __future__ import annotations

from pydantic import Field

import icf


class PolyParams(icf.Params):
    """Parameters of PolyLoss."""

    epsilon: float = Field(
        default=1.0,
        ge=-1,
        le=10,
        description="Weight of (1 - probability of the target)",
    )


@icf.hookimpl
def icf_losses():
    """Yield the losses of this plugin."""
    yield icf.Loss(
        name="poly",
        factory=":build_poly",
        params=PolyParams,
        summary="PolyLoss (Leng et al. 2022)",
    )


def build_poly(params, _ctx):
    """Build the loss; the context would tell the number of classes and a seed."""
    import torch
    from torch.nn import functional

    class Poly(torch.nn.Module):
        def forward(self, logits, targets):
            entropy = functional.cross_entropy(logits.float(), targets, reduction="none")
            return (entropy + params.epsilon * (1 - torch.exp(-entropy))).mean()

    return Poly()
