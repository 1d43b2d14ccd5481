"""Pictures on their way to a team's augmentation and back: uint8 [3, H, W] <-> PIL image or array <-> float tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import icf


def to_array(image: Tensor) -> icf.PixelArray:
    """Return uint8 [H, W, 3] of uint8 [3, H, W], as memory of its own."""
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy()).copy()


def to_floats(result: Any, mean: Tensor, std: Tensor) -> Tensor:
    """Return what an augmentation made as float32 [3, H, W] on the 0-1 scale, not yet clipped.

    A tensor of floats is normalised, which is undone with ``mean`` and ``std``, both [3, 1, 1]; pixels of type
    uint8 are not. Raises ValueError for anything else.
    """
    if isinstance(result, dict):
        result = result.get("image")
    if isinstance(result, Image.Image):
        result = np.asarray(result.convert("RGB"))
    if isinstance(result, np.ndarray) and result.ndim == 3:
        result = torch.from_numpy(np.ascontiguousarray(result.transpose(2, 0, 1)))
    if not isinstance(result, Tensor):
        raise ValueError(f"it gives {type(result).__name__}, not a tensor or picture")
    if result.ndim != 3 or result.shape[0] != 3:
        raise ValueError(f"it gives the shape {list(result.shape)}, not [3, height, width]")
    if result.dtype == torch.uint8:
        return result.float() / 255
    if not result.is_floating_point():
        raise ValueError(f"it gives {result.dtype}, neither uint8 nor floats")
    return result.float() * std + mean


def to_pixels(image: Tensor) -> Tensor:
    """Return uint8 of floats on the 0-1 scale: rounded, and clipped where noise leaves the scale."""
    return (image * 255).round_().clamp_(0, 255).to(torch.uint8)
