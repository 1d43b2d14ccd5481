"""Stage "prepare": list the data, decode every image once, and stop at what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from icf.components import (
    BoolArray,
    DatasetContent,
    FloatArray,
    IntArray,
    ModelContext,
    PixelArray,
    Samples,
    SubmissionFormat,
)
from icf.errors import BadImagesError, Problem
from icf.pipeline.data.attributes import ClassAttribute, list_attributes
from icf.pipeline.data.content import check_classes
from icf.pipeline.data.doubts import find_warnings
from icf.pipeline.data.label_changes import Override, change_labels
from icf.pipeline.data.labels import check_kind, count_rows, kind_of, write_columns
from icf.pipeline.data.preprocess import Preprocessing, describe_preprocessing, measure_statistics
from icf.pipeline.data.stored_images import describe_source, find_scale, read_content, store_images
from icf.pipeline.files import digest, digest_strings, write_json, write_table
from icf.pipeline.folder import RunFolder
from icf.pipeline.pixels.cache import PixelCache, list_errors
from icf.pipeline.pixels.table import Digests
from icf.pipeline.training.output import Output
from icf.pipeline.training.output_choice import choose_output
from icf.plan import Plan

StageProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows that can be used: ids, targets int64 [N] or [N, K] (-1 unknown), groups, folds, and rows of the pixel cache.

    ``numbers`` are what is measured of them, float64 [N] by attribute, ``trained`` the classes that they are trained
    on, int64 [N] (-1: none), and ``scored`` whether they may be validated, bool [N].
    """

    ids: tuple[str, ...]
    targets: IntArray
    groups: tuple[str, ...] | None
    folds: IntArray | None
    pixel_rows: IntArray
    cache: PixelCache
    sources: tuple[str, ...]
    trained: IntArray
    scored: BoolArray
    numbers: dict[str, FloatArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: IntArray) -> Rows:
        """Return some of the rows."""
        return replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            targets=self.targets[rows],
            groups=None if self.groups is None else tuple(self.groups[row] for row in rows),
            folds=None if self.folds is None else self.folds[rows],
            pixel_rows=self.pixel_rows[rows],
            sources=tuple(self.sources[row] for row in rows),
            trained=self.trained[rows],
            scored=self.scored[rows],
            numbers={name: values[rows] for name, values in self.numbers.items()},
        )

    @property
    def digests(self) -> Digests:
        """A hash of each row's pixels, bytes [N]; equal images have equal hashes, and unreadable ones empty."""
        found = self.cache.digests[self.pixel_rows]
        found[self.pixel_rows < 0] = b""
        return found


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The data of a run, checked and decoded."""

    classes: tuple[str, ...]
    attributes: tuple[ClassAttribute, ...]
    output: Output
    train: Rows
    test: Rows | None
    submission: SubmissionFormat | None
    preprocessing: Preprocessing
    notes: tuple[str, ...]
    weights: str
    warnings: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()
    skipped: tuple[Problem, ...] = field(default=())

    @property
    def key(self) -> str:
        """A hash of everything that later stages see of the data."""
        rows = [r for r in (self.train, self.test) if r is not None]
        spec = self.preprocessing.model_dump(mode="json")
        meaning = [item.model_dump(mode="json") for item in (*self.attributes, self.output)]
        return digest(spec, list(self.classes), meaning, *[_digest_rows(r) for r in rows])


@dataclass(frozen=True)
class Inputs:
    """What a model gets and gives, and where its weights come from."""

    attributes: tuple[ClassAttribute, ...]
    output: Output
    preprocessing: Preprocessing
    weights: str


def prepare(plan: Plan, progress: StageProgress) -> Prepared:
    """Return the checked data of a plan.

    Raises:
        DataError: the data set is empty, has one class, or contradicts itself.
        BadImagesError: images that can't be read, unless dataset.on_bad_image = "skip".
        PluginError: a component failed, or pretrained weights can't be had.
    """
    content = read_content(plan)
    inputs = describe_inputs(plan, content)
    attributes, spec, kind = inputs.attributes, inputs.preprocessing, inputs.output.targets
    train = _store(plan, content.train, spec, "train images", progress, find_scale(plan, spec))
    test = _store(plan, content.test, spec, "test images", progress) if content.test is not None else None
    skipped = _find_bad_images(plan, content, train, test)
    changes = change_labels(plan.recipe.targets, attributes, content.train)
    train_rows = _drop_bad_rows(content.train, train, changes.trained)
    check_classes(train_rows.targets[train_rows.scored], content.classes)
    if kind == "classes":
        check_classes(train_rows.trained[train_rows.trained >= 0], content.classes)
    spec = _fill_statistics(spec, train_rows)
    test_rows = (
        _keep_all_rows(content.test, test, train_rows.targets.shape[1:])
        if content.test is not None and test is not None
        else None
    )
    return Prepared(
        classes=content.classes,
        attributes=attributes,
        output=inputs.output,
        train=train_rows,
        test=test_rows,
        submission=content.submission,
        preprocessing=spec,
        notes=(*content.notes, *changes.notes, *_note_external(train_rows)),
        weights=inputs.weights,
        warnings=(*changes.warnings, *find_warnings(content, train_rows, test_rows)),
        overrides=changes.overrides,
        skipped=tuple(skipped),
    )


def describe_inputs(plan: Plan, content: DatasetContent) -> Inputs:
    """Return what a plan and its data set say before any image is read; statistics may still be missing.

    Raises:
        PluginError: the model can't be inspected, or pretrained weights can't be had.
    """
    attributes = list_attributes(content)
    kind = kind_of(np.asarray(content.train.targets))
    check_kind(plan, kind)
    output = choose_output(plan.recipe.targets, attributes, content.train.numbers, kind)
    info = plan.model.inspect_model(_describe_model_context(plan, content, output))
    spec = describe_preprocessing(plan, info, _find_size(content.train.images), content.train.boxes is not None)
    return Inputs(attributes, output, spec, info.weights)


def save_prepared(data: Prepared, folder: RunFolder) -> None:
    """Write data.json and test_rows.parquet, which is what workers read."""
    if data.test is not None:
        test = data.test
        write_table(
            folder.test_rows, {"id": test.ids, **write_columns(test.targets, data.classes), "row": test.pixel_rows}
        )
    write_json(
        folder.data,
        {
            "key": data.key,
            "classes": list(data.classes),
            "attributes": [attribute.model_dump(mode="json") for attribute in data.attributes],
            "output": data.output.model_dump(mode="json"),
            "preprocessing": data.preprocessing.model_dump(mode="json"),
            "pixels": {
                part: describe_source(rows.cache)
                for part, rows in (("train", data.train), ("test", data.test))
                if rows is not None
            },
            "weights": data.weights,
            "overrides": [override.model_dump(mode="json") for override in data.overrides],
            "notes": list(data.notes),
            "warnings": list(data.warnings),
            "skipped": [{"where": p.where, "reason": p.message} for p in data.skipped],
        },
    )


def _describe_model_context(plan: Plan, content: DatasetContent, output: Output) -> ModelContext:
    section = plan.recipe.transforms
    size = section.image_size or _find_size(content.train.images) or (224, 224)
    return ModelContext(num_classes=output.units, channels=section.channels, image_size=size)


def _find_size(images: Sequence[Path] | PixelArray) -> tuple[int, int] | None:
    return (images.shape[1], images.shape[2]) if isinstance(images, np.ndarray) else None


def _store(
    plan: Plan, samples: Samples, spec: Preprocessing, what: str, progress: StageProgress, scale: float = 1.0
) -> PixelCache:
    def tell(done: int, total: int) -> None:
        progress(what, done, total)

    return store_images(plan, samples.images, spec, tell, scale, samples.boxes)


def _find_bad_images(plan: Plan, content: DatasetContent, train: PixelCache, test: PixelCache | None) -> list[Problem]:
    bad = list_errors(train, content.train.images)
    if content.test is not None and test is not None:
        bad += list_errors(test, content.test.images)
    if bad and plan.recipe.dataset.on_bad_image == "error":
        title = 'images that can\'t be read (repair or remove them, or set dataset.on_bad_image = "skip")'
        raise BadImagesError(title, bad)
    return bad


def _note_external(rows: Rows) -> list[str]:
    external = len(rows) - int(rows.scored.sum())
    return [f"{external:,} external rows are trained on, and never validated or scored"] if external else []


def _drop_bad_rows(samples: Samples, cache: PixelCache, trained: IntArray) -> Rows:
    keep = np.setdiff1d(np.arange(len(samples)), list(cache.errors))
    targets = np.asarray(samples.targets, dtype=np.int64)[keep]
    return Rows(
        ids=tuple(samples.ids[row] for row in keep),
        targets=targets,
        groups=tuple(samples.groups[row] for row in keep) if samples.groups is not None else None,
        folds=np.asarray(samples.folds, dtype=np.int64)[keep] if samples.folds is not None else None,
        pixel_rows=keep,
        cache=cache,
        sources=_list_sources(samples, keep),
        trained=trained[keep],
        scored=np.ones(len(keep), np.bool_) if samples.scored is None else np.asarray(samples.scored)[keep],
        numbers={name: np.asarray(values, np.float64)[keep] for name, values in (samples.numbers or {}).items()},
    )


def _keep_all_rows(samples: Samples, cache: PixelCache, shape: tuple[int, ...]) -> Rows:
    """Keep unreadable test rows, with pixel row -1: a submission needs every row."""
    rows = np.arange(len(samples))
    pixel_rows = rows.copy()
    pixel_rows[list(cache.errors)] = -1
    unknown = np.full((len(samples), *shape), -1, dtype=np.int64)
    targets = unknown if samples.targets is None else np.asarray(samples.targets, dtype=np.int64)
    return Rows(
        ids=tuple(samples.ids),
        targets=targets,
        groups=None,
        folds=None,
        pixel_rows=pixel_rows,
        cache=cache,
        sources=_list_sources(samples, rows),
        trained=targets,
        scored=np.ones(len(rows), np.bool_),
    )


def _list_sources(samples: Samples, rows: IntArray) -> tuple[str, ...]:
    if isinstance(samples.images, np.ndarray):
        return tuple(samples.ids[row] for row in rows)
    return tuple(str(samples.images[row]) for row in rows)


def _fill_statistics(spec: Preprocessing, train: Rows) -> Preprocessing:
    if spec.mean is not None and spec.std is not None:
        return spec
    mean, std = measure_statistics(train.cache.source.gather, train.pixel_rows)
    return spec.model_copy(update={"mean": spec.mean or mean, "std": spec.std or std})


def _digest_rows(rows: Rows) -> str:
    groups = rows.groups or ()
    folds = [] if rows.folds is None else rows.folds.tolist()
    parts = [digest_strings(rows.ids), digest_strings(groups)]
    parts += [digest(rows.trained.tobytes(), rows.scored.tobytes())]
    parts += [digest(name, values.tobytes()) for name, values in sorted(rows.numbers.items())]
    return digest(*parts, rows.digests.tobytes(), rows.targets.tobytes(), rows.pixel_rows.tobytes(), folds)


def describe_facts(data: Prepared) -> dict[str, Any]:
    """Return what a person wants to know of the data at a glance."""
    counts = count_rows(data.train.targets, len(data.classes))
    changed = (data.train.trained != data.train.targets).reshape(len(data.train), -1).any(axis=1)
    return {
        "training rows": len(data.train),
        "external rows": int((~data.train.scored).sum()) or None,
        "rows with changed labels": int(changed.sum()) or None,
        "groups": len(set(data.train.groups)) if data.train.groups else None,
        "test rows": len(data.test) if data.test else 0,
        "classes": len(data.classes),
        "rows per class" if data.train.targets.ndim == 1 else "rows per label": f"{counts.min():,} to {counts.max():,}",
        "image": f"{data.preprocessing.image_size[0]} x {data.preprocessing.image_size[1]}"
        f" x {data.preprocessing.channels}",
        "skipped images": len(data.skipped),
    }
