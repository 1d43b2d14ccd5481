from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from icf.pipeline.results.class_scores import find_confused_pairs, find_weakest, score_classes


@given(st.integers(2, 9), st.integers(0, 60), st.integers(0, 2**32))
def test_class_scores_are_scikit_learns(classes: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets, predicted = rng.integers(0, classes, (2, count))
    confusion = np.bincount(targets * classes + predicted, minlength=classes**2).reshape(classes, classes)
    scores = score_classes(confusion, [f"{index}" for index in range(classes)])
    if count == 0:
        assert all(np.isnan(score.f1) for score in scores)
        return
    reference = precision_recall_fscore_support(targets, predicted, labels=np.arange(classes), zero_division=np.nan)
    np.testing.assert_allclose([score.precision for score in scores], reference[0])
    np.testing.assert_allclose([score.recall for score in scores], reference[1])
    has_rows = reference[3] > 0
    np.testing.assert_allclose(
        np.array([score.f1 for score in scores])[has_rows], np.nan_to_num(reference[2])[has_rows]
    )
    assert [score.rows for score in scores] == reference[3].tolist()


def test_weakest_classes_and_confused_pairs() -> None:
    confusion = np.array([[8, 2, 0, 0], [5, 5, 0, 0], [0, 0, 10, 0], [0, 0, 0, 0]])
    names = ["a", "b", "c", "d"]
    assert [score.name for score in find_weakest(score_classes(confusion, names), 9)] == ["b", "a"]
    ties = np.array([[0, 1, 0], [1, 0, 0], [0, 1, 9]])
    assert [score.name for score in find_weakest(score_classes(ties, names[:3]), 1)] == ["a", "b"]
    pairs = find_confused_pairs(confusion, names, 5)
    assert [(p.true, p.predicted, p.count, p.share) for p in pairs] == [("b", "a", 5, 0.5), ("a", "b", 2, 0.2)]
    assert len(find_confused_pairs(confusion, names, 1)) == 1
