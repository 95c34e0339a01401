"""How fast codebook and generator age: trained on the log up to week T, judged by the clicks of later weeks.

    python -m tests.bench.bench_cadence [--items 6000] [--weeks 4 8 12]

On a generated marketplace (its log has 13 weeks). A share of the items is taken to be listed week by week: before its
week an item is in no catalogue, no training and no result, and one listed after T gets its SID from the codebook of T.
hit@5 of a query in a week: some item clicked in that week has its l-prefix among the five beams. `seen` queries led to a
click before T, `new` ones did not; `old` targets were listed by T, `new` ones later. Beams search the SIDs of the whole
catalogue. Tastes do not drift in a generated market: what ages here is what was not there yet, queries and items.
Intervals are of new queries (bootstrap, 2,000 resamples); differences are paired on the same queries.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.config import Config, codebook_sizes, preset
from engine.datasets.marketplace import write_marketplace
from engine.encoders.cache import encode_cached
from engine.evaluation.bootstrap import bootstrap_metric, paired_difference, resample_queries
from engine.generator.beam import beam_search
from engine.generator.examples import Lessons
from engine.generator.training import train_generator
from engine.generator.trie import SidTrie
from engine.problem.division import PURCHASE_WEIGHT
from engine.quantizers import protocol
from engine.quantizers.protocol import Quantizer
from engine.quantizers.sampling import TrainingSet
from engine.quantizers.taxonomy import roll_up
from engine.quantizers.tokenizer import train_tokenizer
from engine.relevance.prefix import match_pairs
from engine.threads import one_thread

LISTED_LATER = 0.3  # share of items that appear during the log
RESAMPLES = 2_000


class Market(NamedTuple):
    """A catalogue with a dated log."""

    item_x: np.ndarray
    query_x: np.ndarray
    category_code: np.ndarray
    sizes: tuple[int, ...]
    listed: np.ndarray
    """(N,) week from which an item is in the catalogue; -1: from the start."""
    clicks: pd.DataFrame
    """query, item (positions), week, weight: clicked pairs of items that were listed by then."""
    n_weeks: int


def load_market(folder: Path, n_items: int, seed: int, config: Config) -> Market:
    """Generates the marketplace in `folder` if it is not there."""
    if not (folder / "dataset.toml").exists():
        write_marketplace(folder, n_items=n_items, seed=seed)
    items, queries, log = (pd.read_parquet(folder / f"{name}.parquet") for name in ("items", "queries", "interactions"))
    texts = [*items["title"], *queries["text"]]
    encoder = config.encoder
    x = encode_cached(
        texts, model=encoder.model, max_tokens=encoder.max_tokens, batch=encoder.batch, cache=folder / "embeddings"
    )
    categories = items["category"].tolist()
    sizes = codebook_sizes(len(items), len(set(categories)))
    rng = np.random.default_rng([seed, 30])
    date = pd.to_datetime(log["date"])
    week = ((date - date.min()).dt.days // 7).to_numpy(np.int64)
    n_weeks = int(week.max()) + 1
    listed = np.where(rng.random(len(items)) < LISTED_LATER, rng.integers(0, n_weeks, len(items)), -1)
    clicks = pd.DataFrame(
        {
            "query": pd.Index(queries["query_id"]).get_indexer(log["query_id"]),
            "item": pd.Index(items["item_id"]).get_indexer(log["item_id"]),
            "week": week,
            "weight": (log["clicks"] + PURCHASE_WEIGHT * log["purchases"]).astype(np.float32),
        }
    )
    clicks = clicks[(clicks["weight"] > 0) & (clicks["week"] >= listed[clicks["item"]])]
    code = roll_up(categories, max_codes=sizes[0], separator=" > ").code
    return Market(x[: len(items)], x[len(items) :], code, sizes, listed, clicks, n_weeks)


class Known(NamedTuple):
    """What is known at the beginning of a week."""

    items: np.ndarray
    """Positions of the items listed."""
    query: np.ndarray
    item: np.ndarray
    """Rows of `items`."""
    weight: np.ndarray


def known_at(market: Market, week: int) -> Known:
    """Items listed and clicks made before `week`."""
    items = np.flatnonzero(market.listed < week)
    past = market.clicks[market.clicks["week"] < week].groupby(["query", "item"], as_index=False)["weight"].sum()
    row = np.full(len(market.listed), -1, dtype=np.int64)
    row[items] = np.arange(len(items))
    return Known(
        items, past["query"].to_numpy(np.int64), row[past["item"].to_numpy(np.int64)], past["weight"].to_numpy()
    )


def train_codebook(market: Market, week: int, config: Config, seed: int) -> Quantizer:
    """The quantizer of what is known at `week`."""
    known = known_at(market, week)
    lessons = TrainingSet(
        market.item_x[known.items], market.query_x, known.query, known.item, known.weight,
        protocol.Known(market.category_code[known.items]),
    )  # fmt: skip
    return train_tokenizer(lessons, config.quantizer, market.sizes, seed=seed).quantizer


class Model(NamedTuple):
    """A codebook of one week and a generator of the same or a later one."""

    codebook_week: int
    generator_week: int
    codes: np.ndarray
    """(N, L) SIDs of all items, those listed later included."""
    beams: np.ndarray
    """(Q, K, L)"""


def train_model(market: Market, codebook: Quantizer, weeks: tuple[int, int], config: Config, seed: int) -> Model:
    """A generator of what is known at `weeks[1]` on the SIDs of the codebook of `weeks[0]`."""
    codes = codebook.encode_items(market.item_x, protocol.Known(market.category_code)).codes
    known = known_at(market, weeks[1])
    lessons = Lessons(
        market.item_x[known.items], codes[known.items], market.query_x, known.query, known.item, known.weight,
        market.sizes,
    )  # fmt: skip
    generator = train_generator(lessons, config.generator, seed=seed).model
    trie = SidTrie.build(codes, market.sizes)
    found = beam_search(generator, market.query_x, trie, width=config.generator.beam_width)
    return Model(*weeks, codes, found.beams.codes)


def hits(market: Market, model: Model, weeks: range, since: int) -> pd.DataFrame:
    """query, week, seen, target ('all', 'old', 'new'), hit_1 .. hit_L of the clicked queries of `weeks`; seen and old
    speak of week `since`."""
    rows = market.clicks[market.clicks["week"].isin(weeks)]
    rows = rows.drop_duplicates(["query", "item", "week"])
    level = match_pairs(model.codes, model.beams, rows["query"].to_numpy(), rows["item"].to_numpy()).level
    asked = np.unique(market.clicks.loc[market.clicks["week"] < since, "query"])
    depth = model.codes.shape[1]
    table = rows[["query", "week"]].assign(
        seen=rows["query"].isin(asked), old=market.listed[rows["item"]] < since,
        **{f"hit_{d}": level >= d for d in range(1, depth + 1)},
    )  # fmt: skip
    columns = [f"hit_{d}" for d in range(1, depth + 1)]
    parts = []
    for target, part in (("all", table), ("old", table[table["old"]]), ("new", table[~table["old"]])):
        best = part.groupby(["query", "week", "seen"], as_index=False)[columns].max()
        parts.append(best.assign(target=target))
    return pd.concat(parts, ignore_index=True)


def by_query(table: pd.DataFrame, columns: list[str], n_queries: int) -> tuple[np.ndarray, np.ndarray]:
    """(Q, L) hits summed over weeks, and (Q,) the weeks they are of; NaN for queries without any."""
    top, bottom = np.zeros((n_queries, len(columns))), np.zeros(n_queries)
    query = table["query"].to_numpy()
    np.add.at(top, query, table[columns].to_numpy(np.float64))
    np.add.at(bottom, query, 1.0)
    top[bottom == 0] = np.nan
    return top, bottom


def told(table: pd.DataFrame, weights: np.ndarray) -> str:
    """'n | .71 [.68, .74] | ...' over levels."""
    columns = [c for c in table.columns if c.startswith("hit_")]
    top, bottom = by_query(table, columns, weights.shape[1])
    everyone = {"all": np.ones(weights.shape[1], dtype=bool)}
    cells = [f"{(bottom > 0).sum():,}"]
    for level in range(len(columns)):
        found = bootstrap_metric(top[:, level], bottom, weights, everyone)["all"]
        cells.append(f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]")
    return " | ".join(cells)


def compared(first: pd.DataFrame, second: pd.DataFrame, weights: np.ndarray) -> str:
    """First minus second on the same queries and weeks, over levels."""
    columns = [c for c in first.columns if c.startswith("hit_")]
    everyone = {"all": np.ones(weights.shape[1], dtype=bool)}
    cells = []
    tops = [by_query(table, columns, weights.shape[1]) for table in (first, second)]
    for level in range(len(columns)):
        a, b = (bootstrap_metric(top[:, level], bottom, weights, everyone)["all"] for top, bottom in tops)
        gap = paired_difference(a, b)
        cells.append(f"{gap.difference:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]")
    return " | ".join(cells)


SEGMENTS = {
    "all": lambda t: t[t["target"] == "all"],
    "seen queries": lambda t: t[(t["target"] == "all") & t["seen"]],
    "new queries": lambda t: t[(t["target"] == "all") & ~t["seen"]],
    "old items": lambda t: t[t["target"] == "old"],
    "new items": lambda t: t[t["target"] == "new"],
}


@one_thread()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=6_000)
    parser.add_argument("--weeks", type=int, nargs="+", default=[4, 8, 12])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--folder", type=Path, default=Path("data/workspace/bench-cadence"))
    given = parser.parse_args()
    began = time.perf_counter()
    config = preset(given.preset, seed=given.seed)
    market = load_market(given.folder / f"{given.items}-{given.seed}", given.items, given.seed, config)
    weights = resample_queries(len(market.query_x), RESAMPLES, seed=given.seed)
    levels = range(1, len(market.sizes) + 1)
    head = " | ".join(f"hit@5 level {level}" for level in levels)
    print(f"{given.items} items ({(market.listed >= 0).mean():.0%} listed during the log), {market.n_weeks} weeks, codes "
          f"{'/'.join(map(str, market.sizes))}, preset {given.preset}, seed {given.seed}\n")  # fmt: skip
    codebooks = {week: train_codebook(market, week, config, given.seed) for week in given.weeks}
    models = {
        (old, new): train_model(market, codebooks[old], (old, new), config, given.seed)
        for old in given.weeks
        for new in given.weeks
        if new >= old
    }

    print(f"Codebook and generator of week T, by later week.\n\n| T | week | queries | {head} |")
    print("|---|---|---|" + "---|" * len(levels))
    for week in given.weeks:
        found = hits(market, models[week, week], range(week, market.n_weeks), week)
        for later, part in SEGMENTS["all"](found).groupby("week"):
            print(f"| {week} | {later + 1} | {told(part, weights)} |", flush=True)
    print(f"\nThe same over all later weeks, by what was there at T.\n\n| T | of | queries | {head} |")
    print("|---|---|---|" + "---|" * len(levels))
    for week in given.weeks:
        found = hits(market, models[week, week], range(week, market.n_weeks), week)
        for name, chosen in SEGMENTS.items():
            print(f"| {week} | {name} | {told(chosen(found), weights)} |", flush=True)

    print("\nWhat a refresh is worth: three models on the weeks after the refresh (new = since the codebook's week).\n")
    print(f"| codebook | generator | of | queries | {head} | minus both refreshed: {head} |")
    print("|---|---|---|---|" + "---|" * 2 * len(levels))
    for old in given.weeks:
        for new in given.weeks:
            if new <= old:
                continue
            later = range(new, market.n_weeks)
            fresh = hits(market, models[new, new], later, old)
            for pair in ((old, old), (old, new), (new, new)):
                found = hits(market, models[pair], later, old)
                for name, chosen in SEGMENTS.items():
                    gap = compared(chosen(found), chosen(fresh), weights)
                    print(f"| {pair[0]} | {pair[1]} | {name} | {told(chosen(found), weights)} | {gap} |", flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
