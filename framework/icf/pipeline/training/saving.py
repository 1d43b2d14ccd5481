"""What survives of a fold's training: states that it continues from, best weights, and what people read meanwhile."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from icf.pipeline.files import write_json, write_rows
from icf.pipeline.training import attempt, checkpoint
from icf.pipeline.training.augmented import write_augmented
from icf.pipeline.training.clock import count_seconds
from icf.pipeline.training.fold_result import describe_weights, find_best_weights
from icf.pipeline.training.soup import rank_epochs, remove_ingredients, save_ingredient
from icf.pipeline.training.team import unwrap
from icf.pipeline.training.trainer import Trainer, TrainingState


def resume(trainer: Trainer) -> None:
    """Take up the last checkpoint of the same inputs, if there is one; otherwise start a clean folder."""
    folder, team = trainer.job.folder, trainer.team
    state = checkpoint.read_state(folder.checkpoints) if team.is_main else None
    # The main rank decides: another could look while files are being removed.
    if team.agree(state is None or state["key"] != trainer.job.key or state.get("shapes") != _list_shapes(trainer)):
        if team.is_main:
            shutil.rmtree(folder.path, ignore_errors=True)
            _claim(trainer)
            write_augmented(trainer)
        team.agree(None)
        return
    state = state or checkpoint.read_state(folder.checkpoints)
    assert state is not None  # noqa: S101 - for the type checker: the main rank has read it
    if team.is_main:
        _claim(trainer)
    checkpoint.load_state_weights(folder.checkpoints, trainer.model)
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.schedule.load_state_dict(state["schedule"])
    trainer.scaler.load_state_dict(state["scaler"])
    trainer.criterion.load_state_dict(state["loss"])
    trainer.state = TrainingState(**state["training"])
    if trainer.average:
        trainer.average.load_state_dict(state["average"])
    if team.is_main:  # it may have been killed between its last state and what people read
        write_rows(folder.history, trainer.state.history)


def _list_shapes(trainer: Trainer) -> list[list[int]]:
    """Return the shapes of what is trained: which weights are left out depends on an environment variable, too."""
    return [list(parameter.shape) for parameter in trainer.model.parameters()]


def _claim(trainer: Trainer) -> None:
    trainer.attempt = attempt.claim(trainer.job.folder)
    if trainer.mirror:
        trainer.mirror.claim(trainer.attempt)


def save_step(trainer: Trainer, step: int, loss: float) -> None:
    """Write the state in the middle of an epoch, of which so many steps with this sum of losses are done."""
    trainer.state.step, trainer.state.losses = step, trainer.team.collect(loss)
    if trainer.team.is_main:
        with count_seconds(trainer.state.seconds, "checkpoints"):
            attempt.confirm(trainer.job.folder, trainer.attempt)
            _save_state(trainer)
            _mirror(trainer)


def save_best(trainer: Trainer) -> None:
    """Write the weights that were just validated, if they are to be kept; before the state that refers to them."""
    state = trainer.state
    attempt.confirm(trainer.job.folder, trainer.attempt)
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
    _save_state(trainer, same=find_best_weights(trainer) if is_best else None)
    if trainer.job.plan.recipe.train.average == "soup":
        remove_ingredients(trainer, kept=rank_epochs(trainer))
    write_rows(folder.history, state.history)
    write_progress(trainer, 0, None)
    _mirror(trainer)


def _mirror(trainer: Trainer) -> None:
    if trainer.mirror:
        trainer.mirror.save(checkpoint.name_state(trainer.state.epoch, trainer.state.step))


def _save_state(trainer: Trainer, same: Path | None = None) -> None:
    """Write everything that the next step depends on; ``same`` is a file with the present weights, if there is one."""
    state, average = trainer.state, trainer.average
    everything = {
        "key": trainer.job.key,
        "shapes": _list_shapes(trainer),
        "optimizer": trainer.optimizer.state_dict(),
        "schedule": dict(trainer.schedule.state_dict()),
        "scaler": trainer.scaler.state_dict(),
        "loss": trainer.criterion.state_dict(),
        "training": asdict(state),
        "average": average.state_dict() if average else None,
    }
    name = checkpoint.name_state(state.epoch, state.step)
    checkpoint.save_state(trainer.job.folder.checkpoints, name, unwrap(trainer.model), everything, same=same)


def write_progress(trainer: Trainer, step: int, speed: float | None) -> None:
    """Write what the fold is doing: the step of its epoch, and images per second where they are known."""
    epochs = trainer.job.plan.recipe.train.epochs
    position = {"epoch": trainer.state.epoch, "epochs": epochs, "step": step, "steps": trainer.steps}
    uncompiled = trainer.job.compiled and trainer.compiler != "used"
    warnings = [f"torch.compile is {trainer.compiler}"] if uncompiled else []
    if trainer.mirror and trainer.mirror.problem:
        warnings.append(trainer.mirror.problem)
    chosen = {"images_per_second": speed, "prefetch": str(trainer.loader.prefetch or ""), "warnings": warnings}
    write_json(trainer.job.folder.progress, {"key": trainer.job.key, **position, **chosen})
