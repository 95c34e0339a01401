"""Why a boosted ranker scores a pair as it does: exact interventional Shapley values of its trees.

Game of a pair: v(S) = score of the row whose columns of the players in S are the pair's own and whose other columns
are the reference's. A tree is the sum of its leaves, and Shapley values add up, so each leaf is a game of its own. On
the way to a leaf a player must be in S where only the pair's own value goes the leaf's way, and out of S where only
the reference's does; the leaf is dead where neither value does, or where one player must be both. A living leaf of
value w with a players in and b out is v(S) = w [In <= S] [Out & S = {}]. In a random order of all players, a member
of In is pivotal when it comes after the rest of In and before all of Out, a member of Out when it comes after all of
In and before the rest of Out:

    phi(in) = w (a - 1)! b! / (a + b)!,    phi(out) = -w a! (b - 1)! / (a + b)!,    others 0.

This is interventional TreeSHAP (Lundberg et al., Nature Machine Intelligence 2020) with one reference a pair and
groups of columns as players. The scorer's line has no interaction: a player gets slope x (own - reference) of each of
its columns. Cost: rows x leaves x depth, whatever the number of players. A tree asks few questions, so
many pairs play the same game in it: with many pairs each distinct game of a tree is solved once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from math import factorial
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.errors import ModelError
from engine.relevance.attribution import Attribution
from engine.relevance.trees import TreeScorer

_CHUNK = 131_072
"""Pairs at a time: bounds memory."""
_BLOCK = 1 << 18
"""Pairs x leaves at a time: stays in the cache."""
_SPLITS_A_KEY = 20
"""Splits, two bits each, that fit a 64-bit key beside a number below `_CHUNK`."""


class _Paths(NamedTuple):
    """The leaves of some trees and the splits above each; depth D is the deepest, shorter paths are padded."""

    splits: np.ndarray  # (S,) int64 nodes that split.
    on: np.ndarray  # (D, leaves) int64 into `splits`; padding points at S, a split that always agrees.
    left: np.ndarray  # (D, leaves) bool: the path goes left there; True in padding.
    value: np.ndarray  # (leaves,) float64.


def tree_shapley(
    scorer: TreeScorer,
    dense: np.ndarray,
    reference: np.ndarray,
    groups: Mapping[str, Sequence[str]],
) -> Attribution:
    """Exact contributions of pairs: `dense` (M, F) against `reference` (M, F), e.g. each pair's query's mean candidate.

    Players are `groups`, name -> columns that move together; one of which the ranker has no column contributes 0.
    `features` = the names of `groups`; values sum to score - reference score; NaN where a row has a NaN. Raises
    ModelError where a column of the ranker is in no group, or in two.
    """
    names = tuple(groups)
    player = np.full(len(scorer.columns), -1, dtype=np.int64)
    for p, columns in enumerate(groups.values()):
        for column in columns:
            if column in scorer.columns:
                f = scorer.columns.index(column)
                if player[f] >= 0:
                    raise ModelError(f"players {names[player[f]]} and {names[p]} both hold the column {column}")
                player[f] = p
    if (player < 0).any():
        stray = [column for column, p in zip(scorer.columns, player, strict=True) if p < 0]
        raise ModelError(f"no player of the attribution holds the ranker's columns {', '.join(sorted(stray))}")
    if len(names) > 64:
        raise ModelError(f"{len(names)} players; at most 64")
    dense, reference = np.asarray(dense, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    score, reference_score = scorer.score(dense), scorer.score(reference)
    values = np.zeros((len(names), len(dense)))
    for c in np.flatnonzero(scorer.slope):
        values[player[c]] += scorer.slope[c] * (dense[:, c] - reference[:, c])
    trees = np.r_[scorer.root, len(scorer.feature)]
    for start in range(0, len(dense), _CHUNK):
        part = slice(start, start + _CHUNK)
        own, other = scorer.cells(dense[part]), scorer.cells(reference[part])
        for first, last in _blocks(trees, own.shape[1]):
            paths = _paths(scorer, int(trees[first]), int(trees[last]))
            _add(values[:, part], scorer, paths, player, own, other)
    values[:, np.isnan(score) | np.isnan(reference_score)] = np.nan
    return Attribution(names, np.ascontiguousarray(values.T), reference_score, score)


def _blocks(trees: np.ndarray, rows: int) -> Iterator[tuple[int, int]]:
    """(first, last) runs of trees: as many as fill the cache for few rows, one by one for many."""
    first = 0
    while first < len(trees) - 1:
        last = first + 1
        while last < len(trees) - 1 and (trees[last + 1] - trees[first]) * rows <= _BLOCK:
            last += 1
        yield first, last
        first = last


def _paths(scorer: TreeScorer, first: int, last: int) -> _Paths:
    """The leaves of the trees whose nodes are `first` ... `last` - 1."""
    feature, left, right = (part[first:last] for part in (scorer.feature, scorer.left, scorer.right))
    splits = np.flatnonzero(feature >= 0)
    parent = np.full(last - first, -1, dtype=np.int64)
    parent[left[splits] - first] = splits
    parent[right[splits] - first] = splits
    place = np.full(last - first, len(splits), dtype=np.int64)
    place[splits] = np.arange(len(splits))
    leaves = np.flatnonzero(feature < 0)
    on, went_left = [], []
    node = leaves
    while (parent[node] >= 0).any():
        above = np.where(parent[node] >= 0, parent[node], node)
        at_root = above == node
        on.append(np.where(at_root, len(splits), place[above]))
        went_left.append(at_root | (left[above] == node + first))
        node = above
    shape = (len(on), len(leaves))
    return _Paths(
        splits + first,
        np.array(on, dtype=np.int64).reshape(shape),
        np.array(went_left, dtype=bool).reshape(shape),
        scorer.value[first:last][leaves],
    )


def _add(
    values: np.ndarray, scorer: TreeScorer, paths: _Paths, player: np.ndarray, own: np.ndarray, other: np.ndarray
) -> None:
    """Add to `values` (players, M) what the trees of `paths` contribute to rows of cells `own`, `other` (F, M)."""
    feature, cut = scorer.feature[paths.splits], scorer.cut[paths.splits][:, None]
    own_left, other_left = own[feature] <= cut, other[feature] <= cut
    playing, of_split = np.unique(player[feature], return_inverse=True)
    if own.shape[1] * len(paths.value) <= _BLOCK:
        values[playing] += _leaf_games(paths, of_split, len(playing), own_left, other_left)
        return
    state, rows = _states(scorer, paths, own_left, other_left)
    made = _leaf_games(paths, of_split, len(playing), own_left[:, rows], other_left[:, rows])
    for p, value in zip(playing, made, strict=True):
        values[p] += value[state]


def _states(
    scorer: TreeScorer, paths: _Paths, own_left: np.ndarray, other_left: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The distinct games of one tree: which one each row plays (M,), and a row that plays each.

    Answers at splits that no mix of pair and reference can reach are blanked, in place: they change no game.
    """
    place = {int(node): s for s, node in enumerate(paths.splits)}
    reach = np.ones_like(own_left)
    key = np.zeros(own_left.shape[1], dtype=np.uint64)
    for start in range(0, len(paths.splits), 4):
        byte = np.zeros(own_left.shape[1], dtype=np.uint8)
        for s in range(start, min(start + 4, len(paths.splits))):
            own_left[s] &= reach[s]
            other_left[s] &= reach[s]
            node = paths.splits[s]
            left, right = place.get(int(scorer.left[node])), place.get(int(scorer.right[node]))
            if left is not None:
                reach[left] = own_left[s] | other_left[s]
            if right is not None:
                reach[right] = reach[s] & ~(own_left[s] & other_left[s])
            byte = byte << 2 | own_left[s].view(np.uint8) << 1 | other_left[s].view(np.uint8)
        if start and start % _SPLITS_A_KEY == 0:
            key = pd.factorize(key)[0].astype(np.uint64)
        key = key << np.uint64(8) | byte
    state, games = pd.factorize(key)
    rows = np.empty(len(games), dtype=np.int64)
    rows[state] = np.arange(len(state))
    return state, rows


def _leaf_games(
    paths: _Paths, of_split: np.ndarray, n_players: int, own_left: np.ndarray, other_left: np.ndarray
) -> np.ndarray:
    """(n_players, M): Shapley values of the sum of the leaves, from where splits send pairs and references (S, M)."""
    shape = (len(paths.value), own_left.shape[1])
    word = np.min_scalar_type(2**n_players - 1)
    bit = np.append(np.uint64(1) << of_split.astype(np.uint64), np.uint64(0)).astype(word)
    agrees = np.ones((1, shape[1]), dtype=bool)
    own_left, other_left = np.vstack([own_left, agrees]), np.vstack([other_left, agrees])
    alive = np.ones(shape, dtype=bool)
    inside, outside = np.zeros(shape, dtype=word), np.zeros(shape, dtype=word)
    for on, left in zip(paths.on, paths.left, strict=True):
        own, other = own_left[on] == left[:, None], other_left[on] == left[:, None]
        alive &= own | other
        inside |= (own & ~other) * bit[on, None]
        outside |= (other & ~own) * bit[on, None]
    leaf, row = np.nonzero(alive & ((inside & outside) == 0) & ((inside | outside) != 0))
    inside, outside = inside[leaf, row], outside[leaf, row]
    counts = np.bitwise_count(inside), np.bitwise_count(outside)
    for_inside, for_outside = (weight[counts] * paths.value[leaf] for weight in _weights(len(paths.on)))
    out = np.empty((n_players, shape[1]))
    for p in range(n_players):
        here = word.type(1 << p)
        share = np.where(inside & here, for_inside, 0.0) - np.where(outside & here, for_outside, 0.0)
        out[p] = np.bincount(row, weights=share, minlength=shape[1])
    return out


@cache
def _weights(depth: int) -> tuple[np.ndarray, np.ndarray]:
    """(depth+1, depth+1) tables over (a, b): (a-1)! b! / (a+b)! for players inside, a! (b-1)! / (a+b)! outside."""
    inside = np.zeros((depth + 1, depth + 1))
    for a in range(1, depth + 1):
        for b in range(depth + 1):
            inside[a, b] = factorial(a - 1) * factorial(b) / factorial(a + b)
    return inside, inside.T.copy()
