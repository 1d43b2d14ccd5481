"""Votes over the probabilities of M members: float64 [M, N, K] -> float64 [N, K], rows sum to one.

Both votes raise DataError if the members are no probabilities of K classes. Votes learn nothing: ``fit``
only checks its input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

import icf

if TYPE_CHECKING:
    from icf_ensemble.plugin import SoftVoteParams

SUM_TOLERANCE = 1e-3
"""How far a row's sum may be from one: half-precision probabilities of many classes stay within it."""


class SoftVote:
    """The mean of the members' probabilities, each with its weight; those of labels need not sum to one.

    Raises PluginError if the number of weights is not the number of members; no weights weigh all alike.
    """

    def __init__(self, num_classes: int, weights: Sequence[float] = (), *, of_labels: bool = False) -> None:
        self.num_classes = num_classes
        self.weights = tuple(weights)
        self.of_labels = of_labels

    def fit(self, members: icf.FloatArray, targets: icf.IntArray) -> None:  # noqa: ARG002
        """Check the members; there is nothing to learn."""
        self.combine(members)

    def combine(self, members: icf.FloatArray) -> icf.FloatArray:
        """Return the weighted mean [N, K] of members [M, N, K]."""
        _check_members(members, self.num_classes, of_labels=self.of_labels)
        if self.weights and len(self.weights) != len(members):
            raise icf.PluginError(
                f"weights: {len(self.weights)} are given, but the ensemble has {len(members)} members; "
                "give one number per member, or none"
            )
        if self.of_labels:
            return np.asarray(np.average(members, axis=0, weights=self.weights or None))
        return _normalise(np.tensordot(self.weights or np.ones(len(members)), members, axes=1))


class HardVote:
    """The majority of the members' most probable classes, as ``(votes + mean) / (M + 1)``.

    ``votes`` [N, K] counts the members whose most probable class it is (the first, if a member has two
    alike) and ``mean`` [N, K] is the mean of their probabilities. All K classes keep their column, and a
    row sums to ``(M + 1) / (M + 1) = 1``.

    The mean can break ties and do nothing else. Let class a have more votes than class b. Votes are
    whole numbers, so a leads by at least 1. The mean of b is at most 1, and that of a is above 0,
    because a has a voter, who gives it at least 1/K. So the mean takes less than 1 from the lead, and a
    stays ahead. Between classes with the same votes, only the means are left, and the higher one wins.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def fit(self, members: icf.FloatArray, targets: icf.IntArray) -> None:  # noqa: ARG002
        """Check the members; there is nothing to learn."""
        _check_members(members, self.num_classes)

    def combine(self, members: icf.FloatArray) -> icf.FloatArray:
        """Return votes with the mean as a fraction of one more vote, [N, K], of members [M, N, K]."""
        _check_members(members, self.num_classes)
        mean = _normalise(members.mean(axis=0))
        cells = np.arange(members.shape[1]) * self.num_classes + members.argmax(axis=2)
        votes = np.bincount(cells.ravel(), minlength=mean.size).reshape(mean.shape)
        combined: icf.FloatArray = (votes + mean) / (len(members) + 1)
        return combined


def soft_vote(params: SoftVoteParams, ctx: icf.EnsemblerContext) -> icf.Combiner:
    """Build the soft vote."""
    return SoftVote(ctx.num_classes, params.weights, of_labels=ctx.targets == "labels")


def hard_vote(_params: icf.Params, ctx: icf.EnsemblerContext) -> icf.Combiner:
    """Build the hard vote."""
    return HardVote(ctx.num_classes)


def _normalise(probabilities: icf.FloatArray) -> icf.FloatArray:
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True), dtype=np.float64)


def _check_members(members: icf.FloatArray, num_classes: int, *, of_labels: bool = False) -> None:
    if members.ndim != 3 or len(members) == 0 or members.shape[2] != num_classes:
        raise icf.DataError(
            f"the members have the shape {members.shape}; (members, rows, {num_classes} classes) is needed, "
            "with at least one member"
        )
    if of_labels:
        if not ((members >= 0) & (members <= 1)).all():
            raise icf.DataError("probabilities of labels must be numbers from 0 to 1")
        return
    wrong = ~(np.abs(members.sum(axis=2) - 1) <= SUM_TOLERANCE) | ~(members >= 0).all(axis=2)
    if wrong.any():
        member, row = np.argwhere(wrong)[0]
        raise icf.DataError(
            f"member {member}, row {row}: probabilities must be numbers from 0 up that sum to one, "
            f"found {members[member, row].tolist()}"
        )
