"""What every tokenizer of items offers, whatever it learned from: the quantizer's one interface."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np


class Quantized(NamedTuple):
    """Rows quantized level by level; d is the width of the quantizer's latent space."""

    codes: np.ndarray  # (N, L) int64, 0-based.
    residual_norms: np.ndarray  # (N, L + 1) float32: norm before level 1, after level 1, ... after level L.
    latent: np.ndarray  # (N, d) float32: the projection that was quantized.
    quantized: np.ndarray  # (N, d) float32: the sum of the chosen code vectors.


class Unsupervised:
    """A quantizer to which items and queries are alike, and none of whose levels belongs to categories."""

    forced_level = False

    def encode_items(self, x: np.ndarray, category_code: np.ndarray | None) -> Quantized:
        """Quantizes item embeddings (N, D) as queries; `category_code` is not looked at."""
        return self.encode_queries(x)

    def encode_queries(self, x: np.ndarray) -> Quantized:
        """Quantizes query embeddings (N, D): nearest code at every level."""
        raise NotImplementedError


class Quantizer(Protocol):
    """A trained residual quantizer."""

    sizes: tuple[int, ...]  # Codes per level.
    forced_level: bool  # Level 1 belongs to categories: forced for items whose category is known.

    def encode_items(self, x: np.ndarray, category_code: np.ndarray | None) -> Quantized:
        """Quantizes item embeddings (N, D); `category_code` (N,) int64 forces level 1 where it is not -1."""

    def encode_queries(self, x: np.ndarray) -> Quantized:
        """Quantizes query embeddings (N, D): nearest code at every level."""

    def save(self, path: Path) -> None:
        """Writes weights (safetensors) and settings (JSON) into the folder `path`."""
