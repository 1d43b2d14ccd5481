"""Hooks and parameters of the votes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self, TypeAlias

from pydantic import Field, model_validator

import icf

Weight: TypeAlias = Annotated[float, Field(ge=0, le=1e6)]


class SoftVoteParams(icf.Params):
    """Parameters of the soft vote."""

    weights: tuple[Weight, ...] = Field(
        default=(),
        description="One number from 0 up per member, in the order of the members; only their ratios matter; "
        "an empty list weighs all alike",
    )

    @model_validator(mode="after")
    def _some_weight_counts(self) -> Self:
        if self.weights and not any(self.weights):
            raise ValueError("weights are all 0; at least one must be above 0")
        return self


@icf.hookimpl
def icf_ensemblers() -> Iterable[icf.Ensembler]:
    """Yield the votes."""
    yield icf.Ensembler(
        name="soft-vote",
        targets=("classes", "labels"),
        factory="icf_ensemble.votes:soft_vote",
        params=SoftVoteParams,
        summary="Mean of the members' probabilities, weighted on request",
        source="Kittler et al. 1998, On combining classifiers",
        reference="numpy.average and sklearn.ensemble.VotingClassifier",
    )
    yield icf.Ensembler(
        name="hard-vote",
        factory="icf_ensemble.votes:hard_vote",
        summary="Majority of the members' classes; ties go to the higher mean probability",
        source="Kittler et al. 1998, On combining classifiers",
        reference="sklearn.ensemble.VotingClassifier",
    )
