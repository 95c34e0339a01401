"""Held-out metrics of a run: its rankers on judged pairs, its beams on relevant ones."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.config import SIGNALS
from engine.datasets.contract import Catalogue
from engine.evaluation.beams import beam_diversity, hit_at_k, item_hit_at_k, prefix_survival, validity
from engine.evaluation.pairs import operating_point, retrieval_recall
from engine.evaluation.significance import detectable_difference
from engine.evaluation.tables import Evaluation, Judged, evaluate_queries
from engine.evaluation.tables import evaluate as evaluate_rankers
from engine.problem.division import Division
from engine.progress import Progress
from engine.reporting.catalogue import items_table, queries_table
from engine.reporting.learned import Ranked
from engine.runs import Run, write_table

COMPARISONS = (
    ("sid", "strong"), ("sid", "weak"), ("sid", "cosine"), ("sid", "control"), ("sid", "strong_gbm"),
    ("control", "strong"), ("placebo", "strong"), ("naive", "strong"), ("sid", "naive"),
    ("strong", "weak"), ("strong", "cosine"), ("strong_gbm", "cosine"), ("rich", "cosine"), ("plain_gbm", "strong"), ("strong_gbm", "strong"),
    ("strong_gbm", "plain_gbm"), ("rich", "plain_gbm"), ("rich", "strong_gbm"), ("rich", "strong"), ("rich", "sid"), ("rich", "twins"), ("twins", "strong_gbm"),
    ("rich_twins", "twins"), ("rich_twins", "strong_gbm"), ("rich_placebo", "strong_gbm"),
    ("rich_naive", "strong_gbm"), ("rich", "rich_naive"),
    *((f"{name}_{kind}", "strong_gbm") for name in SIGNALS for kind in ("gbm", "twin")),
    *((f"{name}_gbm", f"{name}_twin") for name in SIGNALS),
)  # fmt: skip
"""Paired tests (ranker, baseline) that every run prints."""


def evaluate(run: Run, catalogue: Catalogue, division: Division, ranked: Ranked) -> None:
    """Tables metrics, comparisons, query_metrics: test queries, unless a segment names another split."""
    matched = ranked.matched
    settings = {"resamples": run.config.evaluation.resamples, "seed": run.config.seed}

    def body(folder: Path, progress: Progress) -> None:
        progress(0, 2)
        segments = query_segments(queries_table(catalogue, division), items_table(catalogue))
        done = _rankers(run, catalogue, division, ranked, segments)
        progress(1, 2)
        n = len(division.split.split)
        relevant = np.flatnonzero(ranked.grade >= catalogue.settings.relevant_grade)
        query = ranked.query[relevant]
        reach = {f"recall@{run.config.retrieval.top}": retrieval_recall(ranked.rank[relevant] > 0, query, n)}
        extra = [_power(done.comparisons)]
        if matched is not None:
            targets = Targets(matched.level[relevant], matched.sharing[relevant], query)
            reach |= beam_metrics(matched.codes, (matched.asked, matched.beams), targets, n)
            train = division.split.split == "train"
            if train.any():
                fitted = Targets(matched.level_fit[relevant], matched.sharing_fit[relevant], query)
                fit = _hits(matched.beams.shape[1], fitted, n)
                extra.append(evaluate_queries(fit, {"split=train, out of fold": train}, **settings))
                hits = {name: value for name, value in reach.items() if "hit@" in name}
                extra.append(evaluate_queries(hits, {"split=train": train}, **settings))
        reached = evaluate_queries(reach, segments, **settings)
        write_table(folder, "metrics", pd.concat([done.metrics, reached, *extra], ignore_index=True))
        write_table(folder, "comparisons", done.comparisons)
        write_table(folder, "query_metrics", done.query_metrics)

    folder = run.stage("evaluate", "Evaluating on held-out queries", body)
    run.offer_tables(folder)


def _rankers(
    run: Run, catalogue: Catalogue, division: Division, ranked: Ranked, segments: dict[str, np.ndarray]
) -> Evaluation:
    """Every ranker on the judged pairs of test queries, called relevant where validation says so."""
    query, grade = ranked.query, ranked.grade
    split = division.split.split
    tested = np.flatnonzero(split == "test")
    held, valid = split[query] == "test", split[query] == "valid"
    relevant_grade = catalogue.settings.relevant_grade
    points = {
        name: operating_point(scores[valid], grade[valid] >= relevant_grade)
        for name, scores in ranked.scores.items()
        if valid.any()
    }
    judged = Judged(
        {name: scores[held] for name, scores in ranked.scores.items()},
        grade[held],
        np.searchsorted(tested, query[held]),
        relevant_grade,
        catalogue.queries["query_id"].iloc[tested].tolist(),
    )
    return evaluate_rankers(
        judged,
        {name: mask[tested] for name, mask in segments.items()},
        comparisons=[(a, b) for a, b in COMPARISONS if a in ranked.scores and b in ranked.scores],
        with_without=(run.config.served_ranker, run.config.baseline_ranker),
        operating_points=points,
        resamples=run.config.evaluation.resamples,
        seed=run.config.seed,
    )


def _power(comparisons: pd.DataFrame) -> pd.DataFrame:
    """`metrics` rows that say how large a difference in AUC these queries could have shown."""
    rows = comparisons[(comparisons["metric"] == "auc") & (comparisons["segment"] == "all")]
    named = "detectable_difference." + rows["ranker"] + "-" + rows["baseline"]
    value = detectable_difference(rows["low"].to_numpy(), rows["high"].to_numpy())
    return pd.DataFrame({"metric": named, "segment": "all", "value": value, "n": rows["n"]})


def query_segments(queries: pd.DataFrame, items: pd.DataFrame) -> dict[str, np.ndarray]:
    """(Q,) masks of test queries: all, seen and new (where known), by query tier, by the tier of the query's category.

    `queries`, `items`: those tables. Segments without a query are left out.
    """
    tier = items.dropna(subset=["category"]).drop_duplicates("category").set_index("category")["tier"]
    category_tier = queries["category"].map(tier)
    test = (queries["split"] == "test").to_numpy()
    masks = {"all": test}
    if queries["seen"].notna().all():
        seen = queries["seen"].to_numpy(dtype=bool)
        masks |= {"seen": test & seen, "new": test & ~seen}
    for name in ("head", "torso", "tail"):
        masks[f"tier={name}"] = test & (queries["tier"] == name).to_numpy()
        masks[f"category_tier={name}"] = test & (category_tier == name).to_numpy()
    return {name: mask for name, mask in masks.items() if mask.any()}


class Targets(NamedTuple):
    """The relevant judged pairs (M,)."""

    level: np.ndarray  # Match level with the query's beams.
    sharing: np.ndarray  # (M, L) items under the item's prefix of every level.
    query: np.ndarray  # Position of the query.


def _hits(width: int, targets: Targets, n_queries: int) -> dict[str, np.ndarray]:
    """Hits among `width` beams, counted by item and by SID."""
    level, sharing, query = targets
    levels = sharing.shape[1]
    counted = {
        "item_hit": item_hit_at_k(level, sharing, query, n_queries, levels),
        "hit": hit_at_k(level, query, n_queries, levels),
    }
    return {f"{name}@{width}.level_{d + 1}": column for name, hit in counted.items() for d, column in enumerate(hit.T)}


def beam_metrics(
    codes: np.ndarray, spelled: tuple[np.ndarray, np.ndarray], targets: Targets, n_queries: int
) -> dict[str, np.ndarray]:
    """Per-query values (Q,) of beams, NaN for queries without: `codes` (N, L), `spelled` the positions (q,) of queries
    and their beams (q, K, L)."""
    asked, beams = spelled
    _, width, n_levels = beams.shape
    survival = prefix_survival(targets.level, targets.query, n_queries, n_levels)
    told = np.full((n_queries, n_levels + 1), np.nan)
    told[asked] = np.column_stack([beam_diversity(beams), validity(beams, codes)])
    values = _hits(width, targets, n_queries)
    values |= {f"prefix_survival.level_{d + 1}": column for d, column in enumerate(survival.T)}
    values |= {f"beam_diversity.level_{d + 1}": column for d, column in enumerate(told.T[:-1])}
    return values | {"validity": told[:, -1]}
