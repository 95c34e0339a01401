"""Exact contributions of any scored pair: stored ones as they are, others computed with the run's stored weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from app.components.answer import Answer
from app.fetch import current, fetch
from app.queries import explain as queries
from app.queries import snapshot as snapshot_queries
from engine.errors import RunError
from engine.relevance.attribution import GROUPS, shapley
from engine.relevance.scorer import Scorer

DENSE = tuple(column for columns in GROUPS.values() for column in columns)


class Explanation(NamedTuple):
    """`values` (in logits) of `features` lead from `reference` to `score`, the ranker's own; `origin` in words."""

    features: tuple[str, ...]
    values: np.ndarray
    reference: float
    score: float
    origin: str


class Ranker(NamedTuple):
    """The run's ranker as numpy, and the reference of one query: its dense features (F,) and its score."""

    scorer: Scorer
    point: np.ndarray
    score: float

    def dense(self, rows: pd.DataFrame) -> np.ndarray:
        """(M, F) dense features of scored rows in the scorer's order; an absent image value is 0, with its flag."""
        block = rows[list(self.scorer.columns)].to_numpy(dtype=np.float64, na_value=np.nan).copy()
        if {"mm_dm", "mm_missing"} <= set(self.scorer.columns):
            value, flag = self.scorer.columns.index("mm_dm"), self.scorer.columns.index("mm_missing")
            block[np.isnan(block[:, value]) & (block[:, flag] == 1), value] = 0.0
        return block


def method() -> str:
    """The method of the current run: also the name of its ranker."""
    runs = fetch(snapshot_queries.runs)
    return str(runs.loc[runs["run_id"] == current().run_id, "method"].iloc[0])


@st.cache_data(max_entries=4, show_spinner=False)
def _scorer(snapshot_id: str, run_id: str, ranker: str, _weights: pd.DataFrame) -> Scorer:
    arrays = {
        str(name): np.asarray(numbers, dtype=np.float64).reshape([int(n) for n in shape])
        for name, shape, numbers in zip(_weights["name"], _weights["shape"], _weights["values"], strict=True)
    }
    return Scorer.from_arrays(arrays, DENSE)


def load_ranker(reference: pd.Series | None) -> Ranker:
    """The current run's ranker. Raises RunError where weights or the reference were not stored, ModelError where the
    weights do not fit."""
    if reference is None:
        raise RunError("no reference point was stored for this query")
    where = current()
    weights = fetch(queries.ranker_weights, where.run_id, method())
    if weights.empty:
        raise RunError("this snapshot holds no weights of the run's ranker")
    scorer = _scorer(where.snapshot_id, where.run_id, method(), weights)
    point = reference[list(scorer.columns)].to_numpy(dtype=np.float64)
    return Ranker(scorer, point, float(reference["score"]))


def explain(ranker: Ranker, given: Answer, row: pd.Series) -> Explanation:
    """The contributions of one scored item: stored or live ones where they exist, else computed now."""
    item = str(row["item_id"])
    if given.live:
        stored = given.contributions[given.contributions["item_id"] == item]
        origin = "computed with the live answer"
    else:
        stored = fetch(queries.contributions, current().run_id, given.query_id, item)
        origin = "stored in the snapshot"
    if not stored.empty:
        order = [
            *GROUPS,
            *sorted((f for f in stored["feature"] if f not in GROUPS), key=lambda f: int(f.split("_")[1])),
        ]
        values = stored.set_index("feature")["value"].reindex(order).fillna(0.0).to_numpy(dtype=np.float64)
        return Explanation(tuple(order), values, ranker.score, float(row["score"]), origin)
    level = None if ranker.scorer.levels is None else np.array([int(row["match_level"] or 0)])
    made = shapley(ranker.scorer, ranker.dense(pd.DataFrame([row])), level, ranker.point[None])
    return Explanation(
        made.features, made.values[0], float(made.reference_score[0]), float(row["score"]), "computed just now"
    )


def explain_all(ranker: Ranker, rows: pd.DataFrame) -> pd.DataFrame:
    """item_id, feature, value of every given scored row, all measured from the query's reference."""
    levels = None if ranker.scorer.levels is None else rows["match_level"].to_numpy(dtype=np.int64)
    made = shapley(
        ranker.scorer, ranker.dense(rows), levels, np.broadcast_to(ranker.point, (len(rows), len(ranker.point)))
    )
    return pd.DataFrame(
        {
            "item_id": np.repeat(rows["item_id"].to_numpy(), len(made.features)),
            "feature": np.tile(made.features, len(rows)),
            "value": made.values.ravel(),
        }
    )
