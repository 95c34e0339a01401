"""The search log: sessions on the legacy ranker under a position-based click model, with exploration.

P(click) = examination(position) x attractiveness(true grade). A slot explores with chance EXPLORATION, and whenever the
legacy ranker has nothing to put there: half the time a deeper legacy result, else an offer of the leaf or department
that the shopper browses to. That is how queries in words no title holds come to have clicks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.datasets.marketplace.items import Items
from engine.datasets.marketplace.queries import Intents
from engine.datasets.marketplace.taxonomy import Taxonomy
from engine.datasets.marketplace.truth import grade, utility

SLOTS_SHOWN = 10
EXAMINATION_DECAY = 0.7  # examination(k) = k ** -0.7
ATTRACTIVENESS = (0.02, 0.08, 0.3, 0.55)  # by grade 0..3, given examined
PURCHASE = (0.01, 0.04, 0.12, 0.22)  # by grade, given clicked
EXPLORATION = 0.15  # share of slots
DEEPER = 0.5  # of exploring slots where the legacy ranker has deeper results
OWN_LEAF = 0.6  # of browsing slots: the leaf meant; else anything of its department
DAYS = 91  # 13 weeks
SESSIONS_PER_BLOCK = 200_000


class Log(NamedTuple):
    """Aggregated by query, item, position and week."""

    query: np.ndarray
    item: np.ndarray
    position: np.ndarray  # 1-based.
    week: np.ndarray  # 0..12.
    impressions: np.ndarray
    clicks: np.ndarray
    purchases: np.ndarray


class _Browser:
    """Draws offers of a leaf or a department by demand."""

    def __init__(self, taxonomy: Taxonomy, items: Items) -> None:
        self.order = np.argsort(items.leaf, kind="stable")
        self.cumulative = np.r_[0.0, np.cumsum(items.popularity[self.order])]
        self.leaf_start = np.r_[0, np.cumsum(taxonomy.sizes)]
        n_departments = int(taxonomy.department.max()) + 1
        first = np.searchsorted(taxonomy.department, np.arange(n_departments + 1))
        self.department = taxonomy.department
        self.department_start = self.leaf_start[first]

    def draw(self, leaf: np.ndarray, wide: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One item position per row, from the leaf or, where `wide`, from its department."""
        department = self.department[leaf]
        low = np.where(wide, self.department_start[department], self.leaf_start[leaf])
        high = np.where(wide, self.department_start[department + 1], self.leaf_start[leaf + 1])
        mass = self.cumulative[low] + rng.random(leaf.shape) * (self.cumulative[high] - self.cumulative[low])
        return self.order[np.clip(np.searchsorted(self.cumulative, mass, side="right") - 1, low, high - 1)]


def simulate(
    taxonomy: Taxonomy,
    items: Items,
    intents: Intents,
    legacy: np.ndarray,
    sessions: np.ndarray,
    rng: np.random.Generator,
) -> Log:
    """Replays `sessions` (Q,) searches of every query over its `legacy` results (Q, depth; -1 = none)."""
    browser = _Browser(taxonomy, items)
    asked = np.repeat(np.arange(len(intents)), sessions)
    parts = [
        _block(taxonomy, items, intents, legacy, browser, asked[start : start + SESSIONS_PER_BLOCK], rng)
        for start in range(0, len(asked), SESSIONS_PER_BLOCK)
    ]
    return _aggregated([np.concatenate(columns) for columns in zip(*parts, strict=True)], len(items))


def _block(
    taxonomy: Taxonomy,
    items: Items,
    intents: Intents,
    legacy: np.ndarray,
    browser: _Browser,
    query: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, ...]:
    """Un-aggregated slots: query, item, position, week, click, purchase."""
    s = len(query)
    share = np.cumsum(intents.weights[query], axis=1)
    sense = (rng.random(s)[:, None] * share[:, -1:] > share).sum(axis=1)
    leaf = np.broadcast_to(intents.leaves[query, sense][:, None], (s, SLOTS_SHOWN))

    shown = np.full((s, SLOTS_SHOWN), -1, dtype=np.int64)
    width = min(SLOTS_SHOWN, legacy.shape[1])
    shown[:, :width] = legacy[query, :width]
    explores = (rng.random(shown.shape) < EXPLORATION) | (shown < 0)
    deeper_at = rng.integers(min(SLOTS_SHOWN, legacy.shape[1] - 1), legacy.shape[1], size=shown.shape)
    deeper = np.where(rng.random(shown.shape) < DEEPER, legacy[query[:, None], deeper_at], -1)
    browsed = browser.draw(leaf, rng.random(shown.shape) > OWN_LEAF, rng)
    shown = np.where(explores, np.where(deeper >= 0, deeper, browsed), shown)

    position = np.broadcast_to(np.arange(1, SLOTS_SHOWN + 1), shown.shape)
    week = np.broadcast_to(rng.integers(0, DAYS // 7, size=(s, 1)), shown.shape)
    # An offer already on the page is not shown again further down.
    page = (np.arange(s)[:, None] * len(items) + shown).ravel()
    kept = np.sort(np.unique(page, return_index=True)[1])
    flat_query = np.repeat(query, SLOTS_SHOWN)[kept]
    flat_item, flat_position, flat_week = shown.ravel()[kept], position.ravel()[kept], week.ravel()[kept]
    grades = grade(utility(taxonomy, items, intents, flat_query, flat_item))
    examined = flat_position.astype(np.float64) ** -EXAMINATION_DECAY
    click = rng.random(len(kept)) < examined * np.array(ATTRACTIVENESS)[grades]
    purchase = click & (rng.random(len(kept)) < np.array(PURCHASE)[grades])
    return flat_query, flat_item, flat_position, flat_week, click, purchase


def _aggregated(columns: list[np.ndarray], n_items: int) -> Log:
    query, item, position, week, click, purchase = columns
    key = ((query * n_items + item) * (SLOTS_SHOWN + 1) + position) * (DAYS // 7) + week
    unique, first, group = np.unique(key, return_index=True, return_inverse=True)
    return Log(
        query[first],
        item[first],
        position[first],
        week[first],
        np.bincount(group, minlength=len(unique)),
        np.bincount(group, weights=click, minlength=len(unique)).astype(np.int64),
        np.bincount(group, weights=purchase, minlength=len(unique)).astype(np.int64),
    )
