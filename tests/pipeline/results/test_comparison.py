from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from icf.errors import IcfError
from icf.pipeline.files import read_probabilities, read_table, write_probabilities
from icf.pipeline.results.comparison import compare_runs, subtract
from runs import find_run, finish, isolated, start_run

CLASSES = tuple("0123456789")

SMALL = ("split.folds=2", "train.epochs=4", "compute.executor=inline")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    """Two runs of a recipe, of which the second trains with a learning rate of next to nothing."""
    folder = tmp_path_factory.mktemp("compared")
    found = []
    with pytest.MonkeyPatch.context() as patch, isolated(patch, folder / "cache"):
        for name, rate in (("good", 0.01), ("bad", 1e-9)):
            with start_run(folder / name, *SMALL, f"optimizer.lr={rate}") as process:
                finish(process)
            found.append(find_run(folder / name))
    return found


def score_by_hand(run: Path, rows: np.ndarray) -> float:
    _, probabilities = read_probabilities(run / "oof.parquet", CLASSES)
    targets = np.asarray(read_table(run / "oof.parquet")["target"])
    return accuracy_score(targets[rows], probabilities[rows].argmax(axis=1))


def test_a_run_is_no_better_than_itself(runs):
    for interval in compare_runs(runs[0], runs[0]).values():
        assert (interval.value, interval.low, interval.high) == (0, 0, 0)


def test_the_interval_is_that_of_resamples_that_both_runs_share(runs):
    found = compare_runs(*runs)["metric/accuracy"]
    count = len(read_table(runs[0] / "oof.parquet")["id"])
    everything = np.arange(count)
    assert found.value == score_by_hand(runs[1], everything) - score_by_hand(runs[0], everything)
    groups = dict(zip(*[read_table(runs[0] / "split.parquet")[key] for key in ("id", "group")], strict=True))
    names = np.array([groups[name] for name in read_table(runs[0] / "oof.parquet")["id"]])
    rows_of = [np.flatnonzero(names == name) for name in np.unique(names)]
    generator = np.random.default_rng(5)
    resamples = [
        np.concatenate([rows_of[unit] for unit in generator.integers(len(rows_of), size=len(rows_of))])
        for _ in range(1000)
    ]
    expected = np.quantile([score_by_hand(runs[1], r) - score_by_hand(runs[0], r) for r in resamples], [0.025, 0.975])
    assert [found.low, found.high] == pytest.approx(expected, abs=0.2 * (found.high - found.low))
    assert found.high < 0


def test_rows_may_stand_in_another_order(runs, tmp_path):
    turned = tmp_path / "turned"
    shutil.copytree(runs[1], turned)
    ids, probabilities = read_probabilities(turned / "oof.parquet", CLASSES)
    targets = np.asarray(read_table(turned / "oof.parquet")["target"])
    write_probabilities(turned / "oof.parquet", ids[::-1], CLASSES, probabilities[::-1], target=targets[::-1])
    assert compare_runs(runs[0], turned) == compare_runs(*runs)


def test_runs_on_other_rows_can_not_be_compared(runs, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(runs[1], part)
    ids, probabilities = read_probabilities(part / "oof.parquet", CLASSES)
    targets = np.asarray(read_table(part / "oof.parquet")["target"])
    write_probabilities(part / "oof.parquet", ids[1:], CLASSES, probabilities[1:], target=targets[1:])
    with pytest.raises(IcfError, match="no common rows"):
        compare_runs(runs[0], part)
    write_probabilities(part / "oof.parquet", ids, CLASSES, probabilities, target=(targets + 1) % 10)
    with pytest.raises(IcfError, match="different labels"):
        compare_runs(runs[0], part)
    (part / "metrics.json").unlink()
    with pytest.raises(IcfError, match="no finished run"):
        compare_runs(runs[0], part)


def test_the_second_half_of_the_columns_is_the_second_run():
    function = subtract(lambda probabilities, targets: float(probabilities[:, 0].mean()), 2)
    both = np.array([[0.1, 0.9, 0.4, 0.6], [0.3, 0.7, 0.8, 0.2]])
    assert function(both, np.zeros(2, np.int64)) == pytest.approx(0.6 - 0.2)


def test_the_command_shows_every_metric(runs):
    icf = [str(Path(sys.executable).with_name("icf")), "compare", *map(str, runs)]
    shown = subprocess.run(icf, capture_output=True, text=True, check=True)
    found = compare_runs(*runs)
    for metric, interval in found.items():
        assert metric in shown.stdout
        assert f"{interval.value:+.4f}" in shown.stdout
    told = json.loads(subprocess.run([*icf, "--json"], capture_output=True, text=True, check=True).stdout)
    assert told["runs"][0]["differences"]["metric/accuracy"] == found["metric/accuracy"].to_json()
