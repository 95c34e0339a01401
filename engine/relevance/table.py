"""What rankers read of pairs, and how a pair is scored and explained from it: for a batch, a live query and what-if."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine.relevance.attribution import GROUPS, Attribution, boosted_players, query_reference, shapley
from engine.relevance.scorer import Scorer
from engine.relevance.tree_attribution import tree_shapley
from engine.relevance.trees import TreeScorer

N_DENSE = sum(map(len, GROUPS.values()))
"""Dense columns, which come first."""


class Table(NamedTuple):
    """Pairs (M,) as a ranker reads them."""

    columns: tuple[str, ...]  # The dense ones; for a boosted ranker all plain ones and those of the served SID signals.
    values: np.ndarray  # (M, F).
    level: np.ndarray | None  # (M,) match level; None without SIDs.

    def take(self, rows: np.ndarray) -> Table:
        """The table of some pairs."""
        return self._replace(values=self.values[rows], level=None if self.level is None else self.level[rows])


def predict(ranker: Scorer | TreeScorer, table: Table) -> np.ndarray:
    """(M,) float64 ranking scores: the ordinal logit of an MLP, the predicted grade of trees."""
    values = np.asarray(table.values[:, [table.columns.index(name) for name in ranker.columns]], dtype=np.float64)
    if isinstance(ranker, TreeScorer):
        return ranker.score(values)
    return ranker.logit(values, None if ranker.levels is None else table.level)


def switched_off(table: Table, reference: np.ndarray, plain: int) -> Table:
    """The same pairs with every SID column (all but the first `plain`) at the reference (M, F) of its query, the match
    level at 0."""
    values = table.values.astype(np.float64)
    values[:, plain:] = reference[:, plain:]
    return table._replace(values=values, level=None if table.level is None else np.zeros_like(table.level))


def reference_points(table: Table, query: np.ndarray, n_queries: int) -> np.ndarray:
    """(Q, F) float64 what contributions are measured from: the mean of the query's candidates (the table's pairs); no
    match; NaN where a query has no candidate. Kept at the precision of the stored columns."""
    mean = query_reference(table.values, query, n_queries)
    mean[:, [i for i, name in enumerate(table.columns) if name.startswith("match_")]] *= 0.0
    mean[:, N_DENSE:] = mean[:, N_DENSE:].astype(np.float32)
    return mean


def attribute(
    ranker: Scorer | TreeScorer, table: Table, reference: np.ndarray, sid: Sequence[tuple[str, str, int]]
) -> Attribution:
    """Exact contributions of pairs (M) from their `reference` (M, F); `sid`: (column, signal, level) of SID signals."""
    take = [table.columns.index(name) for name in ranker.columns]
    values = np.asarray(table.values[:, take], dtype=np.float64)
    if isinstance(ranker, TreeScorer):
        players = boosted_players(ranker.columns, sid)
        return tree_shapley(ranker, values, reference[:, take], players)
    return shapley(ranker, values, None if ranker.levels is None else table.level, reference[:, take])
