"""The contrastive quantizer itself: two projections, one decoder, shared residual codebooks; saving and loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from engine.quantizers import storage
from engine.quantizers.protocol import Known, Quantized
from engine.quantizers.residual import ResidualCodebooks

KIND = "contrastive"


class Projection(nn.Linear):
    """Frozen embedding (B, D) -> unit latent (B, d), linear.

    A hidden layer cost twice the time of a step and was no better for held-out queries; unit length keeps the loss
    from being lowered by shrinking.
    """

    def start(self, axes: torch.Tensor, mean: torch.Tensor) -> None:
        """Starts as the projection of x - mean onto `axes` (d, D)."""
        with torch.no_grad():
            self.weight.copy_(axes)
            self.bias.copy_(-axes @ mean)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.normalize(super().forward(x), dim=1)


class ContrastiveQuantizer(storage.StoredModule):
    """DSIRM's quantizer: items and queries projected to R^d and quantized by one set of residual codebooks."""

    taught_by_queries = True

    def __init__(self, in_dim: int, dim: int, sizes: tuple[int, ...], *, forced_level: bool) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.dim = dim
        self.sizes = sizes
        self.forced_level = forced_level
        self.item = Projection(in_dim, dim)
        self.query = Projection(in_dim, dim)
        self.decoder = nn.Linear(dim, in_dim)
        self.codebooks = ResidualCodebooks(sizes, dim)

    def start(self, item_x: np.ndarray, forced: torch.Tensor | None, *, seed: int) -> None:
        """Starts both projections and the decoder at the items' principal axes, so that quantization is sensible
        before the first step, and the codebooks at k-means of all items (N, D)."""
        mean, axes = _principal_axes(item_x, self.dim)
        self.item.start(axes, mean)
        self.query.start(axes, mean)
        with torch.no_grad():
            self.decoder.weight.copy_(axes.T)
            self.decoder.bias.copy_(mean)
        self.codebooks.fit(self.project(self.item, item_x), forced, seed=seed)

    def encode_items(self, x: np.ndarray, known: Known | None) -> Quantized:
        """Quantizes item embeddings (N, D); level 1 is forced where `known.category_code` (N,) is not -1."""
        code = known.category_code if self.forced_level and known is not None else None
        return self._encode(self.item, x, None if code is None else torch.from_numpy(code))

    def encode_queries(self, x: np.ndarray) -> Quantized:
        """Quantizes query embeddings (N, D): nearest code at every level."""
        return self._encode(self.query, x, None)

    def _encode(self, side: Projection, x: np.ndarray, forced: torch.Tensor | None) -> Quantized:
        return self.codebooks.encode(self.project(side, np.ascontiguousarray(x, dtype=np.float32)), forced)

    def save(self, path: Path) -> None:
        """Writes weights and settings into the folder `path`."""
        storage.write(path, KIND, self.settings(), self.tensors())

    def settings(self) -> dict[str, Any]:
        """What its shape depends on, as JSON."""
        return {
            "in_dim": self.in_dim,
            "dim": self.dim,
            "sizes": list(self.sizes),
            "forced_level": self.forced_level,
        }

    @staticmethod
    def restore(settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> ContrastiveQuantizer:
        """The inverse of `save`, from what it wrote."""
        sizes, forced = tuple(settings["sizes"]), settings["forced_level"]
        quantizer = ContrastiveQuantizer(settings["in_dim"], settings["dim"], sizes, forced_level=forced)
        quantizer.load_tensors(tensors)
        return quantizer.eval()


def _principal_axes(x: np.ndarray, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (D,) and the `dim` leading principal axes (dim, D) of the rows; zero axes beyond D."""
    mean = x.mean(axis=0, dtype=np.float64)
    centred = x - mean.astype(np.float32)
    _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    axes = vectors[:, ::-1][:, :dim].T
    # An axis and its opposite are the same axis: the largest entry is made positive.
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    padded = np.zeros((dim, x.shape[1]))
    padded[: len(axes)] = axes
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(padded.astype(np.float32))
