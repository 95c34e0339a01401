"""Dense relevance features of query-item pairs. The paper names them but does not define them; these are ours.

`dm` cosine of text embeddings; `mm_dm` cosine of the query and the item's image in one space, 0 with the flag
`mm_missing` where either is absent; `ct` calibrated probability of the item's category given the query; `qs` lexical
scores (`lexical.py`). Only `ct` learns from queries, so it alone is fitted per fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import optimize

from engine.relevance.attribution import CENTRED_SUFFIX
from engine.relevance.lexical import LexicalIndex
from engine.relevance.overlap import LEXICAL

DENSE = ("dm", "mm_dm", "mm_missing", "ct", *LEXICAL)
"""Column order of the dense block."""

CENTRED = tuple(f"{name}{CENTRED_SUFFIX}" for name in DENSE if name not in ("mm_missing", "qs_words"))
"""Columns of `centre`: the trick that a baseline ranker gets too."""

_CHUNK = 16_384
_PENALTY = 0.02
"""L2 on the classifier's weights beside the summed loss of the queries, chosen on held-out queries of the generated
marketplace."""
_ITERATIONS = 40
_HELD_OUT = 0.2
"""Share of the queries that the temperature is fitted on."""


def cosine(a: np.ndarray, b: np.ndarray, pair_a: np.ndarray, pair_b: np.ndarray) -> np.ndarray:
    """(M,) float32 cosine of rows `a[pair_a]` and `b[pair_b]`; 0 where a vector is zero. Row by row, so that a pair's
    value does not depend on the others."""
    out = np.empty(len(pair_a), dtype=np.float32)
    for start in range(0, len(pair_a), _CHUNK):
        part = slice(start, start + _CHUNK)
        x, y = (np.asarray(v[pair[part]], dtype=np.float32) for v, pair in ((a, pair_a), (b, pair_b)))
        dot, xx, yy = (np.einsum("md,md->m", u, v) for u, v in ((x, y), (x, x), (y, y)))
        out[part] = dot / np.sqrt(np.where(xx * yy > 0, xx * yy, 1.0))
    return out


def multimodal(
    query_image_x: np.ndarray | None, item_image_x: np.ndarray | None, pair_query: np.ndarray, pair_item: np.ndarray
) -> np.ndarray:
    """(M, 2) float32 `mm_dm`, `mm_missing` of pairs; embeddings (Q, E) and (N, E) hold NaN rows where absent."""
    out = np.zeros((len(pair_query), 2), dtype=np.float32)
    out[:, 1] = 1.0
    if query_image_x is None or item_image_x is None:
        return out
    query_has = np.isfinite(query_image_x[:, 0])
    item_has = np.isfinite(item_image_x[pair_item, 0])
    both = np.flatnonzero(query_has[pair_query] & item_has)
    out[both, 0] = cosine(query_image_x, item_image_x, pair_query[both], pair_item[both])
    out[both, 1] = 0.0
    return out


@dataclass(frozen=True)
class DenseFeatures:
    """What the dense block is measured from."""

    item_x: np.ndarray  # (N, D) float32.
    item_images: np.ndarray | None  # (N, M) float32, NaN rows where absent.
    lexical: LexicalIndex
    item_category: np.ndarray  # (N,) int64, -1 where unknown.

    def measure(
        self, asked: DenseQueries, query: np.ndarray, item: np.ndarray, classifier: CategoryClassifier
    ) -> np.ndarray:
        """(M, len(DENSE)) float32 of pairs: rows `query` of `asked`, positions `item`."""
        parts = [
            cosine(asked.x, self.item_x, query, item),
            multimodal(asked.images, self.item_images, query, item),
            classifier.agreement(asked.x, query, item, self.item_category),
            self.lexical.features(asked.texts, query, item),
        ]
        return np.column_stack(parts).astype(np.float32)


class DenseQueries(NamedTuple):
    """The queries (B) whose pairs are measured."""

    x: np.ndarray  # (B, D) float32.
    images: np.ndarray | None  # (B, M) float32, NaN rows where absent.
    texts: Sequence[str]


def centre(dense: np.ndarray, query: np.ndarray, listed: np.ndarray, n_queries: int) -> np.ndarray:
    """(M, len(CENTRED)) float64: `dense` (M, F) less its mean over the query's listed pairs.

    `listed` (M,) bool: the pairs that first-stage retrieval found, for judged ones may be others. The mean of `mm_dm` is
    over the pairs that have it; a pair that lacks it gets 0, as does every pair of a query without a list.
    """
    dense = np.asarray(dense, dtype=np.float64)
    missing = dense[:, DENSE.index("mm_missing")] > 0
    out = np.empty((len(dense), len(CENTRED)))
    for column, name in enumerate(CENTRED):
        value = dense[:, DENSE.index(name.removesuffix(CENTRED_SUFFIX))]
        has = ~missing if name == f"mm_dm{CENTRED_SUFFIX}" else np.ones(len(dense), dtype=bool)
        counted = np.flatnonzero(listed & has)
        count = np.bincount(query[counted], minlength=n_queries)
        total = np.bincount(query[counted], weights=value[counted], minlength=n_queries)
        known = has & (count[query] > 0)
        out[:, column] = np.where(known, value - (total / np.maximum(count, 1))[query], 0.0)
    return out


@dataclass(frozen=True)
class CategoryClassifier:
    """P(category | query embedding): multinomial logistic regression, calibrated by temperature on held-out queries.

    `weight` (D, S) and `bias` (S,) over the `classes` (S,) seen in training; `prior` (C,) over all categories,
    Laplace-smoothed. A category never seen gets its prior; the seen ones share what is left.
    """

    weight: np.ndarray
    bias: np.ndarray
    classes: np.ndarray
    prior: np.ndarray
    temperature: float

    @staticmethod
    def fit(
        query_x: np.ndarray,
        query: np.ndarray,
        category: np.ndarray,
        weight: np.ndarray,
        n_categories: int,
        *,
        seed: int,
    ) -> CategoryClassifier:
        """Fit on E weighted examples: `query` (E,) into `query_x` (Q, D), `category` (E,) int64 (-1: left out) and
        `weight` (E,)."""
        kept = (category >= 0) & (weight > 0)
        rows, labels, mass = query[kept], category[kept], weight[kept].astype(np.float64)
        mass = mass / mass.mean() if len(mass) else mass
        prior = np.bincount(labels, weights=mass, minlength=n_categories) + 1.0
        prior /= prior.sum()
        classes, label = np.unique(labels, return_inverse=True)
        used, row = np.unique(rows, return_inverse=True)
        x = np.asarray(query_x, dtype=np.float32)[used]
        target = np.zeros((len(used), len(classes)), dtype=np.float32)
        np.add.at(target, (row, label), mass)
        # A popular query must not drown the rest: its examples shape its target, their number counts by its root.
        total = target.sum(axis=1, keepdims=True)
        target = target / np.maximum(np.sqrt(total), 1e-12)
        start = np.zeros((x.shape[1] + 1, len(classes)), dtype=np.float32)
        temperature, ridge = 1.0, _PENALTY / max(len(used), 1)
        held = np.random.default_rng(seed).permutation(len(used))[: int(_HELD_OUT * len(used))]
        if len(held) >= 10 and len(classes) > 1:
            fitted = np.ones(len(used), dtype=bool)
            fitted[held] = False
            start = _logistic(x[fitted], target[fitted], start, ridge, _ITERATIONS)
            temperature = _temperature(x[held] @ start[:-1] + start[-1], target[held])
        if len(classes) > 1:
            refit = _ITERATIONS if not start.any() else _ITERATIONS // 3  # starts next to its end
            start = _logistic(x, target, start, ridge, refit)
        return CategoryClassifier(start[:-1], start[-1], classes, prior, temperature)

    def probabilities(self, query_x: np.ndarray) -> np.ndarray:
        """(Q, C) float64; rows sum to 1."""
        out = np.broadcast_to(self.prior, (len(query_x), len(self.prior))).copy()
        if len(self.classes):
            # In float64, lest a query's value depend on those that are measured beside it.
            logit = (np.asarray(query_x, dtype=np.float64) @ self.weight + self.bias) / self.temperature
            out[:, self.classes] = _softmax(logit) * self.prior[self.classes].sum()
        return out

    def agreement(
        self, query_x: np.ndarray, pair_query: np.ndarray, pair_item: np.ndarray, item_category: np.ndarray
    ) -> np.ndarray:
        """(M,) float32 probability of the item's category for pairs; `item_category` (N,) int64, -1 unknown.

        An item without category gets what an item drawn from the prior would get on average.
        """
        used, row = np.unique(pair_query, return_inverse=True)
        category = np.asarray(item_category)[pair_item]
        out = np.empty(len(pair_query), dtype=np.float32)
        by_row = np.argsort(row, kind="stable")
        for start in range(0, len(used), 4_096):
            p = self.probabilities(query_x[used[start : start + 4_096]])
            low, high = np.searchsorted(row[by_row], [start, start + 4_096])
            at = by_row[low:high]
            known = p[row[at] - start, np.maximum(category[at], 0)]
            out[at] = np.where(category[at] >= 0, known, (p @ self.prior)[row[at] - start])
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """Named arrays that `from_arrays` restores."""
        return {
            "weight": self.weight,
            "bias": self.bias,
            "classes": self.classes,
            "prior": self.prior,
            "temperature": np.array([self.temperature]),
        }

    @staticmethod
    def from_arrays(arrays: Mapping[str, np.ndarray]) -> CategoryClassifier:
        """The inverse of `arrays`."""
        parts = {name: arrays[name] for name in ("weight", "bias", "classes", "prior")}
        return CategoryClassifier(**parts, temperature=float(arrays["temperature"][0]))


def _softmax(logit: np.ndarray) -> np.ndarray:
    e = np.exp(logit - logit.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _logistic(x: np.ndarray, target: np.ndarray, start: np.ndarray, penalty: float, iterations: int) -> np.ndarray:
    """(D+1, S) float32 weights over bias that minimise weighted cross-entropy of `target` (Q, S) + L2 (L-BFGS)."""
    total = target.sum(axis=1, keepdims=True)
    scale = 1.0 / max(float(total.sum()), 1e-12)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(start.shape).astype(np.float32)
        logit = x @ w[:-1] + w[-1]
        logit -= logit.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(logit).sum(axis=1, keepdims=True))
        value = float(((log_sum - logit) * target).sum(dtype=np.float64)) * scale
        slope = (np.exp(logit - log_sum) * total - target) * np.float32(scale)
        gradient = np.concatenate([x.T @ slope, slope.sum(axis=0, keepdims=True)])
        gradient[:-1] += penalty * w[:-1]
        value += 0.5 * penalty * float((w[:-1].astype(np.float64) ** 2).sum())
        return value, gradient.ravel().astype(np.float64)

    fit = optimize.minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": iterations})
    return fit.x.reshape(start.shape).astype(np.float32)


def _temperature(logit: np.ndarray, target: np.ndarray) -> float:
    """Temperature of least cross-entropy on held-out queries (Guo et al., 2017)."""

    def loss(log_t: float) -> float:
        z = logit.astype(np.float64) / np.exp(log_t)
        z -= z.max(axis=1, keepdims=True)
        return float(((np.log(np.exp(z).sum(axis=1, keepdims=True)) - z) * target).sum())

    return float(np.exp(optimize.minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded").x))
