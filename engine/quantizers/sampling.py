"""What a tokenizer learns from, which of its pairs a step sees, and which of a batch's pairs are known positives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.quantizers.protocol import Known


class Graded(NamedTuple):
    """Judged pairs (J,) that a tokenizer may learn from."""

    query: np.ndarray  # int64.
    item: np.ndarray  # int64.
    relevant: np.ndarray  # bool.


class TrainingSet(NamedTuple):
    """What a tokenizer learns from."""

    item_x: np.ndarray  # (N, D) float32 embeddings of the items.
    query_x: np.ndarray  # (Q, D) float32 embeddings of the queries.
    pair_query: np.ndarray  # (P,) int64 query of each interaction.
    pair_item: np.ndarray  # (P,) int64 its item.
    pair_weight: np.ndarray  # (P,) its strength; pairs of strength 0 are left out.
    known: Known = Known()  # Of the items, besides their embeddings.
    graded: Graded | None = None  # Read where `repel_weight` is set; None where nothing may be.


class PairSampler:
    """Draws pairs in proportion to their weight and masks known positives in a batch."""

    def __init__(self, pair_query: np.ndarray, pair_item: np.ndarray, pair_weight: np.ndarray, *, n_items: int) -> None:
        positive = pair_weight > 0
        order = np.lexsort((pair_item[positive], pair_query[positive]))
        self._query = pair_query[positive][order].astype(np.int64)
        self._item = pair_item[positive][order].astype(np.int64)
        weight = pair_weight[positive][order].astype(np.float64)
        self._upto = np.cumsum(weight) / weight.sum() if len(weight) else weight
        self._n_items = n_items

    def __len__(self) -> int:
        return len(self._query)

    def arrays(self) -> tuple[np.ndarray, ...]:
        """What the draws depend on."""
        return self._query, self._item, self._upto

    def draw(self, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Positions of queries and items (size,) of pairs drawn with replacement; empty without pairs."""
        if not len(self):
            return self._query, self._item
        rows = np.searchsorted(self._upto, rng.random(size), side="right").clip(max=len(self) - 1)
        return self._query[rows], self._item[rows]

    def known(self, query: np.ndarray, item: np.ndarray) -> np.ndarray:
        """(B, B) bool: item c of the batch is a known positive of query b; repeats of one item or query included."""
        unique, column = np.unique(item, return_inverse=True)
        column_of = np.full(self._n_items, -1)
        column_of[unique] = np.arange(len(unique))
        first = np.searchsorted(self._query, query, side="left")
        count = np.searchsorted(self._query, query, side="right") - first
        row = np.repeat(np.arange(len(query)), count)
        within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        hit = column_of[self._item[first[row] + within]]
        known = np.zeros((len(query), len(unique)), dtype=bool)
        known[row[hit >= 0], hit[hit >= 0]] = True
        return known[:, column]


class ApartSampler:
    """Draws pairs of items that were graded apart: one relevant to a query, the other not."""

    def __init__(self, graded: Graded | None) -> None:
        empty = np.zeros(0, dtype=np.int64)
        query, item, relevant = graded if graded is not None else (empty, empty, empty.astype(bool))
        sides = [self._grouped(query[kept], item[kept]) for kept in (relevant, ~relevant)]
        both = np.intersect1d(sides[0][0], sides[1][0])  # queries with a pair of each kind
        self._sides = [
            (items, np.searchsorted(queries, both, "left"), np.searchsorted(queries, both, "right"))
            for queries, items in sides
        ]
        self._n = len(both)

    def __len__(self) -> int:
        return self._n

    def arrays(self) -> tuple[np.ndarray, ...]:
        """What the draws depend on."""
        return tuple(array for side in self._sides for array in side)

    def draw(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """(size, 2) items: of a query drawn evenly, a relevant one and another; (0, 2) where there are none."""
        if not self._n:
            return np.zeros((0, 2), dtype=np.int64)
        query = rng.integers(self._n, size=size)
        return np.stack([items[rng.integers(low[query], high[query])] for items, low, high in self._sides], axis=1)

    @staticmethod
    def _grouped(query: np.ndarray, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        order = np.lexsort((item, query))
        return query[order].astype(np.int64), item[order].astype(np.int64)
