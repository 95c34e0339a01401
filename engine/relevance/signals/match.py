"""Match: the paper's scalar (DSIRM, arXiv 2606.04374) as one indicator a level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.relevance.prefix import match_pairs
from engine.relevance.signals.protocol import Asked, Column, Learns, Measured, Shelf


@dataclass(frozen=True)
class _Fitted:
    codes: np.ndarray

    def measure(self, asked: Asked, pair_query: np.ndarray, pair_item: np.ndarray) -> Measured:
        depth = match_pairs(self.codes, asked.beams, pair_query, pair_item).level
        levels = np.arange(1, self.codes.shape[1] + 1)
        return Measured((depth[:, None] >= levels).astype(np.float32), None)


@dataclass(frozen=True)
class Match:
    """`match_l` is 1 where the item's prefix of level l stands in any of the query's beams, else 0."""

    name: str = "match"
    twin: str | None = "contrastive_cosine"
    learns: Learns = "fold"
    cost: str = "stores L codes an item and K beams a query; a pair compares K x L codes"

    def columns(self, levels: int) -> tuple[Column, ...]:
        return tuple(Column(f"match_{level}", level) for level in range(1, levels + 1))

    def fit(self, shelf: Shelf) -> _Fitted:
        return _Fitted(shelf.stacks[0])
