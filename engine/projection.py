"""The map: UMAP fitted on landmarks stratified by category, every other item placed among its nearest landmarks."""

from __future__ import annotations

import json
import warnings
from typing import Any, NamedTuple

import numpy as np

from engine.config import ProjectionConfig
from engine.progress import Progress, silent
from engine.threads import one_thread

MIN_DIST = 0.1
EPOCHS = 200
_SAMPLE = 1_000
_MEASURED = 20_000
_PLACEMENT_NEIGHBOURS = 5
_BLOCK = 20_000


class Projection(NamedTuple):
    """Where every item lies on the map."""

    xy: np.ndarray  # (N, 2) float32.
    landmark: np.ndarray  # (N,) bool: UMAP itself laid it; the others were placed.
    info: dict[str, Any]
    """The columns of `projection_info`: seed, landmarks, parameters (JSON), trustworthiness, neighbour_preservation,
    n_sampled, neighbours."""


def stratified_sample(strata: np.ndarray, n: int, *, seed: int) -> np.ndarray:
    """Positions (n,) drawn from every stratum in proportion to its size, one at least where n allows; sorted.

    Within a stratum the draw is uniform; fractions of a place go to the largest remainders.
    """
    strata = np.asarray(strata)
    if n >= len(strata):
        return np.arange(len(strata))
    _, group, size = np.unique(strata, return_inverse=True, return_counts=True)
    quota = np.maximum(size * n / len(strata), 1.0 if len(size) <= n else 0.0)
    quota *= n / quota.sum()
    take = np.minimum(np.floor(quota).astype(np.int64), size)
    if len(size) <= n:
        take = np.maximum(take, 1)
    remainder = np.argsort(-(quota - take), kind="stable")
    for place in range(2 * len(size)):
        left = n - take.sum()
        if left == 0:
            break
        at = remainder[place % len(size)] if left > 0 else remainder[-1 - place % len(size)]
        if left > 0 and take[at] < size[at]:
            take[at] += 1
        elif left < 0 and take[at] > 1:
            take[at] -= 1
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(strata)), group))
    start = np.concatenate([[0], np.cumsum(size)[:-1]])
    within = np.arange(len(strata)) - start[group[order]]
    return np.sort(order[within < take[group[order]]])


def project(
    latent: np.ndarray,
    strata: np.ndarray,
    config: ProjectionConfig,
    *,
    seed: int,
    progress: Progress = silent,
) -> Projection:
    """The map of the items' latent vectors.

    Args:
        latent: (N, d) vectors (Euclidean).
        strata: (N,) category of each item (-1 for none counts as one more).
        config: landmarks and neighbours.
        seed: of the draw of landmarks and of UMAP; equal input gives equal coordinates (one thread).

    A placed item is the mean of its 5 nearest landmarks' positions, weighted by exp(-((d - d_nearest) / (mean d / 4))^2): it
    cannot fall outside them. How faithful the map is comes with it: trustworthiness (Venna and Kaski 2001) and the
    share of true nearest neighbours that are still among the nearest on the map, on a sample.
    """
    latent = np.ascontiguousarray(latent, dtype=np.float32)
    n = len(latent)
    chosen = stratified_sample(strata, config.landmarks, seed=seed)
    neighbours = int(min(config.neighbors, max(len(chosen) - 1, 1)))
    progress(0, 3)
    fitted = _fit(latent[chosen], neighbours, seed)
    progress(1, 3)
    landmark = np.zeros(n, dtype=bool)
    landmark[chosen] = True
    xy = np.empty((n, 2), dtype=np.float32)
    xy[chosen] = fitted
    rest = np.flatnonzero(~landmark)
    for start in range(0, len(rest), _BLOCK):
        block = rest[start : start + _BLOCK]
        xy[block] = _placed(latent[chosen], fitted, latent[block])
    progress(2, 3)
    faith = _faithfulness(latent, xy, np.asarray(strata), neighbours, seed)
    progress(3, 3)
    parameters = {
        "method": "umap",
        "n_neighbors": neighbours,
        "min_dist": MIN_DIST,
        "n_epochs": EPOCHS,
        "metric": "euclidean",
        "init": "pca",
        "placement_neighbours": _PLACEMENT_NEIGHBOURS,
    }
    info = {"seed": seed, "landmarks": len(chosen), "parameters": json.dumps(parameters, sort_keys=True), **faith}
    return Projection(xy, landmark, info)


def _fit(x: np.ndarray, neighbours: int, seed: int) -> np.ndarray:
    """(M, 2) UMAP of the landmarks; too few for a graph (under 4) lie on a line."""
    if len(x) < 4:
        return np.column_stack([np.arange(len(x)), np.zeros(len(x))]).astype(np.float32)
    import umap

    # UMAP counts a point as its own first neighbour. Exact neighbours from faiss replace its approximate search.
    k = min(max(neighbours, 2), len(x) - 2)
    distance, position = _nearest(x, x, k + 1)
    own = np.arange(len(x))
    others = _mask_own(position, own)
    graph = np.column_stack([own, position[others].reshape(len(x), k)])
    lengths = np.column_stack([np.zeros(len(x), dtype=np.float32), distance[others].reshape(len(x), k)])
    # Spectral initialisation took minutes on a disconnected graph; more than one thread would not repeat itself.
    model = umap.UMAP(
        n_neighbors=k + 1,
        n_epochs=EPOCHS,
        min_dist=MIN_DIST,
        init="pca",
        random_state=seed,
        n_jobs=1,
        precomputed_knn=(graph, lengths),
    )
    with warnings.catch_warnings(), one_thread():  # numba leaves its own number of threads to torch
        warnings.filterwarnings("ignore", message="precomputed_knn")  # says that `transform` is off: it is not used
        return np.asarray(model.fit_transform(x), dtype=np.float32)


def _nearest(base: np.ndarray, x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Euclidean distances and positions in `base` of the k nearest of each row of x."""
    import faiss

    index = faiss.IndexFlatL2(base.shape[1])
    index.add(np.ascontiguousarray(base, dtype=np.float32))
    squared, position = index.search(np.ascontiguousarray(x, dtype=np.float32), k)
    return np.sqrt(np.maximum(squared, 0.0)), position


def _placed(landmarks: np.ndarray, positions: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(B, 2) weighted mean position of each row's nearest landmarks."""
    distance, nearest = _nearest(landmarks, x, min(_PLACEMENT_NEIGHBOURS, len(landmarks)))
    scale = np.maximum(distance.mean(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    # Measured from the nearest, as UMAP does: one landmark far closer than the others takes the item to itself.
    weight = np.exp(-(((distance - distance[:, :1]) / (0.25 * scale)) ** 2))
    weight /= weight.sum(axis=1, keepdims=True)
    return (weight[:, :, None] * positions[nearest]).sum(axis=1).astype(np.float32)


def _faithfulness(latent: np.ndarray, xy: np.ndarray, strata: np.ndarray, k: int, seed: int) -> dict[str, Any]:
    """Trustworthiness within a stratified sample, and neighbour preservation of the sample among all items."""
    sample = stratified_sample(strata, min(_SAMPLE, len(latent)), seed=seed + 1)
    out: dict[str, Any] = {"n_sampled": len(sample), "neighbours": k}
    if len(sample) < 2 * k + 2:
        return {**out, "trustworthiness": float("nan"), "neighbour_preservation": float("nan")}
    from sklearn.manifold import trustworthiness

    out["trustworthiness"] = float(trustworthiness(latent[sample], xy[sample], n_neighbors=k))
    out["neighbour_preservation"] = float(np.mean(kept_neighbours(latent, xy, sample, k)))
    return out


def kept_neighbours(latent: np.ndarray, xy: np.ndarray, sample: np.ndarray, k: int) -> np.ndarray:
    """(S,) share of the k nearest neighbours in `latent` (N, d) that are among the k nearest on the map (N, 2) too, of the
    items at positions `sample` (S,). Needs more than k items."""
    true = _others(_nearest(latent, latent[sample], k + 1)[1], sample)
    shown = _others(_nearest(xy, xy[sample], k + 1)[1], sample)
    kept = [len(np.intersect1d(a, b, assume_unique=True)) for a, b in zip(true, shown, strict=True)]
    return np.array(kept, dtype=np.float32) / k


class Faithful(NamedTuple):
    """How faithful the map is around single items."""

    sample: np.ndarray
    """(S,) positions of the items measured: all of them, or a stratified sample of a large catalogue."""
    kept: np.ndarray
    """(S,) as `kept_neighbours`."""


def faithful(latent: np.ndarray, xy: np.ndarray, strata: np.ndarray, k: int, *, seed: int) -> Faithful:
    """Neighbours kept, item by item, of at most 20,000 items drawn by stratum; of nobody where k is not less than N - 1."""
    if len(latent) < k + 2:
        return Faithful(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
    latent = np.ascontiguousarray(latent, dtype=np.float32)
    sample = stratified_sample(np.asarray(strata), min(_MEASURED, len(latent)), seed=seed + 2)
    return Faithful(sample, kept_neighbours(latent, xy, sample, k))


def _mask_own(nearest: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(S, k+1) bool, k True a row: without the item itself, or without the last where duplicates hid it."""
    keep = nearest != own[:, None]
    keep[keep.all(axis=1), -1] = False
    return keep


def _others(nearest: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(S, k) the neighbours from (S, k+1), each item itself left out."""
    return nearest[_mask_own(nearest, own)].reshape(len(own), -1)
