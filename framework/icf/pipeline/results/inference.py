"""Logits and probabilities for many rows, the same way for out-of-fold, test and new images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from icf.components import FloatArray, IntArray
from icf.pipeline.data.inputs import Inputs
from icf.pipeline.training.number_format import autocast
from icf.pipeline.training.output import Output
from icf.pipeline.training.tta import Views


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


def predict_probabilities(
    models: Sequence[nn.Module],
    outputs: Sequence[Output],
    batches: Inputs,
    rows: IntArray,
    batch_size: int,
    views: Views,
    device: torch.device,
    precision: torch.dtype | None,
) -> FloatArray:
    """Return each model's probabilities, float64 [M, N, K], averaged over ``views``."""
    # Without rows, one is predicted all the same: only a model knows how many classes it has.
    chosen = rows if len(rows) else np.zeros(1, np.int64)
    parts = list(predict_parts(models, outputs, batches, chosen, batch_size, views, device, precision))
    probabilities: FloatArray = np.concatenate(parts, axis=1)[:, : len(rows)]
    return probabilities


@torch.inference_mode()
def predict_parts(
    models: Sequence[nn.Module],
    outputs: Sequence[Output],
    batches: Inputs,
    rows: IntArray,
    batch_size: int,
    views: Views,
    device: torch.device,
    precision: torch.dtype | None,
) -> Iterator[FloatArray]:
    """Yield what ``predict_probabilities`` returns batch after batch, float64 [M, B, K].

    ``outputs`` tells, for each model, what its outputs mean.
    Every image is read once, for all models and views; no view's probabilities outlive their batch.
    """
    for model in models:
        model.eval()
    for start in range(0, len(rows), batch_size):
        seen = batches.read_views(rows[start : start + batch_size], views.transforms)
        logits = [_predict_view(models, images, device, precision) for images in seen]
        of_models = zip(outputs, zip(*logits, strict=True), strict=True)
        yield np.stack([views.join(output, torch.stack(of_views)) for output, of_views in of_models])


def _predict_view(
    models: Sequence[nn.Module], inputs: torch.Tensor, device: torch.device, precision: torch.dtype | None
) -> list[torch.Tensor]:
    """Return each model's logits, float32 [B, U] on the CPU."""
    logits = []
    for model in models:
        with autocast(device, precision):
            logits.append(model(inputs).float().cpu())
    return logits
