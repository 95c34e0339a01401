"""How much a position is looked at, and how much a query counts."""

from __future__ import annotations

import numpy as np

PAGE = 10
"""Places of page one."""
DISCOUNTS = ("log2", "top10", "click")
CLICK_DECAY = 1.0
"""Examination of rank r is r^-decay (position-based model; Joachims, Swaminathan and Schnabel 2017)."""


def discount_weights(rank: np.ndarray, discount: str, *, click_decay: float = CLICK_DECAY) -> np.ndarray:
    """Exposure of a position (ranks from 1, any shape), float64.

    'log2': 1 / log2(1 + rank) (the discount of DCG). 'top10': 1 for the first ten ranks, else 0. 'click': the
    examination probability rank^-click_decay of a position-based click model. Raises ValueError for another name.
    """
    rank = np.asarray(rank, dtype=np.float64)
    if discount == "log2":
        return 1.0 / np.log2(1.0 + rank)
    if discount == "top10":
        return (rank <= PAGE).astype(np.float64)
    if discount == "click":
        return rank**-click_decay
    raise ValueError(f"discount '{discount}' is unknown; allowed: {', '.join(DISCOUNTS)}")


def traffic_weights(frequency: np.ndarray) -> np.ndarray:
    """(Q,) weight of each query: its frequency, unknown counting nothing; every query counts 1 where there is no traffic."""
    weight = np.maximum(np.nan_to_num(np.asarray(frequency, dtype=np.float64)), 0.0)
    return weight if weight.sum() > 0 else np.ones_like(weight)


def exposure_total(n_candidates: np.ndarray, weight: np.ndarray, discount: str = "log2") -> float:
    """All exposure there is: what a share is a share of.

    Args:
        n_candidates: (Q,) retrieved candidates of every query with traffic (ranks run from 1 to that).
        weight: (Q,) frequency of each.
        discount: see `discount_weights`.
    """
    n_candidates = np.asarray(n_candidates, dtype=np.int64)
    ranks = np.arange(1, int(n_candidates.max(initial=0)) + 1)
    cumulative = np.concatenate([[0.0], np.cumsum(discount_weights(ranks, discount))])
    return float(cumulative[n_candidates] @ np.asarray(weight, dtype=np.float64))
