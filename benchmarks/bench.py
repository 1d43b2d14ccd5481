"""A plugin for icf, given with ``--plugin``: listed and invented images, and an optimizer that notes its first step."""

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


class ClockParams(icf.Params):
    """Parameters of the optimizer that notes its first step."""

    file: Path = Field(description="Where the time of the first step's end is written, in seconds of time.monotonic()")


@icf.hookimpl
def icf_datasets() -> Iterable[icf.Dataset]:
    """Yield the data sets."""
    yield icf.Dataset(name="listing", factory=":load_listing", params=ListingParams, summary="Images of a CSV file")
    yield icf.Dataset(name="pixels", factory=":invent_pixels", params=PixelsParams, summary="Invented images")


@icf.hookimpl
def icf_optimizers() -> Iterable[icf.Optimizer]:
    """Yield the optimizer."""
    yield icf.Optimizer(name="clock", factory=":build_clock", params=ClockParams, summary="AdamW that notes its start")


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
