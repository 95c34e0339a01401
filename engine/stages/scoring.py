"""The scores that are served, and why each is what it is: tables scores, contributions, reference points, weights."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from engine.datasets.contract import Catalogue
from engine.progress import Progress
from engine.relevance.attribution import Attribution, boosted_players, query_reference, shapley
from engine.relevance.features import DENSE
from engine.relevance.prefix import prefix_text
from engine.relevance.scorer import Scorer
from engine.relevance.tree_attribution import tree_shapley
from engine.relevance.trees import TreeScorer
from engine.runs import Run, write_arrow, write_table
from engine.stages.identifiers import Identifiers, Matches
from engine.stages.inputs import Division, Features, Pairs
from engine.stages.ranking import PLAIN, Rankers, baseline_ranker, centred, main_ranker
from engine.stages.signals import Columns, Own, SignalTables

_CHUNK = 131_072


class Table(NamedTuple):
    """What rankers read of pairs (M,)."""

    columns: tuple[str, ...]
    """DENSE; for a boosted ranker PLAIN and the columns of the served SID signals."""
    values: np.ndarray
    """(M, F) float64 dense features, or float32 with the rest."""
    level: np.ndarray | None
    """(M,) match level; None without SIDs."""

    def take(self, rows: np.ndarray) -> Table:
        """The table of some pairs."""
        return self._replace(values=self.values[rows], level=None if self.level is None else self.level[rows])


def score(
    run: Run,
    catalogue: Catalogue,
    division: Division,
    pairs: Pairs,
    features: Features,
    own: Own,
    identifiers: Identifiers | None,
    matches: Matches | None,
    signals: SignalTables | None,
    rankers: Rankers,
) -> None:
    """Score every pair with and without SIDs, and explain the top ones and the judged ones."""
    query_ids = catalogue.queries["query_id"].to_numpy()
    item_ids = catalogue.items["item_id"].to_numpy()
    main, baseline = main_ranker(run.config), baseline_ranker(run.config)

    def body(folder: Path, progress: Progress) -> None:
        progress(0, 4)
        table = _table(run, pairs, features, own, matches, signals, len(query_ids))
        retrieved = pairs.rank > 0
        reference = reference_points(table.values[retrieved], pairs.query[retrieved], len(query_ids), table.columns)
        suffix = _suffixes(division)
        with_sid = np.empty(len(pairs.query))
        without, off, expected, expected_without = (np.empty_like(with_sid) for _ in range(4))
        scorer_of = suffix[pairs.query]
        for part in np.unique(scorer_of):
            ranker, plain = rankers.scorers[f"{main}{part}"], rankers.scorers[f"{baseline}{part}"]
            chosen = np.flatnonzero(scorer_of == part)
            for rows in np.split(chosen, range(_CHUNK, len(chosen), _CHUNK)):
                here = table.take(rows)
                with_sid[rows], without[rows] = predict(ranker, here), predict(plain, here)
                off[rows] = predict(ranker, switched_off(here, reference[pairs.query[rows]]))
                expected[rows], expected_without[rows] = (
                    ranker.expected_grade(with_sid[rows]), plain.expected_grade(without[rows]),
                )  # fmt: skip
        progress(1, 4)
        write_scores(
            folder,
            scores_table(
                query_ids=query_ids,
                item_ids=item_ids,
                query=pairs.query,
                item=pairs.item,
                first_stage=pairs.rank,
                judged=pairs.judged,
                dense=features.dense(),
                match_level=None if matches is None else matches.level,
                beam_rank=None if matches is None else matches.beam_rank,
                codes=None if identifiers is None else identifiers.stacks[0].codes,
                score=with_sid,
                score_without=without,
                score_off=off,
                expected=expected,
                expected_without=expected_without,
            ),
            table.values[:, len(DENSE) :],
        )
        progress(2, 4)
        rank = _ranks(pairs.query, with_sid, pairs.rank).to_numpy(dtype=np.float64, na_value=np.inf)
        explained = np.flatnonzero((rank <= run.config.retrieval.explained) | pairs.judged)
        reference_score = np.full(len(query_ids), np.nan)
        contributions = []
        columns = None if signals is None else signals.sid_columns
        for part in np.unique(suffix):
            ranker = rankers.scorers[f"{main}{part}"]
            mine = np.flatnonzero((suffix == part) & np.isfinite(reference[:, 0]))
            level = None if table.level is None else np.zeros(len(mine), dtype=np.int64)
            reference_score[mine] = predict(ranker, Table(table.columns, reference[mine], level))
            rows = explained[scorer_of[explained] == part]
            made = attribute(ranker, table.take(rows), reference[pairs.query[rows]], columns)
            contributions.append(contributions_table(made, query_ids[pairs.query[rows]], item_ids[pairs.item[rows]]))
        write_table(folder, "contributions", pd.concat(contributions, ignore_index=True))
        names = np.array([f"{main}{s}" for s in suffix])
        points = reference_table(query_ids, names, reference_score, reference)
        write_table(folder, "reference_points", points.dropna(subset=["score"]))
        write_table(folder, "ranker_weights", _weights_table(rankers.scorers))

    folder = run.stage("score", "Scoring and explaining", body)
    run.offer_tables(folder)


def predict(ranker: Scorer | TreeScorer, table: Table) -> np.ndarray:
    """(M,) float64 ranking scores: the ordinal logit of an MLP, the predicted grade of trees."""
    values = np.asarray(table.values[:, [table.columns.index(name) for name in ranker.columns]], dtype=np.float64)
    if isinstance(ranker, TreeScorer):
        return ranker.score(values)
    return ranker.logit(values, None if ranker.levels is None else table.level)


def switched_off(table: Table, reference: np.ndarray) -> Table:
    """The same pairs with every SID column at the reference (M, F) of its query, the match level at 0."""
    values = table.values.copy()
    values[:, len(PLAIN) :] = reference[:, len(PLAIN) :]
    return table._replace(values=values, level=None if table.level is None else np.zeros_like(table.level))


def reference_points(values: np.ndarray, query: np.ndarray, n_queries: int, columns: tuple[str, ...]) -> np.ndarray:
    """(Q, F) float64 what contributions are measured from: the mean of the query's candidates (M, F); no match; NaN
    where a query has no candidate. Kept at the precision of the stored columns."""
    mean = query_reference(values, query, n_queries)
    mean[:, [i for i, name in enumerate(columns) if name.startswith("match_")]] *= 0.0
    mean[:, len(DENSE) :] = mean[:, len(DENSE) :].astype(np.float32)
    return mean


def attribute(ranker: Scorer | TreeScorer, table: Table, reference: np.ndarray, columns: Columns | None) -> Attribution:
    """Exact contributions of pairs (M) from their `reference` (M, F); `columns`: of the SID signals."""
    take = [table.columns.index(name) for name in ranker.columns]
    values = np.asarray(table.values[:, take], dtype=np.float64)
    if isinstance(ranker, TreeScorer):
        sid = () if columns is None else tuple(zip(*columns, strict=True))
        return tree_shapley(ranker, values, reference[:, take], boosted_players(ranker.columns, sid))
    return shapley(ranker, values, None if ranker.levels is None else table.level, reference[:, take])


def contributions_table(made: Attribution, query_ids: np.ndarray, item_ids: np.ndarray) -> pd.DataFrame:
    """Table `contributions` of pairs (M,)."""
    n = len(made.features)
    return pd.DataFrame(
        {
            "query_id": np.repeat(query_ids, n),
            "item_id": np.repeat(item_ids, n),
            "feature": np.tile(np.array(made.features, dtype=object), len(made.values)),
            "value": made.values.ravel(),
        }
    )


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


def write_scores(folder: Path, scores: pd.DataFrame, signals: np.ndarray) -> None:
    """Write table `scores` with the columns that only a boosted ranker reads (M, C) as one list a row."""
    table = pa.Table.from_pandas(scores, preserve_index=False)
    if signals.shape[1]:
        flat = pa.array(np.ascontiguousarray(signals, dtype=np.float32).ravel())
        table = table.append_column("signals", pa.FixedSizeListArray.from_arrays(flat, signals.shape[1]))
    write_arrow(folder, "scores", table)


def reference_table(
    query_ids: np.ndarray | list[str], ranker: np.ndarray | str, score: np.ndarray, reference: np.ndarray
) -> pd.DataFrame:
    """Table `reference_points`: `score` (Q,) and `reference` (Q, F) that contributions are measured from."""
    head = pd.DataFrame({"query_id": query_ids, "ranker": ranker, "score": score})
    table = head.join(pd.DataFrame(reference[:, : len(DENSE)], columns=list(DENSE)))
    return table.assign(signals=list(reference[:, len(DENSE) :].astype(np.float32)))


def _table(
    run: Run,
    pairs: Pairs,
    features: Features,
    own: Own,
    matches: Matches | None,
    signals: SignalTables | None,
    n_queries: int,
) -> Table:
    level = None if matches is None else matches.level
    if run.config.ranker.kind == "mlp":
        return Table(DENSE, features.dense(), level)
    columns = PLAIN
    values = [features.dense().astype(np.float32), centred(features, pairs, n_queries), own.values]
    if signals is not None:
        columns = (*columns, *signals.sid_columns.of(run.config.signals.served))
        values.append(signals.served)
    table = Table(columns, np.concatenate(values, axis=1), level)
    assert table.values.shape[1] == len(columns)
    return table


def _suffixes(division: Division) -> np.ndarray:
    """(Q,) which scorer serves a query: '' or, for a judged query under cross-validation, '.cv<k>' of its fold."""
    if division.split.mode == "holdout":
        return np.full(len(division.split.split), "", dtype=object)
    fold = division.split.cv_fold[0]
    return np.array([f".cv{k}" if k >= 0 else "" for k in fold], dtype=object)


def _ranks(query: np.ndarray, score: np.ndarray, first_stage: np.ndarray) -> pd.arrays.IntegerArray:
    """1-based rank among the retrieved of each query; equal scores keep the first stage's order; NA elsewhere."""
    rows = np.flatnonzero(first_stage > 0)
    order = rows[np.lexsort((first_stage[rows], -score[rows], query[rows]))]
    starts = np.flatnonzero(np.r_[True, query[order][1:] != query[order][:-1]])
    within = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    ranks = np.zeros(len(query), dtype=np.int64)
    ranks[order] = within + 1
    return pd.arrays.IntegerArray(ranks, first_stage == 0)


def _weights_table(scorers: dict[str, Scorer | TreeScorer]) -> pd.DataFrame:
    rows = [
        {"ranker": ranker, "name": name, "shape": list(np.shape(values)), "values": np.ravel(values).tolist()}
        for ranker, scorer in scorers.items()
        for name, values in scorer.arrays().items()
    ]
    return pd.DataFrame(rows)
