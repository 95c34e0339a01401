"""What a signal is: what it may read, what it gives, and whose feedback it learnt from.

A signal turns (query, item) pairs into a few columns. Those of a SID signal belong to prefix levels, so that an
attribution can be split by level; those of a dense twin (the same idea without SIDs) have level 0. A signal that
learns from queries never reads the feedback of the query that it measures: `Measured.read` is the proof, which
`engine.relevance.folds.CrossFitted` checks before a ranker may train.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from scipy import sparse

from engine.relevance.signals.feedback import Feedback, Neighbours
from engine.relevance.words import Lexicon

Learns = Literal["fold", "others", "nothing"]
"""How a signal learns from feedback. `fold`: from all of the shelf's, or through models that did, so that a training
row's shelf must leave out the row's own fold. `others`: from that of other groups than the measured query's, by
construction, so that the shelf may hold all of it. `nothing`: from none. Whatever reads `Shelf.stacks` beside it depends
on the stack that made the run's own SIDs."""


class Column(NamedTuple):
    """A column of a signal: its name, unique over all signals, and the prefix level 1..L it speaks of (0: none)."""

    name: str
    level: int


class Columns(NamedTuple):
    """What each column of a block of signals is; three tuples of equal length."""

    name: tuple[str, ...]
    signal: tuple[str, ...]
    level: tuple[int, ...]  # Prefix level 1..L; 0 for a dense twin.

    def of(self, wanted: tuple[str, ...]) -> Columns:
        """The columns that belong to the `wanted` signals."""
        kept = [each for each in zip(*self, strict=True) if each[1] in wanted]
        return Columns(*map(tuple, zip(*kept, strict=True))) if kept else Columns((), (), ())


class Shelf(NamedTuple):
    """What is known of the items and of past queries."""

    item_x: np.ndarray  # (N, D) float32 unit embeddings of titles, or of what else SIDs see.
    words: sparse.csr_matrix  # (N, V) float32 counts of the titles' tokens.
    lexicon: Lexicon  # Names the columns of `words`.
    stacks: Sequence[np.ndarray]
    """SID stacks, each (N, L_s) int64; first the run's own, then those of titles alone. Empty: dense twins only."""
    item_latent: np.ndarray  # (N, d) float32 unit latents of the run's own quantizer, before quantization.
    feedback: Feedback


class Asked(NamedTuple):
    """The queries whose pairs are measured; rows are positions 0..Q-1."""

    x: np.ndarray  # (Q, D) float32 unit embeddings.
    texts: Sequence[str]
    group: np.ndarray  # (Q,) int64 as in `Feedback.group`; -1: a query never seen.
    listed: np.ndarray  # (Q, T) int64 best retrieved candidates, best first; -1 pads.
    latent: np.ndarray  # (Q, d) float32 unit latents of the run's own quantizer.
    log_prob: Callable[[np.ndarray, np.ndarray], np.ndarray] | None
    """(rows (M,), codes (M, L)) -> (M, L) log p(code | prefix, query) under the run's generator; None without one."""
    beams: np.ndarray  # (Q, K, L) int64 SIDs that the run's generator predicts; -1 pads.
    near: Neighbours  # The past queries nearest to each (`feedback.Past.near`).


class Measured(NamedTuple):
    """A signal's columns for pairs, and whose feedback they rest on."""

    values: np.ndarray  # (M, C) float32, finite.
    read: np.ndarray | None
    """(Q, k) int64 positions (among all queries of the catalogue) of the queries that each asked query's values
    learnt from, -1 pads; None for a signal that learns from no query."""


class Fitted(Protocol):
    """A signal ready to measure."""

    def measure(self, asked: Asked, pair_query: np.ndarray, pair_item: np.ndarray) -> Measured:
        """Columns of pairs (M,): rows of `asked` and positions of items."""


class Signal(Protocol):
    """One idea."""

    @property
    def name(self) -> str:
        """As in the configuration."""

    @property
    def twin(self) -> str | None:
        """The name of its dense twin; None for a twin."""

    @property
    def learns(self) -> Learns:
        """From whose feedback."""

    @property
    def cost(self) -> str:
        """What it costs, in words: what is stored, what is done for a pair."""

    def columns(self, levels: int) -> tuple[Column, ...]:
        """The columns of a run with `levels` prefix levels."""

    def fit(self, shelf: Shelf) -> Fitted:
        """Prepare from a shelf."""
