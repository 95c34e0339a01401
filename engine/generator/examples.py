"""What a generator is shown at each step of its training: which inputs, asked for which items, at what learning rate.

Two stages: titles -> SIDs, then queries -> SIDs of the items they led to, titles among them. An epoch over the queries
visits every query with interactions once and draws one of its items in proportion to interaction strength. Every
order and draw derives from (seed, stage, epoch) and nothing else, so a step's number is the whole state of the sampler.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine.config import GeneratorConfig

WARMUP_SHARE = 0.05
FINAL_LR_SHARE = 0.02


class Lessons(NamedTuple):
    """What a generator learns from."""

    items: np.ndarray | Sequence[str]
    """N inputs that stand for items: embeddings (N, D) float32 of titles, or the titles themselves."""
    item_codes: np.ndarray  # (N, L) int64 SIDs.
    queries: np.ndarray | Sequence[str]  # Q inputs of the same kind.
    pair_query: np.ndarray  # (P,) int64 query of each interaction; may be empty (titles alone then).
    pair_item: np.ndarray  # (P,) int64 its item.
    pair_weight: np.ndarray  # (P,) float32 its strength; pairs of strength 0 are left out.
    sizes: tuple[int, ...]  # Codes per level.


@dataclass
class Stage:
    """Examples of one stage: inputs, and for each the items it may be asked to spell."""

    name: str
    x: np.ndarray  # (M, ...) inputs: embeddings (M, D), or positions (M,) of prompts.
    codes: np.ndarray  # (P, L) candidate targets, grouped by input.
    first: np.ndarray  # (M + 1,) offsets: input m's candidates are first[m] .. first[m + 1] - 1.
    cumulative: np.ndarray  # (P + 1,) float64 cumulative strength of the candidates.
    steps: int
    _drawn: tuple[tuple[int, ...], tuple[np.ndarray, np.ndarray]] | None = None

    def epoch(self, *seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The order (M,) of the inputs in an epoch, and for each input (M,) its target, drawn by strength. The latest is
        kept: consecutive steps share it."""
        if self._drawn is None or self._drawn[0] != seed:
            rng = np.random.default_rng(seed)
            order = rng.permutation(len(self.x))
            low, high = self.cumulative[self.first[:-1]], self.cumulative[self.first[1:]]
            drawn = np.searchsorted(self.cumulative, low + rng.random(len(low)) * (high - low), side="right") - 1
            self._drawn = seed, (order, np.clip(drawn, self.first[:-1], self.first[1:] - 1))
        return self._drawn[1]


class Examples(NamedTuple):
    """One batch."""

    x: np.ndarray  # (B, ...) inputs.
    codes: np.ndarray  # (B, L) the SIDs to spell.


def stages_of(lessons: Lessons, config: GeneratorConfig) -> list[Stage]:
    """Titles, then queries; the inputs of `lessons` are arrays here."""
    items = np.arange(len(lessons.items))
    titles = items, items, np.ones(len(items), dtype=np.float32)
    asked = lessons.pair_query, lessons.pair_item, lessons.pair_weight
    epochs = min(config.alignment_epochs, config.alignment_titles / max(len(items), 1))
    x, queries, codes = np.asarray(lessons.items), np.asarray(lessons.queries), lessons.item_codes
    return [
        stage_of("alignment", x, codes, titles, epochs, config.batch),
        stage_of("query", queries, codes, asked, config.query_epochs, config.batch),
    ]


def stage_of(
    name: str,
    x: np.ndarray,
    item_codes: np.ndarray,
    interactions: tuple[np.ndarray, np.ndarray, np.ndarray],
    epochs: float,
    batch: int,
) -> Stage:
    """Group the interactions (input, item, strength) of positive strength by input."""
    source, item, strength = interactions
    kept = np.flatnonzero(strength > 0)
    kept = kept[np.argsort(source[kept], kind="stable")]
    inputs, counts = np.unique(source[kept], return_counts=True)
    return Stage(
        name=name,
        x=np.ascontiguousarray(x[inputs]),
        codes=np.ascontiguousarray(item_codes[item[kept]], dtype=np.int64),
        first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        cumulative=np.concatenate([[0.0], np.cumsum(strength[kept], dtype=np.float64)]),
        steps=math.ceil(len(inputs) * epochs / batch),
    )


def draw(stages: list[Stage], number: int, step: int, config: GeneratorConfig, *, seed: int) -> Examples:
    """The batch of a step of stage `number`; after the titles' own stage, titles are among them."""
    n_titles = int(config.title_share * config.batch) if number > 0 else 0
    own = window(stages[number], step, config.batch - n_titles, seed=(seed, number))
    if n_titles == 0:
        return own
    titles = window(stages[0], step, n_titles, seed=(seed, len(stages)))
    return Examples(np.concatenate([own.x, titles.x]), np.concatenate([own.codes, titles.codes]))


def window(stage: Stage, step: int, batch: int, *, seed: tuple[int, int]) -> Examples:
    """The batch of a step: a window of the endless stream of shuffled epochs."""
    n = len(stage.x)
    xs, targets = [], []
    position = step * batch
    while position < (step + 1) * batch:
        epoch, offset = divmod(position, n)
        order, target = stage.epoch(*seed, epoch)
        rows = order[offset : offset + (step + 1) * batch - position]
        xs.append(stage.x[rows])
        targets.append(stage.codes[target[rows]])
        position += len(rows)
    return Examples(np.concatenate(xs), np.concatenate(targets))


def schedule(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear warm-up, then half a cosine down to `FINAL_LR_SHARE`."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return FINAL_LR_SHARE + (1 - FINAL_LR_SHARE) * 0.5 * (1 + math.cos(math.pi * progress))
