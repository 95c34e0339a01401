"""Listings written otherwise: a run answers as if some items had another title or other attributes.

New titles are encoded, quantized and indexed as those of the run were, with every weight as it was published; what was learnt
from the old listing (clicks, grades) stays with the item. The clusterings of titles that signals average over kept no
centres, so these are taken to be the means of their items; an item leaves its cell there only where its new title is
nearest to another centre than its old one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.answering.answer import Answers, Block, answer, stored_block
from engine.answering.served import Served, title_stacks_of
from engine.answering.shelf import shelf_of
from engine.assigning.assign import place_items
from engine.audit.prefixes import sid_texts
from engine.audit.robustness import KINDS, rewrite_titles
from engine.errors import DataError
from engine.generator.trie import SidTrie
from engine.problem.features import dense_features
from engine.problem.feedback import collect_feedback
from engine.problem.index import beside
from engine.problem.keywords import new_views
from engine.relevance.lexical import LexicalIndex
from engine.relevance.retrieval import FirstStage
from engine.relevance.signals.catalogue import signals
from engine.relevance.signals.own import OwnItem
from engine.relevance.vectors import EXACT, VectorIndex
from engine.runs import Run

Encode = Callable[[Sequence[str]], np.ndarray]
"""Texts to unit vectors (M, D) float32."""


class Listing(NamedTuple):
    """An item as it might be written."""

    item: int  # Its position.
    title: str
    attributes: str | None  # A JSON object, as the catalogue keeps them.


def edited(run: Run, served: Served, listings: Sequence[Listing], encode: Encode) -> Served:
    """The run as if the items of `listings` (each at most once) read so. Raises RunError where it cannot quantize new titles."""
    assert served.sids is not None
    problem = served.problem
    at = np.array([listing.item for listing in listings], dtype=np.int64)
    items = problem.catalogue.items.copy()
    old = items["title"].to_numpy(dtype=object)[at]
    for column, values in (("title", [b.title for b in listings]), ("attributes", [b.attributes for b in listings])):
        cells = items[column].to_numpy(dtype=object, copy=True)
        cells[at] = values
        items[column] = cells
    catalogue = problem.catalogue.with_tables(items=items)
    x, views = problem.vectors.items.copy(), problem.views.copy()
    rewritten = np.array([a != b.title for a, b in zip(old, listings, strict=True)], dtype=bool)
    if rewritten.any():
        x[at[rewritten]] = encode([b.title for b, new in zip(listings, rewritten, strict=True) if new])
    views[at] = new_views(run, items.iloc[at], x[at])
    lexical = LexicalIndex(items["title"].tolist(), problem.first.lexical.lexicon.reader.language, beside(items))
    # Beyond `EXACT` items the lists of nearest cells keep the old title's place: making them again takes minutes.
    index = VectorIndex(x) if len(x) <= EXACT else problem.first.vectors
    problem = problem._replace(
        catalogue=catalogue, vectors=problem.vectors._replace(items=x), views=views,
        first=FirstStage(index, lexical, top=problem.first.top),
    )  # fmt: skip
    codes = served.sids.codes.copy()
    codes[at] = place_items(run, catalogue, items.iloc[at], views[at])
    generator = served.sids.generator
    sids = served.sids._replace(
        codes=codes, generator=generator._replace(trie=SidTrie.build(codes, generator.trie.sizes))
    )
    own = served.own
    if served.past is not None:
        feedback = collect_feedback(problem, run.config.split.until)
        own = OwnItem().fit(shelf_of(problem, feedback))
        stacks = [_moved(stack, served.problem.views, views, at) for stack in title_stacks_of(run)]
        shelf = shelf_of(problem, feedback, [codes, *stacks])
        every = signals(run.config.signals)
        sids = sids._replace(signals={name: every[name].fit(shelf) for name in sids.signals})
    return served._replace(problem=problem, dense=dense_features(problem), own=own, sids=sids)


def _moved(codes: np.ndarray, old_x: np.ndarray, new_x: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(N, L) the codes of a clustering of `old_x` (N, D) where the items `at` have `new_x` (N, D)."""
    before, after = (_nearest(codes, old_x, rows) for rows in (old_x[at], new_x[at]))
    stays = np.logical_and.accumulate(before == after, axis=1)
    out = codes.copy()
    out[at] = np.where(stays, codes[at], after)
    return out


def _nearest(codes: np.ndarray, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(m, L) the codes of `rows` (m, D) by the mean residual of each code's items."""
    residual, left = x.astype(np.float64), rows.astype(np.float64)
    out = np.empty((len(rows), codes.shape[1]), dtype=codes.dtype)
    for level, code in enumerate(codes.T):
        count = np.bincount(code)
        order = np.argsort(code, kind="stable")
        used = np.flatnonzero(count)
        sums = np.add.reduceat(residual[order], np.r_[0, np.cumsum(count[used])[:-1]], axis=0)
        centre = sums / count[used][:, None]
        nearest = ((centre**2).sum(axis=1) - 2 * left @ centre.T).argmin(axis=1)
        out[:, level] = used[nearest]
        left = left - centre[nearest]
        place = np.zeros(len(count), dtype=np.int64)
        place[used] = np.arange(len(used))
        residual = residual - centre[place[code]]
    return out


def rewritten(run: Run, served: Served, pairs: Sequence[tuple[str, str]], encode: Encode) -> Iterator[pd.DataFrame]:
    """What typing errors, another order and stuffed words (`engine.audit.robustness`) do to items, each for a query of the
    catalogue that ranks it; one table a kind.

    `pairs` (query_id, item_id), every item once; all titles of a kind are written otherwise at once. Rows: kind, query_id,
    item_id, title, new_title, sid, new_sid, flipped (the first level whose code changes, 0: none), score, new_score, rank,
    new_rank (among the others as they are; NaN: not retrieved). Titles that cannot be written otherwise have no row. Raises
    as `edited`, and DataError for an unknown query or item.
    """
    assert served.sids is not None
    items, codes = served.problem.catalogue.items, served.sids.codes
    item = _positions(items["item_id"], [i for _, i in pairs], "item")
    block = _asked_of(
        served, _positions(served.problem.catalogue.queries["query_id"], [q for q, _ in pairs], "query"), item
    )
    made = rewrite_titles(items, item, np.random.default_rng(0))
    before = answer(served, block)
    for kind in KINDS:
        rows = np.flatnonzero(made.changed[kind]).tolist()
        if not rows:
            yield pd.DataFrame(columns=["kind"])
            continue
        new_titles = [made.titles[kind][m] for m in rows]
        here = items.iloc[item[rows]]
        kept = [a if isinstance(a, str) else None for a in here["attributes"]]
        listings = [Listing(int(item[m]), t, a) for m, t, a in zip(rows, new_titles, kept, strict=True)]
        then = edited(run, served, listings, encode)
        assert then.sids is not None
        old, new = codes[item[rows]], then.sids.codes[item[rows]]
        moved = old != new
        of = pd.DataFrame(
            {
                "kind": kind,
                "query_id": [pairs[m][0] for m in rows],
                "item_id": [pairs[m][1] for m in rows],
                "title": here["title"].to_numpy(dtype=object),
                "new_title": new_titles,
                "sid": sid_texts(old),
                "new_sid": sid_texts(new),
                "flipped": np.where(moved.any(axis=1), moved.argmax(axis=1) + 1, 0),
            }
        )
        yield of.join(_placed(before, answer(then, block), of))


def _positions(known: pd.Series, asked: Sequence[str], what: str) -> np.ndarray:
    at = pd.Index(known).get_indexer(list(asked)).astype(np.int64)
    if (at < 0).any():
        raise DataError(f"No {what} '{asked[int((at < 0).argmax())]}' is in the catalogue of this run.")
    return at


def _asked_of(served: Served, query: np.ndarray, item: np.ndarray) -> Block:
    """The block of the distinct queries of pairs (M,), which scores their items wherever they rank."""
    position, row = np.unique(query, return_inverse=True)
    block = stored_block(served, position)
    known = set(zip(block.query.tolist(), block.item.tolist(), strict=True))
    more = [pair for pair in zip(row.tolist(), item.tolist(), strict=True) if pair not in known]
    queries, items = (np.array([pair[k] for pair in more], dtype=np.int64) for k in (0, 1))
    return block._replace(
        query=np.append(block.query, queries),
        item=np.append(block.item, items),
        judged=np.append(block.judged, np.zeros(len(more), dtype=bool)),
    )


def _placed(before: Answers, after: Answers, pairs: pd.DataFrame) -> pd.DataFrame:
    """score, new_score, rank, new_rank of `pairs` (query_id, item_id). The other candidates keep their scores, and the place is
    counted among them; NaN where the first stage does not retrieve the item."""
    assert before.scores is not None
    assert after.scores is not None
    of = dict(list(before.scores.groupby("query_id")))
    then = after.scores.set_index(["query_id", "item_id"])[["score", "retrieved"]]
    found = []
    for query, item in zip(pairs["query_id"], pairs["item_id"], strict=True):
        listed = of[query]
        own = listed["item_id"] == item
        others = listed.loc[listed["retrieved"] & ~own, "score"].to_numpy(dtype=np.float64)
        scores = [float(listed.loc[own, "score"].iloc[0]), float(then.loc[(query, item), "score"])]
        there = [bool(listed.loc[own, "retrieved"].iloc[0]), bool(then.loc[(query, item), "retrieved"])]
        places = [int((others > s).sum()) + 1 if t else np.nan for s, t in zip(scores, there, strict=True)]
        found.append([*scores, *places])
    return pd.DataFrame(found, columns=["score", "new_score", "rank", "new_rank"])
