"""Batches: gathered from the pixel cache as uint8, augmented as a batch, normalised last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from icf.components import BatchTransform, IntArray
from icf.errors import PluginError
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.pixels.sources import PixelSource
from icf.pipeline.training.tta import ViewTransform

PIECE = 2**18
"""Values that are normalised at once on a CPU, 1 MiB: of 2**15 to 2**19 the best with one thread and with two."""


@dataclass(frozen=True)
class Staged:
    """A batch of ``count`` rows as it is copied to the device, and the generator of the transforms that are left."""

    images: torch.Tensor
    generator: torch.Generator
    count: int


class Batches:
    """Network inputs for any rows of one source of pixels.

    With ``divided``, as on a GPU, the device does the transforms of ``augment`` that can compute anywhere, from the
    first one on after which all can.
    """

    def __init__(
        self,
        source: PixelSource,
        spec: Preprocessing,
        device: torch.device,
        augment: Sequence[BatchTransform] = (),
        *,
        divided: bool | None = None,
    ) -> None:
        self._source = source
        self._spec = spec
        self._device = device
        self._augment = augment
        self._divided = device.type == "cuda" if divided is None else divided
        first = count_leading(augment) if self._divided else len(augment)
        self._leading, self._following = augment[:first], augment[first:]
        self._mean = _to_channels(spec.mean, device) * 255
        self._scale = 1 / (_to_channels(spec.std, device) * 255)

    def read(self, rows: IntArray) -> torch.Tensor:
        """Return float32 [B, C, H, W] on the device, in channels-last memory, not augmented."""
        return self.normalise(self._gather(rows))

    def read_view(self, rows: IntArray, view: ViewTransform) -> torch.Tensor:
        """Return the same of one test-time view."""
        images = self._gather(rows)
        return self.normalise(view(images.to(self._device) if view.any_device else images))

    def read_views(self, rows: IntArray, views: Sequence[ViewTransform]) -> Iterator[torch.Tensor]:
        """Yield what ``read`` returns, and then each test-time view of it; every image is read once."""
        images = self._gather(rows)
        on_device = images.to(self._device, non_blocking=True)
        yield self.normalise(on_device)
        for view in views:
            yield self.normalise(view(on_device if view.any_device else images))

    @property
    def thread_safe(self) -> bool:
        """Tell whether a thread may augment while another trains."""
        return all(getattr(transform, "thread_safe", True) for transform in self._augment)

    def read_augmented(self, rows: IntArray, seed: int) -> torch.Tensor:
        """Return float32 [B, C, H, W], augmented with randomness from ``seed`` alone."""
        return self.deliver(self.prepare(rows, seed))

    def read_levels(self, rows: IntArray, seed: int) -> torch.Tensor:
        """Return uint8 [B, C, H, W] on the device, augmented like ``read_augmented``, for ``normalise``."""
        return self.deliver_levels(self.prepare_levels(rows, seed))

    def prepare(self, rows: IntArray, seed: int) -> Staged:
        """Do what a thread beside the training can do: everything on a CPU, and up to the copy for a GPU."""
        prepared = self.prepare_levels(rows, seed)
        return prepared if self._divided else replace(prepared, images=self.normalise(self._end(prepared)))

    def deliver(self, prepared: Staged) -> torch.Tensor:
        """Return float32 [B, C, H, W] on the device from what ``prepare`` returned."""
        return self.normalise(self.deliver_levels(prepared)) if self._divided else prepared.images

    def prepare_levels(self, rows: IntArray, seed: int) -> Staged:
        """Do the part of ``read_levels`` that a thread beside the training can do: everything before the copy."""
        prepared = self._begin(rows, seed)
        return replace(prepared, images=prepared.images.pin_memory()) if self._device.type == "cuda" else prepared

    def deliver_levels(self, prepared: Staged) -> torch.Tensor:
        """Return uint8 [B, C, H, W] on the device from what ``prepare_levels`` returned."""
        return self._end(replace(prepared, images=prepared.images.to(self._device, non_blocking=True)))

    def augment(self, rows: IntArray, seed: int) -> torch.Tensor:
        """Return augmented uint8 [B, C, H, W], on the CPU.

        Raises:
            PluginError: a transform returned another size or type than the network takes.
        """
        return self._end(self._begin(rows, seed))

    def _begin(self, rows: IntArray, seed: int) -> Staged:
        generator = torch.Generator().manual_seed(seed)
        images = self._source.gather_for_training(rows).permute(0, 3, 1, 2)
        return Staged(_apply(self._leading, images, generator), generator, len(rows))

    def _end(self, prepared: Staged) -> torch.Tensor:
        images = _apply(self._following, prepared.images, prepared.generator)
        expected = (prepared.count, self._spec.channels, *self._spec.image_size)
        if tuple(images.shape) != expected or images.dtype != torch.uint8:
            raise PluginError(
                f"transforms.train gives {images.dtype} {list(images.shape)}, but the network takes uint8"
                f" {list(expected)}; end the list with a crop or resize to {list(self._spec.image_size)}"
            )
        return images

    def _gather(self, rows: IntArray) -> torch.Tensor:
        return self._source.gather(rows).permute(0, 3, 1, 2)  # this view is channels-last

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 [B, C, H, W] on the device, in channels-last memory, of uint8 of the same shape."""
        images = images.to(self._device, non_blocking=True)
        count, channels, height, width = images.shape
        # A line of pixels is one long row for the arithmetic: three channels at a time take several times as long.
        levels = images.permute(0, 2, 3, 1).reshape(count * height, width * channels)
        mean, scale = self._mean.repeat(width), self._scale.repeat(width)
        values = torch.empty(levels.shape, dtype=torch.float32, device=self._device)
        # Piece by piece on a CPU, so that all three steps work in its cache; the numbers are the same.
        lines = max(1, PIECE // levels.shape[1]) if self._device.type == "cpu" else len(levels)
        for source, target in zip(torch.split(levels, lines), torch.split(values, lines), strict=True):
            target.copy_(source).sub_(mean).mul_(scale)
        return values.view(count, height, width, channels).permute(0, 3, 1, 2)


def count_leading(transforms: Sequence[BatchTransform]) -> int:
    """Return how many transforms, from the first, have to be done before all others can be done on any device."""
    needing = [place for place, transform in enumerate(transforms, 1) if not getattr(transform, "any_device", False)]
    return max(needing, default=0)


def _apply(transforms: Sequence[BatchTransform], images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    for transform in transforms:
        images = transform(images, generator)
    return images


def _to_channels(values: tuple[float, ...] | None, device: torch.device) -> torch.Tensor:
    if values is None:
        raise ValueError("preprocessing has no statistics yet")
    return torch.tensor(values, dtype=torch.float32, device=device)


def draw_grid(images: torch.Tensor, most: int = 32) -> np.ndarray:
    """Lay up to ``most`` of at least one image, uint8 [B, C, H, W], out in a grid, uint8 [h, w, 3]."""
    images = images[:most].expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:most]
    columns = min(8, len(images))
    lines = -(-len(images) // columns)
    height, width = images.shape[2], images.shape[3]
    grid = np.full((lines * (height + 2) + 2, columns * (width + 2) + 2, 3), 255, dtype=np.uint8)
    for index, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        top, left = 2 + index // columns * (height + 2), 2 + index % columns * (width + 2)
        grid[top : top + height, left : left + width] = image
    return grid
