"""Optimizers that compute gradients again within a step, as SAM does, in the training of a fold."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from icf.errors import IcfError
from icf.pipeline.training.fit import fit_fold, train_epoch
from icf.pipeline.training.network import check_closure, fixed_statistics
from icf.pipeline.training.team import Team
from icf.pipeline.training.trainer import Trainer, build_trainer
from training import fit, make_jobs, make_plan, read_history, without_speed

BASE = '{use="optimizer/sgd", lr=0.1, momentum=0.9, weight_decay=0.0}'
SAM = (f'optimizer={{use="optimizer/sam", rho=0.5, base={BASE}}}', 'scheduler="scheduler/constant"')


pytestmark = pytest.mark.usefixtures("cache_of_test")


def make_trainer(runs: Path, *overrides: str) -> Trainer:
    torch.set_num_threads(1)
    return build_trainer(make_jobs(make_plan(*overrides), runs)[0], Team())


def sam_step_by_hand(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> None:
    """Move to where the loss is higher, take the gradient there, go back and do a plain step with it."""
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(functional.cross_entropy(model(images), targets), parameters)
    norm = sum(gradient.square().sum() for gradient in gradients) ** 0.5
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for parameter, gradient in zip(moved.parameters(), gradients, strict=True):
            parameter += 0.5 * gradient / norm
    gradients = torch.autograd.grad(functional.cross_entropy(moved(images), targets), list(moved.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= 0.1 * 1.9 * gradient  # the first step of Nesterov's momentum


def test_a_step_is_that_of_a_loop_written_by_hand(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, *SAM, "train.batch_size=1000", "model.widths=[8]")
    model = trainer.model
    by_hand = copy.deepcopy(model).train()
    rows = trainer.data.train_rows[trainer.order(0)]
    sam_step_by_hand(by_hand, trainer.batches.read(rows), torch.from_numpy(trainer.data.targets[rows]))
    train_epoch(trainer)
    for (name, value), (_, other) in zip(model.named_parameters(), by_hand.named_parameters(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
    for (name, value), (_, other) in zip(model.named_buffers(), by_hand.named_buffers(), strict=True):
        if "running" in name:  # the look at moved weights leaves no trace
            torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-5)


def test_parts_of_a_batch_are_looked_at_twice_together(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, *SAM, "train.accumulate=3", "train.clip_norm=1.0")
    losses = [train_epoch(trainer)[0] for _ in range(3)]
    assert losses[2] < losses[1] < losses[0]


def test_an_interrupted_fold_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", *SAM)
    job = fit(tmp_path / "parts", *SAM)
    states = sorted((job.folder.checkpoints).glob("epoch-*"))
    assert states
    job.folder.metrics.unlink()
    job.folder.oof.unlink()
    fit_fold(job)
    assert job.folder.oof.read_bytes() == whole.folder.oof.read_bytes()
    assert without_speed(read_history(job.folder)) == without_speed(read_history(whole.folder))


def test_a_resumed_fold_has_the_state_of_the_base(tmp_path: Path) -> None:
    settings = (*SAM, "train.epochs=4")
    whole = fit(tmp_path / "whole", *settings)

    class KilledError(Exception):
        pass

    job = make_jobs(make_plan(*settings), tmp_path / "parts")[0]
    with pytest.MonkeyPatch.context() as patch:
        calls = iter(range(100))

        def die(trainer: Trainer) -> tuple[float, float]:
            if next(calls) == 2:
                raise KilledError
            return train_epoch(trainer)

        patch.setattr("icf.pipeline.training.fit.train_epoch", die)
        with pytest.raises(KilledError):
            fit_fold(job)
    assert len(read_history(job.folder)) == 2
    fit_fold(job)
    assert job.folder.oof.read_bytes() == whole.folder.oof.read_bytes()
    assert without_speed(read_history(job.folder)) == without_speed(read_history(whole.folder))


def test_statistics_are_fixed_within_the_block_alone() -> None:
    norm = nn.BatchNorm1d(3, momentum=0.3)
    images = torch.randn(8, 3)
    with fixed_statistics(nn.Sequential(norm)):
        norm(images)
    assert norm.running_mean is not None
    assert torch.equal(norm.running_mean, torch.zeros(3))
    norm(images)
    torch.testing.assert_close(norm.running_mean, 0.3 * images.mean(dim=0))


def test_float16_is_refused(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, *SAM)
    with pytest.raises(IcfError, match=r"optimizer 'optimizer/sam' .* computes gradients twice"):
        check_closure(trainer.job.plan, trainer.optimizer, torch.float16)
    check_closure(trainer.job.plan, trainer.optimizer, torch.bfloat16)
