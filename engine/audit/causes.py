"""Why places changed: what of the served ranker moved an item, told by its own contributions.

A mover's change of exposure is split equally over the items it overtook (it rose) or that overtook it (it fell). In each
such pair the winner scores above the loser by the sum of the differences of their contributions, which start from the
same reference; the pair's part is split over the features in proportion to the differences that favour the winner:

    part of f = max(phi_f(winner) - phi_f(loser), 0) / sum over g of max(phi_g(winner) - phi_g(loser), 0)

What favours the loser gets nothing, and a tie, which the first stage decides, is not through SIDs. A mover whose
contributions are stored is compared with the others of its query that have them. Any other, and one that met none of
these, is compared with everybody, by two players known of every pair: score - score with SIDs switched off, and the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.audit.prefixes import levels

BELOW, NOT_SIDS, UNEXPLAINED = 0, 1, 2
"""Parts of a change: through SIDs, but which is not stored; not through SIDs; not known. Features of SIDs follow."""
SIDS = "through SIDs"
PARTS = ("through SIDs, part not stored", "not through SIDs", "not explained")
"""What table `causes` calls the features of SIDs, and the parts before them."""
_CELLS = 4_000_000
"""Pairs of a mover and another candidate looked at together."""


class Moved(NamedTuple):
    """Retrieved candidates (M) of some queries, sorted by query."""

    query: np.ndarray  # (M,) int64, ascending.
    item: np.ndarray  # (M,) int64.
    rank: np.ndarray  # (M,) int64, served.
    without: np.ndarray  # (M,) int64, of the baseline.
    score: np.ndarray  # (M,) float64, served.
    off: np.ndarray  # (M,) float64, the same ranker with SIDs switched off; NaN: not known.
    row: np.ndarray  # (M,) int64 of the stored contributions; -1 where there are none.


class Told(NamedTuple):
    """The stored contributions of some candidates."""

    value: np.ndarray  # (R, F) float64.
    level: np.ndarray  # (F,) int64 level of the SID that a feature speaks of; 0: of none.
    prefix: np.ndarray
    """(N, L) int64 number of every item's prefix at each level, distinct over levels; -1: it has none."""


class Shares(NamedTuple):
    """How each mover's change is split: entries (E) of one mover sum to 1."""

    mover: np.ndarray  # (E,) row of `Moved`.
    part: np.ndarray  # (E,) a part or 3 + feature; or the number of a prefix + 3.
    share: np.ndarray  # (E,) float64 > 0.

    @staticmethod
    def all(*parts: Shares) -> Shares:
        """Those of all parts."""
        return Shares(*map(np.concatenate, zip(*parts, strict=True)))


class Split(NamedTuple):
    """The same changes told two ways."""

    by_signal: Shares
    by_prefix: Shares


def numbered_prefixes(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, L) numbers of the items' prefixes as in `Told.prefix`, and the texts of the numbers."""
    number, texts = [], [np.empty(0, dtype=object)]
    for level in levels(codes):
        number.append(np.where(level.member >= 0, level.member + sum(map(len, texts)), -1))
        texts.append(level.texts())
    return np.stack(number, axis=1), np.concatenate(texts)


def split_changes(moved: Moved, told: Told) -> Split:
    """What moved every candidate whose two ranks differ."""
    movers = np.flatnonzero(moved.rank != moved.without)
    stored = moved.row >= 0
    deep, other = _crossings(moved, movers[stored[movers]], np.flatnonzero(stored))
    by_signal, by_prefix = _by_feature(moved, told, deep, other)
    rest = np.setdiff1d(movers, deep)
    shallow = _by_switch(moved, rest)
    return Split(Shares.all(by_signal, shallow), Shares.all(by_prefix, shallow))


def _crossings(moved: Moved, movers: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(C,) movers and (C,) whom each overtook or was overtaken by, among `others`; sorted by mover."""
    start, end = (np.searchsorted(moved.query[others], moved.query[movers], side) for side in ("left", "right"))
    parts = [(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))]
    width = int((end - start).max(initial=1))
    for first in range(0, len(movers), max(1, _CELLS // width)):
        own = slice(first, first + max(1, _CELLS // width))
        mover = movers[own]
        at = start[own, None] + np.arange(width)
        inside = at < end[own, None]
        met = others[np.minimum(at, len(others) - 1)]
        up = (moved.rank[mover] < moved.without[mover])[:, None]
        passed = (moved.rank[met] > moved.rank[mover, None]) == up
        passed &= (moved.without[met] < moved.without[mover, None]) == up
        passed &= inside & (met != mover[:, None])
        row, column = np.nonzero(passed)
        parts.append((mover[row], met[row, column]))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _sides(moved: Moved, mover: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Winner and loser of each crossing."""
    rose = moved.rank[mover] < moved.without[mover]
    return np.where(rose, mover, other), np.where(rose, other, mover)


def _by_feature(moved: Moved, told: Told, mover: np.ndarray, other: np.ndarray) -> Split:
    """Shares of movers through the features of SIDs, `NOT_SIDS` for all other features together."""
    winner, loser = _sides(moved, mover, other)
    favour = np.maximum(told.value[moved.row[winner]] - told.value[moved.row[loser]], 0.0)
    total = favour.sum(axis=1)
    _, start, count = np.unique(mover, return_index=True, return_counts=True)
    favour /= (np.where(total > 0, total, 1.0) * np.repeat(count, count))[:, None]
    sid = np.flatnonzero(told.level > 0)
    names = mover[start]
    through = favour[:, sid]
    mean = np.add.reduceat(through, start) if len(start) else through
    row, feature = np.nonzero(mean)
    parts = Shares(names[row], sid[feature] + 3, mean[row, feature])
    plain = Shares(names, np.full(len(names), NOT_SIDS), np.maximum(1.0 - mean.sum(axis=1), 0.0))
    plain = Shares(*(column[plain.share > 0] for column in plain))
    # A level's part goes to the prefix that the winner has there.
    depth = told.level[sid]
    pieces = []
    for level in np.unique(depth):
        share, prefix = through[:, depth == level].sum(axis=1), told.prefix[moved.item[winner], level - 1]
        pieces.append(Shares(mover, np.where(prefix >= 0, prefix + 3, BELOW), share))
    prefixes = [_joined(Shares.all(*pieces))] if pieces else []
    return Split(Shares.all(parts, plain), Shares.all(*prefixes, plain))


def _joined(shares: Shares) -> Shares:
    """One entry a mover and part; empty ones are left out."""
    kept = shares.share > 0
    mover, part, share = (column[kept] for column in shares)
    width = int(part.max(initial=0)) + 1
    key, inverse = np.unique(mover * width + part, return_inverse=True)
    return Shares(key // width, key % width, np.bincount(inverse, weights=share, minlength=len(key)))


def _by_switch(moved: Moved, movers: np.ndarray) -> Shares:
    """Shares of movers without stored contributions: through SIDs or not, by the score with SIDs switched off."""
    mover, other = _crossings(moved, movers, np.arange(len(moved.query)))
    winner, loser = _sides(moved, mover, other)
    sid = moved.score - moved.off
    through, rest = np.maximum(sid[winner] - sid[loser], 0.0), np.maximum(moved.off[winner] - moved.off[loser], 0.0)
    total = through + rest
    share = np.where(total > 0, through / np.where(total > 0, total, 1.0), np.where(np.isnan(total), np.nan, 0.0))
    place = np.searchsorted(movers, mover)
    met = np.bincount(place, minlength=len(movers))
    mean = np.where(met > 0, np.bincount(place, share, len(movers)) / np.maximum(met, 1), np.nan)
    unknown = np.isnan(mean)
    columns = (np.where(unknown, 0.0, mean), np.where(unknown, 0.0, 1.0 - mean), unknown.astype(np.float64))
    parts = zip((BELOW, NOT_SIDS, UNEXPLAINED), columns, strict=True)
    return Shares.all(*(Shares(movers[c > 0], np.full((c > 0).sum(), part), c[c > 0]) for part, c in parts))
