"""A small random ranker written into a snapshot, with the scores, contributions and exposure it really gives.

The page tests need numbers that belong together: a waterfall that sums, a what-if that reproduces the stored score.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from engine.audit.exposure import concentration_table, exposure_table
from engine.relevance.attribution import GROUPS, query_reference, shapley
from engine.relevance.scorer import Member, Scorer

DENSE = tuple(column for columns in GROUPS.values() for column in columns)


def random_scorer(rng: np.random.Generator, *, levels: int | None, members: int = 2, hidden: int = 8) -> Scorer:
    """An untrained ranker of the right shape; `levels` None for one without SIDs."""

    def member() -> Member:
        steps = None if levels is None else np.cumsum(np.abs(rng.normal(0, 0.8, (levels + 1, hidden))), axis=0)
        return Member(
            dense=rng.normal(0, 0.5, (len(DENSE), hidden)),
            match=steps,
            bias=rng.normal(0, 0.2, hidden),
            hidden=rng.normal(0, 0.5, (hidden, hidden)),
            hidden_bias=rng.normal(0, 0.2, hidden),
            output=np.abs(rng.normal(0, 0.5, hidden)),
            thresholds=np.array([-1.0, 0.0, 1.0]),
            replacement=0.1,
        )

    return Scorer(
        DENSE,
        np.full(len(DENSE), 0.5),
        np.full(len(DENSE), 0.3),
        np.arange(4.0),
        tuple(member() for _ in range(members)),
    )


def write_exact_ranker(path: Path, *, seed: int = 0, explained: int = 8) -> None:
    """Replace scores, exposure, references, contributions and weights of every run with SIDs in the snapshot at `path`.

    Contributions are stored for the first `explained` items of a query only, so that others are computed on demand.
    """
    rng = np.random.default_rng(seed)
    with duckdb.connect(str(path)) as connection:
        runs = connection.execute("SELECT run_id, levels FROM runs WHERE method = 'dsirm' ORDER BY run_id").fetchall()
        for run_id, levels in runs:
            scores = connection.execute(
                "SELECT * FROM scores WHERE run_id = ? ORDER BY query_id, item_id", [run_id]
            ).df()
            with_sid, without = random_scorer(rng, levels=levels), random_scorer(rng, levels=None)
            tables = _rescored(scores, with_sid, without, explained)
            tables["ranker_weights"] = pd.concat(
                [_weights(scorer, name) for scorer, name in ((with_sid, "dsirm"), (without, "strong"))]
            )
            items, queries, judgments = (
                connection.execute(f"SELECT * FROM {name}").df() for name in ("items", "queries", "judgments")
            )
            scored = tables["scores"]
            tables["exposure"] = exposure_table(scored, items, queries, judgments, resamples=200)
            tables["exposure_concentration"] = concentration_table(scored, items, queries, resamples=200)
            for table, rows in tables.items():
                connection.execute(f'DELETE FROM "{table}" WHERE run_id = ?', [run_id])
                file = path.with_name(f"{table}.parquet")
                rows.assign(run_id=run_id).to_parquet(file, index=False)
                connection.execute(f'INSERT INTO "{table}" BY NAME SELECT * FROM read_parquet(?)', [str(file)])
                file.unlink()


def _weights(scorer: Scorer, ranker: str) -> pd.DataFrame:
    named = scorer.arrays()
    return pd.DataFrame(
        {
            "ranker": ranker,
            "name": list(named),
            "shape": [list(array.shape) for array in named.values()],
            "values": [array.ravel() for array in named.values()],
        }
    )


def _rescored(scores: pd.DataFrame, with_sid: Scorer, without: Scorer, explained: int) -> dict[str, pd.DataFrame]:
    scores = scores.drop(columns="run_id")
    scores["mm_missing"] = (scores["mm_missing"] > 0.5).astype(float)
    scores.loc[scores["mm_missing"] == 1, "mm_dm"] = 0.0
    dense, level = scores[list(DENSE)].to_numpy(), scores["match_level"].to_numpy()
    scores["score"] = with_sid.logit(dense, level)
    scores["score_sid_off"] = with_sid.logit(dense, np.zeros_like(level))
    scores["score_without_sid"] = without.logit(dense)
    scores["expected_grade"] = with_sid.expected_grade(scores["score"].to_numpy())
    scores["expected_grade_without_sid"] = without.expected_grade(scores["score_without_sid"].to_numpy())
    retrieved = scores[scores["retrieved"]].groupby("query_id")
    scores["rank"] = retrieved["score"].rank(ascending=False, method="first")
    scores["rank_without_sid"] = retrieved["score_without_sid"].rank(ascending=False, method="first")
    query, names = pd.factorize(scores["query_id"])
    inside = scores["retrieved"].to_numpy(dtype=bool)
    point = query_reference(dense[inside], query[inside], len(names))
    chosen = np.flatnonzero(((scores["rank"] <= explained) | ~scores["retrieved"]).to_numpy())
    made = shapley(with_sid, dense[chosen], level[chosen], point[query[chosen]])
    contributions = pd.DataFrame(
        {
            "query_id": np.repeat(scores["query_id"].to_numpy()[chosen], len(made.features)),
            "item_id": np.repeat(scores["item_id"].to_numpy()[chosen], len(made.features)),
            "feature": np.tile(made.features, len(chosen)),
            "value": made.values.ravel(),
        }
    )
    references = pd.DataFrame(point, columns=list(DENSE)).assign(
        query_id=names, ranker="dsirm", score=with_sid.logit(point, np.zeros(len(names), dtype=np.int64))
    )
    return {"scores": scores, "contributions": contributions, "reference_points": references}


def only_snapshot(workspace: Path) -> Path:
    """The snapshot file of a workspace that has one."""
    (path,) = (workspace / "snapshots").glob("*.duckdb")
    return path
