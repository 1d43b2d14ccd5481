"""What an unlucky order of the recipe's transforms costs: measured, against geometry first."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from icf.components import BatchTransform, IntArray
from icf.errors import PluginError
from icf.pipeline.data.prepare import Prepared
from icf.pipeline.pixels.decode import decode_image
from icf.pipeline.results.products import CheckedTransform, build_transform
from icf.plan import Choice, Plan

IMAGES = 32
WHOLE_IMAGES = 4
"""Images of their own size, of which there may be many megapixels each."""

ROUNDS = 7
SECONDS = 2.0
"""Time after which no further round begins."""

WORTHWHILE = 1.1
"""Factor by which the better order must be faster to be told."""


def find_costly_orders(plan: Plan, data: Prepared) -> list[str]:
    """Return a sentence for each list of transforms that would be clearly faster with geometry first.

    The lists are never changed: another order gives other pixels.
    """
    rows = np.linspace(0, len(data.train) - 1, min(IMAGES, len(data.train))).astype(np.int64)
    found = []
    if can_be_ordered(build_all(plan.train_transforms, data)):
        batch = data.train.cache.source.gather_for_training(data.train.pixel_rows[rows]).permute(0, 3, 1, 2)
        found.append(compare_orders("transforms.train", plan.train_transforms, data, [batch]))
    if can_be_ordered(build_all(plan.shared_transforms, data)):
        images = read_whole_images(data, rows[:: max(1, len(rows) // WHOLE_IMAGES)][:WHOLE_IMAGES])
        found.append(compare_orders("transforms.shared", plan.shared_transforms, data, images))
    return [text for text in found if text]


def build_all(choices: Iterable[Choice], data: Prepared) -> list[CheckedTransform]:
    """Build the transforms of a list."""
    return [build_transform(choice, data.preprocessing.context()) for choice in choices]


def read_whole_images(data: Prepared, rows: IntArray) -> list[torch.Tensor]:
    """Return images as shared transforms get them, uint8 [1, C, H, W] each; those of an array as the network does."""
    images = []
    for row in rows:
        path = Path(data.train.sources[row])
        if path.is_file():
            batch = torch.from_numpy(decode_image(path, data.preprocessing.channels)[0])[None]
        else:
            batch = data.train.cache.source.gather(data.train.pixel_rows[[row]])
        images.append(batch.permute(0, 3, 1, 2))
    return images


def order_by_geometry(transforms: Sequence[CheckedTransform]) -> list[int]:
    """Return positions with what moves pixels first, and otherwise as it was."""
    return sorted(range(len(transforms)), key=lambda index: not transforms[index].geometric)


def can_be_ordered(transforms: Sequence[CheckedTransform]) -> bool:
    """Tell whether geometry first is another order."""
    return order_by_geometry(transforms) != list(range(len(transforms)))


def compare_orders(where: str, choices: Sequence[Choice], data: Prepared, batches: Sequence[torch.Tensor]) -> str:
    """Return what the better order is and gains, or nothing where it gains little."""
    transforms = build_all(choices, data)
    better = order_by_geometry(transforms)
    try:
        now, then = measure(transforms, [transforms[index] for index in better], batches)
    except PluginError:  # in another order, a crop may be larger than what it gets
        return ""
    if now < WORTHWHILE * then:
        return ""
    count = sum(len(batch) for batch in batches)
    order = ", ".join(name_choice(choices[index]) for index in better)
    return (
        f"{where}: in this order {count} images take {1000 * now:.1f} ms, with geometry first {1000 * then:.1f} ms;"
        f" the order would be: {order} (it changes the images a little, so icf leaves it to you)"
    )


def measure(
    ours: Sequence[BatchTransform], theirs: Sequence[BatchTransform], batches: Sequence[torch.Tensor]
) -> tuple[float, float]:
    """Return the seconds of both lists: the fastest of several rounds that take turns, which others disturb least."""
    begun = time.perf_counter()
    rounds: list[tuple[float, float]] = []
    while len(rounds) < ROUNDS and (not rounds or time.perf_counter() - begun < SECONDS):
        rounds.append((time_once(ours, batches, len(rounds)), time_once(theirs, batches, len(rounds))))
    return min(now for now, _ in rounds), min(then for _, then in rounds)


def time_once(transforms: Sequence[BatchTransform], batches: Sequence[torch.Tensor], seed: int) -> float:
    """Return the seconds of all transforms on all batches."""
    copies = [batch.clone(memory_format=torch.preserve_format) for batch in batches]
    generator = torch.Generator().manual_seed(seed)
    started = time.perf_counter()
    for images in copies:
        for transform in transforms:
            images = transform(images, generator)
    return time.perf_counter() - started


def name_choice(choice: Choice) -> str:
    """Return a component's name, with the operation that it stands for."""
    return f"{choice.ref} {choice.params['op']}" if "op" in choice.params else choice.ref
