"""Test-time augmentation: the views of an image whose predictions are averaged with those of the plain one."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from icf.choice import View
from icf.components import FloatArray
from icf.errors import PluginError
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.results.products import CheckedTransform, build_transform
from icf.pipeline.seeds import Purpose, derive_seed
from icf.pipeline.training.output import Output
from icf.plan import Plan

FLIPS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "horizontal-flip": lambda images: images.flip(3),
    "vertical-flip": lambda images: images.flip(2),
}


class ViewTransform:
    """Shows images as one view does: every image in the same way in each run, with whichever others it comes.

    What a random transform draws depends on nothing but the recipe's seed, the number of the view and the pixels of the
    image, so that an image among the validation rows, the test rows or new ones is seen alike.
    """

    def __init__(self, view: View, spec: Preprocessing, seed: int) -> None:
        self.key = view.key
        self._view = view
        self._seed = seed
        self._steps = [
            FLIPS[step] if isinstance(step, str) else build_transform(step, spec.context()) for step in view.steps
        ]
        transforms = [step for step in self._steps if isinstance(step, CheckedTransform)]
        self._is_own = not transforms
        self.deterministic = all(transform.deterministic for transform in transforms)
        self.any_device = self.deterministic and all(transform.any_device for transform in transforms)
        self._lock = threading.Lock()  # a transform may keep state, or draw from a global generator

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return uint8 [B, C, H, W] of such; images are on the CPU unless ``any_device``.

        Raises:
            PluginError: a transform failed, or the last one returned another size.
        """
        with self._lock:
            seen = self._show(images if self._is_own else images.clone())  # a plugin may write into what it is given
        if seen.shape != images.shape:
            raise PluginError(
                f"inference.tta[{self._view.number - 1}] gives images of {list(seen.shape[2:])} pixels, but the network"
                f" takes {list(images.shape[2:])}; end the view with a resize to that"
            )
        return seen

    def _show(self, images: torch.Tensor) -> torch.Tensor:
        if self.deterministic:
            return self._apply(images, torch.Generator())
        # One image at a time: in a batch, what an image gets would depend on its neighbours.
        return torch.cat([self._apply(image, self._seed_of(image)) for image in torch.split(images, 1)])

    def _apply(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        for step in self._steps:
            images = step(images, generator) if isinstance(step, CheckedTransform) else step(images)
        return images

    def _seed_of(self, image: torch.Tensor) -> torch.Generator:
        pixels = zlib.crc32(image.permute(0, 2, 3, 1).contiguous().numpy().data)
        return torch.Generator().manual_seed(derive_seed(self._seed, Purpose.TTA, self._view.number, pixels))


@dataclass(frozen=True)
class Views:
    """The views beside the plain one, and what of a network's outputs is averaged over all of them."""

    transforms: Sequence[ViewTransform] = ()
    average: Literal["probabilities", "logits"] = "probabilities"

    def join(self, output: Output, logits: torch.Tensor) -> FloatArray:
        """Return probabilities, float64 [..., K], of the logits of V views, float [V, ..., U], plain one first.

        With d, what ``output.decode`` makes of logits: the mean of d(z_v) over the views v, or d of the mean of z_v.
        For a softmax the latter is the geometric mean of the views' probabilities, scaled to a sum of 1. Of several
        heads it is the mean of each head's own outputs, before values are joined to classes.
        """
        if self.average == "logits":
            return output.decode(logits.double().mean(dim=0))
        mean: FloatArray = output.decode(logits).mean(axis=0)
        return mean


def build_views(plan: Plan, spec: Preprocessing) -> Views:
    """Build the transforms of the plan's views; raises PluginError for one that can't be built."""
    transforms = [ViewTransform(view, spec, plan.recipe.train.seed) for view in plan.views]
    return Views(tuple(transforms), plan.recipe.inference.average)
