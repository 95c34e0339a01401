"""Texts on their way into an encoder: cut, cleaned, each distinct one once, in batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from engine.progress import Progress

MOST_CHARACTERS = 20_000
"""Texts are cut here before tokenizing: a 1 MB title would take a second, for tokens that are cut anyway."""


def encode_distinct(
    texts: Sequence[str], dim: int, encode: Callable[[list[str], Progress], np.ndarray], progress: Progress
) -> np.ndarray:
    """Encodes each distinct text once, so that equal titles hold bitwise equal vectors; cuts and cleans first."""
    distinct, row_of = distinct_texts(texts)
    return encode(distinct, progress)[row_of] if distinct else np.empty((0, dim), dtype=np.float32)


def distinct_texts(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Each text once, cut and clean, and for every one of `texts` its row among them (N,)."""
    # Lone surrogates (half an emoji in a damaged export) are no text that a tokenizer accepts.
    clean = [text[:MOST_CHARACTERS].encode("utf-8", "replace").decode("utf-8") for text in texts]
    row_of = {text: row for row, text in enumerate(dict.fromkeys(clean))}
    return list(row_of), np.array([row_of[text] for text in clean], dtype=np.int64)


def by_length(lengths: Sequence[int], batch: int) -> Iterator[np.ndarray]:
    """Positions in batches of similar length, shortest first within a batch, longest batch first.

    Longest first shows a lack of memory at once and makes the time left an upper estimate.
    """
    order = np.argsort(np.asarray(lengths), kind="stable")
    for end in range(len(order), 0, -batch):
        yield order[max(end - batch, 0) : end]
