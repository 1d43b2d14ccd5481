"""Checks of transforms."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from icf.components import BatchTransform, TransformContext
from icf.errors import IcfError
from icf.testing.case import Case, CheckSkipped, expect

DRAWING = frozenset({
    "bernoulli", "bernoulli_", "multinomial", "normal", "normal_", "rand", "rand_like", "randint", "randint_like",
    "randn", "randn_like", "randperm", "random_", "uniform_",
})  # fmt: skip
"""Functions and methods of torch that draw from the global generator unless they are given another."""

ROWS = 6
HEIGHT, WIDTH = 40, 48
SIZE = (32, 32)
SEEDS = 4


def build_transform(case: Case, channels: int = 3) -> BatchTransform:
    """Build the transform."""
    transform: BatchTransform = case.build(TransformContext(image_size=SIZE, channels=channels))
    return transform


def draw_images(channels: int = 3) -> Tensor:
    """Return random images, uint8 [ROWS, channels, HEIGHT, WIDTH]."""
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (ROWS, channels, HEIGHT, WIDTH), dtype=torch.uint8, generator=generator)


def apply(transform: BatchTransform, images: Tensor, seed: int) -> Tensor:
    """Apply the transform to a copy, with a generator of its own."""
    return transform(images.clone(), torch.Generator().manual_seed(seed))


def check_images(case: Case) -> None:
    """uint8 [N, C, H, W] becomes uint8 [N, C, H', W'], one size for the whole batch."""
    transform = build_transform(case)
    for seed in range(3):
        images = apply(transform, draw_images(), seed)
        expect(isinstance(images, Tensor), f"the result is {type(images).__name__}, not a tensor")
        expect(images.dtype == torch.uint8, f"the result is {images.dtype}, not uint8")
        found = tuple(images.shape)
        expect(found[:2] == (ROWS, 3) and images.ndim == 4, f"{ROWS} images of 3 channels became {found}")


def check_one_image(case: Case) -> None:
    """A batch of one image, perhaps the last of an epoch, is as good as any."""
    found = tuple(apply(build_transform(case), draw_images()[:1], 0).shape)
    expect(len(found) == 4 and found[:2] == (1, 3), f"1 image of 3 channels became {found}")


def check_grey(case: Case) -> None:
    """Images of one channel stay so, or the transform says in words that it can't change them."""
    try:
        images = apply(build_transform(case, channels=1), draw_images(1), 0)
    except IcfError:
        return
    found = tuple(images.shape)
    expect(len(found) == 4 and found[:2] == (ROWS, 1), f"{ROWS} images of 1 channel became {found}")
    expect(images.dtype == torch.uint8, f"the result is {images.dtype}, not uint8")


def check_seed(case: Case) -> None:
    """All randomness comes from the generator: its seed decides, and no global one."""
    results = []
    for other_seed in (0, 1):
        torch.manual_seed(other_seed)
        np.random.seed(other_seed)
        random.seed(other_seed)
        results.append([apply(build_transform(case), draw_images(), seed) for seed in range(3)])
    same = all(torch.equal(one, other) for one, other in zip(*results, strict=True))
    expect(same, "the same generator gives another result when torch's, numpy's or Python's own seed is another")


def check_batch(case: Case) -> None:
    """Where nothing is random, every image of a batch is changed as it would be alone."""
    transform = build_transform(case)
    # Images of different brightness and contrast, so that a mean over the batch is no image's own.
    images = (draw_images() * torch.linspace(0.2, 1, ROWS).reshape(ROWS, 1, 1, 1)).to(torch.uint8)
    batches = [list(apply(transform, images, seed)) for seed in range(SEEDS)]
    alone = [[apply(transform, image[None], seed)[0] for image in images] for seed in range(SEEDS)]
    # An adapter may draw seeds also for what is not random, so only results tell.
    if not all(_is_near(found[0], again) for found in (batches, alone) for again in found):
        raise CheckSkipped("the transform is random: called again, it gives another result")
    for number, (one, other) in enumerate(zip(batches[0], alone[0], strict=True)):
        expect(_is_near([one], [other]), f"image {number} of {ROWS} is changed otherwise than alone")


def _is_near(images: list[Tensor], others: list[Tensor]) -> bool:
    """Tell whether images have the same sizes and pixels, but for rounding."""
    return all(
        one.shape == other.shape and int((one.int() - other.int()).abs().max()) <= 1
        for one, other in zip(images, others, strict=True)
    )


class _GlobalDraws(TorchFunctionMode):
    """Takes note of calls in the block that draw from torch's global generator."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in DRAWING and (kwargs or {}).get("generator") is None:
            self.names.add(name)
        return func(*args, **(kwargs or {}))


def check_threads(case: Case) -> None:
    """A transform that draws from torch's global generator, even if it puts that back, says ``thread_safe = False``."""
    transform = build_transform(case)
    if not getattr(transform, "thread_safe", True):
        return
    with _GlobalDraws() as found:
        for seed in range(3):
            apply(transform, draw_images(), seed)
    calls = ", ".join(sorted(found.names))
    expect(not found.names, f"{calls} without generator=: threads that prepare batches would disturb the training step")


def check_input_scale(case: Case) -> None:
    """A transform that asks for larger images says how much larger, and makes images of the network's size of them."""
    transform = build_transform(case)
    scale = getattr(transform, "input_scale", 1.0)
    right = isinstance(scale, float | int) and not isinstance(scale, bool) and 1 <= scale <= 4
    expect(right, f"input_scale is {scale!r}, not a number from 1 to 4")
    if scale == 1:
        return
    height, width = (round(side * scale) for side in SIZE)
    images = draw_images().repeat(1, 1, 4, 4)[:, :, :height, :width]
    found = tuple(apply(transform, images, 0).shape[2:])
    expect(found == SIZE, f"with input_scale = {scale}, images of {height} x {width} became {found}, not {SIZE}")


def check_deterministic(case: Case) -> None:
    """A transform with ``deterministic = True`` makes the same of an image with any seed, alone and in a batch."""
    transform = build_transform(case)
    said = getattr(transform, "deterministic", False)
    expect(isinstance(said, bool), f"deterministic is {said!r}, not True or False")
    if not said:
        return
    images = draw_images()
    batch = list(apply(transform, images, 0))
    for seed in range(1, SEEDS):
        expect(_is_near(batch, list(apply(transform, images, seed))), "another seed gives another result")
    alone = [apply(transform, image[None], 0)[0] for image in images]
    expect(_is_near(batch, alone), "an image alone is changed otherwise than in a batch")


def check_any_device(case: Case) -> None:
    """A transform with ``any_device = True`` makes the same images on a GPU, if there is one here, but for rounding."""
    transform = build_transform(case)
    said = getattr(transform, "any_device", False)
    expect(isinstance(said, bool), f"any_device is {said!r}, not True or False")
    if not said or not torch.cuda.is_available():
        return
    for seed in range(SEEDS):
        here = apply(transform, draw_images(), seed)
        there = apply(transform, draw_images().cuda(), seed)
        expect(there.is_cuda, f"images on a GPU became images on {there.device}")
        expect(_is_near([here], [there.cpu()]), "images on a GPU are changed otherwise than on the CPU")


TRANSFORM_CHECKS = (
    check_images,
    check_one_image,
    check_grey,
    check_seed,
    check_batch,
    check_threads,
    check_input_scale,
    check_deterministic,
    check_any_device,
)
