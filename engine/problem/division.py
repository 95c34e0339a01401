"""Who may learn from what: the split of judged queries, the folds of cross-fitting, the supervising interactions."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.config import SplitConfig
from engine.datasets.contract import IMPLICIT, Catalogue, normalise_query
from engine.errors import DataError
from engine.relevance.folds import Split, split_queries

PURCHASE_WEIGHT = 3.0
"""A purchase counts as this many clicks in the strength of an interaction."""


class Division(NamedTuple):
    """Who may learn from what."""

    split: Split
    pair_query: np.ndarray  # (P,) int64 supervising interactions: query position ...
    pair_item: np.ndarray  # (P,) ... item position ...
    pair_weight: np.ndarray  # (P,) float32 ... and strength.
    seen: np.ndarray  # (S, Q) bool: the queries that stack s learns from; row 0 is the served stack.

    @property
    def producer(self) -> np.ndarray:
        """(Q,) the stack whose features train the ranker on a query."""
        return self.split.fold if len(self.seen) > 1 else np.zeros(self.seen.shape[1], dtype=np.int64)

    def pairs(self, stack: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The supervising interactions of one stack: (query, item, weight)."""
        rows = self.seen[stack][self.pair_query]
        return self.pair_query[rows], self.pair_item[rows], self.pair_weight[rows]

    def judged(self, stack: int) -> np.ndarray:
        """(Q,) bool: training queries that a stack learns from; their judgments may teach it, those of no other query."""
        kept: np.ndarray = self.seen[stack] & (self.split.split == "train")
        return kept

    def key(self) -> str:
        """Names everything that features of a stack depend on besides the catalogue."""
        digest = hashlib.sha256()
        for part in (self.pair_query, self.pair_item, self.pair_weight, self.seen):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


def divide(catalogue: Catalogue, settings: SplitConfig) -> Division:
    """Split the judged queries, deal folds, and collect what supervises; cheap, so never stored.

    Without judgments every query is of split 'log', and one stack learns from all of them.
    """
    queries, judgments = catalogue.queries, catalogue.judgments
    position = pd.Series(np.arange(len(queries)), index=queries["query_id"])
    item_position = pd.Series(np.arange(len(catalogue.items)), index=catalogue.items["item_id"])
    judged = queries["query_id"].isin(judgments["query_id"]).to_numpy()
    split = _split(catalogue, judged, settings)
    led_to = supervising(catalogue, split, settings.until)
    logged = catalogue.interactions["source"].ne("synthetic").any()
    if not logged and split.mode == "holdout":  # no logs: training judgments act as interactions, by fold
        train = set(queries["query_id"][split.split == "train"])
        relevant = judgments[
            judgments["query_id"].isin(train) & (judgments["grade"] >= catalogue.settings.relevant_grade)
        ]
        judged_as = relevant.assign(weight=relevant["grade"])[["query_id", "item_id", "weight"]]
        led_to = pd.concat([judged_as, led_to], ignore_index=True)
    pair_query = position[led_to["query_id"]].to_numpy(dtype=np.int64)
    teaching = np.zeros(len(queries), dtype=bool)
    teaching[pair_query] = True
    seen = split.supervision(teaching)
    ranked_on = split.split == "train" if split.mode == "holdout" else judged
    if not (teaching & ranked_on).any():
        seen = seen[:1]  # the ranker trains on queries that no stack learns from: one stack is honest for all
    return Division(
        split,
        pair_query,
        item_position[led_to["item_id"]].to_numpy(dtype=np.int64),
        led_to["weight"].to_numpy(dtype=np.float32),
        seen,
    )


def _split(catalogue: Catalogue, judged: np.ndarray, settings: SplitConfig) -> Split:
    """The split of the `judged` (Q,) queries. Where people judged some, those with implicit judgments alone only train."""
    queries, judgments = catalogue.queries, catalogue.judgments
    if not judged.any():
        n = len(queries)
        return Split("holdout", np.full(n, "log", dtype=object), np.ones(n, np.int64), np.full((0, n), -1, np.int64))
    given = judgments.dropna(subset=["split"]).drop_duplicates("query_id").set_index("query_id")["split"]
    wanted = queries["query_id"].map(given).to_numpy(dtype=object)
    by_people = queries["query_id"].isin(judgments["query_id"][judgments["source"] != IMPLICIT]).to_numpy()
    clicks_only = judged & ~by_people

    def drawn(among: np.ndarray, wanted: np.ndarray) -> Split:
        groups = queries["text"].map(normalise_query).tolist()
        ids = queries["query_id"].tolist()
        return split_queries(ids, among, wanted.tolist(), settings, seed=settings.seed, groups=groups)

    if not by_people.any() or not clicks_only.any():
        return drawn(judged, wanted)
    split = drawn(by_people, wanted)
    if split.mode == "holdout":  # once more, for validation queries of theirs where people give none
        return drawn(judged, np.where(clicks_only, "train", split.split))
    return split._replace(split=np.where(clicks_only, "train", split.split))


def require_lessons(catalogue: Catalogue, split: Split) -> None:
    """Raises DataError where the judgments of the queries that rankers train on can teach nothing."""
    by_fold = split.mode == "cross_validation"
    among = "judged" if by_fold else "judged training"
    queries = catalogue.queries["query_id"][split.split == ("test" if by_fold else "train")]
    grades = catalogue.judgments.loc[catalogue.judgments["query_id"].isin(queries), "grade"]
    if len(queries) < (2 if by_fold else 1):
        given = catalogue.judgments["query_id"].nunique()
        raise DataError(
            f"The ranker needs {'two judged queries' if by_fold else 'judged training queries'} or more; catalogue "
            f"'{catalogue.settings.name}' has {given:,} judged {'query' if given == 1 else 'queries'}"
            f"{'' if by_fold else ', none of them of split train'}. Judge more queries, or leave the column split out."
        )
    if grades.nunique() < 2:
        raise DataError(
            f"The ranker needs two grades or more; all {len(grades):,} {among} pairs of catalogue "
            f"'{catalogue.settings.name}' have grade {grades.iloc[0]:g}. Judge items that are not relevant too."
        )


def query_groups(catalogue: Catalogue) -> np.ndarray:
    """(Q,) int64: queries that read the same share a number."""
    return pd.factorize(catalogue.queries["text"].map(normalise_query))[0].astype(np.int64)


def asked_queries(catalogue: Catalogue) -> np.ndarray:
    """Positions of the queries that somebody asked: synthetic ones train the generator, nobody is shown their ranking.

    Where all are synthetic, all of them: there is nothing else to show.
    """
    asked = np.flatnonzero((catalogue.queries["source"] != "synthetic").to_numpy())
    return asked if len(asked) else np.arange(len(catalogue.queries))


def held_out_by_clicks(catalogue: Catalogue, split: Split) -> np.ndarray:
    """(Q,) bool: validation and test queries that clicks grade, and the queries that read the same."""
    queries, judgments = catalogue.queries, catalogue.judgments
    implicit = queries["query_id"].isin(judgments["query_id"][judgments["source"] == IMPLICIT]).to_numpy()
    if not implicit.any():
        return implicit
    group = query_groups(catalogue)
    return np.isin(group, group[implicit & np.isin(split.split, ["valid", "test"])])


def learnt_until(catalogue: Catalogue, split: Split, until: str | None) -> str | None:
    """The last day whose interactions supervise: `until`, or before it the day after which clicks grade held-out queries."""
    days = [until, catalogue.settings.grades_after if held_out_by_clicks(catalogue, split).any() else None]
    return min((day for day in days if day is not None), default=None)


def supervising(catalogue: Catalogue, split: Split, until: str | None) -> pd.DataFrame:
    """`interactions` that something may be learnt from: no click both supervises and grades a held-out query.

    Where the log is cut by date, later clicks grade and supervise nothing; queries of the first fold supervise nothing
    at all, so that new queries are measured too. Without dates no query that clicks hold out does.
    """
    held = held_out_by_clicks(catalogue, split)
    if catalogue.settings.grades_after is not None:
        held &= split.fold == 1
    log = interactions(catalogue, learnt_until(catalogue, split, until))
    return log[~log["query_id"].isin(catalogue.queries["query_id"][held])]


def interactions(catalogue: Catalogue, until: str | None) -> pd.DataFrame:
    """query_id, item_id, weight of the pairs with a click or a purchase (or any row, where neither is recorded).

    Rows dated after `until` are left out, and with it those without a date.
    """
    log = catalogue.interactions
    if until is not None:
        log = log[log["date"] < pd.Timestamp(until) + pd.Timedelta(days=1)]
    if log.empty:
        return pd.DataFrame({"query_id": [], "item_id": [], "weight": []})
    if log[["clicks", "purchases"]].isna().all(axis=None):
        strength = pd.Series(1.0, index=log.index)
    else:
        strength = log["clicks"].fillna(0) + PURCHASE_WEIGHT * log["purchases"].fillna(0)
    summed = log.assign(weight=strength).groupby(["query_id", "item_id"], sort=True)["weight"].sum().reset_index()
    return summed[summed["weight"] > 0]
