"""Vectors compared by cosine, with results that do not depend on how many are compared at once.

A float32 matrix product has other last bits for other numbers of rows. So it only proposes: whatever comes within
`SLACK` of the k-th best is compared again, pair by pair in float64, and that decides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

EXACT = 200_000
"""Up to so many vectors each is compared; beyond, the inverted lists of the nearest k-means cells are (IVF-Flat)."""
GRAIN = 1e-6
"""Cosines closer than this tie: equal titles do, whatever the batch in which they were encoded."""
SLACK = 4 * GRAIN
"""A grain, and twice the error of a float32 product of unit vectors, with room."""
CELLS = 8_000_000
"""Cosines held at once (32 MB)."""
_MOST_LISTS = 4096
_PER_LIST = 40
"""Vectors that the k-means is trained on, by list: the fewest that faiss does not warn of."""
_ROUNDS = 10
_PROBED = 1 / 16
"""Share of the lists that a query reads."""
_SPARE = 64
"""Neighbours that the lists give beyond those asked, so that float64 decides between near ties."""
_CHUNK = 8_192


def products(a: np.ndarray, b: np.ndarray, pair_a: np.ndarray, pair_b: np.ndarray) -> np.ndarray:
    """(M,) float64 inner products of the rows `a[pair_a]` and `b[pair_b]`, each summed by itself."""
    out = np.empty(len(pair_a))
    for start in range(0, len(pair_a), _CHUNK):
        part = slice(start, start + _CHUNK)
        out[part] = np.einsum("md,md->m", a[pair_a[part]].astype(np.float64), b[pair_b[part]].astype(np.float64))
    return out


class Nearest(NamedTuple):
    """The vectors nearest to each query, best first, ties by position."""

    row: np.ndarray  # (Q, k) int64; -1 pads.
    cosine: np.ndarray  # (Q, k) float64; -inf pads.


class VectorIndex:
    """N unit vectors to be searched by cosine: exactly up to `EXACT` of them, by inverted lists beyond."""

    def __init__(self, x: np.ndarray, *, saved: Path | None = None) -> None:
        """`x` (N, D) float32. The inverted lists are those that `save` wrote to `saved`, or made here."""
        self.x = x
        self._lists: Any = None  # faiss annotates its C++ signatures, not those of Python
        if len(x) > EXACT:
            self._lists = _inverted_lists(x) if saved is None else _read(saved)
            assert (self._lists.ntotal, self._lists.d) == x.shape
            self._centres = self._lists.quantizer.reconstruct_n(0, self._lists.nlist)

    @property
    def settings(self) -> str:
        """How it is searched, in a line."""
        if self._lists is None:
            return "exact"
        lists, probed = self._lists.nlist, self._lists.nprobe
        trained = min(_PER_LIST * lists, len(self.x))
        return f"IVF-Flat: {probed:,} of {lists:,} lists read, trained on {trained:,} vectors, seed 0"

    def nearest(self, query_x: np.ndarray, k: int) -> Nearest:
        """The min(k, N) nearest to each of `query_x` (Q, D) float32 unit rows; inverted lists may miss some."""
        k = min(k, len(self.x))
        if self._lists is None:
            return _exact(query_x, self.x, k)
        # faiss finds the lists by a matrix product where there are many queries: that is done here in place of it.
        near = _exact(query_x, self._centres, self._lists.nprobe)
        _, found = self._lists.search_preassigned(
            np.ascontiguousarray(query_x, dtype=np.float32), k + _SPARE, near.row, near.cosine.astype(np.float32)
        )
        row, place = np.nonzero(found >= 0)
        return _decided(query_x, self.x, Proposed(row, found[row, place]), k)

    def recall(self, query_x: np.ndarray, k: int) -> float:
        """Share of the true k nearest of `query_x` (Q, D) that are found; compares with every vector."""
        found, true = self.nearest(query_x, k).row, _exact(query_x, self.x, min(k, len(self.x))).row
        return float(np.mean([np.isin(t, f).mean() for t, f in zip(true, found, strict=True)]))

    def save(self, path: Path) -> None:
        """Write the inverted lists, if there are any, for `saved`."""
        import faiss

        if self._lists is not None:
            faiss.write_index(self._lists, str(path))


class Proposed(NamedTuple):
    """Pairs to be decided on, sorted by query: `query` and `row`, each (M,) int64."""

    query: np.ndarray
    row: np.ndarray


def _exact(query_x: np.ndarray, x: np.ndarray, k: int) -> Nearest:
    if k == 0:
        return Nearest(np.empty((len(query_x), 0), dtype=np.int64), np.empty((len(query_x), 0)))
    step = max(1, CELLS // len(x))
    parts = [_decided(part, x, _propose(part @ x.T, k), k) for part in _blocks(query_x, step)]
    return Nearest(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _blocks(x: np.ndarray, step: int) -> list[np.ndarray]:
    return [x[start : start + step] for start in range(0, max(len(x), 1), step)]


def _propose(cosine: np.ndarray, k: int) -> Proposed:
    """The cells of `cosine` (R, N) float32 that may be among the k best of their row."""
    n = cosine.shape[1]
    least = np.partition(cosine, n - k, axis=1)[:, n - k] - np.float32(SLACK)
    return Proposed(*np.divmod(np.flatnonzero(cosine >= least[:, None]), n))


def _decided(query_x: np.ndarray, x: np.ndarray, proposed: Proposed, k: int) -> Nearest:
    cosine = products(query_x, x, proposed.query, proposed.row)
    order = np.lexsort((proposed.row, -np.rint(cosine / GRAIN), proposed.query))
    query = proposed.query[order]
    place = np.arange(len(query)) - np.searchsorted(query, query)
    order, query, place = order[place < k], query[place < k], place[place < k]
    found = Nearest(np.full((len(query_x), k), -1, dtype=np.int64), np.full((len(query_x), k), -np.inf))
    found.row[query, place], found.cosine[query, place] = proposed.row[order], cosine[order]
    return found


def _inverted_lists(x: np.ndarray) -> Any:
    import faiss

    n, dim = x.shape
    lists = min(int(4 * np.sqrt(n)), _MOST_LISTS)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.niter = 0, _ROUNDS
    index.nprobe = max(1, round(_PROBED * lists))
    sample = np.sort(np.random.default_rng(0).choice(n, min(_PER_LIST * lists, n), replace=False))
    index.train(np.ascontiguousarray(x[sample], dtype=np.float32))
    for start in range(0, n, EXACT):
        index.add(np.ascontiguousarray(x[start : start + EXACT], dtype=np.float32))
    return index


def _read(path: Path) -> Any:
    """Left on disk and mapped, so that processes share it."""
    import faiss

    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
