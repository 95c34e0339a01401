"""Answers as rows of the snapshot's tables (schema.sql, less `run_id`)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.generator.beam import Beams, BeamSearch
from engine.generator.tables import beam_nodes_table, beams_table, free_beams_table
from engine.generator.trie import SidTrie
from engine.relevance.attribution import Attribution
from engine.relevance.features import DENSE
from engine.relevance.prefix import MatchResult, prefix_text
from engine.relevance.retrieval import Candidates
from engine.relevance.signals.protocol import Columns
from engine.relevance.table import Table

NO_COLUMNS = Columns((), (), ())


class Pairs(NamedTuple):
    """Who the pairs (M,) are."""

    query_id: np.ndarray
    item_id: np.ndarray
    found: Candidates  # `rank` 0 where not retrieved.
    judged: np.ndarray  # (M,) bool.


class Scored(NamedTuple):
    """Scores (M,) float64 of pairs, and what they are explained from."""

    score: np.ndarray
    without: np.ndarray
    off: np.ndarray  # By the served ranker, every SID signal at its reference.
    expected: np.ndarray
    expected_without: np.ndarray
    reference: np.ndarray  # (B, F) a query.


def scores_table(
    pairs: Pairs, table: Table, scored: Scored, match: MatchResult | None, codes: np.ndarray | None
) -> pd.DataFrame:
    """Table `scores`; `codes` (M, L): SIDs of the pairs' items."""
    found = pairs.found
    made = pd.DataFrame(
        {
            "query_id": pairs.query_id,
            "item_id": pairs.item_id,
            "score": scored.score,
            "score_without_sid": scored.without,
            "score_sid_off": scored.off,
            "expected_grade": scored.expected,
            "expected_grade_without_sid": scored.expected_without,
            "rank": _known(ranks(found.query, scored.score, found.rank)),
            "rank_without_sid": _known(ranks(found.query, scored.without, found.rank)),
            "first_stage_rank": _known(found.rank),
            "retrieved": found.rank > 0,
            "judged": pairs.judged,
        }
    )
    if match is not None:
        assert codes is not None
        made["match_level"] = match.level
        made["beam_rank"] = _known(match.beam_rank)
        made["matched_prefix"] = prefix_text(codes, match.level)
    made = made.join(pd.DataFrame(table.values[:, : len(DENSE)].astype(np.float64), columns=list(DENSE)))
    if table.values.shape[1] > len(DENSE):
        made["signals"] = list(table.values[:, len(DENSE) :])
    return made


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


def reference_table(
    query_ids: np.ndarray, ranker: np.ndarray, score: np.ndarray, reference: np.ndarray
) -> pd.DataFrame:
    """Table `reference_points`: `score` (B,) and `reference` (B, F) that contributions are measured from."""
    head = pd.DataFrame({"query_id": query_ids, "ranker": ranker, "score": score})
    table = head.join(pd.DataFrame(reference[:, : len(DENSE)], columns=list(DENSE)))
    return table.assign(signals=list(reference[:, len(DENSE) :].astype(np.float32)))


def beam_tables(
    trie: SidTrie, query_ids: np.ndarray, found: BeamSearch, free: Beams
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Tables `beams`, `beam_nodes`, `free_beams`."""
    assert found.nodes is not None
    return (
        beams_table(found.beams, trie, query_ids),
        beam_nodes_table(found.nodes, trie, query_ids),
        free_beams_table(free, trie, query_ids),
    )


def ranks(query: np.ndarray, score: np.ndarray, first_stage: np.ndarray) -> np.ndarray:
    """(M,) int64 1-based rank among the retrieved of each query; equal scores keep the first stage's order; 0 elsewhere."""
    rows = np.flatnonzero(first_stage > 0)
    order = rows[np.lexsort((first_stage[rows], -score[rows], query[rows]))]
    starts = np.flatnonzero(np.r_[True, query[order][1:] != query[order][:-1]])
    within = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    found = np.zeros(len(query), dtype=np.int64)
    found[order] = within + 1
    return found


def _known(rank: np.ndarray) -> pd.arrays.IntegerArray:
    """Ranks from 1; NA in place of 0."""
    return pd.arrays.IntegerArray(rank.astype(np.int64), rank == 0)
