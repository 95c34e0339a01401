"""What table `stories` is told from: relevant items that changed place, and by what of the served ranker's score."""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.audit.prefixes import sid_texts
from engine.reporting.aggregates import Aggregates

# Relevant items that changed place, with what the served ranker's contributions say of those they passed, or that passed
# them. The match of an MLP is all that it reads of a SID.
_MOVES = """
WITH relevant AS (
    SELECT query_id, item_id, s.rank, s.rank_without_sid, s.match_level, s.matched_prefix
    FROM judgments j JOIN scores s USING (query_id, item_id)
    WHERE j.grade >= $relevant AND s.rank <> s.rank_without_sid
), told AS (
    SELECT query_id, item_id, sum(value ORDER BY feature) FILTER (starts_with(feature, 'sid_')) AS sid,
           sum(value ORDER BY feature) FILTER (NOT starts_with(feature, 'sid_')) AS other,
           sum(value ORDER BY feature) FILTER (regexp_matches(feature, '^sid_\\d+(\\.match)?$')) AS match
    FROM contributions SEMI JOIN relevant USING (query_id) GROUP BY ALL
), passed AS (
    SELECT r.query_id, r.item_id, avg(t.sid ORDER BY o.rank) AS sid, avg(t.other ORDER BY o.rank) AS other
    FROM relevant r JOIN scores o USING (query_id) JOIN told t ON t.query_id = r.query_id AND t.item_id = o.item_id
    WHERE o.rank IS NOT NULL AND (o.rank > r.rank) = (r.rank < r.rank_without_sid) AND o.item_id <> r.item_id
      AND (o.rank_without_sid < r.rank_without_sid) = (r.rank < r.rank_without_sid)
    GROUP BY ALL
), best AS (
    SELECT query_id, h.category FROM beams b SEMI JOIN relevant USING (query_id) JOIN holders h USING (sid) WHERE b.rank = 1
)
SELECT r.query_id, r.item_id, i.title, r.rank, r.rank_without_sid, r.match_level, r.matched_prefix, t.match,
       t.sid - p.sid AS sid, t.other - p.other AS other,
       EXISTS (FROM best b WHERE b.query_id = r.query_id AND b.category = i.category) AS beam_fits
FROM relevant r JOIN told t USING (query_id, item_id) JOIN passed p USING (query_id, item_id) JOIN holders i USING (item_id)
ORDER BY r.query_id, r.item_id
"""
_COLUMNS = (
    "query_id", "item_id", "title", "rank", "rank_without_sid", "match_level", "matched_prefix", "match", "sid", "other",
    "beam_fits",
)  # fmt: skip


def relevant_moves(sums: Aggregates, items: pd.DataFrame, codes: np.ndarray | None, relevant: float) -> pd.DataFrame:
    """Judged items at or above the grade `relevant` that changed place, as `engine.audit.stories` asks; none where
    nothing was explained. `codes`: (N, L) of the items."""
    if codes is None or not sums.features or not sums.answers.has("beams"):
        return pd.DataFrame({name: [] for name in _COLUMNS})
    known = items[["item_id", "title", "category"]]
    # Items without a category are alike where their first code is.
    first = pd.Series(codes[:, 0]).astype(str).to_numpy(dtype=object)
    category = known["category"].where(known["category"].notna(), first)
    sums.answers.lookup("holders", known.assign(sid=sid_texts(codes), category=category))
    return sums.answers.query(_MOVES, relevant=relevant)
