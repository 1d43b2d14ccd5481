"""Augmentations of a team's dataset.py, applied image by image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import icf
from icf_baseline.code import accepts, call, explain, find_callable, load_module
from icf_baseline.pictures import to_array, to_floats, to_pixels
from icf_baseline.plugin import TransformParams
from icf_baseline.randomness import own_randomness

COMPONENT = "baseline/transform"
OFF_SCALE = 0.1
"""How far the middle of a black or white picture may leave the 0-1 scale, which noise alone does not move."""

CROPS = frozenset({"CenterCrop", "FiveCrop", "RandomCrop"})
DEPTH = 5


def build_transform(params: TransformParams, ctx: icf.TransformContext) -> TeamTransform:
    """Build the augmentation: uint8 [N, 3, H, W] -> uint8 [N, 3, H', W'].

    Raises PluginError for an unknown class, arguments that it does not take, a class that normalises with
    other numbers than it is told, and one whose randomness can't be seeded.
    """
    if ctx.channels != 3:
        raise icf.PluginError(f"{COMPONENT}: {params.name} works on colour images; set transforms.channels = 3")
    make = find_callable(COMPONENT, load_module(COMPONENT, params.module), params.name)
    given = {"resize": list(ctx.image_size), "mean": list(params.mean), "std": list(params.std)}
    arguments = {name: value for name, value in given.items() if accepts(make, name)} | params.args
    augment = call(COMPONENT, params.name, make, arguments)
    if not callable(augment):
        raise icf.PluginError(f"{COMPONENT}: {params.name} can't be called with an image; it has no __call__")
    _leave_out(params, augment)
    return TeamTransform(params, augment)


class TeamTransform:
    """Calls a team's augmentation for each image, with all global randomness seeded from the generator."""

    thread_safe = False

    def __init__(self, params: TransformParams, augment: Any) -> None:
        self.name = params.name
        self._as_array = params.call == "albumentations"
        self._augment = augment
        self._mean = torch.tensor(params.mean).view(3, 1, 1)
        self._std = torch.tensor(params.std).view(3, 1, 1)
        parts = list(_walk(augment))
        self._seeded = [part for part in parts if callable(getattr(part, "set_random_seed", None))]
        self._crops = [part.size for part in parts if type(part).__name__ in CROPS and hasattr(part, "size")]
        self._probed = False

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the changed batch; raises PluginError when the team's code fails or makes no such images."""
        if not len(images):
            return images
        self._check_crops(images.shape[2], images.shape[3])
        seeds = torch.randint(2**31 - 1, (len(images),), generator=generator).tolist()
        if not self._probed:
            self._probe(images[0].cpu(), seeds[0])
        changed = [to_pixels(image) for image in self._apply_all(images.cpu(), seeds)]
        sizes = sorted({tuple(image.shape[1:]) for image in changed})
        if len(sizes) > 1:
            found = f"images of different sizes {sizes[0]}, {sizes[1]}"
            raise icf.PluginError(f"{COMPONENT}: {self.name} made {found}; a batch needs one size")
        return torch.stack(changed).to(images.device)

    def _apply_all(self, images: Tensor, seeds: list[int]) -> list[Tensor]:
        with own_randomness() as seed_all:
            changed = []
            for image, seed in zip(images, seeds, strict=True):
                seed_all(seed)
                for part in self._seeded:
                    part.set_random_seed(seed)
                changed.append(self._apply(image))
        return changed

    def _apply(self, image: Tensor) -> Tensor:
        pixels = to_array(image)
        try:
            result = self._augment(image=pixels) if self._as_array else self._augment(Image.fromarray(pixels))
        except Exception as error:  # noqa: BLE001 - a team's code may raise anything
            explain(COMPONENT, f"{self.name} failed on an image of {list(pixels.shape)}", error)
        try:
            return to_floats(result, self._mean, self._std)
        except ValueError as error:
            raise icf.PluginError(f"{COMPONENT}: {self.name}: {error}") from None

    def _probe(self, image: Tensor, seed: int) -> None:
        """Find what would spoil every image: a normalisation of the class's own, and randomness out of reach."""
        for name, value in (("black", 0), ("white", 255)):
            [result] = self._apply_all(torch.full_like(image, value)[None], [seed])
            middle = float(result.median())
            if not -OFF_SCALE <= middle <= 1 + OFF_SCALE:
                raise icf.PluginError(
                    f"{COMPONENT}: {self.name} makes {middle:.2f} of {name} pixels, on a scale of 0 to 1: it normalises"
                    " with numbers of its own; give these as mean and std, and they are undone"
                )
        first, second = self._apply_all(image[None].expand(2, -1, -1, -1), [seed, seed])
        if not torch.equal(first, second):
            raise icf.PluginError(
                f"{COMPONENT}: {self.name} gives two results for one seed, so a run could not be repeated; it may draw"
                " from torch, numpy's own generator, random, and transforms of albumentations that it keeps"
            )
        self._probed = True

    def _check_crops(self, height: int, width: int) -> None:
        for size in self._crops:
            tall, wide = (size, size) if isinstance(size, int) else (size[0], size[-1])
            if tall > height or wide > width:
                raise icf.PluginError(
                    f"{COMPONENT}: {self.name} crops {tall} x {wide} pixels, but images are {height} x {width} by now"
                    " (icf resizes them first), so it would only add a black border;"
                    " crop in transforms.shared, and leave the step out here with without"
                )


def _leave_out(params: TransformParams, augment: Any) -> None:
    """Remove the unwanted steps from what is kept by the object, which nobody else has."""
    holders = [part for part in _walk(augment) if isinstance(getattr(part, "transforms", None), list)]
    steps = {type(step).__name__ for holder in holders for step in holder.transforms}
    for name in params.without:
        if name not in steps:
            hint = icf.did_you_mean(name, steps)
            raise icf.PluginError(f"{COMPONENT}: without: {params.name} has no step {name}{hint}")
    for holder in holders if params.without else ():
        holder.transforms = [step for step in holder.transforms if type(step).__name__ not in params.without]


def _walk(part: Any, depth: int = DEPTH) -> Iterator[Any]:
    """Yield an object and what it keeps: attributes, and items of lists and tables."""
    yield part
    if depth == 0 or callable(getattr(part, "set_random_seed", None)):
        return  # it seeds its own parts
    if isinstance(part, list | tuple):
        inner: list[Any] = list(part)
    elif isinstance(part, dict):
        inner = list(part.values())
    elif isinstance(part, type) or not hasattr(part, "__dict__"):
        return
    else:
        inner = list(vars(part).values())
    for item in inner:
        yield from _walk(item, depth - 1)
