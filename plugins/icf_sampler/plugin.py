"""Hooks and parameters of the samplers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

import icf

Weight: TypeAlias = Annotated[float, Field(ge=0, le=1e6)]


class BalancedParams(icf.Params):
    """Parameters of balanced sampling."""

    epoch_size: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="Rows in an epoch, as a multiple of the fold's training rows",
    )


class WeightedParams(BalancedParams):
    """Parameters of weighted sampling."""

    class_weights: Literal["balanced", "square-root"] | tuple[Weight, ...] = Field(
        default="balanced",
        description="How likely a row of each class is drawn: 'balanced' (1 / rows of the class), 'square-root' (the "
        "root of that, half way to what the data has) or a list of one number per class, in their order",
    )


class OversampledParams(icf.Params):
    """Parameters of over-sampling."""

    ratio: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Fewest rows of a class in an epoch, as a fraction of those of the largest class",
    )


class UndersampledParams(icf.Params):
    """Parameters of under-sampling."""

    ratio: float = Field(
        default=1.0,
        ge=1,
        le=1e6,
        description="Most rows of a class in an epoch, as a multiple of those of the smallest class",
    )


@icf.hookimpl
def icf_samplers() -> Iterable[icf.Sampler]:
    """Yield the samplers."""
    yield icf.Sampler(
        name="shuffled",
        targets=("classes", "labels"),
        factory="icf_sampler.samplers:shuffled",
        summary="Every row once per epoch, in a new random order",
        source="torch.utils.data.RandomSampler",
        reference="counts of rows",
    )
    yield icf.Sampler(
        name="balanced",
        factory="icf_sampler.samplers:balanced",
        params=BalancedParams,
        summary="Every class equally often, rows of rare classes repeated",
        source="Kang et al. 2020, arXiv:1910.09217",
        reference="counts of rows",
    )
    yield icf.Sampler(
        name="weighted",
        factory="icf_sampler.samplers:weighted",
        params=WeightedParams,
        summary="Rows drawn at random, with replacement, by weights of their classes",
        source="torch.utils.data.WeightedRandomSampler; 'square-root' is Mahajan et al. 2018, arXiv:1805.00932",
        reference="torch.utils.data.WeightedRandomSampler, by a chi-squared test",
    )
    yield icf.Sampler(
        name="oversampled",
        factory="icf_sampler.samplers:oversampled",
        params=OversampledParams,
        summary="Every row, and rows of rare classes several times",
        source="He and Garcia 2009, Learning from imbalanced data",
        reference="counts of rows",
    )
    yield icf.Sampler(
        name="undersampled",
        factory="icf_sampler.samplers:undersampled",
        params=UndersampledParams,
        summary="Every row of the smallest class, and in each epoch other rows of large ones",
        source="He and Garcia 2009, Learning from imbalanced data",
        reference="counts of rows",
    )
