"""The marketplace's own search before SIDs: TF-IDF over titles with a popularity prior; and a dense stand-in.

The stand-in (character n-grams, truncated SVD) only widens the pool that is judged, so that generating needs no encoder.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from engine.progress import Progress, silent

DEPTH = 40  # legacy results kept a query
POPULARITY_PRIOR = 0.08  # score gain per unit of log demand
COMPONENTS = 48
FIT_SAMPLE = 20_000  # titles the stand-in is fitted on
DECIMALS = 5  # scores are rounded before sorting: last-bit differences of libraries must not move results


def _top(scores: np.ndarray, depth: int) -> np.ndarray:
    """(B, depth) columns of the largest positive scores, ties by position; -1 padding."""
    scores = np.round(scores, DECIMALS)
    depth = min(depth, scores.shape[1])
    floor = -np.partition(-scores, depth - 1, axis=1)[:, depth - 1]
    top = np.full((len(scores), depth), -1, dtype=np.int64)
    for row, least in enumerate(floor):
        hits = np.flatnonzero(scores[row] >= max(least, 10**-DECIMALS))
        hits = hits[np.argsort(-scores[row, hits], kind="stable")][:depth]
        top[row, : len(hits)] = hits
    return top


def _blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    step = max(1, min(256, 32_000_000 // max(n_columns, 1)))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def legacy_search(
    titles: list[str], popularity: np.ndarray, texts: list[str], progress: Progress = silent
) -> np.ndarray:
    """(Q, DEPTH) positions of the offers that the legacy ranker finds for each text, best first, -1 padding."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, stop_words="english", dtype=np.float32, token_pattern=r"[\w\-]+")
    documents = sparse.csr_matrix(vectorizer.fit_transform(titles)).T.tocsr()
    queries = sparse.csr_matrix(vectorizer.transform(texts))
    prior = 1.0 + POPULARITY_PRIOR * np.log(popularity).astype(np.float32)
    found = []
    for block in _blocks(len(texts), len(titles)):
        found.append(_top((queries[block] @ documents).toarray() * prior, DEPTH))
        progress(block.stop, len(texts))
    return np.vstack(found)


def dense_search(titles: list[str], texts: list[str], depth: int, seed: int, progress: Progress = silent) -> np.ndarray:
    """(Q, depth) positions of the nearest offers under the stand-in embedding, best first, -1 padding."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True, max_features=20_000, min_df=2
    )
    rows = np.random.default_rng([seed, 7]).permutation(len(titles))[:FIT_SAMPLE]
    sample = vectorizer.fit_transform([titles[row] for row in np.sort(rows)])
    components = max(2, min(COMPONENTS, sample.shape[0] - 1, sample.shape[1] - 1))
    reducer = TruncatedSVD(components, algorithm="arpack", random_state=0).fit(sample)

    def embedded(words: list[str]) -> np.ndarray:
        x = reducer.transform(vectorizer.transform(words))
        return (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)).astype(np.float32)

    documents = np.vstack([embedded(titles[start : start + 50_000]) for start in range(0, len(titles), 50_000)])
    queries = embedded(texts)
    found = []
    for block in _blocks(len(texts), len(titles)):
        found.append(_top(queries[block] @ documents.T, depth))
        progress(block.stop, len(texts))
    return np.vstack(found)
