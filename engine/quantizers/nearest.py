"""The nearest code vector of each row: the one operation that every assignment, here and in k-means, spends its time on."""

from __future__ import annotations

import torch

CHUNK = 1024
"""Rows at once: their scores against 512 codes stay in the cache."""


def half_squares(vectors: torch.Tensor) -> torch.Tensor:
    """-|v|^2 / 2 (K,) of code vectors (K, d): with it, the greatest x . v + offset is the nearest v."""
    return vectors.square().sum(dim=1).mul_(-0.5)


def nearest(x: torch.Tensor, vectors: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """Code (N,) int64 of the greatest x . v + offset over code vectors (K, d), first of equals; no gradient."""
    code = torch.empty(len(x), dtype=torch.int64)
    with torch.no_grad():
        scores = torch.empty(min(len(x), CHUNK), len(vectors))
        for at in range(0, len(x), CHUNK):
            part = slice(at, at + CHUNK)
            code[part] = best(x[part], vectors, offset, scores)
    return code


def best(x: torch.Tensor, vectors: torch.Tensor, offset: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """The same of rows (B, d) that fit `scores` (at least B, K), which is written over; no gradient.

    The offset rides on the matrix product, memory is used again, and NumPy's argmax takes a tenth of the time of
    torch's: 1.2 times the bare products, where the plain expression took 2.2 times.
    """
    score = torch.addmm(offset, x, vectors.T, out=scores[: len(x)])
    return torch.from_numpy(score.numpy().argmax(axis=1))
