"""How the rankings of a query with and without SIDs differ: in numbers, and the query's own nDCG where it is judged."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st

from app import text
from app.components.answer import Answer
from app.components.metric import metric_card
from app.fetch import current, fetch
from app.queries import query as queries
from engine.audit.overlap import overlap_at, rbo
from engine.audit.traffic import PAGE

MOVES = ("new on page one", "gone from page one", "up", "down", "same", "not retrieved")
"""What SIDs do to an item; each item has one."""


class Lists(NamedTuple):
    """How the two rankings of a query differ; counts are of items."""

    candidates: int
    up: int
    down: int
    entered: int
    left: int
    """Of the first places, those that SIDs took away."""
    page: int
    """Places of page one that are filled: PAGE, or all candidates of a shorter list."""
    overlap: float
    rbo: float
    unjudged: int
    unjudged_without: int


def kind(rank: float, without: float) -> str:
    """One of MOVES, or 'unknown' where the rank without SIDs is."""
    if pd.isna(rank):
        return "not retrieved"
    if pd.isna(without):
        return text.UNKNOWN
    if (rank <= PAGE) != (without <= PAGE):
        return "new on page one" if rank <= PAGE else "gone from page one"
    return "up" if rank < without else "down" if rank > without else "same"


def compare(ranked: pd.DataFrame) -> Lists:
    """The two rankings of the same candidates: item_id, rank, rank_without_sid, kind, judged."""
    own = ranked[ranked["rank"].notna() & ranked["rank_without_sid"].notna()]
    now = own.sort_values("rank")["item_id"].tolist()
    before = own.sort_values("rank_without_sid")["item_id"].tolist()
    judged = set(own.loc[own["judged"].astype(bool), "item_id"])
    page = min(PAGE, len(own))
    return Lists(
        len(own), int((own["rank"] < own["rank_without_sid"]).sum()), int((own["rank"] > own["rank_without_sid"]).sum()),
        int((own["kind"] == MOVES[0]).sum()), int((own["kind"] == MOVES[1]).sum()), page, overlap_at(now, before, page),
        rbo(now, before), len(set(now[:page]) - judged), len(set(before[:page]) - judged),
    )  # fmt: skip


def in_words(lists: Lists) -> str:
    """How many candidates move, and what that does to page one."""
    same = lists.candidates - lists.up - lists.down
    where = f"the first {lists.page}" if lists.page > 1 else "the first place"
    return (
        f"With SIDs **{lists.up} of {text.plural(lists.candidates, 'candidate', 'candidates')} move up**, {lists.down} down, {same} "
        f"{'stays' if same == 1 else 'stay'}; {text.plural(lists.entered, 'enters', 'enter')} {where}, "
        f"{text.plural(lists.left, 'leaves', 'leave')} it."
    )  # fmt: skip


def numbers(given: Answer, lists: Lists | None) -> None:
    """A card a number: the query's own metrics where it was measured, and how alike the two rankings are."""
    cards = [_own(row, given) for row in _metrics(given)]
    if lists is not None and lists.candidates:
        of = {"n": lists.candidates, "unit": "candidates", "least": 1}
        cards += [
            {"label": f"Same items on page one (overlap@{lists.page})", "value": lists.overlap, "form": "percent", "define": "overlap", **of},
            {"label": "The lists alike (RBO)", "value": lists.rbo, "define": "overlap", **of},
            {"label": f"Nobody judged, of the first {lists.page} (unjudged@{lists.page})", "value": float(lists.unjudged), "form": "count", "define": "unjudged",
             "note": f"with SIDs; {lists.unjudged_without} without"},
        ]  # fmt: skip
    if not cards:
        return
    with st.grid(min_column_width=190):
        for card in cards:
            with st.container():
                metric_card(card.pop("label"), card.pop("value"), **card)


def _metrics(given: Answer) -> list[dict[Hashable, Any]]:
    if given.query_id is None or given.live:
        return []
    return fetch(queries.query_metrics, current().run_id, given.query_id).to_dict("records")


def _own(row: Mapping[Hashable, Any], given: Answer) -> dict[str, Any]:
    """One of the query's own metrics as a card: one query, so there is no interval."""
    return {
        "label": f"{text.METRIC_NAMES.get(row['metric'], row['metric'])} with SIDs, this query alone",
        "value": row["value"],
        "n": given.query["n_judged"] if given.query is not None else None,
        "unit": "judged items",
        "define": row["metric"] if row["metric"] != "ndcg@10" else "own_ndcg",
        "least": 1,
        "note": _against(row),
    }


def _against(row: Mapping[Hashable, Any]) -> str:
    """A query's metric without SIDs, and the change; nothing where that is unknown."""
    if pd.isna(row["difference"]):
        return ""
    return f"{row['value_without']:.3f} without: {row['difference']:+.3f}, {text.direction(row['difference'])}"
