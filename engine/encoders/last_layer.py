"""The packaged encoder cut below its last layer, which dynamic encoding trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.encoders.minilm import LAYER_NORM_EPS, MINILM_HEADS, MiniLMEncoder
from engine.encoders.protocol import TokenStates
from engine.progress import Progress, silent

if TYPE_CHECKING:
    import torch


class MiniLMTop:
    """The packaged encoder as frozen token states below its last layer, and that layer to train above them.

    States are rounded to float16, which moves an embedding by about 1e-4.
    """

    def __init__(self, encoder: MiniLMEncoder) -> None:
        self._encoder = encoder
        self._states: dict[tuple[str, ...], TokenStates] = {}

    def states(self, texts: Sequence[str], progress: Progress = silent) -> TokenStates:
        """The states of `texts`; those of the same texts are computed once for all trainings."""
        key = tuple(texts)
        if key not in self._states:
            self._states[key] = self._encoder.top_states(texts, progress)
        return self._states[key]

    def weights(self) -> dict[str, torch.Tensor]:
        """Copies of the published weights of the last layer, by name."""
        return self._encoder.top_weights()

    def embed(self, weights: dict[str, torch.Tensor], hidden: torch.Tensor, first: np.ndarray) -> torch.Tensor:
        """Unit vectors (B, D) of the token states `hidden` (T, W) float32 of B texts, under these last-layer weights.

        Text b owns the tokens first[b] .. first[b + 1] - 1. Only attention is padded: titles differ much in length,
        and the linear maps, which cost the most, see no padding.
        """
        import torch
        from torch.nn import functional

        lengths = np.diff(first)
        rows, width = len(lengths), int(lengths.max())
        row = np.repeat(np.arange(rows), lengths)
        place = torch.from_numpy(row * width + np.arange(len(row)) - np.repeat(first[:-1], lengths))
        real = torch.zeros(rows * width, dtype=torch.bool)
        real[place] = True

        def linear(x: torch.Tensor, name: str) -> torch.Tensor:
            return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

        def norm(x: torch.Tensor, name: str) -> torch.Tensor:
            weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
            return functional.layer_norm(x, weight.shape, weight, bias, eps=LAYER_NORM_EPS)

        qkv = linear(hidden, "attention.self.qkv")
        padded = qkv.new_zeros(rows * width, qkv.shape[1]).index_copy(0, place, qkv)
        query, key, value = padded.view(rows, width, 3, MINILM_HEADS, -1).permute(2, 0, 3, 1, 4)
        mask = real.view(rows, 1, 1, width)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        mixed = mixed.transpose(1, 2).reshape(rows * width, -1)[place]
        x = norm(hidden + linear(mixed, "attention.output.dense"), "attention.output.LayerNorm")
        x = norm(x + linear(functional.gelu(linear(x, "intermediate.dense")), "output.dense"), "output.LayerNorm")
        total = x.new_zeros(rows, x.shape[1]).index_add(0, torch.from_numpy(row), x)
        return functional.normalize(total, dim=1)  # the mean over tokens and their sum have one direction
