"""The smallest single change of what a ranker reads of an item that takes its score past another's.

Searched, not slid for: every value that some candidate of the query has is tried for one knob at a time, all else
equal. Sizes are counted in spreads (standard deviations among the candidates), so that knobs can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(values (M, F), match level (M,)) -> scores (M,)."""


class Knob(NamedTuple):
    """One thing that may be changed."""

    name: str
    rows: np.ndarray  # (K, F) what the ranker reads when it is set to each of ...
    level: np.ndarray  # (K,) int64 the match level beside them.
    value: np.ndarray  # (K,) ... these values.
    own: float  # Its value now.
    spread: float  # Standard deviation of its values among the candidates; 1 where they are all alike.


class Change(NamedTuple):
    """A knob set to a value."""

    name: str
    own: float
    value: float
    size: float  # |value - own| / spread.
    score: float
    enough: bool
    """Whether the score passes the goal. Where a knob has no value that does, it is the one that comes nearest."""


def setting(columns: Sequence[int], own: np.ndarray, values: np.ndarray, level: int, *, name: str) -> Knob:
    """A knob for a column that moves with others by the same step (a list-centred twin follows its column).

    Args:
        columns: the knob's column, then those that follow it.
        own: (F,) what the ranker reads now.
        values: (C,) of the knob's column among the query's candidates: the range that is searched.
        level: the item's match level.
        name: of the knob.
    """
    tried = np.unique(values[np.isfinite(values)])
    tried = tried[tried != own[columns[0]]]
    rows = np.repeat(own[None].astype(np.float64), len(tried), axis=0)
    rows[:, list(columns)] += (tried - own[columns[0]])[:, None]
    rows[:, columns[0]] = tried  # a column must not miss a candidate's value by rounding
    return Knob(
        name, rows, np.full(len(tried), level, dtype=np.int64), tried, float(own[columns[0]]), spread_of(values)
    )


def spread_of(values: np.ndarray) -> float:
    """Standard deviation of the candidates' values (C,), 1 where it is 0."""
    spread = float(np.nanstd(values)) if len(values) else 0.0
    return spread if spread > 1e-12 else 1.0


def smallest_changes(predict: Predict, knobs: Sequence[Knob], goal: float, *, rise: bool = True) -> list[Change]:
    """For every knob that can be turned, its smallest change whose score is above `goal` (below it, unless `rise`), else the
    change that comes nearest; those that suffice first, the smallest first, then the nearest."""
    found = [knob for knob in knobs if len(knob.value)]
    if not found:
        return []
    scores = predict(np.concatenate([k.rows for k in found]), np.concatenate([k.level for k in found]))
    sign = 1.0 if rise else -1.0
    changes, at = [], 0
    for knob in found:
        own = scores[at : at + len(knob.value)]
        at += len(knob.value)
        size = np.abs(knob.value - knob.own) / knob.spread
        passes = sign * (own - goal) > 0
        # Of those that pass the smallest, else the best score, of equal ones the smallest.
        best = int(np.lexsort((size, -sign * own, np.where(passes, size, np.inf)))[0])
        changes.append(
            Change(
                knob.name, knob.own, float(knob.value[best]), float(size[best]), float(own[best]), bool(passes[best])
            )
        )
    return sorted(changes, key=lambda c: (not c.enough, c.size if c.enough else -sign * c.score, c.size, c.name))
