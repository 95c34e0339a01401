"""Feedback on items, and that of the past queries nearest to an asked one: found once, read by several signals.

A query never reads the feedback of its own group: leave-one-query-out by construction, so training rows and new
queries are measured alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.relevance.vectors import VectorIndex

SHARPNESS = 0.07
"""A past query whose cosine is this much lower than the nearest one's counts 1/e of it. 0.05 and 0.1 did equally well on
the marketplace's development queries, 0.2 worse."""


class Feedback(NamedTuple):
    """What became known of items for some queries; only what the producer of the signals may learn from.

    Graded feedback comes from training judgments, ungraded from interactions (always positive).
    """

    query_x: np.ndarray  # (B, D) float32 unit embeddings of the queries that gave feedback.
    group: np.ndarray
    """(B,) int64: queries of equal normalised text share a number, so that none reads itself under another id."""
    position: np.ndarray  # (B,) int64 position of each among all queries of the catalogue (for `Measured.read`).
    query: np.ndarray  # (F,) int64 row of `query_x` of each piece of feedback ...
    item: np.ndarray  # (F,) int64 ... the item ...
    value: np.ndarray  # (F,) float32 ... its grade as a share of the highest, or the strength of the interaction ...
    graded: np.ndarray  # (F,) bool ... and whether it is a grade.


class Pieces(NamedTuple):
    """What the neighbours of some asked queries say, one row a piece of feedback, sorted by `row`."""

    row: np.ndarray  # (n,) which of the asked queries ...
    item: np.ndarray  # (n,) ... the item ...
    weight: np.ndarray  # (n,) ... the neighbour's weight ...
    value: np.ndarray
    """(n,) ... and the grade as a share of the highest, or the strength as a share of the neighbour's total."""

    def total(self, value: np.ndarray | float, n_rows: int) -> np.ndarray:
        """(R,) `value` (n,) of the pieces, weighted and summed by asked query."""
        return np.bincount(self.row, weights=self.weight * value, minlength=n_rows)


class Bank:
    """Feedback of one kind (grades, or interactions), by past query."""

    def __init__(self, feedback: Feedback, *, graded: bool) -> None:
        rows = np.flatnonzero(feedback.graded == graded)
        past, query = np.unique(feedback.query[rows], return_inverse=True)
        order = np.argsort(query, kind="stable")
        query, rows = query[order], rows[order]
        self.index = VectorIndex(feedback.query_x[past])
        self.group, self.position = feedback.group[past], feedback.position[past]
        self.largest_group = int(np.unique(self.group, return_counts=True)[1].max(initial=0))
        self.ends = np.searchsorted(query, np.arange(len(past) + 1))
        self.item = feedback.item[rows]
        self.value = feedback.value[rows].astype(np.float64)
        if not graded:
            total = np.bincount(query, weights=self.value, minlength=len(past))
            self.value = self.value / np.maximum(total[query], 1e-9)

    def near(self, x: np.ndarray, group: np.ndarray, k: int) -> Near:
        """The k past queries nearest to each of `x` (Q, D), never one of the asked query's own `group` (Q,)."""
        k = min(k, len(self.group))
        if k == 0:
            return Near(self, np.empty((len(x), 0), dtype=np.int64), np.empty((len(x), 0)))
        found = self.index.nearest(x, k + self.largest_group)
        barred = (found.row < 0) | (self.group[found.row] == group[:, None])
        first = np.argsort(barred, axis=1, kind="stable")[:, :k]
        row, cosine = (np.take_along_axis(part, first, axis=1) for part in found)
        barred = np.take_along_axis(barred, first, axis=1)
        row, cosine = np.where(barred, -1, row), np.where(barred, -np.inf, cosine)
        weight = np.exp((cosine - 1.0) / SHARPNESS)
        return Near(self, row, weight / np.maximum(weight[:, :1], 1e-30))


class Near(NamedTuple):
    """The past queries of a bank nearest to each of Q asked ones, best first."""

    bank: Bank
    row: np.ndarray  # (Q, k) int64 row of the past query; -1 pads.
    weight: np.ndarray  # (Q, k) float64 exp((cosine - the nearest one's) / `SHARPNESS`): 1 for the nearest, 0 pads.

    def pieces(self, query: np.ndarray) -> Pieces:
        """What the neighbours of the asked rows `query` (R,) say."""
        past, weight, ends = self.row[query], self.weight[query], self.bank.ends
        row, column = np.nonzero(past >= 0)
        past, weight = past[row, column], weight[row, column]
        length = ends[past + 1] - ends[past]
        at = np.repeat(ends[past] - (np.cumsum(length) - length), length) + np.arange(int(length.sum()))
        return Pieces(np.repeat(row, length), self.bank.item[at], np.repeat(weight, length), self.bank.value[at])


class Neighbours(NamedTuple):
    """Those that graded items, and those that interacted with some: each kind has neighbours of its own."""

    grades: Near
    clicks: Near

    def read(self) -> np.ndarray:
        """(Q, k) positions of the neighbours among all queries of the catalogue, -1 pads (`Measured.read`)."""
        known = [np.append(near.bank.position, -1)[near.row] for near in self]
        return np.concatenate(known, axis=1)


class Past:
    """All feedback, ready to find the neighbours of any query."""

    def __init__(self, feedback: Feedback, neighbours: int) -> None:
        """`neighbours` of each kind are read for a query."""
        self.neighbours = neighbours
        self.grades, self.clicks = (Bank(feedback, graded=graded) for graded in (True, False))

    def near(self, x: np.ndarray, group: np.ndarray) -> Neighbours:
        """The neighbours of queries (Q, D) of groups (Q,), -1 for a query never seen."""
        return Neighbours(*(bank.near(x, group, self.neighbours) for bank in (self.grades, self.clicks)))
