"""Over-representation: worked by hand, corrected for many, quiet where nothing stands out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.audit.enrichment import enriched, share_high, share_low


def one(inside: int, outside: int, n_inside: int, n_outside: int) -> tuple[float, float, bool]:
    found = enriched(*(np.array([n]) for n in (inside, outside, n_inside, n_outside)))
    return float(found.log_odds[0]), float(found.low[0]), bool(found.stands_out[0])


def test_worked_by_hand() -> None:
    # 8 of 10 against 10 of 100; the bounds of Clopper and Pearson's tables at 2.5 %: .4439 and .1762
    log_odds, low, stands_out = one(8, 10, 10, 100)
    assert log_odds == pytest.approx(math.log((8.5 / 2.5) / (10.5 / 90.5)))
    assert low == pytest.approx(math.log(0.4439 / 0.5561) - math.log(0.1762 / 0.8238), abs=2e-3)
    assert stands_out


def test_shares_of_nothing_and_of_everything() -> None:
    zero, all_of_them = np.array([0.0]), np.array([50.0])
    assert share_low(zero, all_of_them, 0.05)[0] == 0
    assert share_high(all_of_them, all_of_them, 0.05)[0] == 1
    # (1 - share)^50 = 5 %
    assert share_high(zero, all_of_them, 0.05)[0] == pytest.approx(1 - 0.05 ** (1 / 50))
    assert one(0, 10, 10, 100)[1] == -math.inf
    assert one(20, 0, 20, 1000)[2], "all of the part and nobody else"


def test_equal_shares_are_no_enrichment_and_a_handful_is_not_enough() -> None:
    log_odds, low, stands_out = one(100, 1000, 1000, 10000)
    assert log_odds == pytest.approx(0, abs=0.01)
    assert low < 0
    assert not stands_out
    assert not one(1, 1, 2, 100)[2], "one of two against one of a hundred may be chance"


def test_more_comparisons_ask_for_more() -> None:
    alone = one(9, 60, 50, 950)
    among = enriched(*(np.full(1000, n) for n in (9, 60, 50, 950)))
    assert alone[2]
    assert not among.stands_out.any()
    assert among.log_odds[0] == alone[0]


def test_nothing_stands_out_of_items_drawn_at_random() -> None:
    """In at least 19 of 20 draws not one of 300 values may stand out."""
    rng = np.random.default_rng(5)
    values = rng.integers(0, 300, 20_000)
    total = np.bincount(values, minlength=300)
    false = 0
    for _ in range(100):
        inside = np.bincount(values[rng.choice(len(values), 400, replace=False)], minlength=300)
        found = enriched(inside, total - inside, np.full(300, 400), np.full(300, len(values) - 400))
        false += bool(found.stands_out.any())
    assert false <= 9, "a share of 5 % of 100 draws, and its chance error"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 50), st.integers(0, 500), st.integers(1, 50), st.integers(1, 500))
def test_inside_and_outside_exchanged_turn_the_sign(a: int, c: int, more_in: int, more_out: int) -> None:
    there = one(a, c, a + more_in, c + more_out)
    back = one(c, a, c + more_out, a + more_in)
    assert there[0] == pytest.approx(-back[0])
    assert there[1] < there[0]
