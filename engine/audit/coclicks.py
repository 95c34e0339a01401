"""Whether items that are clicked for the same query share prefixes, against chance and against the taxonomy's own path."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.audit.health import Row, constructed, health_row
from engine.audit.intervals import Interval, mean_interval
from engine.audit.prefixes import crosstab
from engine.audit.shelf import Shelf


class Clicked(NamedTuple):
    """Distinct (query, item) pairs with a click, and what a reader should know of that log."""

    query: np.ndarray  # (P,) int64 from 0.
    item: np.ndarray  # (P,) int64 position of the item.
    note: str


class Alignment(NamedTuple):
    """How often two items clicked for one query share a group."""

    share: Interval  # Mean over queries of the share of their pairs; interval by query.
    chance: float  # The same of two different items drawn as the queries' clicks are, whatever the query.


def alignment(member: np.ndarray, clicked: Clicked, *, resamples: int = 2_000, seed: int = 0) -> Alignment | None:
    """Of the groups `member` (N,) of items; pairs with a -1 are left out. None where no query has two items.

    Every query counts once, however many items it has. A query's m items make m (m - 1) / 2 pairs; of them
    sum c (c - 1) / 2 share a group that holds c of the m.
    """
    query, item = clicked.query[member[clicked.item] >= 0], clicked.item[member[clicked.item] >= 0]
    n = np.bincount(query)
    enough = n[query] >= 2
    query, item = np.unique(query[enough], return_inverse=True)[1], item[enough]
    if not len(query):
        return None
    n = np.bincount(query).astype(np.float64)
    table = crosstab(query, member[item], len(n), int(member.max()) + 1).tocoo()
    pairs = np.bincount(table.row, weights=table.data * (table.data - 1.0), minlength=len(n))
    share = mean_interval(np.round(pairs / (n * (n - 1)), 12), resamples=resamples, seed=seed)
    weight = 1.0 / (n[query] * len(n))
    by_item = np.bincount(item, weights=weight)
    same_item = float((by_item**2).sum())
    by_group = np.bincount(member[item], weights=weight)
    return Alignment(share, (float((by_group**2).sum()) - same_item) / (1 - same_item))


def coclick_rows(shelf: Shelf, clicked: Clicked, *, resamples: int = 2_000, seed: int = 0) -> list[Row]:
    """Rows of `health`: coclick_alignment of every level, of random pairs and of category paths of the same depth, and
    coclick_lift: the ratios to random pairs."""
    rows: list[Row] = []
    for depth, level in enumerate(shelf.tree):
        found = alignment(level.member, clicked, resamples=resamples, seed=seed)
        if found is None:
            continue
        own = _lifted(depth, "", found, clicked.note)
        own.insert(1, health_row(depth + 1, "coclick_alignment_random", found.chance, found.share.n))
        if shelf.by_category and depth == 0:
            own = [r | constructed(f"level 1 was given the category; {clicked.note}") for r in own]
        path = alignment(_path_groups(shelf, depth + 1), clicked, resamples=resamples, seed=seed)
        rows += own + ([] if path is None else _lifted(depth, "_category", path, "the path's first parts"))
    return rows


def _lifted(depth: int, name: str, found: Alignment, note: str) -> list[Row]:
    value, low, high, n = found.share
    chance = found.chance if found.chance > 0 else float("nan")
    return [
        health_row(depth + 1, f"coclick_alignment{name}", value, n) | {"low": low, "high": high, "note": note},
        health_row(depth + 1, f"coclick_lift{name}", value / chance, n)
        | {"low": low / chance, "high": high / chance, "note": note},
    ]


def _path_groups(shelf: Shelf, depth: int) -> np.ndarray:
    """(N,) group of the first `depth` parts of each item's category path (all of them, where it is shorter); an item
    without a category is alone in its own, one without a SID has none."""
    groups: dict[object, int] = {}
    member = np.empty(len(shelf.items), dtype=np.int64)
    for position, path in enumerate(shelf.items["category"].tolist()):
        key = tuple(path.split(shelf.separator)[:depth]) if isinstance(path, str) else position
        member[position] = groups.setdefault(key, len(groups))
    member[np.asarray(shelf.codes)[:, 0] < 0] = -1
    return member
