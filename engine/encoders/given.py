"""Vectors of titles and query texts: those that came with the data, and the encoder's for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from engine.errors import DataError


class TextVectors(NamedTuple):
    """Rows L2-normalised, all of one space."""

    items: np.ndarray  # (N, D) float32 of titles.
    queries: np.ndarray  # (Q, D) float32.


def text_vectors(
    titles: Sequence[str],
    queries: Sequence[str],
    given: tuple[np.ndarray | None, np.ndarray | None],
    encode: Callable[[Sequence[str]], np.ndarray],
) -> TextVectors:
    """The `given` vectors of items (N, D) and queries (Q, D), NaN rows where a query has none; `encode` makes the rest.

    Without given items all texts are encoded, in one go. Raises DataError where queries lack vectors and those of the
    encoder are not as wide as the items', and whatever `encode` raises.
    """
    items, known = given
    if items is None:
        x = encode([*titles, *queries])
        return TextVectors(x[: len(titles)], x[len(titles) :])
    width = items.shape[1]
    known = np.full((len(queries), width), np.nan, dtype=np.float32) if known is None else known
    lacking = np.flatnonzero(np.isnan(known).any(axis=1)).tolist()
    if lacking:
        texts = [queries[row] for row in lacking]
        own = encode(texts[:1]).shape[1]  # one text tells: many would be encoded in vain
        if own != width:
            raise DataError(
                f"{len(texts):,} of {len(queries):,} queries have no text_embedding, the first '{texts[0][:60]}', and "
                f"encoder.model makes {own} numbers where the items' vectors have {width}. Name the encoder that made "
                "those (encoder.model), or give the queries' vectors in the queries file and ingest again."
            )
        known = known.copy()
        known[lacking] = encode(texts)
    return TextVectors(items, known)
