"""Hooks and parameters of the samplers."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

import icf


class BalancedParams(icf.Params):
    """Parameters of balanced sampling."""

    epoch_size: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="Rows in an epoch, as a multiple of the fold's training rows",
    )


@icf.hookimpl
def icf_samplers() -> Iterable[icf.Sampler]:
    """Yield the samplers."""
    yield icf.Sampler(
        name="shuffled",
        factory="icf_sampler.samplers:shuffled",
        summary="Every row once per epoch, in a new random order",
    )
    yield icf.Sampler(
        name="balanced",
        factory="icf_sampler.samplers:balanced",
        params=BalancedParams,
        summary="Every class equally often, rows of rare classes repeated",
    )
