from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from icf.pipeline.files import read_json
from icf.pipeline.jobs import FoldJob
from icf.pipeline.training import attempt, fit
from icf.pipeline.training.attempt import SupersededError
from icf.pipeline.training.checkpoint import list_states, name_state, read_state
from training import make_jobs, make_plan, read_history, without_speed

EVERY_STEP = "compute.checkpoint_minutes=1e-9"
LIVELY = (
    "train.early_stopping=1",
    'train.average="ema"',
    'transforms.mix=["augment/mixup"]',
    'transforms.train=["augment/erasing"]',
    'optimizer={use="optimizer/sgd", lr=0.05, momentum=0.9}',
)
"""Whatever a step could depend on besides its seed: momentum, statistics, partners, patience, a mean."""

STEPS = 12
"""Of an epoch: 359 rows in batches of at most 32."""


class PowerCut(BaseException):
    pass


pytestmark = pytest.mark.usefixtures("cache_of_test")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every step that is done, as (epoch, step); ``steps.cut`` is the number of steps after which the power fails."""

    class Steps(list[tuple[int, int]]):
        cut: int | None = None

    done, train_step = Steps(), fit.train_step

    def count(trainer: Any, pieces: Any, step: int, images: Any) -> Any:
        if done.cut is not None and len(done) >= done.cut:
            raise PowerCut
        done.append((trainer.state.epoch, step))
        return train_step(trainer, pieces, step, images)

    monkeypatch.setattr(fit, "train_step", count)
    return done


def train(runs: Path, *overrides: str) -> FoldJob:
    job = make_jobs(make_plan(*LIVELY, *overrides), runs)[1]
    fit.fit_fold(job)
    return job


def assert_same(job: FoldJob, other: FoldJob) -> None:
    assert without_speed(read_history(job.folder)) == without_speed(read_history(other.folder))
    for product in ("oof.parquet", "test.parquet"):
        assert (job.folder.path / product).read_bytes() == (other.folder.path / product).read_bytes()


@pytest.mark.parametrize("cuts", [(1,), (5, 1, 4), (STEPS - 1, 1), (STEPS, 2), (20,)])
def test_a_fold_cut_off_in_an_epoch_goes_on_at_that_step(tmp_path: Path, steps: Any, cuts: tuple[int, ...]) -> None:
    undisturbed = train(tmp_path / "undisturbed")
    expected, count = list(steps), 0
    steps.clear()
    for cut in cuts:
        count += cut
        steps.cut = count
        with pytest.raises(PowerCut):
            train(tmp_path / "cut", EVERY_STEP)
    steps.cut = None
    job = train(tmp_path / "cut", EVERY_STEP)
    assert list(steps) == expected  # no step is done twice
    assert_same(job, undisturbed)
    assert [path.name for path in list_states(job.folder.checkpoints)] == [name_state(len(expected) // STEPS, 0)]


def test_without_time_only_whole_epochs_are_saved(tmp_path: Path, steps: Any) -> None:
    steps.cut = STEPS + 5
    with pytest.raises(PowerCut):
        train(tmp_path)
    (state,) = list_states(next(tmp_path.glob("*/*/folds/1/checkpoint")))
    assert state.name == name_state(1, 0)


def test_states_are_sorted_by_time() -> None:
    times = [(0, 7), (1, 0), (1, 9), (1, 10), (1, 123456), (2, 0), (10, 0), (99, 5)]
    assert sorted(name_state(*time) for time in times) == [name_state(*time) for time in times]


def test_a_replaced_attempt_writes_nothing_more(tmp_path: Path, steps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = train(tmp_path / "undisturbed")
    validate = fit.validate
    successor: list[FoldJob] = []

    def train_elsewhere(trainer: Any, *scores: float) -> None:
        validate(trainer, *scores)
        if not successor:
            successor.append(trainer.job)
            fit.fit_fold(trainer.job)

    monkeypatch.setattr(fit, "validate", train_elsewhere)
    with pytest.raises(SupersededError, match="another process has taken over this fold"):
        train(tmp_path / "both")
    assert_same(successor[0], undisturbed)


def test_what_an_attempt_left_half_written_is_removed(tmp_path: Path, steps: Any) -> None:
    steps.cut = 3
    with pytest.raises(PowerCut):
        train(tmp_path, EVERY_STEP)
    folder = next(tmp_path.glob("*/*/folds/1"))
    (folder / "checkpoint" / ".epoch-00009.ab.tmp").mkdir()
    (folder / "checkpoint" / ".epoch-00009.ab.tmp" / "state.pt").write_bytes(b"half of a check")
    (folder / ".oof.parquet.cd.tmp").write_bytes(b"half of a tab")
    steps.cut = None
    job = train(tmp_path)
    assert list(job.folder.path.rglob(".*")) == []
    state = read_state(job.folder.checkpoints)
    assert state is not None
    assert state["training"]["step"] == 0
    assert read_json(job.folder.metrics)["epochs"] == state["training"]["epoch"]


def test_a_claim_ends_with_the_next(tmp_path: Path) -> None:
    folder = make_jobs(make_plan(), tmp_path)[0].folder
    first = attempt.claim(folder)
    attempt.confirm(folder, first)
    second = attempt.claim(folder)
    attempt.confirm(folder, second)
    with pytest.raises(SupersededError):
        attempt.confirm(folder, first)
