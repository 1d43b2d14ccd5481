from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

import distributions
from icf.errors import FoldError, PluginError
from icf.pipeline.files import read_json, read_table
from icf.pipeline.jobs import FoldJob
from icf.pipeline.training.checkpoint import list_states, read_metadata, read_state
from icf.pipeline.training.clock import PARTS, count_seconds
from icf.pipeline.training.fit import fit_fold, train_epoch, validate
from icf.pipeline.training.team import Team
from icf.pipeline.training.trainer import Trainer, build_trainer
from icf_nn.models import SequentialCnn
from training import TOY, TOY_PARTS, choose_spite, fit, make_jobs, make_plan, read_history, read_oof, without_speed

installer = pytest.fixture(distributions.installer)

NOISY = ("train.epochs=12", "train.early_stopping=2", "optimizer.lr=0.1", 'scheduler="scheduler/constant"')
"""A rate so high that scores go up and down."""

PLAIN_SGD = (
    'optimizer={use="optimizer/sgd", lr=0.1, momentum=0.0, nesterov=false, weight_decay=0.0}',
    'scheduler="scheduler/constant"',
)


pytestmark = pytest.mark.usefixtures("cache_of_test")


@pytest.fixture
def toy(installer: distributions.Installer) -> None:
    installer.install("toy", {"toy": TOY, "toy_parts": TOY_PARTS}, entry_points={"toy": "toy"})


def make_trainer(runs: Path, *overrides: str, fold: int = 0) -> Trainer:
    torch.set_num_threads(1)
    return build_trainer(make_jobs(make_plan(*overrides), runs)[fold], Team())


def copy_weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def find_targets(job: FoldJob) -> np.ndarray:
    return read_table(job.folder.oof)["target"]


def predict_independently(job: FoldJob) -> np.ndarray:
    """Probabilities of a fold's validation rows from scikit-learn's pixels and the weights file alone."""
    weights = job.folder.checkpoints / "best.safetensors"
    facts = read_metadata(weights)["preprocessing"]
    rows = [int(name) for name in read_table(job.folder.oof)["id"]]
    pixels = np.rint(load_digits().images[rows] * 255 / 16) / 255
    images = torch.from_numpy((pixels - facts["mean"][0]) / facts["std"][0]).float()[:, None]
    network = SequentialCnn(widths=(32, 64), num_classes=10, channels=1, image_size=(8, 8))
    network.load_state_dict(load_file(weights))
    with torch.no_grad():
        return network.eval()(images).softmax(dim=1).numpy()


def test_a_fold_learns_and_its_score_is_that_of_all_its_rows(tmp_path: Path) -> None:
    job = fit(tmp_path, "train.epochs=6")
    result = read_json(job.folder.metrics)
    probabilities, targets = read_oof(job.folder), find_targets(job)
    predicted = probabilities.argmax(axis=1)
    assert result["metrics"]["metric/accuracy"] > 0.75
    assert result["metrics"]["metric/accuracy"] == pytest.approx(accuracy_score(targets, predicted), abs=1e-12)
    assert result["metrics"]["metric/macro-f1"] == pytest.approx(f1_score(targets, predicted, average="macro"))
    assert result["metrics"]["metric/log-loss"] == pytest.approx(log_loss(targets, probabilities))
    assert (result["fold"], result["epochs"], result["rows"]) == (0, 6, len(targets))


def test_scores_do_not_depend_on_the_size_of_batches(tmp_path: Path) -> None:
    whole = fit(tmp_path / "a", "train.epochs=2")
    pieces = fit(tmp_path / "b", "train.epochs=2", "inference.batch_size=7")
    for row, other in zip(read_history(whole.folder), read_history(pieces.folder), strict=True):
        assert without_speed([row])[0] == pytest.approx(without_speed([other])[0], abs=1e-5)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path: Path) -> None:
    first, again = fit(tmp_path / "a", "train.epochs=2"), fit(tmp_path / "b", "train.epochs=2")
    other = fit(tmp_path / "c", "train.epochs=2", "train.seed=1")
    assert first.folder.oof.read_bytes() == again.folder.oof.read_bytes()
    assert without_speed(read_history(first.folder)) == without_speed(read_history(again.folder))
    assert read_history(first.folder)[0]["train_loss"] != read_history(other.folder)[0]["train_loss"]


def test_each_fold_has_its_own_initial_weights(tmp_path: Path) -> None:
    jobs = make_jobs(make_plan(), tmp_path)
    first, again, other = (copy_weights(build_trainer(job, Team())) for job in (jobs[0], jobs[0], jobs[1]))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.usefixtures("toy")
def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    settings = ('model="toy/hidden"', *PLAIN_SGD, "train.epochs=3")
    whole = fit(tmp_path / "a", *settings)
    parts = fit(tmp_path / "b", *settings, "train.accumulate=4")
    np.testing.assert_allclose(read_oof(whole.folder), read_oof(parts.folder), atol=1e-5)
    losses = [[row["train_loss"] for row in read_history(job.folder)] for job in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize(("clip", "expected"), [("train.clip_norm=0.001", 0.001), ("train.clip_norm=1000.0", None)])
def test_the_gradient_is_clipped_to_its_norm(tmp_path: Path, clip: str, expected: float | None) -> None:
    trainer = make_trainer(tmp_path, *PLAIN_SGD, "optimizer.lr=1.0", "train.batch_size=1000", clip)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    train_epoch(trainer)
    after = [parameter.detach() for parameter in trainer.model.parameters()]
    moved = torch.cat([(a - b).flatten() for a, b in zip(after, before, strict=True)]).norm().item()
    if expected is None:
        assert moved > 0.1
    else:
        assert moved == pytest.approx(expected, rel=1e-2)


def test_early_stopping_keeps_the_weights_of_the_best_epoch(tmp_path: Path) -> None:
    job = fit(tmp_path, *NOISY)
    history, result = read_history(job.folder), read_json(job.folder.metrics)
    scores = [row["metric/macro-f1"] for row in history]
    assert len(scores) < 12
    assert result["best_epoch"] == int(np.argmax(scores)) == len(scores) - 3
    assert result["metrics"]["metric/macro-f1"] == pytest.approx(max(scores), abs=1e-12)
    np.testing.assert_allclose(read_oof(job.folder), predict_independently(job), atol=1e-5)


def test_the_best_epoch_of_a_loss_is_the_lowest(tmp_path: Path) -> None:
    job = fit(tmp_path, *NOISY, 'metrics.select="metric/log-loss"', "metrics.report=[]")
    losses = [row["metric/log-loss"] for row in read_history(job.folder)]
    assert read_json(job.folder.metrics)["best_epoch"] == int(np.argmin(losses)) == len(losses) - 3
    assert log_loss(find_targets(job), read_oof(job.folder)) == pytest.approx(min(losses), abs=1e-9)


def test_a_metric_listed_twice_has_two_columns(tmp_path: Path) -> None:
    top = '{use="metric/top-k", k=2, name="top-2"}, {use="metric/top-k", k=9, name="top-9"}'
    job = fit(tmp_path, f"metrics.report=[{top}]", "train.epochs=1")
    [row] = read_history(job.folder)
    assert 0 < row["metric/macro-f1"] < row["top-2"] < row["top-9"] <= 1
    ranks = np.argsort(-read_oof(job.folder), axis=1)[:, :2]
    expected = np.mean((ranks == find_targets(job)[:, None]).any(axis=1))
    assert read_json(job.folder.metrics)["metrics"]["top-2"] == pytest.approx(expected)


def test_class_weights_and_label_smoothing_reach_the_loss(tmp_path: Path) -> None:
    settings = ('loss.class_weights="balanced"', "loss.label_smoothing=0.1", "train.batch_size=1000")
    trainer = make_trainer(tmp_path, *settings)
    targets = trainer.data.train_targets
    weights = torch.from_numpy(compute_class_weight("balanced", classes=np.arange(10), y=targets)).float()
    before = copy_weights(trainer)
    loss, _ = train_epoch(trainer)
    trainer.model.load_state_dict(before)
    with torch.no_grad():
        logits = trainer.model.train()(trainer.batches.read(trainer.data.train_rows))
    expected = functional.cross_entropy(logits, torch.from_numpy(targets), weights, label_smoothing=0.1)
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    assert weights.unique().numel() > 1


@pytest.mark.usefixtures("toy")
def test_a_diverged_fold_says_what_to_change(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, 'model="toy/hidden"', *PLAIN_SGD)
    trainer.base_rates = [1e30 for _ in trainer.base_rates]
    with pytest.raises(FoldError, match=r"training loss became (nan|inf) in epoch 1; lower optimizer\.lr"):
        train_epoch(trainer)


@pytest.mark.usefixtures("toy")
def test_a_network_that_diverges_in_the_last_step_is_noticed(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, 'model="toy/hidden"', *PLAIN_SGD, "train.batch_size=1000")
    trainer.base_rates = [1e38 for _ in trainer.base_rates]
    loss, speed = train_epoch(trainer)
    with pytest.raises(FoldError, match=r"no longer finite in epoch 1; lower optimizer\.lr"):
        validate(trainer, loss, speed)


def test_a_frozen_backbone_stays_as_it_is(tmp_path: Path) -> None:
    settings = ('model.freeze="backbone"', "train.epochs=2")
    before = copy_weights(make_trainer(tmp_path, *settings))
    job = fit(tmp_path, *settings)
    after = load_file(job.folder.checkpoints / "best.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.weight", "head.bias"}
    assert any("running_mean" in name for name in before)


@pytest.mark.parametrize(("precision", "name"), [("bf16", "bfloat16"), ("fp32", "float32")])
def test_number_formats_run_and_are_noted(tmp_path: Path, precision: str, name: str) -> None:
    job = fit(tmp_path, f'compute.precision="{precision}"', "train.epochs=2")
    result = read_json(job.folder.metrics)
    assert result["precision"] == name
    assert result["metrics"]["metric/accuracy"] > 0.2


@pytest.mark.usefixtures("toy")
def test_a_last_batch_of_one_image_is_not_left_alone(tmp_path: Path) -> None:
    model = 'model={use="toy/hidden", normalise=true}'
    rows = len(make_trainer(tmp_path / "a", model).data.train_rows)
    job = fit(tmp_path / "b", model, f"train.batch_size={rows - 1}", "train.epochs=1")
    assert job.folder.oof.exists()


def test_a_fold_tells_where_its_time_went(tmp_path: Path) -> None:
    started = time.perf_counter()
    job = fit(tmp_path, "train.epochs=2")
    passed = time.perf_counter() - started
    seconds = read_json(job.folder.metrics)["seconds"]
    assert seconds.keys() == PARTS.keys()
    assert min(seconds.values()) > 0
    assert sum(seconds.values()) < passed


def test_seconds_are_counted_on_after_an_interruption(tmp_path: Path) -> None:
    job = fit(tmp_path, "train.epochs=2")
    state = read_state(job.folder.checkpoints)
    assert state is not None
    state["training"]["seconds"]["steps"] += 1000
    torch.save(state, list_states(job.folder.checkpoints)[-1] / "state.pt")
    job.folder.metrics.unlink()
    fit_fold(job)
    seconds = read_json(job.folder.metrics)["seconds"]
    assert 1000 < seconds["steps"] < seconds["steps"] + seconds["start"] < 1100


def test_seconds_of_a_block_are_added_even_if_it_fails() -> None:
    seconds = {"steps": 100.0}
    for _ in range(2):
        with pytest.raises(KeyError), count_seconds(seconds, "steps"):
            raise KeyError
    assert 100 < seconds["steps"] < 101


def test_the_schedule_reaches_the_optimizer(tmp_path: Path) -> None:
    job = fit(tmp_path, 'scheduler={use="scheduler/step", epochs=1, gamma=0.5}', "optimizer.lr=0.004")
    assert [row["learning_rate"] for row in read_history(job.folder)] == pytest.approx([0.004, 0.002, 0.001])


def test_a_fold_that_is_finished_is_not_trained_again(tmp_path: Path) -> None:
    job = fit(tmp_path, "train.epochs=1")
    written = job.folder.metrics.stat().st_mtime_ns
    fit(tmp_path, "train.epochs=1")
    assert job.folder.metrics.stat().st_mtime_ns == written


@pytest.mark.usefixtures("toy")
def test_a_component_that_fails_is_named(tmp_path: Path) -> None:
    grudge = tmp_path / "grudge"
    grudge.touch()
    with pytest.raises(
        PluginError, match=r"loss 'toy/spiteful' \(toy 1\.0\) failed in training: ValueError: this fold"
    ):
        fit(tmp_path, choose_spite(0, grudge))


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 3), (3600.0, 0)])
def test_memory_is_given_back_after_epochs_unless_they_are_short(
    seconds: float, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = []
    monkeypatch.setattr("icf.pipeline.training.fit.RELEASE_SECONDS", seconds)
    monkeypatch.setattr("icf.pipeline.training.fit.release_memory", lambda: released.append(1))
    fit(tmp_path, "train.epochs=3", "model.widths=[8]")
    assert len(released) == expected
