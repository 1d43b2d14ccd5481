"""What a network is fed with: images from the pixel cache, or embeddings of them if its first part is frozen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from icf.components import IntArray
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.frozen.embeddings import EmbeddingFiles, Embeddings
from icf.pipeline.frozen.views import ViewBatches, count_views
from icf.pipeline.pixels.sources import PixelSource
from icf.pipeline.results.products import build_transform
from icf.pipeline.training.batches import Batches
from icf.pipeline.training.tta import ViewTransform
from icf.plan import Plan


class Inputs(Protocol):
    """Network inputs for any rows of one pixel cache."""

    def read(self, rows: IntArray) -> torch.Tensor:
        """Return [B, ...] on the device, not augmented."""
        ...

    def read_views(self, rows: IntArray, views: Sequence[ViewTransform]) -> Iterator[torch.Tensor]:
        """Yield what ``read`` returns, and then the same of each test-time view."""
        ...

    def read_augmented(self, rows: IntArray, seed: int) -> torch.Tensor:
        """Return [B, ...] on the device, augmented with randomness from ``seed`` alone."""
        ...


def open_train_images(plan: Plan, source: PixelSource, spec: Preprocessing, device: torch.device) -> Batches:
    """Return training images, augmented as the plan says: each time anew, or from a fixed number of views."""
    augment = [build_transform(choice, spec.context()) for choice in plan.train_transforms]
    views = count_views(plan)
    if views is None or not augment:
        return Batches(source, spec, device, augment)
    return ViewBatches(source, spec, device, augment, views=views, seed=plan.recipe.train.seed)


def open_test_inputs(
    files: EmbeddingFiles | None, source: PixelSource, spec: Preprocessing, device: torch.device
) -> Inputs:
    """Return test images, or their embeddings."""
    return Batches(source, spec, device) if files is None else Embeddings(files.test, files, device)
