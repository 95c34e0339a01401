"""Log probability of the item's SID prefixes under the generator, plain and less their prior (pointwise mutual
information)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.relevance.signals.prefixes import Prefixes, prefixes
from engine.relevance.signals.protocol import Asked, Column, Feedback, Learns, Measured, Shelf

FLOOR = -20.0
"""Least log probability (2e-9): what the generator excludes is finite, and rarer than anything it allows."""
_CHUNK = 65_536


@dataclass(frozen=True)
class _Fitted:
    codes: np.ndarray
    own: Prefixes
    log_prior: list[np.ndarray]

    def measure(self, asked: Asked, pair_query: np.ndarray, pair_item: np.ndarray) -> Measured:
        levels = self.codes.shape[1]
        values = np.empty((len(pair_query), 2 * levels), dtype=np.float32)
        for start in range(0, len(pair_query), _CHUNK):
            part = slice(start, start + _CHUNK)
            item = pair_item[part]
            if asked.log_prob is None:  # nothing is known of the query but the prior
                log_prob = np.stack([p[n[item]] for p, n in zip(self.log_prior, self.own.of_item, strict=True)], axis=1)
            else:
                log_prob = np.cumsum(asked.log_prob(pair_query[part], self.codes[item]), axis=1, dtype=np.float64)
            log_prob = np.maximum(np.nan_to_num(log_prob, nan=FLOOR), FLOOR)
            values[part, :levels] = log_prob
            for level, (prior, number) in enumerate(zip(self.log_prior, self.own.of_item, strict=True)):
                values[part, levels + level] = log_prob[:, level] - prior[number[item]]
        return Measured(values, None)


@dataclass(frozen=True)
class LogProbability:
    """`logp_l` = log p(prefix of level l | query): the levels' conditional terms summed, because a tree splits on one
    column at a time and the joint probability of a prefix is what PMI compares with its prior. `pmi_l` = `logp_l` less
    the log prior of the prefix: its share of feedback, smoothed by one piece of feedback a prefix spread like items.
    """

    name: str = "logp"
    twin: str | None = "contrastive_cosine"
    learns: Learns = "fold"
    cost: str = "stores the generator and L codes an item; a pair is one teacher-forced pass (L decoder steps)"

    def columns(self, levels: int) -> tuple[Column, ...]:
        kinds = ("logp", "pmi")
        return tuple(Column(f"{kind}_{level}", level) for kind in kinds for level in range(1, levels + 1))

    def fit(self, shelf: Shelf) -> _Fitted:
        own = prefixes(shelf.stacks[0])
        return _Fitted(shelf.stacks[0], own, _log_prior(own, shelf.feedback))


def _log_prior(stack: Prefixes, feedback: Feedback) -> list[np.ndarray]:
    """By level, (size,): log share of the feedback under each prefix, smoothed by one piece a prefix spread like items."""
    priors = []
    for number, size in zip(stack.of_item, stack.size, strict=True):
        items = np.bincount(number, minlength=size) / max(len(number), 1)
        led_to = np.bincount(number[feedback.item], weights=feedback.value, minlength=size)
        priors.append(np.log((led_to + size * items) / (led_to.sum() + size)))
    return priors
