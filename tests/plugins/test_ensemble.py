from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.ensemble import VotingClassifier
from sklearn.tree import DecisionTreeClassifier

import icf
from icf_ensemble.plugin import SoftVoteParams
from icf_ensemble.votes import HardVote, SoftVote, hard_vote, soft_vote


@st.composite
def member_arrays(draw: st.DrawFn) -> icf.FloatArray:
    shape = draw(st.integers(1, 7)), draw(st.integers(1, 12))
    classes = draw(st.integers(2, 18))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    concentration = draw(st.sampled_from([0.05, 1.0, 100.0]))
    members = rng.dirichlet(np.full(classes, concentration), shape)
    sure = np.eye(classes)[members.argmax(axis=2)]
    return sure if draw(st.booleans()) else members


@given(member_arrays(), st.data())
@settings(deadline=None)
def test_soft_vote_is_the_weighted_mean(members: icf.FloatArray, data: st.DataObject) -> None:
    count = len(members)
    weights = data.draw(st.lists(st.floats(0.01, 100), min_size=count, max_size=count))
    combined = SoftVote(members.shape[2], weights).combine(members)
    np.testing.assert_allclose(combined, np.average(members, axis=0, weights=weights), atol=1e-12)
    np.testing.assert_allclose(combined.sum(axis=1), 1)


def test_soft_vote_without_weights_is_the_mean_and_only_ratios_count() -> None:
    members = np.random.default_rng(0).dirichlet(np.ones(4), (3, 5))
    np.testing.assert_allclose(SoftVote(4).combine(members), members.mean(axis=0))
    np.testing.assert_allclose(SoftVote(4, (1, 2, 0)).combine(members), SoftVote(4, (10, 20, 0)).combine(members))


@given(member_arrays())
@settings(deadline=None)
def test_hard_vote_is_the_majority_and_the_mean_breaks_ties(members: icf.FloatArray) -> None:
    classes = members.shape[2]
    combined = HardVote(classes).combine(members)
    votes = np.stack([(members.argmax(axis=2) == label).sum(axis=0) for label in range(classes)], axis=1)
    mean = members.mean(axis=0)
    assert combined.shape == mean.shape
    np.testing.assert_allclose(combined.sum(axis=1), 1)
    np.testing.assert_allclose(combined * (len(members) + 1) - mean, votes, atol=1e-9)
    winners = combined.argmax(axis=1)
    for row, winner in enumerate(winners):
        leaders = np.flatnonzero(votes[row] == votes[row].max())
        assert winner in leaders
        assert mean[row, winner] >= mean[row, leaders].max() - 1e-12


def test_a_tie_goes_to_the_higher_mean_and_not_to_the_lower_class() -> None:
    members = np.array([[[0.6, 0.4, 0.0]], [[0.0, 0.1, 0.9]]])
    assert HardVote(3).combine(members).argmax() == 2


def test_a_majority_holds_against_any_mean() -> None:
    barely = [0.34, 0.33, 0.33]
    members = np.array([[barely], [barely], [[0.0, 1.0, 0.0]]])
    combined = HardVote(3).combine(members)
    assert members.mean(axis=0).argmax() == 1
    assert combined.argmax() == 0


def test_a_class_without_votes_keeps_its_column() -> None:
    members = np.array([[[0.7, 0.3, 0.0]], [[0.8, 0.2, 0.0]]])
    np.testing.assert_allclose(HardVote(3).combine(members), [[2.75 / 3, 0.25 / 3, 0.0]])


def test_votes_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(200, 3)), rng.integers(0, 4, 200)
    trees = [(str(k), DecisionTreeClassifier(max_depth=3, max_features=1, random_state=k)) for k in range(5)]
    soft = VotingClassifier(trees, voting="soft").fit(features, targets)
    members = np.stack([tree.predict_proba(features) for tree in soft.estimators_])
    np.testing.assert_allclose(SoftVote(4).combine(members), soft.predict_proba(features))
    hard = VotingClassifier(trees, voting="hard").fit(features, targets).predict(features)
    counts = np.stack([(members.argmax(axis=2) == k).sum(axis=0) for k in range(4)], axis=1)
    clear = np.sort(counts, axis=1)[:, -1] > np.sort(counts, axis=1)[:, -2]
    assert clear.sum() > 100
    np.testing.assert_array_equal(HardVote(4).combine(members).argmax(axis=1)[clear], hard[clear])


def test_rounding_of_saved_probabilities_is_borne() -> None:
    members = np.random.default_rng(0).dirichlet(np.ones(18), (5, 50)).astype(np.float16).astype(np.float64)
    for vote in (SoftVote(18), HardVote(18)):
        np.testing.assert_allclose(vote.combine(members).sum(axis=1), 1, rtol=1e-12)


def test_factories_make_combiners_that_need_no_fit() -> None:
    ctx = icf.EnsemblerContext(num_classes=2)
    members = np.array([[[0.9, 0.1]], [[0.3, 0.7]]])
    soft = soft_vote(SoftVoteParams(weights=(3.0, 1.0)), ctx)
    hard = hard_vote(icf.Params(), ctx)
    for vote in (soft, hard):
        before = vote.combine(members)
        vote.fit(members, np.array([1]))
        np.testing.assert_array_equal(vote.combine(members), before)
    np.testing.assert_allclose(soft.combine(members), [[0.75, 0.25]])


def test_the_number_of_weights_must_be_that_of_the_members() -> None:
    vote = SoftVote(2, (1.0, 2.0, 3.0))
    members = np.full((2, 4, 2), 0.5)
    for call in (lambda: vote.combine(members), lambda: vote.fit(members, np.zeros(4, np.int64))):
        with pytest.raises(icf.PluginError, match="3 are given, but the ensemble has 2 members"):
            call()


@pytest.mark.parametrize("vote", [SoftVote(2), HardVote(2)])
def test_what_is_no_probability_is_refused(vote: SoftVote | HardVote) -> None:
    for shape in ((4, 2), (0, 4, 2), (3, 4, 3)):
        with pytest.raises(icf.DataError, match="2 classes"):
            vote.combine(np.full(shape, 0.5))
    for row in ([0.0, 0.0], [np.nan, 1.0], [-0.5, 1.5], [0.9, 0.9]):
        members = np.full((2, 3, 2), 0.5)
        members[1, 2] = row
        with pytest.raises(icf.DataError, match="member 1, row 2"):
            vote.combine(members)


@pytest.mark.parametrize("weights", [[0.0, 0.0], [-1.0, 2.0], [float("nan")]])
def test_weights_that_weigh_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValidationError):
        SoftVoteParams.model_validate({"weights": weights})


def test_a_soft_vote_of_labels_is_the_weighted_mean_and_nothing_sums_to_one() -> None:
    members = np.random.default_rng(0).random((3, 5, 4))
    found = SoftVote(4, (1, 2, 0), of_labels=True).combine(members)
    np.testing.assert_allclose(found, (members[0] + 2 * members[1]) / 3)
    np.testing.assert_allclose(SoftVote(4, of_labels=True).combine(members), members.mean(axis=0))
    with pytest.raises(icf.DataError, match="numbers from 0 to 1"):
        SoftVote(4, of_labels=True).combine(members + 1)
