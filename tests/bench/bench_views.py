"""How long the queries behind every page take on a snapshot as large as a shop.

python -m tests.bench.bench_views --workspace data/workspace --grown /tmp/grown --items 1000000 --pairs 10000000
python -m tests.bench.bench_views --workspace /tmp/grown --pages 3

Every query of app/queries is asked a number of times with other arguments, from the head and the tail of what there is
(tests/bench/clicks.py), on a handle as the dashboard opens it; nothing is cached but what DuckDB keeps. `--grown` holds the
snapshot that is made of the workspace's current one, once.
"""

from __future__ import annotations

import argparse
import os
import pickle
import resource
import shutil
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.store.handles import Handles
from engine.store.snapshot import READER_MEMORY, READER_THREADS, current_id
from engine.store.workspace import VARIABLE
from tests.bench.clicks import Click, Deck, clicks
from tests.browser.grown import grow

MAIN = Path(__file__).parents[2] / "app" / "main.py"
PATIENCE = 8.0
"""Seconds that one query may take for all its turns; the rest of them is left out."""


class Measured(NamedTuple):
    """One answer."""

    seconds: float
    processor: float
    """Seconds of all threads: what other processes on the machine do not change."""
    rows: int
    bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path("data/workspace"))
    parser.add_argument("--grown", type=Path, help="folder of the grown workspace; without it the workspace as it is")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--times", type=int, default=12, help="turns of every query")
    parser.add_argument("--only", default="", help="queries whose name holds this")
    parser.add_argument("--pages", type=int, default=0, help="whole pages instead, each opened so many times")
    parser.add_argument("--all", action="store_true", help="a row for the quick ones too")
    given = parser.parse_args()
    folder = _grown(given.workspace, given.grown, given.items, given.pairs) if given.grown else given.workspace
    snapshot_id = str(current_id(folder))
    handles, found = Handles(), defaultdict(list)
    with handles.cursor(folder, snapshot_id) as cursor:
        deck = Deck(cursor)
        if given.pages:
            _pages(folder, deck, given.pages)
            return
        mix = [click for click in clicks(deck, given.times) if given.only in click.name]
    before = _resident()
    for click in np.random.default_rng(0).permutation(np.array(mix, dtype=object)):
        one = Click(*click)
        if sum(m.seconds for m in found[one.name]) < PATIENCE:
            found[one.name].append(_ask(handles, folder, snapshot_id, one))
    size = (folder / "snapshots" / f"{snapshot_id}.duckdb").stat().st_size
    _report(found, size, before, given.all)
    handles.close()


def _grown(workspace: Path, folder: Path, items: int, pairs: int) -> Path:
    path = folder / "snapshots" / f"{current_id(workspace)}.duckdb"
    if not (folder / "CURRENT").is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(workspace / "snapshots" / path.name, path)
        grow(path, items, pairs)
        shutil.copy(workspace / "CURRENT", folder)
    return folder


def _ask(handles: Handles, folder: Path, snapshot_id: str, click: Click) -> Measured:
    beside = click.args[0] if click.name.startswith("comparison.") else None
    start, spent = time.perf_counter(), time.process_time()
    with handles.cursor(folder, snapshot_id, beside) as cursor:
        made: Any = click.query(cursor, *click.args)
    seconds, processor = time.perf_counter() - start, time.process_time() - spent
    parts = made if isinstance(made, tuple) else (made,)
    rows = max((len(part) for part in parts if hasattr(part, "__len__") and not isinstance(part, str)), default=1)
    return Measured(seconds, processor, rows, len(pickle.dumps(made)))


def _pages(folder: Path, deck: Deck, times: int) -> None:
    """Seconds of the server's work for every page, as opened from the menu and with something chosen; no answer cached."""
    import streamlit as st
    from streamlit.testing.v1 import AppTest

    os.environ[VARIABLE] = str(folder)
    print("| page | chosen | n | p50 (s) | max (s) |\n|---|---|---|---|---|")
    for view, chosen in {
        "overview": {}, "codebook": {"code": deck.prefix}, "coverage": {"category": deck.category}, "query": {"q": deck.text},
        "explain": {"q": deck.query}, "what_if": {}, "sellers": {"value": lambda: deck.value("seller")[1]}, "runs": {},
        "report": {}, "data": {},
    }.items():  # fmt: skip
        for params in ({}, chosen) if chosen else ({},):
            taken = []
            for _ in range(times):
                page = AppTest.from_file(str(MAIN), default_timeout=120).run()
                st.cache_data.clear()
                if view != "overview":
                    page.switch_page(f"views/{view}.py")
                for name, draw in params.items():
                    page.query_params[name] = draw()
                start = time.perf_counter()
                page.run()
                taken.append(time.perf_counter() - start)
                assert not page.exception, (view, page.exception)
            print(
                f"| {view} | {', '.join(params) or '–'} | {times} | {np.median(taken):.2f} | {max(taken):.2f} |",
                flush=True,
            )


def _resident() -> float:
    """MB of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _report(found: dict[str, list[Measured]], size: int, before: float, whole: bool) -> None:
    print(
        "| query | n | p50 (ms) | p95 (ms) | max (ms) | processor, p50 (ms) | most rows | most kB |\n|---|---|---|---|---|---|---|---|"
    )
    p95 = {name: float(np.quantile([m.seconds for m in all_], 0.95)) for name, all_ in found.items()}
    for name in sorted(p95, key=p95.__getitem__, reverse=True):
        taken = [m.seconds * 1e3 for m in found[name]]
        if whole or p95[name] > 0.1:
            print(
                f"| `{name}` | {len(taken)} | {np.median(taken):,.0f} | {1e3 * p95[name]:,.0f} | {max(taken):,.0f} | {1e3 * np.median([m.processor for m in found[name]]):,.0f} "
                f"| {max(m.rows for m in found[name]):,} | {max(m.bytes for m in found[name]) / 1e3:,.0f} |"
            )
    every = [m.seconds for all_ in found.values() for m in all_]
    over = {bar: sum(p > bar for p in p95.values()) for bar in (0.3, 1.0)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f"\n{len(found)} queries, {len(every):,} answers: p50 {1e3 * np.median(every):.0f} ms, p95 {1e3 * np.quantile(every, 0.95):.0f} ms; "
        f"{over[0.3]} queries with a p95 over 300 ms, {over[1.0]} over 1 s. Snapshot {size / 1e9:.2f} GB; process {before:,.0f} MB before, "
        f"{_resident():,.0f} MB after, {peak:,.0f} MB at its peak (DuckDB may hold {READER_MEMORY}, {READER_THREADS} threads)."
    )


if __name__ == "__main__":
    main()
