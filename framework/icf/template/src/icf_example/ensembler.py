"""An ensembler: probabilities of M members, float64 [M, N, K] -> float64 [N, K], rows sum to one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import icf

if TYPE_CHECKING:
    from icf_example.plugin import PowerMeanParams


class PowerMean:
    """``mean(p ** power) ** (1 / power)`` over the members, divided by its sum over the classes."""

    def __init__(self, params: PowerMeanParams, ctx: icf.EnsemblerContext) -> None:
        self.power = params.power

    def fit(self, members: icf.FloatArray, targets: icf.IntArray) -> None:
        """Learn nothing: the power is given."""

    def combine(self, members: icf.FloatArray) -> icf.FloatArray:
        """Return probabilities [N, K] of members [M, N, K]."""
        means: icf.FloatArray = (members**self.power).mean(axis=0) ** (1 / self.power)
        combined: icf.FloatArray = means / means.sum(axis=1, keepdims=True)
        return combined
