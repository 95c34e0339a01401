"""What every encoder offers, and what an encoder that can be trained on says of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from engine.progress import Progress, silent


class TextEncoder(Protocol):
    """Texts to unit vectors. `fingerprint` names the weights, `dim` is D."""

    name: str
    fingerprint: str
    dim: int

    def encode(self, texts: Sequence[str], progress: Progress = silent) -> np.ndarray:
        """Embeddings (N, D) float32, L2-normalised, in the order of `texts`; equal texts get equal rows."""


class TokenStates(NamedTuple):
    """What an encoder's last layer reads of N texts; equal texts share their tokens."""

    hidden: np.ndarray
    """(T, W) float16: the states of all tokens one after the other, in a temporary file mapped into memory."""
    first: np.ndarray  # (U + 1,) int64: distinct text u owns the tokens first[u] .. first[u + 1] - 1.
    row: np.ndarray  # (N,) int64: the distinct text of each text.
