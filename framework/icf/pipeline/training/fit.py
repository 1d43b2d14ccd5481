"""Stage "fit": one fold is one function over the plan; started again, it continues to the same numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from icf.errors import FoldError
from icf.local import restore_local_plugins
from icf.memory import release_memory
from icf.pipeline.jobs import FoldJob
from icf.pipeline.mirror import FoldMirror, open_fold_mirror
from icf.pipeline.results.inference import predict_logits
from icf.pipeline.results.products import blame, check_logits, check_loss
from icf.pipeline.results.score import build_metrics, score_rows
from icf.pipeline.seeds import Purpose, derive_seed
from icf.pipeline.training import attempt
from icf.pipeline.training.batch_norm import averaged_weights
from icf.pipeline.training.clock import count_seconds
from icf.pipeline.training.fold_result import predict_fold, save_result
from icf.pipeline.training.head_dropout import repeat_targets
from icf.pipeline.training.mixing import WeightedTargets
from icf.pipeline.training.network import fixed_statistics, needs_closure, set_training_mode
from icf.pipeline.training.number_format import autocast
from icf.pipeline.training.saving import resume, save_best, save_epoch, save_step, write_progress
from icf.pipeline.training.soup import cook_soup, remove_ingredients
from icf.pipeline.training.team import Team
from icf.pipeline.training.trainer import (
    Piece,
    Trainer,
    TrainingState,
    build_trainer,
    cut_batch,
    mix_piece,
    thaw,
    use_compiler,
)

PROGRESS_SECONDS = 0.4

RELEASE_SECONDS = 10.0
"""Between two times that memory is given back, after which a tenth of a second goes into page faults."""

TALK_STEPS = 16
"""Steps between two moments when workers of one fold may agree to save, which costs about as much as a short one."""

_Compared: TypeAlias = tuple[torch.Tensor, WeightedTargets, float]
"""Inputs of the network, what its outputs are compared with, and their part of the batch's mean."""


def fit_fold(job: FoldJob, team: Team | None = None) -> None:
    """Train, choose the best epoch, and predict validation and test rows of one fold.

    Does nothing when the fold is already finished from the same inputs; continues after the last
    checkpoint when it was interrupted. Every product is written by the team's main rank.

    Raises:
        FoldError: the loss became infinite or NaN.
        IcfError: a component or a file could not be used.
    """
    team, mirror = team or Team(), open_fold_mirror(job)
    if mirror:
        mirror.fetch(exact=team.size > 1)
        team.collect(0.0)  # nobody writes before all have read
    if not job.run_folder.is_done(f"fold-{job.fold}", job.key, job.products):
        _train_fold(job, team, mirror)
    if mirror and team.is_main:
        mirror.finish()


def _train_fold(job: FoldJob, team: Team, mirror: FoldMirror | None) -> None:
    torch.set_num_threads(job.threads)
    restore_local_plugins(job.plan.local_plugins)
    starting: dict[str, float] = {}
    with count_seconds(starting, "start"):
        trainer = build_trainer(job, team)
        trainer.mirror = mirror
        resume(trainer)
        if job.compiled:
            use_compiler(trainer)
    seconds = trainer.state.seconds
    seconds["start"] = seconds.get("start", 0.0) + starting["start"]
    released = time.monotonic()
    while not is_finished(trainer):
        train_loss, speed = train_epoch(trainer)
        with averaged_weights(trainer):
            with count_seconds(seconds, "validation"):
                validate(trainer, train_loss, speed)
            if trainer.team.is_main:
                with count_seconds(seconds, "checkpoints"):
                    save_best(trainer)
        if trainer.team.is_main:
            with count_seconds(seconds, "checkpoints"):
                save_epoch(trainer)
        if time.monotonic() - released > RELEASE_SECONDS:
            release_memory()  # what validation and checkpoints left between the buffers of steps
            released = time.monotonic()
    if trainer.team.is_main:
        attempt.confirm(job.folder, trainer.attempt)
        with count_seconds(seconds, "prediction"):
            if job.plan.recipe.train.average == "soup":
                trainer.state.soup = cook_soup(trainer)
            probabilities, prediction = predict_fold(trainer)
        save_result(trainer, probabilities, prediction)
        job.run_folder.mark_done(f"fold-{job.fold}", job.key)
        remove_ingredients(trainer, kept=[])
    trainer.team.agree(None)


def is_finished(trainer: Trainer) -> bool:
    """Tell whether all epochs are done, or patience has run out."""
    patience = trainer.job.plan.recipe.train.early_stopping
    out_of_patience = patience is not None and trainer.state.stale >= patience
    return out_of_patience or trainer.state.epoch >= trainer.job.plan.recipe.train.epochs


def train_epoch(trainer: Trainer) -> tuple[float, float]:
    """Run one epoch, or the rest of it; return its mean loss and images per second."""
    state, team, seed = trainer.state, trainer.team, trainer.job.plan.recipe.train.seed
    rows = trainer.data.train_rows[trainer.order(state.epoch)]
    thaw(trainer)
    set_training_mode(trainer.network)
    _tell_losses_epoch(trainer)
    earlier = state.losses[team.rank] if state.losses else 0.0
    total = torch.tensor(earlier, dtype=torch.float64, device=trainer.device)
    started = last = saved = time.monotonic()
    # Batches of nearly equal size: a last one of a single image would break batch normalisation.
    batches = np.array_split(rows, trainer.steps)
    todo = list(enumerate(batches))[state.step :]
    steps = [cut_batch(trainer, batch, step) for step, batch in todo]
    seen = 0
    requests = [(piece.rows, piece.seed) for pieces in steps for piece in pieces]
    levels = trainer.mixing.is_active(state.epoch)  # mixed where the network is, and normalised then
    with closing(trainer.loader.load(requests, levels=levels)) as images:
        for (step, batch), pieces in zip(todo, steps, strict=True):
            position = (trainer.job.fold, state.epoch, step, team.rank)
            torch.manual_seed(derive_seed(seed, Purpose.STEP, *position))
            total += train_step(trainer, pieces, step, images) * len(batch)
            seen += len(batch)
            if team.is_main and time.monotonic() - last > PROGRESS_SECONDS:
                last = time.monotonic()
                write_progress(trainer, step + 1, seen / (last - started))
            if step + 1 < trainer.steps and _is_due(trainer, step + 1, saved):
                save_step(trainer, step + 1, float(total))
                saved = time.monotonic()
    if trainer.average:
        trainer.average.after_epoch(state.epoch)
    with count_seconds(state.seconds, "steps"):  # a GPU is still at work
        mean = team.average(float(total)) / len(rows)
    state.step, state.losses = 0, []
    if not math.isfinite(mean):
        raise _describe_divergence(f"the training loss became {mean}", state)
    return mean, seen / (time.monotonic() - started)


def _is_due(trainer: Trainer, step: int, saved: float) -> bool:
    """Tell, to every rank alike, whether it is time to save again; in a short epoch it never is."""
    if trainer.team.size > 1 and step % TALK_STEPS:
        return False
    seconds = 60 * trainer.job.plan.recipe.compute.checkpoint_minutes
    return bool(trainer.team.agree(time.monotonic() - saved > seconds))


def _tell_losses_epoch(trainer: Trainer) -> None:
    """Tell the epoch to the loss, or to those that it is made of, if they change in the course of training."""
    for module in trainer.criterion.modules():
        start_epoch: Any = getattr(module, "start_epoch", None)
        if start_epoch is not None:
            with blame(trainer.job.plan.loss, f"before epoch {trainer.state.epoch + 1}"):
                start_epoch(trainer.state.epoch)


def _describe_divergence(what: str, state: TrainingState) -> FoldError:
    advice = 'lower optimizer.lr, set train.clip_norm = 1.0, or compute.precision = "fp32"'
    return FoldError(f"{what} in epoch {state.epoch + 1}; {advice}")


def train_step(trainer: Trainer, pieces: Sequence[Piece], step: int, images: Iterator[torch.Tensor]) -> torch.Tensor:
    """Do one optimizer step on a batch, whose ``images`` come piece by piece.

    Return the team's share of the mean loss, float64.
    """
    seconds = trainer.state.seconds
    factor = trainer.schedule.factor(trainer.state.epoch * trainer.steps + step)
    for group, rate in zip(trainer.optimizer.param_groups, trainer.base_rates, strict=True):
        group["lr"] = rate * factor
    total = torch.zeros((), dtype=torch.float64, device=trainer.device)
    kept: list[_Compared] = []
    for piece in pieces:
        with count_seconds(seconds, "batches"):
            inputs, expected = mix_piece(trainer, piece, next(images))
        with count_seconds(seconds, "steps"):
            total += _add_gradients(trainer, (inputs, expected, piece.weight))
            if needs_closure(trainer.optimizer):
                kept.append((inputs, expected, piece.weight))
    with count_seconds(seconds, "steps"):
        _update_weights(trainer, kept)
        if trainer.average:
            trainer.average.after_step()
    return total


def _add_gradients(trainer: Trainer, compared: _Compared) -> torch.Tensor:
    """Add the gradients of a piece, and return its part of the mean loss, float64."""
    inputs, expected, weight = compared
    loss = _compute_loss(trainer, inputs, expected)
    trainer.scaler.scale(loss * weight).backward()  # type: ignore[no-untyped-call]
    return loss.detach().double() * weight


def _update_weights(trainer: Trainer, batch: Sequence[_Compared]) -> None:
    """Do the optimizer's step; one that needs it computes the gradients of ``batch`` again."""

    def compute_again() -> torch.Tensor:
        trainer.optimizer.zero_grad(set_to_none=True)
        with fixed_statistics(trainer.model):
            total = sum(_add_gradients(trainer, compared) for compared in batch)
        _clip_gradients(trainer)
        return torch.as_tensor(total)

    _clip_gradients(trainer)
    with blame(trainer.job.plan.optimizer, "in training"):
        if needs_closure(trainer.optimizer):
            trainer.optimizer.step(compute_again)  # type: ignore[arg-type] # torch says float, and takes what it gets
        else:
            trainer.scaler.step(trainer.optimizer)
    trainer.scaler.update()
    trainer.optimizer.zero_grad(set_to_none=True)


def _clip_gradients(trainer: Trainer) -> None:
    clip_norm = trainer.job.plan.recipe.train.clip_norm
    if clip_norm is not None:
        trainer.scaler.unscale_(trainer.optimizer)
        nn.utils.clip_grad_norm_(trainer.model.parameters(), clip_norm)


def _compute_loss(trainer: Trainer, images: torch.Tensor, expected: WeightedTargets) -> torch.Tensor:
    plan, samples = trainer.job.plan, trainer.job.plan.recipe.model.dropout_samples
    losses = []
    with autocast(trainer.device, trainer.precision):
        with blame(plan.model, "in training"):
            logits = trainer.network(images)
        check_logits(plan.model, logits, samples * len(images), trainer.data.output.units)
        for targets, weight in expected:
            with blame(plan.loss, "in training"):
                repeated = repeat_targets(targets.to(trainer.device), samples)
                loss: torch.Tensor = trainer.criterion(logits, repeated)
            check_loss(plan.loss, loss)
            losses.append(loss * weight)
    return sum(losses[1:], losses[0])


def validate(trainer: Trainer, train_loss: float, speed: float) -> None:
    """Score the whole validation fold at once, and note whether it is the best epoch so far."""
    trainer.team.sync_buffers(trainer.model)
    data, state, metric = trainer.data, trainer.state, trainer.job.plan.metrics[0]
    mine = trainer.team.share(data.val_rows)
    size = trainer.job.predicts.batch_size
    with blame(trainer.job.plan.model, "in validation"):
        logits = predict_logits(trainer.model, trainer.batches, mine, size, trainer.device, trainer.precision)
    logits = trainer.team.gather(logits, len(data.val_rows))
    probabilities = data.output.decode(logits)
    if not np.isfinite(probabilities).all():
        raise _describe_divergence("the network's output is no longer finite", state)
    expected = data.expect(data.val_rows).to(trainer.device)
    with torch.no_grad(), blame(trainer.job.plan.loss, "in validation"):
        val_loss = float(trainer.criterion(logits.to(trainer.device), expected))
    functions = build_metrics(trainer.job.plan, data.attributes)
    metrics = score_rows(functions, probabilities, data.targets[data.val_rows])
    score = metrics[metric.key]
    trainer.schedule.observe(score)
    better = state.best_epoch < 0 or (score > state.best_score if metric.maximize else score < state.best_score)
    if better:
        state.best_epoch, state.best_score, state.stale = state.epoch, score, 0
    else:
        state.stale += 1
    first = trainer.optimizer.param_groups[0]
    rate = first["lr"] / first.get("lr_scale", 1.0)
    row: dict[str, float] = {"epoch": state.epoch, "train_loss": train_loss, "val_loss": val_loss}
    state.history.append({**row, "learning_rate": rate, "images_per_second": round(speed, 1), **metrics})
    state.epoch += 1
