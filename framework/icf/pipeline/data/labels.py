"""Targets of two kinds: one class for each row, int64 [N], or any number of labels, 0 or 1 in int64 [N, K]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from icf.components import FloatArray, IntArray, TargetKind
from icf.errors import Problem, RecipeError
from icf.plan import Plan


def kind_of(targets: IntArray) -> TargetKind:
    """Return which of the two kinds targets are."""
    return "labels" if targets.ndim == 2 else "classes"


def count_rows(targets: IntArray, num_classes: int) -> IntArray:
    """Return the rows of each class or with each label, int64 [K]."""
    if targets.ndim == 2:
        return np.asarray(targets.sum(axis=0), dtype=np.int64)
    return np.bincount(targets, minlength=num_classes).astype(np.int64)


def measure_shares(targets: IntArray, num_classes: int) -> FloatArray:
    """Return the share of rows of each class or with each label, float64 [K]."""
    return np.asarray(count_rows(targets, num_classes) / len(targets))


def write_columns(targets: IntArray, classes: Sequence[str]) -> dict[str, IntArray]:
    """Return targets as columns of a table: ``target``, or ``y_<label>`` for each label."""
    if targets.ndim == 1:
        return {"target": targets}
    return {f"y_{name}": targets[:, place] for place, name in enumerate(classes)}


def read_columns(table: Mapping[str, Any], classes: Sequence[str]) -> IntArray:
    """Return the targets that ``write_columns`` made columns of."""
    if "target" in table:
        return np.asarray(table["target"])
    return np.stack([np.asarray(table[f"y_{name}"]) for name in classes], axis=1)


def check_kind(plan: Plan, kind: TargetKind) -> None:
    """Raise RecipeError with every part of a plan that can't be used with targets of this kind."""
    subject = {"classes": "takes several labels of an image", "labels": "takes one class of each image"}[kind]
    data = {"classes": "one class of each", "labels": "any number of labels"}[kind]
    choices = (plan.loss, plan.sampler, plan.ensembler, *plan.metrics, *plan.mixers)
    problems = [
        Problem(choice.kind, f"'{choice.ref}' {subject}, and this data set has {data}; choose another")
        for chosen in choices
        for choice in chosen.walk()
        if kind not in choice.targets
    ]
    if kind == "labels":
        problems += _find_misfits(plan)
    if problems:
        raise RecipeError("the recipe does not fit the data set", problems)


def _find_misfits(plan: Plan) -> list[Problem]:
    targets = plan.recipe.targets
    given = {"heads": targets.heads, "overrides": targets.overrides, "train_only": targets.train_only}
    message = "can't be used with a data set whose images have any number of labels"
    problems = [Problem(f"targets.{key}", message) for key, value in given.items() if value]
    return problems + [
        Problem("metrics", f"attribute = '{choice.attribute}' {message}") for choice in plan.metrics if choice.attribute
    ]


def list_pairs(targets: IntArray) -> tuple[IntArray, IntArray]:
    """Return rows and their classes or labels, int64 [P] each: a pair for each class, or label that is there."""
    if targets.ndim == 1:
        return np.arange(len(targets)), targets
    rows, labels = np.nonzero(targets)
    return rows, labels
