"""Inequality of shares: Lorenz curve, Gini coefficient, Herfindahl-Hirschman index."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Lorenz(NamedTuple):
    """The Lorenz curve: both arrays start at 0 and end at 1."""

    population: np.ndarray
    share: np.ndarray


def lorenz(values: np.ndarray) -> Lorenz:
    """Cumulative share of the total held by the poorest part of the population (values >= 0, any shape)."""
    ordered = np.sort(np.asarray(values, dtype=np.float64).ravel())
    total = ordered.sum()
    share = np.cumsum(ordered) / total if total > 0 else np.arange(1, len(ordered) + 1) / max(len(ordered), 1)
    return Lorenz(np.linspace(0.0, 1.0, len(ordered) + 1), np.concatenate([[0.0], share]))


def gini(values: np.ndarray) -> float:
    """Gini coefficient: twice the area between the Lorenz curve and equality; 0 where all are equal.

    G = 2 sum_i(i x_(i)) / (n sum x) - (n + 1) / n over the values in ascending order, i from 1.
    """
    return float(gini_rows(np.asarray(values, dtype=np.float64).reshape(1, -1))[0])


def gini_rows(values: np.ndarray) -> np.ndarray:
    """(R,) Gini coefficient of each row of (R, n); 0 for a row without anything to share."""
    n = values.shape[1]
    if not n:
        return np.zeros(len(values))
    ordered = np.sort(values, axis=1)
    total = ordered.sum(axis=1, dtype=np.float64)
    weighted = ordered @ np.arange(1, n + 1, dtype=values.dtype)
    out = 2 * weighted / (n * np.where(total > 0, total, 1)) - (n + 1) / n
    return np.where(total > 0, np.maximum(out, 0.0), 0.0)
