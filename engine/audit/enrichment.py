"""What some items carry more often than the rest: log-odds ratios with a lower bound that holds for all of them at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ERROR = 0.05
"""Chance that any bound is wrong."""


class Enriched(NamedTuple):
    """Of M values, each an array (M,)."""

    log_odds: np.ndarray
    """log((a / b) / (c / d)): odds of carrying the value inside over those outside; 0 = as often."""
    low: np.ndarray
    """Lower bound: with 95 % confidence the true log-odds ratios of all M lie above theirs."""
    stands_out: np.ndarray
    """Whether that is above 0."""


def enriched(inside: np.ndarray, outside: np.ndarray, n_inside: np.ndarray, n_outside: np.ndarray) -> Enriched:
    """Compare how often values occur in a part and outside of it.

    Args:
        inside, outside: (M,) items of the part, and of the rest, that carry each value.
        n_inside, n_outside: (M,) items of the part, and of the rest, that could carry it.

    The ratio has half an item added to every cell (Haldane 1956, Anscombe 1956), so that nothing is infinite. The bound sets
    the exact lower bound of the share inside against the exact upper bound of the share outside (Clopper and Pearson
    1934), each at 5 % / 2 M: corrected for M comparisons (Bonferroni), however values depend on one another, as codes,
    categories and words do. Woolf's normal bound would be simpler, and wrong for values of few items, which most are.
    """
    a, n = np.asarray(inside, dtype=np.float64), np.asarray(n_inside, dtype=np.float64)
    c, m = np.asarray(outside, dtype=np.float64), np.asarray(n_outside, dtype=np.float64)
    log_odds = np.log((a + 0.5) / (n - a + 0.5)) - np.log((c + 0.5) / (m - c + 0.5))
    error = ERROR / 2 / max(len(a), 1)
    with np.errstate(divide="ignore"):  # a share of 0 or 1 has infinite log-odds, and nothing to say
        low = _log_odds(share_low(a, n, error)) - _log_odds(share_high(c, m, error))
    return Enriched(log_odds, low, low > 0)


def share_low(successes: np.ndarray, n: np.ndarray, error: float) -> np.ndarray:
    """Exact lower bound of shares, each wrong with at most that chance; 0 where nothing was found."""
    from scipy.special import betaincinv  # the dashboard imports this package, and is not to wait for it

    some = successes > 0
    return np.where(some, betaincinv(np.maximum(successes, 1), n - successes + 1, error), 0.0)


def share_high(successes: np.ndarray, n: np.ndarray, error: float) -> np.ndarray:
    """Exact upper bound of shares; 1 where nothing was missed."""
    return 1.0 - share_low(n - successes, n, error)


def _log_odds(share: np.ndarray) -> np.ndarray:
    return np.log(share) - np.log1p(-share)
