"""Logits and probabilities for many rows, the same way for out-of-fold, test and new images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from icf.components import FloatArray, IntArray
from icf.pipeline.data.inputs import Inputs
from icf.pipeline.training.network import autocast
from icf.pipeline.training.output import Output


@torch.inference_mode()
def predict_logits(
    model: nn.Module,
    batches: Inputs,
    rows: IntArray,
    batch_size: int,
    device: torch.device,
    precision: torch.dtype | None,
) -> torch.Tensor:
    """Return logits, float32 [N, K] on the CPU, for rows of the pixel cache, as the plain view sees them."""
    model.eval()
    parts = []
    for start in range(0, len(rows), batch_size):
        images = batches.read(rows[start : start + batch_size])
        with autocast(device, precision):
            parts.append(model(images).float().cpu())
    if parts:
        return torch.cat(parts).clone()
    return torch.zeros((0, model(batches.read(np.zeros(1, np.int64))).shape[1]))


@torch.inference_mode()
def predict_probabilities(
    models: Sequence[nn.Module],
    outputs: Sequence[Output],
    batches: Inputs,
    rows: IntArray,
    batch_size: int,
    tta: Sequence[str],
    device: torch.device,
    precision: torch.dtype | None,
) -> FloatArray:
    """Return each model's probabilities, float64 [M, N, K], averaged over the plain view and those of ``tta``.

    ``outputs`` tells, for each model, what its outputs mean.
    Every image is read once, for all models and views; no view's probabilities outlive their batch.
    """
    for model in models:
        model.eval()
    parts = []
    for chosen in np.split(rows, range(batch_size, len(rows), batch_size)):
        # Without rows, one is predicted all the same: only a model knows how many outputs it has.
        views = batches.read_views(chosen if len(chosen) else np.zeros(1, np.int64), tta)
        sums = sum(_predict_view(models, outputs, view, device, precision) for view in views)
        parts.append(sums / (1 + len(tta)))
    probabilities: FloatArray = np.concatenate(parts, axis=1)[:, : len(rows)]
    return probabilities


def _predict_view(
    models: Sequence[nn.Module],
    outputs: Sequence[Output],
    inputs: torch.Tensor,
    device: torch.device,
    precision: torch.dtype | None,
) -> FloatArray:
    """Return each model's probabilities, float64 [M, B, K]."""
    logits = []
    for model in models:
        with autocast(device, precision):
            logits.append(model(inputs).float().cpu())
    return np.stack([output.decode(values) for output, values in zip(outputs, logits, strict=True)])
