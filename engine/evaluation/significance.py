"""Many tests at once, and what a test could have found."""

from __future__ import annotations

import numpy as np


def holm(p_values: np.ndarray) -> np.ndarray:
    """P-values (T,) corrected so that the chance of any false discovery stays at the level (Holm, 1979); NaN stays NaN
    and counts for nothing."""
    p_values = np.asarray(p_values, dtype=np.float64)
    out = np.full(len(p_values), np.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    factor = np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(p_values[order] * factor), 1.0)
    return out


def detectable_difference(low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray | float:
    """The true difference that a 5 % two-sided test would find with 80 % power, from a 95 % interval: 2.80 standard
    errors."""
    return 2.8016 * (high - low) / (2 * 1.96)
