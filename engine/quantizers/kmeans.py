"""Seeded k-means (faiss) and its balancing, as they set codebooks on the residuals of a whole catalogue."""

from __future__ import annotations

import faiss
import numpy as np
import torch

from engine.quantizers.nearest import half_squares, nearest


def kmeans(
    x: np.ndarray, k: int, *, seed: int, iterations: int = 20, start: np.ndarray | None = None, redo: int = 1
) -> np.ndarray:
    """Centroids (k, d) float32 of the rows `x` (N, d), by Lloyd's algorithm from k-means++ starts.

    `start` (k, d) are the centroids to begin from, in place of drawn rows. Empty cells are split off large ones by
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
    model = faiss.Kmeans(
        x.shape[1], k, niter=iterations, seed=seed % 2**31, nredo=redo, min_points_per_centroid=1,
        init_method=faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS,
    )  # fmt: skip
    model.train(x, init_centroids=None if start is None else np.ascontiguousarray(start, dtype=np.float32))
    return np.array(model.centroids, dtype=np.float32)


def balance(x: np.ndarray, centroids: np.ndarray, *, seed: int, iterations: int = 20, rate: float = 0.03) -> np.ndarray:
    """Moves `centroids` (k, d) so that the nearest-centroid cells of the rows `x` (N, d) hold more even shares.

    Lloyd's algorithm in which a row pays a cell `rate` x mean squared distance x log(share of the cell / even share)
    (frequency-sensitive competitive learning, Ahalt et al. 1990); the payments are gone at the end. It also leaves
    poor local optima. Measured on 7.6k real titles from six random starts, k = 8: perplexity / k .41-.71 became
    .80-.93 and distortion fell by 2 %; k = 256: .51 became .64. A rate of .1 or more oscillates. At most 256 rows a
    cell are used, drawn by `seed`.
    """
    k = len(centroids)
    rows = x if len(x) <= 256 * k else x[np.random.default_rng(seed).choice(len(x), size=256 * k, replace=False)]
    found = np.array(centroids, dtype=np.float32)
    payment = np.zeros(k, dtype=np.float32)
    x_rows = torch.from_numpy(rows)
    scale = 0.0
    for iteration in range(iterations):
        cells = torch.from_numpy(found)
        cell = nearest(x_rows, cells, half_squares(cells) - torch.from_numpy(payment)).numpy()
        if iteration == 0:
            scale = rate * float(np.square(rows - found[cell]).sum(axis=1).mean(dtype=np.float64))
        count = np.bincount(cell, minlength=k)
        uneven = np.log(np.maximum(count, 0.5) * k / len(rows))
        # Half of the old payment is kept: cells that swap their rows every round would never settle.
        payment = (0.5 * payment + 0.5 * scale * uneven).astype(np.float32)
        sums = torch.zeros(k, rows.shape[1]).index_add_(0, torch.from_numpy(cell), x_rows).numpy()
        used = count > 0
        found[used] = sums[used] / count[used, None].astype(np.float32)
    return found
