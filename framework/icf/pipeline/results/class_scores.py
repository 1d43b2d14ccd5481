"""What a confusion matrix says of each class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from icf.components import IntArray


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class, 0 to 1.

    NaN where they mean nothing: recall and F1 of a class without rows, precision of one never predicted.
    """

    name: str
    rows: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ConfusedPair:
    """``count`` rows of class ``true``, a ``share`` of them all, were taken for ``predicted``."""

    true: str
    predicted: str
    count: int
    share: float


def score_classes(confusion: IntArray, classes: Sequence[str]) -> list[ClassScore]:
    """Return the scores of each class, in class order, from counts int64 [K, K], [true][predicted]."""
    return score_counts(classes, np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0))


def score_counts(classes: Sequence[str], found: IntArray, rows: IntArray, predicted: IntArray) -> list[ClassScore]:
    """Return the scores of each class or label, of rows that have it, that are predicted to, and both, int64 [K]."""
    return [
        ClassScore(
            name=name,
            rows=int(rows[index]),
            precision=_divide(found[index], predicted[index]),
            recall=_divide(found[index], rows[index]),
            f1=_divide(2 * found[index], rows[index] + predicted[index]) if rows[index] else math.nan,
        )
        for index, name in enumerate(classes)
    ]


def _divide(part: int, whole: int) -> float:
    return float(part / whole) if whole else math.nan


def find_weakest(scores: Sequence[ClassScore], count: int) -> list[ClassScore]:
    """Return the ``count`` classes with the lowest F1, weakest first, and those that tie with the last of them.

    A class with F1 = 1 is not weak.
    """
    weak = sorted((score for score in scores if score.f1 < 1), key=lambda score: score.f1)
    return [score for score in weak if score.f1 <= weak[min(count, len(weak)) - 1].f1]


def find_confused_pairs(confusion: IntArray, classes: Sequence[str], most: int) -> list[ConfusedPair]:
    """Return the mistakes that were made most often, at most ``most``, from counts int64 [K, K]."""
    mistakes = confusion - np.diag(np.diagonal(confusion))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:most]
    cells = [divmod(int(cell), len(classes)) for cell in order]
    return [
        ConfusedPair(
            true=classes[true],
            predicted=classes[predicted],
            count=int(mistakes[true, predicted]),
            share=float(mistakes[true, predicted] / confusion[true].sum()),
        )
        for true, predicted in cells
        if mistakes[true, predicted]
    ]
