from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import f1_score
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from icf.errors import RecipeError
from icf.pipeline.files import read_json
from icf.pipeline.folder import RunFolder
from icf.pipeline.jobs import FoldJob
from icf.pipeline.training.averaging import EpochAverage, ExponentialAverage, WeightAverage
from icf.pipeline.training.batch_norm import averaged_weights
from icf.pipeline.training.checkpoint import list_states
from icf.pipeline.training.fit import train_epoch
from icf.pipeline.training.soup import stir
from icf.pipeline.training.team import Team
from icf.pipeline.training.trainer import build_trainer
from runs import find_run, finish, kill, start_run, wait_until
from training import SMALL, fit, make_jobs, make_plan, read_history, read_oof, without_speed

CONSTANT = 'scheduler="scheduler/constant"'
"""Without an end in sight, a training of two epochs is the first part of one of three."""


pytestmark = pytest.mark.usefixtures("cache_of_file")


def make_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))


def train_both(average: Callable[[nn.Module], WeightAverage], reference: Callable[[nn.Module], AveragedModel]) -> None:
    """Take ten steps, and compare the mean with that of torch after each of them."""
    model = make_network()
    ours, theirs = average(model), reference(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(10):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(torch.randn(8, 1, 8, 8)), torch.arange(8) % 3).backward()
        optimizer.step()
        before = copy.deepcopy(model.state_dict())
        ours.after_step()
        ours.after_epoch(step)
        theirs.update_parameters(model)
        with ours.applied():
            for one, other in zip(model.parameters(), theirs.module.parameters(), strict=True):
                torch.testing.assert_close(one, other)
            if isinstance(ours, ExponentialAverage):
                torch.testing.assert_close(model[1].running_mean, theirs.module[1].running_mean)  # type: ignore[index]
            assert not torch.equal(model.state_dict()["0.weight"], before["0.weight"]) or not step
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_exponential_average_is_that_of_torch() -> None:
    train_both(
        lambda model: ExponentialAverage(model, decay=0.1),  # below what the first step's warm-up allows
        lambda model: AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.1), use_buffers=True),
    )


def test_the_average_of_epochs_is_that_of_torch() -> None:
    train_both(lambda model: EpochAverage(model, start=0), AveragedModel)


def test_the_exponential_average_forgets_its_start_sooner_in_the_first_steps() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = ExponentialAverage(model, decay=0.6)
    values, expected = [3.0, -1.0, 4.0, 1.5, -5.0, 9.0, 2.0, 6.0, 5.0, 3.0, 5.0], 3.0
    for t, value in enumerate(values, start=1):
        nn.init.constant_(model.weight, value)
        average.after_step()
        kept = min(0.6, (1 + t) / (10 + t))
        expected = kept * expected + (1 - kept) * value
        with average.applied():
            assert model.weight.item() == pytest.approx(expected, abs=1e-5)
    assert (1 + 1) / (10 + 1) < 0.6 < (1 + len(values) + 3) / (10 + len(values) + 3)


def test_nothing_is_applied_before_the_first_epoch_that_counts() -> None:
    model = make_network()
    average = EpochAverage(model, start=2)
    average.after_epoch(0)
    average.after_epoch(1)
    before = copy.deepcopy(model.state_dict())
    with average.applied():
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert average.count == 0


def test_statistics_of_averaged_epochs_are_those_of_torch(tmp_path: Path) -> None:
    job = make_jobs(make_plan('train.average="swa"', "train.swa_start=1", CONSTANT), tmp_path)[0]
    trainer = build_trainer(job, Team())
    reference = AveragedModel(trainer.model)
    for epoch in range(3):
        train_epoch(trainer)
        if epoch > 0:
            reference.update_parameters(trainer.model)
        trainer.state.epoch += 1
    rows = trainer.data.train_rows[trainer.order(2)]
    trainer.state.epoch = 2
    update_bn([trainer.batches.read(part) for part in np.array_split(rows, trainer.steps)], reference)
    raw = copy.deepcopy(trainer.model.state_dict())
    with averaged_weights(trainer):
        for name, tensor in trainer.model.state_dict().items():
            if tensor.is_floating_point():
                torch.testing.assert_close(tensor, reference.module.state_dict()[name], msg=name)
        assert not any(module.training for module in trainer.model.modules())
    assert all(torch.equal(tensor, raw[name]) for name, tensor in trainer.model.state_dict().items())


@pytest.mark.parametrize("average", ["ema", "swa"])
def test_the_mean_is_validated_kept_and_predicted_with(tmp_path: Path, average: str) -> None:
    settings = ("train.epochs=4", CONSTANT, "train.swa_start=1", "train.ema_decay=0.9")
    plain = fit(tmp_path / "plain", *settings)
    job = fit(tmp_path / "mean", *settings, f'train.average="{average}"')
    history, without = (read_history(each.folder) for each in (job, plain))
    assert [row["train_loss"] for row in history] == [row["train_loss"] for row in without]
    same = [row["val_loss"] == other["val_loss"] for row, other in zip(history, without, strict=True)]
    assert same == ([True, False, False, False] if average == "swa" else [False] * 4)
    for name, tensor in load_last(job).items():
        assert torch.equal(tensor, load_last(plain)[name])
    best = read_json(job.folder.metrics)["best_epoch"]
    assert best > 0
    kept = load_file(job.folder.checkpoints / "best.safetensors")
    assert not torch.equal(kept["head.weight"], load_last(job)["head.weight"])
    assert read_json(job.folder.metrics)["metrics"]["metric/log-loss"] == pytest.approx(
        history[best]["metric/log-loss"], abs=1e-9
    )


def load_last(job: FoldJob) -> dict[str, torch.Tensor]:
    return load_file(list_states(job.folder.checkpoints)[-1] / "model.safetensors")


NOISY = ("optimizer.lr=0.05", CONSTANT, "train.batch_size=16")


def test_the_soup_is_that_of_the_paper(tmp_path: Path) -> None:
    """The epochs' weights come from shorter trainings, means from numpy, statistics and scores from torch alone."""
    weights = [load_last(fit(tmp_path / str(n), *NOISY, f"train.epochs={n}")) for n in range(1, 7)]
    job = fit(tmp_path / "soup", *NOISY, "train.epochs=6", 'train.average="soup"', "train.soup_size=4")
    trainer = build_trainer(job, Team())
    scores = [row["metric/macro-f1"] for row in read_history(job.folder)]
    ranked = sorted(range(6), key=lambda epoch: (-scores[epoch], epoch))[:4]
    chosen, best = [ranked[0]], scores[ranked[0]]
    rows = trainer.data.train_rows[trainer.order(ranked[0])]
    images = [trainer.batches.read(part) for part in np.array_split(rows, trainer.steps)]

    def score(epochs: list[int]) -> float:
        arrays = {name: np.mean([weights[e][name].numpy() for e in epochs], axis=0) for name in weights[0]}
        trainer.model.load_state_dict({name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()})
        update_bn(images, trainer.model)
        with torch.no_grad():
            predicted = trainer.model.eval()(trainer.batches.read(trainer.data.val_rows)).argmax(dim=1)
        targets = trainer.data.targets[trainer.data.val_rows]
        return float(f1_score(targets, predicted, labels=range(10), average="macro", zero_division=0))

    for epoch in ranked[1:]:
        found = score([*chosen, epoch])
        if found >= best:
            chosen, best = [*chosen, epoch], found
    result = read_json(job.folder.metrics)
    assert result["soup"] == chosen
    assert 1 < len(chosen) < 4, "a soup of one epoch, or of all, would show little"
    assert result["metrics"]["metric/macro-f1"] == pytest.approx(best, abs=1e-9)
    assert not list(job.folder.checkpoints.glob("ingredient-*"))


def test_a_soup_is_stirred_to_equal_parts() -> None:
    parts = [{"a": torch.randn(3, 2), "n": torch.tensor(epoch)} for epoch in range(5)]
    soup = parts[0]
    for count, part in enumerate(parts[1:], start=1):
        soup = stir(soup, part, count)
    torch.testing.assert_close(soup["a"], torch.stack([part["a"] for part in parts]).mean(dim=0))
    assert soup["n"] == 0


LONG = (*SMALL, "train.epochs=6", "model.widths=[32, 48]", 'compute.executor="inline"', "split.folds=2")


@pytest.mark.parametrize("average", ["ema", "swa", "soup"])
def test_killed_and_resumed_the_mean_is_the_same_to_the_bit(tmp_path: Path, average: str) -> None:
    settings = (*LONG, f'train.average="{average}"', "train.swa_start=1")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    with start_run(whole, *settings) as process:
        finish(process)
    with start_run(broken, *settings) as process:
        wait_until(lambda: bool(list(broken.glob("*/*/folds/0/checkpoint/epoch-00003"))), process)
        kill(process)
    assert not RunFolder(find_run(broken)).fold(0).metrics.exists()
    with start_run(broken, *settings) as process:
        finish(process)
    for fold in range(2):
        one, other = (RunFolder(find_run(runs)).fold(fold) for runs in (whole, broken))
        assert without_speed(read_history(one)) == without_speed(read_history(other))
        for file in ("oof.parquet", "checkpoint/best.safetensors", "checkpoint/epoch-00006/model.safetensors"):
            assert (one.path / file).read_bytes() == (other.path / file).read_bytes(), file
        assert read_oof(one).shape[1] == 10


def test_settings_that_can_have_no_effect_are_told() -> None:
    plan = make_plan('train.average="swa"', "train.swa_start=3")
    assert plan.warnings == ("train.swa_start = 3: training ends after 3 epochs, so none is averaged",)
    assert make_plan("train.swa_start=3").warnings == ()
    with pytest.raises(RecipeError, match=r"train\.average: found 'mean'"):
        make_plan('train.average="mean"')
