"""The end of a fold: predictions with its best weights, and their scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from icf.components import FloatArray, IntArray
from icf.pipeline.data.inputs import Inputs, open_test_inputs
from icf.pipeline.data.labels import measure_shares, write_columns
from icf.pipeline.files import make_table, write_json, write_probabilities
from icf.pipeline.results.fusion import TRIAL_ROWS, try_fusion
from icf.pipeline.results.inference import predict_parts
from icf.pipeline.results.score import build_metrics, score_rows
from icf.pipeline.training import checkpoint
from icf.pipeline.training.memory_format import make_channels_last
from icf.pipeline.training.trainer import Trainer
from icf.pipeline.training.trimming import restore_kernels
from icf.pipeline.training.tta import build_views


def find_best_weights(trainer: Trainer) -> Path:
    """Return the file of the best epoch's weights; those of a part become part of best.safetensors at the end."""
    name = "best.safetensors" if trainer.model is trainer.whole else "best-part.safetensors"
    return trainer.job.folder.checkpoints / name


def describe_weights(trainer: Trainer) -> dict[str, Any]:
    """Return what a file of weights says of itself: how to build the network, and how to prepare images for it."""
    return {
        "model": trainer.job.plan.model.model_dump(mode="json"),
        "classes": list(trainer.data.classes),
        "output": trainer.data.output.model_dump(mode="json"),
        "preprocessing": trainer.data.preprocessing.model_dump(mode="json"),
        "fold": trainer.job.fold,
        "epoch": trainer.state.best_epoch,
    }


def predict_fold(trainer: Trainer) -> tuple[FloatArray, str]:
    """Write the probabilities of validation and test rows with the best weights.

    Return the former, float64 [N, K], and how they were predicted, in words.
    """
    folder, data = trainer.job.folder, trainer.data
    views = build_views(trainer.job.plan, data.preprocessing)
    checkpoint.load_weights(find_best_weights(trainer), trainer.model)
    restore_kernels(trainer.whole)
    if trainer.contiguous:  # as icf predict does, and as was measured for predictions
        make_channels_last(trainer.model, trainer.contiguous)
    if trainer.model is not trainer.whole:
        checkpoint.save_weights(folder.checkpoints / "best.safetensors", trainer.whole, describe_weights(trainer))

    classes, size = len(data.classes), trainer.job.predicts.batch_size
    model, described = _prepare_model(trainer)

    def fill(table: FloatArray, places: IntArray, batches: Inputs, rows: IntArray) -> None:
        start, options = 0, (size, views, trainer.device, trainer.precision)
        for part in predict_parts([model], [data.output], batches, rows, *options):
            table[places[start : start + part.shape[1]]] = part[0]
            start += part.shape[1]

    probabilities = make_table(len(data.val_rows), classes, folder.path)
    fill(probabilities, np.arange(len(data.val_rows)), trainer.batches, data.val_rows)
    targets = data.targets[data.val_rows]
    write_probabilities(folder.oof, data.val_ids, data.classes, probabilities, **write_columns(targets, data.classes))
    if data.test_pixels is not None:
        test = make_table(len(data.test_rows), classes, folder.path)
        test[:] = measure_shares(data.train_targets, classes)  # of unreadable images
        readable = np.flatnonzero(data.test_rows >= 0)
        batches = open_test_inputs(trainer.embeddings, data.test_pixels, data.preprocessing, trainer.device)
        fill(test, readable, batches, data.test_rows[readable])
        write_probabilities(folder.test, data.test_ids, data.classes, test)
    return probabilities, described


def _prepare_model(trainer: Trainer) -> tuple[nn.Module, str]:
    """Return what predicts, and how."""
    prediction = trainer.job.predicts
    if not prediction.fused:
        return trainer.model, str(prediction)
    images = trainer.batches.read(trainer.data.val_rows[:TRIAL_ROWS])
    model, obstacle = try_fusion(trainer.model, images)
    return model, f"{prediction}, but not here: {obstacle}" if obstacle else str(prediction)


def save_result(trainer: Trainer, probabilities: FloatArray, prediction: str) -> None:
    """Score the predictions of the validation rows, and write the result of the finished fold."""
    data = trainer.data
    targets = data.targets[data.val_rows]
    metrics = score_rows(build_metrics(trainer.job.plan, data.attributes), probabilities, targets)
    result = {
        "fold": trainer.job.fold,
        "best_epoch": trainer.state.best_epoch,
        "epochs": trainer.state.epoch,
        "rows": len(targets),
        "precision": str(trainer.precision or torch.float32).removeprefix("torch."),
        "metrics": metrics,
        "prefetch": str(trainer.loader.prefetch or "no background thread: too few steps to measure"),
        "prediction": prediction,
        "compiler": trainer.compiler,
        "seconds": {part: round(value, 3) for part, value in trainer.state.seconds.items()},
    }
    if trainer.state.soup:
        result["soup"] = trainer.state.soup
    write_json(trainer.job.folder.metrics, result)
