"""A query on the map: the items under its beams' SIDs, its candidates, and its judged items, as symbols and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st

from app.charts.item_map import Overlay
from app.charts.theme import short
from app.components.figure import paged_table
from app.components.links import button, link
from app.fetch import fetch
from app.queries import map as maps
from app.queries import map_parts as parts
from app.text import escape

MOST = 1_000_000
MOST_DRAWN = 2_000
"""Items of a kind that are marked on the map; the table holds all."""
NEAR = 5
"""Queries that are offered where the words are no query's."""


class Asked(NamedTuple):
    """A stored query."""

    query_id: str
    text: str


def asked(run: str, words: str) -> Asked | None:
    """The stored query of these words; where there is none, those that carry them are offered."""
    words = " ".join(words.split())
    if not words:
        return None
    known = fetch(parts.asked, run, words, NEAR)
    if len(known) and known["exact"].iloc[0]:
        return Asked(str(known["query_id"].iloc[0]), str(known["text"].iloc[0]))
    if known.empty:
        st.caption(
            f"No stored query carries “{escape(words)}”. The Query page answers new ones; the map draws stored ones."
        )
        return None
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"No stored query is “{escape(words)}”. Did you mean:", width="content")
        for n, row in enumerate(known.to_dict("records")):
            button(escape(str(row["text"])[:60]), "mapq", str(row["text"]), id=f"mapq-{n}")
    return None


def overlays(run: str, query: Asked, view: maps.Box) -> list[Overlay]:
    """Its items inside the view, by what they are, the best beams first: the legend says how many."""
    rows = _inside(fetch(parts.of_query, run, query.query_id, MOST, 0), view)
    rows = rows.assign(text=[_told(row) for row in rows.to_dict("records")])
    judged = rows["grade"].notna()
    relevant = rows["relevant"].fillna(False).astype(bool)
    kinds = (
        ("beam", "under a beam's SID", rows["beam"].notna()), ("candidate", "candidates", rows["rank"].notna()),
        ("irrelevant", "judged, not relevant", judged & ~relevant), ("relevant", "judged relevant", judged & relevant),
    )  # fmt: skip
    made = []
    for look, name, mask in kinds:
        drawn = rows[mask].head(MOST_DRAWN)
        some = f", {len(drawn):,} drawn" if len(drawn) < mask.sum() else ""
        made.append(Overlay(drawn, f"{name} ({int(mask.sum()):,}{some})", look))
    return made


def _inside(rows: pd.DataFrame, view: maps.Box) -> pd.DataFrame:
    return rows[rows["x"].between(view[0], view[1]) & rows["y"].between(view[2], view[3])]


def _told(row: Mapping[Any, Any]) -> str:
    """What hovering shows of an item."""
    facts = [
        f"{name} {row[key]:g}"
        for key, name in (("beam", "beam"), ("rank", "rank"), ("grade", "grade"))
        if pd.notna(row[key])
    ]
    return f"{short(str(row['title']), 60)}<br>{', '.join(facts) or 'candidate'}<br>SID {row['sid']}"


def counted(rows: pd.DataFrame, box: maps.Box | None) -> str:
    """Counts of a query's items on the map, in words."""
    beam, relevant = rows["beam"].notna(), rows["relevant"].fillna(False).astype(bool)
    judged = rows["grade"].notna()
    said = (
        f"{int(beam.sum()):,} items lie under the SIDs of its beams, {int(rows['rank'].notna().sum()):,} are candidates, "
        f"{int(judged.sum()):,} are judged"
    )
    if judged.any():
        said += f", {int(relevant.sum()):,} of them relevant"
    if relevant.any():
        said += f" ({int((relevant & beam).sum()):,} of those under a beam)"
    view = f" {len(_inside(rows, box)):,} of these {len(rows):,} items are in view." if box else ""
    return f"{said}.{view}"


def sentence(run: str, query: Asked, box: maps.Box | None) -> None:
    """What of the query lies on the map, in words."""
    rows = fetch(parts.of_query, run, query.query_id, MOST, 0)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**Query “{escape(query.text)}”**: {escape(counted(rows, box))}", width="stretch")
        link("query", "Open the query", {"q": query.text})


def table(run: str, query: Asked) -> None:
    """The query's items as a table."""
    rows = fetch(parts.of_query, run, query.query_id, MOST, 0)
    paged_table(
        parts.of_query, (run, query.query_id), rows=len(rows), title="Items of the drawn query", key="map-query", chooses=("item_id", "item"),
        filters={"query": query.text}, define="beam", height=380, show=["title", "beam", "rank", "grade", "relevant", "sid", "item_id"],
        columns={
            "title": st.column_config.TextColumn("Title", width=430), "beam": "Under beam", "rank": "Place with SIDs",
            "grade": st.column_config.NumberColumn("Grade", format="%.2f"), "relevant": "Relevant", "sid": "SID", "item_id": "Item",
        },
    )  # fmt: skip
