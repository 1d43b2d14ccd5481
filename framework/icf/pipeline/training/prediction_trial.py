"""Chooses how predictions are made, by timing forward passes on made-up images before a long training."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property, partial

import torch
from torch import nn

from icf.errors import one_line
from icf.pipeline.jobs import Prediction, Workload
from icf.pipeline.results.fusion import TRIAL_ROWS, try_fusion
from icf.pipeline.training.measured import ROUNDS, recall_or_measure, take_turns, use_threads
from icf.pipeline.training.network import build_model
from icf.pipeline.training.number_format import PRECISIONS, autocast
from icf.plan import Plan

SIZES = (16, 32, 64, 128, 256, 512)
MOST_PIXELS = 2**20
"""In a batch: beyond, no processor gains, but activations take hundreds of megabytes."""

GAIN = 1.05
"""How many times as fast a larger batch, or a fused network, must be."""

SHARE = 100
"""Predictions are timed before a training on so many times as many images as the timing takes."""

SECONDS = 0.05
"""How long a timing lasts at least; one batch, if that takes longer."""


def choose_prediction(plan: Plan, work: Workload, precision: str, threads: int) -> tuple[Prediction, str]:
    """Return how to predict on this machine's processor, and what was measured; for work that is worth it.

    Speeds are kept, so that the next run of the same work predicts in the same way.
    """
    section = plan.recipe.inference
    default = Prediction.of_recipe(section)
    sizes = list_sizes(work) if section.batch_size == "auto" else [section.batch_size]
    fuses = section.fuse == "auto"
    if (len(sizes) == 1 and not fuses) or work.images < SHARE * count_images(sizes):
        return default, ""
    try:
        trial = PredictionTrial(plan, work, precision, threads)
        by_size = trial.measure({str(size): partial(trial.time, size) for size in sizes} if len(sizes) > 1 else {})
        size = choose_size({int(name): speed for name, speed in by_size.items()}) if by_size else sizes[0]
        by_form = trial.measure(
            {"plain": partial(trial.time, size), "fused": partial(trial.time, size, fused=True)} if fuses else {}
        )
    # Whatever a component raises, the folds will raise and explain.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return default, f"predictions not measured: {one_line(error)}"
    fused = by_form["fused"] > GAIN * by_form["plain"] if fuses else default.fused
    told = [f"batches of {name} {speed:,.0f}" for name, speed in by_size.items()]
    told += [f"{name} {speed:,.0f}" for name, speed in by_form.items()]
    prediction = Prediction(size, fused)
    return prediction, f"predictions {prediction}, measured images/s: {', '.join(told)}"


def list_sizes(work: Workload) -> list[int]:
    """Return sizes of batches that may be fastest, and have room."""
    height, width = work.preprocessing.image_size
    return [size for size in SIZES if size == SIZES[0] or size * height * width <= MOST_PIXELS]


def count_images(sizes: list[int]) -> int:
    """Return how many images a measurement of these sizes predicts, and then of the fused network."""
    return ROUNDS * (sum(sizes) + 2 * max(sizes))


def choose_size(speeds: dict[int, float]) -> int:
    """Return the smallest size that is not clearly slower than the best: it takes the least memory."""
    return min(size for size, speed in speeds.items() if GAIN * speed >= max(speeds.values()))


class PredictionTrial:
    """A network that predicts images of noise; it is built when something is to be timed."""

    def __init__(self, plan: Plan, work: Workload, precision: str, threads: int) -> None:
        self._plan = plan
        self._work = work
        self._precision = PRECISIONS[precision]
        self._threads = threads
        spec = work.preprocessing
        shape = [spec.channels, *spec.image_size, work.output.model_dump(mode="json")]
        model = plan.model.model_dump(mode="json")
        self._subject = ["prediction", model, shape, precision, threads]

    def measure(self, candidates: dict[str, Callable[[], float]]) -> dict[str, float]:
        """Return images per second for each candidate, measured now or earlier."""
        if not candidates:
            return {}
        with use_threads(self._threads):
            return recall_or_measure(self._subject, list(candidates), lambda: take_turns(candidates))

    @torch.inference_mode()
    def time(self, size: int, *, fused: bool = False) -> float:
        """Return images per second in batches of a size."""
        model = self._fused if fused else self._model
        images = self._draw(size)
        started, passes = time.perf_counter(), 0
        while not passes or time.perf_counter() - started < SECONDS:
            with autocast(torch.device("cpu"), self._precision):
                model(images)
            passes += 1
        return passes * size / (time.perf_counter() - started)

    @cached_property
    def _model(self) -> nn.Module:
        plan, work = self._plan, self._work
        return build_model(plan, work.output, work.preprocessing, fold=0, pretrained=False).eval()

    @cached_property
    def _fused(self) -> nn.Module:
        return try_fusion(self._model, self._draw(TRIAL_ROWS))[0]

    def _draw(self, size: int) -> torch.Tensor:
        spec = self._work.preprocessing
        return torch.randn((size, spec.channels, *spec.image_size)).to(memory_format=torch.channels_last)
