"""List: how much of the query's candidate list stands under the item's prefix; and the dense twin of the idea."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.relevance.signals.prefixes import Prefixes, at_level, by_query, prefixes, summed
from engine.relevance.signals.protocol import Asked, Column, Learns, Measured, Shelf

KERNEL = 0.1
"""Bandwidth of the twin's kernel exp((cosine - 1) / KERNEL)."""
NEAREST = 5
"""Most similar other candidates that the twin averages."""


def discount(depth: int) -> np.ndarray:
    """(depth,) weight of a candidate by rank: 1 / log2(rank + 1), as in nDCG."""
    return 1.0 / np.log2(np.arange(depth) + 2.0)


class _List:
    """The weighted candidates of asked queries."""

    def __init__(self, listed: np.ndarray, depth: int, n_items: int) -> None:
        self.item = listed[:, :depth]
        self.weight = np.where(self.item >= 0, discount(self.item.shape[1]), 0.0)
        self.n_items = n_items
        row, column = np.nonzero(self.item >= 0)
        key = row * n_items + self.item[row, column]
        order = np.argsort(key, kind="stable")
        self._key, self._weight = key[order], self.weight[row, column][order]

    def own_weight(self, query: np.ndarray, item: np.ndarray) -> np.ndarray:
        """(M,) weight of the pair's own item in its query's list; 0 where it is not listed."""
        key = query * self.n_items + item
        at = np.minimum(np.searchsorted(self._key, key), max(len(self._key) - 1, 0))
        if not len(self._key):
            return np.zeros(len(key))
        return np.where(self._key[at] == key, self._weight[at], 0.0)


@dataclass(frozen=True)
class _FittedShare:
    stacks: list[Prefixes]
    n_items: int
    depth: int

    def measure(self, asked: Asked, pair_query: np.ndarray, pair_item: np.ndarray) -> Measured:
        listed = _List(asked.listed, self.depth, self.n_items)
        levels = len(self.stacks[0].size)
        values = np.zeros((len(pair_query), levels), dtype=np.float32)
        own = listed.own_weight(pair_query, pair_item)
        others = np.maximum(listed.weight.sum(axis=1)[pair_query] - own, 0.0)
        for part in by_query(pair_query):
            candidates = listed.item[part.query]
            row, column = np.nonzero(candidates >= 0)
            candidate, weight = candidates[row, column], listed.weight[part.query][row, column]
            item = pair_item[part.pair]
            for level in range(levels):
                having = at_level(self.stacks, level)
                for stack in having:
                    number, size = stack.of_item[level], stack.size[level]
                    (under,) = summed(row * size + number[candidate], (weight,), part.row * size + number[item])
                    share = (under - own[part.pair]) / np.maximum(others[part.pair], 1e-9)
                    values[part.pair, level] += np.maximum(share, 0.0) / len(having)
        return Measured(values, None)


@dataclass(frozen=True)
class ListShare:
    """`list_l`: share of the query's other candidates, weighted by rank, under the item's prefix of level l; mean over
    the stacks."""

    depth: int
    name: str = "list"
    twin: str | None = "list_cosine"
    learns: Learns = "nothing"
    cost: str = "stores L codes an item and stack; a query counts its candidates once, a pair is one look-up a prefix"

    def columns(self, levels: int) -> tuple[Column, ...]:
        return tuple(Column(f"list_{level}", level) for level in range(1, levels + 1))

    def fit(self, shelf: Shelf) -> _FittedShare:
        return _FittedShare([prefixes(codes) for codes in shelf.stacks], len(shelf.item_x), self.depth)


@dataclass(frozen=True)
class _FittedCosine:
    item_x: np.ndarray
    depth: int

    def measure(self, asked: Asked, pair_query: np.ndarray, pair_item: np.ndarray) -> Measured:
        listed = _List(asked.listed, self.depth, len(self.item_x))
        values = np.zeros((len(pair_query), 3), dtype=np.float32)
        for part in by_query(pair_query):
            ends = np.append(np.searchsorted(part.row, np.arange(len(part.query))), len(part.row))
            for r, query in enumerate(part.query):
                pair = part.pair[ends[r] : ends[r + 1]]
                known = listed.item[query] >= 0
                candidate, weight = listed.item[query][known], listed.weight[query][known]
                if not len(candidate):
                    continue
                item = pair_item[pair]
                near = self.item_x[item] @ self.item_x[candidate].T
                other = item[:, None] != candidate
                share = other * weight
                share = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-9)
                values[pair, 0] = (share * near).sum(axis=1)
                values[pair, 1] = (share * np.exp((near - 1) / KERNEL)).sum(axis=1)
                top = -np.sort(np.where(other, -near, np.inf), axis=1)[:, :NEAREST]
                found = np.isfinite(top)
                values[pair, 2] = np.where(found, top, 0.0).sum(axis=1) / np.maximum(found.sum(axis=1), 1)
        return Measured(values, None)


@dataclass(frozen=True)
class ListCosine:
    """Cosine of the item's title to the query's other candidates: rank-weighted mean, the same through a kernel, and
    mean of the `NEAREST` most similar."""

    depth: int
    name: str = "list_cosine"
    twin: str | None = None
    learns: Learns = "nothing"
    cost: str = "stores D float32 an item; a pair is T products of D numbers for T candidates"

    def columns(self, levels: int) -> tuple[Column, ...]:
        return tuple(Column(f"list_cosine_{kind}", 0) for kind in ("mean", "kernel", "nearest"))

    def fit(self, shelf: Shelf) -> _FittedCosine:
        return _FittedCosine(shelf.item_x, self.depth)
