"""The ladder of rankers, with and without SIDs, all trained on the same cross-fitted rows, folds and seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.config import Config
from engine.learning.judged import Judged
from engine.learning.sids import Matches
from engine.learning.signals import Own, SignalTables
from engine.problem import Problem
from engine.progress import Progress
from engine.relevance.boosted import train_boosted
from engine.relevance.features import CENTRED, DENSE
from engine.relevance.folds import CrossFitted, ServedRows
from engine.relevance.ranker import grade_levels, train_ranker
from engine.relevance.scorer import Scorer
from engine.relevance.signals.own import PLAIN
from engine.relevance.signals.protocol import Columns
from engine.relevance.trees import TreeScorer
from engine.runs import Run, load_arrays, save_arrays
from engine.threads import one_thread

CONTROL = "contrastive_control"
"""Column: cosine of query and item in the quantizer's space before anything is quantized."""
RISING = ("qs_coverage",)
"""Columns in which a boosted score may only rise. Not those of SID signals: beside what is known of the very item, its
neighbours may speak against it (docs/LOG.md)."""


class Rung(NamedTuple):
    """One ranker of the ladder."""

    learner: str  # 'mlp' (ordinal, the paper's) or 'boosted' (LightGBM).
    columns: tuple[str, ...]
    match: bool = False  # An MLP that reads the embedded match level (the paper's scalar).
    rows: str = "fit"
    """Trained on: 'fit' (out of fold), 'placebo' (SIDs shuffled among the items), or 'naive' (rows of a stack that saw
    the query: the trap, for comparison)."""


class Lessons(NamedTuple):
    """What rankers learn from: the judged pairs and all that was measured of them. None without SIDs."""

    problem: Problem
    judged: Judged
    own: Own
    levels: int | None = None  # L.
    matches: Matches | None = None
    signals: SignalTables | None = None


class Rows(NamedTuple):
    """The judged pairs' features: as served, and as made by each query's own producer; then with shuffled SIDs."""

    columns: tuple[str, ...]
    served: np.ndarray
    fit: np.ndarray
    level: np.ndarray | None
    level_fit: np.ndarray | None


def ladder(config: Config, sid: Columns | None, twin: Columns | None, twin_of: Mapping[str, str]) -> dict[str, Rung]:
    """The rungs that `config.ranker.ladder` asks for; without SIDs (None) the baselines alone. `twin_of`: the dense
    twin of each signal."""
    full = config.ranker.ladder == "full"
    rungs = {"strong": Rung("mlp", DENSE), "strong_gbm": Rung("boosted", PLAIN)}
    if full:
        rungs |= {"weak": Rung("mlp", ("dm",)), "plain_gbm": Rung("boosted", (*DENSE, *CENTRED))}
    if sid is None or twin is None:
        return rungs
    served = sid.of(config.signals.served).name
    rungs |= {
        "sid": Rung("mlp", DENSE, match=True),
        "rich": Rung("boosted", (*PLAIN, *served)),
        "twins": Rung("boosted", (*PLAIN, *twin.name)),
    }
    if full or config.ranker.kind == "mlp":
        rungs["placebo"] = Rung("mlp", DENSE, match=True, rows="placebo")
    if full or config.ranker.kind == "boosted":
        rungs["rich_placebo"] = Rung("boosted", (*PLAIN, *served), rows="placebo")
    if not full:
        return rungs
    for name in dict.fromkeys(sid.signal):
        rungs[f"{name}_gbm"] = Rung("boosted", (*PLAIN, *sid.of((name,)).name))
        rungs[f"{name}_twin"] = Rung("boosted", (*PLAIN, *twin.of((twin_of[name],)).name))
    return rungs | {
        "control": Rung("mlp", (*DENSE, CONTROL)),
        "naive": Rung("mlp", DENSE, match=True, rows="naive"),
        "rich_twins": Rung("boosted", (*PLAIN, *twin.name, *served)),
        "rich_naive": Rung("boosted", (*PLAIN, *served), rows="naive"),
    }


def rank(run: Run, lessons: Lessons) -> dict[str, np.ndarray]:
    """Train every rung of the ladder on the same rows, folds and seed. Scores (J,) of the judged pairs by rung, as
    served; under cross-validation out of fold, mean over repeats (queries that only train: as served)."""

    @one_thread()
    def body(folder: Path, progress: Progress) -> None:
        signals = lessons.signals
        if signals is None:
            rungs = ladder(run.config, None, None, {})
        else:
            rungs = ladder(run.config, signals.sid_columns, signals.twin_columns, signals.twin_of)
        blocks = feature_rows(lessons)
        kept = {run.config.served_ranker, run.config.baseline_ranker}
        judged: dict[str, np.ndarray] = {"cosine": blocks["fit"].served[:, 0].copy()}
        history = []
        columns = {}
        for step, (name, rung) in enumerate(rungs.items()):
            progress(step, len(rungs))
            made = _train(run.config, lessons, blocks, rung)
            judged[name] = made.scores
            history.append(made.history.assign(name=f"{name}." + made.history["name"].astype(str)))
            if name in kept:
                columns[name] = rung.columns
                for suffix, scorer in made.scorers.items():
                    save_arrays(folder / f"{name}{suffix}.{rung.learner}.safetensors", **scorer.arrays())
        (folder / "columns.json").write_text(json.dumps(columns), encoding="utf-8")
        save_arrays(folder / "judged.safetensors", **judged)
        pd.concat(history, ignore_index=True).to_parquet(folder / "history.parquet")

    return load_arrays(run.stage("rank", "Training the rankers", body) / "judged.safetensors")


def feature_rows(lessons: Lessons) -> dict[str, Rows]:
    """Feature rows of the judged pairs by kind of row ('fit', 'placebo'; 'naive' reads those of 'fit' as served)."""
    judged, own, matches, signals = lessons.judged, lessons.own, lessons.matches, lessons.signals
    served = [judged.dense.astype(np.float64), judged.centred, own.values]
    fit = [judged.dense_fit.astype(np.float64), judged.centred_fit, own.values]
    columns = PLAIN
    if matches is None or signals is None:
        return {"fit": _rows(columns, served, fit, None, None)}
    columns = (*columns, CONTROL, *signals.twin_columns.name, *signals.sid_columns.name)
    served += [matches.control, signals.twin]
    fit += [matches.control_fit, signals.twin_fit]
    return {
        "fit": _rows(columns, [*served, signals.sid], [*fit, signals.sid_fit], matches.level, matches.level_fit),
        "placebo": _rows(
            columns, [*served, signals.placebo], [*fit, signals.placebo_fit], matches.placebo, matches.placebo_fit
        ),
    }


def _rows(
    columns: tuple[str, ...],
    served: list[np.ndarray],
    fit: list[np.ndarray],
    level: np.ndarray | None,
    level_fit: np.ndarray | None,
) -> Rows:
    rows = Rows(columns, np.column_stack(served), np.column_stack(fit), level, level_fit)
    assert rows.served.shape == rows.fit.shape == (len(served[0]), len(columns))
    return rows


class Trained(NamedTuple):
    """A rung, trained, and what it says of the judged pairs."""

    scorers: dict[str, Scorer | TreeScorer]  # By suffix: '' serves, '.cv<k>'.
    scores: np.ndarray  # (J,).
    history: pd.DataFrame


def _train(config: Config, lessons: Lessons, blocks: Mapping[str, Rows], rung: Rung) -> Trained:
    """One rung, by the division's split: once, or once a fold and repeat."""
    judged, division = lessons.judged, lessons.problem.division
    block = blocks["placebo" if rung.rows == "placebo" else "fit"]
    take = [block.columns.index(name) for name in rung.columns]
    served = ServedRows(block.served[:, take], block.level if rung.match else None, judged.grade)
    rows = cross_fitted(lessons, block, rung)

    def fit(train: np.ndarray, valid: np.ndarray | None) -> Trained:
        return fit_rung(config, lessons, rung, rows, served, (train, valid))

    split = division.split
    if split.mode == "holdout":
        side = split.split[judged.asked]
        return fit(side == "train", side == "valid")
    whole = fit(np.ones(len(judged.query), dtype=bool), None)
    total = np.zeros(len(judged.query))
    for repeat, folds in enumerate(split.cv_fold):
        fold = folds[judged.asked]
        for k in np.unique(fold[fold >= 0]):
            part = fit(fold != k, None)
            total[fold == k] += part.scores[fold == k]
            if repeat == 0:
                whole.scorers[f".cv{k}"] = part.scorers[""]
    tested = split.cv_fold[0][judged.asked] >= 0
    return Trained(whole.scorers, np.where(tested, total / len(split.cv_fold), whole.scores), whole.history)


def cross_fitted(lessons: Lessons, block: Rows, rung: Rung) -> CrossFitted:
    """The training rows of a rung, with their provenance; of the trap, without."""
    judged, own, signals, division = lessons.judged, lessons.own, lessons.signals, lessons.problem.division
    take = [block.columns.index(name) for name in rung.columns]
    seen = division.seen[:, judged.position]
    reads: tuple[np.ndarray, ...] = (own.read,)
    if signals is not None:
        seen, reads = seen | signals.seen, (own.read, *signals.reads)
    if rung.rows == "naive":
        level = block.level if rung.match else None
        producer = np.zeros_like(judged.query)
        return CrossFitted.naive_for_comparison_only(
            rung.columns, block.served[:, take], level, judged.query, producer, seen, reads
        )
    level = block.level_fit if rung.match else None
    producer = division.producer[judged.asked]
    return CrossFitted(rung.columns, block.fit[:, take], level, judged.query, producer, seen, reads)


def fit_rung(
    config: Config,
    lessons: Lessons,
    rung: Rung,
    rows: CrossFitted,
    served: ServedRows,
    sides: tuple[np.ndarray, np.ndarray | None],
) -> Trained:
    """Train on one side (J,) of the rows, stop early on the other, where there is one; score all."""
    train, valid = sides
    grade, held = served.grade, None
    if valid is not None and valid.any():
        level = None if served.match_level is None else served.match_level[valid]
        held = ServedRows(served.dense[valid], level, grade[valid])
    if rung.learner == "boosted":
        rising = tuple(name for name in rung.columns if name in RISING)
        trees = train_boosted(rows.select(train), grade[train], seed=config.seed, rising=rising, valid=held)
        return Trained({"": trees}, trees.score(served.dense), pd.DataFrame(columns=["step", "name", "value"]))
    made = train_ranker(
        rows.select(train), grade[train], config=config.ranker, grade_values=grade_levels(grade), seed=config.seed,
        levels=lessons.levels if rung.match else None, valid=held,
    )  # fmt: skip
    return Trained({"": made.scorer}, made.scorer.logit(served.dense, served.match_level), made.history)
