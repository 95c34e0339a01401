"""The tables of an evaluation: every ranker, metric and segment, with intervals and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.evaluation.bootstrap import Estimate, bootstrap_auc, bootstrap_metric, paired_difference, resample_queries
from engine.evaluation.pairs import ndcg, within_query_auc


class Evaluation(NamedTuple):
    """Tables of the schema without `run_id`: `metrics`, `comparisons`, `query_metrics`."""

    metrics: pd.DataFrame
    comparisons: pd.DataFrame
    query_metrics: pd.DataFrame


def evaluate(
    scores: Mapping[str, np.ndarray],
    grades: np.ndarray,
    query: np.ndarray,
    segments: Mapping[str, np.ndarray],
    *,
    relevant_grade: float,
    comparisons: Sequence[tuple[str, str]] = (),
    with_without: tuple[str, str] | None = None,
    query_ids: Sequence[str] | None = None,
    operating_points: Mapping[str, float] | None = None,
    resamples: int = 2_000,
    seed: int = 0,
) -> Evaluation:
    """Every ranker on the same judged pairs: `scores` ranker -> (M,), `grades` (M,), `query` (M,) positions 0..Q-1.

    `segments` name -> (Q,) bool over queries; `comparisons` (ranker, baseline); `operating_points` ranker -> threshold
    chosen on validation (precision and recall are given only then); `with_without` names the two rankers of
    `query_metrics`, whose rows carry `query_ids` (Q,). Metrics are '<ranker>.auc', '.within_query_auc', '.ndcg@10',
    '.precision', '.recall'.
    """
    query = np.asarray(query, dtype=np.int64)
    n_queries = len(next(iter(segments.values())))
    positive = np.asarray(grades) >= relevant_grade
    weights = resample_queries(n_queries, resamples, seed=seed)
    estimates: dict[tuple[str, str, str], Estimate] = {}
    by_query: dict[tuple[str, str], np.ndarray] = {}
    for ranker, score in scores.items():
        score = np.asarray(score, dtype=np.float64)
        per_query = {
            "within_query_auc": within_query_auc(score, positive, query, n_queries),
            "ndcg@10": ndcg(score, grades, query, n_queries),
        }
        by_query.update({(ranker, name): value for name, value in per_query.items()})
        found = {"auc": bootstrap_auc(score, positive, query, weights, segments)}
        for name, value in per_query.items():
            found[name] = bootstrap_metric(value, np.ones(n_queries), weights, segments)
        if operating_points is not None and ranker in operating_points:
            called = score >= operating_points[ranker]
            hits = np.bincount(query[called & positive], minlength=n_queries).astype(np.float64)
            for name, among in (("precision", called), ("recall", positive)):
                total = np.bincount(query[among], minlength=n_queries).astype(np.float64)
                found[name] = bootstrap_metric(hits, total, weights, segments)
        for name, by_segment in found.items():
            estimates.update({(ranker, name, segment): estimate for segment, estimate in by_segment.items()})
    metrics = [
        (f"{ranker}.{name}", segment, e.value, e.low, e.high, e.n) for (ranker, name, segment), e in estimates.items()
    ]
    differences = [
        (ranker, baseline, name, segment, *paired_difference(e, estimates[baseline, name, segment]))
        for ranker, baseline in comparisons
        for (first, name, segment), e in estimates.items()
        if first == ranker and (baseline, name, segment) in estimates
    ]
    return Evaluation(
        pd.DataFrame(metrics, columns=["metric", "segment", "value", "low", "high", "n"]),
        pd.DataFrame(
            differences,
            columns=["ranker", "baseline", "metric", "segment", "difference", "low", "high", "p_value", "n"],
        ),
        _query_metrics(by_query, with_without, query_ids),
    )


def evaluate_queries(
    values: Mapping[str, np.ndarray], segments: Mapping[str, np.ndarray], *, resamples: int = 2_000, seed: int = 0
) -> pd.DataFrame:
    """`metrics` rows of per-query values (Q,), NaN = not defined for the query: hit@5, survival, validity, recall."""
    n_queries = len(next(iter(segments.values())))
    weights = resample_queries(n_queries, resamples, seed=seed)
    rows: list[tuple[str, str, float, float, float, int]] = []
    for name, value in values.items():
        estimates = bootstrap_metric(np.asarray(value, dtype=np.float64), np.ones(n_queries), weights, segments)
        rows.extend((name, segment, e.value, e.low, e.high, e.n) for segment, e in estimates.items())
    return pd.DataFrame(rows, columns=["metric", "segment", "value", "low", "high", "n"])


def _query_metrics(
    by_query: Mapping[tuple[str, str], np.ndarray],
    with_without: tuple[str, str] | None,
    query_ids: Sequence[str] | None,
) -> pd.DataFrame:
    rows = []
    if with_without is not None:
        assert query_ids is not None
        for name in ("within_query_auc", "ndcg@10"):
            value, value_without = (by_query[ranker, name] for ranker in with_without)
            for q in np.flatnonzero(np.isfinite(value)).tolist():
                difference = value[q] - value_without[q]
                rows.append((query_ids[q], name, value[q], value_without[q], difference))
    return pd.DataFrame(rows, columns=["query_id", "metric", "value", "value_without", "difference"])
