"""Models: their descriptor, what their factories may know, and what is known of a model before it is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from icf.components.base import Component


@dataclass(frozen=True, kw_only=True)
class ModelContext:
    """What a model must fit."""

    num_classes: int
    """Number of classes, K: the model's output is [N, K]."""

    channels: int = 3
    """Channels of an image: 1 or 3."""

    image_size: tuple[int, int] = (224, 224)
    """Height and width of an image in pixels."""

    seed: int = 0
    """Differs from fold to fold; torch's own generator is seeded with it before the factory is called."""

    pretrained: bool = True
    """False when weights will be loaded from a checkpoint, so none need be fetched."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What is known of a model before it is built."""

    mean: tuple[float, ...] | None = None
    """Mean per channel, on the 0-1 scale; None: measured on the training rows."""

    std: tuple[float, ...] | None = None
    """Standard deviation per channel, on the 0-1 scale; None: measured on the training rows."""

    image_size: tuple[int, int] | None = None
    """Height and width that the model prefers, in pixels; None: those of the data."""

    weights: str = "random initialisation"
    """Where the weights come from, for the report."""


@dataclass(frozen=True, kw_only=True)
class Model(Component):
    """A model. Factory: ``(params, ModelContext) -> torch.nn.Module``, images float32 [N, C, H, W] -> logits [N, K]."""

    kind: ClassVar[str] = "model"

    inspect: str | None = None
    """A function, as "package.module:function", ``(params, ModelContext) -> ModelInfo``: called before training. It
    raises PluginError with advice when pretrained weights can't be had. None: nothing is known of the model."""
