"""Seconds and peak memory of `ingest` beside plain DuckDB reading the same files, CSV and Parquet.

    python -m tests.bench.bench_ingest [--items 1000000] [--rows 10000000] [--rounds 3] [--folder data/workspace/bench-ingest]

A made catalogue and its search log (some 300,000 queries; one log row in 100,000 names an item that is not there), the
same for every machine. `plain` is `CREATE TABLE ... AS SELECT * FROM read_csv(...)` or `read_parquet(...)` of every
file with DuckDB's defaults, into a database on disk: it guesses types, checks nothing, relates no file to another and
fingerprints nothing. Both run in a process of their own, in turn within each round; medians; peak memory is the
greatest resident set of the process.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

FORMATS = ("csv", "parquet")
TABLES = ("items", "interactions")
QUERIES_A_ROW = 0.03


WORDS = [
    "steel", "copper", "oak", "linen", "wool", "glass", "red", "blue", "green", "black", "white", "small", "large", "light",
    "heavy", "round", "square", "foldable", "cordless", "vintage", "modern", "classic", "garden", "kitchen", "office", "travel",
]  # fmt: skip
THINGS = [
    "kettle",
    "lamp",
    "chair",
    "table",
    "shirt",
    "jacket",
    "drill",
    "bottle",
    "mug",
    "rug",
    "shelf",
    "desk",
    "knife",
]


class Measured(NamedTuple):
    """One process."""

    seconds: float  # Without the start of Python and its imports.
    cpu: float  # Seconds of all threads together: a busy machine stretches these least.
    peak_mb: float
    fingerprint: str  # Of the catalogue; empty for the plain reading.


def make(folder: Path, n_items: int, n_rows: int) -> None:
    """Writes `folder/csv/` and `folder/parquet/`; hashes of row numbers stand for chance."""
    import duckdb

    def pick(values: list[str], salt: str) -> str:
        return f"{values!r}[1 + (hash(i, '{salt}') % {len(values)})::INT]"

    items = f"""SELECT 'P' || lpad(i::VARCHAR, 8, '0') AS item_id,
        concat_ws(' ', {pick(WORDS, "a")}, {pick(WORDS, "b")}, {pick(THINGS, "t")}, hash(i, 'm') % 9000) AS title,
        concat('Department ', hash(i, 'c') % 20, ' > Aisle ', hash(i, 'c') % 200, ' > Shelf ', hash(i, 'c') % 2000) AS category,
        concat('Brand ', hash(i, 'brand') % 5000) AS brand, concat('Seller ', hash(i, 'seller') % 20000) AS seller,
        round(1 + (hash(i, 'p') % 50000) / 100, 2) AS price,
        concat_ws(' ', 'A', {pick(WORDS, "d")}, {pick(THINGS, "t")}, 'for', {pick(WORDS, "e")}, 'use, made of', {pick(WORDS, "f")},
                  'and', {pick(WORDS, "g")}, 'parts; number', i) AS description FROM range({n_items}) r(i)"""
    n_queries = max(int(n_rows * QUERIES_A_ROW), 1)
    # Squared uniform numbers: popular queries and items are frequent, as in logs.
    log = f"""SELECT concat_ws(' ', {pick(WORDS, "q").replace("i,", "q,")}, {pick(THINGS, "r").replace("i,", "q,")}, q) AS query,
        CASE WHEN i % 100000 = 99999 THEN 'GONE' ELSE 'P' || lpad(floor({n_items} * pow(hash(i, 'x') / 18446744073709551616.0, 2))::BIGINT::VARCHAR, 8, '0') END AS item_id,
        1 + hash(i, 'n') % 40 AS impressions, hash(i, 'k') % 5 % 3 AS clicks, 1 + hash(i, 'at') % 24 AS position,
        (DATE '2025-01-01' + (hash(i, 'day') % 180)::INT) AS date
        FROM (SELECT i, floor({n_queries} * pow(hash(i, 'q') / 18446744073709551616.0, 2))::BIGINT AS q FROM range({n_rows}) r(i))"""
    aside = Path(tempfile.mkdtemp(dir=folder.parent))
    with duckdb.connect() as c:
        for name in FORMATS:
            (aside / name).mkdir()
        for table, sql in (("items", items), ("interactions", log)):
            parquet = aside / "parquet" / f"{table}.parquet"
            c.execute(f"COPY ({sql}) TO '{parquet}' (FORMAT parquet)")
            c.execute(f"COPY (FROM '{parquet}') TO '{aside / 'csv' / f'{table}.csv'}' (HEADER)")
    aside.rename(folder)


def plain(folder: Path, form: str, scratch: Path) -> str:
    """The plain reading."""
    import duckdb

    with duckdb.connect(str(scratch / "plain.duckdb")) as c:
        for table in TABLES:
            c.execute(f"CREATE TABLE {table} AS SELECT * FROM read_{form}('{folder / form / table}.{form}')")
    return ""


def ours(folder: Path, form: str, scratch: Path) -> str:
    """Ours."""
    from engine.datasets.ingest import ingest

    return ingest(folder / form, scratch).catalogue.fingerprint


READERS = {"plain": plain, "ingest": ours}


def child(reader: str, folder: Path, form: str) -> None:
    """Measures one reading in this process and prints it."""
    import duckdb  # noqa: F401

    import engine.datasets.ingest  # noqa: F401

    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        start, cpu = time.perf_counter(), time.process_time()
        found = READERS[reader](folder, form, Path(scratch))
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB.
    print(json.dumps([seconds, cpu, peak, found]))


def call(*arguments: str) -> str:
    """This module in a process of its own. The parent stays small: a child's peak begins with its parent's."""
    command = [sys.executable, "-m", "tests.bench.bench_ingest", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the log")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("data/workspace/bench-ingest"))
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    parser.add_argument("--remake", action="store_true", help="make the files again")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    folder = args.folder / f"{args.items}-{args.rows}"
    if args.child:
        if args.child[0] == "make":
            make(folder, args.items, args.rows)
        else:
            child(args.child[0], folder, args.child[1])
        return
    sized = ("--items", str(args.items), "--rows", str(args.rows), "--folder", str(args.folder))
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.remake:
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        call(*sized, "--child", "make")
    print(f"{args.items:,} items, {args.rows:,} log rows, medians of {args.rounds}\n")
    print(
        "| format | files, MB | plain, s | ingest, s | ratio | plain, CPU s | ingest, CPU s | plain, peak MB | ingest, peak MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    prints = set()
    for form in args.formats:
        size = sum(f.stat().st_size for f in (folder / form).iterdir()) / 1e6
        rounds = [
            [Measured(*json.loads(call(*sized, "--child", reader, form))) for reader in READERS]
            for _ in range(args.rounds)
        ]
        seconds, cpu, peak = (np.median([[m[n] for m in measured] for measured in rounds], axis=0) for n in range(3))
        ratio = np.median([b.seconds / a.seconds for a, b in rounds])
        prints |= {b.fingerprint for _, b in rounds}
        print(
            f"| {form} | {size:,.0f} | {seconds[0]:.1f} | {seconds[1]:.1f} | {ratio:.1f} | {cpu[0]:.1f} | {cpu[1]:.1f} | "
            f"{peak[0]:,.0f} | {peak[1]:,.0f} |", flush=True,
        )  # fmt: skip
    assert len(prints) == 1, f"fingerprints differ: {prints}"
    print(f"\nFingerprint of every run: {prints.pop()}")


if __name__ == "__main__":
    main()
