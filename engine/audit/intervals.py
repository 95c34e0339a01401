"""95 % intervals of shares and means."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A value with its 95 % interval and what it rests on; NaN where that is nothing."""

    value: float
    low: float
    high: float
    n: int


def mean_interval(values: np.ndarray, *, resamples: int = 2_000, seed: int = 0) -> Interval:
    """The mean of values (n,) and its bootstrap interval (percentiles).

    Equal values are drawn together (a multinomial draw of their counts), which is the same bootstrap in a fraction of
    the time where there are few distinct ones.
    """
    n = len(values)
    if not n:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    distinct, count = np.unique(values, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(n, count / n, size=resamples) @ distinct / n
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(np.mean(values)), float(low), float(high), n)


def wilson(successes: int, n: int) -> Interval:
    """A share with its score interval (Wilson 1927)."""
    if not n:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    z = 1.959963984540054
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(share, float(max(centre - half, 0.0)), float(min(centre + half, 1.0)), n)
