"""First stage: the candidates that are ranked, and that alone count for exposure.

BM25 and dense cosine lists joined by reciprocal rank fusion, score = sum of 1 / (60 + rank) (Cormack, Clarke,
Buettcher, SIGIR 2009). Equal scores go by position in the catalogue, so that the lists never depend on chance; nor do
they on which queries are answered together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from engine.progress import Progress, silent
from engine.relevance.lexical import LexicalIndex
from engine.relevance.vectors import CELLS, VectorIndex

_FUSION = 60.0


class Candidates(NamedTuple):
    """Retrieved pairs, sorted by query then rank: `query`, `item` positions and `rank` from 1, each (M,) int64."""

    query: np.ndarray
    item: np.ndarray
    rank: np.ndarray


class FirstStage:
    """Retrieval of the `top` candidates from indexes of the same N items, by vector and by title."""

    def __init__(self, vectors: VectorIndex, lexical: LexicalIndex, *, top: int) -> None:
        assert len(vectors.x) == lexical.n_items
        self.vectors, self.lexical, self.top = vectors, lexical, top

    def candidates(self, query_x: np.ndarray, texts: Sequence[str], *, progress: Progress = silent) -> Candidates:
        """The candidates of queries (Q, D), L2-normalised, and their Q texts.

        Each list gives its best `top`; a title without any query term is in the dense list only. Every query gets
        min(top, N) candidates (fewer only where inverted lists hold too few).
        """
        assert len(query_x) == len(texts)
        depth = min(self.top, self.lexical.n_items)
        items = np.empty((len(texts), depth), dtype=np.int64)
        step = max(1, CELLS // max(self.lexical.n_items, 1))
        for start in range(0, len(texts) if depth else 0, step):
            part = slice(start, min(start + step, len(texts)))
            dense = self.vectors.nearest(query_x[part], depth).row
            items[part] = _fuse(dense, _best(self.lexical.scores(texts[part]), depth), depth)
            progress(part.stop, len(texts))
        query, place = np.nonzero(items >= 0)
        return Candidates(query, items[query, place], place + 1)


def joined(found: Candidates, query: np.ndarray, item: np.ndarray, n_items: int) -> Candidates:
    """The retrieved pairs and the pairs (query, item) (E,), each once, by query, then item; rank 0 where not retrieved."""
    retrieved = found.query * n_items + found.item
    keys = np.union1d(retrieved, query * n_items + item)
    rank = np.zeros(len(keys), dtype=np.int64)
    rank[np.searchsorted(keys, retrieved)] = found.rank
    return Candidates(keys // n_items, keys % n_items, rank)


def _best(scores: sparse.csr_matrix, depth: int) -> np.ndarray:
    """(Q, depth) items by descending score (Q, N) then position, among scores above 0; -1 pads."""
    best = np.full((scores.shape[0], depth), -1, dtype=np.int64)
    for row, (start, end) in enumerate(zip(scores.indptr[:-1], scores.indptr[1:], strict=True)):
        item, score = scores.indices[start:end], scores.data[start:end]
        least = np.partition(score, len(score) - depth)[len(score) - depth] if len(score) > depth else 0.0
        kept = np.flatnonzero((score >= least) & (score > 0))
        found = item[kept[np.lexsort((item[kept], -score[kept]))]][:depth]
        best[row, : len(found)] = found
    return best


def _fuse(dense: np.ndarray, words: np.ndarray, depth: int) -> np.ndarray:
    """(Q, depth) items of two ranked lists (Q, depth), -1 = none, by reciprocal rank fusion then position."""
    gain = 1.0 / (_FUSION + np.arange(1, dense.shape[1] + 1))
    item = np.concatenate([dense, words], axis=1)
    score = np.broadcast_to(np.concatenate([gain, gain]), item.shape)
    order = np.argsort(item, axis=1, kind="stable")
    item = np.take_along_axis(item, order, axis=1)
    score = np.take_along_axis(score, order, axis=1).copy()
    twin = np.zeros_like(item, dtype=bool)
    twin[:, 1:] = item[:, 1:] == item[:, :-1]
    score[:, :-1] += np.where(twin[:, 1:], score[:, 1:], 0.0)
    score[twin | (item < 0)] = -1.0
    best = np.argsort(-score, axis=1, kind="stable")[:, :depth]
    found = np.take_along_axis(item, best, axis=1)
    return np.where(np.take_along_axis(score, best, axis=1) > 0, found, -1)
