"""Shares of words in titles and queries."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def collection_model(words: sparse.csr_matrix) -> np.ndarray:
    """(V,) float64 p(w | collection) of titles' counts `words` (N, V); every word of the vocabulary is in some title."""
    count = np.asarray(words.sum(axis=0), dtype=np.float64).ravel()
    return count / max(count.sum(), 1.0)


def word_shares(known: sparse.csr_matrix) -> sparse.csr_matrix:
    """(Q, V) float32: the share of each known word among the query's words `known`."""
    total = np.asarray(known.sum(axis=1)).ravel()
    return (sparse.diags((1.0 / np.maximum(total, 1.0)).astype(np.float32)) @ known).tocsr()
