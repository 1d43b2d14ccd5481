"""Stage "split": which fold validates which row; nothing that belongs together is ever torn apart."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from icf.components import IntArray
from icf.errors import DataError
from icf.pipeline.data.dealing import UNASSIGNED, deal_groups, deal_labels, deal_rows, number_parts
from icf.pipeline.data.labels import list_pairs, write_columns
from icf.pipeline.data.prepare import Rows
from icf.pipeline.files import digest, digest_strings, write_json, write_table
from icf.pipeline.folder import RunFolder
from icf.pipeline.pixels.table import Digests
from icf.sections import Split as SplitSection

TRAIN_ONLY = UNASSIGNED
"""Fold of rows that every fold trains on and none validates."""


@dataclass(frozen=True)
class Split:
    """``folds`` is int64 [N]: the fold that validates a row, or TRAIN_ONLY; ``groups`` are the units kept together."""

    method: str
    folds: IntArray
    groups: tuple[str, ...]
    warnings: tuple[str, ...]
    classes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """The number of folds."""
        return int(self.folds.max()) + 1

    @property
    def hash(self) -> str:
        """A hash of every row's fold and group."""
        return digest(self.folds.tobytes(), digest_strings(self.groups))


def make_split(section: SplitSection, rows: Rows, classes: tuple[str, ...], seed: int) -> Split:
    """Assign folds, then check that no group and no image stands in two of them.

    Rows that are not to be scored are TRAIN_ONLY; folds that validate their group leave them out of training.

    Raises:
        DataError: too few rows or groups, no fold column, or an overlap between folds.
    """
    groups = merge_groups(rows, together=section.duplicates == "together")
    scored, kept = np.flatnonzero(rows.scored), groups
    inner = rows
    if len(scored) < len(rows):
        inner, kept = rows.take(scored), groups.take(scored)
    method = _choose_method(section, inner, kept)
    folds = np.full(len(rows), TRAIN_ONLY, dtype=np.int64)
    folds[scored] = _assign(method, section, inner, kept, seed)
    check_overlap(inner, folds[scored], check_images=section.duplicates != "allow")
    if section.duplicates == "error":
        check_overlap(rows, folds, check_images=True)
    found = _find_warnings(rows, groups, folds, classes)
    return Split(method, folds, groups.names, tuple(found), classes)


def save_split(split: Split, rows: Rows, folder: RunFolder) -> None:
    """Write split.parquet and its summary with the hash."""
    columns = {"id": rows.ids, **write_columns(rows.targets, split.classes), "group": split.groups, "fold": split.folds}
    if rows.trained.ndim == 1:
        columns["trained"] = rows.trained
    numbers = {f"number_{name}": values for name, values in rows.numbers.items()}
    write_table(folder.split, {**columns, "row": rows.pixel_rows, **numbers})
    sizes = np.bincount(split.folds[split.folds >= 0]).tolist()
    summary = {"method": split.method, "hash": split.hash, "rows": sizes, "warnings": list(split.warnings)}
    write_json(folder.path / "split.json", summary)


@dataclass(frozen=True)
class Groups:
    """The group of each row: its name, and its place among the sorted names, int64 [N], without gaps."""

    names: tuple[str, ...]
    numbers: IntArray

    @property
    def count(self) -> int:
        """The number of groups."""
        return int(self.numbers.max()) + 1

    def take(self, rows: IntArray) -> Groups:
        """Return the groups of some rows."""
        return Groups(tuple(self.names[row] for row in rows), np.unique(self.numbers[rows], return_inverse=True)[1])


def merge_groups(rows: Rows, *, together: bool) -> Groups:
    """Return the groups of the data set, joined where identical images connect two of them.

    Without groups each row is one. Joined groups have the first of their names.
    """
    names = tuple(f"row {name}" for name in rows.ids) if rows.groups is None else rows.groups
    numbers = _number(names)
    images = _number(rows.digests) if together else np.arange(len(rows))
    if images.max() + 1 == len(rows):  # no two are identical
        return Groups(names, numbers)
    leaders = _find_leaders(numbers, images)[numbers]
    _, first = np.unique(numbers, return_index=True)
    return Groups(tuple(names[row] for row in first[leaders].tolist()), np.unique(leaders, return_inverse=True)[1])


def _number(values: Sequence[str] | Digests) -> IntArray:
    """Return the place of each value among the sorted distinct ones, int64 [N]."""
    if isinstance(values, np.ndarray):
        return np.unique(values, return_inverse=True)[1]
    places = {value: place for place, value in enumerate(sorted(set(values)))}
    return np.fromiter(map(places.__getitem__, values), np.int64, len(values))


def _find_leaders(groups: IntArray, images: IntArray) -> IntArray:
    """Return for each group the lowest one that it is connected to by rows of the same image."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = int(groups.max()) + 1
    nodes = count + int(images.max()) + 1
    rows = coo_array((np.ones(len(groups), np.int8), (groups, count + images)), shape=(nodes, nodes))
    parts = connected_components(rows, directed=False)[1][:count]
    _, lowest, part_of = np.unique(parts, return_index=True, return_inverse=True)
    return lowest[part_of]


def _choose_method(section: SplitSection, rows: Rows, groups: Groups) -> str:
    if section.method != "auto":
        return section.method
    if rows.folds is not None:
        return "predefined"
    return "stratified-group-kfold" if groups.count < len(rows) else "stratified-kfold"


def _assign(method: str, section: SplitSection, rows: Rows, groups: Groups, seed: int) -> IntArray:
    if method == "predefined":
        return _read_folds(rows)
    units = len(rows) if method == "stratified-kfold" else groups.count
    count, validated = section.folds, section.folds
    if method == "group-holdout":
        share = _simplify(section.holdout, units)
        count, validated = share.denominator, share.numerator
    if units < count:
        what = "rows" if method == "stratified-kfold" else "groups"
        raise DataError(f"split: {units} {what} can't be split into {count} folds; lower split.folds")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small classes get our own warning, with names
        try:
            folds = _divide(method, rows.targets, groups.numbers, count, seed)
        except ValueError as error:
            raise DataError(f"split: {error}; lower split.folds") from error
    if method == "group-holdout":
        return np.where(folds < validated, 0, TRAIN_ONLY)
    return folds


def _simplify(holdout: float, units: int) -> Fraction:
    """Return a fraction near ``holdout`` with a small denominator: so many parts, of which so many are held out."""
    share = Fraction(holdout).limit_denominator(max(2, min(20, units)))
    if 0 < share < 1:
        return share
    parts = max(2, min(units, round(1 / min(holdout, 1 - holdout))))
    return Fraction(1, parts) if share == 0 else Fraction(parts - 1, parts)


def _divide(method: str, targets: IntArray, groups: IntArray, count: int, seed: int) -> IntArray:
    if targets.ndim == 2 and method != "group-kfold":
        return deal_labels(targets, np.arange(len(targets)) if method == "stratified-kfold" else groups, count, seed)
    if method == "stratified-kfold":
        return deal_rows(targets, count, seed)
    if method == "group-kfold":
        from sklearn.model_selection import GroupKFold

        splitter = GroupKFold(count, shuffle=True, random_state=seed)
        return number_parts(splitter.split(groups, groups, groups), len(targets))
    return deal_groups(targets, groups, count, seed)


def _read_folds(rows: Rows) -> IntArray:
    if rows.folds is None:
        raise DataError('split.method = "predefined", but the data set has no fold column (dataset.fold_column)')
    found = sorted(set(rows.folds.tolist()) - {TRAIN_ONLY})
    if found != list(range(len(found))) or not found:
        raise DataError(f"split: folds must be numbered 0, 1, 2, ... (-1: training only), found {found[:10]}")
    return rows.folds


def check_overlap(rows: Rows, folds: IntArray, *, check_images: bool) -> None:
    """Raise DataError when a group of the data set, or an identical image, stands in two folds."""
    if rows.groups is not None:
        remedy = "an image of it is in training and another in validation"
        _check_units(_number(rows.groups), folds, "group", remedy, rows.groups)
    if check_images:
        remedy = 'set split.method = "auto" to keep identical images together, or split.duplicates = "allow"'
        _check_units(_number(rows.digests), folds, "image", remedy, rows.ids)


def _check_units(units: IntArray, folds: IntArray, what: str, remedy: str, names: Sequence[str]) -> None:
    first = np.unique(units, return_index=True)[1]
    strays = np.flatnonzero(folds != folds[first][units])
    torn, positions = np.unique(units[strays], return_index=True)
    if len(torn):
        some = ", ".join(names[row] for row in strays[np.sort(positions)[:5]])
        raise DataError(f"split: {len(torn)} {what}s stand in more than one fold ({some}): {remedy}")


def _find_warnings(rows: Rows, groups: Groups, folds: IntArray, classes: tuple[str, ...]) -> list[str]:
    found = []
    small = _find_absent(rows.targets, folds, len(classes))
    if small:
        positions, targets = list_pairs(rows.targets)
        chosen = np.isin(targets, small)
        pairs = np.unique(np.stack([targets[chosen], groups.numbers[positions[chosen]]]), axis=1)
        units = np.bincount(pairs[0], minlength=len(classes))
        named = ", ".join(f"{classes[c]} ({units[c]})" for c in small)
        found.append(f"classes with too few groups or rows: some fold validates or trains on none of them: {named}")
    if rows.groups is None and (repeated := len(rows) - groups.count):
        found.append(f"{repeated} images are identical copies of others; copies are kept in one fold")
    return found


def _find_absent(targets: IntArray, folds: IntArray, num_classes: int) -> list[int]:
    """Return the classes that some fold has in its training or its validation rows, but not in both."""
    counts = np.zeros((num_classes, int(folds.max()) + 2), dtype=np.int64)
    positions, found = list_pairs(targets)
    np.add.at(counts, (found, folds[positions]), 1)  # TRAIN_ONLY is the last column
    total = counts.sum(axis=1, keepdims=True)
    validation = counts[:, :-1]
    absent = ((validation == 0) | (validation == total)).any(axis=1) & (total[:, 0] > 0)
    return [int(index) for index in np.flatnonzero(absent)]
