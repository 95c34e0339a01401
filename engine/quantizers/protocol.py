"""What every tokenizer of items offers, whatever it learned from: the quantizer's one interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch


class Quantized(NamedTuple):
    """Rows quantized level by level; d is the width of the quantizer's latent space."""

    codes: np.ndarray  # (N, L) int64, 0-based.
    residual_norms: np.ndarray  # (N, L + 1) float32: norm before level 1, after level 1, ... after level L.
    latent: np.ndarray  # (N, d) float32: the projection that was quantized.
    quantized: np.ndarray  # (N, d) float32: the sum of the chosen code vectors.


class Known(NamedTuple):
    """What is known of items (N) besides their embeddings; a tokenizer reads of it what it needs."""

    category_code: np.ndarray | None = None
    """(N,) int64 level-1 code of each item's category, -1 where it has none; None without categories."""
    item_id: Sequence[str] = ()
    category: Sequence[str | None] = ()  # Paths ...
    separator: str = " > "  # ... and what stands between their parts.
    popularity: np.ndarray | None = None  # (N,) float64, NaN where unknown.

    @staticmethod
    def of(items: pd.DataFrame, category_code: np.ndarray | None, separator: str) -> Known:
        """Of rows of a catalogue's items."""
        category = [c.strip() if isinstance(c, str) else None for c in items["category"]]
        popularity = items["popularity"].to_numpy(dtype=np.float64, na_value=np.nan)
        return Known(category_code, items["item_id"].tolist(), category, separator, popularity)


class Unsupervised:
    """A quantizer to which items and queries are alike, taught by items alone, none of whose levels is a category's."""

    forced_level = False
    taught_by_queries = False

    def encode_items(self, x: np.ndarray, known: Known | None) -> Quantized:
        """Quantizes item embeddings (N, D) as queries; `known` is not looked at."""
        return self.encode_queries(x)

    def encode_queries(self, x: np.ndarray) -> Quantized:
        """Quantizes query embeddings (N, D): nearest code at every level."""
        raise NotImplementedError


class Quantizer(Protocol):
    """A trained residual quantizer."""

    taught_by_queries: bool
    """Whether training reads queries, their pairs or their judgments. Only what reads none may be trained once for all
    folds."""
    sizes: tuple[int, ...]  # Codes per level.
    forced_level: bool  # Level 1 belongs to categories: forced for items whose category is known.

    def encode_items(self, x: np.ndarray, known: Known | None) -> Quantized:
        """Quantizes item embeddings (N, D); `known.category_code` forces level 1 where it is not -1."""

    def encode_queries(self, x: np.ndarray) -> Quantized:
        """Quantizes query embeddings (N, D): nearest code at every level."""

    def save(self, path: Path) -> None:
        """Writes weights (safetensors) and settings (JSON) into the folder `path`."""

    @staticmethod
    def restore(settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Quantizer:
        """The inverse of `save`, from what it wrote."""
