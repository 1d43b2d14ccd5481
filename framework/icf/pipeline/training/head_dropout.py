"""Dropout just before the classifier head, of any network, with one mask or several for each image."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class HeadDropout:
    """A hook of the head: in training, it sees each row ``samples`` times, each with other numbers dropped.

    So it gives [samples * N, K] logits for N rows, those of the first masks first, and the loss is the mean over the
    masks: multi-sample dropout (Inoue 2019, arXiv:1905.09788). Everything before the head runs once. In evaluation the
    head is what it was.
    """

    def __init__(self, p: float, samples: int) -> None:
        self._p = p
        self._samples = samples

    def __call__(self, head: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Return what the head is given in place of ``args``; None: the same."""
        if not head.training:
            return None
        features, *others = args
        repeated = features.repeat(self._samples, *[1] * (features.ndim - 1))
        return (nn.functional.dropout(repeated, self._p), *others)


def drop_before(head: nn.Module, p: float, samples: int) -> None:
    """Let numbers be dropped just before the head, with probability ``p``."""
    head.register_forward_pre_hook(HeadDropout(p, samples))


def repeat_targets(targets: torch.Tensor, samples: int) -> torch.Tensor:
    """Return the targets of a head's rows in training: of each mask."""
    return targets.repeat(samples, *[1] * (targets.ndim - 1)) if samples > 1 else targets
