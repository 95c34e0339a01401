"""AUC of the rankers when only 20, 50, 100, 200 or 500 judged queries teach them, without and with help for few.

    python -m tests.bench.bench_learning_curve [--workspace data/workspace] [--run RUN] [--draws 5]

Where the run has a split: n of its training queries teach (no validation queries), and all its test queries are scored;
mean over draws, after it the standard deviation of the draws. Under cross-validation: n of the judged queries are drawn,
and each fold's scores, of rankers that learnt from the other folds, are pooled. SIDs, generator and features are the
run's own: the curve is of rankers alone. `before`: boosted rankers as if no number of queries were few.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.answering.live import newest_run
from engine.evaluation.pairs import auc
from engine.learning import rankers, sids, signals
from engine.learning.judged import collect
from engine.learning.rankers import Lessons, Rung
from engine.problem import posed
from engine.relevance import boosted
from engine.relevance.few import FEW
from engine.relevance.folds import ServedRows
from engine.runs import Run
from engine.threads import one_thread

SIZES = (20, 50, 100, 200, 500)
NAMES = ("strong", "sid", "strong_gbm", "rich", "rich_placebo")


class Draw(NamedTuple):
    """Pairs (J,) bool that teach, and those that are scored by it."""

    teach: np.ndarray
    test: np.ndarray


def lessons_of(run: Run) -> Lessons:
    """What a finished run's rankers learnt from, read back from its stages."""
    problem = posed(run)
    judged = collect(run, problem)
    stacks = sids.tokenize(run, problem)
    beams = sids.generate(run, problem, judged, stacks)
    matches = sids.match(run, problem, judged, stacks, beams)
    richer = signals.signal(run, problem, judged, stacks, beams)
    return Lessons(problem, judged, signals.own_item(run, problem, judged), stacks.levels, matches, richer)


def draws(lessons: Lessons, n: int, count: int) -> Iterator[list[Draw]]:
    """`count` times n judged queries, each with the parts whose scores are pooled."""
    judged, split = lessons.judged, lessons.problem.division.split
    side = split.split[judged.position]
    for seed in range(count):
        rng = np.random.default_rng([n, seed])
        pool = np.flatnonzero(side == "train") if split.mode == "holdout" else np.arange(len(side))
        if len(pool) < n:
            return
        chosen = np.zeros(len(side), dtype=bool)
        chosen[rng.choice(pool, n, replace=False)] = True
        teach = chosen[judged.query]
        if split.mode == "holdout":
            yield [Draw(teach, (side == "test")[judged.query])]
            continue
        fold = split.cv_fold[0][judged.asked]
        yield [Draw(teach & (fold != k), teach & (fold == k)) for k in np.unique(fold)]
        if n == len(pool):
            return


def quality(run: Run, lessons: Lessons, rung: Rung | None, parts: list[Draw]) -> float:
    """Pooled AUC of a rung (None: the cosine)."""
    block = rankers.feature_rows(lessons)["placebo" if rung is not None and rung.rows == "placebo" else "fit"]
    judged, total = lessons.judged, np.full(len(lessons.judged.query), np.nan)
    for part in parts:
        if rung is None:
            total[part.test] = block.served[part.test, 0]
            continue
        take = [block.columns.index(name) for name in rung.columns]
        served = ServedRows(block.served[:, take], block.level if rung.match else None, judged.grade)
        rows = rankers.cross_fitted(lessons, block, rung)
        made = rankers.fit_rung(run.config, lessons, rung, rows, served, (part.teach, None))
        total[part.test] = made.scores[part.test]
    scored = np.isfinite(total)
    return auc(total[scored], judged.grade[scored] >= lessons.problem.catalogue.settings.relevant_grade)


def curve(run: Run, sizes: tuple[int, ...], count: int) -> pd.DataFrame:
    """ranker, n, draw, auc, seconds (of training and scoring)."""
    lessons = lessons_of(run)
    assert lessons.signals is not None
    rungs = rankers.ladder(
        run.config, lessons.signals.sid_columns, lessons.signals.twin_columns, lessons.signals.twin_of
    )
    told = []
    for n in sizes:
        for draw, parts in enumerate(draws(lessons, n, count)):
            for name in ("cosine", *NAMES):
                rung = rungs.get(name)
                for few, label in ((0, "before"), (FEW, "")) if rung and rung.learner == "boosted" else ((FEW, ""),):
                    boosted.FEW = few
                    start = time.perf_counter()
                    found = quality(run, lessons, rung, parts)
                    told.append((f"{name} {label}".strip(), n, draw, found, time.perf_counter() - start))
    boosted.FEW = FEW
    return pd.DataFrame(told, columns=["ranker", "n", "draw", "auc", "seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path("data/workspace"))
    parser.add_argument("--run", default=None)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    given = parser.parse_args()
    run = Run.load(given.workspace, given.run or newest_run(given.workspace))
    with one_thread():
        made = curve(run, tuple(map(int, given.sizes.split(","))), given.draws)
    found = made.groupby(["ranker", "n"], sort=False)["auc"]
    mean, spread = found.mean().unstack(), found.std().unstack()
    print(f"{run.run_id}, AUC by judged training queries\n")
    print("| ranker | " + " | ".join(map(str, mean.columns)) + " |\n|---" + "|---" * len(mean.columns) + "|")
    for name in mean.index:
        cells = (
            f"{m:.3f}" + (f" ±{s:.3f}" if s == s else "") for m, s in zip(mean.loc[name], spread.loc[name], strict=True)
        )
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
