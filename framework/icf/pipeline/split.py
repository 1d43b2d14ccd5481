"""Stage "split": which fold validates which row; nothing that belongs together is ever torn apart."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold

from icf.components import IntArray
from icf.errors import DataError
from icf.pipeline.files import digest, digest_strings, write_json, write_table
from icf.pipeline.folder import RunFolder
from icf.pipeline.prepare import Rows
from icf.sections import Split as SplitSection

TRAIN_ONLY = -1
"""Fold of rows that every fold trains on and none validates."""


SEARCHED = 2000
"""About how many groups are left to the search for the most even folds; at least one of a kind for each fold."""


@dataclass(frozen=True)
class Split:
    """``folds`` is int64 [N]: the fold that validates a row, or TRAIN_ONLY; ``groups`` are the units kept together."""

    method: str
    folds: IntArray
    groups: tuple[str, ...]
    warnings: tuple[str, ...]

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

    Raises:
        DataError: too few rows or groups, no fold column, or an overlap between folds.
    """
    groups = merge_groups(rows, together=section.duplicates == "together")
    method = _choose_method(section, rows, groups)
    folds = _assign(method, section, rows, groups, seed)
    check_overlap(rows, folds, check_images=section.duplicates != "allow")
    found = _find_warnings(rows.targets, groups, folds, classes)
    return Split(method, folds, groups, tuple(found))


def save_split(split: Split, rows: Rows, folder: RunFolder) -> None:
    """Write split.parquet and its summary with the hash."""
    columns = {"id": rows.ids, "target": rows.targets, "group": split.groups, "fold": split.folds}
    write_table(folder.split, {**columns, "row": rows.pixel_rows})
    sizes = np.bincount(split.folds[split.folds >= 0]).tolist()
    summary = {"method": split.method, "hash": split.hash, "rows": sizes, "warnings": list(split.warnings)}
    write_json(folder.path / "split.json", summary)


def merge_groups(rows: Rows, *, together: bool) -> tuple[str, ...]:
    """Return the group of each row: the data set's, joined where identical images connect two of them."""
    groups = list(rows.groups) if rows.groups is not None else [f"row {name}" for name in rows.ids]
    if not together:
        return tuple(groups)
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while (above := parent.get(name, name)) != name:
            parent[name] = parent.get(above, above)
            name = above
        return name

    first: dict[bytes, str] = {}
    for group, image in zip(groups, rows.digests.tolist(), strict=True):
        left, right = find(group), find(first.setdefault(image, group))
        if left != right:
            parent[max(left, right)] = min(left, right)
    return tuple(find(group) for group in groups)


def _choose_method(section: SplitSection, rows: Rows, groups: tuple[str, ...]) -> str:
    if section.method != "auto":
        return section.method
    if rows.folds is not None:
        return "predefined"
    return "stratified-group-kfold" if len(set(groups)) < len(groups) else "stratified-kfold"


def _assign(method: str, section: SplitSection, rows: Rows, groups: tuple[str, ...], seed: int) -> IntArray:
    if method == "predefined":
        return _read_folds(rows)
    units = len(rows) if method == "stratified-kfold" else len(set(groups))
    count, validated = section.folds, section.folds
    if method == "group-holdout":
        share = _simplify(section.holdout, units)
        count, validated = share.denominator, share.numerator
    if units < count:
        what = "rows" if method == "stratified-kfold" else "groups"
        raise DataError(f"split: {units} {what} can't be split into {count} folds; lower split.folds")
    divide = {"stratified-kfold": _divide_rows, "group-kfold": _divide_groups}.get(method, _divide_groups_evenly)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small classes get our own warning, with names
        try:
            folds = divide(rows.targets, groups, count, seed)
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


def _divide_rows(targets: IntArray, groups: tuple[str, ...], count: int, seed: int) -> IntArray:
    del groups
    return _number_parts(StratifiedKFold(count, shuffle=True, random_state=seed).split(targets, targets), len(targets))


def _divide_groups(targets: IntArray, groups: tuple[str, ...], count: int, seed: int) -> IntArray:
    splitter = GroupKFold(count, shuffle=True, random_state=seed)
    return _number_parts(splitter.split(targets, targets, groups), len(targets))


def _divide_groups_evenly(targets: IntArray, groups: tuple[str, ...], count: int, seed: int) -> IntArray:
    """Stratify groups with StratifiedGroupKFold; of very many groups, deal most of those with the same labels first.

    Such groups are interchangeable, so every fold gets equally many of them, and the greedy search, which
    takes about half a millisecond for each group, balances the rest.
    """
    _, unit_of = np.unique(groups, return_inverse=True)
    alike = _find_alike(targets, unit_of)
    kept = max(1, SEARCHED // (len(alike) * count))
    dealt = [units[: max(0, len(units) // count - kept) * count] for units in alike]
    fold_of_unit = np.full(int(unit_of.max()) + 1, TRAIN_ONLY, dtype=np.int64)
    if chosen := [unit for units in dealt for unit in units]:
        kinds = np.repeat(np.arange(len(dealt)), [len(units) for units in dealt])
        fold_of_unit[chosen] = _divide_rows(kinds, (), count, seed)
    folds = fold_of_unit[unit_of]
    rest = np.flatnonzero(folds == TRAIN_ONLY)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    folds[rest] = _number_parts(splitter.split(rest, targets[rest], unit_of[rest]), len(rest))
    return folds


def _find_alike(targets: IntArray, unit_of: IntArray) -> list[list[int]]:
    """Return lists of units; all units of a list hold the same labels equally often."""
    labels: list[list[int]] = [[] for _ in range(int(unit_of.max()) + 1)]
    for unit, target in zip(unit_of.tolist(), targets.tolist(), strict=True):
        labels[unit].append(target)
    alike: dict[tuple[int, ...], list[int]] = {}
    for unit, found in enumerate(labels):
        alike.setdefault(tuple(sorted(found)), []).append(unit)
    return list(alike.values())


def _number_parts(parts: Iterable[tuple[IntArray, IntArray]], rows: int) -> IntArray:
    folds = np.full(rows, TRAIN_ONLY, dtype=np.int64)
    for fold, (_, validation) in enumerate(parts):
        folds[validation] = fold
    return folds


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
        _check_units(rows.groups, folds, "group", "an image of it is in training and another in validation")
    if check_images:
        remedy = 'set split.method = "auto" to keep identical images together, or split.duplicates = "allow"'
        _check_units(rows.digests.tolist(), folds, "image", remedy, names=rows.ids)


def _check_units(
    units: Sequence[str | bytes],
    folds: IntArray,
    what: str,
    remedy: str,
    names: tuple[str, ...] | None = None,
) -> None:
    seen: dict[str | bytes, int] = {}
    torn: dict[str | bytes, str] = {}
    for position, (unit, fold) in enumerate(zip(units, folds.tolist(), strict=True)):
        if seen.setdefault(unit, fold) != fold:
            torn.setdefault(unit, names[position] if names else str(unit))
    if torn:
        some = ", ".join(list(torn.values())[:5])
        raise DataError(f"split: {len(torn)} {what}s stand in more than one fold ({some}): {remedy}")


def _find_warnings(targets: IntArray, groups: tuple[str, ...], folds: IntArray, classes: tuple[str, ...]) -> list[str]:
    found = []
    small = _find_absent(targets, folds, len(classes))
    if small:
        units = Counter(target for target, _ in set(zip(targets.tolist(), groups, strict=True)))
        named = ", ".join(f"{classes[c]} ({units[c]})" for c in small)
        found.append(f"classes with too few groups or rows: some fold validates or trains on none of them: {named}")
    repeated = len(targets) - len(set(groups))
    if repeated and all(group.startswith("row ") for group in groups):
        found.append(f"{repeated} images are identical copies of others; copies are kept in one fold")
    return found


def _find_absent(targets: IntArray, folds: IntArray, num_classes: int) -> list[int]:
    """Return the classes that some fold has in its training or its validation rows, but not in both."""
    counts = np.zeros((num_classes, int(folds.max()) + 2), dtype=np.int64)
    np.add.at(counts, (targets, folds), 1)  # TRAIN_ONLY is the last column
    total = counts.sum(axis=1, keepdims=True)
    validation = counts[:, :-1]
    absent = ((validation == 0) | (validation == total)).any(axis=1) & (total[:, 0] > 0)
    return [int(index) for index in np.flatnonzero(absent)]
