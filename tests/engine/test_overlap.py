"""Overlap of rankings against numbers worked by hand, and what must hold of any two lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.audit.overlap import overlap_at, rbo

LISTS = st.lists(st.integers(0, 15), unique=True, max_size=12)


@pytest.mark.parametrize(
    ("left", "right", "k", "expected"),
    [
        ("abc", "cab", 3, 1.0),
        ("abc", "cab", 1, 0.0),
        ("abcd", "abxy", 4, 0.5),
        ("ab", "abcd", 4, 0.5),  # two of the four places that the longer one fills
        ("ab", "ab", 10, 1.0),
        ("", "", 10, 1.0),
        ("", "a", 10, 0.0),
    ],
)
def test_overlap_counts_shared_places(left: str, right: str, k: int, expected: float) -> None:
    assert overlap_at(left, right, k) == expected


@pytest.mark.parametrize(
    ("left", "right", "p", "expected"),
    [
        # Depth 1 shares 0 of 1, depth 2 shares 2 of 2: .1/.9 (0 + .81) + .81
        ("ab", "ba", 0.9, 0.9),
        # Depths share 1/1, 1/2, 3/3: .5/.5 (1 .5 + .5 .25 + 1 .125) + 1 .125
        ("abc", "acb", 0.5, 0.5 + 0.5 * 0.25 + 1 * 0.125 + 1 * 0.125),
        # Uneven: shared 1, 2, 2; carried on below the shorter: 2 * (3 - 2) / (2 * 3) * .125; rest (0 / 3 + 2 / 2) * .125
        ("ab", "abc", 0.5, (0.5 + 0.25 + 2 / 3 * 0.125) + 1 / 3 * 0.125 + 0.125),
        ("abc", "xyz", 0.9, 0.0),
        ("", "", 0.9, 1.0),
        ("", "abc", 0.9, 0.0),
    ],
)
def test_rbo_worked_by_hand(left: str, right: str, p: float, expected: float) -> None:
    assert rbo(left, right, p) == pytest.approx(expected)


@given(LISTS, LISTS)
def test_both_lie_between_nothing_and_all_whichever_list_is_first(left: list[int], right: list[int]) -> None:
    for measure in (rbo, lambda a, b: overlap_at(a, b, 10)):
        assert measure(left, right) == pytest.approx(measure(right, left))
        assert -1e-9 <= measure(left, right) <= 1 + 1e-9
        assert measure(left, left) == pytest.approx(1.0)


@given(LISTS.filter(lambda ids: len(ids) > 3))
def test_a_change_on_top_weighs_more_than_one_below(ids: list[int]) -> None:
    top = [ids[1], ids[0], *ids[2:]]
    bottom = [*ids[:-2], ids[-1], ids[-2]]
    assert rbo(ids, top) < rbo(ids, bottom) < 1.0
