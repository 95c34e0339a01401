"""Token counts of titles and queries, with the tokenizer of the lexical scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse

from engine.relevance.lexical import counts, tokenize


def title_words(titles: Sequence[str]) -> tuple[sparse.csr_matrix, dict[str, int]]:
    """((N, V) float32 counts of the titles' tokens, token -> column)."""
    vocabulary: dict[str, int] = {}
    tokens = [[vocabulary.setdefault(token, len(vocabulary)) for token in tokenize(title)] for title in titles]
    return counts(tokens, len(vocabulary)), vocabulary


def query_words(texts: Sequence[str], vocabulary: Mapping[str, int]) -> sparse.csr_matrix:
    """(Q, V) float32 counts of the queries' tokens that some title holds."""
    return counts([[vocabulary[t] for t in tokenize(text) if t in vocabulary] for text in texts], len(vocabulary))


def collection_model(words: sparse.csr_matrix) -> np.ndarray:
    """(V,) float64 p(w | collection) of titles' counts `words` (N, V); every word of the vocabulary is in some title."""
    count = np.asarray(words.sum(axis=0), dtype=np.float64).ravel()
    return count / max(count.sum(), 1.0)


def word_shares(known: sparse.csr_matrix) -> sparse.csr_matrix:
    """(Q, V) float32: the share of each known word among the query's words `known`."""
    total = np.asarray(known.sum(axis=1)).ravel()
    return (sparse.diags((1.0 / np.maximum(total, 1.0)).astype(np.float32)) @ known).tocsr()
