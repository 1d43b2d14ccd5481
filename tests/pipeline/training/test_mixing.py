from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from icf.cli.main import main
from icf.components import IntArray, Mixed
from icf.pipeline.folder import FoldFolder, RunFolder
from icf.pipeline.listener import Listener
from icf.pipeline.run import run_pipeline
from icf.pipeline.training.fit import train_epoch, train_step, validate
from icf.pipeline.training.mixing import Mixing
from icf.pipeline.training.team import Team
from icf.pipeline.training.trainer import Trainer, build_trainer, cut_batch
from icf.plan import Plan
from runs import find_run, kill, start_run, wait_until
from training import DIGITS, SMALL, fit, make_jobs, make_plan, place_inline, read_history, without_speed

HALVES = 'transforms.mix=[{use="augment/cutmix", probability=1.0, direction="vertical", share=0.5}]'
MEANS = 'transforms.mix=[{use="augment/mixup", probability=1.0, alpha=1.0}]'
BOTH = 'transforms.mix=[{use="augment/mixup", alpha=1.0, probability=0.8}, {use="augment/cutmix", probability=1.0}]'
PLAIN_SGD = (
    'optimizer={use="optimizer/sgd", lr=0.1, momentum=0.0, nesterov=false, weight_decay=0.0}',
    'scheduler="scheduler/constant"',
)


pytestmark = pytest.mark.usefixtures("cache_of_test")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Targets of every batch that is mixed."""
    mixed: list[torch.Tensor] = []
    mix = Mixing.mix

    def record(self: Mixing, images: torch.Tensor, targets: torch.Tensor, seed: int) -> Mixed:
        mixed.append(targets)
        return mix(self, images, targets, seed)

    monkeypatch.setattr(Mixing, "mix", record)
    return mixed


def make_trainer(runs: Path, *overrides: str, team: Team | None = None) -> Trainer:
    torch.set_num_threads(1)
    return build_trainer(make_jobs(make_plan(*overrides), runs)[0], team or Team())


def take_step(trainer: Trainer, rows: IntArray) -> torch.Tensor:
    pieces = cut_batch(trainer, rows, 0)
    requests = [(piece.rows, piece.seed) for piece in pieces]
    return train_step(trainer, pieces, 0, trainer.loader.load(requests, levels=True))


@pytest.mark.parametrize("mix", [HALVES, MEANS])
def test_a_step_is_that_of_soft_targets(tmp_path: Path, mix: str) -> None:
    trainer = make_trainer(tmp_path, mix, *PLAIN_SGD)
    rows = trainer.data.train_rows[:32]
    targets = torch.from_numpy(trainer.data.targets[rows])
    [piece] = cut_batch(trainer, rows, 0)
    mixed = trainer.mixing.mix(trainer.batches.augment(rows, piece.seed), targets, piece.seed)
    assert 0 < mixed.weight < 1
    # Labels as probabilities, which the images' own and their partners' share.
    soft = mixed.weight * torch.eye(10)[targets] + (1 - mixed.weight) * torch.eye(10)[targets[mixed.partners]]
    parameters = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    state = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.model.train()
    loss = torch.nn.functional.cross_entropy(trainer.model(trainer.batches.normalise(mixed.images)), soft)
    gradients = torch.autograd.grad(loss, list(trainer.model.parameters()))
    trainer.model.load_state_dict(state)
    assert float(take_step(trainer, rows)) == pytest.approx(loss.item(), rel=1e-5)
    for before, gradient, after in zip(parameters, gradients, trainer.model.parameters(), strict=True):
        assert torch.allclose(after, before - 0.1 * gradient, atol=1e-6)


def test_only_training_is_mixed_and_not_in_its_last_epochs(tmp_path: Path, calls: list[torch.Tensor]) -> None:
    trainer = make_trainer(tmp_path, BOTH, "train.epochs=4", "transforms.unmixed_epochs=2")
    counts = []
    for _ in range(4):
        train_epoch(trainer)
        counts.append(len(calls))
        validate(trainer, 0.0, 0.0)
        assert len(calls) == counts[-1]
    assert counts == [trainer.steps, 2 * trainer.steps, 2 * trainer.steps, 2 * trainer.steps]


def test_a_list_without_mixers_changes_no_bit(tmp_path: Path) -> None:
    plain, never = (
        fit(tmp_path / name, "train.epochs=2", *more)
        for name, more in (("plain", ()), ("never", (BOTH, "transforms.unmixed_epochs=2")))
    )
    assert plain.folder.oof.read_bytes() == never.folder.oof.read_bytes()
    assert plain.folder.augmented.read_bytes() == never.folder.augmented.read_bytes()


def test_each_batch_draws_one_of_the_ways() -> None:
    def mark(number: int) -> Callable[..., Mixed]:
        return lambda images, targets, generator: Mixed(images=images, partners=targets, weight=number / 2)

    mixing = Mixing([mark(0), mark(1), mark(2)], epochs=1)
    images, targets = torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    drawn = [int(2 * mixing.mix(images, targets, seed).weight) for seed in range(900)]
    assert np.bincount(drawn).tolist() == pytest.approx([300] * 3, rel=0.2)
    assert drawn == [int(2 * mixing.mix(images, targets, seed).weight) for seed in range(900)]


def test_threads_that_prepare_batches_change_no_bit(tmp_path: Path) -> None:
    settings = (BOTH, "train.epochs=2", 'transforms.train=["augment/horizontal-flip"]', "transforms.unmixed_epochs=1")
    one, other = (fit(tmp_path / str(threads), *settings, f"compute.prefetch={threads}") for threads in (0, 2))
    assert one.folder.oof.read_bytes() == other.folder.oof.read_bytes()
    assert without_speed(read_history(one.folder)) == without_speed(read_history(other.folder))


class SecondOfTwo(Team):
    """A rank that has every second row."""

    rank = 1
    size = 2

    def share(self, rows: IntArray) -> IntArray:
        return rows[1::2]


def test_a_rank_mixes_its_own_rows(tmp_path: Path, calls: list[torch.Tensor]) -> None:
    trainer = make_trainer(tmp_path, BOTH, team=SecondOfTwo())
    rows = trainer.data.train_rows[:32]
    take_step(trainer, rows)
    assert [targets.tolist() for targets in calls] == [trainer.data.targets[rows[1::2]].tolist()]


def read_cells(folder: FoldFolder, side: int = 8) -> np.ndarray:
    """Return the images of augmented.png, [32, side, side]."""
    grid = np.asarray(Image.open(folder.augmented))[2:, 2:, 0]
    lines = grid.reshape(4, side + 2, 8, side + 2)[:, :side, :, :side]
    return lines.transpose(0, 2, 1, 3).reshape(32, side, side)


def test_the_picture_of_a_fold_shows_mixed_images(tmp_path: Path) -> None:
    settings = ("train.epochs=1", "transforms.train=[]")
    plain = read_cells(fit(tmp_path / "plain", *settings).folder)
    mixed = read_cells(fit(tmp_path / "mixed", *settings, HALVES).folder)
    left, right = ((plain[:, :, half] == mixed[:, :, half]).all(axis=(1, 2)) for half in (slice(4), slice(4, 8)))
    assert (left ^ right).all()
    for line in (slice(start, start + 8) for start in range(0, 32, 8)):
        assert left[line].all() or right[line].all()


def test_a_killed_run_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    settings = ("train.epochs=5", BOTH, "transforms.unmixed_epochs=1", 'compute.executor="inline"')
    undisturbed = run_pipeline(make_plan(*settings), tmp_path / "undisturbed", place_inline, Listener()).run_dir

    def has_begun() -> bool:
        histories = list((tmp_path / "killed").glob("*/*/folds/0/history.csv"))
        return bool(histories) and len(histories[0].read_text().splitlines()) > 2

    with start_run(tmp_path / "killed", *SMALL, *settings) as process:
        wait_until(has_begun, process)
        kill(process)
    plan = Plan.from_json((find_run(tmp_path / "killed") / "plan.json").read_text())
    resumed = run_pipeline(plan, tmp_path / "killed", place_inline, Listener()).run_dir
    assert resumed == find_run(tmp_path / "killed")
    for name in ("oof.parquet", "test.parquet"):
        assert (resumed / name).read_bytes() == (undisturbed / name).read_bytes()
    for fold in range(3):
        one, other = (without_speed(read_history(RunFolder(path).fold(fold))) for path in (resumed, undisturbed))
        assert one == other


def test_the_command_shows_what_is_mixed_and_refuses_what_can_not_be(tmp_path: Path, capsys: Any) -> None:
    def check(*arguments: str) -> int:
        return main(["check", str(DIGITS), *(part for text in SMALL for part in ("--set", text)), *arguments])

    assert check("--recipe-only", "--set", BOTH) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "mixed: augment/mixup (probability = 0.8, alpha = 1.0, partners = any" in shown
    groups = 'transforms.mix=[{use="augment/mixup", partners="within", groups=[[3, 10]]}]'
    assert check("--set", groups) == 1
    assert "groups names class 10, but the data set has 10 classes, counted from 0" in capsys.readouterr().err
    assert check("--set", 'transforms.mix=["augment/erasing"]') == 2
    assert "transforms.mix[0]: 'augment/erasing' is of kind transform, not mixer" in capsys.readouterr().err
