"""A fixed number of augmented views of every training image, so that what is computed from them can be kept."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import torch

from icf.components import BatchTransform, IntArray
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.pixels.sources import PixelSource
from icf.pipeline.seeds import Purpose, derive_seed
from icf.pipeline.training.batches import Batches, Staged
from icf.plan import Plan

FROZEN_VIEWS = 4
"""Views with a frozen backbone, where each costs one pass over the images instead of one in every epoch."""


def count_views(plan: Plan) -> int | None:
    """Return how many views a training image has: 1 without transforms, None when each one is new."""
    section = plan.recipe.model
    if not plan.train_transforms:
        return 1
    is_repeated = section.freeze == "backbone" and not plan.mixers  # every batch mixes other images
    return section.views or (FROZEN_VIEWS if is_repeated else None)


def choose_views(count: int, views: int, seed: int) -> IntArray:
    """Return which view each of ``count`` images shows, int64 [count], each 0 to ``views - 1``, from ``seed`` alone."""
    return np.random.default_rng(seed).integers(views, size=count)


class ViewBatches(Batches):
    """Batches whose augmented images come from a fixed number of views; a view depends on nothing but its image."""

    def __init__(
        self,
        source: PixelSource,
        spec: Preprocessing,
        device: torch.device,
        augment: Sequence[BatchTransform],
        *,
        views: int,
        seed: int,
    ) -> None:
        # Views are drawn one by one, too small for a GPU.
        super().__init__(source, spec, device, augment, divided=False)
        self.views = views
        self._seed = seed
        self._lock = threading.Lock()  # a transform may keep state, or draw from a global generator

    def augment(self, rows: IntArray, seed: int) -> torch.Tensor:
        """Return augmented uint8 [B, C, H, W]; ``seed`` chooses a view for each row."""
        return self.draw(rows, choose_views(len(rows), self.views, seed))

    def prepare_levels(self, rows: IntArray, seed: int) -> Staged:
        """Do everything before the copy; nothing is left that draws from the generator."""
        images = self.augment(rows, seed)
        images = images.pin_memory() if self._device.type == "cuda" else images
        return Staged(images, torch.Generator(), len(rows))

    def draw(self, rows: IntArray, views: IntArray) -> torch.Tensor:
        """Return uint8 [B, C, H, W]: of each row, the view with that number."""
        # One image at a time: in a batch, what an image gets would depend on its neighbours.
        with self._lock:
            images = [
                super(ViewBatches, self).augment(rows[index : index + 1], self._derive_seed(int(row), int(view)))
                for index, (row, view) in enumerate(zip(rows, views, strict=True))
            ]
        return torch.cat(images)

    def read_drawn(self, rows: IntArray, view: int) -> torch.Tensor:
        """Return float32 [B, C, H, W]: the view with that number, of all rows."""
        return self.normalise(self.draw(rows, np.full(len(rows), view)))

    def _derive_seed(self, row: int, view: int) -> int:
        return derive_seed(self._seed, Purpose.VIEW, row, view)
