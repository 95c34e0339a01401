"""Splits by query, cross-fitting, and the impossibility of a leaking training row."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import RankerConfig, SplitConfig
from engine.relevance.boosted import train_boosted
from engine.relevance.folds import CrossFitted, LeakageError, ServedRows, split_queries
from engine.relevance.ranker import train_ranker

SMALL = SplitConfig(folds=3, cross_validate_below=10, cv_folds=5, cv_repeats=2)


def _rows(producer: np.ndarray, query: np.ndarray, seen: np.ndarray) -> CrossFitted:
    dense = np.arange(len(query), dtype=np.float64)[:, None]
    return CrossFitted(("dm",), dense, np.zeros(len(query), dtype=np.int64), query, producer, seen)


# ---------------------------------------------------------------- provenance


def test_a_row_made_by_a_stack_that_saw_its_query_cannot_be_built() -> None:
    seen = np.array([[True, True], [False, True], [True, False]])
    query = np.array([0, 1])
    _rows(np.array([1, 2]), query, seen)
    with pytest.raises(LeakageError, match=r"1 of 2 training rows.*row 1: query 1, stack 1"):
        _rows(np.array([1, 1]), query, seen)
    with pytest.raises(LeakageError):
        _rows(np.array([0, 0]), query, seen)


def test_a_proven_row_stays_proven() -> None:
    seen = np.array([[False, False], [True, True]])
    producer = np.array([0, 0])
    rows = _rows(producer, np.array([0, 1]), seen)
    producer[:] = 1  # the caller's array is not the one that was proven
    assert not rows.leaks.any()
    for name in ("dense", "producer", "seen", "query", "match_level"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(rows, name)[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        rows.producer = np.array([1, 1])  # type: ignore[misc]
    with pytest.raises(LeakageError):
        dataclasses.replace(rows, producer=np.array([1, 1]))


def test_only_the_comparison_constructor_admits_leaks_and_it_marks_them() -> None:
    query = np.array([0, 1])
    seen = np.array([[True, False]])
    naive = CrossFitted.naive_for_comparison_only(["dm"], np.zeros((2, 1)), None, query, np.zeros(2, dtype=int), seen)
    assert naive.naive
    assert naive.leaks.tolist() == [True, False]
    assert naive.select(np.array([0])).naive
    assert not _rows(np.array([0]), np.array([1]), seen).naive


def test_a_row_that_rests_on_its_own_query_is_a_leak() -> None:
    seen = np.zeros((1, 3), dtype=bool)
    read = np.array([[1, 2], [0, -1], [0, 1]])
    query = np.array([0, 0, 1, 2])

    def rows(read: np.ndarray) -> CrossFitted:
        return CrossFitted(("a",), np.zeros((4, 1)), None, query, np.zeros(4), seen, reads=(read,))

    assert not rows(read).leaks.any()
    own = read.copy()
    own[2, 1] = 2
    with pytest.raises(LeakageError, match="query 2"):
        rows(own)


def test_selecting_keeps_rows_and_provenance() -> None:
    seen = np.zeros((1, 3), dtype=bool)
    read = np.array([[1], [2], [0]])
    rows = CrossFitted(
        ("a", "b"), np.arange(6.0).reshape(3, 2), np.array([0, 1, 2]), np.arange(3), np.zeros(3), seen, (read,)
    )
    part = rows.select(np.array([True, False, True]))
    assert part.dense.tolist() == [[0.0, 1.0], [4.0, 5.0]]
    assert part.query.tolist() == [0, 2]
    assert part.reads[0].tolist() == read.tolist()


@pytest.mark.parametrize("train", [train_ranker, train_boosted])
def test_rankers_take_no_other_training_rows(train) -> None:
    served = ServedRows(np.zeros((4, 1)), None, np.arange(4))
    extra = {"config": RankerConfig(), "grade_values": np.array([0.0, 1.0])} if train is train_ranker else {}
    with pytest.raises(TypeError, match="CrossFitted"):
        train(served, np.array([0, 1, 0, 1]), seed=0, **extra)


def test_supervision_leaves_out_exactly_the_own_fold() -> None:
    split = split_queries([f"q{i}" for i in range(30)], np.ones(30, dtype=bool), None, SMALL, seed=1)
    supervising = np.arange(30) < 20
    seen = split.supervision(supervising)
    assert seen.shape == (4, 30)
    assert np.array_equal(seen[0], supervising)
    for f in (1, 2, 3):
        assert not seen[f, split.fold == f].any()
        assert np.array_equal(seen[f, split.fold != f], supervising[split.fold != f])
    assert not seen[split.fold, np.arange(30)].any()


# ---------------------------------------------------------------- splits


@settings(max_examples=40, deadline=None)
@given(st.integers(10, 200), st.integers(0, 5), st.randoms(use_true_random=False))
def test_splits_have_the_stated_shares_whatever_the_order(n: int, seed: int, random) -> None:
    ids = [f"q{i}" for i in range(n)]
    judged = np.arange(n) % 3 != 0
    split = split_queries(ids, judged, None, dataclasses.replace(SMALL, cross_validate_below=1), seed=seed)
    count = {name: int((split.split == name).sum()) for name in ("train", "valid", "test", "log")}
    assert count["log"] == int((~judged).sum())
    assert abs(count["test"] - 0.35 * judged.sum()) <= 1
    assert abs(count["valid"] - 0.15 * judged.sum()) <= 1
    assert np.bincount(split.fold, minlength=4)[1:].min() >= n // 3
    order = list(range(n))
    random.shuffle(order)
    again = split_queries(
        [ids[i] for i in order], judged[order], None, dataclasses.replace(SMALL, cross_validate_below=1), seed=seed
    )
    assert np.array_equal(again.split, split.split[order])
    assert np.array_equal(again.fold, split.fold[order])


def test_another_seed_is_another_split() -> None:
    ids, judged = [f"q{i}" for i in range(100)], np.ones(100, dtype=bool)
    splits = [split_queries(ids, judged, None, SMALL, seed=seed) for seed in (0, 1)]
    assert (splits[0].split != splits[1].split).any()
    assert (splits[0].fold != splits[1].fold).any()


def test_a_given_split_is_kept_even_when_small() -> None:
    given_split = ["train", "train", "valid", "test", None]
    judged = np.array([True, True, True, True, False])
    split = split_queries(list("abcde"), judged, given_split, SMALL, seed=0)
    assert split.mode == "holdout"
    assert split.split.tolist() == ["train", "train", "valid", "test", "log"]


def test_validation_queries_are_drawn_from_train_where_none_are_given() -> None:
    given_split = ["test"] * 20 + ["train"] * 80
    split = split_queries([f"q{i}" for i in range(100)], np.ones(100, dtype=bool), given_split, SMALL, seed=0)
    assert (split.split[:20] == "test").all()
    assert (split.split[20:] == "valid").sum() == 12
    assert not (split.split[20:] == "test").any()


def test_equal_texts_fall_on_the_same_side() -> None:
    groups = [f"text {i // 3}" for i in range(120)]
    split = split_queries([f"q{i}" for i in range(120)], np.ones(120, dtype=bool), None, SMALL, seed=0, groups=groups)
    for g in set(groups):
        inside = [i for i, group in enumerate(groups) if group == g]
        assert len(set(split.split[inside])) == 1
        assert len(set(split.fold[inside].tolist())) == 1


def test_few_judged_queries_are_cross_validated() -> None:
    judged = np.arange(12) < 9
    split = split_queries([f"q{i}" for i in range(12)], judged, None, SMALL, seed=0)
    assert split.mode == "cross_validation"
    assert split.cv_fold.shape == (2, 12)
    assert (split.cv_fold[:, ~judged] == -1).all()
    assert (split.split[judged] == "test").all()
    for repeat in split.cv_fold:
        sizes = np.bincount(repeat[judged], minlength=5)
        assert sizes.min() >= 1
        assert sizes.max() <= 2
    assert (split.cv_fold[0] != split.cv_fold[1]).any()
