"""How far two raters agree on graded pairs: percent, Cohen's kappa, confusion, with bootstrap intervals by query.

Cohen, "A coefficient of agreement for nominal scales", 1960, and "Weighted kappa", 1968 (quadratic weights). Queries
are the unit of sampling, as in all of `engine.evaluation`: pairs of one query are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from engine.evaluation.bootstrap import resample_queries

RESAMPLES = 2_000
_MOST_CELLS = 20_000_000
"""Resample counts held at once."""
_FEWEST_SHARED = 30
"""Fewer ratings in common are not compared."""
_MOST_RATERS = 12
"""Of a crowd, those with most ratings are compared with one another."""
POOLED = "any rater"
OTHERS = "mean of the others"


class Interval(NamedTuple):
    """A measure and its 95 % interval over new queries; NaN where undefined (fewer than two queries: no interval)."""

    value: float
    low: float
    high: float


class Agreement(NamedTuple):
    """Agreement of a judge with a reference on the same pairs.

    Where the reference is a mean over raters it is rounded to the nearest grade, halves upwards, except in
    `kappa_quadratic`, which takes it as it is, and in the binary measures, where it is compared with `relevant_grade`.
    """

    grades: tuple[int, ...]
    relevant_grade: float
    n_pairs: int
    n_queries: int
    percent: Interval
    kappa: Interval
    kappa_quadratic: Interval
    binary_percent: Interval
    binary_kappa: Interval
    recall: dict[int, Interval]  # Per grade of the reference: the share that the judge gave the same grade.
    confusion: np.ndarray  # (G, G) int64 counts: row = grade of the reference, column = grade of the judge.

    def to_dict(self) -> dict[str, Any]:
        """For JSON; undefined values are None."""
        out: dict[str, Any] = {
            "n_pairs": self.n_pairs, "n_queries": self.n_queries, "grades": list(self.grades),
            "relevant_grade": self.relevant_grade,
        }  # fmt: skip
        for name in ("percent", "kappa", "kappa_quadratic", "binary_percent", "binary_kappa"):
            out[name] = _plain(getattr(self, name))
        out["recall"] = {str(grade): _plain(found) for grade, found in self.recall.items()}
        out["confusion"] = self.confusion.tolist()
        return out


class Compared(NamedTuple):
    """Agreement of two raters of the same pairs; `first` stands for the judge, `second` for the reference."""

    first: str
    second: str
    agreement: Agreement


class Ceiling(NamedTuple):
    """How far people agree: no judge can be expected to agree with them much better."""

    between: list[Compared]  # Rater against rater on the pairs that both rated.
    left_out: list[Compared]
    """Each rater against the mean of the others; first the row of all raters together, where there are any."""


def cohen_kappa(confusion: np.ndarray) -> np.ndarray:
    """(...,) (observed - chance) / (1 - chance) of confusion counts (..., G, G); NaN where chance agreement is 1."""
    total = confusion.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.trace(confusion, axis1=-2, axis2=-1) / total
        chance = (confusion.sum(axis=-1) * confusion.sum(axis=-2)).sum(axis=-1) / total**2
        # An exact 0 is left where both raters use a single grade.
        return np.where(1 - chance > 1e-12, (observed - chance) / (1 - chance), np.nan)


def quadratic_kappa(moments: np.ndarray) -> np.ndarray:
    """(...,) kappa with quadratic weights of moments (..., 6): n, sum x, sum y, sum x², sum y², sum xy.

    1 - E(x - y)² / E(x - y')² with x and y' drawn apart; on grades the usual weighted kappa, and defined for means of
    raters too, where it is Lin's concordance coefficient (1989).
    """
    n, x, y, xx, yy, xy = np.moveaxis(moments, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = xx + yy - 2 * x * y / n
        return np.where(apart > 1e-9 * n, 1 - (xx + yy - 2 * xy) / apart, np.nan)


def measure_agreement(
    judged: np.ndarray,
    reference: np.ndarray,
    query: np.ndarray,
    *,
    grades: Sequence[int],
    relevant_grade: float,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Agreement:
    """Agreement of `judged` (M,) with `reference` (M,) on pairs of `query` (M,) (any hashable ids)."""
    assert len(judged) == len(reference) == len(query)
    x, y = np.asarray(reference, dtype=np.float64), np.asarray(judged, dtype=np.float64)
    scale = np.array(sorted(grades))
    n_grades = len(scale)
    code, ids = pd.factorize(np.asarray(query, dtype=object))
    row, column = _nearest(x, scale), _nearest(y, scale)
    stats = np.zeros((len(ids), n_grades * n_grades + 4 + 6))
    np.add.at(stats, (code, row * n_grades + column), 1)
    binary = n_grades * n_grades + 2 * (x >= relevant_grade) + (y >= relevant_grade)
    np.add.at(stats, (code, binary), 1)
    np.add.at(stats[:, -6:], code, np.column_stack([np.ones_like(x), x, y, x * x, y * y, x * y]))

    whole = _measures(stats.sum(axis=0), n_grades)
    low, high = np.full((2, len(whole)), np.nan)
    if len(ids) >= 2:
        block = max(1, min(resamples, _MOST_CELLS // len(ids)))
        draws = np.concatenate(
            [
                _measures(resample_queries(len(ids), min(block, resamples - at), seed=seed + at) @ stats, n_grades)
                for at in range(0, resamples, block)
            ]
        )
        for m in np.flatnonzero(~np.isnan(whole)):
            low[m], high[m] = np.nanquantile(draws[:, m], [0.025, 0.975])
    found = [Interval(float(v), float(a), float(b)) for v, a, b in zip(whole, low, high, strict=True)]
    percent, kappa, kappa_quadratic, binary_percent, binary_kappa = found[:5]
    return Agreement(
        grades=tuple(scale.tolist()),
        relevant_grade=relevant_grade,
        n_pairs=len(x),
        n_queries=len(ids),
        percent=percent,
        kappa=kappa,
        kappa_quadratic=kappa_quadratic,
        binary_percent=binary_percent,
        binary_kappa=binary_kappa,
        recall=dict(zip(scale.tolist(), found[5:], strict=True)),
        confusion=stats[:, : n_grades * n_grades].sum(axis=0).reshape(n_grades, n_grades).astype(np.int64),
    )


def human_ceiling(
    ratings: pd.DataFrame, *, grades: Sequence[int], relevant_grade: float, resamples: int = RESAMPLES, seed: int = 0
) -> Ceiling:
    """Raters against each other: `ratings` query_id, item_id, rater, grade; a rater's repeated rating counts as mean.

    Comparisons over fewer than 30 ratings are left out; of a large crowd, whose members share few pairs, only the row
    of all raters together may be left.
    """
    table = ratings.pivot_table(index=["query_id", "item_id"], columns="rater", values="grade", aggfunc="mean")
    most = table.notna().sum().sort_values(ascending=False, kind="stable").index[:_MOST_RATERS]
    query = table.index.get_level_values("query_id").to_numpy()

    def compare(first: str, second: str, x: np.ndarray, y: np.ndarray, q: np.ndarray) -> list[Compared]:
        both = ~(np.isnan(x) | np.isnan(y))
        if both.sum() < _FEWEST_SHARED:
            return []
        found = measure_agreement(
            x[both], y[both], q[both], grades=grades, relevant_grade=relevant_grade, resamples=resamples, seed=seed
        )
        return [Compared(first, second, found)]

    values = {str(rater): table[rater].to_numpy() for rater in sorted(most)}
    between = [c for a, b in combinations(values, 2) for c in compare(a, b, values[a], values[b], query)]
    total, count = table.sum(axis=1).to_numpy(), table.notna().sum(axis=1).to_numpy()
    rest = {}
    for rater in table.columns:
        own = table[rater].to_numpy()
        with np.errstate(invalid="ignore", divide="ignore"):
            rest[str(rater)] = np.where(count > 1, (total - np.nan_to_num(own)) / (count - 1), np.nan)
    single = [c for rater in values for c in compare(rater, OTHERS, values[rater], rest[rater], query)]
    pooled = []
    if rest:
        own = np.concatenate([table[rater].to_numpy() for rater in table.columns])
        pooled = compare(POOLED, OTHERS, own, np.concatenate(list(rest.values())), np.tile(query, len(rest)))
    return Ceiling(between, [*pooled, *single])


def _nearest(grade: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(M,) position in the ascending `scale` of the nearest grade, halves upwards."""
    return np.searchsorted((scale[1:] + scale[:-1]) / 2, grade, side="right")


def _measures(stats: np.ndarray, n_grades: int) -> np.ndarray:
    """(..., 5 + G) percent, kappa, quadratic kappa, binary percent, binary kappa, recall of every grade."""
    cells = n_grades * n_grades
    confusion = stats[..., :cells].reshape(*stats.shape[:-1], n_grades, n_grades)
    binary = stats[..., cells : cells + 4].reshape(*stats.shape[:-1], 2, 2)
    same = np.diagonal(confusion, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        percent = same.sum(axis=-1) / confusion.sum(axis=(-2, -1))
        binary_percent = np.trace(binary, axis1=-2, axis2=-1) / binary.sum(axis=(-2, -1))
        recall = same / confusion.sum(axis=-1)
    single = [percent, cohen_kappa(confusion), quadratic_kappa(stats[..., -6:]), binary_percent, cohen_kappa(binary)]
    return np.concatenate([np.stack(single, axis=-1), recall], axis=-1)


def _plain(found: Interval) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else round(value, 6) for name, value in found._asdict().items()}
