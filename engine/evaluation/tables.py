"""The tables of an evaluation: every ranker, metric and segment, with intervals and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.evaluation.bootstrap import Estimate, bootstrap_auc, bootstrap_metric, paired_difference, resample_queries
from engine.evaluation.pairs import ndcg, within_query_auc

_METRICS = ["metric", "segment", "value", "low", "high", "n"]


class Evaluation(NamedTuple):
    """Tables of the schema without `run_id`: `metrics`, `comparisons`, `query_metrics`."""

    metrics: pd.DataFrame
    comparisons: pd.DataFrame
    query_metrics: pd.DataFrame


class Judged(NamedTuple):
    """Judged pairs (M,) of queries 0..Q-1, and what every ranker makes of them."""

    scores: Mapping[str, np.ndarray]  # ranker -> (M,)
    grades: np.ndarray  # (M,)
    query: np.ndarray  # (M,) position of the query.
    relevant_grade: float
    query_ids: Sequence[str] = ()  # (Q,) read by `query_metrics` alone.

    @property
    def positive(self) -> np.ndarray:
        """(M,) bool."""
        return np.asarray(self.grades) >= self.relevant_grade


def evaluate(
    judged: Judged,
    segments: Mapping[str, np.ndarray],
    *,
    comparisons: Sequence[tuple[str, str]] = (),
    with_without: tuple[str, str] | None = None,
    operating_points: Mapping[str, float] | None = None,
    resamples: int = 2_000,
    seed: int = 0,
) -> Evaluation:
    """Every ranker on the same judged pairs.

    `segments` name -> (Q,) bool over queries; `comparisons` (ranker, baseline); `operating_points` ranker -> threshold
    chosen on validation (precision and recall are given only then); `with_without` names the two rankers of
    `query_metrics`. Metrics are '<ranker>.auc', '.within_query_auc', '.ndcg@10', '.precision', '.recall'.
    """
    n_queries = len(next(iter(segments.values())))
    weights = resample_queries(n_queries, resamples, seed=seed)
    query, positive = np.asarray(judged.query, dtype=np.int64), judged.positive
    estimates: dict[tuple[str, str, str], Estimate] = {}
    by_query: dict[tuple[str, str], np.ndarray] = {}
    for ranker, given in judged.scores.items():
        score = np.asarray(given, dtype=np.float64)
        per_query = {
            "within_query_auc": within_query_auc(score, positive, query, n_queries),
            "ndcg@10": ndcg(score, judged.grades, query, n_queries),
        }
        by_query.update({(ranker, name): value for name, value in per_query.items()})
        ratios = {name: (value, np.ones(n_queries)) for name, value in per_query.items()}
        if ranker in (operating_points or {}):
            ratios |= _called(score >= (operating_points or {})[ranker], positive, query, n_queries)
        found = {"auc": bootstrap_auc(score, positive, query, weights, segments)}
        found |= {name: bootstrap_metric(*ratio, weights, segments) for name, ratio in ratios.items()}
        estimates |= {(ranker, name, segment): e for name, of in found.items() for segment, e in of.items()}
    metrics = [(f"{ranker}.{name}", segment, *e[:4]) for (ranker, name, segment), e in estimates.items()]
    differences = [
        (ranker, baseline, name, segment, *paired_difference(e, estimates[baseline, name, segment]))
        for ranker, baseline in comparisons
        for (first, name, segment), e in estimates.items()
        if first == ranker and (baseline, name, segment) in estimates
    ]
    named = ["ranker", "baseline", "metric", "segment", "difference", "low", "high", "p_value", "n"]
    return Evaluation(
        pd.DataFrame(metrics, columns=_METRICS),
        pd.DataFrame(differences, columns=named),
        _query_metrics(by_query, with_without, judged.query_ids),
    )


def _called(
    called: np.ndarray, positive: np.ndarray, query: np.ndarray, n_queries: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Precision and recall as (hits, total) of every query, of the pairs called relevant."""
    hits, predicted, there = (
        np.bincount(query[rows], minlength=n_queries).astype(np.float64)
        for rows in (called & positive, called, positive)
    )
    return {"precision": (hits, predicted), "recall": (hits, there)}


def evaluate_queries(
    values: Mapping[str, np.ndarray], segments: Mapping[str, np.ndarray], *, resamples: int = 2_000, seed: int = 0
) -> pd.DataFrame:
    """`metrics` rows of per-query values (Q,), NaN = not defined for the query: hit@5, survival, validity, recall."""
    n_queries = len(next(iter(segments.values())))
    weights = resample_queries(n_queries, resamples, seed=seed)
    rows: list[tuple[str, str, float, float, float, int]] = []
    for name, value in values.items():
        estimates = bootstrap_metric(np.asarray(value, dtype=np.float64), np.ones(n_queries), weights, segments)
        rows.extend((name, segment, *e[:4]) for segment, e in estimates.items())
    return pd.DataFrame(rows, columns=_METRICS)


def _query_metrics(
    by_query: Mapping[tuple[str, str], np.ndarray],
    with_without: tuple[str, str] | None,
    query_ids: Sequence[str],
) -> pd.DataFrame:
    rows = []
    if with_without is not None:
        for name in ("within_query_auc", "ndcg@10"):
            value, value_without = (by_query[ranker, name] for ranker in with_without)
            for q in np.flatnonzero(np.isfinite(value)).tolist():
                difference = value[q] - value_without[q]
                rows.append((query_ids[q], name, value[q], value_without[q], difference))
    return pd.DataFrame(rows, columns=["query_id", "metric", "value", "value_without", "difference"])
