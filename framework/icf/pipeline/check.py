"""Stage "check": find in seconds what would otherwise be found after hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from icf.components import OptimizerContext, SamplerContext, SchedulerContext
from icf.errors import PluginError, Problem
from icf.local import restore_local_plugins
from icf.pipeline.advice import advise
from icf.pipeline.data.labels import count_rows, kind_of
from icf.pipeline.data.prepare import Prepared, describe_facts, prepare
from icf.pipeline.data.split import make_split
from icf.pipeline.listener import Listener
from icf.pipeline.results.products import (
    CheckedSchedule,
    blame,
    build,
    build_sampler,
    build_transform,
    check_logits,
    check_loss,
)
from icf.pipeline.training.batches import Batches
from icf.pipeline.training.layers import choose_layers
from icf.pipeline.training.mixing import build_mixing
from icf.pipeline.training.network import build_model, choose_device, needs_closure
from icf.pipeline.training.number_format import choose_precision
from icf.pipeline.training.order import find_costly_orders, read_whole_images
from icf.pipeline.training.parameters import choose_settings, group_parameters, read_rates
from icf.pipeline.training.trial import try_components
from icf.plan import Plan

SEEDS = 32
"""Draws of a shared transform; one that changes an image with probability 0.1 is missed once in a thousand times."""


@dataclass(frozen=True)
class CheckResult:
    """What a check found; ``folds`` are validation rows per fold, ``step`` describes a trial step.

    ``advice`` says which part of a network is usually trained on such data.
    """

    facts: dict[str, Any]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    skipped: tuple[Problem, ...]
    folds: tuple[int, ...]
    method: str
    weights: str
    step: str
    advice: tuple[str, ...]


def check_plan(plan: Plan, listener: Listener) -> CheckResult:
    """Decode every image, split, and do one training step on two images.

    Raises:
        IcfError: whatever would have stopped the run, with what to do about it.
    """
    restore_local_plugins(plan.local_plugins)
    data = prepare(plan, lambda what, done, total: listener.stage_progress("check", what, done, total))
    split = make_split(plan.recipe.split, data.train, data.classes, plan.recipe.train.seed)
    check_shared_transforms(plan, data)
    try_components(plan, data.classes, data.attributes, split.count, data.preprocessing, kind_of(data.train.targets))
    model = build_model(plan, data.output, data.preprocessing, fold=0)
    step = try_step(plan, data, model)
    return CheckResult(
        facts=describe_facts(data),
        notes=data.notes,
        warnings=(*plan.warnings, *data.warnings, *split.warnings, *find_costly_orders(plan, data)),
        skipped=data.skipped,
        folds=tuple(np.bincount(split.folds[split.folds >= 0]).tolist()),
        method=split.method,
        weights=data.weights,
        step=step,
        advice=advise(plan, data, model),
    )


def check_shared_transforms(plan: Plan, data: Prepared) -> None:
    """Raise PluginError for a shared transform that is random: it would differ between training and test."""
    if not plan.shared_transforms:
        return
    images = read_whole_images(data, np.arange(min(2, len(data.train))))
    for index, choice in enumerate(plan.shared_transforms):
        transform = build_transform(choice, data.preprocessing.context())
        for position, image in enumerate(images):
            results = [transform(image.clone(), torch.Generator().manual_seed(seed)) for seed in range(SEEDS)]
            if any(not torch.equal(results[0], other) for other in results[1:]):
                raise PluginError(
                    f"transforms.shared[{index}]: {choice.ref} is random, but what is shared must be the same in"
                    " training, validation and test; move it to transforms.train"
                )
            images[position] = results[0]


def try_step(plan: Plan, data: Prepared, model: torch.nn.Module) -> str:
    """Build everything else that a fold needs and do one step forward and back; describe the model.

    Raises:
        PluginError: a component failed or does not fit the others.
    """
    device = choose_device(plan.recipe.compute.device)
    classes = len(data.classes)
    model.to(device)
    augment = [build_transform(choice, data.preprocessing.context()) for choice in plan.train_transforms]
    batches = Batches(data.train.cache.source, data.preprocessing, device, augment)
    rows = data.train.pixel_rows[:2]
    trained = data.train.trained
    if trained.ndim == 1:
        trained = trained[trained >= 0]
    counts = count_rows(trained, classes)
    output = data.output.learn(counts)
    numbers = {name: values[:2] for name, values in data.train.numbers.items()}
    expected = output.expect(data.train.targets[:2], numbers).to(device)
    criterion = output.build_criterion(plan, counts, seed=0)
    settings = choose_settings(plan, model, choose_layers(plan, model, output.units))
    optimizer = build(plan.optimizer, OptimizerContext(parameter_groups=group_parameters(model, settings)))
    read_rates(plan.optimizer, optimizer, settings)
    build_sampler(plan.sampler, SamplerContext(targets=trained, num_classes=classes))(0)
    CheckedSchedule(plan.scheduler, SchedulerContext(steps_per_epoch=1, epochs=plan.recipe.train.epochs)).factor(0)
    model.eval()  # two images are too few for batch statistics
    augmented = batches.read_levels(rows, seed=0)
    for mix in build_mixing(plan, data.classes, data.preprocessing, kind_of(data.train.targets)).mixers:
        augmented = mix(augmented, torch.from_numpy(data.train.targets[:2]), torch.Generator().manual_seed(0)).images
    images = batches.normalise(augmented)
    with blame(plan.model, "on two images"):
        logits = model(images)
    check_logits(plan.model, logits, 2, data.output.units)
    with blame(plan.loss, "on two images"):
        loss = criterion.to(device)(logits.float(), expected)
    check_loss(plan.loss, loss)
    with blame(plan.loss, "on two images"):
        loss.backward()
    with blame(plan.optimizer, "in its first step"):
        optimizer.step(*[lambda: loss] * needs_closure(optimizer))  # it finds the gradients as they are
    total, trainable = count_parameters(model.parameters())
    precision = choose_precision(plan.recipe.compute.precision, model, device)
    number = str(precision or torch.float32).removeprefix("torch.")
    return f"{total:,} parameters, {trainable:,} trained, {device.type}, {number}; loss {loss.item():.3f}"


def count_parameters(parameters: Any) -> tuple[int, int]:
    """Return how many parameters there are, and how many are trained."""
    found: Sequence[torch.nn.Parameter] = list(parameters)
    return sum(p.numel() for p in found), sum(p.numel() for p in found if p.requires_grad)
