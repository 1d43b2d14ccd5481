"""Predictions for new images with the models of a finished run: same preprocessing, same views, same vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from icf.components import FloatArray, IntArray, PixelArray
from icf.errors import BadImagesError, IcfError, Problem, UsageError
from icf.local import LocalPlugin, match_local_plugins, restore_local_plugins
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.data.stored_images import store_images
from icf.pipeline.files import count_part_rows, read_json
from icf.pipeline.folder import RunFolder
from icf.pipeline.jobs import Prediction, read_placement
from icf.pipeline.pixels.cache import list_errors
from icf.pipeline.results.ensemble import combine
from icf.pipeline.results.fusion import TRIAL_ROWS, try_fusion
from icf.pipeline.results.inference import predict_probabilities
from icf.pipeline.training.batches import Batches
from icf.pipeline.training.checkpoint import load_weights, read_metadata
from icf.pipeline.training.network import build_model, choose_device
from icf.pipeline.training.number_format import choose_precision
from icf.pipeline.training.output import Output, Softmax
from icf.pipeline.training.output_choice import read_output
from icf.pipeline.training.tta import build_views
from icf.plan import Plan


@dataclass(frozen=True)
class Predictions:
    """Probabilities, float64 [N, K], of the images that could be read, in the order in which they were named."""

    classes: tuple[str, ...]
    names: tuple[str, ...]
    probabilities: FloatArray
    skipped: tuple[Problem, ...]
    notes: tuple[str, ...]


def predict_images(
    run_dir: Path,
    images: Sequence[Path] | PixelArray,
    local: Sequence[LocalPlugin] = (),
    boxes: IntArray | Literal["whole"] | None = None,
) -> Predictions:
    """Predict images with every fold of a run; ``local`` are the plugin files and folders that a person named.

    ``boxes``, int64 [N, 4], are what images are cropped to, for a run whose images were: left, top, right and bottom in
    pixels. "whole" says that they are cropped already.

    Raises:
        UsageError: there are boxes, but the run used whole images, or the other way round.
        PluginError: the run needs a file or folder that was not named, or that has changed.
        IcfError: the folder holds no finished run.
        BadImagesError: not one of the images can be read.
    """
    folder = RunFolder(run_dir)
    weights = find_weights(folder)
    plan = Plan.from_json(folder.plan.read_text(encoding="utf-8"))
    restore_local_plugins(match_local_plugins(_needed_plugins(plan), local))
    described = [read_metadata(path) for path in weights]
    outputs = [_read_output(metadata) for metadata in described]
    metadata = described[0]
    spec = Preprocessing.model_validate(metadata["preprocessing"])
    _check_boxes(spec, boxes)
    cut = None if isinstance(boxes, str) else boxes
    cache = store_images(plan, images, spec, lambda _done, _total: None, boxes=cut)
    rows = np.array([row for row in range(len(images)) if row not in cache.errors], dtype=np.int64)
    bad = list_errors(cache, images)
    if not len(rows):
        raise BadImagesError("none of the images can be read", bad)
    device = choose_device(plan.recipe.compute.device)
    models = _load_members(plan, weights, outputs, spec, device)
    wanted, prediction = _recall_computing(plan, folder, device)
    precision = choose_precision(wanted, models[0], device)
    batches = Batches(cache.source, spec, device)
    if prediction.fused:
        trial = batches.read(rows[:TRIAL_ROWS])
        models = [try_fusion(model, trial)[0] for model in models]
    size, views, classes = prediction.batch_size, build_views(plan, spec), tuple(metadata["classes"])
    # Whole batches at a time, so that the members' probabilities are never in memory all at once.
    step = size * -(-count_part_rows(len(models) * len(classes)) // size)
    parts = [
        combine(
            plan,
            list(predict_probabilities(models, outputs, batches, chosen, size, views, device, precision)),
            outputs[0].targets,
        )
        for chosen in np.split(rows, range(step, len(rows), step))
    ]
    names = [str(images[row]) if isinstance(images[row], Path) else str(row) for row in rows]
    notes = tuple(read_json(folder.data)["notes"])
    return Predictions(classes, tuple(names), np.concatenate(parts), tuple(bad), notes)


def _check_boxes(spec: Preprocessing, boxes: IntArray | Literal["whole"] | None) -> None:
    if spec.boxes and boxes is None:
        raise UsageError(
            "the images of this run were cropped to boxes, and so must be those that it predicts: --boxes FILE.csv,"
            " with columns image, left, top, right, bottom; or --boxes whole for images that are cropped already"
        )
    if boxes is not None and not spec.boxes:
        raise UsageError("this run used whole images, so those that it predicts can't be cropped; leave out --boxes")


def _read_output(metadata: dict[str, Any]) -> Output:
    """Return what the outputs of a file of weights mean; files from before there were heads have one per class."""
    described = metadata.get("output")
    return Softmax(classes=len(metadata["classes"])) if described is None else read_output(described)


def _needed_plugins(plan: Plan) -> tuple[LocalPlugin, ...]:
    """Return the local plugins whose code a prediction executes; a loss is not among it."""
    return plan.find_local_plugins((plan.model, plan.ensembler, *plan.shared_transforms, *plan.view_transforms))


def find_weights(folder: RunFolder) -> list[Path]:
    """Return the weights of all folds; IcfError when the run is not there or not finished."""
    if not folder.plan.exists():
        raise IcfError(f"{folder.path} is no run folder: it has no plan.json")
    if not folder.metrics.exists():
        raise IcfError(f"{folder.path}: not every fold is finished; run its recipe again, then predict")
    folds = [folder.fold(result["fold"]) for result in read_json(folder.metrics)["folds"]]
    weights = [fold.checkpoints / "best.safetensors" for fold in folds]
    missing = [str(path) for path in weights if not path.exists()]
    if missing:
        raise IcfError(f"weights are missing: {', '.join(missing)}; run the recipe again with --fresh")
    return weights


def _load_members(
    plan: Plan, weights: Sequence[Path], outputs: Sequence[Output], spec: Preprocessing, device: torch.device
) -> list[nn.Module]:
    """Return the model of every fold."""
    models = [build_model(plan, output, spec, fold=0, pretrained=False).to(device) for output in outputs]
    for path, model in zip(weights, models, strict=True):
        load_weights(path, model)
    return models


def _recall_computing(plan: Plan, folder: RunFolder, device: torch.device) -> tuple[str, Prediction]:
    """Return number format and way of the run's own predictions, if they were made on such a device."""
    placement = read_placement(folder.placement)
    by_recipe = Prediction.of_recipe(plan.recipe.inference)
    if placement is None or placement.device != device.type:
        return plan.recipe.compute.precision, by_recipe
    return placement.precision, placement.prediction or by_recipe
