"""What happens after training: metrics and ensemblers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias

from icf.components.base import Component, FloatArray, IntArray, TargetKind


@dataclass(frozen=True, kw_only=True)
class MetricContext:
    """What a metric may know."""

    num_classes: int
    """Number of classes, K; a class that no row has still counts."""


MetricFunction: TypeAlias = "Callable[[FloatArray, IntArray], float]"
"""Probabilities float64 [N, K] and targets int64 [N], or [N, K] of labels, of all rows at once -> score.

A large table of probabilities is mapped from a file: it may not fit into memory, and so may not a copy of it.
"""


@dataclass(frozen=True, kw_only=True)
class Metric(Component):
    """A metric. Factory: ``(params, MetricContext) -> MetricFunction``. Computed on all rows at once.

    If its ``reference`` is a function such as ``sklearn.metrics.f1_score``, ``icf.testing`` compares it.
    """

    kind: ClassVar[str] = "metric"

    maximize: bool = True
    """True: a higher score is better."""

    bounds: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest possible score; ``icf.testing`` holds the metric to them."""


@dataclass(frozen=True, kw_only=True)
class EnsemblerContext:
    """What an ensembler may know."""

    num_classes: int
    """Number of classes, K."""

    targets: TargetKind = "classes"
    """Whether a row has one class, or any number of labels, whose probabilities need not sum to one."""

    seed: int = 0
    """Seed of whatever is random."""


class Combiner(Protocol):
    """Joins the probabilities of several members."""

    def fit(self, members: FloatArray, targets: IntArray) -> None:
        """Learn from out-of-fold probabilities [M, N, K] and targets [N]; voting has nothing to learn."""
        ...

    def combine(self, members: FloatArray) -> FloatArray:
        """Return probabilities [N, K], of classes with rows that sum to one, from members [M, N, K].

        A row depends on no other: of a large table, it gets some rows at a time.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Ensembler(Component):
    """An ensembler. Factory: ``(params, EnsemblerContext) -> Combiner``."""

    kind: ClassVar[str] = "ensembler"
