"""Checks of what a dataset plugin returned, before any image is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from icf.components import DatasetContent, IntArray, PixelArray, Samples
from icf.errors import DataError
from icf.pipeline.data.attributes import check_attributes


def check_content(content: DatasetContent) -> None:
    """Check what a dataset plugin returned.

    Raises:
        DataError: with every contradiction that was found.
    """
    faults = _check_samples(content.train, "training rows", len(content.classes))
    if content.train.targets is None:
        faults.append("training rows have no targets")
    if content.test is not None:
        faults += _check_samples(content.test, "test rows", len(content.classes))
        given = content.test.targets, content.train.targets
        if len({np.ndim(targets) for targets in given if targets is not None}) > 1:
            faults.append("test rows: targets are of another kind than those of the training rows")
        if len(content.test) == 0:
            faults.append("there is no test row; a data set without them has no test part")
        if (content.test.boxes is None) != (content.train.boxes is None):
            faults.append("only one of training and test rows has boxes; both must, or neither")
    if len(content.train) == 0:
        faults.append("there is no training row; look at dataset.root and the names of columns and folders")
    if len(set(content.classes)) != len(content.classes):
        faults.append("class names are not unique")
    faults = faults or check_attributes(content)
    if faults:
        raise DataError("the data set can't be used: " + "; ".join(faults))
    check_classes(np.asarray(content.train.targets), content.classes)


def _check_samples(samples: Samples, what: str, num_classes: int) -> list[str]:
    faults = [f"{what}: {fault}" for fault in _check_images(samples.images)]
    if len(samples.images) != len(samples):
        faults.append(f"{what}: {len(samples)} ids but {len(samples.images)} images")
    repeated = [name for name, count in Counter(samples.ids).items() if count > 1]
    if repeated:
        faults.append(f"{what}: {len(repeated)} ids occur more than once, for example {repeated[0]!r}")
    for name, values in (
        ("targets", samples.targets),
        ("groups", samples.groups),
        ("folds", samples.folds),
        ("scored", samples.scored),
    ):
        if values is not None and len(values) != len(samples):
            faults.append(f"{what}: {len(samples)} ids but {len(values)} {name}")
    faults += [f"{what}: {fault}" for fault in _check_boxes(samples)]
    if samples.scored is not None and np.asarray(samples.scored).dtype != np.bool_:
        faults.append(f"{what}: scored must be true or false for each row")
    if samples.targets is not None and len(samples.targets):
        targets = np.asarray(samples.targets)
        if targets.ndim == 2:
            right = targets.dtype.kind in "iu" and targets.shape[1] == num_classes and bool(((targets >> 1) == 0).all())
            faults += [] if right else [f"{what}: labels must be 0 or 1, a column for each of {num_classes}"]
        elif targets.dtype.kind not in "iu" or not 0 <= targets.min() <= targets.max() < num_classes:
            faults.append(f"{what}: targets must be whole numbers in 0..{num_classes - 1}")
    return faults


def _check_boxes(samples: Samples) -> list[str]:
    if samples.boxes is None:
        return []
    boxes = np.asarray(samples.boxes)
    if boxes.dtype.kind not in "iu" or boxes.shape != (len(samples), 4):
        return [f"boxes must be whole numbers [{len(samples)}, 4], not {boxes.dtype} {list(boxes.shape)}"]
    empty = np.flatnonzero((boxes[:, 0] >= boxes[:, 2]) | (boxes[:, 1] >= boxes[:, 3]))
    return [f"{len(empty)} boxes are empty, for example that of {samples.ids[empty[0]]!r}"] if len(empty) else []


def _check_images(images: Sequence[Path] | PixelArray) -> list[str]:
    if not isinstance(images, np.ndarray):
        return [] if all(isinstance(path, Path) for path in images) else ["images must be pathlib.Path objects"]
    fits = images.dtype == np.uint8 and (images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3, 4)))
    if fits and all(images.shape[1:]):
        return []
    found = f"{images.dtype} {list(images.shape)}"
    return [f"images must be uint8 [N, H, W] or [N, H, W, C] with 1, 3 or 4 channels, not {found}"]


def check_classes(targets: IntArray, classes: Sequence[str]) -> None:
    """Raise DataError unless at least two classes have rows, or a label is there for some rows and not for others."""
    if targets.ndim == 2:
        if not (targets.any(axis=0) & ~targets.all(axis=0)).any():
            raise DataError("no label is there for some of the training rows with usable images and not for others")
        return
    present = np.unique(targets)
    if len(present) < 2:
        only = classes[int(present[0])] if len(present) else "none"
        raise DataError(f"a classifier needs at least two classes with usable images; here is only: {only}")
