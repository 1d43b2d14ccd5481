"""Deals groups of rows among folds so that every fold gets about the same share of each class."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from icf.components import IntArray

UNASSIGNED = -1

SEARCHED = 2000
"""About how many groups are left to the search for the most even folds; at least one of a kind for each fold."""

LARGEST_SEARCH = 4000
"""Groups that StratifiedGroupKFold may place; its time and memory grow with groups times classes."""


def deal_rows(targets: IntArray, count: int, seed: int) -> IntArray:
    """Return the fold of each row, int64 [N], stratified by target; raises ValueError for too few rows."""
    from sklearn.model_selection import StratifiedKFold  # a second of imports, which not every split needs

    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    return number_parts(splitter.split(targets, targets), len(targets))


def number_parts(parts: Iterable[tuple[IntArray, IntArray]], rows: int) -> IntArray:
    """Return the fold of each row, int64 [N], from scikit-learn's pairs of training and validation rows."""
    folds = np.full(rows, UNASSIGNED, dtype=np.int64)
    for fold, (_, validation) in enumerate(parts):
        folds[validation] = fold
    return folds


def deal_groups(targets: IntArray, groups: IntArray, count: int, seed: int) -> IntArray:
    """Return the fold of each row, int64 [N]; ``groups`` are numbered from 0, and none is torn.

    Of very many groups, most of those with the same labels are dealt first: they are interchangeable, so every fold
    gets equally many. The others are placed one after the other by StratifiedGroupKFold, or, where they are still too
    many for it, by ``place_groups``. Raises ValueError for too few rows.
    """
    alike = find_alike(targets, groups)
    kept = max(1, SEARCHED // (len(alike) * count))
    dealt = [kind[: max(0, len(kind) // count - kept) * count] for kind in alike]
    fold_of_group = np.full(int(groups.max()) + 1, UNASSIGNED, dtype=np.int64)
    if any(map(len, dealt)):
        kinds = np.repeat(np.arange(len(dealt)), [len(kind) for kind in dealt])
        fold_of_group[np.concatenate(dealt)] = deal_rows(kinds, count, seed)
    folds = fold_of_group[groups]
    rest = np.flatnonzero(folds == UNASSIGNED)
    left = np.unique(groups[rest], return_inverse=True)[1]
    if left.max() < LARGEST_SEARCH:
        from sklearn.model_selection import StratifiedGroupKFold

        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        folds[rest] = number_parts(splitter.split(rest, targets[rest], left), len(rest))
    else:
        folds[rest] = place_groups(targets[rest], left, count, seed)
    return folds


def find_alike(targets: IntArray, groups: IntArray) -> list[IntArray]:
    """Return lists of groups; all groups of a list hold the same labels equally often."""
    order = np.lexsort((targets, groups))
    labels = targets[order]
    sizes = np.bincount(groups)
    starts = np.cumsum(sizes) - sizes
    alike: list[IntArray] = []
    for size in np.unique(sizes):
        members = np.flatnonzero(sizes == size)
        table = labels[starts[members][:, None] + np.arange(size)]
        kinds = np.unique(table, axis=0, return_inverse=True)[1].ravel()
        by_kind = members[np.argsort(kinds, kind="stable")]
        alike += np.split(by_kind, np.cumsum(np.bincount(kinds))[:-1])
    return sorted(alike, key=lambda kind: int(kind[0]))


def place_groups(targets: IntArray, groups: IntArray, count: int, seed: int) -> IntArray:
    """Return the fold of each row, int64 [N]: the rule of StratifiedGroupKFold, for hundreds of thousands of groups.

    Groups with the most uneven labels come first; each goes where the standard deviations of the classes' shares over
    the folds become smallest in sum. Only the classes of the group change, so only they are looked at: time and
    memory grow with the rows, and not with groups times classes.
    """
    classes = int(targets.max()) + 1
    total = np.bincount(targets, minlength=classes)
    if count > total.max():
        raise ValueError(f"no class has {count} rows, one for each fold")
    keys, numbers = np.unique(groups * classes + targets, return_counts=True)
    group_of, labels = np.divmod(keys, classes)
    sizes = np.bincount(groups)
    bounds = np.searchsorted(group_of, np.arange(len(sizes) + 1)).tolist()
    placed = np.zeros((count, classes), dtype=np.int64)
    fold_of_group = np.empty(len(sizes), dtype=np.int64)
    for group in _order_groups(sizes, np.bincount(group_of, numbers**2), classes, seed):
        part = slice(bounds[group], bounds[group + 1])
        found = labels[part]
        fold = _choose_fold(placed[:, found], numbers[part], total[found], placed)
        placed[fold, found] += numbers[part]
        fold_of_group[group] = fold
    return fold_of_group[groups]


def _order_groups(sizes: IntArray, squares: IntArray, classes: int, seed: int) -> list[int]:
    """Return the groups, those first whose counts of the classes vary most; equal ones in random order."""
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    variance = squares / classes - (sizes / classes) ** 2
    order: list[int] = shuffled[np.argsort(-variance[shuffled], kind="stable")].tolist()
    return order


def _choose_fold(there: IntArray, more: IntArray, total: IntArray, placed: IntArray) -> int:
    """Return the fold to put a group into: ``there`` is int64 [folds, k], ``more`` and ``total`` int64 [k].

    The variance over folds after adding ``more`` to fold f is, for each class, that of sums of squares.
    """
    count = len(there)
    squares = (there**2).sum(axis=0) + 2 * there * more + more**2
    variance = squares * count - (there.sum(axis=0) + more) ** 2
    spread = (np.sqrt(variance) / total).sum(axis=1)
    best = np.flatnonzero(spread <= spread.min() * (1 + 1e-9))
    return int(best[0]) if len(best) == 1 else int(best[placed[best].sum(axis=1).argmin()])


def deal_labels(targets: IntArray, groups: IntArray, count: int, seed: int) -> IntArray:
    """Return the fold of each row, int64 [N], of labels int64 [N, K]; ``groups`` are numbered from 0, and none is torn.

    Every fold gets about the same share of each label, and of all rows: these count as one more label, and so do rows
    without any. Raises ValueError for too few rows.
    """
    everywhere = np.column_stack([targets, targets.sum(axis=1) == 0, np.ones(len(targets), np.int64)])
    everywhere = everywhere[:, everywhere.any(axis=0)]
    chosen, found = np.nonzero(everywhere)
    fold_of_pair = place_groups(found, groups[chosen], count, seed)
    folds: IntArray = fold_of_pair[found == found.max()]
    return folds
