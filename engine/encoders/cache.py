"""The disk cache of embeddings: texts that were encoded before are read, and the model is not loaded."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.encoders.fingerprint import ARITHMETIC, model_fingerprint
from engine.encoders.loading import load_encoder
from engine.encoders.texts import distinct_texts
from engine.leftovers import replacing
from engine.on_ray import OnRay
from engine.progress import Progress, silent
from engine.seal import DIGITS, digest
from engine.threads import limit_block

BLOCK = 16_384
"""Distinct texts a block, which is kept as it is done; within one, texts of similar length share a batch. Another number
moves last bits: raise `ARITHMETIC` with it."""


def encode_cached(
    texts: Sequence[str],
    *,
    model: str,
    max_tokens: int,
    batch: int,
    cache: Path,
    progress: Progress = silent,
    on_ray: OnRay | None = None,
) -> np.ndarray:
    """Embeddings (N, D) float32 of `texts`, read from the folder `cache` when these texts were encoded before.

    The key names every input: texts in order, weights, tokens, batch (it moves the last bit) and code version. The
    model is loaded only on a miss, and by the workers alone where there are some; a stopped call goes on at its block.
    Raises ModelError as `load_encoder` does.
    """
    fingerprint = model_fingerprint(model)
    if fingerprint is None:
        fingerprint = load_encoder(model, max_tokens=max_tokens, batch=batch).fingerprint
    path = cache / f"{_cache_key(texts, fingerprint, max_tokens, batch)}.npy"
    vectors = _read_cached(path, len(texts))
    if vectors is not None:
        progress(len(texts), len(texts))
        return vectors
    distinct, row_of = distinct_texts(texts)
    parts = path.with_suffix(".parts")
    try:
        parts.mkdir(parents=True, exist_ok=True)
        vectors = _encode(distinct, Encoding(model, max_tokens, batch, parts.resolve()), progress, on_ray)[row_of]
        _keep(path, vectors)
        shutil.rmtree(parts)
    finally:
        with contextlib.suppress(OSError):  # it holds what is done, or nothing
            parts.rmdir()
    return vectors


@dataclass(frozen=True)
class Encoding:
    """Blocks of texts to files of vectors; opened once a worker."""

    model: str
    max_tokens: int
    batch: int
    folder: Path

    def __call__(self) -> Callable[[tuple[int, list[str]]], int]:
        """Loads the model; gives the function that encodes (number, texts)."""
        encode = self.opened(silent)

        def alone(block: tuple[int, list[str]]) -> int:
            limit_block()
            return encode(block)

        return alone

    def opened(self, progress: Progress) -> Callable[[tuple[int, list[str]]], int]:
        """The same, with progress within a block."""
        encoder = load_encoder(self.model, max_tokens=self.max_tokens, batch=self.batch)

        def encode(block: tuple[int, list[str]]) -> int:
            number, texts = block
            if self.done(number, len(texts)) is None:
                _keep(self.part(number), encoder.encode(texts, progress))
            return len(texts)

        return encode

    def part(self, number: int) -> Path:
        """The file of a block."""
        return self.folder / f"{number:05d}.npy"

    def done(self, number: int, rows: int) -> np.ndarray | None:
        """The vectors of a block that is done."""
        return _read_cached(self.part(number), rows)


def _encode(texts: list[str], work: Encoding, progress: Progress, on_ray: OnRay | None) -> np.ndarray:
    """Vectors (N, D) of distinct texts, block by block."""
    blocks = list(enumerate(texts[start : start + BLOCK] for start in range(0, max(len(texts), 1), BLOCK)))
    todo = [block for block in blocks if work.done(block[0], len(block[1])) is None]
    ready = len(texts) - sum(len(block) for _, block in todo)
    if on_ray is not None:
        for rows in on_ray.over(work, todo, gpu=True):
            progress(ready := ready + rows, len(texts))
    elif todo:
        encode = work.opened(lambda done, _: progress(ready + done, len(texts)))
        for block in todo:
            ready += encode(block)
    made = [work.done(number, len(block)) for number, block in blocks]
    return np.concatenate([part for part in made if part is not None])


def _keep(path: Path, vectors: np.ndarray) -> None:
    """Write them by rename, with their digest behind them."""
    rows = np.ascontiguousarray(vectors)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(rows))
        file.write(rows.data)  # np.save does not say why a disk refused
        file.flush()
        file.write(digest(temporary).encode())


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
