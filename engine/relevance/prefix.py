"""How deep an item's SID agrees with the SIDs predicted for a query (DSIRM, arXiv 2606.04374: the match feature)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_CHUNK = 65_536


class MatchResult(NamedTuple):
    """`level` (M,) int64: deepest common prefix with any beam, 0..L; `beam_rank` (M,) int64: the best-ranked
    beam that agrees so deep, 1-based, 0 where no beam agrees at level 1."""

    level: np.ndarray
    beam_rank: np.ndarray


def match_level(item_codes: np.ndarray, beam_codes: np.ndarray) -> MatchResult:
    """Deepest common prefix of `item_codes` (M, L) with `beam_codes` (M, K, L); -1 pads and never matches."""
    assert item_codes.ndim == 2
    assert beam_codes.ndim == 3
    assert item_codes.shape == (beam_codes.shape[0], beam_codes.shape[2])
    if beam_codes.shape[1] == 0:
        none = np.zeros(len(item_codes), dtype=np.int64)
        return MatchResult(none, none.copy())
    item_M1L = item_codes[:, None, :]
    agrees_MKL = (item_M1L == beam_codes) & (item_M1L >= 0)
    depth_MK = np.logical_and.accumulate(agrees_MKL, axis=2).sum(axis=2, dtype=np.int64)
    first = depth_MK.argmax(axis=1)
    level = depth_MK[np.arange(len(first)), first]
    return MatchResult(level, np.where(level > 0, first + 1, 0).astype(np.int64))


def match_pairs(
    item_codes: np.ndarray, beam_codes: np.ndarray, pair_query: np.ndarray, pair_item: np.ndarray
) -> MatchResult:
    """`match_level` of pairs (M,): `item_codes` (N, L) of the catalogue, `beam_codes` (Q, K, L) of the queries."""
    level = np.empty(len(pair_query), dtype=np.int64)
    beam_rank = np.empty(len(pair_query), dtype=np.int64)
    for start in range(0, len(pair_query), _CHUNK):
        part = slice(start, start + _CHUNK)
        level[part], beam_rank[part] = match_level(item_codes[pair_item[part]], beam_codes[pair_query[part]])
    return MatchResult(level, beam_rank)


def prefix_text(codes: np.ndarray, level: np.ndarray) -> list[str | None]:
    """The first `level` (M,) codes of each row of `codes` (M, L) joined by '-'; None at level 0."""
    return [
        "-".join(map(str, row[:depth])) if depth > 0 else None
        for row, depth in zip(codes.tolist(), level.tolist(), strict=True)
    ]
