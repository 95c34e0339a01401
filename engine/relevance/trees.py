"""The gradient-boosted ranker without its training library: a line and a forest of plain `<=` splits in float64 numpy.

The pipeline, the dashboard and the attribution (`tree_attribution.py`) evaluate boosted rankers through this module;
it needs nothing but the rows of table `ranker_weights`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from engine.errors import ModelError

_CHUNK = 65_536
_FEW = 400
"""Up to this many rows, walking down all trees at once is faster than one tree after the other."""
_TOGETHER = 6
"""Steps that all of them take before those that stand on a leaf are left behind."""


@dataclass(frozen=True, eq=False)
class TreeScorer:
    """A sum of a line and of regression trees that predicts a grade.

    Node arrays (N,), trees one after another, each in preorder: `feature` int64, the column that a node splits on (-1:
    a leaf); `threshold`; `left`, `right` int64, the children (-1: none), left where column <= threshold; `value`, what
    a leaf adds. `root` (T,) int64, the first node of each tree. `slope` (F,), what a unit of each column adds, besides;
    zeros where trees alone were trained. `low`, `high`: the grades' range.
    """

    columns: tuple[str, ...]
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    root: np.ndarray
    slope: np.ndarray
    low: float
    high: float

    @cached_property
    def cuts(self) -> tuple[np.ndarray, ...]:
        """Per column, the ascending thresholds at which the forest splits it."""
        return tuple(np.unique(self.threshold[self.feature == f]) for f in range(len(self.columns)))

    @cached_property
    def cut(self) -> np.ndarray:
        """(N,) uint16: which of its column's `cuts` a node splits at; 0 at leaves."""
        cut = np.zeros(len(self.feature), dtype=np.uint16)
        for f, thresholds in enumerate(self.cuts):
            nodes = self.feature == f
            cut[nodes] = np.searchsorted(thresholds, self.threshold[nodes])
        return cut

    def cells(self, dense: np.ndarray) -> np.ndarray:
        """(F, M) uint16: how many of a column's cuts lie below each value of `dense` (M, F).

        All that the forest knows of a row: a node with cut c sends it left exactly where cell <= c.
        """
        dense = np.asarray(dense, dtype=np.float64)
        if dense.ndim != 2 or dense.shape[1] != len(self.columns):
            raise ModelError(
                f"the ranker takes columns {', '.join(self.columns)}; the dense block has shape {dense.shape}"
            )
        out = np.zeros((len(self.columns), len(dense)), dtype=np.uint16)
        for f, thresholds in enumerate(self.cuts):
            if len(thresholds):
                out[f] = np.searchsorted(thresholds, dense[:, f], side="left")
        return out

    def score(self, dense: np.ndarray) -> np.ndarray:
        """(M,) float64 predicted grade, not clipped, of `dense` (M, F); NaN where a column is NaN."""
        dense = np.asarray(dense, dtype=np.float64)
        out = np.zeros(len(dense))
        for f in np.flatnonzero(self.slope):  # column by column: a score does not depend on the rows beside it
            out += self.slope[f] * dense[:, f]
        for start in range(0, len(dense), _CHUNK):
            part = slice(start, start + _CHUNK)
            cells = self.cells(dense[part])
            if cells.shape[1] <= _FEW:
                out[part] = self._descend(cells, out[part])
                continue
            for first, last in pairwise([*self.root.tolist(), len(self.feature)]):
                out[part] += self.value[first:last][self._leaf(cells, first, first, np.min_scalar_type(last - first))]
        out[np.isnan(dense).any(axis=1)] = np.nan
        return out

    @cached_property
    def _next(self) -> np.ndarray:
        """(2 N,) the node after node n, at 2 n on the left and at 2 n + 1 on the right; a leaf stays where it is."""
        stay = np.arange(len(self.feature))
        sides = [np.where(self.feature < 0, stay, side) for side in (self.left, self.right)]
        return np.stack(sides, axis=1).ravel()

    def _descend(self, cells: np.ndarray, line: np.ndarray) -> np.ndarray:
        """(M,) `line` and the leaves that rows of `cells` reach, all trees at once: fast for few rows."""
        width = cells.shape[1]
        flat, start = cells.ravel(), np.maximum(self.feature, 0) * width
        row = np.tile(np.arange(width), len(self.root))
        node = np.repeat(self.root, width)

        def below(node: np.ndarray, row: np.ndarray) -> np.ndarray:
            return self._next.take(2 * node + (flat.take(start.take(node) + row) > self.cut.take(node)))

        for _ in range(_TOGETHER):
            node = below(node, row)
        deep = np.flatnonzero(self.feature.take(node) >= 0)
        while len(deep):
            node[deep] = below(node[deep], row[deep])
            deep = deep[self.feature.take(node[deep]) >= 0]
        # One after the other, as for many rows: a score does not depend on how many rows are scored with it.
        leaves = self.value.take(node).reshape(len(self.root), width)
        return np.cumsum(np.vstack([line, leaves]), axis=0)[-1]

    def _leaf(self, cells: np.ndarray, node: int, first: int, kind: np.dtype) -> np.ndarray:
        """(M,) or () of dtype `kind`: the leaf that rows of `cells` reach below `node`, counted from the tree's `first`."""
        f = self.feature[node]
        if f < 0:
            return np.asarray(node - first, dtype=kind)
        left = self._leaf(cells, int(self.left[node]), first, kind)
        right = self._leaf(cells, int(self.right[node]), first, kind)
        # Chooses without branches: ten times as fast as np.where.
        return right ^ ((left ^ right) * (cells[f] <= self.cut[node]))

    def expected_grade(self, score: np.ndarray) -> np.ndarray:
        """(M,) the score within the range of the grades: trees may add up to a little more."""
        return np.clip(np.asarray(score, dtype=np.float64), self.low, self.high)

    def arrays(self) -> dict[str, np.ndarray]:
        """Named float64 arrays (integers too), the rows of `ranker_weights`; with `columns` they restore the scorer."""
        names = ("feature", "threshold", "left", "right", "value", "root", "slope")
        named = {name: np.asarray(getattr(self, name), dtype=np.float64) for name in names}
        return {**named, "grade_range": np.array([self.low, self.high])}

    @staticmethod
    def from_arrays(arrays: Mapping[str, np.ndarray], columns: Sequence[str]) -> TreeScorer:
        """The inverse of `arrays`. Raises ModelError where an array is missing or the columns do not fit."""
        try:
            whole = {name: np.asarray(arrays[name]).astype(np.int64) for name in ("feature", "left", "right", "root")}
            real = {
                name: np.asarray(arrays[name], dtype=np.float64)
                for name in ("threshold", "value", "slope", "grade_range")
            }
        except KeyError as missing:
            raise ModelError(f"the ranker's weights lack the array {missing}") from None
        low, high = real.pop("grade_range").tolist()
        if whole["feature"].max(initial=-1) >= len(columns) or len(real["slope"]) != len(columns):
            raise ModelError(f"the ranker's trees or its line read other columns than {', '.join(columns)}")
        return TreeScorer(tuple(columns), **whole, **real, low=low, high=high)
