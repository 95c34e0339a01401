"""Choosing an item by id or by words of its title: the bound `item` is the source of truth."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import text
from app.components.answer import Answer
from app.components.figure import chosen_row
from app.components.links import choose
from app.components.states import bad_parameter, nothing
from app.fetch import current, fetch
from app.queries import query as queries

FOUND = 20


def ask(label: str) -> str:
    """The input for an item. Draw it before anything that may set it: only then does the address bar follow."""
    asked = st.text_input(
        label, key="item", bind="query-params", type="search", placeholder="Item id, or words of its title"
    )
    return (asked or "").strip()


def find(wanted: str, given: Answer | None) -> pd.Series | None:
    """The item of that id (item_id, title, ...), or None and a list to choose from.

    Without words, items of the query in view are offered: relevant ones that are badly placed, else those that SIDs
    push down most.
    """
    if not wanted:
        _suggest(given)
        return None
    found = fetch(queries.search_items, wanted, FOUND)
    exact = found[found["item_id"] == wanted]
    if not exact.empty:
        return exact.iloc[0]
    if found.empty:
        bad_parameter("item", wanted, "Nothing in the catalogue has that id or those words; try others.")
        _suggest(given)
        return None
    _offer(
        found,
        f"{'First ' if len(found) == FOUND else ''}{text.plural(len(found), 'item', 'items')} with these words. Choose one.",
        "found",
    )
    return None


def _suggest(given: Answer | None) -> None:
    if given is None:
        return
    rows = _relevant(given)
    caption = "Relevant items of this query, the worst placed first. Choose one."
    if rows.empty:
        rows = _pushed_down(given)
        caption = "No item was judged relevant to this query. These are the ones that SIDs push down most. Choose one."
    if rows.empty:
        nothing("There is no item to suggest for this query.", remedy="Type an item's id or words of its title.")
        return
    _offer(rows, caption, "suggested")


def _relevant(given: Answer) -> pd.DataFrame:
    """Items judged relevant, the worst placed first."""
    if given.query_id is None:
        return pd.DataFrame()
    rows = fetch(queries.suggested_targets, current().run_id, given.query_id, FOUND)
    return rows.assign(place=[text.place(r, known) for r, known in zip(rows["rank"], rows["retrieved"], strict=True)])


def _pushed_down(given: Answer) -> pd.DataFrame:
    """Items that lose most places when SIDs are used."""
    rows = given.scores.assign(fall=given.scores["rank"] - given.scores["rank_without_sid"])
    rows = rows[rows["fall"] > 0].nlargest(FOUND, "fall")
    facts = fetch(queries.item_facts, current().run_id, given.query_id, tuple(sorted(rows["item_id"])))
    rows = rows[["item_id", "rank", "rank_without_sid"]].merge(facts, on="item_id")
    places = [
        (text.place(a, True), text.move(a, b)) for a, b in zip(rows["rank"], rows["rank_without_sid"], strict=True)
    ]
    return rows.assign(place=[f"{place}, {moved}" for place, moved in places])


def _offer(rows: pd.DataFrame, caption: str, name: str) -> None:
    key = f"items-{name}"
    st.caption(caption)
    st.dataframe(
        rows,
        key=f"table-{key}",
        hide_index=True,
        placeholder="–",
        on_select=lambda: _take(key, rows),
        selection_mode="single-row",
        column_order=[
            c for c in ("title", "grade", "place", "seller", "category", "item_id") if c in rows and rows[c].notna().any()
        ],
        column_config={
            "title": st.column_config.TextColumn("Title", width="large"),
            "grade": st.column_config.NumberColumn("Grade", format="%.1f"),
            "place": "Place with SIDs", "seller": "Seller", "category": "Category",
            "item_id": "Item",
        },
        alt=caption,
    )  # fmt: skip


def _take(key: str, rows: pd.DataFrame) -> None:
    row = chosen_row(key, rows)
    if row is not None:
        choose("item", str(row["item_id"]))
