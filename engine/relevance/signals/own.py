"""What words and past queries say of the item itself: the limit of prefixes that hold one item, and no SID's merit.

Every prefix holds the item that is measured, so that part of what `memory` and `cluster` say would be said without
any SID. A baseline that lacks these columns flatters SIDs: shuffled ones "gain" as much (docs/LOG.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.relevance.signals.cluster import ClusterLanguageModel
from engine.relevance.signals.memory import Memory
from engine.relevance.signals.protocol import Asked, Column, Fitted, Learns, Measured, Shelf

OWN = ("own_grade", "own_evidence", "own_clicks", "own_words")
"""Columns, in order."""


@dataclass(frozen=True)
class _FittedOwn:
    memory: Fitted
    words: Fitted

    def measure(self, asked: Asked, pair_query: np.ndarray, pair_item: np.ndarray) -> Measured:
        said = self.memory.measure(asked, pair_query, pair_item)
        words = self.words.measure(asked, pair_query, pair_item)
        # Every prefix is one item: the best of all stacks, the second column of words, is the first again.
        values = np.column_stack([said.values, words.values[:, 0]])
        assert values.shape[1] == len(OWN)
        return Measured(values, said.read)

    def arrays(self) -> dict[str, np.ndarray]:
        return {}


@dataclass(frozen=True)
class OwnItem:
    """`own_grade`, `own_evidence`, `own_clicks`: as `Memory`'s, of the nearest past queries' feedback on this very item;
    `own_words`: as the cluster language model's, of the item's own title."""

    neighbours: int
    name: str = "own"
    twin: str | None = None
    learns: Learns = "others"
    cost: str = "stores the training feedback and the titles' words"

    def columns(self, levels: int) -> tuple[Column, ...]:
        return tuple(Column(name, 0) for name in OWN)

    def fit(self, shelf: Shelf, *, seed: int, arrays: Mapping[str, np.ndarray] | None = None) -> _FittedOwn:
        alone = shelf._replace(stacks=[np.arange(len(shelf.item_x))[:, None]])
        return _FittedOwn(Memory(self.neighbours).fit(alone, seed=seed), ClusterLanguageModel().fit(alone, seed=seed))
