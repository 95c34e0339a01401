"""How attractive each logged pair is by its clicks alone: corrected for position, shrunk towards its like, with interval.

A pair's rate has a beta prior whose mean is what the *other* pairs of its query and category do, shrunk towards its
query, and that towards the log; every strength is as large as the pairs (cells, queries) truly differ (empirical Bayes,
moments). The posterior under P(click) = examination(position) x rate is exact, by quadrature.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.audit.attractiveness import by_pair
from engine.audit.click_model import Examination, SearchLog

STRENGTHS = (0.5, 1e4)
"""Between which a prior may count, in examined impressions."""
_CELLS = 200
_AT_ONCE = 20_000_000  # numbers held at once
_MIDDLING = 0.2
_EDGE = 1e-4  # a prior's mean stays this far from 0 and 1


class PairRates(NamedTuple):
    """Of the pairs (n,) that were examined often enough."""

    pair: np.ndarray  # int64 number in the log, ascending.
    examined: np.ndarray  # Impressions x examination of their position.
    clicks: np.ndarray
    prior: np.ndarray  # Mean of the prior.
    strength: float  # Of the prior, in examined impressions.
    rate: np.ndarray  # Posterior mean: chance of a click of who looks.
    low: np.ndarray  # 95 % credible interval.
    high: np.ndarray


class _Totals(NamedTuple):
    """Sums over the pairs of a group."""

    clicks: np.ndarray
    examined: np.ndarray
    twice: np.ndarray  # Impressions x examination^2.

    def by(self, group: np.ndarray) -> _Totals:
        return _Totals(*(np.bincount(group, weights=part) for part in self))


def pair_rates(log: SearchLog, examination: Examination, category: np.ndarray, *, least: float) -> PairRates:
    """Rates of the pairs with `least` examined impressions or more; the others, often mere trials, teach no prior either.

    `category` (pairs of the log,) int64: of each pair's item, any number; items without one share a number.
    """
    look = examination.at(log.position)
    examined = by_pair(log, log.impressions * look)
    pair = np.flatnonzero(examined >= least)
    own = _Totals(by_pair(log, log.clicks)[pair], examined[pair], by_pair(log, log.impressions * look**2)[pair])
    query = np.unique(log.pairs["query"].to_numpy(np.int64)[pair], return_inverse=True)[1]
    cell = np.unique(query * (int(category.max(initial=0)) + 2) + category[pair] + 1, return_inverse=True)[1]
    prior, strength = _prior(own, query, cell)
    found = np.empty((3, len(pair)))
    step = max(1, _AT_ONCE // (_CELLS * max(int(np.bincount(log.pair).max(initial=1)), 1)))
    for start in range(0, len(pair), step):
        at = slice(start, start + step)
        found[:, at] = _posterior(log, look, pair[at], _Totals(*(part[at] for part in own)), (prior[at], strength))
    return PairRates(pair, own.examined, own.clicks, prior, strength, *found)


def _prior(own: _Totals, query: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean (N,) of each pair's prior, from which its own clicks are left out, and the strength of all."""
    mean = float(np.clip(own.clicks.sum() / max(own.examined.sum(), 1e-12), _EDGE, 1 - _EDGE))
    start, whole = np.full(len(query), mean), np.full(int(query.max(initial=-1)) + 1, mean)
    for group in (query, cell):
        total = own.by(group)
        weight = _strength(total, whole)
        start = (total.clicks[group] - own.clicks + weight * start) / (total.examined[group] - own.examined + weight)
        # What the next, finer groups are compared with.
        shrunk = (total.clicks + weight * whole) / (total.examined + weight)
        whole = np.zeros(int(cell.max(initial=-1)) + 1)
        whole[cell] = shrunk[group]
    start = np.clip(start, _EDGE, 1 - _EDGE)
    return start, _strength(own, start)


def _strength(total: _Totals, expected: np.ndarray) -> float:
    """Of beta priors with means `expected` that spread as the rates of `total` do: 1 / (1 + strength) = rho of
    Var(clicks) = examined m - twice m^2 + (examined^2 - twice) m (1 - m) rho."""
    events, room = total.examined * expected, expected * (1 - expected)
    # By the inverse variance of a squared deviation under a middling rho; else a few large pairs decide.
    weight = 1.0 / np.maximum(events + 2 * (events + _MIDDLING * total.examined**2 * room) ** 2, 1e-12)
    beyond = (weight * ((total.clicks - events) ** 2 - events + total.twice * expected**2)).sum()
    rho = beyond / max(float((weight * room * (total.examined**2 - total.twice)).sum()), 1e-12)
    return float(np.clip(1 / rho - 1 if rho > 0 else np.inf, *STRENGTHS))


def _posterior(
    log: SearchLog, look: np.ndarray, pairs: np.ndarray, own: _Totals, prior: tuple[np.ndarray, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and ends of the 95 % interval of the rates of `pairs` (n,), ascending; `prior`: their means and the strength."""
    start, strength = prior
    weight = strength + own.examined
    near = np.minimum((strength * start + own.clicks) / weight, 1.0)
    wide = 8 * np.sqrt(near / weight) + 12 / weight  # beyond is next to nothing, the chance of clicks at its largest
    ends = np.clip([near - wide, near + wide], 0.0, 1.0)
    edges = ends[0][:, None] + (ends[1] - ends[0])[:, None] * np.linspace(0.0, 1.0, _CELLS + 1) ** 3
    middle = (edges[:, 1:] + edges[:, :-1]) / 2
    rows = np.flatnonzero(np.isin(log.pair, pairs))
    at = np.searchsorted(pairs, log.pair[rows])
    clicks, missed = log.clicks[rows, None], (log.impressions - log.clicks)[rows, None]
    likely = clicks * np.log(middle[at]) + missed * np.log1p(-look[rows, None] * middle[at])
    first = np.flatnonzero(np.r_[True, np.diff(at) != 0])
    a, b = strength * start[:, None], strength * (1 - start[:, None])
    with np.errstate(divide="ignore"):  # an edge of 0
        above, under = np.log(edges[:, 1:]), np.log(edges[:, :-1])
    # The prior may rise without end towards 0: x^(a-1) is integrated over each cell, the rest taken at its middle.
    power = a * above + np.log(-np.expm1(a * (under - above)))
    mass = np.add.reduceat(likely, first, axis=0) + power + (b - 1) * np.log1p(-middle)
    mass = np.exp(mass - mass.max(axis=1, keepdims=True))
    mass /= mass.sum(axis=1, keepdims=True)
    below = np.cumsum(mass, axis=1)
    row, found = np.arange(len(pairs)), []
    for share in (0.025, 0.975):
        cell = np.minimum((below < share).sum(axis=1), _CELLS - 1)
        into = (share - below[row, cell] + mass[row, cell]) / np.maximum(mass[row, cell], 1e-300)
        found.append(edges[row, cell] + np.clip(into, 0, 1) * (edges[row, cell + 1] - edges[row, cell]))
    return (mass * middle).sum(axis=1), found[0], found[1]
