"""What few judged queries can teach: how far to leave the cosine, and how many trees to grow, by inner cross-validation.

A boosted ranker of few queries starts from a line: grade = mean + b dm, the text cosine alone (b >= 0), plus a ridge
regression of what that leaves on every column. Trees then learn what the line leaves. How strong the ridge is (up to
infinitely, which is the cosine), how many trees there are (none, maybe) and whether trees that start from nothing are
averaged with all that is chosen on queries left out, and the simpler wins unless the other is better by more than half a
standard error of the difference (after Breiman et al., 1984).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FEW = 500
"""Judged training queries from which on the trees need no help, and get none."""
FOLDS = 5
CAUTION = 0.5
"""Standard errors by which the more complex has to be better."""
PENALTIES = (np.inf, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""L2 on standardised coefficients beside the mean squared error, simplest first."""
SIMPLEST = "dm"
"""The column that needs no training."""


class Lines(NamedTuple):
    """One line for each of `PENALTIES` (C): score = `constant` (C,) + x @ `slope` (C, F).T."""

    slope: np.ndarray
    constant: np.ndarray

    def score(self, x: np.ndarray) -> np.ndarray:
        """(C, M) of rows `x` (M, F)."""
        return self.slope @ x.T + self.constant[:, None]


def fit_lines(x: np.ndarray, grades: np.ndarray, columns: Sequence[str], rising: Sequence[str]) -> Lines:
    """Lines through rows `x` (M, F) with `grades` (M,), one for each penalty; none falls with a column in `rising`."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    z = (x - mean) / np.where(scale > 1e-9, scale, np.inf)  # a constant column tells nothing
    simplest, middle = columns.index(SIMPLEST), grades.mean()
    by_cosine = max(float(z[:, simplest] @ (grades - middle)) / len(z), 0.0)
    left_over = grades - middle - by_cosine * z[:, simplest]
    spread, axes = np.linalg.eigh(z.T @ z / len(z))
    along = axes.T @ (z.T @ left_over / len(z))
    slope = (along / (np.maximum(spread, 0.0) + np.array(PENALTIES)[:, None])) @ axes.T
    slope[:, simplest] += by_cosine
    up = [columns.index(name) for name in rising]
    slope[:, up] = np.maximum(slope[:, up], 0.0)
    slope /= np.where(scale > 1e-9, scale, np.inf)
    return Lines(slope, middle - slope @ mean)


def inner_folds(query: np.ndarray, *, seed: int) -> np.ndarray:
    """(M,) int64 fold 0..4 of rows by their `query` (M,), of equal shares; as many folds as queries, if they are fewer."""
    found, row = np.unique(query, return_inverse=True)
    order = np.random.default_rng([seed, len(found)]).permutation(len(found))
    return (np.argsort(order) % FOLDS)[row]


def simplest_good(scores: np.ndarray, grades: np.ndarray, query: np.ndarray) -> int:
    """Which of the candidates' out-of-fold `scores` (C, M), simplest first, to take: the first whose squared error, mean
    over queries, is within `CAUTION` standard errors (of the difference, over queries) of the best's."""
    _, row, count = np.unique(query, return_inverse=True, return_counts=True)
    error = np.array([np.bincount(row, weights=(each - grades) ** 2) / count for each in scores])
    worse = error - error[error.mean(axis=1).argmin()]
    noise = worse.std(axis=1, ddof=1) / np.sqrt(len(count))
    return int(np.flatnonzero(worse.mean(axis=1) <= CAUTION * noise)[0])
