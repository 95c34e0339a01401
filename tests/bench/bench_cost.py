"""What SID signals and their dense twins cost to serve, beside what they gain: bytes, milliseconds, lift.

    python -m tests.bench.bench_cost --workspace data/workspace [--run RUN] [--queries 60]

On a finished run with SIDs and boosted rankers. Bytes are of the arrays that the fitted signals hold: those with a row
an item, and all others (held once). SIDs count as they would be stored, two bytes a code, in the stacks that the signal
reads; dense vectors as they are, float32. Times are of one thread, after the query's vector is known (both sides need
it), medians over the queries; `live`: one query at a time, the query's own preparation included, as many candidates as
the run retrieves; `whole catalogue`: every item scored for one query. Beams, which `match` reads, are timed apart;
neighbours among past queries, which `memory` reads, are found before and not in its time.
Lifts are of the run: AUC on its test queries over the same boosted ranker without the signal, 95 % interval by query.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from threadpoolctl import threadpool_limits

from engine.answering.live import newest_run
from engine.learning.signals import measured_signals, measured_twins
from engine.relevance.signals import cluster
from engine.relevance.signals.cluster import NEIGHBOURHOODS
from engine.relevance.signals.feedback import Neighbours
from engine.relevance.signals.nearest import nearest_titles
from engine.relevance.signals.protocol import Asked, Fitted, Signal
from engine.runs import Run
from engine.threads import one_thread
from tests.bench.asking import Asking, test_queries

OWN_STACK_ONLY = ("match", "logp")
"""Signals that read the run's own SIDs; the others read every stack."""


class Bytes(NamedTuple):
    """Of one signal."""

    per_item: float
    once: int


class Cost(NamedTuple):
    """Of one signal."""

    size: Bytes
    live_ms: float
    catalogue_ms: float


def held(value: Any, found: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Every array reachable from a fitted signal, by where its memory begins."""
    if isinstance(value, np.ndarray):
        start = value.__array_interface__["data"][0]
        if value.nbytes > (found[start].nbytes if start in found else 0):
            found[start] = value
    elif sparse.issparse(value):
        for part in ("data", "indices", "indptr"):
            held(getattr(value, part, None), found)
    elif isinstance(value, dict):
        for part in value.values():
            held(part, found)
    elif isinstance(value, list | tuple):
        for part in value:
            held(part, found)
    elif dataclasses.is_dataclass(value) or hasattr(value, "__dict__"):
        for part in vars(value).values():
            held(part, found)
    return found


def size_of(fitted: object, stacks: list[np.ndarray], n_items: int) -> Bytes:
    """Bytes an item, and once; `stacks` are the SIDs that it reads, none for a dense twin."""
    arrays = held(fitted, {}).values()
    per_item = sum(a.nbytes for a in arrays if n_items in a.shape)
    once = sum(a.nbytes for a in arrays if n_items not in a.shape)
    if stacks:
        per_item = sum(codes.astype(np.uint16).nbytes for codes in stacks)
    return Bytes(per_item / n_items, once)


def one_query(asked: Asked, query: int) -> Asked:
    """The asked query alone."""
    row = slice(query, query + 1)
    whole = asked.log_prob
    return asked._replace(
        x=asked.x[row], texts=asked.texts[query : query + 1], group=asked.group[row], listed=asked.listed[row],
        latent=asked.latent[row], beams=asked.beams[row],
        near=Neighbours(*(near._replace(row=near.row[row], weight=near.weight[row]) for near in asked.near)),
        log_prob=None if whole is None else lambda rows, codes: whole(rows + query, codes),
    )  # fmt: skip


def milliseconds(fitted: Fitted, asked: list[Asked], items: list[np.ndarray]) -> float:
    """Median over the queries of measuring their items."""
    taken = []
    for alone, item in zip(asked, items, strict=True):
        start = time.perf_counter()
        fitted.measure(alone, np.zeros(len(item), dtype=np.int64), item)
        taken.append(1000 * (time.perf_counter() - start))
    return float(np.median(taken))


def cost_of(bench: Asking, signal: Signal, stacks: list[np.ndarray]) -> Cost:
    """Fit the signal and time it."""
    x = bench.shelf.item_x
    fitted: Any = signal.fit(bench.shelf)
    if signal.name == "cluster_titles":  # timed as it would be served: the nearest titles stored, not searched
        fitted = dataclasses.replace(fitted, item_x=nearest_titles(x, np.arange(len(x)), max(NEIGHBOURHOODS)))
        cluster.nearest_titles = lambda item_x, item, k: item_x[item]
    n_items = len(x)
    asked = [one_query(bench.asked, query) for query in range(len(bench.queries.id))]
    listed = [bench.found.item[bench.found.query == query] for query in range(len(asked))]
    milliseconds(fitted, asked[:2], listed[:2])
    few = asked[: max(3, len(asked) // 10)]
    return Cost(
        size_of(fitted, stacks, n_items),
        milliseconds(fitted, asked, listed),
        milliseconds(fitted, few, [np.arange(n_items)] * len(few)),
    )


def lift(comparisons: pd.DataFrame, ranker: str) -> str:
    """'+0.81 [+0.40, +1.20]' percentage points of AUC over `strong_gbm`; 'not run' where the run has no such rung."""
    rows = comparisons[(comparisons["metric"] == "auc") & (comparisons["segment"] == "all")]
    rows = rows[(rows["ranker"] == ranker) & (rows["baseline"] == "strong_gbm")]
    if rows.empty:
        return "not run"
    value, low, high = (100 * rows[["difference", "low", "high"]]).iloc[0]
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def _row(name: str, gain: str, size: Bytes, per_query: str, live: float, whole: float) -> str:
    return (
        f"| {name} | {gain} | {size.per_item:,.0f} | {size.once / 1e6:.2f} | {per_query} | {live:.2f} | {whole:.1f} |"
    )


@one_thread()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path("data/workspace"))
    parser.add_argument("--run", default=None)
    parser.add_argument("--queries", type=int, default=60)
    given = parser.parse_args()
    with threadpool_limits(1):
        run = Run.load(given.workspace, given.run or newest_run(given.workspace))
        report(run, test_queries(run, given.queries))


def report(run: Run, bench: Asking) -> None:
    """Print the tables."""
    comparisons = pd.read_parquet(run.folder / "tables" / "comparisons.parquet")
    config, shelf, asked = run.config, bench.shelf, bench.asked
    weights = run.stage_folder("generate") / "stack0" / "model"
    generator_bytes = sum(f.stat().st_size for f in ([weights] if weights.is_file() else weights.rglob("*")))
    stacks = [np.asarray(codes) for codes in shelf.stacks]
    known, dense = measured_signals(config), measured_twins(config)
    print(f"{run.run_id}: {len(shelf.item_x):,} items, {len(asked.x)} test queries, median "
          f"{np.median(np.bincount(bench.found.query)):.0f} candidates, {len(stacks)} stacks, L = {stacks[0].shape[1]}, "
          f"vectors of {shelf.item_x.shape[1]} float32, latents of {shelf.item_latent.shape[1]}, one thread\n")  # fmt: skip
    print(
        "| signal | lift, pp AUC | bytes an item | once, MB | bytes a stored query | live, ms | whole catalogue, ms |"
    )
    print("|---|---|---|---|---|---|---|")
    vector, latent = shelf.item_x[:1].nbytes, shelf.item_latent[:1].nbytes
    beam = asked.beams[0].astype(np.uint16).nbytes
    sid_costs, twin_costs = {}, {}
    for name, made in known.items():
        sid_costs[name] = cost_of(bench, made, stacks[:1] if name in OWN_STACK_ONLY else stacks)
        c = sid_costs[name]
        size = c.size._replace(once=c.size.once + generator_bytes * (name == "logp"))
        per_query = {"match": f"{beam} (beams)", "list": "0"}.get(name, f"{vector} (vector)")
        print(_row(f"{name} (SID)", lift(comparisons, f"{name}_gbm"), size, per_query, c.live_ms, c.catalogue_ms))
        twin = made.twin
        if twin is None or twin not in dense:
            continue
        if twin not in twin_costs:
            twin_costs[twin] = cost_of(bench, dense[twin], [])
        c = twin_costs[twin]
        per_query = {"contrastive_cosine": f"{latent} (latent)", "list_cosine": "0"}.get(twin, f"{vector} (vector)")
        gain = lift(comparisons, f"{name}_twin")
        print(_row(f"{twin} (dense twin)", gain, c.size, per_query, c.live_ms, c.catalogue_ms), flush=True)

    served = [sid_costs[name] for name in known if name in config.signals.served]
    fitted = [dense[name].fit(shelf) for name in twin_costs]
    together = size_of(fitted, [], len(shelf.item_x))  # arrays that twins share count once
    sids = Bytes(
        sum(codes.astype(np.uint16).nbytes for codes in stacks) / len(shelf.item_x),
        sum(c.size.once for c in served) + generator_bytes,
    )
    print(_row("**all served SID signals**", lift(comparisons, "rich"), sids, f"{vector + beam}",
               sum(c.live_ms for c in served), sum(c.catalogue_ms for c in served)))  # fmt: skip
    print(_row("**all dense twins**", lift(comparisons, "twins"), together, f"{vector + latent}",
               sum(c.live_ms for c in twin_costs.values()), sum(c.catalogue_ms for c in twin_costs.values())))  # fmt: skip
    print(f"\nBoth together: {lift(comparisons, 'rich_twins')} pp. Plain vectors, for scale: an embedding is {vector:,} "
          f"bytes an item, a latent {latent:,}, a SID {2 * stacks[0].shape[1]}.\n")  # fmt: skip
    one = _beam_ms(bench, 1)
    print(f"Beams of a live query: {one:.2f} ms alone, {_beam_ms(bench, 64):.2f} ms in batches of 64 "
          f"(generator {generator_bytes / 1e6:.1f} MB).")  # fmt: skip
    print("\nWhat each needs:")
    for signal in (*known.values(), *dense.values()):
        print(f"- {signal.name}: {signal.cost}")


def _beam_ms(bench: Asking, batch: int) -> float:
    taken = []
    rows = np.resize(np.arange(len(bench.queries.id)), max(batch, 30 if batch == 1 else 3 * batch))
    generator, width = bench.sids.generator, bench.served.config.generator.beam_width
    for start in range(0, len(rows) - batch + 1, batch):
        part = rows[start : start + batch]
        begin = time.perf_counter()
        generator.read(bench.queries.x[part], [bench.queries.texts[row] for row in part]).search(
            generator.trie, width=width
        )
        taken.append(1000 * (time.perf_counter() - begin) / batch)
    return float(np.median(taken[1:] or taken))


if __name__ == "__main__":
    main()
