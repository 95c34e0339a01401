"""How time and memory grow with the catalogue and with the log: every stage at ten and a hundred times the size.

    python -m tests.bench.bench_growth [--items 10000,100000,1000000] [--queries 20000] [--judged 1500] [--dim 64]
    python -m tests.bench.bench_growth --items 10000 --queries 2000,20000

Datasets with vectors of their own (`tests.bench.grown`: no encoder takes part), preset default, no map. Ingest, train,
publish and live answers run in a process each; seconds and peak memory are those of a stage alone (Linux; elsewhere the
peak is the process' so far). Either --items or --queries varies. A size that was stopped goes on where it was, a finished
one is read again (`--folder`; by other code than before, give a new one). Workspaces go at the end of their size unless
--keep.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from engine.progress import Progress
from engine.runs import StageMark, Watcher, peak_memory_mb, write_text
from tests.bench.grown import Size, write_grown

MOST = 11.0
"""How much a stage may grow while its input grows tenfold."""
NOTED = 1.0
"""Seconds up to which a stage's growth is noise, and not marked."""
LIVE = 50
WARM_UP = 5
STEPS = ("grow", "ingest", "train", "publish", "live")


class _Talking(Watcher):
    """Says what is done; every stage's peak memory is its own."""

    def __init__(self) -> None:
        self.began = time.process_time()

    def start(self, stage: str, title: str) -> Progress:
        _forget_peak()
        self.began = time.process_time()
        return super().start(stage, title)

    def finish(self, mark: StageMark) -> None:
        cpu = "before" if mark.cached else f"CPU {time.process_time() - self.began:.1f} s"
        _say(mark._asdict(), f" ({cpu})")


def _say(mark: dict[str, Any], more: str = "") -> None:
    print(f"    {mark['stage']:<16} {mark['seconds']:>9.3f} s {mark['peak_mb']:>7.0f} MB{more}", flush=True)


def _forget_peak() -> None:
    """Let the peak memory of this process begin anew."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def ingested(folder: Path) -> dict[str, Any]:
    """Step `ingest`."""
    from engine.datasets.ingest import ingest

    with _timed() as spent:
        catalogue = ingest(folder / "dataset", folder / "workspace").catalogue
    return {"stages": [{"stage": "ingest", **spent}], "fingerprint": catalogue.fingerprint}


def trained(folder: Path) -> dict[str, Any]:
    """Step `train`; resumes."""
    from engine.config import preset
    from engine.pipeline import train

    fingerprint = json.loads((folder / "ingest.json").read_text(encoding="utf-8"))["fingerprint"]
    run = train(folder / "workspace", fingerprint, preset("default"), _Talking())
    stages = [mark._asdict() for mark in run.marks] or run.manifest()["stages"]
    return {"stages": stages, "run": run.run_id}


def published(folder: Path) -> dict[str, Any]:
    """Step `publish`, and how many rows the tables have."""
    from engine.pipeline import publish
    from engine.store.snapshot import open_snapshot

    workspace = folder / "workspace"
    with _timed() as spent:
        publish(workspace)
    cursor = open_snapshot(workspace).cursor()
    rows = {
        name: cursor.execute(f'SELECT count(*) AS n FROM "{name}"').df()["n"].item()
        for (name,) in cursor.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
    }
    return {"stages": [{"stage": "publish", **spent}], "rows": rows}


def asked(folder: Path) -> dict[str, Any]:
    """Step `live`: loading, answers to stored queries and to new ones, and the first stage's recall."""
    from engine.answering.answer import Block, answer, stored_block
    from engine.answering.live import newest_run
    from engine.answering.served import load_served
    from engine.problem.queries import Queries
    from engine.runs import Run
    from engine.threads import one_thread

    run = Run.load(folder / "workspace", newest_run(folder / "workspace"))
    with _timed() as load:
        served = load_served(run)
    rng = np.random.default_rng(1)
    chosen = rng.choice(len(served.problem.catalogue.queries), WARM_UP + LIVE, replace=False)
    known = [stored_block(served, chosen[i : i + 1]) for i in range(len(chosen))]
    none, position = np.zeros(0, dtype=np.int64), np.array([-1])
    new = []
    for block in known:
        x = block.queries.x + rng.normal(0, 0.3 / np.sqrt(block.queries.x.shape[1]), block.queries.x.shape)
        x = (x / np.linalg.norm(x)).astype(np.float32)
        text = [f"{block.queries.texts[0]} unseen"]
        queries = Queries(np.array(["live"], dtype=object), position, text, x, None, position)
        new.append(Block(queries, np.array([""], dtype=object), none, none, none.astype(bool)))
    stages = [{"stage": "load", **load}]
    with one_thread():
        for kind, blocks in (("stored", known), ("unseen", new)):
            taken = []
            for block in blocks:
                began = time.perf_counter()
                answer(served, block)
                taken.append(time.perf_counter() - began)
            for name, share in (("P50", 0.5), ("P99", 0.99)):
                seconds = float(np.quantile(taken[WARM_UP:], share))
                stages.append({"stage": f"live {kind} {name}", "seconds": seconds, "peak_mb": peak_memory_mb()})
    first = served.problem.first
    recall = first.vectors.recall(np.concatenate([block.queries.x for block in known]), first.top)
    return {"stages": stages, "recall": recall, "index": first.vectors.settings}


@contextlib.contextmanager
def _timed() -> Iterator[dict[str, float]]:
    """Seconds and peak memory of the block."""
    spent: dict[str, float] = {}
    _forget_peak()
    began = time.perf_counter()
    yield spent
    spent |= {"seconds": time.perf_counter() - began, "peak_mb": peak_memory_mb()}


def _grown(folder: Path, size: Size) -> dict[str, Any]:
    with _timed() as spent:
        write_grown(folder / "dataset", size)
    return {"stages": [{"stage": "(generating)", **spent}]}


def measure(folder: Path, size: Size, keep: bool) -> dict[str, Any]:
    """Every step of one size, each in a process of its own unless it is done."""
    print(f"{size.items:,} items, {size.queries:,} queries", flush=True)
    found: dict[str, Any] = {"stages": []}
    for step in STEPS:
        if not (folder / f"{step}.json").is_file():
            sizes = [f"--{name}={value}" for name, value in size._asdict().items()]
            command = [
                sys.executable,
                "-m",
                "tests.bench.bench_growth",
                "--step",
                step,
                "--folder",
                str(folder),
                *sizes,
            ]
            subprocess.run(command, check=True)
        done = json.loads((folder / f"{step}.json").read_text(encoding="utf-8"))
        if step != "train":
            for mark in done["stages"]:
                _say(mark)
        found = found | done | {"stages": found["stages"] + done["stages"]}
    if not keep:
        for name in ("dataset", "workspace"):
            shutil.rmtree(folder / name, ignore_errors=True)
    return found


def one_step(folder: Path, step: str, size: Size) -> None:
    """What the process of a step does: work, then `<step>.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    works: dict[str, Callable[[], dict[str, Any]]] = {
        "grow": lambda: _grown(folder, size),
        "ingest": lambda: ingested(folder),
        "train": lambda: trained(folder),
        "publish": lambda: published(folder),
        "live": lambda: asked(folder),
    }
    made = works[step]()
    if step == "live":
        made["disk"] = {name: _disk(folder / name) for name in ("dataset", *_PARTS)}
    write_text(folder / f"{step}.json", json.dumps(made))


_PARTS = tuple(f"workspace/{name}" for name in ("catalogues", "cache", "runs", "snapshots"))


def _disk(folder: Path) -> int:
    """Bytes, a file with several names counted once."""
    files = {path.stat().st_ino: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return sum(files.values())


def table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown: a row a stage, then rows and bytes, over the sizes by name; ratios above `MOST` are bold."""
    names = list(found)
    ratios = [f"{b} / {a}" for a, b in pairwise(names)]
    lines = [f"| | {' | '.join((*names, *ratios, 'peak, GB'))} |", "|---" * (2 * len(names) + 1) + "|"]

    def add(label: str, values: list[float], form: str, peak: str = "") -> None:
        told = []
        for before, after in pairwise(values):
            ratio = after / before if before > 0 else np.nan
            marked = ratio > MOST and after > NOTED
            told.append("–" if np.isnan(ratio) else f"**{ratio:.1f}**" if marked else f"{ratio:.1f}")
        lines.append(f"| {' | '.join((label, *(format(v, form) for v in values), *told, peak))} |")

    marks = {name: {mark["stage"]: mark for mark in one["stages"]} for name, one in found.items()}
    for stage in marks[names[0]]:
        own = [marks[name].get(stage, {"seconds": np.nan, "peak_mb": np.nan}) for name in names]
        live = stage.startswith("live")
        seconds = [mark["seconds"] * (1000 if live else 1) for mark in own]
        peak = " / ".join(f"{mark['peak_mb'] / 1024:.1f}" for mark in own)
        add(f"{stage}, {'ms' if live else 's'}", seconds, ".1f", peak)
    whole = [sum(m["seconds"] for s, m in marks[n].items() if not s.startswith(("live", "("))) for n in names]
    most = [max(m["peak_mb"] for s, m in marks[n].items() if s != "(generating)") / 1024 for n in names]
    add("**all but generating, s**", whole, ".0f", " / ".join(f"{peak:.1f}" for peak in most))
    for name in found[names[0]]["rows"]:
        if max(one["rows"][name] for one in found.values()) >= 1_000:
            add(f"rows of `{name}`", [float(one["rows"][name]) for one in found.values()], ",.0f")
    for name in found[names[0]]["disk"]:
        add(f"{name}, MB on disk", [one["disk"][name] / 1e6 for one in found.values()], ",.0f")
    add("first stage's recall", [one["recall"] for one in found.values()], ".4f")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="10000,100000,1000000")
    parser.add_argument("--queries", default="20000")
    parser.add_argument("--judged", type=int, default=1_500, help="of the queries")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--folder", type=Path, default=Path("data/workspace/bench-growth"))
    parser.add_argument("--keep", action="store_true", help="leave datasets and workspaces in --folder")
    parser.add_argument("--out", type=Path, help="write the table here too")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    items, queries = ([int(part) for part in text.split(",")] for text in (given.items, given.queries))
    sizes = [Size(items[0], q, given.judged, given.dim) for q in queries]
    sizes += [Size(n, queries[0], given.judged, given.dim) for n in items[1:]]
    if given.step:
        one_step(given.folder, given.step, sizes[0])
        return
    if len(items) > 1 and len(queries) > 1:
        parser.error("vary --items or --queries, not both: a ratio is of one thing")
    found = {}
    for size in sizes:
        name = _short(size.queries if len(queries) > 1 else size.items)
        folder = given.folder / f"{size.items}-{size.queries}-{size.judged}-{size.dim}"
        found[name] = measure(folder, size, given.keep)
    told = table(found)
    last = found[name]
    of = f"{items[0]:,} items, by queries" if len(queries) > 1 else f"{queries[0]:,} queries, by items"
    print(
        f"\n{of}; {given.judged:,} judged; vectors of {given.dim} numbers; first stage of the largest: {last['index']}\n"
    )
    print(told)
    if given.out:
        given.out.write_text(told + "\n", encoding="utf-8")


def _short(number: int) -> str:
    return f"{number / 1e6:g}M" if number >= 1_000_000 else f"{number / 1e3:g}k"


if __name__ == "__main__":
    main()
