"""Frozen embeddings of items and queries: what every method starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.datasets.contract import Catalogue
from engine.encoders.cache import encode_cached
from engine.encoders.fingerprint import ARITHMETIC, model_fingerprint
from engine.encoders.given import text_vectors
from engine.progress import Progress, silent
from engine.runs import Run, load_arrays, save_arrays


class Vectors(NamedTuple):
    """Frozen embeddings, rows L2-normalised."""

    items: np.ndarray  # (N, D) float32 of item titles.
    queries: np.ndarray  # (Q, D) float32 of query texts.
    item_images: np.ndarray | None  # (N, M) float32, NaN rows where absent; None where no item has one.
    query_images: np.ndarray | None  # (Q, M) float32 in the same space.


def encode(run: Run, catalogue: Catalogue) -> Vectors:
    """Text embeddings of items and queries, the catalogue's own or else encoded (cached by content); images' as given.

    Raises DataError where the catalogue's own do not go with the run's encoder.
    """

    def body(folder: Path, progress: Progress) -> None:
        titles, queries = catalogue.items["title"].tolist(), catalogue.queries["text"].tolist()
        made = text_vectors(titles, queries, catalogue.text_vectors(), partial(encode_texts, run, progress=progress))
        save_arrays(folder / "text.safetensors", **made._asdict())

    return _vectors(run.shared("vectors", "Encoding titles and queries", encoder_key(run), body), catalogue)


def encode_texts(run: Run, texts: Sequence[str], progress: Progress = silent) -> np.ndarray:
    """(N, D) float32 of `texts` by the run's encoder, cached by content. Raises ModelError where it is missing."""
    settings, cache = run.config.encoder, run.workspace / "cache" / "embeddings"
    return encode_cached(
        texts,
        model=settings.model,
        max_tokens=settings.max_tokens,
        batch=settings.batch,
        cache=cache,
        progress=progress,
        on_ray=run.on_ray,
    )


def load_vectors(run: Run, catalogue: Catalogue) -> Vectors:
    """Those of a finished run. Raises RunError where the cache was deleted."""
    return _vectors(run.shared_folder("vectors"), catalogue)


def encoder_key(run: Run) -> tuple[object, ...]:
    """Names the encoder's settings, arithmetic and weights, for what is shared between runs."""
    return (*dataclasses.astuple(run.config.encoder), ARITHMETIC, model_fingerprint(run.config.encoder.model))


def _vectors(folder: Path, catalogue: Catalogue) -> Vectors:
    text, images = load_arrays(folder / "text.safetensors"), catalogue.image_vectors()
    return Vectors(text["items"], text["queries"], images.items, images.queries)
