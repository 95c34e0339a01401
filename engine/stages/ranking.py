"""Rankers with and without SIDs on cross-fitted rows, the scores that are served, and why each is what it is."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.datasets.contract import Catalogue
from engine.progress import Progress
from engine.relevance.attribution import query_reference, shapley
from engine.relevance.boosted import train_boosted
from engine.relevance.features import DENSE
from engine.relevance.folds import CrossFitted, ServedRows
from engine.relevance.prefix import prefix_text
from engine.relevance.ranker import grade_levels, train_ranker
from engine.relevance.scorer import Scorer
from engine.runs import Run, write_table
from engine.stages.artefacts import load_arrays, save_arrays
from engine.stages.identifiers import Identifiers, Matches
from engine.stages.inputs import Division, Features, Pairs
from engine.stages.threads import one_thread

CONTROL = "contrastive_cosine"


class Ranker(NamedTuple):
    """One rung of the ladder: which dense columns and which match level it reads."""

    columns: tuple[str, ...] = DENSE
    match: str | None = None
    """'level', 'placebo', 'naive' (features of a stack that saw the query: the trap, for comparison), or None."""


WITHOUT = {"weak": Ranker(("dm",)), "strong": Ranker()}
WITH = {
    "control": Ranker((*DENSE, CONTROL)),
    "placebo": Ranker(match="placebo"),
    "naive": Ranker(match="naive"),
    "dsirm": Ranker(match="level"),
}


class Rankers(NamedTuple):
    """What was trained."""

    scorers: dict[str, Scorer]
    """By name; under cross-validation '<name>.cv<k>' too: trained without fold k of the first repeat."""
    judged: dict[str, np.ndarray]
    """(J,) scores of the judged pairs by ranker, as served. Under cross-validation out of fold, mean over repeats."""


class _Block(NamedTuple):
    """The judged pairs' features: as served, and as made by each query's own producer."""

    columns: tuple[str, ...]
    served: np.ndarray
    fit: np.ndarray
    levels: dict[str, tuple[np.ndarray, np.ndarray]]
    """Match level (served, fit) by kind."""
    n_levels: int | None
    query: np.ndarray
    grade: np.ndarray


def main_ranker(run: Run) -> str:
    """The ranker whose logit is the run's `score`."""
    return "strong" if run.config.method == "none" else "dsirm"


def rank(
    run: Run,
    division: Division,
    pairs: Pairs,
    features: Features,
    identifiers: Identifiers | None,
    matches: Matches | None,
) -> Rankers:
    """Train every rung of the ladder on the same rows, folds and seed."""

    @one_thread()
    def body(folder: Path, progress: Progress) -> None:
        ladder = WITHOUT if matches is None else WITHOUT | WITH
        block = _block(pairs, features, identifiers, matches)
        scorers: dict[str, Scorer] = {}
        judged: dict[str, np.ndarray] = {"cosine": block.served[:, 0].copy()}
        history = []
        names = [*ladder, "strong_gbm"]
        for step, name in enumerate(names):
            progress(step, len(names))
            kind = ladder.get(name, Ranker())
            made, scores, curve = _train(run, division, block, kind, boosted=name == "strong_gbm")
            scorers |= {f"{name}{suffix}": scorer for suffix, scorer in made.items()}
            judged[name] = scores
            history.append(curve.assign(name=f"{name}." + curve["name"].astype(str)))
        for name, scorer in scorers.items():
            save_arrays(folder / f"{name}.scorer.safetensors", **scorer.arrays())
        save_arrays(folder / "judged.safetensors", **judged)
        pd.concat(history, ignore_index=True).to_parquet(folder / "history.parquet")

    folder = run.stage("rank", "Training the rankers", body)
    return Rankers(load_scorers(run), load_arrays(folder / "judged.safetensors"))


def load_scorers(run: Run) -> dict[str, Scorer]:
    """The trained scorers of a run by name."""
    found = {}
    for path in sorted(run.stage_folder("rank").glob("*.scorer.safetensors")):
        name = path.name.removesuffix(".scorer.safetensors")
        columns = (WITHOUT | WITH)[name.split(".")[0]].columns
        found[name] = Scorer.from_arrays(load_arrays(path), columns)
    return found


def score(
    run: Run,
    catalogue: Catalogue,
    division: Division,
    pairs: Pairs,
    features: Features,
    identifiers: Identifiers | None,
    matches: Matches | None,
    rankers: Rankers,
) -> None:
    """Tables `scores`, `contributions`, `reference_points`, `ranker_weights`."""
    query_ids = catalogue.queries["query_id"].to_numpy()
    item_ids = catalogue.items["item_id"].to_numpy()
    main = main_ranker(run)

    def body(folder: Path, progress: Progress) -> None:
        dense = features.dense()
        level = None if matches is None else matches.level
        suffix = _suffixes(division)
        progress(0, 4)
        own = suffix[pairs.query]
        with_sid = _serve(rankers, main, dense, level, own)
        without = with_sid if level is None else _serve(rankers, "strong", dense, None, own)
        off = with_sid.logit.copy()
        if level is not None:
            matched = np.flatnonzero(level)
            none = np.zeros_like(matched)
            off[matched] = _serve(rankers, main, dense[matched], none, own[matched]).logit
        progress(1, 4)
        table = scores_table(
            query_ids=query_ids,
            item_ids=item_ids,
            query=pairs.query,
            item=pairs.item,
            first_stage=pairs.rank,
            judged=pairs.judged,
            dense=dense,
            match_level=level,
            beam_rank=None if matches is None else matches.beam_rank,
            codes=None if identifiers is None else identifiers.stacks[0].codes,
            score=with_sid.logit,
            score_without=without.logit,
            score_off=off,
            expected=with_sid.expected_grade,
            expected_without=without.expected_grade,
        )
        write_table(folder, "scores", table)
        progress(2, 4)
        rank = table["rank"].to_numpy(dtype=np.float64, na_value=np.inf)
        rows = np.flatnonzero((rank <= run.config.retrieval.explained) | pairs.judged)
        retrieved = pairs.rank > 0
        reference = query_reference(dense[retrieved], pairs.query[retrieved], len(query_ids))
        reference_score = np.full(len(query_ids), np.nan)
        contributions = []
        for name in np.unique(suffix):
            scorer = rankers.scorers[f"{main}{name}"]
            own = suffix == name
            zero = None if level is None else np.zeros(int(own.sum()), dtype=np.int64)
            reference_score[own] = scorer.logit(reference[own], zero)
            part = rows[own[pairs.query[rows]]]
            levels = None if level is None else level[part]
            made = shapley(scorer, dense[part], levels, reference[pairs.query[part]])
            contributions.append(
                pd.DataFrame(
                    {
                        "query_id": np.repeat(query_ids[pairs.query[part]], len(made.features)),
                        "item_id": np.repeat(item_ids[pairs.item[part]], len(made.features)),
                        "feature": np.tile(made.features, len(part)),
                        "value": made.values.ravel(),
                    }
                )
            )
        write_table(folder, "contributions", pd.concat(contributions, ignore_index=True))
        names = np.array([f"{main}{s}" for s in suffix])
        points = reference_table(query_ids, names, reference_score, reference)
        write_table(folder, "reference_points", points.dropna(subset=["score"]))
        write_table(folder, "ranker_weights", _weights_table(rankers.scorers, {main, "strong"}))

    folder = run.stage("score", "Scoring and explaining", body)
    run.offer_tables(folder)


def scores_table(
    *,
    query_ids: np.ndarray,
    item_ids: np.ndarray,
    query: np.ndarray,
    item: np.ndarray,
    first_stage: np.ndarray,
    judged: np.ndarray,
    dense: np.ndarray,
    match_level: np.ndarray | None,
    beam_rank: np.ndarray | None,
    codes: np.ndarray | None,
    score: np.ndarray,
    score_without: np.ndarray,
    score_off: np.ndarray,
    expected: np.ndarray,
    expected_without: np.ndarray,
) -> pd.DataFrame:
    """Table `scores` of pairs (M,) given by positions `query`, `item`; `first_stage` 0 where not retrieved."""
    table = pd.DataFrame(
        {
            "query_id": query_ids[query],
            "item_id": item_ids[item],
            "score": score,
            "score_without_sid": score_without,
            "score_sid_off": score_off,
            "expected_grade": expected,
            "expected_grade_without_sid": expected_without,
            "rank": _ranks(query, score, first_stage),
            "rank_without_sid": _ranks(query, score_without, first_stage),
            "first_stage_rank": pd.array(np.where(first_stage > 0, first_stage, -1), dtype="Int64"),
            "retrieved": first_stage > 0,
            "judged": judged,
        }
    )
    table.loc[first_stage == 0, "first_stage_rank"] = pd.NA
    if match_level is not None:
        assert beam_rank is not None
        assert codes is not None
        table["match_level"] = match_level
        table["beam_rank"] = pd.array(beam_rank, dtype="Int64")
        table.loc[beam_rank == 0, "beam_rank"] = pd.NA
        table["matched_prefix"] = prefix_text(codes[item], match_level)
    return table.join(pd.DataFrame(dense, columns=list(DENSE)))


def reference_table(
    query_ids: np.ndarray | list[str], ranker: np.ndarray | str, score: np.ndarray, dense: np.ndarray
) -> pd.DataFrame:
    """Table `reference_points`: `score` (Q,) and `dense` (Q, 7) that contributions are measured from."""
    head = pd.DataFrame({"query_id": query_ids, "ranker": ranker, "score": score})
    return head.join(pd.DataFrame(dense, columns=list(DENSE)))


def _block(pairs: Pairs, features: Features, identifiers: Identifiers | None, matches: Matches | None) -> _Block:
    rows = np.flatnonzero(pairs.judged)
    served, fit = features.dense()[rows], features.dense(fit=True)[rows]
    levels = {}
    columns: tuple[str, ...] = DENSE
    if matches is not None:
        columns = (*DENSE, CONTROL)
        served = np.column_stack([served, matches.control[rows]])
        fit = np.column_stack([fit, matches.control_fit[rows]])
        levels = {
            "level": (matches.level[rows], matches.level_fit[rows]),
            "placebo": (matches.placebo[rows], matches.placebo_fit[rows]),
            "naive": (matches.level[rows], matches.level[rows]),
        }
    n_levels = None if identifiers is None else identifiers.levels
    return _Block(columns, served, fit, levels, n_levels, pairs.query[rows], pairs.grade[rows])


def _train(
    run: Run, division: Division, block: _Block, kind: Ranker, *, boosted: bool
) -> tuple[dict[str, Scorer], np.ndarray, pd.DataFrame]:
    """Scorers by suffix ('' serves, '.cv<k>'), scores of the judged pairs (J,), training curve."""
    take = [block.columns.index(name) for name in kind.columns]
    naive = kind.match == "naive"
    level_served, level_fit = block.levels.get(kind.match or "", (None, None))
    producer = np.zeros_like(block.query) if naive else division.producer[block.query]
    build = CrossFitted.naive_for_comparison_only if naive else CrossFitted
    served = block.served[:, take]
    everything = build(
        kind.columns, served if naive else block.fit[:, take], level_fit, block.query, producer, division.seen
    )
    grade_values = grade_levels(block.grade)

    def fit(train: np.ndarray, valid: np.ndarray | None) -> tuple[Scorer | None, np.ndarray, pd.DataFrame]:
        rows, held, held_grades = everything.select(train), None, None
        if valid is not None and valid.any():
            held = ServedRows(served[valid], None if level_served is None else level_served[valid], block.query[valid])
            held_grades = block.grade[valid]
        seed = run.config.seed
        if boosted:
            trees = train_boosted(rows, block.grade[train], seed=seed, valid=held, valid_grades=held_grades)
            return None, trees.score(served, level_served), pd.DataFrame(columns=["step", "name", "value"])
        made = train_ranker(
            rows, block.grade[train], config=run.config.ranker, grade_values=grade_values, seed=seed,
            use_sid=level_served is not None, levels=block.n_levels, valid=held, valid_grades=held_grades,
        )  # fmt: skip
        return made.scorer, made.scorer.logit(served, level_served), made.history

    split = division.split
    if split.mode == "holdout":
        side = split.split[block.query]
        scorer, scores, curve = fit(side == "train", side == "valid")
        return ({"": scorer} if scorer else {}), scores, curve
    scorer, _, curve = fit(np.ones(len(block.query), dtype=bool), None)
    scorers = {"": scorer} if scorer else {}
    total = np.zeros(len(block.query))
    for repeat, folds in enumerate(split.cv_fold):
        fold = folds[block.query]
        for k in np.unique(fold):
            own, scores, _ = fit(fold != k, None)
            total[fold == k] += scores[fold == k]
            if repeat == 0 and own is not None:
                scorers[f".cv{k}"] = own
    return scorers, total / len(split.cv_fold), curve


def _suffixes(division: Division) -> np.ndarray:
    """(Q,) which scorer serves a query: '' or, for a judged query under cross-validation, '.cv<k>' of its fold."""
    if division.split.mode == "holdout":
        return np.full(len(division.split.split), "", dtype=object)
    fold = division.split.cv_fold[0]
    return np.array([f".cv{k}" if k >= 0 else "" for k in fold], dtype=object)


class _Served(NamedTuple):
    logit: np.ndarray
    expected_grade: np.ndarray


def _serve(rankers: Rankers, name: str, dense: np.ndarray, level: np.ndarray | None, suffix: np.ndarray) -> _Served:
    """Scores of pairs (M,), each by the scorer that its `suffix` (M,) names."""
    served = _Served(np.empty(len(dense)), np.empty(len(dense)))
    for part in np.unique(suffix):
        rows = np.flatnonzero(suffix == part)
        scorer = rankers.scorers[f"{name}{part}"]
        served.logit[rows] = scorer.logit(dense[rows], None if level is None else level[rows])
        served.expected_grade[rows] = scorer.expected_grade(served.logit[rows])
    return served


def _ranks(query: np.ndarray, score: np.ndarray, first_stage: np.ndarray) -> pd.arrays.IntegerArray:
    """1-based rank among the retrieved of each query; equal scores keep the first stage's order; NA elsewhere."""
    rows = np.flatnonzero(first_stage > 0)
    order = rows[np.lexsort((first_stage[rows], -score[rows], query[rows]))]
    starts = np.flatnonzero(np.r_[True, query[order][1:] != query[order][:-1]])
    within = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    ranks = np.zeros(len(query), dtype=np.int64)
    ranks[order] = within + 1
    return pd.arrays.IntegerArray(ranks, first_stage == 0)


def _weights_table(scorers: dict[str, Scorer], served: set[str]) -> pd.DataFrame:
    rows = [
        {"ranker": ranker, "name": name, "shape": list(np.shape(values)), "values": np.ravel(values).tolist()}
        for ranker, scorer in scorers.items()
        if ranker.split(".")[0] in served
        for name, values in scorer.arrays().items()
    ]
    return pd.DataFrame(rows)
