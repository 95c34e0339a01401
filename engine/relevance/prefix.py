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


def match_pairs(
    item_codes: np.ndarray, beam_codes: np.ndarray, pair_query: np.ndarray, pair_item: np.ndarray
) -> MatchResult:
    """Deepest common prefix of pairs (M,): `item_codes` (N, L) of the catalogue, `beam_codes` (Q, K, L) of the queries; -1
    pads and never matches."""
    assert item_codes.ndim == 2
    assert beam_codes.ndim == 3
    assert item_codes.shape[1] == beam_codes.shape[2]
    _, n_beams, levels = beam_codes.shape
    if len(pair_item) < len(item_codes):  # few pairs of a large catalogue: no work on all its items
        item_codes, pair_item = item_codes[pair_item], np.arange(len(pair_item))
    # One column of codes at a time, in half the bytes: whole vectors are compared, not runs of L codes.
    of_item = np.ascontiguousarray(item_codes.T, dtype=np.int32)
    of_query = np.ascontiguousarray(beam_codes.transpose(1, 2, 0), dtype=np.int32)
    of_query[of_query < 0] = -2  # a code that is missing on both sides agrees with nothing
    # A beam's worth is its depth, then its rank: one number, so that the best of all beams is a plain maximum.
    worth = np.arange((levels + 1) * n_beams)
    kind = np.min_scalar_type((levels + 1) * n_beams)
    level_of = worth // max(n_beams, 1)
    rank_of = np.where(level_of > 0, n_beams - worth % max(n_beams, 1), 0)
    level = np.zeros(len(pair_query), dtype=np.int64)
    beam_rank = np.zeros(len(pair_query), dtype=np.int64)
    for start in range(0, len(pair_query) if n_beams else 0, _CHUNK):
        part = slice(start, start + _CHUNK)
        query, item = pair_query[part], pair_item[part]
        own = [codes.take(item) for codes in of_item]
        best = np.zeros(len(query), dtype=kind)
        for rank, beam in enumerate(of_query):
            agrees = own[0] == beam[0].take(query)
            depth = agrees.astype(kind)
            for codes, other in zip(own[1:], beam[1:], strict=True):
                agrees &= codes == other.take(query)
                depth += agrees.view(np.uint8)
            depth *= kind.type(n_beams)
            depth += kind.type(n_beams - 1 - rank)
            np.maximum(best, depth, out=best)
        level[part] = level_of.take(best)
        beam_rank[part] = rank_of.take(best)
    return MatchResult(level, beam_rank)


def prefix_text(codes: np.ndarray, level: np.ndarray) -> list[str | None]:
    """The first `level` (M,) codes of each row of `codes` (M, L) joined by '-'; None at level 0."""
    return [
        "-".join(map(str, row[:depth])) if depth > 0 else None
        for row, depth in zip(codes.tolist(), level.tolist(), strict=True)
    ]
