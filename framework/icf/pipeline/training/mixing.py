"""Mixing: the images of a training batch are mixed with each other, and so is the loss of their targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from icf.components import BatchMixer, Mixed, MixerContext, TargetKind
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.results.products import build_mixer
from icf.pipeline.seeds import Purpose, derive_seed
from icf.plan import Plan

WeightedTargets: TypeAlias = list[tuple[torch.Tensor, float]]
"""What a batch is compared with (``Output.expect``), [N, ...], and the weight of each comparison in its loss."""


@dataclass(frozen=True)
class Mixing:
    """Ways to mix a batch, of which each batch draws one, and how many epochs are mixed."""

    mixers: Sequence[BatchMixer]
    epochs: int

    def is_active(self, epoch: int) -> bool:
        """Tell whether the batches of an epoch, counted from 0, are mixed."""
        return bool(self.mixers) and epoch < self.epochs

    def mix(self, images: torch.Tensor, targets: torch.Tensor, seed: int) -> Mixed:
        """Mix images uint8 [N, C, H, W] with targets int64 [N], with randomness from the batch's ``seed`` alone.

        Raises:
            PluginError: a mixer failed, or returned something else than it must.
        """
        # A stream of its own: with that of the transforms, a flip and a partner would be one draw.
        generator = torch.Generator().manual_seed(derive_seed(seed, Purpose.MIX))
        drawn = int(torch.randint(len(self.mixers), (), generator=generator))
        return self.mixers[drawn](images, targets, generator)


def build_mixing(plan: Plan, classes: Sequence[str], spec: Preprocessing, kind: TargetKind = "classes") -> Mixing:
    """Build the mixers of a plan; raises PluginError where a factory fails or refuses its parameters."""
    context = MixerContext(
        num_classes=len(classes),
        image_size=spec.context().image_size,
        channels=spec.channels,
        classes=tuple(classes),
        targets=kind,
    )
    mixers = [build_mixer(choice, context) for choice in plan.mixers]
    return Mixing(mixers, plan.recipe.train.epochs - plan.recipe.transforms.unmixed_epochs)


def mix_lines(mixing: Mixing, images: torch.Tensor, targets: torch.Tensor, seed: int, line: int = 8) -> torch.Tensor:
    """Mix every ``line`` images of a picture as a batch of their own, so that it shows several ways and weights."""
    places = [slice(start, start + line) for start in range(0, len(images), line)]
    return torch.cat([mixing.mix(images[place], targets[place], seed + place.start).images for place in places])


def weigh_targets(targets: torch.Tensor, mixed: Mixed) -> WeightedTargets:
    """Return what a mixed batch is compared with: its own targets and its partners'."""
    own, partners = (targets, mixed.weight), (targets[mixed.partners.cpu()], 1 - mixed.weight)
    return [(labels, weight) for labels, weight in (own, partners) if weight > 0]
