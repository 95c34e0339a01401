"""Table `loss_ledger`: the verdict of `engine.audit.lost` for every judged relevant pair, in two statements."""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.audit.lost import FOUND, LOST_IN_BEAM, NOT_RETRIEVED, OUTRANKED, PAGE
from engine.audit.prefixes import sid_texts
from engine.reporting.aggregates import Aggregates

LEDGER_COLUMNS = (
    *("query_id", "item_id", "grade", "verdict", "level", "feature", "rank", "rank_without_sid"),
    *("category", "category_tier", "query_tier"),
)

_PLACES = """
SELECT j.query_id, j.item_id, j.grade, s.rank, s.rank_without_sid
FROM judgments j LEFT JOIN scores s USING (query_id, item_id)
WHERE j.grade >= $relevant ORDER BY j.query_id, j.item_id
"""
# The first level of the target's path at which the beams of its query keep no such prefix.
_LOST = """
WITH searched AS (SELECT DISTINCT query_id FROM beam_nodes SEMI JOIN targets USING (query_id)),
kept AS (SELECT query_id, prefix FROM beam_nodes SEMI JOIN targets USING (query_id) WHERE kept)
SELECT t.pair, min(t.level) AS level
FROM targets t SEMI JOIN searched USING (query_id) ANTI JOIN kept k ON k.query_id = t.query_id AND k.prefix = t.prefix
GROUP BY t.pair
"""
# The signals of a SID's level count together, as on the page of a query.
_FEATURE = """
WITH told AS (
    SELECT query_id, item_id, split_part(feature, '.', 1) AS feature, sum(value ORDER BY feature) AS value
    FROM contributions WHERE query_id IN (SELECT query_id FROM outranked) GROUP BY ALL
),
page AS (
    SELECT query_id, feature, avg(t.value ORDER BY s.rank) AS value
    FROM told t JOIN scores s USING (query_id, item_id) WHERE s.rank <= $page GROUP BY query_id, feature
)
SELECT o.pair, arg_min(t.feature, (t.value - p.value, t.feature)) AS feature, min(t.value - p.value) AS gap
FROM outranked o JOIN told t USING (query_id, item_id) JOIN page p USING (query_id, feature) GROUP BY o.pair
"""


def loss_ledger(
    sums: Aggregates, items: pd.DataFrame, queries: pd.DataFrame, codes: np.ndarray | None, relevant: float
) -> pd.DataFrame:
    """The `loss_ledger` table; `codes` (N, L) of the items, -1 where one has no SID. Empty where nothing was ranked."""
    if not sums.scored:
        return pd.DataFrame(columns=list(LEDGER_COLUMNS))
    made = sums.answers.query(_PLACES, relevant=relevant)
    rank = made["rank"].to_numpy(dtype=np.float64, na_value=np.nan)
    verdict = np.where(np.isnan(rank), NOT_RETRIEVED, np.where(rank <= PAGE, FOUND, OUTRANKED)).astype(object)
    item = pd.Index(items["item_id"]).get_indexer(pd.Index(made["item_id"]))
    level = np.zeros(len(made), dtype=np.int64)
    below = np.flatnonzero(verdict == OUTRANKED)
    if codes is not None and sums.answers.has("beam_nodes"):
        held = below[codes[item[below], 0] >= 0]
        paths = [
            pd.DataFrame(
                {
                    "pair": held,
                    "query_id": made["query_id"].to_numpy()[held],
                    "level": depth,
                    "prefix": sid_texts(codes[item[held], :depth]),
                }
            )
            for depth in range(1, codes.shape[1] + 1)
        ]
        sums.answers.lookup("targets", pd.concat(paths, ignore_index=True))
        lost = sums.answers.query(_LOST)
        level[lost["pair"]] = lost["level"]
        verdict[level > 0] = LOST_IN_BEAM
    feature = np.full(len(made), None, dtype=object)
    if sums.answers.has("contributions"):
        below = np.flatnonzero(verdict == OUTRANKED)
        sums.answers.lookup("outranked", made.loc[below, ["query_id", "item_id"]].assign(pair=below))
        named = sums.answers.query(_FEATURE, page=PAGE)
        named = named[named["gap"] < 0]
        feature[named["pair"]] = named["feature"]
    tier = queries.set_index("query_id")["tier"]
    return made.assign(
        verdict=verdict,
        level=pd.arrays.IntegerArray(level, level == 0),
        feature=feature,
        category=items["category"].to_numpy()[item],
        category_tier=items["tier"].to_numpy()[item],
        query_tier=made["query_id"].map(tier),
    )[list(LEDGER_COLUMNS)]
