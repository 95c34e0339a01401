"""Prefix agreement against a plain Python reading of its definition."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.relevance.prefix import MatchResult, match_pairs, prefix_text


def match_level(item_codes: np.ndarray, beam_codes: np.ndarray) -> MatchResult:
    """Of items (M, L), each with beams of its own (M, K, L)."""
    row = np.arange(len(item_codes))
    return match_pairs(item_codes, beam_codes, row, row)


def _naive(item: list[int], beams: list[list[int]]) -> tuple[int, int]:
    best, best_rank = 0, 0
    for rank, beam in enumerate(beams, start=1):
        depth = 0
        for a, b in zip(item, beam, strict=True):
            if a != b or a < 0:
                break
            depth += 1
        if depth > best:
            best, best_rank = depth, rank
    return best, best_rank


@st.composite
def _codes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    m, k, levels = draw(st.integers(0, 6)), draw(st.integers(0, 4)), draw(st.integers(1, 4))
    code = st.integers(-1, 2)
    return draw(hnp.arrays(np.int64, (m, levels), elements=code)), draw(
        hnp.arrays(np.int64, (m, k, levels), elements=code)
    )


@given(_codes())
def test_match_level_is_the_deepest_common_prefix(codes: tuple[np.ndarray, np.ndarray]) -> None:
    item, beam = codes
    found = match_level(item, beam)
    expected = [_naive(i, b) for i, b in zip(item.tolist(), beam.tolist(), strict=True)]
    assert list(zip(found.level.tolist(), found.beam_rank.tolist(), strict=True)) == expected


@given(_codes(), st.randoms(use_true_random=False))
def test_the_order_of_beams_changes_the_rank_but_not_the_level(codes: tuple[np.ndarray, np.ndarray], random) -> None:
    item, beam = codes
    order = list(range(beam.shape[1]))
    random.shuffle(order)
    assert np.array_equal(match_level(item, beam[:, order]).level, match_level(item, beam).level)


def test_more_beams_never_lower_the_level() -> None:
    rng = np.random.default_rng(0)
    item, beam = rng.integers(0, 3, (200, 3)), rng.integers(0, 3, (200, 8, 3))
    levels = [match_level(item, beam[:, :k]).level for k in range(1, 9)]
    assert all((deeper >= level).all() for level, deeper in pairwise(levels))


def test_match_pairs_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.relevance.prefix._CHUNK", 7)
    rng = np.random.default_rng(1)
    item, beam = rng.integers(0, 3, (10, 3)), rng.integers(-1, 3, (4, 5, 3))
    query, which = rng.integers(0, 4, 50), rng.integers(0, 10, 50)
    whole, parts = match_level(item[which], beam[query]), match_pairs(item, beam, query, which)
    assert np.array_equal(whole.level, parts.level)
    assert np.array_equal(whole.beam_rank, parts.beam_rank)


def test_prefix_text() -> None:
    codes = np.array([[17, 203, 88], [17, 203, 88], [1, 2, 3]])
    assert prefix_text(codes, np.array([3, 2, 0])) == ["17-203-88", "17-203", None]
