"""What a network sees: images as files have them, prepared, augmented, mixed, and in test-time views, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from icf.components import IntArray, PixelArray, Samples
from icf.errors import BadImagesError, Problem
from icf.local import restore_local_plugins
from icf.pipeline.data.prepare import describe_inputs
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.data.stored_images import find_scale, read_content
from icf.pipeline.files import write_file
from icf.pipeline.pixels.decode import UnreadableImageError, decode_image, to_pixels
from icf.pipeline.pixels.reader import ImageReader
from icf.pipeline.pixels.sources import DecodedPixels, PixelSource, TwoSizes
from icf.pipeline.results.contact_sheet import Column, draw_sheet
from icf.pipeline.results.products import build_transform
from icf.pipeline.seeds import Purpose, derive_seed
from icf.pipeline.training.batches import Batches
from icf.pipeline.training.mixing import Mixing, build_mixing
from icf.pipeline.training.tta import build_views
from icf.plan import Plan

BOX_COLOUR = (230, 60, 20)


@dataclass(frozen=True)
class Preview:
    """Rows that are shown: their ids and labels, the columns of pictures, and the network's size."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    size: tuple[int, int]


def write_preview(plan: Plan, path: Path, rows: int, draws: int, seed: int) -> Preview:
    """Write a PNG file of some training rows and return what it shows.

    Raises:
        DataError: the data set is empty, or contradicts itself.
        BadImagesError: none of the images that were tried can be read.
        PluginError: a component failed.
    """
    preview = make_preview(plan, rows, draws, seed)
    height, width = preview.size
    title = f"{plan.name}: what the network sees, {height} x {width} pixels (seed {seed})"
    named = zip(preview.labels, preview.ids, strict=True)
    lines = [(f"{number}: {label}", name) for number, (label, name) in enumerate(named, start=1)]
    sheet = draw_sheet(title, lines, preview.columns, preview.size)
    write_file(path, lambda temporary: sheet.save(temporary, format="PNG"))
    return preview


def make_preview(plan: Plan, rows: int, draws: int, seed: int) -> Preview:
    """Return pictures of up to ``rows`` training rows of all classes in turn; only their images are decoded."""
    restore_local_plugins(plan.local_plugins)
    content = read_content(plan)
    spec = describe_inputs(plan, content).preprocessing
    samples = content.train
    targets = np.asarray(samples.targets, np.int64)
    chosen, prepared = _read_rows(samples, spec, choose_rows(targets, seed), rows)
    columns = [
        Column("raw", [_read_raw(samples, row) for row in chosen]),
        Column("prepared", prepared),
    ]
    augment = [build_transform(choice, spec.context()) for choice in plan.train_transforms]
    source = _open(plan, samples, spec, chosen)
    images = Batches(source, _without_statistics(spec), torch.device("cpu"), augment)
    mixing = build_mixing(plan, content.classes, spec)
    labels = [content.classes[target] for target in targets[chosen]]
    varied = [images.augment(np.arange(len(chosen)), derive_seed(seed, Purpose.AUGMENT, draw)) for draw in range(draws)]
    if plan.train_transforms:
        columns += [Column(f"augmented {draw + 1}", _to_pictures(batch)) for draw, batch in enumerate(varied)]
    if plan.mixers:
        shown = torch.from_numpy(targets[chosen])
        columns += [_mix(mixing, batch, shown, seed, draw) for draw, batch in enumerate(varied)]
    plain = torch.from_numpy(np.stack(prepared)).permute(0, 3, 1, 2)
    columns += [Column(f"view {view.key}", _to_pictures(view(plain))) for view in build_views(plan, spec).transforms]
    ids = tuple(samples.ids[row] for row in chosen)
    return Preview(ids, tuple(labels), tuple(columns), spec.image_size)


def choose_rows(targets: IntArray, seed: int) -> IntArray:
    """Return all rows in a random order in which every class comes once before any comes again, and so on."""
    order = np.random.default_rng(seed).permutation(len(targets))
    by_class = order[np.argsort(targets[order], kind="stable")]
    starts = np.searchsorted(targets[by_class], targets[by_class])
    turns = np.empty(len(targets), np.int64)
    turns[by_class] = np.arange(len(targets)) - starts
    return order[np.argsort(turns[order], kind="stable")]


def _read_rows(samples: Samples, spec: Preprocessing, order: IntArray, most: int) -> tuple[list[int], list[PixelArray]]:
    """Return the first rows whose image can be read, and these images, prepared."""
    reader = ImageReader(samples.images, spec, samples.boxes)
    chosen, prepared, bad = [], [], []
    for row in order.tolist():
        try:
            prepared.append(reader.read(row)[0])
            chosen.append(row)
        except UnreadableImageError as error:
            bad.append(Problem(str(samples.ids[row]), str(error)))
        if len(chosen) == most or (not chosen and len(bad) == most):
            break
    if not chosen:
        raise BadImagesError("none of these images can be read", bad)
    return chosen, prepared


def _read_raw(samples: Samples, row: int) -> PixelArray:
    """Return an image as it is, with its box drawn on it."""
    image = samples.images[row]
    pixels = decode_image(image, 3).pixels if isinstance(image, Path) else _to_colours(image)
    if samples.boxes is None:
        return pixels
    picture = Image.fromarray(pixels)
    left, top, right, bottom = (int(side) for side in samples.boxes[row])
    thickness = max(1, max(picture.size) // 100)
    ImageDraw.Draw(picture).rectangle((left, top, right - 1, bottom - 1), outline=BOX_COLOUR, width=thickness)
    return np.asarray(picture)


def _to_colours(image: PixelArray) -> PixelArray:
    return to_pixels(Image.fromarray(image[:, :, 0] if image.shape[2:] == (1,) else image), 3)


def _open(plan: Plan, samples: Samples, spec: Preprocessing, chosen: Sequence[int]) -> PixelSource:
    """Return the chosen rows, counted from 0, as training gets them."""
    whole = samples.images
    images = whole[chosen] if isinstance(whole, np.ndarray) else [whole[row] for row in chosen]
    boxes = None if samples.boxes is None else samples.boxes[chosen]
    scale = find_scale(plan, spec)
    plain = DecodedPixels(ImageReader(images, spec, boxes))
    return plain if scale == 1 else TwoSizes(plain, DecodedPixels(ImageReader(images, spec.enlarge(scale), boxes)))


def _without_statistics(spec: Preprocessing) -> Preprocessing:
    """Return a spec for pictures: nothing is normalised in them."""
    return spec.model_copy(update={"mean": (0.0,) * spec.channels, "std": (1.0,) * spec.channels})


def _to_pictures(batch: torch.Tensor) -> list[PixelArray]:
    return list(batch.permute(0, 2, 3, 1).numpy())


def _mix(mixing: Mixing, batch: torch.Tensor, targets: torch.Tensor, seed: int, draw: int) -> Column:
    """Mix the shown images as one batch; captions say how much of which row an image has got."""
    mixed = mixing.mix(batch, targets, derive_seed(seed, Purpose.STEP, draw))
    captions = [
        "not mixed" if mixed.weight == 1 or partner == row else f"+ {1 - mixed.weight:.0%} of {partner + 1}"
        for row, partner in enumerate(mixed.partners.tolist())
    ]
    return Column(f"mixed {draw + 1}", _to_pictures(mixed.images), captions)
