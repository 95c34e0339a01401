"""Memory: what became known of items for similar past queries, pooled by SID prefix; and its dense twin.

A query never reads the feedback of its own group: leave-one-query-out by construction, so training rows and new
queries are measured alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine.relevance.signals.nearest import Near, nearest_queries
from engine.relevance.signals.prefixes import CELLS, Prefixes, at_level, by_query, pool, prefixes
from engine.relevance.signals.protocol import Asked, Column, Feedback, Learns, Measured, Shelf

SHARPNESS = 0.07
"""A past query whose cosine is this much lower than the nearest one's counts 1/e of it. 0.05 and 0.1 did equally well on
the marketplace's development queries, 0.2 worse."""
PSEUDO_COUNT = 1.0
"""Grades of the value above (the parent prefix's, or the neighbours' mean) added to those under a prefix; 0.3 and 3 did
equally well there."""
BANDWIDTHS = (0.4, 0.2, 0.1)
"""Of the twin's kernels exp((cosine of titles - 1) / bandwidth): as many resolutions as a SID has levels."""


class Pieces(NamedTuple):
    """What the neighbours of some asked queries say, one row a piece of feedback."""

    row: np.ndarray
    """(n,) which of the asked queries ..."""
    item: np.ndarray
    """(n,) ... the item ..."""
    weight: np.ndarray
    """(n,) ... the neighbour's weight ..."""
    value: np.ndarray
    """(n,) ... and the grade as a share of the highest, or the strength as a share of the neighbour's total."""


class Bank:
    """Feedback of one kind (grades, or interactions), by past query."""

    def __init__(self, feedback: Feedback, *, graded: bool) -> None:
        rows = np.flatnonzero(feedback.graded == graded)
        self.past, query = np.unique(feedback.query[rows], return_inverse=True)
        order = np.argsort(query, kind="stable")
        query, rows = query[order], rows[order]
        self.x, self.group = feedback.query_x[self.past], feedback.group[self.past]
        self.position = feedback.position[self.past]
        self.ends = np.searchsorted(query, np.arange(len(self.past) + 1))
        self.item = feedback.item[rows]
        self.value = feedback.value[rows].astype(np.float64)
        if not graded:
            total = np.bincount(query, weights=self.value, minlength=len(self.past))
            self.value = self.value / np.maximum(total[query], 1e-9)

    def near(self, asked: Asked, k: int) -> Near:
        """The asked queries' neighbours here; the nearest one weighs 1."""
        found = nearest_queries(asked.x, asked.group, self.x, self.group, k, SHARPNESS)
        return Near(found.row, found.weight / np.maximum(found.weight[:, :1], 1e-30))

    def read(self, near: Near) -> np.ndarray:
        """(Q, k) positions of the neighbours among all queries, -1 pads."""
        if not len(self.position):
            return near.row
        return np.where(near.row >= 0, self.position[near.row], -1)

    def pieces(self, near: Near, query: np.ndarray) -> Pieces:
        """What the neighbours of the asked rows `query` (R,) say."""
        past, weight = near.row[query], near.weight[query]
        row, column = np.nonzero(past >= 0)
        past, weight = past[row, column], weight[row, column]
        length = self.ends[past + 1] - self.ends[past]
        at = np.repeat(self.ends[past] - (np.cumsum(length) - length), length) + np.arange(int(length.sum()))
        return Pieces(np.repeat(row, length), self.item[at], np.repeat(weight, length), self.value[at])


@dataclass(frozen=True)
class _Fitted:
    grades: Bank
    clicks: Bank
    neighbours: int

    def _read(self, graders: Near, clickers: Near) -> np.ndarray:
        return np.concatenate([self.grades.read(graders), self.clicks.read(clickers)], axis=1)

    def _neighbours_mean(self, said: Pieces, n_rows: int) -> np.ndarray:
        """(R,) weighted mean grade of each query's neighbours; one half where none says anything. The mean of all
        feedback would hold the query's own."""
        weight, value = _by_row(said, np.ones(len(said.row)), n_rows), _by_row(said, said.value, n_rows)
        return np.where(weight > 0, value / np.maximum(weight, 1e-9), 0.5)

    def arrays(self) -> dict[str, np.ndarray]:
        return {}


@dataclass(frozen=True)
class _FittedMemory(_Fitted):
    stacks: list[Prefixes]

    def measure(self, asked: Asked, pair_query: np.ndarray, pair_item: np.ndarray) -> Measured:
        graders, clickers = self.grades.near(asked, self.neighbours), self.clicks.near(asked, self.neighbours)
        levels = len(self.stacks[0].size)
        values = np.zeros((len(pair_query), 3 * levels), dtype=np.float32)
        for part in by_query(pair_query, max(max(stack.size) for stack in self.stacks)):
            item, n_rows = pair_item[part.pair], len(part.query)
            said, clicked = self.grades.pieces(graders, part.query), self.clicks.pieces(clickers, part.query)
            mean = self._neighbours_mean(said, n_rows)[part.row]
            total = np.maximum(_by_row(clicked, clicked.value, n_rows), 1e-9)[part.row]
            for stack in self.stacks:
                above = mean
                for level in range(min(levels, len(stack.size))):
                    number, share = stack.of_item[level], 1.0 / len(at_level(self.stacks, level))
                    under, shape = number[item], (n_rows, stack.size[level])
                    weight = pool(said.row, number[said.item], said.weight, shape)[part.row, under]
                    value = pool(said.row, number[said.item], said.weight * said.value, shape)[part.row, under]
                    above = (value + PSEUDO_COUNT * above) / (weight + PSEUDO_COUNT)
                    clicks = pool(clicked.row, number[clicked.item], clicked.weight * clicked.value, shape)
                    values[part.pair, level] += share * above
                    values[part.pair, levels + level] += share * np.log1p(weight)
                    values[part.pair, 2 * levels + level] += share * clicks[part.row, under] / total
        return Measured(values, self._read(graders, clickers))


def _by_row(pieces: Pieces, value: np.ndarray, n_rows: int) -> np.ndarray:
    """(R,) `value` (n,) of the pieces, weighted and summed by query."""
    return np.bincount(pieces.row, weights=pieces.weight * value, minlength=n_rows)


def _names(kinds: tuple[str, ...], suffixes: tuple[str, ...], levels: tuple[int, ...]) -> tuple[Column, ...]:
    return tuple(Column(f"{kind}_{s}", level) for kind in kinds for s, level in zip(suffixes, levels, strict=True))


@dataclass(frozen=True)
class Memory:
    """What the nearest past queries found, under the item's prefix of level l; mean over the stacks. `memory_l`: mean
    grade, weighted by the similarity of the queries, shrunk to the value of the prefix above and so, step by step, to
    the neighbours' mean; `evidence_l`: log(1 + weight) that it rests on; `clicks_l`: share of the neighbours'
    interactions, each neighbour counting as a whole. Grades and interactions have neighbours of their own.
    """

    neighbours: int
    name: str = "memory"
    twin: str | None = "memory_kernel"
    learns: Learns = "others"
    cost: str = (
        "stores L codes an item and stack, and the training feedback; a query finds its neighbours (B products of D "
        "numbers) and counts their feedback once, a pair is three look-ups a prefix"
    )

    def columns(self, levels: int) -> tuple[Column, ...]:
        by_level = tuple(range(1, levels + 1))
        return _names(("memory", "evidence", "clicks"), tuple(map(str, by_level)), by_level)

    def fit(self, shelf: Shelf, *, seed: int, arrays: Mapping[str, np.ndarray] | None = None) -> _FittedMemory:
        stacks = [prefixes(codes) for codes in shelf.stacks]
        return _FittedMemory(*_banks(shelf.feedback), self.neighbours, stacks)


def _banks(feedback: Feedback) -> tuple[Bank, Bank]:
    return Bank(feedback, graded=True), Bank(feedback, graded=False)


@dataclass(frozen=True)
class _FittedKernel(_Fitted):
    item_x: np.ndarray

    def measure(self, asked: Asked, pair_query: np.ndarray, pair_item: np.ndarray) -> Measured:
        graders, clickers = self.grades.near(asked, self.neighbours), self.clicks.near(asked, self.neighbours)
        n = len(BANDWIDTHS)
        values = np.zeros((len(pair_query), 3 * n), dtype=np.float32)
        for part in by_query(pair_query, _QUERY_CELLS):
            said, clicked = self.grades.pieces(graders, part.query), self.clicks.pieces(clickers, part.query)
            mean = self._neighbours_mean(said, len(part.query))
            total = np.maximum(_by_row(clicked, clicked.value, len(part.query)), 1e-9)
            for r in range(len(part.query)):
                pair = part.pair[part.row == r]
                x = self.item_x[pair_item[pair]]
                for near, summed in self._kernels(x, said, r, (np.ones(len(said.row)), said.value)):
                    weight, value = summed
                    values[pair, near] = (value + PSEUDO_COUNT * mean[r]) / (weight + PSEUDO_COUNT)
                    values[pair, n + near] = np.log1p(weight)
                for near, (clicks,) in self._kernels(x, clicked, r, (clicked.value,)):
                    values[pair, 2 * n + near] = clicks / total[r]
        return Measured(values, self._read(graders, clickers))

    def _kernels(
        self, x: np.ndarray, pieces: Pieces, row: int, values: tuple[np.ndarray, ...]
    ) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
        """For each bandwidth the kernel-weighted sums of `values` over one query's pieces, for items `x` (m, D)."""
        own = slice(*np.searchsorted(pieces.row, [row, row + 1]))
        items, at = np.unique(pieces.item[own], return_inverse=True)
        summed = [
            np.bincount(at.ravel(), weights=pieces.weight[own] * value[own], minlength=len(items)) for value in values
        ]
        near = x @ self.item_x[items].T - 1.0
        for b, bandwidth in enumerate(BANDWIDTHS):
            kernel = np.exp(near / bandwidth)
            yield b, tuple(kernel @ value.astype(np.float32) for value in summed)


_QUERY_CELLS = CELLS // 64
"""So that a part of the twin holds the feedback read by at most 64 queries."""


@dataclass(frozen=True)
class KernelMemory:
    """The same feedback of the same neighbours, pooled by the cosine of titles in place of the shared prefix, at three
    bandwidths."""

    neighbours: int
    name: str = "memory_kernel"
    twin: str | None = None
    learns: Learns = "others"
    cost: str = (
        "stores D float32 an item, and the training feedback; a pair is a product of D numbers for every item that the "
        "neighbours say something of"
    )

    def columns(self, levels: int) -> tuple[Column, ...]:
        suffixes = tuple(str(b + 1) for b in range(len(BANDWIDTHS)))
        return _names(("memory_kernel", "evidence_kernel", "clicks_kernel"), suffixes, (0,) * len(BANDWIDTHS))

    def fit(self, shelf: Shelf, *, seed: int, arrays: Mapping[str, np.ndarray] | None = None) -> _FittedKernel:
        return _FittedKernel(*_banks(shelf.feedback), self.neighbours, shelf.item_x)
