"""Everything that trains one fold: model, loss, optimizer, schedule and sampler, seeded by the fold's number."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from icf.components import IntArray, OptimizerContext, SamplerContext, Schedule, SchedulerContext
from icf.pipeline.cache import count_cores
from icf.pipeline.data.inputs import Inputs, open_train_images
from icf.pipeline.data.labels import count_rows, kind_of
from icf.pipeline.frozen.embeddings import EmbeddingFiles, Embeddings, read_embedding_files
from icf.pipeline.frozen.separation import take_rest, with_dropout
from icf.pipeline.jobs import FoldJob
from icf.pipeline.mirror import FoldMirror
from icf.pipeline.results.products import CheckedSchedule, build, build_sampler
from icf.pipeline.seeds import Purpose, derive_seed
from icf.pipeline.training.averaging import WeightAverage, build_average
from icf.pipeline.training.batches import Batches
from icf.pipeline.training.compiling import UncompiledError, compile_network
from icf.pipeline.training.fold_data import FoldData
from icf.pipeline.training.layers import (
    Layer,
    choose_layers,
    count_open,
    list_trained,
    open_layers,
)
from icf.pipeline.training.loader import Loader
from icf.pipeline.training.memory_format import make_contiguous
from icf.pipeline.training.mixing import Mixing, WeightedTargets, build_mixing, weigh_targets
from icf.pipeline.training.network import build_model, check_closure, choose_device, needs_closure, set_training_mode
from icf.pipeline.training.number_format import choose_precision
from icf.pipeline.training.parameters import choose_settings, group_parameters, read_rates
from icf.pipeline.training.team import Team
from icf.pipeline.training.trimming import trim_kernels


@dataclass
class TrainingState:
    """What training changes beside weights and optimizer; plain data, stored in every checkpoint."""

    epoch: int = 0
    step: int = 0
    """Steps that are done of an epoch that is not."""
    losses: list[float] = field(default_factory=list)
    """Each rank's sum of the losses of these steps."""
    best_epoch: int = -1
    best_score: float = math.nan
    stale: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    soup: list[int] = field(default_factory=list)
    """Epochs whose mean is kept, with train.average = "soup"; known at the end."""
    seconds: dict[str, float] = field(default_factory=dict)
    """What each part of the fold has taken (``icf.pipeline.training.clock.PARTS``)."""


@dataclass(frozen=True)
class Piece:
    """Rows of a batch that go through the network at once, their part of its mean, and the seed of their pixels."""

    rows: IntArray
    weight: float
    seed: int


@dataclass
class Trainer:
    """Everything that trains one fold.

    ``model`` is what is trained: the ``whole`` network, or the part after its frozen one, fed with ``embeddings``.
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
    loader: Loader
    mixing: Mixing
    scaler: torch.amp.GradScaler
    steps: int
    contiguous: RemovableHandle | None = None
    """What ends the training in contiguous memory; None where it is channels-last."""
    average: WeightAverage | None = None
    layers: list[Layer] = field(default_factory=list)
    """What model.unfreeze opens, from the input to the head."""
    attempt: str = ""
    """Its name; written where others would see it."""
    mirror: FoldMirror | None = None
    """The copy of the fold, if compute.storage is an address."""
    state: TrainingState = field(default_factory=TrainingState)
    compiler: str = "not used"
    """What became of compiling, in words."""


def build_trainer(job: FoldJob, team: Team) -> Trainer:
    """Build model, loss, optimizer, schedule and sampler for one fold, all seeded by its number."""
    plan, recipe = job.plan, job.plan.recipe
    device = choose_device(job.device)
    data = FoldData.open(job)
    seed = recipe.train.seed
    classes = len(data.classes)
    whole = build_model(plan, data.output, data.preprocessing, job.fold).to(device)
    embeddings = read_embedding_files(job.run_folder)
    model, batches = _choose_network(job, data, whole, embeddings, device)
    contiguous = make_contiguous(model) if job.memory_format == "contiguous" else None
    layers = choose_layers(plan, whole, data.output.units)
    settings = choose_settings(plan, whole, layers)
    groups = group_parameters(model, settings)
    optimizer: torch.optim.Optimizer = build(
        plan.optimizer,
        OptimizerContext(parameter_groups=groups, seed=derive_seed(seed, Purpose.OPTIMIZER, job.fold)),
    )
    if model is whole:  # what comes after a frozen part has layers of its own with the same weights
        trim_kernels(whole, optimizer, (data.preprocessing.channels, *data.preprocessing.image_size))
    counts = count_rows(data.train_targets, classes)
    loss_seed = derive_seed(seed, Purpose.LOSS, job.fold)
    criterion = data.output.build_criterion(plan, counts, loss_seed)
    sampler_seed = derive_seed(seed, Purpose.SAMPLER, job.fold)
    context = SamplerContext(targets=data.train_targets, num_classes=classes, seed=sampler_seed)
    order = build_sampler(plan.sampler, context)
    steps = math.ceil(len(order(0)) / recipe.train.batch_size)
    schedule = CheckedSchedule(
        plan.scheduler,
        SchedulerContext(steps_per_epoch=steps, epochs=recipe.train.epochs, maximize=plan.metrics[0].maximize),
    )
    open_images = partial(open_train_images, plan, data.train_pixels, data.preprocessing, device)
    precision = choose_precision(job.precision, whole, device)
    check_closure(plan, optimizer, precision)
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
        base_rates=read_rates(plan.optimizer, optimizer, settings),
        schedule=schedule,
        order=order,
        batches=batches,
        loader=Loader(recipe.compute.prefetch, batches, open_images, device, count_spare_cores(job, device)),
        mixing=build_mixing(plan, data.classes, data.preprocessing, kind_of(data.targets)),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == torch.float16),
        steps=steps,
        contiguous=contiguous,
        average=build_average(recipe.train, model),
        layers=list_trained(layers),
    )


def use_compiler(trainer: Trainer) -> None:
    """Let steps go through compiled code, if it can be made; ``trainer.model`` and its weights stay what they are."""
    train = trainer.job.plan.recipe.train
    rows = trainer.data.train_rows[: -(-train.batch_size // train.accumulate)]
    set_training_mode(trainer.network)
    try:
        if trainer.team.size > 1:
            raise UncompiledError("several workers train the fold together")
        if needs_closure(trainer.optimizer):
            raise UncompiledError("the optimizer looks at each batch twice")
        if trainer.job.plan.recipe.model.unfreeze:
            raise UncompiledError("model.unfreeze changes what is trained")
        trainer.network = compile_network(trainer.network, trainer.batches.read(rows), trainer.precision)
        trainer.compiler = "used"
    except UncompiledError as error:
        trainer.compiler = f"not used: {error}"


def thaw(trainer: Trainer) -> None:
    """Let those layers be trained that model.unfreeze says for the epoch."""
    unfreeze = trainer.job.plan.recipe.model.unfreeze
    if unfreeze and open_layers(trainer.layers, count_open(unfreeze, trainer.state.epoch, len(trainer.layers))):
        trainer.network = trainer.team.wrap(trainer.model)  # a team averages the gradients that there were then


def count_spare_cores(job: FoldJob, device: torch.device) -> int:
    """Return how many of the fold's share of cores its step leaves idle; a GPU's step needs one of them."""
    if device.type == "cuda":
        return job.threads - 1
    return max(0, count_cores() // job.concurrent - job.threads)


def cut_batch(trainer: Trainer, batch: IntArray, step: int) -> list[Piece]:
    """Return this rank's pieces of a batch of cache rows."""
    recipe, team = trainer.job.plan.recipe, trainer.team
    seed = derive_seed(recipe.train.seed, Purpose.AUGMENT, trainer.job.fold, trainer.state.epoch, step, team.rank)
    # As many pieces on every rank, or their gradients' averages would wait for each other.
    largest = -(-len(batch) // team.size)
    parts = np.array_split(team.share(batch), min(recipe.train.accumulate, largest))
    # A rank without rows still takes part in the average, with weight zero.
    return [
        Piece(rows if len(rows) else batch[:1], len(rows) * team.size / len(batch), seed + index)
        for index, rows in enumerate(parts)
    ]


def mix_piece(trainer: Trainer, piece: Piece, images: torch.Tensor) -> tuple[torch.Tensor, WeightedTargets]:
    """Return network inputs, mixed in the epochs that are, and what they are compared with."""
    batches, expected = trainer.batches, trainer.data.expect_trained(piece.rows)
    if not trainer.mixing.is_active(trainer.state.epoch):
        return images, [(expected, 1.0)]
    assert isinstance(batches, Batches)  # noqa: S101 - for the type checker: what is mixed has no embeddings
    mixed = trainer.mixing.mix(images, torch.from_numpy(trainer.data.trained[piece.rows]), piece.seed)
    return batches.normalise(mixed.images), weigh_targets(expected, mixed)


def _choose_network(
    job: FoldJob, data: FoldData, whole: nn.Module, embeddings: EmbeddingFiles | None, device: torch.device
) -> tuple[nn.Module, Inputs]:
    """Return what is trained and what feeds it: the part after the frozen one if there are embeddings, or all."""
    if embeddings is None:
        return whole, open_train_images(job.plan, data.train_pixels, data.preprocessing, device)
    rest = take_rest(job.plan, whole, data.output.units)
    return with_dropout(rest, embeddings.dropout), Embeddings(embeddings.train, embeddings, device)
