"""The judged pairs and what needs no SID: first-stage ranks, dense features as served and as made for training rows."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.problem import Problem
from engine.problem.division import Division
from engine.problem.features import dense_features, item_category
from engine.problem.judgments import judged_pairs
from engine.problem.queries import queries_at
from engine.problem.vectors import encoder_key
from engine.progress import Progress
from engine.relevance.features import DENSE, CategoryClassifier, DenseFeatures, centre
from engine.relevance.retrieval import joined
from engine.runs import Run, StageBody, load_arrays, save_arrays
from engine.threads import one_thread

BLOCK = 512
"""Judged queries whose candidates are held at once."""


class Judged(NamedTuple):
    """The judged queries (q) and their pairs (J), sorted by query, then item."""

    position: np.ndarray  # (q,) int64 position of each judged query among all queries.
    listed: np.ndarray  # (q, T) int64 its retrieved items, best first; -1 pads.
    query: np.ndarray  # (J,) int64 row of `position` ...
    item: np.ndarray  # (J,) ... item position ...
    grade: np.ndarray  # (J,) float64 ...
    rank: np.ndarray  # (J,) int64 ... first-stage rank, 1-based; 0 where not retrieved.
    dense: np.ndarray  # (J, DENSE) float32 as served ...
    dense_fit: np.ndarray  # ... with `ct` of each query's own producer, for training rows.
    centred: np.ndarray  # (J, CENTRED) float32, less the mean of the query's candidates ...
    centred_fit: np.ndarray

    @property
    def asked(self) -> np.ndarray:
        """(J,) position of each pair's query among all queries."""
        return self.position[self.query]


def collect(run: Run, problem: Problem) -> Judged:
    """Retrieve for the judged queries, fit `ct` for every stack, measure the judged pairs; once for all runs of a
    division."""

    @one_thread()
    def body(folder: Path, progress: Progress) -> None:
        dense, classifiers = dense_features(problem), _classifiers(run, problem)
        for stack, classifier in enumerate(classifiers):
            save_arrays(folder / f"classifier{stack}.safetensors", **classifier.arrays())
        asked, item, grade = judged_pairs(problem.catalogue)
        position, query = np.unique(asked, return_inverse=True)
        ends = np.searchsorted(query, np.arange(0, len(position) + BLOCK, BLOCK))
        blocks = []
        for start, low, high in zip(range(0, len(position), BLOCK), ends, ends[1:], strict=False):
            progress(start, len(position))
            rows = position[start : start + BLOCK]
            blocks.append(_measure(problem, dense, classifiers, rows, query[low:high] - start, item[low:high]))
        arrays = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
        save_arrays(folder / "judged.safetensors", position=position, query=query, item=item, grade=grade, **arrays)

    return Judged(**load_arrays(_stage(run, problem.division, body) / "judged.safetensors"))


def _stage(run: Run, division: Division, body: StageBody) -> Path:
    key = (*encoder_key(run), run.config.retrieval.top, run.config.split.seed, division.key())
    return run.shared("judged", "Measuring the judged pairs", key, body, after=("vectors", "division", "index"))


def _classifiers(run: Run, problem: Problem) -> list[CategoryClassifier]:
    """`ct` of every stack."""
    category, division = item_category(problem.catalogue), problem.division
    found = []
    for stack in range(len(division.seen)):
        query, item, weight = division.pairs(stack)
        n, seed = max(int(category.max(initial=0)) + 1, 1), run.config.split.seed
        found.append(CategoryClassifier.fit(problem.vectors.queries, query, category[item], weight, n, seed=seed))
    return found


def _measure(
    problem: Problem,
    dense: DenseFeatures,
    classifiers: list[CategoryClassifier],
    rows: np.ndarray,
    query: np.ndarray,
    item: np.ndarray,
) -> dict[str, np.ndarray]:
    """`Judged`'s features of the pairs (query: row of the block's queries `rows`, item)."""
    asked = queries_at(problem, rows)
    found = problem.first.candidates(asked.x, asked.texts)
    pairs = joined(found, query, item, len(problem.vectors.items))
    served = dense.measure(asked.dense, pairs.query, pairs.item, classifiers[0])
    fit = served.copy()
    producer = problem.division.producer[rows][pairs.query]
    for stack in np.unique(producer[producer > 0]):
        mine = np.flatnonzero(producer == stack)
        agreement = classifiers[stack].agreement(asked.x, pairs.query[mine], pairs.item[mine], dense.item_category)
        fit[mine, DENSE.index("ct")] = agreement
    listed = np.full((len(rows), problem.first.top), -1, dtype=np.int64)
    listed[found.query, found.rank - 1] = found.item
    n_items = len(problem.vectors.items)
    own = np.searchsorted(pairs.query * n_items + pairs.item, query * n_items + item)
    centred = [centre(block, pairs.query, pairs.rank > 0, len(rows))[own].astype(np.float32) for block in (served, fit)]
    return {
        "listed": listed, "rank": pairs.rank[own], "dense": served[own], "dense_fit": fit[own],
        "centred": centred[0], "centred_fit": centred[1],
    }  # fmt: skip
