"""Checks of data sets and of samplers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icf.components import DatasetContent, DatasetContext, IntArray, SamplerContext, Samples, Sampling
from icf.errors import DataError
from icf.testing.case import Case, CheckFailure, CheckSkipped, expect

# -- data sets --------------------------------------------------------------------------------------


def load(case: Case) -> DatasetContent:
    """Build the data set; raises CheckSkipped if its data is absent and nobody said where it is."""
    try:
        content: Any = case.build(DatasetContext(seed=3, cache_dir=case.folder / "cache"))
    except DataError as error:
        if case.example:
            raise
        raise CheckSkipped(f"needs an example of its parameters: {str(error).splitlines()[0]}") from None
    if not isinstance(content, DatasetContent):
        raise CheckFailure(f"the factory returns {type(content).__name__}, not DatasetContent")
    return content


def list_parts(content: DatasetContent) -> Iterator[tuple[str, Samples]]:
    """Yield the training rows and, if there are any, the test rows."""
    yield "train", content.train
    if content.test is not None:
        yield "test", content.test


def check_length(case: Case) -> None:
    """There are training rows, with as many images, targets, groups and folds as ids."""
    content = load(case)
    expect(len(content.train) > 0, "there are no training rows")
    for part, samples in list_parts(content):
        for name in ("images", "targets", "groups", "folds"):
            values = getattr(samples, name)
            if values is not None:
                expect(len(values) == len(samples.ids), f"{part}: {len(values)} {name} for {len(samples.ids)} ids")


def check_images(case: Case) -> None:
    """Images are paths of files that exist, or pixels as uint8 [N, H, W] or [N, H, W, C]."""
    for part, samples in list_parts(load(case)):
        if isinstance(samples.images, np.ndarray):
            found = f"{part}: images are {samples.images.dtype} with {samples.images.ndim} axes"
            expect(samples.images.dtype == np.uint8 and samples.images.ndim in {3, 4}, found)
        else:
            for image in samples.images:
                expect(isinstance(image, Path), f"{part}: image {image!r} is no pathlib.Path")
                expect(image.is_file(), f"{part}: {image} does not exist")


def check_determinism(case: Case) -> None:
    """Built twice, a data set has the same rows in the same order."""
    first, second = load(case), load(case)
    expect(first.classes == second.classes, "the classes differ")
    expect((first.test is None) == (second.test is None), "only one has test rows")
    for (part, one), (_, other) in zip(list_parts(first), list_parts(second), strict=True):
        for name in ("ids", "images", "targets", "groups", "folds"):
            expect(_same(getattr(one, name), getattr(other, name)), f"{part}: {name} differ")


def _same(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return len(one) == len(other) and bool(np.array_equal(np.asarray(one), np.asarray(other)))


def check_labels(case: Case) -> None:
    """Classes are distinct strings, two at least; every training row has one as an int64 index, or 0 or 1 for each."""
    content = load(case)
    classes = content.classes
    expect(all(isinstance(name, str) for name in classes), "a class name is no string")
    expect(len(set(classes)) == len(classes) >= 2, f"the classes are not two or more distinct names: {classes}")
    expect(content.train.targets is not None, "training rows have no targets")
    for part, samples in list_parts(content):
        if samples.targets is not None:
            targets = np.asarray(samples.targets)
            expect(targets.dtype == np.int64, f"{part}: targets are {targets.dtype}, not int64")
            several = targets.ndim == 2
            shape = (len(samples), len(classes))
            expect(not several or targets.shape == shape, f"{part}: labels are {targets.shape}, not {shape}")
            allowed = (targets >= 0) & (targets < (2 if several else len(classes)))
            outside = sorted(set(targets[~allowed].tolist()))
            expect(not outside, f"{part}: targets {outside} are outside 0 to {1 if several else len(classes) - 1}")


def check_ids(case: Case) -> None:
    """Ids are strings, and no two rows of a part have the same."""
    for part, samples in list_parts(load(case)):
        wrong = [name for name in samples.ids if not isinstance(name, str)]
        expect(not wrong, f"{part}: id {wrong[:1]} is no string")
        repeated = len(samples.ids) - len(set(samples.ids))
        expect(repeated == 0, f"{part}: {repeated} ids are repeats of others")


def check_groups(case: Case) -> None:
    """Groups are strings, and folds are whole numbers from 0."""
    for part, samples in list_parts(load(case)):
        _check_strings(part, samples.groups)
        if samples.folds is not None:
            folds = np.asarray(samples.folds)
            expect(folds.dtype == np.int64, f"{part}: folds are {folds.dtype}, not int64")
            expect((folds >= 0).all(), f"{part}: fold {folds.min()} is below 0")


def _check_strings(part: str, groups: Sequence[str] | None) -> None:
    wrong = [group for group in groups or () if not isinstance(group, str)]
    expect(not wrong, f"{part}: group {wrong[:1]} is no string")


DATASET_CHECKS = (check_length, check_images, check_determinism, check_labels, check_ids, check_groups)


# -- samplers ---------------------------------------------------------------------------------------

TARGETS = np.array([0] * 24 + [1] * 9 + [3] * 4, dtype=np.int64)
"""Classes of unequal size, and one that no row has."""

EPOCHS = 4


def build_sampling(case: Case, seed: int = 5) -> Sampling:
    """Build the sampler for TARGETS."""
    sampling: Sampling = case.build(SamplerContext(targets=TARGETS.copy(), num_classes=4, seed=seed))
    return sampling


def draw(case: Case) -> list[IntArray]:
    """Return the positions of each of the first epochs."""
    sampling = build_sampling(case)
    return [np.asarray(sampling(epoch)) for epoch in range(EPOCHS)]


def check_positions(case: Case) -> None:
    """Every epoch is an int64 array [n] of positions of training rows, never one that there is not."""
    for epoch, positions in enumerate(draw(case)):
        found = f"epoch {epoch}: {positions.dtype} of shape {positions.shape}"
        expect(positions.dtype == np.int64 and positions.ndim == 1 and len(positions), found)
        expect(positions.min() >= 0, f"epoch {epoch}: position {positions.min()} is below 0")
        expect(positions.max() < len(TARGETS), f"epoch {epoch}: position {positions.max()} of {len(TARGETS)} rows")


def check_epoch_length(case: Case) -> None:
    """Every epoch has the same number of rows."""
    lengths = [len(positions) for positions in draw(case)]
    expect(len(set(lengths)) == 1, f"the epochs have {lengths} rows")


def check_seed(case: Case) -> None:
    """The same seed and epoch give the same rows, in whatever order epochs are asked for."""
    forward, sampling = draw(case), build_sampling(case)
    backward = [np.asarray(sampling(epoch)) for epoch in reversed(range(EPOCHS))][::-1]
    for epoch, (one, other) in enumerate(zip(forward, backward, strict=True)):
        expect(np.array_equal(one, other), f"epoch {epoch} differs between two samplers of one seed")


SAMPLER_CHECKS = (check_positions, check_epoch_length, check_seed)
