"""The data set sklearn/digits: handwritten digits, bundled with scikit-learn.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
Repository, 1998 (the test half, as scikit-learn's ``load_digits`` has it).
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from sklearn import datasets

import icf
from icf_sklearn.plugin import DigitsParams

BRIGHTEST = 16
"""Grey levels of the file are 0 to 16: counts of ink in blocks of 4x4 pixels."""


def load_digits(params: DigitsParams, ctx: icf.DatasetContext) -> icf.DatasetContent:  # noqa: ARG001
    """Return the digits as uint8 [N, 8, 8] with the grey levels 0-16 stretched to 0-255.

    The file is ordered by writer but does not name them, so there are no groups; the last
    ``test_share`` of the rows is the test set, since those rows come from other writers than the first
    ones. Shuffled folds of the rest do share writers, and score about .02 higher than new writers would.
    Raises DataError if the file in ``root`` can't be read.
    """
    levels, targets = _bundled() if params.root is None else _from_file(params.root / "digits.csv.gz")
    images = np.rint(levels * (255 / BRIGHTEST)).astype(np.uint8).reshape(-1, 8, 8)
    ids = [f"{row:05d}" for row in range(len(images))]
    classes = tuple(str(digit) for digit in range(10))
    first_test = len(images) - round(len(images) * params.test_share)
    train = icf.Samples(ids=ids[:first_test], images=images[:first_test], targets=targets[:first_test])
    if first_test == len(images):
        return icf.DatasetContent(classes=classes, train=train)
    test = icf.Samples(ids=ids[first_test:], images=images[first_test:], targets=targets[first_test:])
    submission = icf.SubmissionFormat(ids=test.ids, values=tuple(range(10)))
    return icf.DatasetContent(classes=classes, train=train, test=test, submission=submission)


def _bundled() -> tuple[icf.FloatArray, icf.IntArray]:
    digits = datasets.load_digits()
    return np.asarray(digits.data, np.float64), np.asarray(digits.target, np.int64)


def _from_file(path: Path) -> tuple[icf.FloatArray, icf.IntArray]:
    try:
        with gzip.open(path, "rt", encoding="ascii") as lines:
            table = np.loadtxt(lines, delimiter=",", ndmin=2)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise icf.DataError(f"{path} can't be read as scikit-learn's digits.csv.gz: {error}") from None
    if table.shape[1] != 65:
        raise icf.DataError(f"{path}: rows must have 64 pixels and the digit, found {table.shape[1]} columns")
    levels, digits = table[:, :64], table[:, 64]
    if not (np.isin(levels, np.arange(BRIGHTEST + 1)).all() and np.isin(digits, np.arange(10)).all()):
        raise icf.DataError(f"{path}: pixels must be whole numbers 0-16 and digits 0-9")
    return levels, digits.astype(np.int64)
