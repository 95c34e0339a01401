"""Memory: what became known of items for similar past queries, pooled by SID prefix; and its dense twin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.relevance.signals.feedback import Pieces
from engine.relevance.signals.prefixes import Prefixes, at_level, by_query, prefixes, summed
from engine.relevance.signals.protocol import Asked, Column, Learns, Measured, Shelf

PSEUDO_COUNT = 1.0
"""Grades of the value above (the parent prefix's, or the neighbours' mean) added to those under a prefix; 0.3 and 3 did
equally well there."""
BANDWIDTHS = (0.4, 0.2, 0.1)
"""Of the twin's kernels exp((cosine of titles - 1) / bandwidth): as many resolutions as a SID has levels."""


def _neighbours_mean(said: Pieces, n_rows: int) -> np.ndarray:
    """(R,) weighted mean grade of each query's neighbours; one half where none says anything. The mean of all feedback
    would hold the query's own."""
    weight, value = said.total(1.0, n_rows), said.total(said.value, n_rows)
    return np.where(weight > 0, value / np.maximum(weight, 1e-9), 0.5)


@dataclass(frozen=True)
class _FittedMemory:
    stacks: list[Prefixes]

    def measure(self, asked: Asked, pair_query: np.ndarray, pair_item: np.ndarray) -> Measured:
        levels = len(self.stacks[0].size)
        values = np.zeros((len(pair_query), 3 * levels), dtype=np.float32)
        for part in by_query(pair_query):
            item, n_rows = pair_item[part.pair], len(part.query)
            said, clicked = asked.near.grades.pieces(part.query), asked.near.clicks.pieces(part.query)
            given = (said.weight, said.weight * said.value)
            mean = _neighbours_mean(said, n_rows)[part.row]
            total = np.maximum(clicked.total(clicked.value, n_rows), 1e-9)[part.row]
            for stack in self.stacks:
                above = mean
                for level in range(min(levels, len(stack.size))):
                    number, size = stack.of_item[level], stack.size[level]
                    share, under = 1.0 / len(at_level(self.stacks, level)), part.row * size + number[item]
                    weight, value = summed(said.row * size + number[said.item], given, under)
                    above = (value + PSEUDO_COUNT * above) / (weight + PSEUDO_COUNT)
                    key = clicked.row * size + number[clicked.item]
                    (clicks,) = summed(key, (clicked.weight * clicked.value,), under)
                    values[part.pair, level] += share * above
                    values[part.pair, levels + level] += share * np.log1p(weight)
                    values[part.pair, 2 * levels + level] += share * clicks / total
        return Measured(values, asked.near.read())


def _names(kinds: tuple[str, ...], suffixes: tuple[str, ...], levels: tuple[int, ...]) -> tuple[Column, ...]:
    return tuple(Column(f"{kind}_{s}", level) for kind in kinds for s, level in zip(suffixes, levels, strict=True))


@dataclass(frozen=True)
class Memory:
    """What the nearest past queries found, under the item's prefix of level l; mean over the stacks. `memory_l`: mean
    grade, weighted by the similarity of the queries, shrunk to the value of the prefix above and so, step by step, to
    the neighbours' mean; `evidence_l`: log(1 + weight) that it rests on; `clicks_l`: share of the neighbours'
    interactions, each neighbour counting as a whole. Grades and interactions have neighbours of their own.
    """

    name: str = "memory"
    twin: str | None = "memory_kernel"
    learns: Learns = "others"
    cost: str = (
        "stores L codes an item and stack, and the training feedback; a query finds its neighbours (B products of D "
        "numbers, once for all signals) and counts their feedback, a pair is three look-ups a prefix"
    )

    def columns(self, levels: int) -> tuple[Column, ...]:
        by_level = tuple(range(1, levels + 1))
        return _names(("memory", "evidence", "clicks"), tuple(map(str, by_level)), by_level)

    def fit(self, shelf: Shelf) -> _FittedMemory:
        return _FittedMemory([prefixes(codes) for codes in shelf.stacks])


@dataclass(frozen=True)
class _FittedKernel:
    item_x: np.ndarray

    def measure(self, asked: Asked, pair_query: np.ndarray, pair_item: np.ndarray) -> Measured:
        n = len(BANDWIDTHS)
        values = np.zeros((len(pair_query), 3 * n), dtype=np.float32)
        for part in by_query(pair_query):
            said, clicked = asked.near.grades.pieces(part.query), asked.near.clicks.pieces(part.query)
            mean = _neighbours_mean(said, len(part.query))
            total = np.maximum(clicked.total(clicked.value, len(part.query)), 1e-9)
            for r in range(len(part.query)):
                pair = part.pair[part.row == r]
                x = self.item_x[pair_item[pair]]
                for near, (weight, value) in self._kernels(x, said, r, (np.ones(len(said.row)), said.value)):
                    values[pair, near] = (value + PSEUDO_COUNT * mean[r]) / (weight + PSEUDO_COUNT)
                    values[pair, n + near] = np.log1p(weight)
                for near, (clicks,) in self._kernels(x, clicked, r, (clicked.value,)):
                    values[pair, 2 * n + near] = clicks / total[r]
        return Measured(values, asked.near.read())

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


@dataclass(frozen=True)
class KernelMemory:
    """The same feedback of the same neighbours, pooled by the cosine of titles in place of the shared prefix, at three
    bandwidths."""

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

    def fit(self, shelf: Shelf) -> _FittedKernel:
        return _FittedKernel(shelf.item_x)
