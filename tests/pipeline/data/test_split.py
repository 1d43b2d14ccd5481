from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold

from icf.errors import DataError
from icf.pipeline.data import dealing
from icf.pipeline.data.prepare import Rows
from icf.pipeline.data.split import TRAIN_ONLY, Split, make_split, merge_groups, save_split
from icf.pipeline.files import read_json, read_table
from icf.pipeline.folder import RunFolder
from icf.pipeline.training.fold_data import find_trained
from icf.sections import Split as Section
from samples import make_rows

CLASSES = tuple("abcdefghij")
METHODS = ["auto", "stratified-group-kfold", "stratified-kfold", "group-kfold", "group-holdout"]


def split_rows(rows: Rows, seed: int = 0, **section: object) -> Split:
    return make_split(Section.model_validate(section), rows, CLASSES, seed)


def random_rows(count: int = 200, groups: int | None = None, classes: int = 4, seed: int = 0) -> Rows:
    generator = np.random.default_rng(seed)
    names = None if groups is None else [f"g{number}" for number in generator.integers(groups, size=count)]
    return make_rows(generator.integers(classes, size=count).tolist(), names)


def count_classes(rows: Rows, folds: np.ndarray) -> np.ndarray:
    table = np.zeros((int(rows.targets.max()) + 1, int(folds.max()) + 1), dtype=np.int64)
    np.add.at(table, (rows.targets, folds), 1)
    return table


def reference(splitter, rows: Rows, groups: Sequence[str] | None = None) -> np.ndarray:
    folds = np.full(len(rows), -1)
    for fold, (_, validation) in enumerate(splitter.split(rows.targets, rows.targets, groups)):
        folds[validation] = fold
    return folds


def assert_whole(units: Sequence[str], folds: np.ndarray) -> None:
    found = defaultdict(set)
    for unit, fold in zip(units, folds.tolist(), strict=True):
        found[unit].add(fold)
    assert all(len(places) == 1 for places in found.values())


@pytest.mark.parametrize("method", ["auto", "stratified-kfold"])
def test_rows_without_groups_are_split_as_scikit_learn_does(method):
    rows = random_rows()
    split = split_rows(rows, seed=3, method=method, folds=4)
    np.testing.assert_array_equal(split.folds, reference(StratifiedKFold(4, shuffle=True, random_state=3), rows))
    assert split.method == "stratified-kfold"
    assert split.count == 4


def test_group_kfold_is_scikit_learn_s():
    rows = random_rows(groups=30)
    split = split_rows(rows, seed=3, method="group-kfold", folds=4)
    expected = reference(GroupKFold(4, shuffle=True, random_state=3), rows, rows.groups)
    np.testing.assert_array_equal(split.folds, expected)


@pytest.mark.parametrize("method", ["auto", "stratified-group-kfold"])
@pytest.mark.parametrize(("count", "groups"), [(200, 12), (400, 300), (600, 100)])
def test_groups_are_stratified_as_scikit_learn_does(method, count, groups):
    rows = random_rows(count, groups)
    split = split_rows(rows, seed=3, method=method, folds=4)
    expected = reference(StratifiedGroupKFold(4, shuffle=True, random_state=3), rows, rows.groups)
    np.testing.assert_array_equal(split.folds, expected)
    assert split.method == "stratified-group-kfold"


@pytest.mark.parametrize("searched", [0, 100, 300])
@pytest.mark.parametrize(("count", "groups"), [(400, 300), (1000, 800), (600, 100)])
def test_dealing_alike_groups_is_as_even_as_searching(monkeypatch, searched, count, groups):
    monkeypatch.setattr(dealing, "SEARCHED", searched)
    rows = random_rows(count, groups, seed=1)
    split = split_rows(rows)
    assert_whole(rows.groups, split.folds)
    ours = count_classes(rows, split.folds)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    theirs = count_classes(rows, reference(splitter, rows, rows.groups))
    assert (np.ptp(ours, axis=1) <= np.ptp(theirs, axis=1) + 2).all()
    assert np.ptp(ours.sum(axis=0)) <= np.ptp(theirs.sum(axis=0)) + 2


def measure_unevenness(rows: Rows, folds: np.ndarray) -> float:
    """Return the standard deviation of a class's share over the folds, summed over classes."""
    counts = count_classes(rows, folds)
    return float((counts.std(axis=1) / counts.sum(axis=1)).sum())


@pytest.mark.parametrize(("count", "groups", "classes"), [(300, 60, 3), (1000, 300, 8), (400, 300, 4)])
def test_placing_very_many_groups_is_as_even_as_searching(monkeypatch, count, groups, classes):
    monkeypatch.setattr(dealing, "SEARCHED", 0)
    monkeypatch.setattr(dealing, "LARGEST_SEARCH", 0)
    ours, theirs = 0.0, 0.0
    for seed in range(20):
        rows = random_rows(count, groups, classes, seed)
        split = split_rows(rows, seed, method="stratified-group-kfold")
        assert_whole(rows.groups, split.folds)
        assert set(split.folds.tolist()) == set(range(5))
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        ours += measure_unevenness(rows, split.folds)
        theirs += measure_unevenness(rows, reference(splitter, rows, rows.groups))
    assert ours < 1.25 * theirs


def test_classes_smaller_than_the_number_of_folds_are_refused_with_very_many_groups_too(monkeypatch):
    monkeypatch.setattr(dealing, "LARGEST_SEARCH", 0)
    rows = make_rows(list(range(8)), ["a", "b", "c", "d"] * 2)
    with pytest.raises(DataError, match=r"no class has 3 rows, one for each fold; lower split.folds"):
        split_rows(rows, folds=3)


ALIKE = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 8)), min_size=1, max_size=40)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(pairs=ALIKE)
def test_groups_are_alike_when_their_sorted_labels_are_equal(pairs):
    targets = np.array([target for target, _ in pairs])
    groups = np.unique([group for _, group in pairs], return_inverse=True)[1]
    kinds = defaultdict(list)
    for group in range(groups.max() + 1):
        kinds[tuple(sorted(targets[groups == group]))].append(group)
    assert [kind.tolist() for kind in dealing.find_alike(targets, groups)] == list(kinds.values())


@pytest.mark.parametrize("searched", [0, 2000])
def test_persons_with_the_same_labels_are_divided_exactly(monkeypatch, searched):
    monkeypatch.setattr(dealing, "SEARCHED", searched)
    targets = [(person % 3) * 2 + label for person in range(300) for label in (0, 0, 0, 1)]
    rows = make_rows(targets, [f"p{person}" for person in range(300) for _ in range(4)])
    assert (np.ptp(count_classes(rows, split_rows(rows).folds), axis=1) == 0).all()


def test_sixty_thousand_single_rows_and_a_few_copies():
    generator = np.random.default_rng(0)
    targets = generator.integers(10, size=60_000)
    images = [f"image{row}" for row in range(60_000)]
    images[:200] = images[200:400]
    targets[:200] = targets[200:400]
    rows = make_rows(targets.tolist(), images=images)
    split = split_rows(rows)
    assert split.method == "stratified-group-kfold"
    np.testing.assert_array_equal(split.folds[:200], split.folds[200:400])
    assert (np.ptp(count_classes(rows, split.folds), axis=1) <= 1).all()


ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 11), st.integers(0, 25)), min_size=12, max_size=80).map(
    lambda found: make_rows([t for t, _, _ in found], [f"g{g}" for _, g, _ in found], [f"i{i}" for _, _, i in found])
)


@settings(deadline=None, max_examples=80, derandomize=True)
@given(
    rows=ROWS,
    method=st.sampled_from(["auto", "stratified-group-kfold", "group-kfold", "group-holdout"]),
    folds=st.integers(2, 6),
    seed=st.integers(0, 99),
)
def test_no_group_and_no_image_is_ever_torn(rows, method, folds, seed):
    try:
        split = split_rows(rows, seed, method=method, folds=folds)
    except DataError:  # too few groups, or rows of every class
        few = merge_groups(rows, together=True).count < 2 or np.bincount(rows.targets).max() < 5
        assert method != "group-holdout" or few
        return
    assert_whole(rows.groups, split.folds)
    assert_whole(rows.digests, split.folds)
    if method == "group-holdout":
        assert set(split.folds.tolist()) == {-1, 0}
    else:
        assert set(split.folds.tolist()) == set(range(folds))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(rows=ROWS)
def test_merged_groups_are_the_connected_parts(rows):
    """Against a fixed point: labels spread along groups and along images until nothing changes."""
    label = np.arange(len(rows))
    keys = [np.unique(np.asarray(units), return_inverse=True)[1] for units in (rows.groups, rows.digests)]
    changed = True
    while changed:
        before = label.copy()
        for key in keys:
            for unit in np.unique(key):
                label[key == unit] = label[key == unit].min()
        changed = not np.array_equal(before, label)
    merged = merge_groups(rows, together=True).numbers
    np.testing.assert_array_equal(merged[:, None] == merged, label[:, None] == label)


def test_copies_join_groups_over_several_steps():
    rows = make_rows(
        [0, 1] * 6,
        groups=["A", "A", "B", "B", "C", "C", "D", "D", "E", "E", "F", "F"],
        images=["1", "2", "2", "3", "3", "4", "5", "6", "7", "8", "9", "10"],
    )
    split = split_rows(rows, folds=2)
    assert len({split.groups[row] for row in range(6)}) == 1
    assert len(set(split.folds[:6].tolist())) == 1
    assert len(set(split.groups)) == 4


@pytest.mark.parametrize("method", METHODS)
def test_groups_that_are_torn_stop_every_method(method):
    rows = make_rows([0, 1] * 20, [f"g{row // 4}" for row in range(40)])
    if method == "stratified-kfold":
        with pytest.raises(DataError, match=r"split: \d+ groups stand in more than one fold \(g\d"):
            split_rows(rows, method=method)
    else:
        assert_whole(rows.groups, split_rows(rows, method=method).folds)


@pytest.mark.parametrize("method", ["stratified-group-kfold", "group-kfold", "group-holdout", "stratified-kfold"])
def test_torn_copies_stop_every_method(method):
    images = [f"i{row // 2}" for row in range(40)]
    rows = make_rows([row // 2 % 2 for row in range(40)], [f"g{row}" for row in range(40)], images)
    with pytest.raises(DataError, match=r'images stand in more than one fold \(id\d+.*split.method = "auto"'):
        split_rows(rows, method=method, duplicates="error")
    assert_whole(rows.groups, split_rows(rows, method=method, duplicates="allow").folds)


def test_copies_in_different_given_folds_stop_the_run():
    rows = make_rows([0, 1, 0, 1], images=["a", "b", "a", "c"], folds=[0, 0, 1, 1])
    with pytest.raises(DataError, match=r"1 images stand in more than one fold \(id2\)"):
        split_rows(rows)
    assert split_rows(rows, duplicates="allow").folds.tolist() == [0, 0, 1, 1]


def test_given_folds_are_taken_as_they_are():
    rows = make_rows([0, 1, 0, 1, 0], folds=[1, 0, -1, 1, 0])
    split = split_rows(rows)
    assert (split.method, split.count) == ("predefined", 2)
    assert split.folds.tolist() == [1, 0, -1, 1, 0]


def test_a_group_in_training_only_and_in_a_fold_is_torn():
    rows = make_rows([0, 1, 0, 1], groups=["a", "b", "a", "c"], folds=[-1, 0, 1, 0])
    with pytest.raises(DataError, match=r"1 groups stand in more than one fold \(a\)"):
        split_rows(rows)


@pytest.mark.parametrize("folds", [[1, 2, 1, 2], [0, 2, 0, 2], [-1, -1, -1, -1], [0, -2, 1, 0]])
def test_given_folds_must_be_numbered_from_zero(folds):
    with pytest.raises(DataError, match="folds must be numbered 0, 1, 2"):
        split_rows(make_rows([0, 1, 0, 1], folds=folds))


def test_predefined_needs_a_fold_column():
    with pytest.raises(DataError, match="no fold column"):
        split_rows(make_rows([0, 1]), method="predefined")


def test_given_folds_give_way_to_a_method_that_is_named():
    rows = make_rows([0, 1] * 10, folds=[0] * 10 + [1] * 10)
    assert split_rows(rows, method="stratified-kfold").count == 5


@pytest.mark.parametrize(
    ("rows", "section", "message"),
    [
        (make_rows([0, 1, 0]), {"folds": 5}, "3 rows can't be split into 5 folds; lower split.folds"),
        (make_rows([0, 1] * 5, ["a", "b"] * 5), {"folds": 5}, "2 groups can't be split into 5 folds"),
        (make_rows([0, 1] * 5, ["a"] * 10), {"method": "group-holdout"}, "1 groups can't be split into 2"),
        (make_rows(list(range(8))), {"folds": 3}, "n_splits=3 cannot be greater"),
        (make_rows(list(range(8)), ["a", "b", "c", "d"] * 2), {"folds": 3}, "cannot be greater.*; lower split.folds"),
    ],
)
def test_too_little_data_is_an_error(rows, section, message):
    with pytest.raises(DataError, match=message):
        split_rows(rows, **section)


@pytest.mark.parametrize("holdout", [0.05, 0.15, 0.2, 0.25, 0.3, 0.5, 0.7, 0.9])
def test_holdout_validates_the_fraction_that_was_asked_for(holdout):
    rows = random_rows(2000, 500)
    split = split_rows(rows, method="group-holdout", holdout=holdout)
    validated = split.folds == 0
    assert validated.mean() == pytest.approx(holdout, abs=0.01)
    assert set(split.folds.tolist()) == {-1, 0}
    shares = [validated[rows.targets == label].mean() for label in range(4)]
    assert shares == pytest.approx([holdout] * 4, abs=0.02)


@pytest.mark.parametrize("holdout", [0.001, 0.2, 0.5, 0.999])
@pytest.mark.parametrize("groups", [2, 3, 7])
def test_holdout_of_few_groups_leaves_both_parts_something(holdout, groups):
    rows = make_rows([0, 1] * 20, [f"g{row % groups}" for row in range(40)])
    split = split_rows(rows, method="group-holdout", holdout=holdout)
    assert set(split.folds.tolist()) == {-1, 0}


def test_a_class_with_too_few_rows_is_a_warning_that_names_it():
    rows = make_rows([0] * 20 + [1] * 20 + [2] * 3)
    (warning,) = split_rows(rows).warnings
    assert "c (3)" in warning
    assert "a (" not in warning
    assert split_rows(make_rows([0] * 20 + [1] * 20)).warnings == ()


def test_a_class_in_one_group_is_a_warning():
    rows = make_rows([0, 1] * 20 + [2] * 10, [f"g{row // 2}" for row in range(40)] + ["alone"] * 10)
    (warning,) = split_rows(rows).warnings
    assert "c (1)" in warning


def test_a_class_that_the_holdout_lacks_is_a_warning():
    rows = make_rows([0, 1] * 20 + [2], [f"g{row // 2}" for row in range(40)] + ["alone"])
    split = split_rows(rows, method="group-holdout")
    assert any("c (1)" in warning for warning in split.warnings)


def test_copies_are_counted_in_a_warning():
    rows = make_rows([0, 1] * 20, images=["same"] * 3 + [f"i{row}" for row in range(37)])
    assert "2 images are identical copies of others; copies are kept in one fold" in split_rows(rows).warnings


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_alone_decides(method):
    rows = random_rows(300, None if method == "stratified-kfold" else 200)
    first, again, other = (split_rows(rows, seed, method=method) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.folds, again.folds)
    assert first.hash == again.hash
    assert (first.folds != other.folds).any()
    assert first.hash != other.hash


def test_the_hash_changes_with_any_fold_and_group():
    split = Split("x", np.array([0, 1, 2]), ("a", "b", "c"), ())
    hashes = {split.hash}
    for row in range(3):
        folds = split.folds.copy()
        folds[row] += 1
        hashes.add(Split("x", folds, split.groups, ()).hash)
        hashes.add(Split("x", split.folds, (*split.groups[:row], "d", *split.groups[row + 1 :]), ()).hash)
    assert len(hashes) == 7
    assert Split("y", split.folds, split.groups, ("w",)).hash == split.hash


def test_what_is_saved_can_be_read(tmp_path: Path):
    rows = random_rows(60, 20)
    split = split_rows(rows)
    save_split(split, rows, RunFolder(tmp_path))
    table = read_table(tmp_path / "split.parquet")
    assert table["id"] == list(rows.ids)
    assert table["group"] == list(rows.groups)
    np.testing.assert_array_equal(table["fold"], split.folds)
    np.testing.assert_array_equal(table["target"], rows.targets)
    np.testing.assert_array_equal(table["row"], rows.pixel_rows)
    summary = read_json(tmp_path / "split.json")
    assert (summary["hash"], sum(summary["rows"])) == (split.hash, 60)


@pytest.mark.parametrize("method", METHODS)
def test_external_rows_are_only_trained_on_and_change_no_fold(method: str) -> None:
    rows = random_rows(groups=60)
    names = [*rows.groups, "new", rows.groups[0], "new"]  # type: ignore[misc]
    more = make_rows([*rows.targets.tolist(), 0, 1, 2], names, scored=[True] * 200 + [False] * 3)
    if method == "stratified-kfold":
        rows, more = (make_rows(found.targets.tolist(), scored=found.scored.tolist()) for found in (rows, more))
    split, plain = split_rows(more, method=method, folds=4), split_rows(rows, method=method, folds=4)
    np.testing.assert_array_equal(split.folds[:200], plain.folds)
    assert split.folds[200:].tolist() == [TRAIN_ONLY] * 3


def test_an_identical_external_image_is_of_the_group_and_an_error_where_that_is_asked_for() -> None:
    images = [f"image{row}" for row in range(20)]
    rows = make_rows([0, 1] * 10 + [0], images=[*images, "image3"], scored=[True] * 20 + [False])
    split = split_rows(rows, folds=2)
    assert split.groups[20] == split.groups[3]
    with pytest.raises(DataError, match="1 images stand in more than one fold"):
        split_rows(rows, folds=2, duplicates="error")


def test_a_fold_leaves_out_external_rows_of_groups_that_it_validates() -> None:
    table = {
        "fold": np.array([0, 0, 1, 1, -1, -1, -1]),
        "group": ["a", "a", "b", "b", "a", "b", "c"],
        "trained": np.array([0, 1, 0, -1, 1, 0, 0]),
    }
    assert np.flatnonzero(find_trained(table, table["fold"] == 0)).tolist() == [2, 5, 6]
    assert np.flatnonzero(find_trained(table, table["fold"] == 1)).tolist() == [0, 1, 4, 6]
