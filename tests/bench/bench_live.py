"""How long a live query takes, part by part: median and 99th percentile over queries the run has not stored.

python -m tests.bench.bench_live --workspace data/workspace
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

QUERIES = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("data/workspace"))
    parser.add_argument("--run", default=None)
    arguments = parser.parse_args()
    began = time.perf_counter()
    from engine.inference import LiveRun, newest_run

    imported = time.perf_counter() - began
    live = LiveRun.load(arguments.workspace, arguments.run or newest_run(arguments.workspace))
    rng = np.random.default_rng(0)
    titles = live.items["title"].to_numpy()[rng.integers(0, len(live.items), QUERIES)]
    texts = [" ".join(rng.permutation(title.split())[:4]) or "x" for title in titles]
    for text in texts[:10]:
        live.query(text)
    timings = [live.query(text).timings_ms for text in texts]
    print(f"import {imported:.1f} s, load the run {live.load_ms / 1000:.1f} s, then {QUERIES} live queries (ms):\n")
    print("| part | median | p99 |\n|---|---|---|")
    for part in ("encode", "beam", "score", "total"):
        values = np.array([t[part] for t in timings])
        print(f"| {part} | {np.median(values):.1f} | {np.quantile(values, 0.99):.1f} |")


if __name__ == "__main__":
    main()
