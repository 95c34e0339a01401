"""What became of codes: matched by hand, against scikit-learn, and by property."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from engine.audit.drift import adjusted_rand, drift

CODES = st.integers(0, 3)
SIDS = st.lists(st.tuples(CODES, CODES, CODES), min_size=2, max_size=40)


def test_renamed_codes_are_no_drift() -> None:
    old = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    new = np.array(
        [[5, 9], [5, 3], [2, 3], [2, 9]]
    )  # every code has another name, and the second level's differ by parent
    found = drift(old, new, np.array([3.0, 1.0, 2.0, 2.0]))
    assert found.kept.all()
    assert found.rand == [1.0, 1.0]
    assert found.matches[0] == {(0,): (5,), (1,): (2,)}
    assert found.matches[1] == {(0, 0): (5, 9), (0, 1): (5, 3), (1, 0): (2, 3), (1, 1): (2, 9)}


def test_the_match_keeps_most_items() -> None:
    # of code 0, 6 items went to A (7) and 4 to B (8); of code 1, 5 to A: one code each, so 0 -> B keeps 4 + 5 = 9, 0 -> A keeps 6
    old, new = np.array([[0], [0], [1]]), np.array([[7], [8], [7]])
    found = drift(old, new, np.array([6.0, 4.0, 5.0]))
    assert found.matches[0] == {(0,): (8,), (1,): (7,)}
    assert found.kept[:, 0].tolist() == [False, True, True]


def test_who_moved_above_has_moved_below() -> None:
    old = np.array([[0, 0], [0, 0], [1, 0]])
    new = np.array([[0, 0], [1, 0], [1, 0]])
    found = drift(old, new, np.array([5.0, 1.0, 5.0]))
    assert found.kept.tolist() == [[True, True], [False, False], [True, True]]


def test_levels_beyond_the_shallower_codebook_are_left_out() -> None:
    found = drift(np.array([[0, 1, 2]]), np.array([[3, 4]]), np.array([2.0]))
    assert found.kept.shape == (1, 2)


@given(SIDS)
def test_names_do_not_matter(sids: list[tuple[int, int, int]]) -> None:
    old = np.array(sids)
    renamed = np.random.default_rng(0).permutation(4)[old] + 10
    found = drift(old, renamed, np.ones(len(old)))
    assert found.kept.all()
    assert found.rand == pytest.approx([1.0, 1.0, 1.0])


@given(SIDS, st.data())
def test_deeper_levels_never_keep_more(sids: list[tuple[int, int, int]], data: st.DataObject) -> None:
    old = np.array(sids)
    new = np.array(data.draw(st.lists(st.tuples(CODES, CODES, CODES), min_size=len(old), max_size=len(old))))
    n = np.array(data.draw(st.lists(st.integers(1, 9), min_size=len(old), max_size=len(old))), dtype=float)
    found = drift(old, new, n)
    assert (np.diff(found.kept.astype(int), axis=1) <= 0).all()
    for level, matches in enumerate(found.matches):
        assert len(set(matches.values())) == len(matches), f"two codes of level {level + 1} became one"


@given(SIDS, st.data())
def test_the_index_is_scikit_learns(sids: list[tuple[int, int, int]], data: st.DataObject) -> None:
    first = np.array(sids)[:, 0]
    second = np.array(data.draw(st.lists(CODES, min_size=len(first), max_size=len(first))))
    n = np.array(data.draw(st.lists(st.integers(1, 4), min_size=len(first), max_size=len(first))))
    whole = adjusted_rand_score(np.repeat(first, n), np.repeat(second, n))
    assert adjusted_rand(first, second, n.astype(float)) == pytest.approx(whole)
