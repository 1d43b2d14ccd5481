"""Everything that trains one fold: model, loss, optimizer, schedule and sampler, seeded by the fold's number."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from icf.components import IntArray, LossContext, OptimizerContext, SamplerContext, Schedule, SchedulerContext
from icf.pipeline.embeddings import EmbeddingFiles, Embeddings, read_embedding_files
from icf.pipeline.fold_data import FoldData
from icf.pipeline.head import with_dropout
from icf.pipeline.inputs import Inputs, open_train_images
from icf.pipeline.jobs import FoldJob
from icf.pipeline.mixing import Mixing, build_mixing
from icf.pipeline.network import build_model, choose_device, choose_precision, find_head, group_parameters
from icf.pipeline.products import CheckedSchedule, build, build_sampler
from icf.pipeline.seeds import Purpose, derive_seed
from icf.pipeline.team import Team


@dataclass
class TrainingState:
    """What an epoch changes beside weights and optimizer; plain data, stored in every checkpoint."""

    epoch: int = 0
    best_epoch: int = -1
    best_score: float = math.nan
    stale: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass
class Trainer:
    """Everything that trains one fold.

    ``model`` is what is trained: the ``whole`` network, or its head alone, which is then fed with ``embeddings``.
    """

    job: FoldJob
    data: FoldData
    team: Team
    device: torch.device
    whole: nn.Module
    embeddings: EmbeddingFiles | None
    model: nn.Module
    network: nn.Module
    precision: torch.dtype | None
    criterion: nn.Module
    optimizer: torch.optim.Optimizer
    base_rates: list[float]
    schedule: Schedule
    order: Callable[[int], IntArray]
    batches: Inputs
    mixing: Mixing
    scaler: torch.amp.GradScaler
    steps: int
    state: TrainingState = field(default_factory=TrainingState)


def build_trainer(job: FoldJob, team: Team) -> Trainer:
    """Build model, loss, optimizer, schedule and sampler for one fold, all seeded by its number."""
    plan, recipe = job.plan, job.plan.recipe
    device = choose_device(recipe.compute.device)
    data = FoldData.open(job)
    seed = recipe.train.seed
    classes = len(data.classes)
    whole = build_model(plan, classes, data.preprocessing, job.fold).to(device)
    embeddings = read_embedding_files(job.run_folder)
    model, batches = _choose_network(job, data, whole, embeddings, device)
    optimizer: torch.optim.Optimizer = build(
        plan.optimizer,
        OptimizerContext(parameter_groups=group_parameters(model), seed=derive_seed(seed, Purpose.OPTIMIZER, job.fold)),
    )
    counts = np.bincount(data.train_targets, minlength=classes).astype(np.int64)
    loss_seed = derive_seed(seed, Purpose.LOSS, job.fold)
    criterion = build(plan.loss, LossContext(num_classes=classes, class_counts=counts, seed=loss_seed))
    sampler_seed = derive_seed(seed, Purpose.SAMPLER, job.fold)
    context = SamplerContext(targets=data.train_targets, num_classes=classes, seed=sampler_seed)
    order = build_sampler(plan.sampler, context)
    steps = math.ceil(len(order(0)) / recipe.train.batch_size)
    schedule = CheckedSchedule(
        plan.scheduler,
        SchedulerContext(steps_per_epoch=steps, epochs=recipe.train.epochs, maximize=plan.metrics[0].maximize),
    )
    precision = choose_precision(recipe.compute.precision, whole, device)
    return Trainer(
        job=job,
        data=data,
        team=team,
        device=device,
        whole=whole,
        embeddings=embeddings,
        model=model,
        network=team.wrap(model),
        precision=precision,
        criterion=criterion.to(device),
        optimizer=optimizer,
        base_rates=[group["lr"] for group in optimizer.param_groups],
        schedule=schedule,
        order=order,
        batches=batches,
        mixing=build_mixing(plan, classes, data.preprocessing),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == torch.float16),
        steps=steps,
    )


def _choose_network(
    job: FoldJob, data: FoldData, whole: nn.Module, embeddings: EmbeddingFiles | None, device: torch.device
) -> tuple[nn.Module, Inputs]:
    """Return what is trained and what feeds it: the head and embeddings if there are any, else the whole network."""
    if embeddings is None:
        return whole, open_train_images(job.plan, data.train_cache, data.preprocessing, device)
    head = find_head(whole, len(data.classes), job.plan.model.source)
    return with_dropout(head, embeddings.dropout), Embeddings(embeddings.train, embeddings, device)
