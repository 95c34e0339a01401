"""The smallest single change that passes a goal, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.audit.counterfactual import Knob, setting, smallest_changes, spread_of


def line(values: np.ndarray, level: np.ndarray) -> np.ndarray:
    """2 a + b + 0.5 level."""
    return 2 * values[:, 0] + values[:, 1] + 0.5 * level


OWN = np.array([1.0, 0.0])
A, B = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 5.0, 10.0])


def knobs() -> list[Knob]:
    return [setting([0], OWN, A, 0, name="a"), setting([1], OWN, B, 0, name="b")]


def test_the_smallest_in_spreads_comes_first() -> None:
    # Own score 2; the goal 3.5 needs a >= 2 (score 4; one step of 1 / std 1.118) or b >= 5 (score 7; 5 / std 4.082).
    first, second = smallest_changes(line, knobs(), 3.5)
    assert (first.name, first.own, first.value, first.score, first.enough) == ("a", 1.0, 2.0, 4.0, True)
    assert first.size == pytest.approx(1 / np.sqrt(1.25))
    assert (second.name, second.value, second.score, second.enough) == ("b", 5.0, 7.0, True)
    assert second.size == pytest.approx(5 / np.sqrt(50 / 3))


def test_what_does_not_suffice_comes_last_and_says_how_near_it_came() -> None:
    b, a = smallest_changes(line, knobs(), 8.0)
    assert (b.name, b.value, b.enough) == ("b", 10.0, True)
    assert (a.name, a.value, a.score, a.enough) == ("a", 3.0, 6.0, False)
    assert not any(c.enough for c in smallest_changes(line, knobs(), 100.0))


def test_a_score_equal_to_the_goal_does_not_pass_it() -> None:
    (change,) = smallest_changes(line, [setting([0], OWN, np.array([2.0]), 0, name="a")], 4.0)
    assert not change.enough


def test_falling_looks_for_the_other_side() -> None:
    first, second = smallest_changes(line, knobs(), 1.0, rise=False)
    assert (first.name, first.value, first.score, first.enough) == ("a", 0.0, 0.0, True)
    assert (second.name, second.enough) == ("b", False)  # no candidate has less of it


def test_columns_that_follow_move_by_the_same_step() -> None:
    knob = setting([0, 1], np.array([1.0, -0.25]), np.array([1.5]), 2, name="a")
    assert knob.rows.tolist() == [[1.5, 0.25]]
    assert knob.level.tolist() == [2]


def test_alike_candidates_leave_nothing_to_turn() -> None:
    assert smallest_changes(line, [setting([0], OWN, np.array([1.0, 1.0]), 0, name="a")], 3.0) == []
    assert spread_of(np.array([1.0, 1.0])) == 1.0


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.floats(-10, 10), st.booleans())
def test_no_smaller_change_of_any_knob_suffices(values: list[float], goal: float, rise: bool) -> None:
    knob = setting([0], OWN, np.array(values), 0, name="a")
    for change in smallest_changes(line, [knob], goal, rise=rise):
        scores = line(knob.rows, knob.level)
        passes = scores > goal if rise else scores < goal
        assert change.enough == passes.any()
        if change.enough:
            assert change.size == pytest.approx((np.abs(knob.value - knob.own) / knob.spread)[passes].min())
