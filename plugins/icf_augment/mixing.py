"""MixUp and CutMix of a batch of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import icf
from icf_augment.draws import draw_integers
from icf_augment.plugin import CutMixParams, MixParams

LARGEST_SEED = 2**62

MOST_NAMES = 20
"""Classes that a message lists."""

PIECE = 2**18
"""Pixels' values that are averaged at once on a CPU, 1 MiB of floats."""


@dataclass(frozen=True)
class Partners:
    """Draws for each image of a batch the one that it is mixed with.

    ``groups`` is the group of each class, int64 [K]: images are mixed within a group, and those of group -1 with none.
    Without it, any image is mixed with any other.
    """

    groups: Tensor | None = None

    def draw(self, targets: Tensor, generator: torch.Generator) -> Tensor:
        """Return positions in the batch, int64 [N]: the images of a group form a circle, each one's partner the next.

        Only an image that is alone in its group, or in none, is its own partner.
        """
        places = torch.arange(len(targets))
        groups = torch.zeros_like(places) if self.groups is None else self.groups[targets.cpu()]
        groups = torch.where(groups < 0, -1 - places, groups)
        order = torch.randperm(len(targets), generator=generator)
        order = order[torch.argsort(groups[order], stable=True)]
        in_order = groups[order]
        first, end = torch.searchsorted(in_order, in_order), torch.searchsorted(in_order, in_order, right=True)
        followers = torch.where(places + 1 < end, places + 1, first)
        return torch.empty_like(order).scatter_(0, order, order[followers])


class Strangers:
    """Draws for each image of a batch one of another label, any of them equally often."""

    def draw(self, targets: Tensor, generator: torch.Generator) -> Tensor:
        """Return positions in the batch, int64 [N]; an image that has no such other is its own partner."""
        labels = targets.cpu()
        order = torch.argsort(labels, stable=True)
        in_order = labels[order]
        first, end = torch.searchsorted(in_order, labels), torch.searchsorted(in_order, labels, right=True)
        strangers = len(labels) - (end - first)
        # Places in the order, counted without those of the image's own label.
        drawn = draw_integers((strangers - 1).clamp(min=0), generator)
        places = torch.where(drawn < first, drawn, drawn + end - first).clamp(max=len(labels) - 1)
        return torch.where(strangers > 0, order[places], torch.arange(len(labels)))


@dataclass(frozen=True)
class MixUp:
    """Computes w * x + (1 - w) * partner with w from Beta(alpha, alpha) (Zhang et al. 2018, arXiv:1710.09412)."""

    params: MixParams
    partners: Partners | Strangers

    def __call__(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> icf.Mixed:
        """Return the mixed batch, its images rounded to uint8."""
        if not _is_chosen(self.params.probability, generator):
            return _leave(images)
        partners = self.partners.draw(targets, generator)
        weight = _draw_beta(self.params.alpha, generator)
        return icf.Mixed(images=_average(images, partners, weight), partners=partners, weight=weight)


@dataclass(frozen=True)
class CutMix:
    """Replaces one place of all images by that of their partners (Yun et al. 2019, arXiv:1905.04899).

    The place is the same in the whole batch. Its share of the image is 1 - w with w from Beta(alpha, alpha), or the
    one that was chosen; the weight is the exact share of pixels outside it.
    """

    params: CutMixParams
    partners: Partners | Strangers

    def __call__(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> icf.Mixed:
        """Return the mixed batch."""
        if not _is_chosen(self.params.probability, generator):
            return _leave(images)
        partners = self.partners.draw(targets, generator)
        share = self.params.share
        if share is None:
            share = 1 - _draw_beta(self.params.alpha, generator)
        height, width = images.shape[-2:]
        rows, columns = self._draw_place(height, width, share, generator)
        changed = images.clone()
        changed[:, :, rows, columns] = _gather(images[:, :, rows, columns], partners)
        replaced = (rows.stop - rows.start) * (columns.stop - columns.start)
        return icf.Mixed(images=changed, partners=partners, weight=1 - replaced / (height * width))

    def _draw_place(self, height: int, width: int, share: float, generator: torch.Generator) -> tuple[slice, slice]:
        """Return rows and columns of what is replaced."""
        if self.params.direction == "vertical":
            return slice(0, height), _draw_end(width, share, generator)
        if self.params.direction == "horizontal":
            return _draw_end(height, share, generator), slice(0, width)
        return _draw_middle(height, share**0.5, generator), _draw_middle(width, share**0.5, generator)


def build_mixup(params: MixParams, ctx: icf.MixerContext) -> MixUp:
    """Build the mixer; raises PluginError for classes that there are not."""
    return MixUp(params, _build_partners("augment/mixup", params, ctx))


def build_cutmix(params: CutMixParams, ctx: icf.MixerContext) -> CutMix:
    """Build the mixer; raises PluginError for classes that there are not."""
    return CutMix(params, _build_partners("augment/cutmix", params, ctx))


def _build_partners(name: str, params: MixParams, ctx: icf.MixerContext) -> Partners | Strangers:
    if params.partners == "any":
        return Partners()
    if ctx.targets == "labels":
        raise icf.PluginError(f"{name}: partners = '{params.partners}' needs one class of each image; use 'any'")
    if params.partners == "same-label":
        return Partners(torch.arange(ctx.num_classes))
    if params.partners == "other-label":
        return Strangers()
    groups = torch.full((ctx.num_classes,), -1)
    for index, group in enumerate(params.groups):
        for label in group:
            found = _find_class(name, label, ctx)
            if groups[found] >= 0:
                raise icf.PluginError(f"{name}: groups names class {label} twice, once by its name, once by its number")
            groups[found] = index
    return Partners(groups)


def _find_class(name: str, label: int | str, ctx: icf.MixerContext) -> int:
    """Return the number of a class; raises PluginError where there is none."""
    if isinstance(label, str):
        if label not in ctx.classes:
            raise icf.PluginError(
                f"{name}: groups names the class '{label}', but the data set has none{icf.suggest(label, ctx.classes)}"
                f" (allowed: {', '.join(ctx.classes[:MOST_NAMES])})"
            )
        return ctx.classes.index(label)
    if label >= ctx.num_classes:
        raise icf.PluginError(
            f"{name}: groups names class {label}, but the data set has {ctx.num_classes} classes, counted from"
            f" 0; the last one is {ctx.num_classes - 1}"
        )
    return label


def _is_chosen(probability: float, generator: torch.Generator) -> bool:
    return float(torch.rand((), generator=generator)) < probability


def _leave(images: Tensor) -> icf.Mixed:
    return icf.Mixed(images=images, partners=torch.arange(len(images)), weight=1.0)


def _draw_beta(alpha: float, generator: torch.Generator) -> float:
    # torch has no public function that draws from Beta with a generator.
    seed = int(torch.randint(LARGEST_SEED, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def _draw_end(side: int, share: float, generator: torch.Generator) -> slice:
    """Return the positions of the first or the last ``share`` of a side."""
    length = round(side * share)
    return slice(0, length) if _is_chosen(0.5, generator) else slice(side - length, side)


def _draw_middle(side: int, share: float, generator: torch.Generator) -> slice:
    """Return the positions of a ``share`` of a side around any pixel; what reaches over the edge is cut off."""
    length = int(side * share)
    centre = int(draw_integers(torch.tensor([side - 1]), generator))
    return slice(max(centre - length // 2, 0), min(centre + (length + 1) // 2, side))


def _average(images: Tensor, partners: Tensor, weight: float) -> Tensor:
    """Return weight * image + (1 - weight) * partner, rounded."""
    mixed = torch.empty_like(images)
    # Piece by piece on a CPU, so that the floats stay in its cache; the numbers are the same.
    size = max(1, PIECE // images[0].numel()) if images.device.type == "cpu" else len(images)
    for start in range(0, len(images), size):
        place = slice(start, start + size)
        others = _gather(images, partners[place])
        mixed[place] = images[place].float().mul_(weight).add_(others, alpha=1 - weight).round_()
    return mixed


def _gather(images: Tensor, positions: Tensor) -> Tensor:
    """Return the images at some positions, in the memory format that they have."""
    return images.permute(0, 2, 3, 1).index_select(0, positions.to(images.device)).permute(0, 3, 1, 2)
