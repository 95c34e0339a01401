"""Pairs a second of the match level against plain pandas, and of every SID signal of a trained run.

    python -m tests.bench.bench_signals [--pairs 1000000] [--rounds 5] [--workspace data/workspace]

The match level of a pair is the share 0, 1/4, 1/2 or 1 that its item's SID has in common with the query's five beams.
`merge` is what an analyst would write: prefixes as text, one row for each, joined and reduced with groupby. `apply`
compares tuples row by row; it is timed on a tenth of the pairs. Both get their tables ready-made and give the same
answers as ours. All are timed in turn within each round; medians.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.relevance.prefix import match_pairs
from tests.bench.rivals import alternate

N_ITEMS, N_QUERIES, BEAMS, SIZES = 6_000, 2_000, 5, (216, 32, 16)


class Setting(NamedTuple):
    """SIDs of items (N, L), beams of queries (Q, K, L), pairs (M,) and (M,)."""

    codes: np.ndarray
    beams: np.ndarray
    query: np.ndarray
    item: np.ndarray


def setting(pairs: int, *, seed: int = 0) -> Setting:
    """First codes as uneven as categories are; beams are SIDs of items, so that every level is met."""
    rng = np.random.default_rng(seed)
    first = np.minimum(rng.zipf(1.3, N_ITEMS) - 1, rng.integers(0, SIZES[0], N_ITEMS))
    codes = np.column_stack([first, *(rng.integers(0, size, N_ITEMS) for size in SIZES[1:])])
    beams = codes[rng.integers(0, N_ITEMS, (N_QUERIES, BEAMS))]
    return Setting(codes, beams, rng.integers(0, N_QUERIES, pairs), rng.integers(0, N_ITEMS, pairs))


def value_of(levels: int) -> np.ndarray:
    """(L + 1,) what a match down to each level is worth: 0, 1/4, 1/2, 1 for three levels."""
    return np.append(0.0, 2.0 ** np.arange(1 - levels, 1))


def ours(s: Setting) -> np.ndarray:
    """(M,) match value by `match_pairs`."""
    return value_of(s.codes.shape[1])[match_pairs(s.codes, s.beams, s.query, s.item).level]


class Tables(NamedTuple):
    """What the pandas versions read."""

    pairs: pd.DataFrame
    items: pd.DataFrame
    beams: pd.DataFrame
    """One row a query and beam."""


def tables(s: Setting) -> Tables:
    """Prefixes of every level as text, in columns 1..L; whole SIDs as tuples in `sid`."""
    n, k, levels = s.beams.shape

    def prefixes(codes: np.ndarray) -> pd.DataFrame:
        text = {level: ["-".join(map(str, row[:level])) for row in codes.tolist()] for level in range(1, levels + 1)}
        return pd.DataFrame(text).assign(sid=pd.Series(map(tuple, codes.tolist())))

    return Tables(
        pd.DataFrame({"pair": np.arange(len(s.query)), "query": s.query, "item": s.item}),
        prefixes(s.codes).assign(item=np.arange(len(s.codes))),
        prefixes(s.beams.reshape(-1, levels)).assign(query=np.repeat(np.arange(n), k)),
    )


def merge(t: Tables, levels: int) -> np.ndarray:
    """(M,) match value by joins: the deepest level at which an item's prefix is among those of the query's beams."""
    long = [*range(1, levels + 1)]
    of_item = t.items.melt(id_vars="item", value_vars=long, var_name="level", value_name="prefix")
    of_beam = t.beams.melt(id_vars="query", value_vars=long, var_name="level", value_name="prefix")
    common = t.pairs.merge(of_item, on="item").merge(of_beam.drop_duplicates(), on=["query", "level", "prefix"])
    depth = common["level"].astype(int).groupby(common["pair"]).max().reindex(t.pairs["pair"], fill_value=0)
    return value_of(levels)[depth.to_numpy()]


def apply(t: Tables, levels: int) -> np.ndarray:
    """(M,) match value by a function called for each row."""
    sid = dict(zip(t.items["item"], t.items["sid"], strict=True))
    beams = t.beams.groupby("query")["sid"].agg(list).to_dict()

    def value(row: pd.Series) -> float:
        own = sid[row["item"]]
        deepest = 0
        for beam in beams[row["query"]]:
            depth = 0
            while depth < levels and own[depth] == beam[depth]:
                depth += 1
            deepest = max(deepest, depth)
        return 2.0 ** (deepest - levels) if deepest else 0.0

    return t.pairs.apply(value, axis=1).to_numpy()


def match_rates(pairs: int, rounds: int) -> None:
    """Print pairs a second of ours and of both pandas versions."""
    s = setting(pairs)
    t, levels = tables(s), s.codes.shape[1]
    tenth = Setting(s.codes, s.beams, s.query[: pairs // 10], s.item[: pairs // 10])
    few = t._replace(pairs=t.pairs.head(pairs // 10))
    rivals: dict[str, Callable[[], np.ndarray]] = {
        "match_pairs": lambda: ours(s),
        "pandas merge": lambda: merge(t, levels),
        "pandas apply": lambda: apply(few, levels),
    }
    expected = ours(s)
    np.testing.assert_array_equal(merge(t, levels), expected)
    np.testing.assert_array_equal(apply(few, levels), ours(tenth))
    seconds = alternate(list(rivals.values()), rounds)
    rate = np.array([pairs, pairs, pairs // 10]) / np.median(seconds, axis=0)
    shares = ", ".join(f"{value:g}: {np.mean(expected == value):.1%}" for value in np.unique(expected))
    print(f"{pairs:,} pairs, {BEAMS} beams, {levels} levels, median of {rounds}; match values {shares}\n")
    print("| match level | pairs/s | ours against it |\n|---|---|---|")
    for name, r in zip(rivals, rate, strict=True):
        print(f"| {name} | {r:,.0f} | {rate[0] / r:.1f}x |")


def signal_rates(workspace: Path, run_id: str | None, pairs: int, rounds: int) -> None:
    """Print pairs a second of every signal that the run's ranker reads, on candidates of the run's test queries."""
    from engine.answering.live import newest_run
    from engine.runs import Run
    from tests.bench.asking import test_queries

    run = Run.load(workspace, run_id or newest_run(workspace))
    if run.config.ranker.kind != "boosted":
        print(f"\n{run.run_id} has no signals: its ranker is '{run.config.ranker.kind}'.")
        return
    bench = test_queries(run, max(1, pairs // run.config.retrieval.top))
    query, item = bench.found.query, bench.found.item
    print(f"\n{run.run_id}: {len(query):,} pairs of {len(bench.queries.id)} queries, median of {rounds}\n")
    print("| signal | pairs/s |\n|---|---|")
    for name, fitted in bench.sids.signals.items():
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            fitted.measure(bench.asked, query, item)
            seconds.append(time.perf_counter() - start)
        print(f"| {name} | {len(query) / np.median(seconds):,.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workspace", type=Path, default=Path("data/workspace"))
    parser.add_argument("--run", default=None)
    parser.add_argument("--run-pairs", type=int, default=50_000, help="pairs of the run that its signals measure")
    arguments = parser.parse_args()
    match_rates(arguments.pairs, arguments.rounds)
    signal_rates(arguments.workspace, arguments.run, arguments.run_pairs, arguments.rounds)


if __name__ == "__main__":
    main()
