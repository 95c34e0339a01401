"""The trie of semantic identifiers that exist in a catalogue, as flat arrays.

Nodes of one depth are numbered in lexicographic order of their prefixes, so the children of a node are a
contiguous run of the next depth: one offset array per depth (compressed sparse rows) holds the whole tree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np


class Children(NamedTuple):
    """The C children of R nodes, one node's after the other's."""

    first: np.ndarray  # (R + 1,) int64: node r has the children first[r] .. first[r + 1] - 1.
    row: np.ndarray  # (C,) int64: r of each child.
    code: np.ndarray  # (C,) int64: code of each child at its level.
    node: np.ndarray  # (C,) int64: number of each child among the nodes of its depth.


@dataclass(frozen=True, eq=False)
class SidTrie:
    """Every SID of a catalogue; depth 0 is the root (one node), depth l holds the prefixes of level l."""

    sizes: tuple[int, ...]  # Codes per level, used or not.
    code: tuple[np.ndarray, ...]  # L arrays (n_l,) int64: the last code of each prefix of level l.
    first_child: tuple[np.ndarray, ...]
    """L arrays (n_l + 1,) int64, depths 0..L-1: node i's children are first_child[i] .. first_child[i + 1] - 1."""
    items: tuple[np.ndarray, ...]  # L + 1 arrays (n_l,) int64, depths 0..L: items under each node.
    fingerprint: str  # sha256 of the sizes and the sorted distinct SIDs: two tries that accept the same SIDs share it.

    @staticmethod
    def build(codes: np.ndarray, sizes: Sequence[int]) -> SidTrie:
        """The trie of `codes` (N, L) int64, one row an item; equal rows become one leaf that counts them."""
        codes = np.asarray(codes, dtype=np.int64)
        n_codes = tuple(int(size) for size in sizes)
        assert codes.ndim == 2, f"codes are (N, L), not {codes.shape}"
        assert len(codes) > 0, "a trie needs an item"
        assert codes.shape[1] == len(n_codes) >= 1, f"{codes.shape[1]} levels of codes, {len(n_codes)} sizes"
        assert (codes >= 0).all(), "codes are not negative"
        assert (codes < np.asarray(n_codes)).all(), f"codes are below the sizes {n_codes}"

        sids, counts = np.unique(codes, axis=0, return_counts=True)
        code: list[np.ndarray] = []
        first_child: list[np.ndarray] = []
        items = [np.array([len(codes)])]
        above = np.zeros(len(sids), dtype=np.int64)  # the node of the previous depth each sid passes through
        for level in range(sids.shape[1]):
            starts_node = np.ones(len(sids), dtype=bool)
            starts_node[1:] = (above[1:] != above[:-1]) | (sids[1:, level] != sids[:-1, level])
            start = np.flatnonzero(starts_node)
            code.append(sids[start, level])
            fan_out = np.bincount(above[start], minlength=len(items[-1]))
            first_child.append(np.concatenate([[0], np.cumsum(fan_out)]).astype(np.int64))
            items.append(np.add.reduceat(counts, start).astype(np.int64))
            above = np.cumsum(starts_node) - 1
        digest = hashlib.sha256(np.asarray(n_codes, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(sids, dtype="<i8").tobytes())
        return SidTrie(n_codes, tuple(code), tuple(first_child), tuple(items), digest.hexdigest())

    @property
    def levels(self) -> int:
        """L."""
        return len(self.sizes)

    @property
    def n_sids(self) -> int:
        """Distinct SIDs."""
        return len(self.code[-1])

    @cached_property
    def sids(self) -> np.ndarray:
        """(n_sids, L) int64, in lexicographic order."""
        return self.prefixes(self.levels)

    def prefixes(self, level: int) -> np.ndarray:
        """(n_level, level) int64: the prefixes of that level (1-based), in node order."""
        columns = np.empty((len(self.code[level - 1]), level), dtype=np.int64)
        node = np.arange(len(columns))
        for depth in range(level - 1, -1, -1):
            columns[:, depth] = self.code[depth][node]
            node = np.searchsorted(self.first_child[depth], node, side="right") - 1
        return columns

    def children(self, level: int, nodes: np.ndarray) -> Children:
        """The children at `level` (1-based) of `nodes` (R,) of the depth above; a node of -1 has none."""
        offsets = self.first_child[level - 1]
        start = offsets[nodes]
        fan_out = np.where(nodes < 0, 0, offsets[nodes + 1] - start)
        first = np.zeros(len(nodes) + 1, dtype=np.int64)
        np.cumsum(fan_out, out=first[1:])
        row = np.repeat(np.arange(len(nodes)), fan_out)
        node = np.arange(first[-1]) + (start - first[:-1])[row]
        return Children(first, row, self.code[level - 1][node], node)

    def descend(self, level: int, nodes: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """The child at `level` (1-based) with `codes` (R,) of each of `nodes` (R,); -1 where there is none."""
        size = self.sizes[level - 1]
        keys = self._keys[level - 1]
        known = (nodes >= 0) & (codes >= 0) & (codes < size)
        wanted = np.where(known, nodes * size + codes, 0)
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(known & (keys[found] == wanted), found, -1)

    def find(self, prefixes: np.ndarray) -> np.ndarray:
        """Node numbers (R,) of `prefixes` (R, l), 1 <= l <= L; -1 for a prefix that no item has."""
        nodes = np.zeros(len(prefixes), dtype=np.int64)
        for level in range(1, prefixes.shape[1] + 1):
            nodes = self.descend(level, nodes, prefixes[:, level - 1])
        return nodes

    def n_items(self, prefixes: np.ndarray) -> np.ndarray:
        """Items under each of `prefixes` (R, l), int64; 0 for a prefix that no item has."""
        prefixes = np.asarray(prefixes, dtype=np.int64)
        nodes = self.find(prefixes)
        return np.where(nodes >= 0, self.items[prefixes.shape[1]][nodes], 0)

    @cached_property
    def _keys(self) -> tuple[np.ndarray, ...]:
        """Per level, (parent node, code) of each node as one ascending integer, for binary search."""
        return tuple(
            np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)) * size + code
            for size, code, offsets in zip(self.sizes, self.code, self.first_child, strict=True)
        )
