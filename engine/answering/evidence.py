"""What lies behind the SID signals of one pair: like past queries, fellow candidates, words of titles, row by row.

Signals are means over clusterings: the run's own SIDs first, then those made of titles alone. What another item has to say
of this one follows from how many clusterings hold both under one code, so that is what is told beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from engine.answering.served import Served
from engine.errors import RunError
from engine.problem.queries import Queries
from engine.relevance.signals.feedback import Near
from engine.relevance.signals.listed import discount
from engine.relevance.signals.prefixes import Prefixes, at_level

KINDS = ("grade", "click")


class LikePast(NamedTuple):
    """The past queries nearest to one query, and their feedback on items that share a code with one item."""

    n_clusterings: int
    queries: pd.DataFrame
    """kind ('grade' | 'click'), query_id, text, cosine (of the texts' embeddings), weight (1: the nearest; what each piece of
    its feedback counts), n (pieces, on any item)."""
    pieces: pd.DataFrame
    """The same columns but n; item_id, title, value (a grade, or the share of the query's clicks), shared (codes of the run in
    common with the item, 0..L), together_1 ... (clusterings that hold both under one code of that level). Only pieces on items
    that some clustering holds together with it; what weighs most first (weight times how often together)."""


class Fellows(NamedTuple):
    """The first candidates of the query but the item itself, best first."""

    n_clusterings: int
    rows: pd.DataFrame
    """item_id, title, first_stage_rank, weight (1 / log2(1 + rank)), shared, together_1 ... as in `LikePast`."""


class Words(NamedTuple):
    """The words of a query in the titles under an item's codes."""

    n_clusterings: int
    rows: pd.DataFrame
    """word (a stem), level, holding and titles (under the run's own code: how many hold the word, of how many), share (mean over
    the clusterings of that share), everywhere (titles of the catalogue that hold it)."""
    unknown: list[str]  # Words of the query that no title holds.


def like_past(served: Served, queries: Queries, item: int) -> LikePast:
    """Of a block of one query and the item at a position. Raises RunError where the ranker has no memory."""
    stacks = _stacks(served, "memory")
    assert served.past is not None
    neighbours, pieces = [], []
    for kind, bank in zip(KINDS, served.past.near(queries.x, queries.group), strict=True):
        found = _neighbours(kind, bank, queries.x[0])
        said = bank.pieces(np.zeros(1, dtype=np.int64))
        past = found.loc[found.index.repeat(found["n"])].drop(columns="n").reset_index(drop=True)
        highest = served.problem.catalogue.settings.max_grade if kind == "grade" else 1.0
        rows = past.assign(value=said.value * highest).join(_beside(served, stacks, item, said.item))
        pieces.append(rows[rows["together_1"] > 0])
        neighbours.append(found)
    texts = served.problem.catalogue.queries[["query_id", "text"]]
    told, listed = pd.concat(pieces, ignore_index=True), pd.concat(neighbours, ignore_index=True)
    together = told[[c for c in told.columns if c.startswith("together_")]].sum(axis=1)
    told = told.iloc[np.argsort(-(told["weight"] * together).to_numpy(), kind="stable")].join(texts, on="position")
    first = ["kind", "query_id", "text", "cosine", "weight"]
    rest = [c for c in told.columns if c not in (*first, "position")]
    return LikePast(
        len(stacks), listed.join(texts, on="position")[[*first, "n"]], told[[*first, *rest]].reset_index(drop=True)
    )


def fellows(served: Served, queries: Queries, item: int) -> Fellows:
    """Of a block of one query. Raises RunError where the ranker reads no list."""
    stacks, depth = _stacks(served, "list"), served.config.signals.list_depth
    found = served.problem.first.candidates(queries.x, queries.texts)
    kept = (found.rank <= depth) & (found.item != item)
    rows = _beside(served, stacks, item, found.item[kept]).assign(
        first_stage_rank=found.rank[kept], weight=discount(depth)[found.rank[kept] - 1]
    )
    return Fellows(len(stacks), rows)


def words(served: Served, queries: Queries, item: int) -> Words:
    """Of a block of one query. Raises RunError where the ranker reads no words under codes."""
    stacks, lexical = _stacks(served, "cluster"), served.problem.first.lexical
    tokens = list(dict.fromkeys(lexical.lexicon.reader.tokens(queries.texts[0])))
    known = [t for t in tokens if t in lexical.lexicon.column]
    titles = lexical.words[:, [lexical.lexicon.column[t] for t in known]].tocsc()
    held = [titles.indices[a:b] for a, b in zip(titles.indptr[:-1], titles.indptr[1:], strict=True)]
    rows = []
    for level in range(len(stacks[0].size)):
        under = [stack.of_item[level] == stack.of_item[level][item] for stack in at_level(stacks, level)]
        size = [int(u.sum()) for u in under]
        for word, holding in zip(known, held, strict=True):
            of = [int(u[holding].sum()) for u in under]
            share = float(np.mean([n / max(s, 1) for n, s in zip(of, size, strict=True)]))
            rows.append((word, level + 1, of[0], size[0], share, len(holding)))
    names = ["word", "level", "holding", "titles", "share", "everywhere"]
    return Words(len(stacks), pd.DataFrame(rows, columns=names), [t for t in tokens if t not in known])


def _stacks(served: Served, signal: str) -> list[Prefixes]:
    """The clusterings that a served signal averages over. Raises RunError where it is not served."""
    if served.sids is None or served.past is None or signal not in served.sids.signals:
        raise RunError(f"the ranker of this run reads no signal '{signal}'")
    fitted = cast(Any, served.sids.signals[signal])
    return [tree.stack for tree in fitted.trees] if signal == "cluster" else list(fitted.stacks)


def _neighbours(kind: str, near: Near, x: np.ndarray) -> pd.DataFrame:
    """kind, position (among the catalogue's queries), cosine, weight, n of the neighbours of one query, best first."""
    known = near.row[0] >= 0
    row = near.row[0][known]
    return pd.DataFrame(
        {
            "kind": kind,
            "position": near.bank.position[row],
            "cosine": near.bank.index.x[row].astype(np.float64) @ x.astype(np.float64),
            "weight": near.weight[0][known],
            "n": near.bank.ends[row + 1] - near.bank.ends[row],
        }
    )


def _beside(served: Served, stacks: Sequence[Prefixes], item: int, others: np.ndarray) -> pd.DataFrame:
    """item_id, title, shared, together_1 ... of the items at `others` (n,) beside the one at `item`."""
    assert served.sids is not None
    items = served.problem.catalogue.items.iloc[others]
    codes = served.sids.codes
    made = pd.DataFrame(
        {
            "item_id": items["item_id"].to_numpy(),
            "title": items["title"].to_numpy(),
            "shared": np.cumprod(codes[others] == codes[item], axis=1).sum(axis=1),
        }
    )
    for level in range(len(stacks[0].size)):
        both = [s.of_item[level][others] == s.of_item[level][item] for s in at_level(stacks, level)]
        made[f"together_{level + 1}"] = np.sum(both, axis=0)
    return made
