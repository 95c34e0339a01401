"""Why a pair scores as it does: exact Shapley values of the ranking logit, the SID part split by level.

Players: the dense groups (`dm`, `mm_dm`, `ct`, `qs`) and the SID. A coalition sees its members at the pair's own
values and the others at the reference: the query's mean candidate, match level 0. Shapley (1953) averages each
player's marginal change over the coalitions S of the other players, weight |S|! (n - |S| - 1)! / n!. The SID's
change from level 0 to m is telescoped 0 -> 1 -> ... -> m inside every coalition, so `sid_1` ... `sid_L` sum exactly
to the SID's own Shapley value. Pure numpy float64: float32 would miss the 1e-6 that the dashboard promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial
from typing import NamedTuple

import numpy as np

from engine.errors import ModelError
from engine.relevance.scorer import Scorer

GROUPS: dict[str, tuple[str, ...]] = {
    "dm": ("dm",),
    "mm_dm": ("mm_dm", "mm_missing"),
    "ct": ("ct",),
    "qs": (
        "qs", "qs_numbers", "qs_coverage", "qs_rare_coverage", "qs_near", "qs_rare_near", "qs_missing_near",
        "qs_rarest_hit", "qs_rarest_miss", "qs_order", "qs_first_place", "qs_place", "qs_jaccard", "qs_title_share",
        "qs_title_words", "qs_words", "qs_first_word", "qs_last_word", "qs_last_place",
        "qs_fields",
    ),
}  # fmt: skip
"""Players and their dense columns: a flag moves with its value, all lexical columns (`overlap.py`) move together."""

CENTRED_SUFFIX = "_centred"
"""Ending of a dense column's name less its mean over the query's candidates."""

_CHUNK = 128


def boosted_players(columns: Sequence[str], sid: Sequence[tuple[str, str, int]]) -> dict[str, tuple[str, ...]]:
    """Players of a boosted ranker that reads `columns`: the dense groups, list-centred twins with their columns; `own`,
    what is known of the very item and of the query (which is the same for the reference, so tells nothing); then
    `sid_<level>.<signal>` for each level and signal of `sid` (column, signal, level), by level."""
    groups = {
        name: tuple(c for c in columns if c.removesuffix(CENTRED_SUFFIX) in group) for name, group in GROUPS.items()
    }
    groups["own"] = tuple(c for c in columns if c.startswith(("own_", "query_")))
    for level in sorted({level for _, _, level in sid}):
        for signal in dict.fromkeys(signal for _, signal, _ in sid):
            own = tuple(c for c, s, at in sid if (s, at) == (signal, level) and c in columns)
            if own:
                groups[f"sid_{level}.{signal}"] = own
    return groups


class Attribution(NamedTuple):
    """`features` names the columns of `values` (M, players + L): dense groups, then `sid_1` ... `sid_L`.

    `values.sum(1)` = `score` - `reference_score` (M,), to rounding.
    """

    features: tuple[str, ...]
    values: np.ndarray
    reference_score: np.ndarray
    score: np.ndarray


class Swap(NamedTuple):
    """Why one item stands above another of the same query: `gap` in logits, and `reasons` (feature, share of the
    gap in logits), largest first, the fewest that together explain it; `rest` is what all others add up to."""

    gap: float
    reasons: list[tuple[str, float]]
    rest: float


def shapley(
    scorer: Scorer,
    dense: np.ndarray,
    match_level: np.ndarray | None,
    reference: np.ndarray,
) -> Attribution:
    """Exact contributions of pairs: `dense` (M, F), `match_level` (M,) in 0..L, `reference` (M, F) of each pair's query.

    A ranker without SIDs takes `match_level=None` and has no `sid_*` columns. Groups of which the ranker has no column
    contribute 0. Raises ModelError where a column of the ranker is in no group.
    """
    used = {name: [c for c in columns if c in scorer.columns] for name, columns in GROUPS.items()}
    stray = set(scorer.columns) - {column for columns in used.values() for column in columns}
    if stray:
        raise ModelError(f"no player of the attribution holds the ranker's columns {', '.join(sorted(stray))}")
    names = (*GROUPS, *(f"sid_{level}" for level in range(1, (scorer.levels or 0) + 1)))
    players = [name for name, columns in used.items() if columns]
    level = np.zeros(len(dense), dtype=np.int64) if match_level is None else np.asarray(match_level, dtype=np.int64)
    if (match_level is None) != (scorer.levels is None):
        raise ModelError("a ranker with SIDs needs a match level, a ranker without takes none")
    values = np.zeros((len(dense), len(names)))
    reference_score, score = np.empty(len(dense)), np.empty(len(dense))
    # Prefix levels deeper than the match add nothing: pairs of one depth share a shape and skip those evaluations.
    player_columns = np.array([names.index(p) for p in players], dtype=np.int64)
    for deepest in np.unique(level):
        rows = np.flatnonzero(level == deepest)
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            v = _coalition_values(scorer, dense[part], reference[part], int(deepest), [used[p] for p in players])
            dense_part, sid_part = _shapley_values(v)
            values[np.ix_(part, player_columns)] = dense_part
            values[np.ix_(part, len(GROUPS) + np.arange(int(deepest)))] = sid_part
            reference_score[part], score[part] = v[0, 0], v[-1, -1]
    return Attribution(names, values, reference_score, score)


def _coalition_values(
    scorer: Scorer, dense: np.ndarray, reference: np.ndarray, deepest: int, players: list[list[str]]
) -> np.ndarray:
    """(2^n, deepest+1, M): the logit of every coalition of the n dense players, bit p set = player p at its own
    values, at every revealed match level."""
    own = [scorer.first_layer(dense, columns) for columns in players]
    other = [scorer.first_layer(reference, columns) for columns in players]
    # The sum is taken in the same order for every coalition: a player equal to its reference gets exactly 0.
    sums = [np.zeros_like(own[0]) if own else np.zeros((len(dense), len(scorer.members), len(scorer.members[0].bias)))]
    for p in range(len(players)):
        sums = [s + other[p] for s in sums] + [s + own[p] for s in sums]
    revealed = np.arange(deepest + 1)
    out = np.empty((len(sums), deepest + 1, len(dense)))
    sid = [None] if scorer.levels is None else list(scorer.match_layer(revealed))
    for c, s in enumerate(sums):
        for r, term in enumerate(sid):
            out[c, r] = scorer.head(s if term is None else s + term)
    return out


def _shapley_values(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shapley values from the game `v` (2^n, m+1, M): dense players (M, n), SID levels 1..m (M, m).

    n dense players and the SID are n + 1 players; the SID is present at state m, absent at state 0.
    """
    n = int(np.log2(len(v)))
    size = np.fromiter((coalition.bit_count() for coalition in range(2**n)), dtype=np.int64)
    weight = np.array([factorial(s) * factorial(n - s) / factorial(n + 1) for s in range(n + 1)])
    sid = np.einsum("c,crm->mr", weight[size], np.diff(v, axis=1))
    dense = np.zeros((v.shape[2], n))
    for p in range(n):
        without = np.array([c for c in range(2**n) if not c >> p & 1], dtype=np.int64)
        change = v[without | 1 << p] - v[without]  # (2^(n-1), m+1, M)
        dense[:, p] = weight[size[without]] @ change[:, 0] + weight[size[without] + 1] @ change[:, -1]
    return dense, sid


def query_reference(dense: np.ndarray, query: np.ndarray, n_queries: int) -> np.ndarray:
    """(n_queries, F) float64: mean of the candidates' `dense` (M, F) by their `query` (M,); NaN where a query has none."""
    total = np.zeros((n_queries, dense.shape[1]))
    np.add.at(total, query, np.asarray(dense, dtype=np.float64))
    count = np.bincount(query, minlength=n_queries)[:, None]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def minimal_swap(above: np.ndarray, below: np.ndarray, features: Sequence[str], *, share: float = 0.8) -> Swap:
    """The fewest features that explain `share` of why the first item is above the second.

    `above`, `below` (players + L,): contributions of two items of the same query (same reference, so that their
    differences sum to the difference of the scores). An item that is in fact below gives a negative gap, and the
    reasons are then those that hold it down.
    """
    difference = np.asarray(above, dtype=np.float64) - np.asarray(below, dtype=np.float64)
    gap = float(difference.sum())
    direction = -1.0 if gap < 0 else 1.0
    order = np.argsort(-difference * direction, kind="stable")
    reasons: list[tuple[str, float]] = []
    explained = 0.0
    for i in order:
        if difference[i] * direction <= 0 or explained >= share * abs(gap):
            break
        reasons.append((features[i], float(difference[i])))
        explained += float(difference[i]) * direction
    return Swap(gap, reasons, gap - sum(value for _, value in reasons))
