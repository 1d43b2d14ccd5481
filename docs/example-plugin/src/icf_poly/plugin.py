"""Hooks and parameters of the plugin; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

import icf


class PolyParams(icf.Params):
    """Parameters of PolyLoss."""

    epsilon: float = Field(
        default=1.0,
        ge=-1,
        le=10,
        description="Weight of (1 - probability of the target), added to the cross-entropy; 0 is cross-entropy",
    )


@icf.hookimpl
def icf_losses() -> Iterator[icf.Loss]:
    """Yield the losses of this plugin."""
    yield icf.Loss(
        name="poly",
        factory="icf_poly.losses:poly",
        params=PolyParams,
        summary="PolyLoss, first order (Leng et al. 2022)",
    )
