"""Frozen embeddings of items and queries: what every method starts from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.datasets.contract import Catalogue
from engine.encoders.cache import encode_cached
from engine.encoders.fingerprint import ARITHMETIC, model_fingerprint
from engine.progress import Progress
from engine.runs import Run, load_arrays, save_arrays


class Vectors(NamedTuple):
    """Frozen embeddings, rows L2-normalised."""

    items: np.ndarray
    """(N, D) float32 of item titles."""
    queries: np.ndarray
    """(Q, D) float32 of query texts."""
    item_images: np.ndarray | None
    """(N, M) float32, NaN rows where absent; None where no item has one."""
    query_images: np.ndarray | None
    """(Q, M) float32 in the same space."""


def encode(run: Run, catalogue: Catalogue) -> Vectors:
    """Text embeddings of items and queries (cached by content), image embeddings as given."""
    settings = run.config.encoder

    def body(folder: Path, progress: Progress) -> None:
        texts = [*catalogue.items["title"], *catalogue.queries["text"]]
        x = encode_cached(
            texts,
            model=settings.model,
            max_tokens=settings.max_tokens,
            batch=settings.batch,
            cache=run.workspace / "cache" / "embeddings",
            progress=progress,
        )
        save_arrays(folder / "text.safetensors", items=x[: len(catalogue.items)], queries=x[len(catalogue.items) :])

    return _vectors(run.shared("vectors", "Encoding titles and queries", encoder_key(run), body), catalogue)


def load_vectors(run: Run, catalogue: Catalogue) -> Vectors:
    """Those of a finished run. Raises RunError where the cache was deleted."""
    return _vectors(run.shared_folder("vectors"), catalogue)


def encoder_key(run: Run) -> tuple[object, ...]:
    """Names the encoder's settings, arithmetic and weights, for what is shared between runs."""
    return (*dataclasses.astuple(run.config.encoder), ARITHMETIC, model_fingerprint(run.config.encoder.model))


def _vectors(folder: Path, catalogue: Catalogue) -> Vectors:
    text = load_arrays(folder / "text.safetensors")
    images = (catalogue.items["image_embedding"], catalogue.queries["image_space_embedding"])
    return Vectors(text["items"], text["queries"], *(image_matrix(column.tolist()) for column in images))


def image_matrix(column: list | np.ndarray) -> np.ndarray | None:
    """A column of embeddings as (N, M) float32, L2-normalised, NaN rows where absent; None where all are."""
    present = [value for value in column if value is not None]
    if not present:
        return None
    matrix = np.full((len(column), len(present[0])), np.nan, dtype=np.float32)
    for position, value in enumerate(column):
        if value is not None:
            matrix[position] = value
    return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
