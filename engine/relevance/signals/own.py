"""What needs no SID: words and past queries on the very item (the limit of prefixes that hold one item), and the query's
own words.

Every prefix holds the item that is measured, and how well a query's words fit *any* titles tells how rare they are, so
that a part of what `memory` and `cluster` say would be said without any SID. A baseline that lacks these columns
flatters SIDs: shuffled ones "gain" as much (docs/LOG.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from engine.relevance.features import CENTRED, DENSE
from engine.relevance.signals.cluster import ClusterLanguageModel
from engine.relevance.signals.memory import Memory
from engine.relevance.signals.protocol import Asked, Column, Fitted, Learns, Measured, Shelf
from engine.relevance.signals.words import collection_model, word_shares
from engine.relevance.words import Lexicon

OWN = (
    "own_grade", "own_evidence", "own_clicks", "own_words",
    "query_words", "query_rarity", "query_rarest", "query_commonest",
)  # fmt: skip
"""Columns, in order."""


PLAIN = (*DENSE, *CENTRED, *OWN)
"""What every boosted ranker reads: the dense features, list-centred too, and what is known of the single item."""


@dataclass(frozen=True)
class _FittedOwn:
    memory: Fitted
    words: Fitted
    rarity: np.ndarray  # (V,) float32 -log p(w | collection) of each known word.
    lexicon: Lexicon

    def measure(self, asked: Asked, pair_query: np.ndarray, pair_item: np.ndarray) -> Measured:
        said = self.memory.measure(asked, pair_query, pair_item)
        words = self.words.measure(asked, pair_query, pair_item)
        # Every prefix is one item: the best of all stacks, the second column of words, is the first again.
        values = np.column_stack([said.values, words.values[:, 0], self._query(asked.texts)[pair_query]])
        assert values.shape[1] == len(OWN)
        return Measured(values, said.read)

    def _query(self, texts: Sequence[str]) -> np.ndarray:
        """(Q, 4) float32; zeros for a query of unknown words."""
        counts = self.lexicon.counts(texts)
        rare = sparse.csr_matrix((self.rarity[counts.indices], counts.indices, counts.indptr), shape=counts.shape)
        some = np.flatnonzero(np.diff(rare.indptr))
        rarest, commonest = np.zeros(len(texts)), np.zeros(len(texts))
        if len(some):  # the words of a query stand together: reduce from one beginning to the next
            rarest[some] = np.maximum.reduceat(rare.data, rare.indptr[some])
            commonest[some] = np.minimum.reduceat(rare.data, rare.indptr[some])
        known = np.asarray(counts.sum(axis=1)).ravel()  # scipy sums to a matrix, which would make a matrix of all
        mean = word_shares(counts) @ self.rarity
        return np.column_stack([known, mean, rarest, commonest]).astype(np.float32)


@dataclass(frozen=True)
class OwnItem:
    """`own_grade`, `own_evidence`, `own_clicks`: as `Memory`'s, of the nearest past queries' feedback on this very item;
    `own_words`: as the cluster language model's, of the item's own title. `query_words`: how many of the query's words
    some title holds; `query_rarity`, `query_rarest`, `query_commonest`: mean, highest and lowest of their
    -log p(w | collection), the same for every item."""

    name: str = "own"
    twin: str | None = None
    learns: Learns = "others"
    cost: str = "stores the training feedback and the titles' words"

    def columns(self, levels: int) -> tuple[Column, ...]:
        return tuple(Column(name, 0) for name in OWN)

    def fit(self, shelf: Shelf) -> _FittedOwn:
        alone = shelf._replace(stacks=[np.arange(len(shelf.item_x))[:, None]])
        return _FittedOwn(
            Memory().fit(alone),
            ClusterLanguageModel().fit(alone),
            -np.log(collection_model(shelf.words)).astype(np.float32),
            shelf.lexicon,
        )
