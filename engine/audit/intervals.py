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
    from scipy.stats import binomtest  # the dashboard imports this package, and is not to wait for it

    low, high = binomtest(successes, n).proportion_ci(method="wilson")
    return Interval(successes / n, float(low), float(high), n)
