"""Seeded k-means (faiss), as it initialises codebooks on the residuals of a whole catalogue."""

from __future__ import annotations

import faiss
import numpy as np


def kmeans(
    x: np.ndarray, k: int, *, seed: int, iterations: int = 20, start: np.ndarray | None = None, redo: int = 1
) -> np.ndarray:
    """Centroids (k, d) float32 of the rows `x` (N, d), by Lloyd's algorithm.

    `start` (k, d) are the centroids to begin from, in place of random rows. Empty cells are split off large ones by
    faiss; with fewer rows than cells, rows are repeated and moved apart a little, so that k centroids always exist.
    At most 256 rows a cell are used (drawn by `seed`): more does not move a centroid.
    """
    x = np.ascontiguousarray(x, dtype=np.float32)
    if len(x) <= k:
        rng = np.random.default_rng(seed)
        extra = rng.integers(len(x), size=k - len(x))
        scale = 1e-3 * max(float(x.std()), 1e-6)
        jitter = rng.normal(scale=scale, size=(len(extra), x.shape[1])).astype(np.float32)
        return np.concatenate([x, x[extra] + jitter])
    # faiss seeds with a C int.
    model = faiss.Kmeans(x.shape[1], k, niter=iterations, seed=seed % 2**31, nredo=redo, min_points_per_centroid=1)
    model.train(x, init_centroids=None if start is None else np.ascontiguousarray(start, dtype=np.float32))
    return np.array(model.centroids, dtype=np.float32)


def balance(x: np.ndarray, centroids: np.ndarray, *, seed: int, iterations: int = 30, rate: float = 0.03) -> np.ndarray:
    """Moves `centroids` (k, d) so that the nearest-centroid cells of the rows `x` (N, d) hold more even shares.

    Lloyd's algorithm in which a cell pays for being larger than the even share and is paid for being smaller
    (frequency-sensitive competitive learning, Ahalt et al. 1990); `rate` is in units of the mean squared distance.
    The payments are gone at the end: rows go to their nearest centroid again. It also leaves poor local optima:
    distortion is usually no higher than that of plain k-means. Uses at most 256 rows a cell.
    """
    k = len(centroids)
    most = 256 * k
    rows = x if len(x) <= most else x[np.random.default_rng(seed).choice(len(x), size=most, replace=False)]
    found = centroids.astype(np.float32, copy=True)
    half_norms = (rows.astype(np.float64) ** 2).sum(axis=1).mean() / 2
    payment = np.zeros(k, dtype=np.float32)
    for _ in range(iterations):
        score = rows @ found.T - (found**2).sum(axis=1) / 2
        cell = (score - payment).argmax(axis=1)
        distortion = 2 * (half_norms - float(score[np.arange(len(rows)), cell].mean(dtype=np.float64)))
        count = np.bincount(cell, minlength=k)
        payment += np.float32(rate * distortion) * np.clip(count * k / len(rows) - 1, -1, 1).astype(np.float32)
        order = np.argsort(cell, kind="stable")
        used = np.flatnonzero(count)
        sums = np.add.reduceat(rows[order], (np.cumsum(count) - count)[used], axis=0)
        found[used] = sums / count[used, None]
    return found
