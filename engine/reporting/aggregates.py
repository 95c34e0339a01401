"""What the audit reads of a run's answers: sums per query and group, per item and per prefix, and the few pairs it names.

Sums are of whole numbers (discounts and weights in steps of 2^-50 and 2^-40), so that they are the same whatever the
order in which rows are read, and a group whose items only change places among themselves changes by exactly 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pandas as pd

from engine.audit.causes import Moved
from engine.audit.exposure import Dimension, Seen, shares
from engine.audit.groups import item_groups
from engine.audit.traffic import DISCOUNTS, discount_weights, traffic_weights
from engine.reporting.answers import Answers

_STEP, _WEIGHT_STEP = 2.0**-50, 2.0**-40

_COMPARED = "SELECT count(*) > 0 AS compared FROM scores WHERE rank_without_sid IS NOT NULL"
_RANKED = """
CREATE TABLE ranked AS
SELECT q.query, i.item, s.rank, CASE WHEN $compared THEN s.rank_without_sid ELSE s.rank END AS rank_without
FROM scores s JOIN queries q USING (query_id) JOIN items i USING (item_id)
WHERE s.rank IS NOT NULL AND q.weight > 0 AND (s.rank_without_sid IS NOT NULL OR NOT $compared)
"""
_BY_ITEM = """
SELECT r.item,
       sum(CAST(q.weight * a.log2 AS HUGEINT))::DOUBLE AS log2, sum(CAST(q.weight * b.log2 AS HUGEINT))::DOUBLE AS log2_without,
       sum(CAST(q.weight * a.top10 AS HUGEINT))::DOUBLE AS top10, sum(CAST(q.weight * b.top10 AS HUGEINT))::DOUBLE AS top10_without,
       sum(CAST(q.weight * a.click AS HUGEINT))::DOUBLE AS click, sum(CAST(q.weight * b.click AS HUGEINT))::DOUBLE AS click_without
FROM ranked r JOIN queries q USING (query) JOIN discounts a ON a.rank = r.rank JOIN discounts b ON b.rank = r.rank_without
GROUP BY r.item ORDER BY r.item
"""
_BY_QUERY = """
SELECT r.query, sum(a.log2)::DOUBLE AS log2, sum(a.top10)::DOUBLE AS top10, sum(a.click)::DOUBLE AS click
FROM ranked r JOIN discounts a USING (rank) GROUP BY r.query ORDER BY r.query
"""
_CELLS = """
SELECT r.query, m.member,
       sum(a.log2)::DOUBLE AS log2, sum(b.log2)::DOUBLE AS log2_without,
       sum(a.top10)::DOUBLE AS top10, sum(b.top10)::DOUBLE AS top10_without,
       sum(a.click)::DOUBLE AS click, sum(b.click)::DOUBLE AS click_without
FROM ranked r JOIN members m ON m.item = r.item AND m.dimension = $dimension
JOIN discounts a ON a.rank = r.rank JOIN discounts b ON b.rank = r.rank_without
GROUP BY r.query, m.member ORDER BY r.query, m.member
"""
_JUDGED_COLUMNS = (
    *("query_id", "item_id", "grade", "score", "score_without_sid", "rank", "rank_without_sid", "matched_prefix"),
)
_JUDGED = """
SELECT query_id, item_id, j.grade, s.score, s.score_without_sid, s.rank, s.rank_without_sid, s.matched_prefix
FROM judgments j JOIN scores s USING (query_id, item_id) ORDER BY query_id, item_id
"""
_BEST = "SELECT i.item, min(s.rank) AS rank FROM scores s JOIN items i USING (item_id) WHERE s.rank IS NOT NULL GROUP BY i.item"
_PAGES = """
SELECT query_id, item_id, rank, rank_without_sid FROM scores
WHERE rank IS NOT NULL AND rank_without_sid IS NOT NULL AND least(rank, rank_without_sid) <= $slots
ORDER BY query_id, item_id
"""
_REACH = """
SELECT prefix, count(*) AS n_queries, sum(CAST(weight / $step AS HUGEINT))::DOUBLE * $step AS weight
FROM (
    SELECT DISTINCT q.query, q.weight, array_to_string(b.codes[1:d.level], '-') AS prefix
    FROM beams b JOIN queries q USING (query_id) CROSS JOIN range(1, $levels + 1) AS d(level) WHERE len(b.codes) >= d.level
)
GROUP BY prefix ORDER BY prefix
"""
_FIRST_CODES = """
SELECT query_id, b.codes[1] AS code, b.log_prob FROM beams b JOIN queries q USING (query_id)
WHERE q.weight > 0 AND b.log_prob IS NOT NULL ORDER BY query_id, b.rank
"""
_MOVES = """
CREATE TABLE moves AS
SELECT q.query, i.item, s.rank, s.rank_without_sid AS without, s.score, s.score_sid_off AS off
FROM scores s JOIN queries q USING (query_id) JOIN items i USING (item_id)
WHERE s.rank IS NOT NULL AND s.rank_without_sid IS NOT NULL AND q.weight > 0
"""
_FEATURES = "SELECT feature AS name, row_number() OVER (ORDER BY feature) - 1 AS feature FROM (SELECT DISTINCT feature FROM contributions)"
_TOLD = """
CREATE TABLE told AS
SELECT q.query, i.item, f.feature, c.value
FROM contributions c JOIN features f ON f.name = c.feature JOIN queries q USING (query_id) JOIN items i USING (item_id)
WHERE q.weight > 0
"""
_MOVES_OF = "SELECT * FROM moves WHERE query BETWEEN $first AND $last ORDER BY query, item"
_TOLD_OF = (
    "SELECT query, item, feature, value FROM told WHERE query BETWEEN $first AND $last ORDER BY query, item, feature"
)


class Aggregates:
    """Aggregates of the answers about items and queries in a given order."""

    def __init__(self, answers: Answers, items: pd.DataFrame, queries: pd.DataFrame, judgments: pd.DataFrame) -> None:
        """`items`: table `items`; of `queries` query_id, frequency are read, of `judgments` query_id, item_id, grade.

        Queries without traffic do not count in any exposure, unless no query has any.
        """
        self.answers, self._items = answers, items
        self.scored = answers.has("scores")
        self.compared = False
        """Whether any pair was ranked with and without SIDs."""
        self.groups: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        """Names (G,) of the groups of every dimension, and which one each item (N,) is of."""
        self._by_query = pd.DataFrame({name: [] for name in ("query", *DISCOUNTS)}, dtype=np.int64)
        self._weight = traffic_weights(queries["frequency"].to_numpy(dtype=np.float64))
        answers.lookup("items", pd.DataFrame({"item_id": items["item_id"], "item": np.arange(len(items))}))
        answers.lookup(
            "queries",
            pd.DataFrame({"query_id": queries["query_id"], "query": np.arange(len(queries)), "weight": self._weight}),
        )
        if self.scored:
            ids = {name: judgments[name].astype(str) for name in ("query_id", "item_id")}
            answers.lookup("judgments", pd.DataFrame({**ids, "grade": judgments["grade"].astype(float)}))
            self.compared = bool(answers.query(_COMPARED)["compared"].iloc[0])
            answers.query(_RANKED, compared=self.compared)
            self._lookup_discounts()
            self._by_query = answers.query(_BY_QUERY)
            if len(self._by_query):
                self._lookup_groups()

    def _lookup_discounts(self) -> None:
        deepest = self.answers.query("SELECT max(greatest(rank, rank_without)) AS rank FROM ranked")["rank"].iloc[0]
        rank = np.arange(1, 1 if pd.isna(deepest) else int(deepest) + 1)
        steps = {name: np.rint(discount_weights(rank, name) / _STEP).astype(np.int64) for name in DISCOUNTS}
        self.answers.lookup("discounts", pd.DataFrame({"rank": rank, **steps}))

    def _lookup_groups(self) -> None:
        """Names (G,) and members (N,) of the groups of every dimension."""
        labels = item_groups(self._items)
        self.groups = {name: np.unique(label.astype(str), return_inverse=True) for name, label in labels.items()}
        item = np.arange(len(self._items))
        members = {name: pd.DataFrame({"item": item, "member": member}) for name, (_, member) in self.groups.items()}
        if members:
            self.answers.lookup("members", pd.concat(members, names=["dimension"]).reset_index("dimension"))

    def seen(self, judged: pd.DataFrame) -> Seen:
        """How the items are seen; `judged`: `judged_pairs`, whose retrieved ones tell the merit."""
        n = len(self._items)
        by_item = np.zeros((2 * len(DISCOUNTS), n))
        if len(self._by_query):
            found = self.answers.query(_BY_ITEM)
            by_item[:, found["item"]] = found.iloc[:, 1:].to_numpy(dtype=np.float64).T
        share = np.array([shares(row) for row in by_item]).reshape(len(DISCOUNTS), 2, n)
        if not self.compared:
            share[:, 1] = np.nan
        ranked = judged[judged["rank"].notna()]
        item = pd.Index(self._items["item_id"]).get_indexer(pd.Index(ranked["item_id"]))
        weight = self._weight[self._by_query["query"]]
        price = np.nan_to_num(self._items["price"].to_numpy(dtype=np.float64))
        return Seen(
            weight,
            weight * self._by_query[list(DISCOUNTS)].to_numpy(dtype=np.float64).T * _STEP,
            share,
            np.where(_main_currency(self._items), price, 0.0),
            np.bincount(item, weights=ranked["grade"], minlength=n),
            np.bincount(item, minlength=n),
        )

    def dimensions(self) -> Iterator[Dimension]:
        """Exposure of every dimension that the catalogue knows, one after the other; none where nothing was ranked."""
        for name, (values, member) in self.groups.items():
            found = self.answers.query(_CELLS, dimension=name)
            sums = found.iloc[:, 2:].to_numpy(dtype=np.float64).T.reshape(len(DISCOUNTS), 2, len(found)) * _STEP
            query = np.searchsorted(self._by_query["query"], found["query"].to_numpy())
            yield Dimension(name, values, member, query, found["member"].to_numpy(), sums)

    @cached_property
    def features(self) -> list[str]:
        """What contributions are told of, in the order of the columns that `moves` gives; none where none are known.

        Reads them in: statements then find the tables `features`, `told` and `moves`.
        """
        if not (self.compared and self.answers.has("contributions")):
            return []
        found = self.answers.query(_FEATURES)
        self.answers.lookup("features", found)
        for sql in (_TOLD, _MOVES):
            self.answers.query(sql)
        return found["name"].tolist()

    def moves(self, n: int) -> Iterator[tuple[Moved, np.ndarray, np.ndarray]]:
        """Retrieved candidates (M) of `n` queries after the other, with the stored contributions (R, F) and the change of
        their exposure (D, M) as a share of all exposure."""
        n_features = len(self.features)
        total = (
            self._weight[self._by_query["query"]] @ self._by_query[list(DISCOUNTS)].to_numpy(dtype=np.float64) * _STEP
        )
        queries = self._by_query["query"].to_numpy()
        for start in range(0, len(queries), n):
            ends = {"first": int(queries[start]), "last": int(queries[start : start + n][-1])}
            rows, told = self.answers.query(_MOVES_OF, **ends), self.answers.query(_TOLD_OF, **ends)
            key = rows["query"].to_numpy(dtype=np.int64) * len(self._items) + rows["item"].to_numpy(dtype=np.int64)
            own = (told["query"].to_numpy(dtype=np.int64) * len(self._items) + told["item"].to_numpy())[::n_features]
            place = np.minimum(np.searchsorted(own, key), max(len(own) - 1, 0))
            row = np.where(own[place] == key, place, -1) if len(own) else np.full(len(key), -1)
            query, item, rank, without = (
                rows[name].to_numpy(dtype=np.int64) for name in ("query", "item", "rank", "without")
            )
            score, off = (rows[name].to_numpy(dtype=np.float64) for name in ("score", "off"))
            change = [
                (discount_weights(rank, name) - discount_weights(without, name)) / whole
                for name, whole in zip(DISCOUNTS, total, strict=True)
            ]
            value = told["value"].to_numpy(dtype=np.float64).reshape(-1, n_features)
            yield Moved(query, item, rank, without, score, off, row), value, self._weight[query] * np.array(change)

    def judged_pairs(self) -> pd.DataFrame:
        """query_id, item_id, grade, score, score_without_sid, rank, rank_without_sid, matched_prefix of judged pairs."""
        if not self.scored:
            return pd.DataFrame({name: [] for name in _JUDGED_COLUMNS})
        return self.answers.query(_JUDGED)

    def best_rank(self) -> np.ndarray:
        """(N,) best rank of each item over all queries that retrieved it; inf where none did."""
        best = np.full(len(self._items), np.inf)
        if self.scored:
            found = self.answers.query(_BEST)
            best[found["item"]] = found["rank"]
        return best

    def pages(self, slots: int) -> pd.DataFrame:
        """query_id, item_id, rank, rank_without_sid of the pairs that either ranking puts among its first `slots`."""
        return self.answers.query(_PAGES, slots=slots)

    def beam_reach(self, levels: int) -> pd.DataFrame | None:
        """prefix, n_queries, query_weight of the prefixes of every level that some beam goes through: how many queries,
        and their share of all traffic. None where nothing was generated."""
        if not self.answers.has("beams"):
            return None
        found = self.answers.query(_REACH, levels=levels, step=_WEIGHT_STEP)
        return found.assign(query_weight=found["weight"] / self._weight.sum()).drop(columns="weight")

    def first_codes(self) -> pd.DataFrame:
        """query_id, code (of level 1), log_prob of the beams of queries with traffic, where a probability is known."""
        if not self.answers.has("beams"):
            return pd.DataFrame({"query_id": [], "code": [], "log_prob": []})
        return self.answers.query(_FIRST_CODES)


def _main_currency(items: pd.DataFrame) -> np.ndarray:
    """(N,) items priced in the catalogue's commonest currency."""
    if "currency" not in items or items["currency"].isna().all():
        return np.ones(len(items), dtype=bool)
    currency = items["currency"].fillna("").astype(str)
    return (currency == currency[items["price"].notna()].mode().iloc[0]).to_numpy()
