"""The item card of the Codebook: where an item lies, and the queries that reach it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import text
from app.components import names, notes
from app.components.code_card import follow
from app.components.figure import table
from app.components.links import button
from app.components.states import nothing, unfilled
from app.fetch import fetch
from app.queries import codebook as queries
from app.text import escape


def elsewhere(item: dict[str, Any], prefix: str) -> bool:
    """Whether the item lies outside the chosen code."""
    return bool(prefix and item["sid"] and not f"{item['sid']}-".startswith(f"{prefix}-"))


def show(run: str, item: dict[str, Any], prefix: str) -> None:
    """The chosen item; one line where it lies outside the chosen code."""
    with st.container(border=True):
        if elsewhere(item, prefix):
            with st.container(horizontal=True, vertical_alignment="center"):
                called = names.path(str(item["sid"]))
                st.caption(
                    escape(
                        f"The chosen item “{text.shortened(item['title'])}” lies elsewhere, in {text.shortened(called, 120)} ({item['sid']})."
                    )
                )
                button("Show its code", "code", item["sid"], id="item-code", icon=":material/account_tree:")
                button("Clear", "item", "", id="clear-item", icon=":material/close:")
            return
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.caption(f"Item {escape(item['item_id'])}")
            button("Close the item", "item", "", id="clear-item", icon=":material/close:")
        st.text(text.shortened(item["title"], 400))
        facts = [item["category"], item["seller"], item["brand"]]
        st.caption(escape(" · ".join(text.shortened(f, 120) for f in facts if f)))
        notes.notes("item", str(item["item_id"]), str(item["title"]))
        if not item["sid"]:
            nothing("This item has no SID in this run.")
            return
        _place(item, prefix)
        _queries(run, str(item["item_id"]))


def _place(item: dict[str, Any], prefix: str) -> None:
    others = int(item["n_sharing"] or 1) - 1
    shared = (
        "held by this item alone" if not others else f"shared with {text.plural(others, 'other item', 'other items')}"
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**{escape(names.path(str(item['sid'])))}** (SID {escape(item['sid'])}, {shared})",
            help=text.DEFINITIONS["sid"],
        )
        if item["sid"] != prefix:
            button("Show this SID", "code", item["sid"], id="item-code", icon=":material/account_tree:")


def _queries(run: str, item_id: str) -> None:
    rows = fetch(queries.queries_of_item, run, item_id)
    if rows.empty:
        unfilled("No stored query retrieved or judged this item.", needs=("judgments",))
        return
    table(
        rows, title="Queries that scored it, deepest match first", key="item-queries", height=250,
        filters={"item": item_id}, on_select=lambda: None,
        define="Match level: how many leading codes the item shares with the query's best beam.",
        show=["text", "match_level", "rank", "rank_without_sid", "grade"],
        columns={
            "text": st.column_config.TextColumn("Query", width="medium"),
            "match_level": st.column_config.NumberColumn("Match level", width="small"),
            "rank": st.column_config.NumberColumn("Rank with SIDs", width="small"),
            "rank_without_sid": st.column_config.NumberColumn("Rank without", width="small"),
            "grade": st.column_config.NumberColumn("Grade", width="small"),
        },
    )  # fmt: skip
    follow("item-queries", rows, item_id)
