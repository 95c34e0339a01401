"""The AUC of a plain LightGBM without any SID on a finished run's own test queries: what its baseline must beat.

    python -m tests.bench.reference_ranker [--workspace data/workspace] [--run RUN]

It reads `dm` and seventeen lexical columns, each less its query's mean too, of the training queries, and stops early on the
validation queries: no feedback, no category, no text beside titles. For runs with a split.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lightgbm as lgb
import numpy as np
from sklearn.metrics import roc_auc_score

from engine.answering.live import newest_run
from engine.learning.judged import collect
from engine.problem import posed
from engine.relevance.attribution import CENTRED_SUFFIX
from engine.relevance.features import CENTRED, DENSE
from engine.relevance.overlap import LEXICAL
from engine.runs import Run

READ = ("dm", *(name for name in LEXICAL if name not in ("qs_fields", "qs_words", "qs_numbers")))
SETTINGS = {
    "learning_rate": 0.05,
    "num_leaves": 31,
    "verbosity": -1,
    "num_threads": 1,
    "seed": 0,
    "deterministic": True,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path("data/workspace"))
    parser.add_argument("--run", default=None)
    given = parser.parse_args()
    run = Run.load(given.workspace, given.run or newest_run(given.workspace))
    problem = posed(run)
    judged = collect(run, problem)
    wanted = {*READ, *(f"{name}{CENTRED_SUFFIX}" for name in READ)}
    x = np.column_stack([judged.dense, judged.centred])[:, [name in wanted for name in (*DENSE, *CENTRED)]]
    split = problem.division.split.split[judged.asked]
    train, valid, test = (split == name for name in ("train", "valid", "test"))
    known = lgb.Dataset(x[train], judged.grade[train])
    held = lgb.Dataset(x[valid], judged.grade[valid], reference=known)
    stop = lgb.early_stopping(30, verbose=False)
    trees = lgb.train({**SETTINGS, "objective": "regression"}, known, 1_000, valid_sets=[held], callbacks=[stop])
    relevant = judged.grade[test] >= problem.catalogue.settings.relevant_grade
    n = len(np.unique(judged.query[test]))
    print(
        f"{run.run_id}: AUC {roc_auc_score(relevant, trees.predict(x[test])):.4f} on {n:,} test queries, {x.shape[1]} columns"
    )


if __name__ == "__main__":
    main()
