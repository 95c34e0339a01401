"""The ladder of rankers, with and without SIDs, all trained on the same cross-fitted rows, folds and seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.config import Config
from engine.progress import Progress
from engine.relevance.boosted import train_boosted
from engine.relevance.features import CENTRED, DENSE, centre
from engine.relevance.folds import CrossFitted, ServedRows
from engine.relevance.ranker import grade_levels, train_ranker
from engine.relevance.scorer import Scorer
from engine.relevance.signals.own import OWN
from engine.relevance.trees import TreeScorer
from engine.runs import Run
from engine.stages.artefacts import load_arrays, save_arrays
from engine.stages.identifiers import Identifiers, Matches
from engine.stages.inputs import Division, Features, Pairs
from engine.stages.signals import Columns, Own, SignalTables
from engine.stages.threads import one_thread

CONTROL = "contrastive_control"
"""Column: cosine of query and item in the quantizer's space before anything is quantized."""
PLAIN = (*DENSE, *CENTRED, *OWN)
"""What every boosted ranker reads: the dense features, list-centred too, and what is known of the single item."""
RISING = ("qs_coverage",)
"""Columns in which a boosted score may only rise. Not those of SID signals: beside what is known of the very item, its
neighbours may speak against it (docs/LOG.md)."""


class Rung(NamedTuple):
    """One ranker of the ladder."""

    learner: str
    """'mlp' (ordinal, the paper's) or 'boosted' (LightGBM)."""
    columns: tuple[str, ...]
    match: bool = False
    """An MLP that reads the embedded match level (the paper's scalar)."""
    rows: str = "fit"
    """Trained on: 'fit' (out of fold), 'placebo' (SIDs shuffled among the items), or 'naive' (rows of a stack that saw
    the query: the trap, for comparison)."""


class Rankers(NamedTuple):
    """What was trained."""

    scorers: dict[str, Scorer | TreeScorer]
    """The served ranker and its baseline by name; under cross-validation '<name>.cv<k>' too: trained without fold k of
    the first repeat."""
    judged: dict[str, np.ndarray]
    """(J,) scores of the judged pairs by rung, as served. Under cross-validation out of fold, mean over repeats."""


class _Rows(NamedTuple):
    """The judged pairs' features: as served, and as made by each query's own producer; then with shuffled SIDs."""

    columns: tuple[str, ...]
    served: np.ndarray
    fit: np.ndarray
    level: np.ndarray | None
    level_fit: np.ndarray | None


def main_ranker(config: Config) -> str:
    """The rung whose score is the run's `score`."""
    if config.method == "none":
        return baseline_ranker(config)
    return "rich" if config.ranker.kind == "boosted" else "sid"


def baseline_ranker(config: Config) -> str:
    """The rung without SIDs by the same learner: `score_without_sid`."""
    return "strong_gbm" if config.ranker.kind == "boosted" else "strong"


def ladder(config: Config, sid: Columns | None, twin: Columns | None, twin_of: Mapping[str, str]) -> dict[str, Rung]:
    """Every rung; without SIDs (None) the baselines alone. `twin_of`: the dense twin of each signal."""
    rungs = {
        "weak": Rung("mlp", ("dm",)),
        "strong": Rung("mlp", DENSE),
        "plain_gbm": Rung("boosted", (*DENSE, *CENTRED)),
        "strong_gbm": Rung("boosted", PLAIN),
    }
    if sid is None or twin is None:
        return rungs
    served = sid.of(config.signals.served)
    rungs |= {
        "control": Rung("mlp", (*DENSE, CONTROL)),
        "sid": Rung("mlp", DENSE, match=True),
        "placebo": Rung("mlp", DENSE, match=True, rows="placebo"),
        "naive": Rung("mlp", DENSE, match=True, rows="naive"),
    }
    for name in dict.fromkeys(sid.signal):
        rungs[f"{name}_gbm"] = Rung("boosted", (*PLAIN, *sid.of((name,))))
        rungs[f"{name}_twin"] = Rung("boosted", (*PLAIN, *twin.of((twin_of[name],))))
    return rungs | {
        "rich": Rung("boosted", (*PLAIN, *served)),
        "twins": Rung("boosted", (*PLAIN, *twin.name)),
        "rich_twins": Rung("boosted", (*PLAIN, *twin.name, *served)),
        "rich_placebo": Rung("boosted", (*PLAIN, *served), rows="placebo"),
        "rich_naive": Rung("boosted", (*PLAIN, *served), rows="naive"),
    }


def rank(
    run: Run,
    division: Division,
    pairs: Pairs,
    features: Features,
    own: Own,
    identifiers: Identifiers | None,
    matches: Matches | None,
    signals: SignalTables | None,
) -> Rankers:
    """Train every rung of the ladder on the same rows, folds and seed."""

    @one_thread()
    def body(folder: Path, progress: Progress) -> None:
        if signals is None:
            rungs = ladder(run.config, None, None, {})
        else:
            rungs = ladder(run.config, signals.sid_columns, signals.twin_columns, signals.twin_of)
        blocks = _blocks(pairs, features, own, matches, signals)
        kept = {main_ranker(run.config), baseline_ranker(run.config)}
        judged: dict[str, np.ndarray] = {"cosine": blocks["fit"].served[:, 0].copy()}
        history = []
        columns = {}
        for step, (name, rung) in enumerate(rungs.items()):
            progress(step, len(rungs))
            made = _train(run, division, pairs, blocks, rung, identifiers, own, signals)
            judged[name] = made.scores
            history.append(made.history.assign(name=f"{name}." + made.history["name"].astype(str)))
            if name in kept:
                columns[name] = rung.columns
                for suffix, scorer in made.scorers.items():
                    save_arrays(folder / f"{name}{suffix}.{rung.learner}.safetensors", **scorer.arrays())
        (folder / "columns.json").write_text(json.dumps(columns), encoding="utf-8")
        save_arrays(folder / "judged.safetensors", **judged)
        pd.concat(history, ignore_index=True).to_parquet(folder / "history.parquet")

    folder = run.stage("rank", "Training the rankers", body)
    return Rankers(load_scorers(run), load_arrays(folder / "judged.safetensors"))


def load_scorers(run: Run) -> dict[str, Scorer | TreeScorer]:
    """The served ranker of a run and its baseline, by name."""
    folder = run.stage_folder("rank")
    columns = json.loads((folder / "columns.json").read_text(encoding="utf-8"))
    found: dict[str, Scorer | TreeScorer] = {}
    for kind, build in (("mlp", Scorer.from_arrays), ("boosted", TreeScorer.from_arrays)):
        for path in sorted(folder.glob(f"*.{kind}.safetensors")):
            name = path.name.removesuffix(f".{kind}.safetensors")
            found[name] = build(load_arrays(path), columns[name.split(".")[0]])
    return found


def centred(features: Features, pairs: Pairs, n_queries: int, *, fit: bool = False) -> np.ndarray:
    """(P, len(CENTRED)) float32: dense features less their mean over the query's candidates."""
    return centre(features.dense(fit=fit), pairs.query, pairs.rank > 0, n_queries).astype(np.float32)


def _blocks(
    pairs: Pairs, features: Features, own: Own, matches: Matches | None, signals: SignalTables | None
) -> dict[str, _Rows]:
    """Feature rows of the judged pairs by kind of row ('fit', 'placebo'; 'naive' reads those of 'fit' as served)."""
    at = np.flatnonzero(pairs.judged)
    n_queries = int(pairs.query.max(initial=-1)) + 1
    served = [features.dense()[at], centred(features, pairs, n_queries)[at], own.values[at]]
    fit = [features.dense(fit=True)[at], centred(features, pairs, n_queries, fit=True)[at], own.values[at]]
    columns = PLAIN
    if matches is None or signals is None:
        return {"fit": _rows(columns, served, fit, None, None)}
    columns = (*columns, CONTROL, *signals.twin_columns.name, *signals.sid_columns.name)
    served += [matches.control[at], signals.twin]
    fit += [matches.control_fit[at], signals.twin_fit]

    def rows(sid: np.ndarray, sid_fit: np.ndarray, level: np.ndarray, level_fit: np.ndarray) -> _Rows:
        return _rows(columns, [*served, sid], [*fit, sid_fit], level[at], level_fit[at])

    return {
        "fit": rows(signals.sid, signals.sid_fit, matches.level, matches.level_fit),
        "placebo": rows(signals.placebo, signals.placebo_fit, matches.placebo, matches.placebo_fit),
    }


def _rows(
    columns: tuple[str, ...],
    served: list[np.ndarray],
    fit: list[np.ndarray],
    level: np.ndarray | None,
    level_fit: np.ndarray | None,
) -> _Rows:
    rows = _Rows(columns, np.column_stack(served), np.column_stack(fit), level, level_fit)
    assert rows.served.shape == rows.fit.shape == (len(served[0]), len(columns))
    return rows


class _Trained(NamedTuple):
    scorers: dict[str, Scorer | TreeScorer]
    """By suffix: '' serves, '.cv<k>'."""
    scores: np.ndarray
    """(J,)."""
    history: pd.DataFrame


def _train(
    run: Run,
    division: Division,
    pairs: Pairs,
    blocks: Mapping[str, _Rows],
    rung: Rung,
    identifiers: Identifiers | None,
    own: Own,
    signals: SignalTables | None,
) -> _Trained:
    at = np.flatnonzero(pairs.judged)
    query, grade = pairs.query[at], pairs.grade[at]
    naive = rung.rows == "naive"
    block = blocks["placebo" if rung.rows == "placebo" else "fit"]
    take = [block.columns.index(name) for name in rung.columns]
    served = block.served[:, take]
    level = block.level if rung.match else None
    seen = division.seen if signals is None else division.seen | signals.seen
    reads = (own.read,) if signals is None else (own.read, *signals.reads)
    if naive:
        producer = np.zeros_like(query)
        rows = CrossFitted.naive_for_comparison_only(rung.columns, served, level, query, producer, seen, reads)
    else:
        level_fit = block.level_fit if rung.match else None
        rows = CrossFitted(rung.columns, block.fit[:, take], level_fit, query, division.producer[query], seen, reads)
    grade_values = grade_levels(grade)

    def fit(train: np.ndarray, valid: np.ndarray | None) -> _Trained:
        held = None
        if valid is not None and valid.any():
            held = ServedRows(served[valid], None if level is None else level[valid], grade[valid])
        seed = run.config.seed
        if rung.learner == "boosted":
            rising = tuple(name for name in rung.columns if name in RISING)
            trees = train_boosted(rows.select(train), grade[train], seed=seed, rising=rising, valid=held)
            return _Trained({"": trees}, trees.score(served), pd.DataFrame(columns=["step", "name", "value"]))
        made = train_ranker(
            rows.select(train), grade[train], config=run.config.ranker, grade_values=grade_values, seed=seed,
            levels=identifiers.levels if rung.match and identifiers is not None else None, valid=held,
        )  # fmt: skip
        return _Trained({"": made.scorer}, made.scorer.logit(served, level), made.history)

    split = division.split
    if split.mode == "holdout":
        side = split.split[query]
        return fit(side == "train", side == "valid")
    whole = fit(np.ones(len(query), dtype=bool), None)
    total = np.zeros(len(query))
    for repeat, folds in enumerate(split.cv_fold):
        fold = folds[query]
        for k in np.unique(fold):
            part = fit(fold != k, None)
            total[fold == k] += part.scores[fold == k]
            if repeat == 0:
                whole.scorers[f".cv{k}"] = part.scorers[""]
    return _Trained(whole.scorers, total / len(split.cv_fold), whole.history)
