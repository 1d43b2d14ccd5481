"""A metric: probabilities float64 [N, K] and targets int64 [N], all rows at once -> score."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import icf
import numpy as np

if TYPE_CHECKING:
    from icf_example.plugin import TopKParams


def build_top_k(params: TopKParams, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the metric; with as many classes as ``k``, or fewer, it is 1."""
    return partial(top_k, k=min(params.k, ctx.num_classes))


def top_k(probabilities: icf.FloatArray, targets: icf.IntArray, k: int) -> float:
    """Return the share of rows whose target is among the ``k`` most probable classes; first classes win ties."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == targets[:, None]).any(axis=1).mean())
