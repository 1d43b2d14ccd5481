"""Logits and probabilities for many rows, the same way for out-of-fold, test and new images."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from icf.components import FloatArray, IntArray
from icf.pipeline.inputs import Inputs
from icf.pipeline.network import autocast
from icf.sections import Inference


@torch.inference_mode()
def predict_logits(
    model: nn.Module,
    batches: Inputs,
    rows: IntArray,
    batch_size: int,
    device: torch.device,
    precision: torch.dtype | None,
    view: str | None = None,
) -> torch.Tensor:
    """Return logits, float32 [N, K] on the CPU, for rows of the pixel cache, as one view sees them."""
    model.eval()
    parts = []
    for start in range(0, len(rows), batch_size):
        images = batches.read(rows[start : start + batch_size], view)
        with autocast(device, precision):
            parts.append(model(images).float().cpu())
    if parts:
        return torch.cat(parts).clone()
    return torch.zeros((0, model(batches.read(np.zeros(1, np.int64))).shape[1]))


def predict_probabilities(
    model: nn.Module,
    batches: Inputs,
    rows: IntArray,
    section: Inference,
    device: torch.device,
    precision: torch.dtype | None,
) -> FloatArray:
    """Return probabilities, float64 [N, K], averaged over the plain view and those of ``inference.tta``."""

    def predict(view: str | None) -> FloatArray:
        return softmax(predict_logits(model, batches, rows, section.batch_size, device, precision, view))

    total = predict(None)
    for view in section.tta:
        total += predict(view)
    return total / (1 + len(section.tta))


def softmax(logits: torch.Tensor) -> FloatArray:
    """Return probabilities, float64 [N, K], from logits."""
    values: FloatArray = torch.softmax(logits.double(), dim=1).numpy()
    return values
