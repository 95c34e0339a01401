"""Beams and beam nodes as the snapshot's rows (`beams`, `beam_nodes`, `free_beams` of schema.sql, less run_id)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pandas import DataFrame

from engine.generator.beam import BeamNodes, Beams
from engine.generator.trie import SidTrie


def beams_table(beams: Beams, trie: SidTrie, query_ids: Sequence[str] | np.ndarray) -> DataFrame:
    """One row a beam that exists: query_id, rank (1-based), sid, codes, log_prob, level_log_probs, n_items."""
    query, column = np.nonzero(beams.log_prob > -np.inf)
    codes = beams.codes[query, column]
    return DataFrame(
        {
            "query_id": np.asarray(query_ids, dtype=object)[query],
            "rank": (column + 1).astype(np.int32),
            "sid": _texts(codes),
            "codes": list(codes.astype(np.int32)),
            "log_prob": beams.log_prob[query, column].astype(np.float64),
            "level_log_probs": list(beams.level_log_prob[query, column]),
            "n_items": trie.n_items(codes).astype(np.int32),
        }
    )


def beam_nodes_table(nodes: BeamNodes, trie: SidTrie, query_ids: Sequence[str] | np.ndarray) -> DataFrame:
    """One row a prefix weighed: query_id, level, prefix, parent, log_prob, step_log_prob, rank, kept, n_items."""
    n_nodes = len(nodes.level)
    prefix = np.empty(n_nodes, dtype=object)
    parent = np.full(n_nodes, None, dtype=object)
    n_items = np.zeros(n_nodes, dtype=np.int32)
    for level in range(1, trie.levels + 1):
        rows = np.flatnonzero(nodes.level == level)
        codes = nodes.prefix[rows, :level]
        prefix[rows] = _texts(codes)
        n_items[rows] = trie.n_items(codes)
        if level > 1:
            parent[rows] = _texts(codes[:, :-1])
    return DataFrame(
        {
            "query_id": np.asarray(query_ids, dtype=object)[nodes.query],
            "level": nodes.level.astype(np.int32),
            "prefix": prefix,
            "parent": parent,
            "log_prob": nodes.log_prob.astype(np.float64),
            "step_log_prob": nodes.step_log_prob.astype(np.float64),
            "rank": nodes.rank.astype(np.int32),
            "kept": nodes.kept,
            "n_items": n_items,
        }
    )


def free_beams_table(beams: Beams, trie: SidTrie, query_ids: Sequence[str] | np.ndarray) -> DataFrame:
    """One row an unconstrained beam: query_id, rank, sid, log_prob (over all codes), valid (some item has the sid)."""
    query, column = np.nonzero(beams.log_prob > -np.inf)
    codes = beams.codes[query, column]
    return DataFrame(
        {
            "query_id": np.asarray(query_ids, dtype=object)[query],
            "rank": (column + 1).astype(np.int32),
            "sid": _texts(codes),
            "log_prob": beams.log_prob[query, column].astype(np.float64),
            "valid": trie.find(codes) >= 0,
        }
    )


def _texts(codes: np.ndarray) -> np.ndarray:
    """(R,) object array of '17-203-88' for codes (R, l); distinct rows are spelled once."""
    distinct, inverse = np.unique(codes, axis=0, return_inverse=True)
    texts = np.array(["-".join(map(str, row)) for row in distinct.tolist()], dtype=object)
    return texts[inverse.ravel()]
