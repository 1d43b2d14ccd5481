"""Checks of ensemblers."""

from __future__ import annotations

import numpy as np

from icf.components import Combiner, EnsemblerContext, FloatArray, IntArray
from icf.testing.case import Case, expect

CLASSES = 4
ROWS = 30
MEMBERS = 3


def build_combiner(case: Case) -> Combiner:
    """Build the ensembler for CLASSES classes."""
    combiner: Combiner = case.build(EnsemblerContext(num_classes=CLASSES, seed=1))
    return combiner


def draw_members(members: int = MEMBERS, rows: int = ROWS, seed: int = 0) -> FloatArray:
    """Return the probabilities of members, float64 [members, rows, CLASSES]."""
    return np.random.default_rng(seed).dirichlet(np.ones(CLASSES), size=(members, rows))


def draw_targets(rows: int = ROWS) -> IntArray:
    """Return targets in which every class occurs."""
    return np.arange(rows, dtype=np.int64) % CLASSES


def fit_and_combine(case: Case, members: FloatArray) -> FloatArray:
    """Learn from members and combine them."""
    combiner = build_combiner(case)
    combiner.fit(members.copy(), draw_targets(members.shape[1]))
    return np.asarray(combiner.combine(members.copy()))


def check_rows(case: Case) -> None:
    """Members [M, N, K] become probabilities [N, K] from 0 up, whose rows sum to one."""
    combined = fit_and_combine(case, draw_members())
    found, wanted = combined.shape, (ROWS, CLASSES)
    expect(found == wanted, f"the result has the shape {found}, not {wanted}")
    expect(np.issubdtype(combined.dtype, np.floating), f"the result is {combined.dtype}")
    expect((combined >= 0).all(), "a probability is below 0")
    sums = combined.sum(axis=1)
    expect(np.allclose(sums, 1, atol=1e-6), f"rows sum to between {sums.min():g} and {sums.max():g}, not to one")


def check_one_member(case: Case) -> None:
    """One member alone keeps its classes."""
    members = draw_members(members=1)
    changed = int((fit_and_combine(case, members).argmax(axis=1) != members[0].argmax(axis=1)).sum())
    expect(changed == 0, f"{changed} of {ROWS} rows get another class than their only member says")


def check_member_order(case: Case) -> None:
    """The order of the members does not matter."""
    members = draw_members()
    one, other = fit_and_combine(case, members), fit_and_combine(case, members[[2, 0, 1]])
    expect(np.allclose(one, other, atol=1e-9), f"in another order rows differ by up to {abs(one - other).max():g}")


def check_test_rows(case: Case) -> None:
    """What was learned from out-of-fold rows is applied to test rows, each by itself, however many there are."""
    combiner, test = build_combiner(case), draw_members(rows=7, seed=1)
    combiner.fit(draw_members(), draw_targets())
    together = np.asarray(combiner.combine(test.copy()))
    expect(together.shape == (7, CLASSES), f"7 test rows become {together.shape}")
    alone = np.concatenate([combiner.combine(test[:, row : row + 1].copy()) for row in range(7)])
    expect(np.allclose(together, alone, atol=1e-9), "a row's probabilities depend on the other rows")


ENSEMBLER_CHECKS = (check_rows, check_one_member, check_member_order, check_test_rows)
