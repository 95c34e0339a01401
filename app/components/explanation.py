"""Exact contributions of any scored pair: stored ones as they are, others computed with the run's stored weights.

Serves whatever ranker a run has: the paper's MLP, whose SID is one match level, or boosted trees, which read several SID
signals a level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from app.components.answer import Answer
from app.fetch import current, fetch
from app.queries import explain as queries
from app.queries import snapshot as snapshot_queries
from app.queries.snapshot import RunRow
from app.rankers import BOOSTED, SIGNAL_NAMES, learner
from engine.errors import RunError
from engine.relevance.attribution import GROUPS, Attribution
from engine.relevance.scorer import Scorer
from engine.relevance.table import Table, attribute, predict
from engine.relevance.trees import TreeScorer

DENSE = tuple(column for columns in GROUPS.values() for column in columns)


class Explanation(NamedTuple):
    """`values` (in the score's unit) of `features` lead from `reference` to `score`, the ranker's own; `origin` in words."""

    features: tuple[str, ...]
    values: np.ndarray
    reference: float
    score: float
    origin: str


class Ranker(NamedTuple):
    """The run's ranker as numpy, and the reference of one query: what it reads there (F,) and its score."""

    scorer: Scorer | TreeScorer
    run: RunRow
    point: np.ndarray
    score: float

    @property
    def columns(self) -> tuple[str, ...]:
        """The F columns that it reads, match level aside."""
        return tuple(self.scorer.columns)

    @property
    def match_levels(self) -> int:
        """The deepest match level that it can be told of; 0 where it reads none."""
        if isinstance(self.scorer, TreeScorer):
            return max((c.level for c in self.run.columns if c.signal == "match"), default=0)
        return self.scorer.levels or 0

    @property
    def signals(self) -> tuple[str, ...]:
        """SID signals that it reads beside the match."""
        return tuple(dict.fromkeys(c.signal for c in self.run.columns if c.signal and c.signal != "match"))

    def values(self, rows: pd.DataFrame) -> np.ndarray:
        """(M, F) what it reads of scored rows. An absent image value is 0, with its flag. Raises RunError where the rows
        hold no SID signals."""
        block = rows[list(DENSE)].to_numpy(dtype=np.float64, na_value=np.nan).copy()
        value, flag = DENSE.index("mm_dm"), DENSE.index("mm_missing")
        block[np.isnan(block[:, value]) & (block[:, flag] == 1), value] = 0.0
        return _beside(block, rows.get("signals"), self.run)[:, : len(self.columns)]

    def predict(self, values: np.ndarray, match_level: np.ndarray) -> np.ndarray:
        """(M,) scores of `values` (M, F); an MLP also reads the `match_level` (M,)."""
        return predict(self.scorer, Table(self.columns, values, match_level))

    def attribute(self, values: np.ndarray, match_level: np.ndarray) -> Attribution:
        """Exact contributions of `values` (M, F) and `match_level` (M,), measured from the query's reference."""
        sid = tuple((c.name, c.signal, c.level) for c in self.run.columns if c.signal is not None)
        table = Table(self.columns, values, match_level)
        return attribute(self.scorer, table, np.broadcast_to(self.point, values.shape), sid)


def shown_run() -> RunRow:
    """The run that the page shows."""
    return fetch(snapshot_queries.run, current().run_id)


@st.cache_data(max_entries=4, show_spinner=False)
def _scorer(
    snapshot_id: str, run_id: str, ranker: str, columns: tuple[str, ...], _weights: pd.DataFrame
) -> Scorer | TreeScorer:
    arrays = {
        str(name): np.asarray(numbers, dtype=np.float64).reshape([int(n) for n in shape])
        for name, shape, numbers in zip(_weights["name"], _weights["shape"], _weights["values"], strict=True)
    }
    if learner(ranker.split(".")[0]) == BOOSTED:
        return TreeScorer.from_arrays(arrays, columns)
    return Scorer.from_arrays(arrays, DENSE)


def load_ranker(reference: pd.Series | None) -> Ranker:
    """The ranker that scored the query of the reference. Raises RunError where weights or the reference were not stored,
    ModelError where the weights do not fit."""
    if reference is None:
        raise RunError("no reference point was stored for this query")
    where, run = current(), shown_run()
    name = str(reference.get("ranker", run.ranker))  # a live reference is of the run's own ranker
    weights = fetch(queries.ranker_weights, where.run_id, name)
    if weights.empty:
        raise RunError("this snapshot holds no weights of the run's ranker")
    columns = (*DENSE, *(c.name for c in run.columns))
    scorer = _scorer(where.snapshot_id, where.run_id, name, columns, weights)
    dense = reference[list(DENSE)].to_numpy(dtype=np.float64)[None]
    signals = pd.Series([reference["signals"]]) if "signals" in reference else None
    point = _beside(dense, signals, run)[0, : len(scorer.columns)]
    return Ranker(scorer, run, point, float(reference["score"]))


def _beside(dense: np.ndarray, signals: pd.Series | None, run: RunRow) -> np.ndarray:
    """(M, F) the dense block with the lists of SID signals (of a boosted ranker) to its right."""
    if not run.columns:
        return dense
    if signals is None or signals.isna().any():
        raise RunError("the SID signals that the ranker read of this query are not known")
    return np.hstack([dense, np.stack([np.asarray(row, dtype=np.float64) for row in signals])])


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
        order = [*GROUPS, *sorted((f for f in stored["feature"] if f not in GROUPS), key=_place)]
        values = stored.set_index("feature")["value"].reindex(order).fillna(0.0).to_numpy(dtype=np.float64)
        return Explanation(tuple(order), values, ranker.score, float(row["score"]), origin)
    made = ranker.attribute(ranker.values(pd.DataFrame([row])), _depth(pd.DataFrame([row])))
    return Explanation(
        made.features, made.values[0], float(made.reference_score[0]), float(row["score"]), "computed just now"
    )


def depth_of(row: pd.Series) -> int | None:
    """How deep a beam agrees with the item of a scored row; None where that is unknown."""
    level = row.get("match_level")
    return None if level is None or pd.isna(level) else int(level)


def explain_all(ranker: Ranker, rows: pd.DataFrame) -> pd.DataFrame:
    """item_id, feature (dense groups and SID levels), value of every given scored row, all from the query's reference."""
    made = ranker.attribute(ranker.values(rows), _depth(rows))
    told = pd.DataFrame(
        {
            "item_id": np.repeat(rows["item_id"].to_numpy(), len(made.features)),
            "feature": np.tile(made.features, len(rows)),
            "value": made.values.ravel(),
        }
    )
    told["feature"] = told["feature"].map(sid_level)
    return told.groupby(["item_id", "feature"], sort=False)[["value"]].sum().reset_index()


def _depth(rows: pd.DataFrame) -> np.ndarray:
    return rows["match_level"].fillna(0).to_numpy(dtype=np.int64)


def _place(feature: str) -> tuple[int, int, str]:
    """Features without a SID first, then SID levels, each in the order of the signals."""
    head, _, signal = feature.partition(".")
    known = list(SIGNAL_NAMES)
    level = int(head.removeprefix("sid_")) if head.startswith("sid_") else 0
    return level, known.index(signal) if signal in known else len(known), feature


def sid_level(feature: str) -> str:
    """`sid_2.memory` -> `sid_2`; any other feature as it is."""
    return feature.split(".")[0]


def sid_signal(feature: str) -> str:
    """`sid_2.memory` -> `sid.memory`; any other feature as it is."""
    _, dot, signal = feature.partition(".")
    return f"sid.{signal}" if dot else feature


SPLITS: Mapping[str, Callable[[str], str]] = {"level and signal": str, "signals": sid_signal, "SID levels": sid_level}
"""How finely the SID's part is split; the first is the usual one."""


def split(made: Explanation, by: str) -> Explanation:
    """The explanation with the SID's part summed as a key of SPLITS says, in order of first appearance."""
    name = SPLITS[by]
    summed: dict[str, float] = {}
    for feature, value in zip(made.features, made.values, strict=True):
        summed[name(feature)] = summed.get(name(feature), 0.0) + float(value)
    return made._replace(features=tuple(summed), values=np.array(list(summed.values())))
