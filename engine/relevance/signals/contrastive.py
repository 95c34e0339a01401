"""Contrastive cosine: the dense twin of the match level and of the log probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.relevance.signals.protocol import Asked, Column, Learns, Measured, Shelf

_CHUNK = 65_536


@dataclass(frozen=True)
class _Fitted:
    latent: np.ndarray

    def measure(self, asked: Asked, pair_query: np.ndarray, pair_item: np.ndarray) -> Measured:
        values = np.empty((len(pair_query), 1), dtype=np.float32)
        for start in range(0, len(pair_query), _CHUNK):
            part = slice(start, start + _CHUNK)
            values[part, 0] = np.einsum("md,md->m", asked.latent[pair_query[part]], self.latent[pair_item[part]])
        return Measured(values, None)


@dataclass(frozen=True)
class ContrastiveCosine:
    """Cosine of query and item in the quantizer's trained space, before anything is quantized."""

    name: str = "contrastive_cosine"
    twin: str | None = None
    learns: Learns = "fold"
    cost: str = "stores d float32 an item; a pair is one product of d numbers"

    def columns(self, levels: int) -> tuple[Column, ...]:
        return (Column("contrastive_cosine", 0),)

    def fit(self, shelf: Shelf) -> _Fitted:
        return _Fitted(shelf.item_latent)
