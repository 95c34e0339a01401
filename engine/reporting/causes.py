"""Table `causes`: every group's change of exposure, split by what of the served ranker moved its items (section 6).

Blocks of queries are split in numpy (`engine.audit.causes`) and summed per group beside the answers; sums are of whole
numbers, so that they are the same whatever the order in which rows are read.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from engine.audit.causes import PARTS, SIDS, UNEXPLAINED, Moved, Shares, Told, numbered_prefixes, split_changes
from engine.audit.traffic import DISCOUNTS
from engine.reporting.aggregates import Aggregates

QUERIES = 128
"""Queries split at once: memory follows them."""
PREFIXES = 12
"""Prefixes named per group and discount, the largest; the others are one row."""
_STEP = 2.0**-60
CAUSE_COLUMNS = (
    *("discount", "dimension", "value", "told", "part", "level", "signal", "prefix"),
    *("gain", "loss", "net", "n_queries", "n_pairs"),
)
_BLOCK = ("discount", "member", "code", "gain", "loss", "n_queries", "n_pairs")
_FEATURE = re.compile(r"sid_(\d+)(?:\.(\w+))?")

# Of prefixes (code > 2) the largest of a group are named, the others have code -1.
_SUMMED = """
WITH summed AS (
    SELECT told, dimension, member, discount, code, sum(gain)::HUGEINT AS gain, sum(loss)::HUGEINT AS loss,
           sum(n_queries)::BIGINT AS n_queries, sum(n_pairs)::BIGINT AS n_pairs
    FROM cause_parts GROUP BY ALL
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY told, dimension, member, discount, code > 2
                                 ORDER BY greatest(gain, -loss) DESC, code) AS place
    FROM summed
)
SELECT told, dimension, member, discount, CASE WHEN told = 1 AND code > 2 AND place > $prefixes THEN -1 ELSE code END AS code,
       sum(gain)::DOUBLE AS gain, sum(loss)::DOUBLE AS loss, sum(gain + loss)::DOUBLE AS net,
       CASE WHEN bool_and(told = 1 AND code > 2 AND place > $prefixes) THEN NULL ELSE sum(n_queries)::BIGINT END AS n_queries,
       sum(n_pairs)::BIGINT AS n_pairs
FROM placed GROUP BY told, dimension, member, discount, 5
ORDER BY told, dimension, member, discount, abs(sum(gain + loss)) DESC, code
"""


def causes_table(sums: Aggregates, codes: np.ndarray) -> pd.DataFrame:
    """The `causes` table; `codes` (N, L) of the items. Empty where nothing was ranked both ways and explained."""
    found = [_FEATURE.fullmatch(name) for name in sums.features]
    if not found:
        return pd.DataFrame(columns=list(CAUSE_COLUMNS))
    level = np.array([0 if each is None else int(each[1]) for each in found], dtype=np.int64)
    number, texts = numbered_prefixes(codes)
    groups = sums.groups
    for block, (moved, value, delta) in enumerate(sums.moves(QUERIES)):
        split = split_changes(moved, Told(value, level, number))
        parts = [
            _summed(shares, moved, delta, member).assign(told=told, dimension=dimension)
            for told, shares in enumerate(split)
            for dimension, (_, member) in enumerate(groups.values())
        ]
        sums.answers.lookup("cause_parts", pd.concat(parts, ignore_index=True), more=block > 0)
    made = sums.answers.query(_SUMMED, prefixes=PREFIXES)
    code, by_signal = made["code"].to_numpy(), (made["told"] == 0).to_numpy()
    feature, prefix = (np.where(telling & (code > UNEXPLAINED), code - 3, -1) for telling in (by_signal, ~by_signal))
    # The last entry is for rows that are not about a feature, or a prefix.
    depth = np.array([*(text.count("-") + 1 for text in texts), 0])[prefix]
    names, values = list(groups), [values for values, _ in groups.values()]
    return pd.DataFrame(
        {
            "discount": np.array(DISCOUNTS, dtype=object)[made["discount"]],
            "dimension": [names[d] for d in made["dimension"]],
            "value": [values[d][m] for d, m in zip(made["dimension"], made["member"], strict=True)],
            "told": np.where(by_signal, "signal", "prefix").astype(object),
            "part": [PARTS[c] if 0 <= c < len(PARTS) else SIDS for c in code],
            "level": _known(np.array([*level, 0])[feature] + depth),
            "signal": np.array([*(each and each[2] for each in found), None], dtype=object)[feature],
            "prefix": np.array([*texts, None], dtype=object)[prefix],
            **{name: made[name].to_numpy() * _STEP for name in ("gain", "loss", "net")},
            "n_queries": made["n_queries"].astype("Int64"),
            "n_pairs": made["n_pairs"].astype("Int64"),
        }
    )


def _known(level: np.ndarray) -> pd.arrays.IntegerArray:
    """Levels from 1; NA in place of 0."""
    return pd.arrays.IntegerArray(level.astype(np.int64), level == 0)


def _summed(shares: Shares, moved: Moved, delta: np.ndarray, member: np.ndarray) -> pd.DataFrame:
    """Sums of a block per group, part and discount: gain, loss (whole numbers of `_STEP`), n_queries, n_pairs."""
    group = member[moved.item[shares.mover]].astype(np.int64)
    query = moved.query[shares.mover]
    width = int(shares.part.max(initial=0)) + 1
    key = group * width + shares.part
    order = np.lexsort((query, key))
    key, query = key[order], query[order]
    amounts = np.rint(delta[:, shares.mover[order]] * (shares.share[order] / _STEP)).astype(np.int64)
    if not len(key):
        return pd.DataFrame({name: np.empty(0, dtype=np.int64) for name in _BLOCK})
    new = np.r_[True, key[1:] != key[:-1]]
    start, asked = np.flatnonzero(new), np.flatnonzero(new | np.r_[True, query[1:] != query[:-1]])
    tables = []
    for discount, amount in enumerate(amounts):
        moves = amount != 0
        sums = np.add.reduceat(np.stack([np.maximum(amount, 0), np.minimum(amount, 0), moves]), start, axis=1)
        # A query counts once a group and part.
        n_queries = np.add.reduceat(
            np.logical_or.reduceat(moves, asked).astype(np.int64), np.searchsorted(asked, start)
        )
        columns = (key[start] // width, key[start] % width, sums[0], sums[1], n_queries, sums[2])
        table = pd.DataFrame(dict(zip(_BLOCK, (np.full(len(start), discount), *columns), strict=True)))
        tables.append(table[table["n_pairs"] > 0])
    return pd.concat(tables, ignore_index=True)
