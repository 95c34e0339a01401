"""Token counts of titles and queries, with the tokenizer of the lexical scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse

from engine.relevance.lexical import tokenize


def title_words(titles: Sequence[str]) -> tuple[sparse.csr_matrix, dict[str, int]]:
    """((N, V) float32 counts of the titles' tokens, token -> column)."""
    vocabulary: dict[str, int] = {}
    tokens = [[vocabulary.setdefault(token, len(vocabulary)) for token in tokenize(title)] for title in titles]
    return _counts(tokens, len(vocabulary)), vocabulary


def query_words(texts: Sequence[str], vocabulary: Mapping[str, int]) -> sparse.csr_matrix:
    """(Q, V) float32 counts of the queries' tokens that some title holds."""
    return _counts([[vocabulary[t] for t in tokenize(text) if t in vocabulary] for text in texts], len(vocabulary))


def _counts(rows: Sequence[Sequence[int]], width: int) -> sparse.csr_matrix:
    length = np.array([len(row) for row in rows], dtype=np.int64)
    column = np.fromiter((c for row in rows for c in row), dtype=np.int64, count=int(length.sum()))
    ends = np.concatenate([[0], np.cumsum(length)])
    counts = sparse.csr_matrix((np.ones(len(column), dtype=np.float32), column, ends), shape=(len(rows), width))
    counts.sum_duplicates()
    return counts
