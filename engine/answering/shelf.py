"""What signals read of items, of past queries and of those that are asked, in the form of `signals.protocol`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from engine.problem import Problem
from engine.problem.queries import Queries
from engine.relevance.signals.feedback import Feedback, Neighbours
from engine.relevance.signals.protocol import Asked, Shelf

LogProb = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(rows (M,), codes (M, L)) -> (M, L)."""


def shelf_of(
    problem: Problem, feedback: Feedback, stacks: Sequence[np.ndarray] = (), latent: np.ndarray | None = None
) -> Shelf:
    """What signals may read of the items under `stacks`: the run's own first, then those of titles; none for those that
    read no SID. `latent` (N, d): the items in the run's own quantizer."""
    x, lexical = problem.views, problem.first.lexical
    inside = np.zeros((len(x), 1), dtype=np.float32) if latent is None else latent
    return Shelf(x, lexical.words, lexical.lexicon, list(stacks), unit(inside), feedback)


def ask(
    queries: Queries,
    listed: np.ndarray,
    near: Neighbours,
    log_prob: LogProb | None = None,
    beams: np.ndarray | None = None,
    latent: np.ndarray | None = None,
) -> Asked:
    """The queries (B) as signals read them: `listed` (B, T) best retrieved items, -1 pads; `near`: their past
    neighbours; `log_prob` of their SIDs under the generator; `beams` (B, K, L) SIDs; `latent` (B, d) as in `Shelf`, read by dense twins alone."""
    n = len(queries.id)
    none = np.zeros((n, 0, 0), dtype=np.int64)
    inside = np.zeros((n, 1), dtype=np.float32) if latent is None else unit(latent)
    return Asked(
        queries.x, queries.texts, queries.group, listed, inside, log_prob, none if beams is None else beams, near
    )


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length one."""
    return (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)).astype(np.float32)
