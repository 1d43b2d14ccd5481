"""Tries, before the training, what a run would else need only after it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from icf.components import EnsemblerContext, TargetKind
from icf.pipeline.data.attributes import ClassAttribute
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.results.products import build_transform, combine_members
from icf.pipeline.results.score import build_metrics, score_rows
from icf.pipeline.training.mixing import build_mixing
from icf.pipeline.training.tta import build_views
from icf.plan import Plan

ROWS = 64


def try_components(
    plan: Plan,
    classes: Sequence[str],
    attributes: Sequence[ClassAttribute],
    members: int,
    spec: Preprocessing,
    kind: TargetKind = "classes",
) -> None:
    """Score and join made-up rows, build the transforms and mixers of training, and show noise as each view does.

    Raises:
        RecipeError: a metric is of an attribute that the data set has not.
        PluginError: a metric, the ensembler, a transform or a mixer that would have stopped the run later.
    """
    for choice in plan.train_transforms:
        build_transform(choice, spec.context())
    build_mixing(plan, classes, spec, kind)
    try_views(plan, spec)
    num_classes = len(classes)
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(num_classes), (members, ROWS))
    targets = np.arange(ROWS) % num_classes
    if kind == "labels":
        probabilities = generator.random(probabilities.shape)
        targets = (np.arange(ROWS)[:, None] >> np.arange(num_classes) % 6) & 1
    combine_members(plan.ensembler, EnsemblerContext(num_classes=num_classes, targets=kind), probabilities)
    score_rows(build_metrics(plan, attributes), probabilities[0], targets)


def try_views(plan: Plan, spec: Preprocessing) -> None:
    """Show noise as each test-time view does; raises PluginError for one that fails, or has another size."""
    shape = (2, *spec.image_size, spec.channels)
    noise = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for view in build_views(plan, spec).transforms:
        view(noise.permute(0, 3, 1, 2))
