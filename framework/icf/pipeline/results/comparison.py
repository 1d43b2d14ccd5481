"""Two runs on the same rows: how much better one is, with an interval for the difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from icf.components import FloatArray, IntArray, MetricFunction
from icf.errors import IcfError
from icf.pipeline.data.attributes import read_attributes
from icf.pipeline.data.labels import read_columns
from icf.pipeline.files import read_json, read_probabilities, read_table
from icf.pipeline.folder import RunFolder
from icf.pipeline.results.score import Interval, bootstrap, build_metrics
from icf.plan import Plan


def compare_runs(base: Path, other: Path) -> dict[str, Interval]:
    """Return, for each metric of ``base``, the score of ``other`` minus its own, on out-of-fold rows.

    The 95 % interval is that of a paired bootstrap: every resample of groups scores both runs on the same rows, so
    what is hard for both does not widen it (Efron and Tibshirani 1993, chapter 16).

    Raises:
        IcfError: a run is not finished, or they have not the same rows, targets and classes.
    """
    first, second = _read_scored(base), _read_scored(other)
    if first.classes != second.classes or set(first.ids) != set(second.ids):
        raise IcfError(f"{base} and {other} have no common rows and classes, so they can't be compared")
    places = {name: place for place, name in enumerate(second.ids)}
    order = [places[name] for name in first.ids]
    if (second.targets[order] != first.targets).any():
        raise IcfError(f"{base} and {other} were scored with different labels")
    both = np.concatenate([first.probabilities, second.probabilities[order]], axis=1)
    metrics = {name: subtract(function, len(first.classes)) for name, function in first.metrics.items()}
    return bootstrap(metrics, both, first.targets, first.groups, seed=0)


def subtract(function: MetricFunction, num_classes: int) -> MetricFunction:
    """Return a metric of probabilities [N, 2K] of two runs side by side: the second's score minus the first's."""

    def score(probabilities: FloatArray, targets: IntArray) -> float:
        first, second = probabilities[:, :num_classes], probabilities[:, num_classes:]
        return function(second, targets) - function(first, targets)

    return score


class _Scored:
    """Out-of-fold rows of a finished run, in the order of its table."""

    def __init__(self, folder: RunFolder) -> None:
        plan = Plan.from_json(folder.plan.read_text(encoding="utf-8"))
        facts = read_json(folder.data)
        self.classes: list[str] = facts["classes"]
        self.metrics = build_metrics(plan, read_attributes(facts["attributes"]))
        self.ids, self.probabilities = read_probabilities(folder.path / "oof.parquet", self.classes)
        self.targets: IntArray = read_columns(read_table(folder.path / "oof.parquet"), self.classes)
        self.groups: Sequence[str] = _read_groups(folder, self.ids)


def _read_scored(path: Path) -> _Scored:
    folder = RunFolder(path)
    if not folder.metrics.exists():
        raise IcfError(f"{path} is no finished run: it has no metrics.json")
    return _Scored(folder)


def _read_groups(folder: RunFolder, ids: Sequence[str]) -> Sequence[str]:
    split = read_table(folder.split)
    group_of = dict(zip(split["id"], split["group"], strict=True))
    return [group_of[name] for name in ids]
