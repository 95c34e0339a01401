"""What a tokenizer learns from, which of its pairs a step sees, and which of a batch's pairs are known positives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class TrainingSet(NamedTuple):
    """What a tokenizer learns from."""

    item_x: np.ndarray  # (N, D) float32 embeddings of the items.
    query_x: np.ndarray  # (Q, D) float32 embeddings of the queries.
    pair_query: np.ndarray  # (P,) int64 query of each interaction.
    pair_item: np.ndarray  # (P,) int64 its item.
    pair_weight: np.ndarray  # (P,) its strength; pairs of strength 0 are left out.
    category_code: np.ndarray | None = None
    """(N,) int64 level-1 code of each item's category, -1 where it has none; None without categories."""


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
