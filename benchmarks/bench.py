"""A plugin for icf, given with ``--plugin``: listed and invented images, and optimizers that note or pass time."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

import icf

if TYPE_CHECKING:
    import torch


class ListingParams(icf.Params):
    """Parameters of the listed images."""

    csv: Path = Field(description="File with the columns image (a path beside it), label and fold (-1: training only)")


class PixelsParams(icf.Params):
    """Parameters of invented images."""

    rows: int = Field(default=1000, ge=10, description="Number of images")
    classes: int = Field(default=10, ge=2, description="Number of classes")
    side: int = Field(default=2, ge=1, description="Height and width in pixels")
    rows_per_group: int = Field(default=0, ge=0, description="Images of a group; 0: no groups")
    folds: int = Field(default=0, ge=0, description="Folds, to which rows are dealt in turn; 0: the recipe makes them")


class ClockParams(icf.Params):
    """Parameters of the optimizer that notes its first step."""

    file: Path = Field(description="Where the time of the first step's end is written, in seconds of time.monotonic()")


class NapParams(icf.Params):
    """Parameters of the optimizer that does nothing for some time."""

    seconds: float = Field(ge=0, description="How long a step takes")


@icf.hookimpl
def icf_datasets() -> Iterable[icf.Dataset]:
    """Yield the data sets."""
    yield icf.Dataset(name="listing", factory=":load_listing", params=ListingParams, summary="Images of a CSV file")
    yield icf.Dataset(name="pixels", factory=":invent_pixels", params=PixelsParams, summary="Invented images")


@icf.hookimpl
def icf_optimizers() -> Iterable[icf.Optimizer]:
    """Yield the optimizers."""
    yield icf.Optimizer(name="clock", factory=":build_clock", params=ClockParams, summary="AdamW that notes its start")
    yield icf.Optimizer(name="nap", factory=":build_nap", params=NapParams, summary="Steps that only take their time")


def load_listing(params: ListingParams, ctx: icf.DatasetContext) -> icf.DatasetContent:
    """Return the listed images in the file's order."""
    with params.csv.open(newline="") as file:
        rows = list(csv.DictReader(file))
    classes = tuple(sorted({row["label"] for row in rows}))
    return icf.DatasetContent(
        classes=classes,
        train=icf.Samples(
            ids=[row["image"] for row in rows],
            images=[params.csv.parent / row["image"] for row in rows],
            targets=np.array([classes.index(row["label"]) for row in rows], np.int64),
            folds=np.array([int(row["fold"]) for row in rows], np.int64),
        ),
    )


def invent_pixels(params: PixelsParams, ctx: icf.DatasetContext) -> icf.DatasetContent:
    """Return random pixels, uint8 [N, side, side, 3], and random targets of which each class has at least one."""
    generator = np.random.default_rng(0)
    targets = generator.permutation(np.arange(params.rows) % params.classes)
    size = params.rows_per_group
    return icf.DatasetContent(
        classes=tuple(f"class {number}" for number in range(params.classes)),
        train=icf.Samples(
            ids=[f"row-{row:07d}" for row in range(params.rows)],
            images=generator.integers(256, size=(params.rows, params.side, params.side, 3), dtype=np.uint8),
            targets=targets,
            groups=[f"group-{row // size:07d}" for row in range(params.rows)] if size else None,
            folds=np.arange(params.rows) % params.folds if params.folds else None,
        ),
    )


def build_clock(params: ClockParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Return AdamW that writes the time at which its first step has ended."""
    import torch

    optimizer = torch.optim.AdamW([dict(group) for group in ctx.parameter_groups])

    def note(*_: Any) -> None:
        if not params.file.exists():
            params.file.write_text(str(time.monotonic()))

    optimizer.register_step_post_hook(note)
    return optimizer


def build_nap(params: NapParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Return gradient descent of which each step takes ``seconds``, in which no core is busy."""
    import torch

    optimizer = torch.optim.SGD([dict(group) for group in ctx.parameter_groups], lr=1e-3)
    optimizer.register_step_post_hook(lambda *_: time.sleep(params.seconds))
    return optimizer
