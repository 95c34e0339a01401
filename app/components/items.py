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

    With a judged query in view, relevant items that are badly placed are offered first.
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
    _offer(found, f"{'First ' if len(found) == FOUND else ''}{len(found)} items with these words. Choose one.", "found")
    return None


def _suggest(given: Answer | None) -> None:
    if given is None or given.query_id is None:
        return
    rows = fetch(queries.suggested_targets, current().run_id, given.query_id, FOUND)
    if rows.empty:
        nothing("No relevant judged item of this query to suggest.", remedy="Type an item's id or words of its title.")
        return
    rows["place"] = [text.place(r, retrieved) for r, retrieved in zip(rows["rank"], rows["retrieved"], strict=True)]
    _offer(rows, "Relevant items of this query, the worst placed first. Choose one.", "suggested")


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
        column_order=[c for c in ("title", "grade", "place", "seller", "category", "price", "item_id") if c in rows],
        column_config={
            "title": st.column_config.TextColumn("Title", width="large"),
            "grade": st.column_config.NumberColumn("Grade", format="%.1f"),
            "place": "Place with SIDs", "seller": "Seller", "category": "Category",
            "price": st.column_config.NumberColumn("Price", format="%.2f"), "item_id": "Item",
        },
        alt=caption,
    )  # fmt: skip


def _take(key: str, rows: pd.DataFrame) -> None:
    row = chosen_row(key, rows)
    if row is not None:
        choose("item", str(row["item_id"]))
