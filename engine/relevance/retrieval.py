"""First stage: the candidates that are ranked, and that alone count for exposure.

BM25 and dense cosine lists joined by reciprocal rank fusion, score = sum of 1 / (60 + rank) (Cormack, Clarke,
Buettcher, SIGIR 2009). Equal scores go by position in the catalogue, so that the lists never depend on chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine.progress import Progress, silent
from engine.relevance.lexical import LexicalIndex

_FUSION = 60.0
_DENSE_GRAIN = 1e6
"""Cosines are compared to six digits: equal titles tie whatever the order of float32 sums."""
_CHUNK_CELLS = 4_000_000
"""Query-item scores held at once (per list)."""


class Candidates(NamedTuple):
    """Retrieved pairs, sorted by query then rank: `query`, `item` positions and `rank` from 1, each (M,) int64."""

    query: np.ndarray
    item: np.ndarray
    rank: np.ndarray


def retrieve(
    item_x: np.ndarray,
    query_x: np.ndarray,
    titles: Sequence[str],
    query_texts: Sequence[str],
    *,
    top: int,
    lexical: LexicalIndex | None = None,
    progress: Progress = silent,
) -> Candidates:
    """The `top` candidates of every query: `item_x` (N, D) and `query_x` (Q, D) L2-normalised, `titles` N, texts Q.

    Each list gives its best `top`; a title without any query term is in the dense list only. Every query gets
    min(top, N) candidates. `lexical` reuses an index of the same titles.
    """
    n_items, n_queries = len(item_x), len(query_x)
    assert n_items == len(titles)
    assert n_queries == len(query_texts)
    depth = min(top, n_items)
    index = LexicalIndex(titles) if lexical is None else lexical
    chunk = max(1, _CHUNK_CELLS // max(n_items, 1))
    items = np.empty((n_queries, depth), dtype=np.int64)
    for start in range(0, n_queries if depth else 0, chunk):
        part = slice(start, min(start + chunk, n_queries))
        cosine = np.rint(query_x[part] @ item_x.T * _DENSE_GRAIN)
        dense = _best(cosine, depth)
        words = _best(index.scores(query_texts[part]), depth, positive_only=True)
        items[part] = _fuse(dense, words, depth)
        progress(part.stop, n_queries)
    query = np.repeat(np.arange(n_queries, dtype=np.int64), depth)
    return Candidates(query, items.ravel(), np.tile(np.arange(1, depth + 1, dtype=np.int64), n_queries))


class FirstStage:
    """interim"""

    def __init__(self, item_x: np.ndarray, titles: Sequence[str], *, top: int) -> None:
        self.item_x, self.titles, self.top = item_x, titles, min(top, len(titles))
        self.lexical = LexicalIndex(titles)

    def candidates(self, query_x: np.ndarray, texts: Sequence[str]) -> Candidates:
        return retrieve(self.item_x, query_x, self.titles, texts, top=self.top, lexical=self.lexical)


def joined(found: Candidates, query: np.ndarray, item: np.ndarray, n_items: int) -> Candidates:
    """The retrieved pairs and the pairs (query, item) (E,), each once, by query, then item; rank 0 where not retrieved."""
    retrieved = found.query * n_items + found.item
    keys = np.union1d(retrieved, query * n_items + item)
    rank = np.zeros(len(keys), dtype=np.int64)
    rank[np.searchsorted(keys, retrieved)] = found.rank
    return Candidates(keys // n_items, keys % n_items, rank)


def _best(score: np.ndarray, depth: int, *, positive_only: bool = False) -> np.ndarray:
    """(Q, depth) items by descending `score` (Q, N) then position; -1 in place of scores <= 0 if `positive_only`."""
    # One sortable integer per cell, score above position: ties are settled inside the partition itself.
    bits = np.ascontiguousarray(score + np.float32(0.0), dtype=np.float32).view(np.int32).astype(np.int64)
    ordered = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    key = -ordered * 2**32 + np.arange(score.shape[1], dtype=np.int64)
    if depth < score.shape[1]:
        key = np.partition(key, depth - 1, axis=1)[:, :depth]
    key.sort(axis=1)
    item = key & 0xFFFFFFFF
    if positive_only:
        item[(key - item) >= 0] = -1
    return item


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
    return np.take_along_axis(item, best, axis=1)
