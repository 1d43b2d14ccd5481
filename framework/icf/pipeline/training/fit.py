"""Stage "fit": one fold is one function over the plan; started again, it continues to the same numbers."""

from __future__ import annotations

import io
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict

import numpy as np
import torch
from PIL import Image
from torch import nn

from icf.errors import FoldError
from icf.local import restore_local_plugins
from icf.pipeline.data.inputs import open_train_images
from icf.pipeline.files import write_bytes, write_json, write_rows
from icf.pipeline.jobs import FoldJob
from icf.pipeline.results.inference import predict_logits
from icf.pipeline.results.products import blame, check_logits, check_loss
from icf.pipeline.results.score import build_metrics, score_rows
from icf.pipeline.seeds import Purpose, derive_seed
from icf.pipeline.training import checkpoint
from icf.pipeline.training.batch_norm import averaged_weights
from icf.pipeline.training.batches import draw_grid
from icf.pipeline.training.clock import count_seconds
from icf.pipeline.training.fold_result import describe_weights, find_best_weights, predict_fold, save_result
from icf.pipeline.training.head_dropout import repeat_targets
from icf.pipeline.training.mixing import WeightedTargets, mix_lines
from icf.pipeline.training.network import autocast, set_training_mode
from icf.pipeline.training.soup import cook_soup, rank_epochs, remove_ingredients, save_ingredient
from icf.pipeline.training.team import Team, unwrap
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
    restore_local_plugins(job.plan.local_plugins)
    starting: dict[str, float] = {}
    with count_seconds(starting, "start"):
        trainer = build_trainer(job, team or Team())
        resume(trainer)
        if job.compiled:
            use_compiler(trainer)
    seconds = trainer.state.seconds
    seconds["start"] = seconds.get("start", 0.0) + starting["start"]
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
    if trainer.team.is_main:
        with count_seconds(seconds, "prediction"):
            if job.plan.recipe.train.average == "soup":
                trainer.state.soup = cook_soup(trainer)
            probabilities, prediction = predict_fold(trainer)
        save_result(trainer, probabilities, prediction)
        job.run_folder.mark_done(name, job.key)
        remove_ingredients(trainer, kept=[])
    trainer.team.agree(None)


def resume(trainer: Trainer) -> None:
    """Take up the last checkpoint of the same inputs, if there is one; otherwise start a clean folder."""
    folder, team = trainer.job.folder, trainer.team
    state = checkpoint.read_state(folder.checkpoints) if team.is_main else None
    # The main rank decides: another could look while files are being removed.
    if team.agree(state is None or state["key"] != trainer.job.key):
        if team.is_main:
            shutil.rmtree(folder.path, ignore_errors=True)
            _write_augmented(trainer)
        team.agree(None)
        return
    state = state or checkpoint.read_state(folder.checkpoints)
    assert state is not None  # noqa: S101 - for the type checker: the main rank has read it
    checkpoint.load_state_weights(folder.checkpoints, trainer.model)
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.schedule.load_state_dict(state["schedule"])
    trainer.scaler.load_state_dict(state["scaler"])
    trainer.state = TrainingState(**state["training"])
    if trainer.average:
        trainer.average.load_state_dict(state["average"])
    if team.is_main:  # it may have been killed between its last state and what people read
        write_rows(folder.history, trainer.state.history)


def is_finished(trainer: Trainer) -> bool:
    """Tell whether all epochs are done, or patience has run out."""
    patience = trainer.job.plan.recipe.train.early_stopping
    out_of_patience = patience is not None and trainer.state.stale >= patience
    return out_of_patience or trainer.state.epoch >= trainer.job.plan.recipe.train.epochs


def train_epoch(trainer: Trainer) -> tuple[float, float]:
    """Run one epoch; return the mean loss and images per second."""
    state, seed = trainer.state, trainer.job.plan.recipe.train.seed
    rows = trainer.data.train_rows[trainer.order(state.epoch)]
    thaw(trainer)
    set_training_mode(trainer.network)
    total = torch.zeros((), dtype=torch.float64, device=trainer.device)
    started = last = time.monotonic()
    # Batches of nearly equal size: a last one of a single image would break batch normalisation.
    batches = np.array_split(rows, trainer.steps)
    steps = [cut_batch(trainer, batch, step) for step, batch in enumerate(batches)]
    requests = [(piece.rows, piece.seed) for pieces in steps for piece in pieces]
    levels = trainer.mixing.is_active(state.epoch)  # mixed where the network is, and normalised then
    with closing(trainer.loader.load(requests, levels=levels)) as images:
        for step, (batch, pieces) in enumerate(zip(batches, steps, strict=True)):
            position = (trainer.job.fold, state.epoch, step, trainer.team.rank)
            torch.manual_seed(derive_seed(seed, Purpose.STEP, *position))
            total += train_step(trainer, pieces, step, images) * len(batch)
            if trainer.team.is_main and time.monotonic() - last > PROGRESS_SECONDS:
                last = time.monotonic()
                _write_progress(trainer, step + 1, last - started)
    if trainer.average:
        trainer.average.after_epoch(state.epoch)
    with count_seconds(state.seconds, "steps"):  # a GPU is still at work
        mean = trainer.team.average(float(total)) / len(rows)
    if not math.isfinite(mean):
        raise _describe_divergence(f"the training loss became {mean}", state)
    return mean, len(rows) / (time.monotonic() - started)


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
    for piece in pieces:
        with count_seconds(seconds, "batches"):
            inputs, expected = mix_piece(trainer, piece, next(images))
        with count_seconds(seconds, "steps"):
            loss = _compute_loss(trainer, inputs, expected)
            trainer.scaler.scale(loss * piece.weight).backward()  # type: ignore[no-untyped-call]
            total += loss.detach().double() * piece.weight
    with count_seconds(seconds, "steps"):
        _update_weights(trainer)
        if trainer.average:
            trainer.average.after_step()
    return total


def _update_weights(trainer: Trainer) -> None:
    clip_norm = trainer.job.plan.recipe.train.clip_norm
    if clip_norm is not None:
        trainer.scaler.unscale_(trainer.optimizer)
        nn.utils.clip_grad_norm_(trainer.model.parameters(), clip_norm)
    with blame(trainer.job.plan.optimizer, "in training"):
        trainer.scaler.step(trainer.optimizer)
    trainer.scaler.update()
    trainer.optimizer.zero_grad(set_to_none=True)


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
    rate = trainer.optimizer.param_groups[0]["lr"]
    row: dict[str, float] = {"epoch": state.epoch, "train_loss": train_loss, "val_loss": val_loss}
    state.history.append({**row, "learning_rate": rate, "images_per_second": round(speed, 1), **metrics})
    state.epoch += 1


def save_best(trainer: Trainer) -> None:
    """Write the weights that were just validated, if they are to be kept; before the state that refers to them."""
    state = trainer.state
    if state.best_epoch == state.epoch - 1:
        checkpoint.save_weights(find_best_weights(trainer), unwrap(trainer.model), describe_weights(trainer))
    if trainer.job.plan.recipe.train.average == "soup":
        save_ingredient(trainer)


def save_epoch(trainer: Trainer) -> None:
    """Write the state after the best weights, to which it refers, and then what people read.

    Killed between any two of these, the epoch is run again to the same result.
    """
    folder, state, average = trainer.job.folder, trainer.state, trainer.average
    is_best = state.best_epoch == state.epoch - 1 and not (average and average.count)
    everything = {
        "key": trainer.job.key,
        "optimizer": trainer.optimizer.state_dict(),
        "schedule": dict(trainer.schedule.state_dict()),
        "scaler": trainer.scaler.state_dict(),
        "training": asdict(state),
        "average": average.state_dict() if average else None,
    }
    same = find_best_weights(trainer) if is_best else None
    checkpoint.save_state(folder.checkpoints, state.epoch, unwrap(trainer.model), everything, same=same)
    if trainer.job.plan.recipe.train.average == "soup":
        remove_ingredients(trainer, kept=rank_epochs(trainer))
    write_rows(folder.history, state.history)
    _write_progress(trainer, 0, 0.0)


def _write_progress(trainer: Trainer, step: int, seconds: float) -> None:
    done = step * len(trainer.data.train_rows) / trainer.steps
    speed = done / seconds if seconds else None
    epochs = trainer.job.plan.recipe.train.epochs
    position = {"epoch": trainer.state.epoch, "epochs": epochs, "step": step, "steps": trainer.steps}
    uncompiled = trainer.job.compiled and trainer.compiler != "used"
    warnings = [f"torch.compile is {trainer.compiler}"] if uncompiled else []
    chosen = {"images_per_second": speed, "prefetch": str(trainer.loader.prefetch or ""), "warnings": warnings}
    write_json(trainer.job.folder.progress, {"key": trainer.job.key, **position, **chosen})


def _write_augmented(trainer: Trainer) -> None:
    job, data = trainer.job, trainer.data
    if trainer.embeddings is not None and job.fold > 0:
        return  # one picture of images that training never reads is enough
    images = open_train_images(job.plan, data.train_pixels, data.preprocessing, trainer.device)
    seed = derive_seed(job.plan.recipe.train.seed, Purpose.AUGMENT, job.fold)
    rows = trainer.data.train_rows[trainer.order(0)[:32]]
    pictures = images.augment(rows, seed)
    if trainer.mixing.is_active(0):
        pictures = mix_lines(trainer.mixing, pictures, torch.from_numpy(data.trained[rows]), seed)
    grid = Image.fromarray(draw_grid(pictures))
    path = trainer.job.folder.augmented
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    grid.save(buffer, format="PNG")
    write_bytes(path, buffer.getvalue())
