"""Stage "fit": one fold is one function over the plan; started again, it continues to the same numbers."""

from __future__ import annotations

import io
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from icf.components import IntArray, LossContext, OptimizerContext, SamplerContext, Schedule, SchedulerContext
from icf.errors import FoldError
from icf.pipeline import checkpoint
from icf.pipeline.batches import Batches, draw_grid
from icf.pipeline.files import write_bytes, write_json, write_probabilities, write_rows
from icf.pipeline.fold_data import FoldData
from icf.pipeline.inference import predict_logits, predict_probabilities, softmax
from icf.pipeline.jobs import FoldJob
from icf.pipeline.network import (
    autocast,
    build_model,
    choose_device,
    choose_precision,
    group_parameters,
    set_training_mode,
)
from icf.pipeline.score import build_metrics, score_rows
from icf.pipeline.seeds import Purpose, derive_seed
from icf.pipeline.team import Team, cut, unwrap

PROGRESS_SECONDS = 0.4


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
    """Everything that trains one fold."""

    job: FoldJob
    data: FoldData
    team: Team
    device: torch.device
    model: nn.Module
    network: nn.Module
    precision: torch.dtype | None
    criterion: nn.Module
    optimizer: torch.optim.Optimizer
    base_rates: list[float]
    schedule: Schedule
    order: Callable[[int], IntArray]
    batches: Batches
    scaler: torch.amp.GradScaler
    steps: int
    state: TrainingState = field(default_factory=TrainingState)


def fit_fold(job: FoldJob, team: Team | None = None) -> None:
    """Train, choose the best epoch, and predict validation and test rows of one fold.

    Does nothing when the fold is already finished from the same inputs; continues after the last
    checkpoint when it was interrupted. Every product is written by the team's main rank.

    Raises:
        FoldError: the loss became infinite or NaN.
        IcfError: a component or a file could not be used.
    """
    name = f"fold-{job.fold}"
    if job.run_folder.is_done(name, job.key, job.products):
        return
    torch.set_num_threads(job.threads)
    trainer = build_trainer(job, team or Team())
    resume(trainer)
    while not is_finished(trainer):
        train_loss, speed = train_epoch(trainer)
        validate(trainer, train_loss, speed)
        if trainer.team.is_main:
            save_epoch(trainer)
    if trainer.team.is_main:
        predict_fold(trainer)
        job.run_folder.mark_done(name, job.key)
    trainer.team.agree(None)


def build_trainer(job: FoldJob, team: Team) -> Trainer:
    """Build model, loss, optimizer, schedule and sampler for one fold, all seeded by its number."""
    plan, recipe = job.plan, job.plan.recipe
    device = choose_device(recipe.compute.device)
    data = FoldData.open(job)
    seed = recipe.train.seed
    classes = len(data.classes)
    model = build_model(plan, classes, data.preprocessing, job.fold).to(device)
    optimizer: torch.optim.Optimizer = plan.optimizer.build(
        OptimizerContext(parameter_groups=group_parameters(model), seed=derive_seed(seed, Purpose.OPTIMIZER, job.fold))
    )
    counts = np.bincount(data.train_targets, minlength=classes).astype(np.int64)
    loss_seed = derive_seed(seed, Purpose.LOSS, job.fold)
    criterion = plan.loss.build(LossContext(num_classes=classes, class_counts=counts, seed=loss_seed))
    sampler_seed = derive_seed(seed, Purpose.SAMPLER, job.fold)
    order = plan.sampler.build(SamplerContext(targets=data.train_targets, num_classes=classes, seed=sampler_seed))
    steps = math.ceil(len(order(0)) / recipe.train.batch_size)
    schedule = plan.scheduler.build(
        SchedulerContext(steps_per_epoch=steps, epochs=recipe.train.epochs, maximize=plan.metrics[0].maximize)
    )
    augment = [choice.build(data.preprocessing.context()) for choice in plan.train_transforms]
    precision = choose_precision(recipe.compute.precision, model, device)
    return Trainer(
        job=job,
        data=data,
        team=team,
        device=device,
        model=model,
        network=team.wrap(model),
        precision=precision,
        criterion=criterion.to(device),
        optimizer=optimizer,
        base_rates=[group["lr"] for group in optimizer.param_groups],
        schedule=schedule,
        order=order,
        batches=Batches(data.train_cache, data.preprocessing, device, augment),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == torch.float16),
        steps=steps,
    )


def resume(trainer: Trainer) -> None:
    """Take up the last checkpoint of the same inputs, if there is one; otherwise start a clean folder."""
    folder = trainer.job.folder
    state = checkpoint.read_state(folder.checkpoints)
    if state is None or state["key"] != trainer.job.key:
        if trainer.team.is_main:
            shutil.rmtree(folder.path, ignore_errors=True)
            _write_augmented(trainer)
        trainer.team.agree(None)
        return
    checkpoint.load_state_weights(folder.checkpoints, trainer.model)
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.schedule.load_state_dict(state["schedule"])
    trainer.scaler.load_state_dict(state["scaler"])
    trainer.state = TrainingState(**state["training"])


def is_finished(trainer: Trainer) -> bool:
    """Tell whether all epochs are done, or patience has run out."""
    patience = trainer.job.plan.recipe.train.early_stopping
    out_of_patience = patience is not None and trainer.state.stale >= patience
    return out_of_patience or trainer.state.epoch >= trainer.job.plan.recipe.train.epochs


def train_epoch(trainer: Trainer) -> tuple[float, float]:
    """Run one epoch; return the mean loss and images per second."""
    state, seed = trainer.state, trainer.job.plan.recipe.train.seed
    rows = trainer.data.train_rows[trainer.order(state.epoch)]
    set_training_mode(trainer.network)
    total = torch.zeros((), dtype=torch.float64, device=trainer.device)
    started = last = time.monotonic()
    # Pieces of nearly equal size: a last batch of one image would break batch normalisation.
    for step, batch in enumerate(np.array_split(rows, trainer.steps)):
        position = (trainer.job.fold, state.epoch, step, trainer.team.rank)
        torch.manual_seed(derive_seed(seed, Purpose.STEP, *position))
        total += train_step(trainer, batch, step, derive_seed(seed, Purpose.AUGMENT, *position)) * len(batch)
        if trainer.team.is_main and time.monotonic() - last > PROGRESS_SECONDS:
            last = time.monotonic()
            _write_progress(trainer, step + 1, last - started)
    mean = trainer.team.average(float(total)) / len(rows)
    if not math.isfinite(mean):
        raise FoldError(
            f"the training loss became {mean} in epoch {state.epoch + 1};"
            ' lower optimizer.lr, set train.clip_norm = 1.0, or compute.precision = "fp32"'
        )
    return mean, len(rows) / (time.monotonic() - started)


def train_step(trainer: Trainer, batch: IntArray, step: int, seed: int) -> torch.Tensor:
    """Do one optimizer step on a batch of cache rows; return the team's share of the mean loss, float64."""
    recipe = trainer.job.plan.recipe
    factor = trainer.schedule.factor(trainer.state.epoch * trainer.steps + step)
    for group, rate in zip(trainer.optimizer.param_groups, trainer.base_rates, strict=True):
        group["lr"] = rate * factor
    mine = trainer.team.share(batch)
    pieces = cut(mine, recipe.train.accumulate) or [batch[:1]]
    total = torch.zeros((), dtype=torch.float64, device=trainer.device)
    for index, rows in enumerate(pieces):
        images = trainer.batches.read_augmented(rows, seed + index)
        targets = torch.from_numpy(trainer.data.targets[rows]).to(trainer.device)
        with autocast(trainer.device, trainer.precision):
            loss = trainer.criterion(trainer.network(images), targets)
        # A rank without rows still takes part in the gradients' average, with weight zero.
        weight = len(rows) * trainer.team.size / len(batch) if len(mine) else 0.0
        trainer.scaler.scale(loss * weight).backward()
        total += loss.detach().double() * weight
    if recipe.train.clip_norm is not None:
        trainer.scaler.unscale_(trainer.optimizer)
        nn.utils.clip_grad_norm_(trainer.model.parameters(), recipe.train.clip_norm)
    trainer.scaler.step(trainer.optimizer)
    trainer.scaler.update()
    trainer.optimizer.zero_grad(set_to_none=True)
    return total


def validate(trainer: Trainer, train_loss: float, speed: float) -> None:
    """Score the whole validation fold at once, and note whether it is the best epoch so far."""
    trainer.team.sync_buffers(trainer.model)
    data, state, metric = trainer.data, trainer.state, trainer.job.plan.metrics[0]
    mine = trainer.team.share(data.val_rows)
    size = trainer.job.plan.recipe.inference.batch_size
    logits = predict_logits(trainer.model, trainer.batches, mine, size, trainer.device, trainer.precision)
    logits = trainer.team.gather(logits, len(data.val_rows))
    targets = torch.from_numpy(data.targets[data.val_rows])
    with torch.no_grad():
        val_loss = float(trainer.criterion(logits.to(trainer.device), targets.to(trainer.device)))
    functions = build_metrics(trainer.job.plan, len(data.classes))
    metrics = score_rows(functions, softmax(logits), targets.numpy())
    score = metrics[metric.ref]
    trainer.schedule.observe(score)
    better = state.best_epoch < 0 or (score > state.best_score if metric.maximize else score < state.best_score)
    if better:
        state.best_epoch, state.best_score, state.stale = state.epoch, score, 0
    else:
        state.stale += 1
    rate = trainer.optimizer.param_groups[0]["lr"]
    row: dict[str, float] = {"epoch": state.epoch, "train_loss": train_loss, "val_loss": val_loss}
    state.history.append({**row, "learning_rate": rate, "images_per_second": round(speed, 1), **metrics})
    state.epoch += 1


def save_epoch(trainer: Trainer) -> None:
    """Write best weights first, then the state that refers to them, then what people read.

    Killed between any two of these, the epoch is run again to the same result.
    """
    folder, state = trainer.job.folder, trainer.state
    model = unwrap(trainer.model)
    if state.best_epoch == state.epoch - 1:
        checkpoint.save_weights(folder.checkpoints / "best.safetensors", model, _describe_weights(trainer))
    everything = {
        "key": trainer.job.key,
        "optimizer": trainer.optimizer.state_dict(),
        "schedule": dict(trainer.schedule.state_dict()),
        "scaler": trainer.scaler.state_dict(),
        "training": asdict(state),
    }
    checkpoint.save_state(folder.checkpoints, state.epoch, model, everything)
    write_rows(folder.history, state.history)
    _write_progress(trainer, 0, 0.0)


def _describe_weights(trainer: Trainer) -> dict[str, Any]:
    return {
        "model": trainer.job.plan.model.model_dump(mode="json"),
        "classes": list(trainer.data.classes),
        "preprocessing": trainer.data.preprocessing.model_dump(mode="json"),
        "fold": trainer.job.fold,
        "epoch": trainer.state.best_epoch,
    }


def predict_fold(trainer: Trainer) -> None:
    """Predict validation and test rows with the best weights, and write the fold's result."""
    folder, data, recipe = trainer.job.folder, trainer.data, trainer.job.plan.recipe
    checkpoint.load_weights(folder.checkpoints / "best.safetensors", trainer.model)

    def predict(batches: Batches, rows: IntArray) -> np.ndarray:
        return predict_probabilities(trainer.model, batches, rows, recipe.inference, trainer.device, trainer.precision)

    probabilities = predict(trainer.batches, data.val_rows)
    targets = data.targets[data.val_rows]
    write_probabilities(folder.oof, data.val_ids, data.classes, probabilities, target=targets)
    if data.test_cache is not None:
        readable = data.test_rows[data.test_rows >= 0]
        prior = np.bincount(data.train_targets, minlength=len(data.classes)) / len(data.train_targets)
        test = np.tile(prior, (len(data.test_rows), 1))
        batches = Batches(data.test_cache, data.preprocessing, trainer.device)
        test[data.test_rows >= 0] = predict(batches, readable)
        write_probabilities(folder.test, data.test_ids, data.classes, test)
    metrics = score_rows(build_metrics(trainer.job.plan, len(data.classes)), probabilities, targets)
    result = {
        "fold": trainer.job.fold,
        "best_epoch": trainer.state.best_epoch,
        "epochs": trainer.state.epoch,
        "rows": len(targets),
        "precision": str(trainer.precision or torch.float32).removeprefix("torch."),
        "metrics": metrics,
    }
    write_json(folder.metrics, result)


def _write_progress(trainer: Trainer, step: int, seconds: float) -> None:
    done = step * len(trainer.data.train_rows) / trainer.steps
    speed = done / seconds if seconds else None
    state = {"epoch": trainer.state.epoch, "step": step, "steps": trainer.steps, "images_per_second": speed}
    write_json(trainer.job.folder.progress, {**state, "epochs": trainer.job.plan.recipe.train.epochs})


def _write_augmented(trainer: Trainer) -> None:
    seed = derive_seed(trainer.job.plan.recipe.train.seed, Purpose.AUGMENT, trainer.job.fold)
    rows = trainer.data.train_rows[trainer.order(0)[:32]]
    grid = Image.fromarray(draw_grid(trainer.batches.augment(rows, seed)))
    path = trainer.job.folder.augmented
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    grid.save(buffer, format="PNG")
    write_bytes(path, buffer.getvalue())
