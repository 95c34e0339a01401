"""Graded judgments: equal shares of lexical, dense, legacy-clicked and truth-stratified pairs, with noisy grades.

A judged query that is not in the log gets its clicked share from sessions simulated for this purpose alone.
"""

from __future__ import annotations

from itertools import chain, islice, zip_longest
from typing import NamedTuple

import numpy as np

from engine.datasets.marketplace.clicks import Log, simulate
from engine.datasets.marketplace.items import Items
from engine.datasets.marketplace.queries import Intents
from engine.datasets.marketplace.taxonomy import Taxonomy
from engine.datasets.marketplace.truth import grade, utility

PER_POOL = 5  # pairs a pool, four pools
NOISE = 0.06  # share of grades that are slips
ADJACENT = 0.75  # of slips: to a neighbouring grade; else to any other
SESSIONS = 40  # simulated for the clicked pool
NEARBY = 150  # offers of the leaf, and as many of the department, among which truth is stratified
SPLIT = (("train", 0.5), ("valid", 0.15), ("test", 0.35))


class Judgments(NamedTuple):
    """One row a judged pair; `query` are positions in the judged intents."""

    query: np.ndarray
    item: np.ndarray
    utility: np.ndarray  # True utility.
    grade: np.ndarray  # What the judge wrote: the true grade, or another where it slipped.


def _clicked(log: Log, n_queries: int) -> list[np.ndarray]:
    """Per query, clicked items, most clicked first."""
    order = np.lexsort((log.item, -log.clicks, log.query))
    order = order[log.clicks[order] > 0]
    cut = np.searchsorted(log.query[order], np.arange(n_queries + 1))
    return [log.item[order[cut[k] : cut[k + 1]]] for k in range(n_queries)]


def _stratified(taxonomy: Taxonomy, items: Items, intents: Intents, rng: np.random.Generator) -> list[np.ndarray]:
    """Per query, offers of its leaf and department, dealt round the true grades so that each grade gets its turn."""
    order = np.argsort(items.leaf, kind="stable")
    start = np.r_[0, np.cumsum(taxonomy.sizes)]
    first = np.searchsorted(taxonomy.department, np.arange(int(taxonomy.department.max()) + 2))
    department = taxonomy.department[intents.leaves[:, 0]]
    own_low, own_high = start[intents.leaves[:, 0]], start[intents.leaves[:, 0] + 1]
    wide_low, wide_high = start[first[department]], start[first[department + 1]]
    shape = (len(intents), NEARBY)
    own = own_low[:, None] + np.floor(rng.random(shape) * (own_high - own_low)[:, None]).astype(np.int64)
    wide = wide_low[:, None] + np.floor(rng.random(shape) * (wide_high - wide_low)[:, None]).astype(np.int64)
    nearby = order[np.hstack([own, wide])]
    query = np.repeat(np.arange(len(intents)), nearby.shape[1])
    grades = grade(utility(taxonomy, items, intents, query, nearby.ravel())).reshape(nearby.shape)
    dealt = []
    for candidates, graded in zip(nearby, grades, strict=True):
        _, unlike = np.unique(candidates, return_index=True)
        unlike = np.sort(unlike)
        turn = np.zeros(len(unlike), dtype=np.int64)
        for g in range(4):
            mine = np.flatnonzero(graded[unlike] == g)
            turn[mine] = np.arange(len(mine))
        dealt.append(candidates[unlike][np.lexsort((-graded[unlike], turn))])
    return dealt


def judge(
    taxonomy: Taxonomy, items: Items, intents: Intents, legacy: np.ndarray, dense: np.ndarray, seed: int
) -> Judgments:
    """Up to 4 x PER_POOL pairs for each judged query; pairs two pools share make room for the next of each pool."""
    rng = np.random.default_rng([seed, 6])
    sessions = np.full(len(intents), SESSIONS, dtype=np.int64)
    clicked = _clicked(simulate(taxonomy, items, intents, legacy, sessions, rng), len(intents))
    stratified = _stratified(taxonomy, items, intents, rng)
    queries, chosen_items = [], []
    for k in range(len(intents)):
        pools = [legacy[k].tolist(), dense[k].tolist(), clicked[k].tolist(), stratified[k].tolist()]
        chosen: dict[int, None] = {}
        for pool in pools:
            fresh = (item for item in pool if item >= 0 and item not in chosen)
            chosen.update(dict.fromkeys(islice(fresh, PER_POOL)))
        # A pool that ran dry (few clicks, no lexical match) leaves room: the others take turns.
        for item in chain.from_iterable(zip_longest(*pools, fillvalue=-1)):
            if len(chosen) == len(pools) * PER_POOL:
                break
            if item >= 0:
                chosen.setdefault(item)
        queries += [k] * len(chosen)
        chosen_items += list(chosen)
    query, item = np.array(queries, dtype=np.int64), np.array(chosen_items, dtype=np.int64)
    true = utility(taxonomy, items, intents, query, item)
    grades = grade(true)
    slips = rng.random(len(grades)) < NOISE
    step = np.where(rng.random(len(grades)) < 0.5, 1, -1)
    neighbour = np.where((grades + step < 0) | (grades + step > 3), grades - step, grades + step)
    other = (grades + rng.integers(1, 4, len(grades))) % 4
    slipped = np.where(rng.random(len(grades)) < ADJACENT, neighbour, other)
    return Judgments(query, item, true, np.where(slips, slipped, grades))


def split(group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(Q,) 'train' | 'valid' | 'test' in the shares of SPLIT within every group (leaf or department)."""
    names = np.empty(len(group), dtype=object)
    for value in np.unique(group):
        rows = rng.permutation(np.flatnonzero(group == value))
        # Each row takes the split furthest behind its share, so that small groups keep the proportions.
        counts = np.zeros(len(SPLIT))
        for row in rows:
            k = int(
                np.argmax([share * (counts.sum() + 1) - count for (_, share), count in zip(SPLIT, counts, strict=True)])
            )
            counts[k] += 1
            names[row] = SPLIT[k][0]
    return names
