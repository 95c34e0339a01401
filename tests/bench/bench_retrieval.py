"""What the first stage costs a query and item, against dense tables, and what inverted lists miss.

    python -m tests.bench.bench_retrieval [--queries 64] [--largest 1000000] [--width 64]

Items are random vectors around 5,000 centres, as far from them as the centres from 0, and titles of nine words, the
commonest in one of twenty; queries are like them, with three words. `dense tables` is what the first stage did before:
all cosines, all BM25 scores, and a partition of one sortable integer a cell in each. Both give 200 candidates; up to
200,000 items they are the same ones (cosines that tie within 1e-6 aside). Times are of one thread's work, best of three.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from engine.relevance.lexical import LexicalIndex
from engine.relevance.retrieval import FirstStage, _fuse
from engine.relevance.vectors import EXACT, VectorIndex

TOP = 200
WORDS = 50_000
CENTRES = 5_000


class World(NamedTuple):
    """Items and queries."""

    item_x: np.ndarray
    titles: list[str]
    query_x: np.ndarray
    texts: list[str]


def world(n_items: int, n_queries: int, width: int, *, seed: int = 0) -> World:
    """Unit vectors (N, width) and (Q, width) around `CENTRES`, and texts."""
    rng = np.random.default_rng(seed)
    share = 1.0 / (np.arange(WORDS) + 20.0)  # the commonest word is in one title of twenty
    centres = rng.standard_normal((CENTRES, width), dtype=np.float32)

    def vectors(n: int) -> np.ndarray:
        x = centres[rng.integers(0, CENTRES, n)] + rng.standard_normal((n, width), dtype=np.float32)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def texts(n: int, length: int) -> list[str]:
        drawn = rng.choice(WORDS, (n, length), p=share / share.sum())
        return [" ".join(map(_word, row)) for row in drawn.tolist()]

    return World(vectors(n_items), texts(n_items, 9), vectors(n_queries), texts(n_queries, 3))


def _word(number: int) -> str:
    letters = ""
    while True:
        number, rest = divmod(number, 26)
        letters += chr(97 + rest)
        if not number:
            return letters


def dense_tables(w: World, lexical: LexicalIndex) -> np.ndarray:
    """(Q, TOP) candidates by dense tables of all cells."""
    cosine = np.rint(w.query_x @ w.item_x.T * 1e6)
    words = lexical.scores(w.texts).toarray()
    return _fuse(_best_of_all(cosine), _best_of_all(words, positive_only=True), TOP)


def _best_of_all(score: np.ndarray, *, positive_only: bool = False) -> np.ndarray:
    bits = np.ascontiguousarray(score + np.float32(0.0), dtype=np.float32).view(np.int32).astype(np.int64)
    ordered = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    key = -ordered * 2**32 + np.arange(score.shape[1], dtype=np.int64)
    key = np.partition(key, TOP - 1, axis=1)[:, :TOP]
    key.sort(axis=1)
    item = key & 0xFFFFFFFF
    if positive_only:
        item[(key - item) >= 0] = -1
    return item


def seconds(work: Callable[[], object]) -> float:
    """Best of three."""
    taken = []
    for _ in range(3):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def row(n_items: int, n_queries: int, width: int) -> None:
    """Print one size."""
    w = world(n_items, n_queries, width)
    start = time.process_time()
    lexical = LexicalIndex(w.titles)
    read = time.process_time() - start
    arrays = lexical.arrays()
    loaded = seconds(lambda: LexicalIndex.from_arrays(arrays))
    start = time.process_time()
    vectors = VectorIndex(w.item_x)
    made = time.process_time() - start
    stage = FirstStage(vectors, lexical, top=TOP)
    cells = n_items * n_queries
    ours = seconds(lambda: stage.candidates(w.query_x, w.texts)) / cells * 1e9
    alone = [seconds(lambda q=q: stage.candidates(w.query_x[q : q + 1], w.texts[q : q + 1])) for q in range(5)]  # type: ignore[misc]
    before, same = "", ""
    if n_items <= EXACT:
        before = f"{seconds(lambda: dense_tables(w, lexical)) / cells * 1e9:.1f}"
        found = stage.candidates(w.query_x, w.texts).item.reshape(n_queries, TOP)
        same = f"{np.mean(found == dense_tables(w, lexical)):.4%}"
    print(
        f"| {n_items:,} | {before} | {ours:.2f} | {1000 * np.median(alone):.1f} | {same} | "
        f"{vectors.recall(w.query_x, TOP):.3f} | {read:.1f} | {loaded:.2f} | {made:.1f} | {_read_again(vectors):.2f} | {vectors.settings} |",
        flush=True,
    )


def _read_again(vectors: VectorIndex) -> float:
    with tempfile.TemporaryDirectory() as folder:
        vectors.save(Path(folder) / "x.faiss")
        return seconds(lambda: VectorIndex(vectors.x, saved=Path(folder) / "x.faiss"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--largest", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=64)
    given = parser.parse_args()
    print(f"{given.queries} queries at once, vectors of {given.width}, {TOP} candidates\n")
    print(
        "| items | dense tables, ns a cell | ours, ns a cell | one query, ms | same candidates | recall of the dense list | "
        "titles read, s | loaded, s | vectors indexed, s | loaded, s | search |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    with threadpool_limits(1):
        for n_items in (6_000, 55_000, EXACT, given.largest):
            row(n_items, given.queries, given.width)


if __name__ == "__main__":
    main()
