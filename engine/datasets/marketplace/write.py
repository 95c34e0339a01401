"""Generates the bundled marketplace and writes it as a dataset folder of the input contract.

`python -m engine demo` calls this; docs/marketplace.md has the parameters, the measured difficulty and the frozen hash.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from engine.datasets.marketplace import clicks, judgments
from engine.datasets.marketplace.images import Directions
from engine.datasets.marketplace.items import Items, generate_items
from engine.datasets.marketplace.legacy import dense_search, legacy_search
from engine.datasets.marketplace.queries import KINDS, Intents, write_queries
from engine.datasets.marketplace.taxonomy import Taxonomy, build_taxonomy
from engine.datasets.marketplace.titles import seller_names, write_texts
from engine.progress import Progress, silent

FILES = ("items.parquet", "queries.parquet", "interactions.parquet", "judgments.parquet", "dataset.toml")
LOG_BEGINS = pd.Timestamp("2025-03-03")  # a Monday; 13 weeks follow
SESSIONS_PER_QUERY = 16
TRAFFIC_ZIPF = 0.8  # exponent of query frequency
ALWAYS_LOGGED = 0.1  # the head of traffic is in the log; the rest of it is a sample of the population
SEEN = 0.2  # of judged queries: also in the log
PER_LEAF = 24  # judged queries a leaf, from the size on that allows it (about 21,000 items)


class QuerySizes(NamedTuple):
    """How many queries a catalogue of a size gets."""

    logged: int
    judged: int


def query_sizes(n_items: int, n_leaves: int) -> QuerySizes:
    """2,200 logged and 1,500 judged at 6,000 items; growth slows above, down to fewer below."""
    scale = n_items / 6000
    logged = round(2200 * (scale if scale < 1 else min(scale**0.6, 12.0)))
    return QuerySizes(logged, round(min(1500 * scale, max(PER_LEAF * n_leaves, 1500))))


class _Roles(NamedTuple):
    """Which queries of the population are logged and judged."""

    frequency: np.ndarray
    logged: np.ndarray
    judged: np.ndarray


def _roles(intents: Intents, sizes: QuerySizes, rng: np.random.Generator) -> _Roles:
    """Judged queries are drawn evenly over leaves, apart from traffic; SEEN of them are in the log as well."""
    n = len(intents)
    rank = rng.permutation(n)
    weight = (rank + 1.0) ** -TRAFFIC_ZIPF
    frequency = np.maximum(np.round(weight / weight.sum() * SESSIONS_PER_QUERY * n), 2.0)

    # Deal one query a leaf and round: equal shares of the leaves whatever their traffic.
    dealt = rng.permutation(n)
    leaf = intents.leaves[dealt, 0]
    by_leaf = np.argsort(leaf, kind="stable")
    start = np.searchsorted(leaf[by_leaf], leaf[by_leaf])
    turn = np.empty(n, dtype=np.int64)
    turn[by_leaf] = np.arange(n) - start
    dealt = dealt[np.lexsort((np.arange(n), turn))]
    head = rank < ALWAYS_LOGGED * n
    n_seen = round(SEEN * min(sizes.judged, n))
    new = dealt[~head[dealt]][: min(sizes.judged, n) - n_seen]
    logged = np.ones(n, dtype=bool)
    logged[new] = False
    seen = dealt[logged[dealt]][:n_seen]
    judged = np.zeros(n, dtype=bool)
    judged[new] = judged[seen] = True
    return _Roles(frequency, logged, judged)


def _write_items(folder: Path, taxonomy: Taxonomy, items: Items, seed: int, progress: Progress) -> list[str]:
    """Writes items.parquet block by block; returns the titles, which search needs."""
    directions = Directions(taxonomy, seed)
    names = seller_names(items.n_sellers, np.random.default_rng([seed, 10]))
    partial = folder / ".items.parquet.tmp"
    titles: list[str] = []
    writer: pq.ParquetWriter | None = None
    for block in write_texts(taxonomy, items, seed, progress):
        at = slice(block.rows.start, block.rows.stop)
        listed = LOG_BEGINS - pd.to_timedelta(items.age_days[at], unit="D")
        table = pa.table(
            {
                "item_id": _ids("M%07d", block.rows),
                "title": block.title,
                "category": [taxonomy.leaves[leaf].path for leaf in items.leaf[at]],
                "seller": [names[seller] for seller in items.seller[at]],
                "brand": pa.array(block.brand, pa.string()),
                "price": items.price[at].round(2),
                "currency": ["USD"] * len(block.rows),
                "description": block.description,
                "attributes": block.attributes,
                "created_at": pa.array(listed.to_numpy(dtype="datetime64[us]")),
                "popularity": items.popularity[at].round(4),
                "image_embedding": pa.array(directions.of_items(items, block.rows), pa.list_(pa.float32())),
            }
        )
        writer = writer or pq.ParquetWriter(partial, table.schema, compression="zstd")
        writer.write_table(table)
        titles += block.title
    assert writer is not None
    writer.close()
    partial.replace(folder / "items.parquet")
    return titles


def _settings(oracle_auc: float, n_items: int, seed: int, pooled: str) -> str:
    return f"""name = "Bundled marketplace"
source = "Generated by Sidelight (python -m engine demo): n_items={n_items}, seed={seed}. No real product, seller, shopper or picture.{pooled}"
license = "Apache-2.0"
max_grade = 3
relevant_grade = 2
category_separator = " > "
currency = "USD"
derived = []
simulated = ["items", "image_embedding", "queries", "interactions", "judgments"]
oracle_auc = {oracle_auc:.4f}
"""


def _write(folder: Path, name: str, **columns: object) -> None:
    partial = folder / f".{name}.tmp"
    pq.write_table(pa.table(columns), partial, compression="zstd")
    partial.replace(folder / name)


def write_marketplace(folder: Path, *, n_items: int = 6000, seed: int = 0, progress: Progress = silent) -> None:
    """Writes items, queries, interactions, judgments and dataset.toml into `folder` (made if absent).

    The same n_items and seed give the same content (`content_hash`). Progress counts hundredths of the whole.
    """
    from sklearn.metrics import roc_auc_score

    if n_items < 120:
        raise ValueError(f"n_items={n_items}; the marketplace needs at least 120")

    def part(begin: int, end: int) -> Progress:
        return lambda done, total: progress(begin + (end - begin) * done // max(total, 1), 100)

    folder.mkdir(parents=True, exist_ok=True)
    taxonomy = build_taxonomy(n_items, seed)
    items = generate_items(taxonomy, seed)
    titles = _write_items(folder, taxonomy, items, seed, part(0, 20))
    sizes = query_sizes(n_items, len(taxonomy.leaves))
    intents = write_queries(taxonomy, items, sizes.logged + round((1 - SEEN) * sizes.judged), seed)
    rng = np.random.default_rng([seed, 5])
    roles = _roles(intents, sizes, rng)
    _write_queries(folder, intents, roles, Directions(taxonomy, seed))
    progress(25, 100)

    legacy = legacy_search(titles, items.popularity, intents.text, part(25, 50))
    sessions = np.where(roles.logged, roles.frequency, 0.0).astype(np.int64)
    _write_log(folder, clicks.simulate(taxonomy, items, intents, legacy, sessions, rng))
    progress(65, 100)

    rows = np.flatnonzero(roles.judged)
    judged = intents.take(rows)
    dense = dense_search(titles, judged.text, 4 * judgments.PER_POOL, seed, part(65, 85))
    pairs = judgments.judge(taxonomy, items, judged, legacy[rows], dense, seed)
    by_leaf = len(rows) >= 20 * len(taxonomy.leaves)
    leaf = judged.leaves[:, 0]
    split = judgments.split(leaf if by_leaf else taxonomy.department[leaf], rng)[pairs.query]
    progress(90, 100)

    _write(
        folder,
        "judgments.parquet",
        query_id=_ids("q%06d", rows[pairs.query]),
        item_id=_ids("M%07d", pairs.item),
        grade=pairs.grade.astype(np.float64),
        source=["synthetic"] * len(split),
        split=split,
    )
    pooled = "" if by_leaf else " Judged queries are too few for every leaf: they are balanced over departments."
    test = split == "test"
    relevant = pairs.grade[test] >= 2
    oracle = roc_auc_score(relevant, pairs.utility[test]) if 0 < relevant.sum() < len(relevant) else 0.5
    settings = _settings(oracle, n_items, seed, pooled)
    (folder / "dataset.toml").write_text(settings, encoding="utf-8")
    progress(100, 100)


def _write_queries(folder: Path, intents: Intents, roles: _Roles, directions: Directions) -> None:
    _write(
        folder,
        "queries.parquet",
        query_id=_ids("q%06d", np.arange(len(intents))),
        text=intents.text,
        frequency=roles.frequency,
        kind=[KINDS[k] for k in intents.kind],
        image_space_embedding=pa.array(directions.of_queries(intents), pa.list_(pa.float32())),
    )


def _write_log(folder: Path, log: clicks.Log) -> None:
    dates = LOG_BEGINS + pd.to_timedelta(log.week * 7, unit="D")
    _write(
        folder,
        "interactions.parquet",
        query_id=_ids("q%06d", log.query),
        item_id=_ids("M%07d", log.item),
        impressions=log.impressions,
        clicks=log.clicks,
        purchases=log.purchases,
        position=log.position,
        date=pa.array(dates.to_numpy(dtype="datetime64[D]")),
    )


def _ids(form: str, positions: np.ndarray | range) -> list[str]:
    return [form % position for position in positions]


def content_hash(folder: Path) -> str:
    """sha256 of the generated content: every row of every file, whatever the file format's own bytes."""
    digest = hashlib.sha256()
    for name in FILES:
        digest.update(name.encode())
        if name.endswith(".toml"):
            digest.update((folder / name).read_bytes())
            continue
        table = pq.read_table(folder / name)
        for column in table.column_names:
            digest.update(column.encode())
            for batch in table[column].chunks:
                digest.update("".join(f"{value!r}\n" for value in batch.to_pylist()).encode())
    return digest.hexdigest()
