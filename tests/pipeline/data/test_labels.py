from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icf.components import DatasetContent, Samples
from icf.errors import DataError
from icf.pipeline.data.content import check_classes, check_content
from icf.pipeline.data.dealing import deal_labels
from icf.pipeline.data.labels import count_rows, kind_of, list_pairs, measure_shares, read_columns, write_columns

TABLE = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1]])


def test_targets_become_columns_and_come_back() -> None:
    for targets, names in ((np.array([2, 0, 1]), {"target"}), (TABLE, {"y_a", "y_b", "y_c"})):
        columns = write_columns(targets, "abc")
        assert columns.keys() == names
        np.testing.assert_array_equal(read_columns(columns, "abc"), targets)


def test_rows_of_classes_and_labels_are_counted() -> None:
    assert (kind_of(np.array([0])), kind_of(TABLE)) == ("classes", "labels")
    assert count_rows(np.array([2, 0, 2]), 4).tolist() == [1, 0, 2, 0]
    assert count_rows(TABLE, 3).tolist() == [2, 1, 2]
    assert measure_shares(TABLE, 3).tolist() == [2 / 3, 1 / 3, 2 / 3]
    rows, labels = list_pairs(TABLE)
    assert list(zip(rows.tolist(), labels.tolist(), strict=True)) == [(0, 0), (0, 2), (2, 0), (2, 1), (2, 2)]


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(1, 6), st.integers(1, 3))
def test_folds_hold_whole_groups_and_even_shares_of_every_label(seed: int, count: int, labels: int, size: int) -> None:
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(60), size)
    targets = (random.random((len(groups), labels)) < random.random(labels)).astype(np.int64)
    folds = deal_labels(targets, groups, count, seed)
    assert set(folds.tolist()) == set(range(count))
    assert all(len(set(folds[groups == group].tolist())) == 1 for group in range(60))
    for column in (*targets.T, np.ones_like(folds)):
        shares = np.bincount(folds, weights=column, minlength=count)
        assert np.ptp(shares) <= 0.25 * column.sum() / count + 3 * size


def make_content(targets: np.ndarray, test: np.ndarray | None = None) -> DatasetContent:
    def make(values: np.ndarray) -> Samples:
        names = tuple(f"r{row}" for row in range(len(values)))
        return Samples(ids=names, images=np.zeros((len(values), 2, 2), np.uint8), targets=values)

    return DatasetContent(classes=("a", "b", "c"), train=make(targets), test=None if test is None else make(test))


def test_labels_are_checked() -> None:
    check_content(make_content(TABLE, TABLE))
    for wrong in (TABLE * 2, TABLE[:, :2], TABLE.astype(float)):
        with pytest.raises(DataError, match="labels must be 0 or 1, a column for each of 3"):
            check_content(make_content(wrong))
    with pytest.raises(DataError, match="test rows: targets are of another kind than those of the training rows"):
        check_content(make_content(TABLE, np.array([0, 1])))
    with pytest.raises(DataError, match="no label is there for some"):
        check_classes(np.array([[1, 0], [1, 0]]), ("a", "b"))
