"""Stage "embed": run the frozen layers once over every view of every image, for all folds and epochs."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from icf.components import IntArray
from icf.errors import PluginError
from icf.pipeline.cache import cache_dir, count_cores
from icf.pipeline.data.inputs import open_train_images
from icf.pipeline.data.prepare import Prepared, Rows
from icf.pipeline.environment import describe_environment
from icf.pipeline.files import digest, write_json
from icf.pipeline.folder import RunFolder
from icf.pipeline.frozen.embeddings import AUGMENTED, PLAIN, EmbeddingFiles
from icf.pipeline.frozen.saving import judge_saving, measure_seconds
from icf.pipeline.frozen.separation import (
    Embedder,
    InseparableError,
    Separation,
    check_separation,
    digest_frozen,
    fuse_frozen,
    separate,
)
from icf.pipeline.frozen.storing import ArrayTask, store_arrays
from icf.pipeline.frozen.views import ViewBatches, count_views
from icf.pipeline.pixels.room import GB, CacheFiles
from icf.pipeline.results.products import blame
from icf.pipeline.training.batches import Batches
from icf.pipeline.training.network import build_model, choose_device, find_head
from icf.pipeline.training.number_format import autocast, choose_precision
from icf.pipeline.training.tta import ViewTransform, build_views
from icf.plan import Plan

FORMAT = 1
"""Part of every file's name: raise it when the same inputs would give other numbers."""

BATCH_SIZE = {"cpu": 16, "cuda": 256}
"""Images per pass: on a CPU, the activations of more would not fit its caches."""

TRIAL_ROWS = 8

Read = Callable[[IntArray], torch.Tensor]
Progress = Callable[[str, int, int], None]


def wants_embeddings(plan: Plan) -> bool:
    """Tell whether a plan freezes layers, and lets them run beforehand."""
    return plan.recipe.model.freeze != "none" and plan.recipe.compute.embeddings == "auto"


@dataclass(frozen=True)
class Backbone:
    """The frozen part of a network, in evaluation mode; its embeddings are ``dtype`` [N, *shape].

    ``fused``: it runs with batch normalisation made part of its convolutions.
    """

    plan: Plan
    embedder: Embedder
    fused: bool
    device: torch.device
    precision: torch.dtype | None
    dropout: float
    shape: tuple[int, ...]
    dtype: torch.dtype
    weights: str

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of images float32 [N, C, H, W]."""
        with blame(self.plan.model, "on a batch of images"), autocast(self.device, self.precision):
            return self.embedder(images)


def embed_images(
    plan: Plan, data: Prepared, folds: int, leases: contextlib.ExitStack, progress: Progress
) -> EmbeddingFiles:
    """Return the embeddings of all training and test images; compute those that are not in the cache yet.

    No other process removes them before ``leases`` ends.

    Raises:
        InseparableError: the frozen layers can't run apart, it would not pay, or there is no room.
        IcfError: the model can't be built or fails, or the cache can't be written to.
    """
    if count_views(plan) is None:
        raise InseparableError("every epoch draws new images; model.views would give a number of them")
    backbone = build_backbone(plan, data, folds)
    if plan.recipe.model.freeze != "backbone":
        check_saving(backbone, data, folds)
    key = digest(FORMAT, data.key, _describe_backbone(backbone))
    train = _list_train_tasks(backbone, data, key)
    test = _list_test_tasks(backbone, data, key)
    most = round(plan.recipe.cache.max_gb * GB)
    store_arrays([*train.values(), *test.values()], most, leases, partial(progress, "images"))
    return EmbeddingFiles(
        dtype=str(backbone.dtype).removeprefix("torch."),
        length=math.prod(backbone.shape),
        dropout=backbone.dropout,
        fused=backbone.fused,
        views=train.get(AUGMENTED, train[PLAIN]).shape[0] // train[PLAIN].shape[0],
        train={name: task.files.array for name, task in train.items()},
        test={name: task.files.array for name, task in test.items()},
    )


def save_embeddings(
    plan: Plan, data: Prepared, folds: int, folder: RunFolder, leases: contextlib.ExitStack, progress: Progress
) -> None:
    """Write embeddings.json: where the embeddings are, or the reason why the folds train without."""
    try:
        files, reason = embed_images(plan, data, folds, leases, progress).model_dump(mode="json"), None
    except InseparableError as error:
        files, reason = None, str(error)
    write_json(folder.embeddings, {"reason": reason, "files": files})


def build_backbone(plan: Plan, data: Prepared, folds: int) -> Backbone:
    """Build the network, and check that its parts can run apart, and that the frozen one is the same in all folds.

    Raises:
        InseparableError: with the reason why not.
    """
    if plan.mixers:
        raise InseparableError("transforms.mix makes other images in every step")
    if len(data.output.networks) > 1:
        raise InseparableError("every head has a network of its own")
    device = choose_device(plan.recipe.compute.device)
    units, spec = data.output.units, data.preprocessing
    images = Batches(data.train.cache.source, spec, device).read(data.train.pixel_rows[:TRIAL_ROWS])

    def build(fold: int) -> Separation:
        model = build_model(plan, data.output, spec, fold).to(device)
        with blame(plan.model, "when taken apart"):
            return separate(plan, model, units)

    parts, other = build(0), build(1 if folds > 1 else 0)
    weights = digest_frozen(parts)
    if digest_frozen(other) != weights:
        raise InseparableError("their weights are random, so they differ between folds")
    with blame(plan.model, "on a batch of images"):
        dropout = check_separation(other, _find_last_layer(plan, other.model, units), images)
    precision = choose_precision(plan.recipe.compute.precision, parts.model, device)
    parts.model.eval()
    fused = fuse_frozen(plan, parts, units, images) if _wants_fusion(plan, precision) else None
    embed = fused or parts.embed
    with blame(plan.model, "on a batch of images"), autocast(device, precision):
        example = embed(images)
    shape = tuple(example.shape[1:])
    return Backbone(plan, embed, fused is not None, device, precision, dropout, shape, example.dtype, weights)


def _wants_fusion(plan: Plan, precision: torch.dtype | None) -> bool:
    """Tell whether to embed in fewer layers; of itself only in float32, since shorter numbers round to others then."""
    fuse = plan.recipe.inference.fuse
    return fuse == "on" or (fuse == "auto" and precision is None)


def _find_last_layer(plan: Plan, model: nn.Module, units: int) -> nn.Module | None:
    with contextlib.suppress(PluginError):
        return find_head(model, units, plan.model.source)
    return None


def _describe_backbone(backbone: Backbone) -> dict[str, object]:
    """Return everything but the images that can change an embedding."""
    plan = backbone.plan
    local = plan.find_local_plugins(
        (plan.model, *plan.train_transforms, *plan.shared_transforms, *plan.view_transforms)
    )
    return {
        "model": plan.model.model_dump(mode="json"),
        "weights": backbone.weights,
        "precision": str(backbone.precision),
        "fused": backbone.fused,
        "device": backbone.device.type,
        "packages": describe_environment()["packages"],
        "local": [plugin.hash for plugin in local],
    }


def _list_train_tasks(backbone: Backbone, data: Prepared, key: str) -> dict[str, ArrayTask]:
    plan = backbone.plan
    images = open_train_images(plan, data.train.cache.source, data.preprocessing, backbone.device)
    views = build_views(plan, data.preprocessing).transforms
    tasks = _list_plain_tasks(backbone, data.train, images, views, digest(key, "train"))
    if isinstance(images, ViewBatches):
        choices = [choice.model_dump(mode="json") for choice in plan.train_transforms]
        name = digest(key, choices, images.views, plan.recipe.train.seed)
        reads = [partial(images.read_drawn, view=view) for view in range(images.views)]
        tasks[AUGMENTED] = _make_task(backbone, name, data.train, reads)
    return tasks


def _list_test_tasks(backbone: Backbone, data: Prepared, key: str) -> dict[str, ArrayTask]:
    if data.test is None:
        return {}
    images = Batches(data.test.cache.source, data.preprocessing, backbone.device)
    views = build_views(backbone.plan, data.preprocessing).transforms
    return _list_plain_tasks(backbone, data.test, images, views, digest(key, "test"))


def _list_plain_tasks(
    backbone: Backbone, rows: Rows, images: Batches, views: Sequence[ViewTransform], key: str
) -> dict[str, ArrayTask]:
    tasks = {PLAIN: _make_task(backbone, digest(key, None), rows, [images.read])}
    plan = backbone.plan
    for view, transform in zip(plan.views, views, strict=True):
        choices = [choice.model_dump(mode="json") for choice in view.transforms]
        drawn = [] if transform.deterministic else [plan.recipe.train.seed]
        name = digest(key, view.key, *choices, *drawn)
        tasks[view.key] = _make_task(backbone, name, rows, [partial(images.read_view, view=transform)])
    return tasks


def _make_task(backbone: Backbone, key: str, rows: Rows, reads: Sequence[Read]) -> ArrayTask:
    """Return the task of an array with a row for each image, for each of ``reads`` in turn."""
    usable = rows.pixel_rows[rows.pixel_rows >= 0]
    count = int(usable.max(initial=-1)) + 1
    return ArrayTask(
        files=CacheFiles(cache_dir() / "embeddings", key),
        shape=(count * len(reads), *backbone.shape),
        dtype=backbone.dtype,
        compute=partial(_compute, backbone, usable, count, reads),
    )


def check_saving(backbone: Backbone, data: Prepared, folds: int) -> None:
    """Raise InseparableError unless embeddings, which may be larger than images, are read sooner than computed."""
    spec, device = data.preprocessing, backbone.device
    images = Batches(data.train.cache.source, spec, device).read(data.train.pixel_rows[:TRIAL_ROWS])
    stored = torch.zeros((TRIAL_ROWS * 8, *backbone.shape), dtype=backbone.dtype)
    rows = torch.arange(0, len(stored), 8)
    computing = measure_seconds(lambda: backbone.embed(images)) / len(images)
    reading = measure_seconds(lambda: stored.index_select(0, rows).to(device)) / len(rows)
    views = count_views(backbone.plan) or 1
    passes = folds * backbone.plan.recipe.train.epochs / views
    reason = judge_saving(computing, reading, passes, len(data.train) * (views + 1) * stored[0].nbytes)
    if reason:
        raise InseparableError(reason)


def _compute(
    backbone: Backbone, usable: IntArray, count: int, reads: Sequence[Read], done: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the embeddings of an array, batch after batch; on a CPU, each core computes batches of its own.

    Cores that work on one batch together wait for each other in every layer, much longer where others use them, too.
    """
    size = BATCH_SIZE[backbone.device.type]
    batches = (
        (view * count + start, read, range(start, min(start + size, count)))
        for view, read in enumerate(reads)
        for start in range(0, count, size)
    )
    workers = count_cores() if backbone.device.type == "cpu" else 1

    def compute(first: int, read: Read, rows: range) -> tuple[int, torch.Tensor]:
        positions = np.arange(rows.start, rows.stop)
        chosen = np.isin(positions, usable)
        # Images that could not be read keep their place.
        values = torch.zeros((len(positions), *backbone.shape), dtype=backbone.dtype)
        if chosen.any():
            values[torch.from_numpy(chosen)] = backbone.embed(read(positions[chosen])).cpu()
        return first, values

    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting: deque[Future[tuple[int, torch.Tensor]]] = deque()
        for first, read, rows in batches:
            if first + len(rows) > done:
                waiting.append(pool.submit(compute, first, read, rows))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
