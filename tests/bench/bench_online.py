"""How often the simulated online effect's 95 % interval holds the truth, on generated marketplaces where it is known.

    python -m tests.bench.bench_online [--draws 100] [--items 1000] [--queries 250]

Every draw takes other queries from one population, gives them a log of their own (the legacy ranker with exploration,
position-biased clicks) and grades with label noise for a part of them, and estimates UCTR and UCTCVR of two rankings.
The truth is the population's: true grades under the true click model, every query weighted by its sessions. `misses`
are the draws whose interval leaves it out; an honest 95 % interval misses at most as often as the last column says
(97.5 % binomial bound). The lists of both rankings are 60 candidates drawn from the legacy results and the shelves
nearby; they are ordered by the truth plus noise, or by the legacy ranker itself.
"""

from __future__ import annotations

import argparse
import time
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binom

from engine.audit.online import online_effect
from engine.datasets.marketplace import clicks
from engine.datasets.marketplace.items import Items, generate_items
from engine.datasets.marketplace.judgments import NOISE
from engine.datasets.marketplace.legacy import legacy_search
from engine.datasets.marketplace.queries import Intents, write_queries
from engine.datasets.marketplace.taxonomy import Taxonomy, build_taxonomy
from engine.datasets.marketplace.titles import write_texts
from engine.datasets.marketplace.truth import grade, utility

CANDIDATES = 60
SLOTS = clicks.SLOTS_SHOWN
TRAFFIC_ZIPF = 0.8


class Rivals(NamedTuple):
    """A pair of rankings: how much noise on the true utility each orders by; None: the legacy order."""

    with_sid: float | None
    without: float | None


CASES = {
    "better ranker against the legacy": Rivals(0.2, None),
    "better against worse": Rivals(0.15, 0.45),
    "a little better": Rivals(0.25, 0.3),
    "equally good": Rivals(0.3, 0.3),
}
WORLDS = ((16, 0.4), (120, 0.4), (16, 0.0))
"""Mean sessions a query, and share of the queries of which half the candidates are judged."""


class World(NamedTuple):
    """A marketplace with a population of queries and everything true of them."""

    taxonomy: Taxonomy
    items: Items
    intents: Intents
    legacy: np.ndarray
    """(Q, depth) legacy results, -1 pads."""
    sessions: np.ndarray
    """(Q,) sessions of each query."""
    candidates: np.ndarray
    """(Q, CANDIDATES) items that every ranking orders."""
    utility: np.ndarray
    """(Q, CANDIDATES) true utility."""


class Truth(NamedTuple):
    """One ranking: the order, and what it truly does."""

    ranks: np.ndarray
    """(Q, CANDIDATES) from 1."""
    uctr: np.ndarray
    """(Q,)"""
    uctcvr: np.ndarray


def build_world(n_items: int, n_queries: int, sessions_per_query: float, seed: int) -> World:
    """Deterministic by seed."""
    taxonomy = build_taxonomy(n_items, seed)
    items = generate_items(taxonomy, seed)
    titles = [title for block in write_texts(taxonomy, items, seed) for title in block.title]
    intents = write_queries(taxonomy, items, n_queries, seed)
    legacy = legacy_search(titles, items.popularity, intents.text)
    rng = np.random.default_rng([seed, 20])
    traffic = (rng.permutation(len(intents)) + 1.0) ** -TRAFFIC_ZIPF
    sessions = np.maximum(np.round(traffic / traffic.sum() * sessions_per_query * len(intents)), 1.0).astype(np.int64)
    candidates = np.stack([_candidates(taxonomy, items, intents, legacy[q], q, rng) for q in range(len(intents))])
    query = np.repeat(np.arange(len(intents)), CANDIDATES)
    true = utility(taxonomy, items, intents, query, candidates.ravel()).reshape(candidates.shape)
    return World(taxonomy, items, intents, legacy, sessions, candidates, true)


def _candidates(
    taxonomy: Taxonomy, items: Items, intents: Intents, legacy: np.ndarray, query: int, rng: np.random.Generator
) -> np.ndarray:
    """Legacy results first, then offers of the leaf meant, then of its department, then any."""
    leaf = intents.leaves[query, 0]
    near = rng.permutation(np.flatnonzero(items.leaf == leaf))
    wide = rng.permutation(np.flatnonzero(taxonomy.department[items.leaf] == taxonomy.department[leaf]))
    anywhere = rng.permutation(len(items))
    # Few enough of the legacy's that rankings also show what it never did.
    pool = np.concatenate([legacy[legacy >= 0][: CANDIDATES // 2], near, wide, anywhere])
    _, first = np.unique(pool, return_index=True)
    return pool[np.sort(first)][:CANDIDATES]


def rank_by(world: World, noise: float | None, seed: int) -> Truth:
    """Orders every query's candidates and works out what shoppers truly do."""
    rng = np.random.default_rng(seed)
    if noise is None:  # candidates begin with the legacy results, best first
        score = -np.tile(np.arange(CANDIDATES, dtype=np.float64), (len(world.candidates), 1))
    else:
        score = world.utility + noise * rng.normal(size=world.utility.shape)
    order = np.argsort(-score, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(1, CANDIDATES + 1)[None, :], axis=1)
    grades = grade(np.take_along_axis(world.utility, order[:, :SLOTS], axis=1).ravel()).reshape(-1, SLOTS)
    click = np.arange(1, SLOTS + 1) ** -clicks.EXAMINATION_DECAY * np.array(clicks.ATTRACTIVENESS)[grades]
    purchase = click * np.array(clicks.PURCHASE)[grades]
    return Truth(ranks, 1 - np.prod(1 - click, axis=1), 1 - np.prod(1 - purchase, axis=1))


class Draw(NamedTuple):
    """What an analyst would have: the tables of one log."""

    scores: pd.DataFrame
    queries: pd.DataFrame
    interactions: pd.DataFrame
    judgments: pd.DataFrame


def draw(world: World, first: Truth, second: Truth, n_queries: int, judged_share: float, seed: int) -> Draw:
    """`n_queries` of the population, their log, and grades of half the candidates for a share of them."""
    rng = np.random.default_rng([seed, 21])
    chosen = np.sort(rng.choice(len(world.intents), n_queries, replace=False))
    log = clicks.simulate(
        world.taxonomy, world.items, world.intents.take(chosen), world.legacy[chosen], world.sessions[chosen], rng
    )
    name = np.array([f"q{q}" for q in chosen], dtype=object)
    interactions = pd.DataFrame(
        {"query_id": name[log.query], "item_id": log.item, "impressions": log.impressions, "clicks": log.clicks,
         "purchases": log.purchases, "position": log.position}
    )  # fmt: skip
    listed = np.repeat(name, CANDIDATES)
    item = world.candidates[chosen].ravel()
    scores = pd.DataFrame(
        {"query_id": listed, "item_id": item, "rank": first.ranks[chosen].ravel(),
         "rank_without_sid": second.ranks[chosen].ravel()}
    )  # fmt: skip
    judged = np.repeat(rng.random(n_queries) < judged_share, CANDIDATES) & (rng.random(len(item)) < 0.5)
    grades = grade(world.utility[chosen].ravel()[judged])
    slips = rng.random(len(grades)) < NOISE
    grades = np.where(slips, (grades + rng.integers(1, 4, len(grades))) % 4, grades)
    judgments = pd.DataFrame({"query_id": listed[judged], "item_id": item[judged], "grade": grades.astype(np.float64)})
    queries = pd.DataFrame({"query_id": name, "frequency": world.sessions[chosen].astype(np.float64)})
    return Draw(scores, queries, interactions, judgments)


class Coverage(NamedTuple):
    """One case and metric over all draws."""

    metric: str
    truth: float
    """Difference, percentage points."""
    estimate: float
    """Mean of the estimates, percentage points."""
    spread: float
    """Their standard deviation."""
    width: float
    """Mean width of the intervals."""
    misses: dict[str, int]
    """By scenario."""
    unmeasured: float


def coverage(
    world: World, rivals: Rivals, *, n_queries: int, draws: int, judged_share: float, resamples: int = 2_000
) -> list[Coverage]:
    """Estimate from `draws` logs and count the intervals that leave the truth out."""
    first, second = rank_by(world, rivals.with_sid, 1), rank_by(world, rivals.without, 2)
    share = world.sessions / world.sessions.sum()
    found = []
    for k in range(draws):
        tables = draw(world, first, second, n_queries, judged_share, k)
        found.append(online_effect(**tables._asdict(), max_grade=3, resamples=resamples, seed=k).online)
    table = pd.concat(found)
    out = []
    for metric in ("uctr", "uctcvr"):
        truth = float(share @ (getattr(first, metric) - getattr(second, metric)))
        own = table[table["metric"] == metric]
        missed = (own["low"] > truth) | (own["high"] < truth)
        main = own[own["scenario"] == "estimate"]
        out.append(
            Coverage(
                metric, 100 * truth, 100 * main["difference"].mean(), 100 * main["difference"].std(),
                100 * (main["high"] - main["low"]).mean(),
                {str(name): int(rows.sum()) for name, rows in missed.groupby(own["scenario"])},
                float(main[["unmeasured", "unmeasured_without"]].to_numpy().mean()),
            )
        )  # fmt: skip
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--items", type=int, default=1_000)
    parser.add_argument("--queries", type=int, default=250, help="in each draw, of a population ten times as large")
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--seed", type=int, default=2, help="of the marketplace; settled on 0 and 1")
    given = parser.parse_args()
    began = time.perf_counter()
    allowed = int(binom.ppf(0.975, given.draws, 0.05))
    print(f"{given.items} items, {given.draws} draws of {given.queries} queries; differences in percentage points\n")
    print("| rankings | sessions a query | judged | unmeasured | metric | truth | estimate (sd) | width | misses: estimate "
          "| neutral | alike | allowed |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for sessions, judged_share in WORLDS:
        world = build_world(given.items, 10 * given.queries, sessions, seed=given.seed)
        for name, rivals in CASES.items():
            for c in coverage(
                world,
                rivals,
                n_queries=given.queries,
                draws=given.draws,
                judged_share=judged_share,
                resamples=given.resamples,
            ):
                print(f"| {name} | {sessions} | {judged_share:.0%} | {c.unmeasured:.0%} | {c.metric} | {c.truth:+.2f} | "
                      f"{c.estimate:+.2f} ({c.spread:.2f}) | {c.width:.2f} | {c.misses['estimate']} | "
                      f"{c.misses['neutral']} | {c.misses['alike']} | {allowed} |", flush=True)  # fmt: skip
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
