"""A policy on stored rankings, worked by hand and against the evaluation's own nDCG."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.audit.policy import Pairs, Policy, governed, ndcg, places, try_policy
from engine.audit.traffic import PAGE
from engine.evaluation import pairs as evaluation


def one_query(scores: list[float], first: list[int] | None = None) -> Pairs:
    n = len(scores)
    return stored(np.zeros(n, dtype=np.int64), np.array(scores), np.array(first or range(1, n + 1)), np.full(n, np.nan))


def stored(query: np.ndarray, score: np.ndarray, first: np.ndarray, grade: np.ndarray) -> Pairs:
    return Pairs(query, score, first, places(query, score, first), grade)


def ranks(pairs: Pairs, inside: list[int], policy: Policy) -> list[int]:
    held = np.isin(np.arange(len(pairs.score)), inside)
    return places(pairs.query, governed(pairs, held, policy), pairs.first).tolist()


def test_a_bonus_moves_the_group_up_by_its_size() -> None:
    pairs = one_query([4.0, 3.0, 2.0, 1.0])
    assert ranks(pairs, [3], Policy(bonus=1.5)) == [1, 2, 4, 3]
    assert ranks(pairs, [0], Policy(bonus=-5.0)) == [4, 1, 2, 3]
    assert ranks(pairs, [], Policy(bonus=9.0)) == [1, 2, 3, 4]


def test_a_cap_puts_what_is_too_much_just_behind_the_first_ten() -> None:
    pairs = one_query([float(20 - i) for i in range(14)])
    # Places 1, 2, 3 are the group's: with a cap of one, 2 and 3 go behind the tenth that may stay (place 12).
    assert ranks(pairs, [0, 1, 2], Policy(cap=1)) == [1, 11, 12, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14]
    assert ranks(pairs, [0, 1, 2], Policy(cap=0)) == [11, 12, 13, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14]
    assert ranks(pairs, [0, 1, 2], Policy(cap=3)) == list(range(1, 15))
    assert ranks(pairs, [12, 13], Policy(cap=0)) == list(range(1, 15)), "what is not on page one stays"


def test_a_cap_where_fewer_than_ten_others_are() -> None:
    assert ranks(one_query([3.0, 2.0, 1.0]), [0, 1], Policy(cap=0)) == [2, 3, 1]
    assert ranks(one_query([3.0, 2.0]), [0, 1], Policy(cap=0)) == [1, 2], "nobody is left to stand before them"


def test_what_was_not_retrieved_has_no_place_whatever_the_policy() -> None:
    pairs = one_query([9.0, 1.0], first=[0, 1])
    assert ranks(pairs, [0], Policy(bonus=5.0)) == [0, 1]


def test_shares_and_price_by_hand() -> None:
    # Two queries of three items; the group is item 2 of each, which is graded 3 in the first query and 0 in the second.
    pairs = stored(
        np.array([0, 0, 0, 1, 1, 1]), np.array([3.0, 2.0, 1.0, 3.0, 2.0, 1.0]), np.array([1, 2, 3, 1, 2, 3]),
        np.array([0.0, np.nan, 3.0, 3.0, np.nan, 0.0]),
    )  # fmt: skip
    inside = np.array([False, False, True] * 2)
    made = try_policy(pairs, inside, Policy(bonus=10.0), np.array([1.0, 3.0]), np.array([True, True]))
    whole = 1 + 1 / np.log2(3) + 0.5
    assert made.new_rank.tolist() == [2, 3, 1, 2, 3, 1]
    assert made.share.before == pytest.approx(0.5 / whole)
    assert made.share.after == pytest.approx(1 / whole)
    assert made.share.difference.value == pytest.approx(0.5 / whole)
    assert made.shown == made.shown._replace(before=1.0, after=1.0)  # of three candidates all are on page one
    # Judged alone: graded 3 stood second of two (1 / log2 3) and comes first; in the other query the reverse.
    assert made.ndcg_before.tolist() == pytest.approx([1 / np.log2(3), 1.0])
    assert made.ndcg_after.tolist() == pytest.approx([1.0, 1 / np.log2(3)])
    assert made.ndcg.difference.value == pytest.approx(0.0)
    assert made.ndcg.difference.n == 2
    assert made.changed.tolist() == [True, True]


def test_no_policy_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    pairs = stored(
        np.repeat(np.arange(5), 20), rng.random(100), np.tile(np.arange(1, 21), 5), rng.integers(0, 4, 100) * 1.0
    )
    made = try_policy(pairs, rng.random(100) < 0.3, Policy(), np.ones(5), np.ones(5, dtype=bool))
    assert made.new_rank.tolist() == pairs.rank.tolist()
    assert made.share.difference[:3] == (0.0, 0.0, 0.0)
    assert made.ndcg.difference[:3] == (0.0, 0.0, 0.0)
    assert not made.changed.any()


@given(st.integers(0, 10_000))
def test_ndcg_is_the_evaluations_own(seed: int) -> None:
    rng = np.random.default_rng(seed)
    query = np.sort(rng.integers(0, 4, 40))
    score = rng.integers(0, 6, 40) * 0.5  # ties
    grade = np.where(rng.random(40) < 0.3, np.nan, rng.integers(0, 4, 40).astype(float))
    judged = np.isfinite(grade)
    theirs = evaluation.ndcg(score[judged], grade[judged], query[judged], 5)
    assert ndcg(score, grade, query, 5).tolist() == pytest.approx(theirs.tolist(), nan_ok=True)


@given(st.integers(0, 10_000), st.integers(0, 4))
def test_a_cap_holds_and_keeps_the_order_within(seed: int, cap: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(12, 40))
    pairs = one_query(rng.random(n).round(2).tolist())
    inside = rng.random(n) < 0.5
    old = places(pairs.query, pairs.score, pairs.first)
    new = places(pairs.query, governed(pairs, inside, Policy(cap=cap)), pairs.first)
    assert sorted(new.tolist()) == list(range(1, n + 1))
    if (~inside).sum() + cap >= PAGE:
        assert (inside & (new <= PAGE)).sum() <= cap
    for group in (inside, ~inside):
        order = np.argsort(old[group], kind="stable")
        assert (np.diff(new[group][order]) > 0).all()
