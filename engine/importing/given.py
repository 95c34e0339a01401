"""The files of an audit over the positions of a catalogue, and the tables that are theirs alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from engine.audit.prefixes import sid_texts
from engine.datasets.audit_files import AuditFiles
from engine.datasets.contract import Catalogue
from engine.generator.trie import SidTrie
from engine.relevance.prefix import match_pairs, prefix_text

SCORE_COLUMNS = (
    *("query_id", "item_id", "score", "score_without_sid", "rank", "rank_without_sid"),
    *("retrieved", "judged", "match_level", "beam_rank", "matched_prefix"),
)


class Given(NamedTuple):
    """What another system made, for items (N,) and queries (Q,) in the catalogue's order."""

    codes: np.ndarray | None  # (N, L) int64, -1 where an item has no SID; None without SIDs.
    beams: np.ndarray | None  # (Q, K, L) int64 by rank, -1 pads; None without beams.
    beams_table: pd.DataFrame  # Table `beams`.
    scores: pd.DataFrame  # Table `scores`, less what only a ranker of ours knows; empty without scores.

    @property
    def levels(self) -> int | None:
        """L; None where only scores were given."""
        return next((x.shape[-1] for x in (self.codes, self.beams) if x is not None), None)

    @property
    def compared(self) -> bool:
        """Whether any query was ranked with and without SIDs."""
        return bool(self.scores["rank_without_sid"].notna().any())


def read_given(catalogue: Catalogue, files: AuditFiles) -> Given:
    """Arrays and tables of the accepted rows. Scored pairs carry their ranks and, with SIDs and beams, their match."""
    items, queries = pd.Index(catalogue.items["item_id"]), pd.Index(catalogue.queries["query_id"])
    codes = beams = None
    table = pd.DataFrame(columns=["query_id", "rank", "sid", "codes", "log_prob"]).astype({"log_prob": float})
    if files.sids is not None and files.sids.num_rows:
        held = _stacked(files.sids.column("codes"))
        codes = np.full((len(items), held.shape[1]), -1, dtype=np.int64)
        codes[items.get_indexer(files.sids.column("item_id").to_pandas())] = held
    if files.beams is not None and files.beams.num_rows:
        rows = files.beams.select(["query_id", "rank", "log_prob"]).to_pandas()
        found = _stacked(files.beams.column("codes"))
        # Ranks may have gaps where a beam was rejected: the place among a query's beams is what counts here.
        place = rows.groupby("query_id", sort=False).cumcount().to_numpy()
        beams = np.full((len(queries), int(place.max()) + 1, found.shape[1]), -1, dtype=np.int64)
        beams[queries.get_indexer(rows["query_id"]), place] = found
        table = rows.assign(sid=sid_texts(found), codes=list(found.astype(np.int32)))
        if codes is not None:
            table["n_items"] = _trie(codes).n_items(found)
    return Given(codes, beams, table, _scores(catalogue, files, codes, beams))


def trie_fingerprint(codes: np.ndarray) -> str:
    """Names the set of SIDs (N, L) that items hold."""
    return _trie(codes).fingerprint


def _trie(codes: np.ndarray) -> SidTrie:
    held = codes[codes[:, 0] >= 0]
    return SidTrie.build(held, tuple(held.max(axis=0) + 1))


def _stacked(column: pa.ChunkedArray) -> np.ndarray:
    """(R, L) int64 of lists of equal length."""
    flat = np.asarray(pa.chunked_array(column).combine_chunks().flatten(), dtype=np.int64)
    return flat.reshape(len(column), -1)


def _scores(
    catalogue: Catalogue, files: AuditFiles, codes: np.ndarray | None, beams: np.ndarray | None
) -> pd.DataFrame:
    if files.scores is None or not files.scores.num_rows:
        numbers = dict.fromkeys(("score", "score_without_sid", "rank", "rank_without_sid"), float)
        return pd.DataFrame(columns=list(SCORE_COLUMNS)).astype(numbers)
    table = files.scores.to_pandas()
    judged = pd.MultiIndex.from_frame(catalogue.judgments[["query_id", "item_id"]])
    table["rank"] = _ranks(table, "score")
    # A ranking without SIDs is known only where all of a query's items have that score too.
    whole = table["score_without_sid"].notna().groupby(table["query_id"]).transform("all")
    table["rank_without_sid"] = _ranks(table, "score_without_sid").where(whole)
    table["retrieved"] = True
    table["judged"] = pd.MultiIndex.from_frame(table[["query_id", "item_id"]]).isin(judged)
    if codes is not None and beams is not None:
        query = pd.Index(catalogue.queries["query_id"]).get_indexer(table["query_id"])
        item = pd.Index(catalogue.items["item_id"]).get_indexer(table["item_id"])
        match = match_pairs(codes, beams, query, item)
        generated = (beams[query][:, 0, 0] >= 0) & (codes[item, 0] >= 0)
        table["match_level"] = pd.array(match.level, "Int64")
        table["beam_rank"] = pd.array(match.beam_rank, "Int64")
        table["matched_prefix"] = prefix_text(codes[item], match.level)
        table.loc[~generated, "match_level"] = pd.NA
        table.loc[match.beam_rank == 0, "beam_rank"] = pd.NA
    else:
        table["match_level"] = pd.array([None] * len(table), "Int64")
        table["beam_rank"] = pd.array([None] * len(table), "Int64")
        table["matched_prefix"] = pd.Series([None] * len(table), dtype=object)
    return table[list(SCORE_COLUMNS)]


def _ranks(table: pd.DataFrame, score: str) -> pd.Series:
    """1-based rank of each row within its query, the highest score first; equal scores keep the order of the file."""
    return table.groupby("query_id")[score].rank(method="first", ascending=False).astype("Int64")
