"""The disk cache of embeddings: texts that were encoded before are read, and the model is not loaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.encoders.fingerprint import ARITHMETIC, model_fingerprint
from engine.encoders.loading import load_encoder
from engine.leftovers import replacing
from engine.progress import Progress, silent
from engine.seal import DIGITS, digest


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
    vectors = np.ascontiguousarray(encoder.encode(texts, progress))
    path = cache / f"{_cache_key(texts, encoder.fingerprint, max_tokens, batch)}.npy"
    cache.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(vectors))
        file.write(vectors.data)  # np.save does not say why a disk refused
        file.flush()
        file.write(digest(temporary).encode())
    return vectors


def _cache_key(texts: Sequence[str], fingerprint: str, max_tokens: int, batch: int) -> str:
    digest = hashlib.sha256(f"{ARITHMETIC}\0{fingerprint}\0{max_tokens}\0{batch}\0{len(texts)}\0".encode())
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()[:40]


def _read_cached(path: Path, rows: int) -> np.ndarray | None:
    """The vectors in a cache file; None when there is none or it is damaged (it is then encoded again)."""
    try:
        with path.open("rb") as file:
            file.seek(-DIGITS, os.SEEK_END)
            if file.read() != digest(path, less=DIGITS).encode():
                return None
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return vectors if vectors.ndim == 2 and len(vectors) == rows and vectors.dtype == np.float32 else None
