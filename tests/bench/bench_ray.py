"""Two Ray workers against one, beside the local path, in one run: encoding, or answering every query of a run.

    python -m tests.bench.bench_ray encode [--texts 40000]
    python -m tests.bench.bench_ray answer --workspace data/workspace [--block 100]

Each worker computes on one thread. `whole` is from the call to the last block on the disk, with the start of the
processes; `at work` is from the first finished block to the last, for what a long run costs. Vectors and rows are
compared bit for bit with the local path's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

from engine.on_ray import OnRay, connected

GOAL = 1.7


class Measured(NamedTuple):
    """One way of doing all blocks."""

    name: str
    whole: float
    at_work: float  # Seconds a unit, times all units.


class Watch:
    """Seconds to the first finished block and to the last."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.seen: list[tuple[float, int]] = []
        self.total = 0

    def __call__(self, done: int, total: int) -> None:
        """Called as blocks finish."""
        self.seen.append((time.perf_counter() - self.began, done))
        self.total = total

    def measured(self, name: str) -> Measured:
        """What came of it."""
        whole = time.perf_counter() - self.began
        (first, some), (last, every) = self.seen[0], self.seen[-1]
        return Measured(name, whole, (last - first) / max(every - some, 1) * self.total)


def places(cluster: OnRay) -> Iterator[tuple[str, OnRay | None]]:
    """Local first: what the others are held against."""
    yield "here, one thread", None
    for workers in (1, 2):
        yield f"Ray, {workers} worker{'s' * (workers > 1)}", cluster._replace(workers=workers)


def encode(cluster: OnRay, texts: int) -> tuple[str, list[Measured]]:
    """Distinct titles of about a dozen words, in blocks of a twentieth."""
    import numpy as np

    from engine.datasets.marketplace import write_marketplace
    from engine.encoders import cache

    found, vectors = [], []
    with tempfile.TemporaryDirectory(prefix="bench-ray-") as folder:
        write_marketplace(Path(folder) / "m", n_items=2000, seed=0)
        import pandas as pd

        titles = pd.read_parquet(Path(folder) / "m" / "items.parquet")["title"].tolist()
        many = [f"{titles[n % len(titles)]} {n}" for n in range(texts)]
        cache.BLOCK = -(-texts // 20)
        for number, (name, place) in enumerate(places(cluster)):
            watch = Watch()
            vectors.append(
                cache.encode_cached(
                    many, model="minilm", max_tokens=64, batch=64, cache=Path(folder) / f"{number}", progress=watch,
                    on_ray=place,
                )
            )  # fmt: skip
            found.append(watch.measured(name))
    same = all(np.array_equal(vectors[0], each) for each in vectors)
    return f"{texts:,} titles; vectors equal bit for bit: {'yes' if same else 'NO'}", found


def answer(cluster: OnRay, workspace: Path, block: int) -> tuple[str, list[Measured]]:
    """Every query of the newest run with SIDs; `train` makes blocks of 512."""
    import pyarrow.parquet as pq

    from engine.answering import batch
    from engine.problem import posed
    from engine.runs import Run, list_runs

    run_id = next(run.run_id for run in list_runs(workspace) if run.finished and run.method != "none")
    found, rows = [], []
    with tempfile.TemporaryDirectory(prefix="bench-ray-") as folder:
        for number, (name, place) in enumerate(places(cluster)):
            own = Path(folder) / f"{number}"
            for part in ("catalogues", "cache", "runs"):
                shutil.copytree(workspace / part, own / part)
            run = Run.load(own, run_id)
            shutil.rmtree(run.stage_folder("answer"))
            run.stage_folder("answer").with_suffix(".json").unlink()
            shutil.rmtree(run.folder / "tables")
            (run.folder / "tables").mkdir()
            problem = posed(run)
            watch = Watch()
            run.watcher.start = lambda stage, title, watch=watch: watch
            batch.answer_all(replace(run, on_ray=place), problem, block=block)
            found.append(watch.measured(name))
            parts = sorted(run.stage_folder("answer").glob("*/*.parquet"))
            rows.append([(path.parent.name, path.name, pq.read_table(path)) for path in parts])
            blocks, queries = watch.total, len(problem.catalogue.queries)
    same = all(
        len(rows[0]) == len(each)
        and all(a[:2] == b[:2] and a[2].equals(b[2]) for a, b in zip(rows[0], each, strict=True))
        for each in rows
    )
    return f"{run_id}: {queries:,} queries in {blocks} blocks; rows equal bit for bit: {'yes' if same else 'NO'}", found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["encode", "answer"])
    parser.add_argument("--texts", type=int, default=40_000)
    parser.add_argument("--workspace", type=Path, default=Path("data/workspace"))
    parser.add_argument("--block", type=int, default=100, help="queries a block, so that two workers end together")
    given = parser.parse_args()
    cluster = connected()
    work: dict[str, Callable[[], tuple[str, list[Measured]]]] = {
        "encode": lambda: encode(cluster, given.texts), "answer": lambda: answer(cluster, given.workspace, given.block),
    }  # fmt: skip
    said, found = work[given.what]()
    print(f"{said}\n\n| way | whole, s | at work, s | against one worker |\n|---|---:|---:|---:|")
    one = next(each for each in found if each.name == "Ray, 1 worker")
    for each in found:
        print(f"| {each.name} | {each.whole:.1f} | {each.at_work:.1f} | {one.whole / each.whole:.2f}x |")
    print(f"\ntwo workers against one: {one.whole / found[-1].whole:.2f}x whole (goal {GOAL}x)")


if __name__ == "__main__":
    main()
