"""From a block of queries to the snapshot's own rows: retrieve, predict SIDs, measure, score, explain.

The batch over every logged query is this function over blocks (`batch.py`), a live query is a block of one (`live.py`).
A query's rows do not depend on the others of its block: what a float32 product of matrices would round differently is
decided in float64, row by row.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.answering import rows
from engine.answering.served import Served, ServedSids
from engine.answering.shelf import ask
from engine.generator.beam import Beams, BeamSearch, answers
from engine.generator.loading import prompts
from engine.generator.trie import SidTrie
from engine.problem.queries import Queries, queries_at
from engine.relevance.features import centre
from engine.relevance.prefix import MatchResult, match_pairs
from engine.relevance.retrieval import Candidates, joined
from engine.relevance.scorer import Scorer
from engine.relevance.signals.own import PLAIN
from engine.relevance.table import Table, attribute, predict, reference_points, switched_off
from engine.relevance.trees import TreeScorer


class Block(NamedTuple):
    """Queries (B) to be answered, and the items that are scored and explained for them wherever they rank."""

    queries: Queries
    ranker: np.ndarray  # (B,) object: '' or, for a judged query under cross-validation, '.cv<k>' of its fold.
    query: np.ndarray  # (E,) int64 row of the query ...
    item: np.ndarray  # (E,) int64 ... and position of the item: judged pairs, and what somebody asks for ...
    judged: np.ndarray  # (E,) bool ... which are judged.
    width: int | None = None  # Beams; None: as the run is configured.


class Answers(NamedTuple):
    """Rows of the snapshot's tables, less `run_id`."""

    scores: pd.DataFrame | None  # Column `signals`: float32 lists of what only a boosted ranker reads ...
    contributions: pd.DataFrame | None
    reference_points: pd.DataFrame | None  # ... None, as those two, where nothing ranks.
    beams: pd.DataFrame | None  # None, as the two that follow, for a run without SIDs.
    beam_nodes: pd.DataFrame | None
    free_beams: pd.DataFrame | None
    seconds: Mapping[str, float]  # Spent on beams, and on all the rest (score).


def stored_block(served: Served, position: np.ndarray) -> Block:
    """The catalogue's queries at `position` (B,), with their judged items."""
    problem, judgments = served.problem, served.judgments
    low, high = np.searchsorted(judgments.query, position), np.searchsorted(judgments.query, position, side="right")
    at = np.concatenate([np.zeros(0, dtype=np.int64), *map(np.arange, low, high)])
    split = problem.division.split
    ranker = np.full(len(position), "", dtype=object)
    if split.mode != "holdout":
        ranker = np.array([f".cv{k}" if k >= 0 else "" for k in split.cv_fold[0][position]], dtype=object)
    row = np.repeat(np.arange(len(position)), high - low)
    return Block(queries_at(problem, position), ranker, row, judgments.item[at], np.ones(len(at), dtype=bool))


def answer(served: Served, block: Block) -> Answers:
    """The rows of a block."""
    began = time.perf_counter()
    queries = block.queries
    if not served.rankers:
        found = None if served.sids is None else _predict(served, served.sids, block, None)
        tables = _beam_tables(served.sids, queries, found)
        return Answers(None, None, None, *tables, {"beam": time.perf_counter() - began, "score": 0.0})
    retrieved = served.problem.first.candidates(queries.x, queries.texts)
    pairs = joined(retrieved, block.query, block.item, len(served.item_ids))
    searched = time.perf_counter()
    predicted = None if served.sids is None else _predict(served, served.sids, block, pairs)
    beam_seconds = time.perf_counter() - searched
    table, match = measure(served, queries, retrieved, pairs, predicted)
    scored = _score(served, block, pairs, table)
    extra = np.isin(_keys(served, pairs.query, pairs.item), _keys(served, block.query, block.item))
    judged = np.isin(
        _keys(served, pairs.query, pairs.item), _keys(served, block.query[block.judged], block.item[block.judged])
    )
    top = extra
    for score in (scored.score, scored.without):  # who left the first places is explained beside who came
        rank = rows.ranks(pairs.query, score, pairs.rank)
        top |= (rank > 0) & (rank <= served.config.retrieval.explained)
    explained = np.flatnonzero(top)
    contributions, points = _explain(served, block, pairs, table, scored.reference, explained)
    codes = None if served.sids is None else served.sids.codes
    identity = rows.Pairs(queries.id[pairs.query], served.item_ids[pairs.item], pairs, judged)
    return Answers(
        rows.scores_table(identity, table, scored, match, None if codes is None else codes[pairs.item]),
        contributions,
        points,
        *_beam_tables(served.sids, queries, predicted),
        {"beam": beam_seconds, "score": time.perf_counter() - began - beam_seconds},
    )


class Predicted(NamedTuple):
    """What the generator says of a block."""

    found: BeamSearch
    free: Beams  # Unconstrained, for comparison.
    trie: SidTrie
    sid: np.ndarray  # (P,) int64, sorted: a query and the SID of one of its pairs as a number (`_sid_keys`) ...
    sid_log_prob: np.ndarray  # (P, L) float64 ... and its codes' log probabilities.

    def log_prob(self, row: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """(M, L) of the SIDs `codes` (M, L) of pairs of the block's queries `row` (M,)."""
        return self.sid_log_prob[np.searchsorted(self.sid, _sid_keys(self.trie, row, codes))]


def _predict(served: Served, sids: ServedSids, block: Block, pairs: Candidates | None) -> Predicted:
    """Searches, and the log probability of every SID among the pairs (an MLP reads none)."""
    config, trie, queries = served.config.generator, sids.generator.trie, block.queries
    row, codes = np.zeros(0, dtype=np.int64), np.zeros((0, trie.levels), dtype=np.int64)
    if pairs is not None and sids.signals:
        row, codes = pairs.query, sids.codes[pairs.item]
    key, first = np.unique(_sid_keys(trie, row, codes), return_index=True)
    prompt = prompts(config, queries.x, queries.texts)
    width = block.width or config.beam_width
    made = answers(
        sids.generator.model, prompt, trie, row[first], codes[first], width=width, kept_nodes=config.kept_nodes
    )
    return Predicted(made.found, made.free, trie, key, made.log_probs)


def _sid_keys(trie: SidTrie, row: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return row * (trie.n_sids + 1) + 1 + trie.find(codes)  # 0: an item without SID


def measure(
    served: Served, queries: Queries, retrieved: Candidates, pairs: Candidates, predicted: Predicted | None
) -> tuple[Table, MatchResult | None]:
    """What the run's rankers read of `pairs`, of which `retrieved` were found by the first stage; how deep they match."""
    assert served.classifier is not None
    dense = served.dense.measure(queries.dense, pairs.query, pairs.item, served.classifier)
    match = log_prob = beams = None
    if served.sids is not None and predicted is not None:
        beams = predicted.found.beams.codes
        match = match_pairs(served.sids.codes, beams, pairs.query, pairs.item)
        log_prob = predicted.log_prob
    level = None if match is None else match.level
    if served.own is None or served.past is None:
        return Table(PLAIN[: dense.shape[1]], dense, level), match
    listed = np.full((len(queries.id), served.config.signals.list_depth), -1, dtype=np.int64)
    best = retrieved.rank <= listed.shape[1]
    listed[retrieved.query[best], retrieved.rank[best] - 1] = retrieved.item[best]
    asked = ask(queries, listed, served.past.near(queries.x, queries.group), log_prob, beams)
    fitted = [served.own, *(() if served.sids is None else served.sids.signals.values())]
    values = [dense, centre(dense, pairs.query, pairs.rank > 0, len(queries.id)).astype(np.float32)]
    values += [each.measure(asked, pairs.query, pairs.item).values for each in fitted]
    columns = PLAIN if served.sids is None else (*PLAIN, *served.sids.columns.name)
    table = Table(columns, np.concatenate(values, axis=1), level)
    assert table.values.shape[1] == len(columns)
    return table, match


def _score(served: Served, block: Block, pairs: Candidates, table: Table) -> rows.Scored:
    """Scores with and without SIDs, and with them switched off."""
    listed = np.flatnonzero(pairs.rank > 0)
    reference = reference_points(table.take(listed), pairs.query[listed], len(block.queries.id))
    made = [np.empty(len(pairs.query)) for _ in range(5)]
    for suffix, of in _by_ranker(block.ranker[pairs.query]):
        ranker, plain = _rankers(served, suffix)
        here = table.take(of)
        score, without = predict(ranker, here), predict(plain, here)
        off = predict(ranker, switched_off(here, reference[pairs.query[of]], len(PLAIN)))
        values = (score, without, off, ranker.expected_grade(score), plain.expected_grade(without))
        for column, value in zip(made, values, strict=True):
            column[of] = value
    score, without, off, expected, expected_without = made
    return rows.Scored(score, without, off, expected, expected_without, reference)


def _explain(
    served: Served, block: Block, pairs: Candidates, table: Table, reference: np.ndarray, explained: np.ndarray
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables `contributions` of the pairs `explained`, and `reference_points` of the block's queries."""
    columns = () if served.sids is None else tuple(zip(*served.sids.columns, strict=True))
    score = np.full(len(block.queries.id), np.nan)
    tables = []
    for suffix, queries in _by_ranker(block.ranker):
        ranker, _ = _rankers(served, suffix)
        known = queries[np.isfinite(reference[queries, 0])]
        level = None if table.level is None else np.zeros(len(known), dtype=np.int64)
        score[known] = predict(ranker, Table(table.columns, reference[known], level))
        own = explained[np.isin(pairs.query[explained], queries)]
        made = attribute(ranker, table.take(own), reference[pairs.query[own]], columns)
        tables.append(
            rows.contributions_table(made, block.queries.id[pairs.query[own]], served.item_ids[pairs.item[own]])
        )
    names = np.array([f"{served.config.served_ranker}{suffix}" for suffix in block.ranker], dtype=object)
    points = rows.reference_table(block.queries.id, names, score, reference)
    return pd.concat(tables, ignore_index=True), points.dropna(subset=["score"])


def _rankers(served: Served, suffix: str) -> tuple[Scorer | TreeScorer, Scorer | TreeScorer]:
    names = (served.config.served_ranker, served.config.baseline_ranker)
    first, second = (served.rankers[f"{name}{suffix}"] for name in names)
    return first, second


def _by_ranker(suffix: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """(suffix, positions) of each ranker that occurs."""
    return [(str(each), np.flatnonzero(suffix == each)) for each in np.unique(suffix.astype(str))]


def _keys(served: Served, query: np.ndarray, item: np.ndarray) -> np.ndarray:
    return query * len(served.item_ids) + item


def _beam_tables(
    sids: ServedSids | None, queries: Queries, predicted: Predicted | None
) -> tuple[pd.DataFrame | None, pd.DataFrame | None, pd.DataFrame | None]:
    if sids is None or predicted is None:
        return None, None, None
    return rows.beam_tables(sids.generator.trie, queries.id, predicted.found, predicted.free)
