"""Items grouped by SID prefix, and pairs grouped by query: what every signal over prefixes counts in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

QUERIES = 64
"""Of a part: bounds what is held at once, however many pairs are measured."""

SPARSE = 16
"""A table of all keys is faster than sorting those that occur up to so many cells a key."""


class Prefixes(NamedTuple):
    """The prefixes of one stack, level by level: lists of length L."""

    of_item: list[np.ndarray]  # (N,) int64 number of each item's prefix, 0..size-1 within its level.
    size: list[int]  # Occupied prefixes of the level.
    parent: list[np.ndarray]
    """(size,) int64 number of a prefix's parent in the level above; 0 (the whole collection) at level 1."""


def prefixes(codes: np.ndarray) -> Prefixes:
    """Number the prefixes of `codes` (N, L), every code 0 or above."""
    assert codes.min(initial=0) >= 0
    of_item, size, parent = [], [], []
    above = np.zeros(len(codes), dtype=np.int64)
    for code in codes.T.astype(np.int64):
        key = above * (int(code.max(initial=0)) + 1) + code
        known, first, number = np.unique(key, return_index=True, return_inverse=True)
        parent.append(above[first])
        above = number.ravel()
        of_item.append(above)
        size.append(len(known))
    return Prefixes(of_item, size, parent)


def at_level(stacks: Sequence[Prefixes], level: int) -> list[Prefixes]:
    """The stacks that have `level` (0-based)."""
    return [stack for stack in stacks if level < len(stack.size)]


class Part(NamedTuple):
    """Some queries and all their pairs."""

    query: np.ndarray  # (R,) rows of the asked queries.
    pair: np.ndarray  # (m,) positions of the pairs, sorted by query ...
    row: np.ndarray  # (m,) ... and for each the row 0..R-1 of its query.


def by_query(pair_query: np.ndarray) -> Iterator[Part]:
    """Every pair once, in parts of at most `QUERIES` whole queries."""
    order = np.argsort(pair_query, kind="stable")
    query, start = np.unique(pair_query[order], return_index=True)
    ends = np.append(start, len(order))
    for first in range(0, len(query), QUERIES):
        last = min(first + QUERIES, len(query))
        pair = order[ends[first] : ends[last]]
        row = np.repeat(np.arange(last - first), np.diff(ends[first : last + 1]))
        yield Part(query[first:last], pair, row)


def summed(key: np.ndarray, weights: Sequence[np.ndarray], at: np.ndarray) -> list[np.ndarray]:
    """For each of `weights` (n,) its sums over equal `key` (n,), read at the keys `at` (M,): (M,) float64, 0 where none.

    A sum runs in the order of the rows, whatever other keys there are.
    """
    keys = np.concatenate([key, at])
    if keys.max(initial=0) > SPARSE * len(keys):
        keys = np.unique(keys, return_inverse=True)[1]
    n, size = len(key), int(keys.max(initial=-1)) + 1
    return [np.bincount(keys[:n], weights=weight, minlength=size)[keys[n:]] for weight in weights]
