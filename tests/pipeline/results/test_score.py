from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix

from icf.components import MetricContext
from icf.errors import DataError
from icf.pipeline.results import score
from icf.pipeline.results.score import bootstrap, count_confusion, score_rows
from icf_metric.metrics import accuracy, macro_f1
from icf_metric.scoring import log_loss


def make_functions(classes: int = 3) -> dict:
    ctx = MetricContext(num_classes=classes)
    return {factory.__name__: factory(None, ctx) for factory in (accuracy, macro_f1, log_loss)}


def guess(count: int, right: float, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities of which a share ``right`` is correct, and targets."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(classes, size=count)
    wrong = (targets + generator.integers(1, classes, size=count)) % classes
    predictions = np.where(generator.random(count) < right, targets, wrong)
    return np.eye(classes)[predictions] * 0.8 + 0.2 / classes, targets


def only_accuracy(classes: int = 3) -> dict:
    return {"accuracy": make_functions(classes)["accuracy"]}


def width(interval) -> float:
    return interval.high - interval.low


def test_the_value_is_that_of_all_rows():
    probabilities, targets = guess(200, 0.7)
    found = bootstrap(make_functions(), probabilities, targets, None, seed=0)
    assert {name: interval.value for name, interval in found.items()} == score_rows(
        make_functions(), probabilities, targets
    )
    assert found["accuracy"].value == accuracy_score(targets, probabilities.argmax(axis=1))
    assert all(interval.low < interval.value < interval.high for interval in found.values())
    assert found["accuracy"].to_json().keys() == {"value", "low", "high"}


@pytest.mark.parametrize("grouped", [False, True])
def test_intervals_agree_with_a_plain_bootstrap(grouped):
    probabilities, targets = guess(150, 0.75)
    groups = [f"g{row // 5}" for row in range(150)] if grouped else [str(row) for row in range(150)]
    found = bootstrap(make_functions(), probabilities, targets, groups if grouped else None, seed=1)
    generator = np.random.default_rng(99)
    rows_of = [np.flatnonzero(np.asarray(groups) == name) for name in dict.fromkeys(groups)]
    samples: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(3000):
        rows = np.concatenate([rows_of[unit] for unit in generator.integers(len(rows_of), size=len(rows_of))])
        for name, function in make_functions().items():
            samples[name].append(function(probabilities[rows], targets[rows]))
    for name, interval in found.items():
        low, high = np.percentile(samples[name], [2.5, 97.5])
        assert interval.low == pytest.approx(low, abs=0.15 * (high - low))
        assert interval.high == pytest.approx(high, abs=0.15 * (high - low))


def test_accuracy_s_interval_is_the_normal_one_of_many_rows():
    probabilities, targets = guess(2000, 0.8)
    interval = bootstrap(only_accuracy(), probabilities, targets, None, seed=0)["accuracy"]
    half = 1.96 * math.sqrt(interval.value * (1 - interval.value) / 2000)
    assert width(interval) == pytest.approx(2 * half, rel=0.1)


def test_groups_that_are_right_or_wrong_together_widen_the_interval():
    probabilities, targets = guess(60, 0.7)
    probabilities, targets = np.repeat(probabilities, 10, axis=0), np.repeat(targets, 10)
    groups = [f"person {row // 10}" for row in range(600)]
    by_row = bootstrap(only_accuracy(), probabilities, targets, None, seed=0)["accuracy"]
    by_group = bootstrap(only_accuracy(), probabilities, targets, groups, seed=0)["accuracy"]
    # Ten equal rows hold the information of one: the interval is the square root of ten as wide.
    assert width(by_group) / width(by_row) == pytest.approx(math.sqrt(10), rel=0.15)


def test_groups_of_one_row_are_rows():
    probabilities, targets = guess(100, 0.7)
    names = [f"{row:03d}" for row in range(100)]
    assert bootstrap(make_functions(), probabilities, targets, names, seed=5) == bootstrap(
        make_functions(), probabilities, targets, None, seed=5
    )


@pytest.mark.parametrize("size", [1, 5])
def test_about_95_of_100_intervals_hold_the_truth(monkeypatch, size):
    monkeypatch.setattr(score, "RESAMPLES", 200)
    groups = [str(row // size) for row in range(80 * size)]
    hits = 0
    for seed in range(200):
        probabilities, targets = guess(80, 0.7, seed=seed)
        probabilities, targets = np.repeat(probabilities, size, axis=0), np.repeat(targets, size)
        interval = bootstrap(only_accuracy(), probabilities, targets, groups, seed)["accuracy"]
        hits += interval.low <= 0.7 <= interval.high
    assert 0.90 <= hits / 200 <= 0.99


@pytest.mark.parametrize("size", [1, 4])
def test_resamples_of_a_part_of_a_large_table_give_the_same_intervals(monkeypatch, size):
    probabilities, targets = guess(3000 // size, 0.75)
    probabilities, targets = np.repeat(probabilities, size, axis=0), np.repeat(targets, size)
    groups = [f"g{row // size}" for row in range(len(targets))]
    whole = bootstrap(make_functions(), probabilities, targets, groups, seed=1)
    monkeypatch.setattr(score, "MOST_CELLS", probabilities.size // 6)
    part = bootstrap(make_functions(), probabilities, targets, groups, seed=2)
    for name, interval in whole.items():
        assert part[name].value == interval.value
        assert part[name].low == pytest.approx(interval.low, abs=0.12 * width(interval))
        assert part[name].high == pytest.approx(interval.high, abs=0.12 * width(interval))


def test_no_resample_holds_more_cells_than_allowed(monkeypatch):
    monkeypatch.setattr(score, "MOST_CELLS", 300)
    monkeypatch.setattr(score, "RESAMPLES", 5)
    sizes = []

    def note(probabilities, targets):
        sizes.append(probabilities.size)
        return 0.5

    bootstrap({"note": note}, *guess(1000, 0.7), None, seed=0)
    assert sizes == [300] * 5 + [3000]
    assert "each of 0.1 of them" in score.describe_bootstrap(1000, 3, grouped=False)
    assert "5 resamples of groups" in score.describe_bootstrap(100, 3, grouped=True)
    assert "each of" not in score.describe_bootstrap(100, 3, grouped=True)


def test_a_part_of_a_table_with_rare_classes_does_not_shift_the_interval(monkeypatch):
    """A class that a small resample lacks counts 0 in the macro F1, which must not lower the interval."""
    probabilities, targets = guess(4000, 0.8, classes=100)
    monkeypatch.setattr(score, "MOST_CELLS", probabilities.size // 20)
    monkeypatch.setattr(score, "RESAMPLES", 200)
    interval = bootstrap(make_functions(100), probabilities, targets, None, seed=0)["macro_f1"]
    assert interval.low < interval.value < interval.high


def test_the_seed_alone_decides():
    probabilities, targets = guess(100, 0.7)
    first, again, other = (bootstrap(make_functions(), probabilities, targets, None, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_one_row_and_one_group_have_an_interval_of_no_width():
    probabilities, targets = guess(4, 0.5)
    interval = bootstrap(only_accuracy(), probabilities, targets, ["a"] * 4, seed=0)["accuracy"]
    assert interval.low == interval.value == interval.high


@pytest.mark.parametrize("classes", [2, 5])
def test_confusion_equals_scikit_learn_s(classes):
    probabilities, targets = guess(300, 0.5, classes)
    expected = confusion_matrix(targets, probabilities.argmax(axis=1), labels=range(classes))
    np.testing.assert_array_equal(count_confusion(probabilities, targets, classes), expected)


def test_confusion_counts_absent_classes():
    probabilities, targets = guess(50, 0.5, 2)
    padded = np.hstack([probabilities, np.zeros((50, 2))])
    found = count_confusion(padded, targets, 4)
    assert found.shape == (4, 4)
    assert found.sum() == found[:2, :2].sum() == 50


def test_an_error_for_people_passes_unchanged():
    probabilities, targets = guess(4, 0.5)
    with pytest.raises(DataError, match="no finite numbers"):
        score_rows(make_functions(), probabilities * np.nan, targets)
