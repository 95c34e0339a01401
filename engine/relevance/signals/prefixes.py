"""Items grouped by SID prefix, and pairs grouped by query: what every signal over prefixes counts in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

CELLS = 4_000_000
"""Numbers in the largest dense table of a chunk (32 MB in float64)."""


class Prefixes(NamedTuple):
    """The prefixes of one stack, level by level: lists of length L."""

    of_item: list[np.ndarray]
    """(N,) int64 number of each item's prefix, 0..size-1 within its level."""
    size: list[int]
    """Occupied prefixes of the level."""
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

    query: np.ndarray
    """(R,) rows of the asked queries."""
    pair: np.ndarray
    """(m,) positions of the pairs ..."""
    row: np.ndarray
    """(m,) ... and for each the row 0..R-1 of its query."""


def by_query(pair_query: np.ndarray, width: int) -> Iterator[Part]:
    """Every pair once, in parts of whole queries so few that a table (R, `width`) has at most `CELLS` numbers."""
    order = np.argsort(pair_query, kind="stable")
    query, start = np.unique(pair_query[order], return_index=True)
    ends = np.append(start, len(order))
    step = max(1, CELLS // max(width, 1))
    for first in range(0, len(query), step):
        last = min(first + step, len(query))
        pair = order[ends[first] : ends[last]]
        row = np.repeat(np.arange(last - first), np.diff(ends[first : last + 1]))
        yield Part(query[first:last], pair, row)


def pool(row: np.ndarray, cell: np.ndarray, weight: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """`shape` (R, cells) float64: `weight` (n,) summed by `row` and `cell`."""
    return np.bincount(row * shape[1] + cell, weights=weight, minlength=shape[0] * shape[1]).reshape(shape)
