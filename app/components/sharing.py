"""SIDs that several items hold: how many do harm and why, with the query, items and grades, or the categories, at odds."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from app import text
from app.components import names
from app.components.figure import chosen_row, paged_table, table
from app.components.links import link
from app.components.states import nothing
from app.fetch import current, deferred, fetch
from app.queries import sharing as queries
from app.text import escape

REASONS = {
    "categories": "Harmful: different categories",
    "grades": "Harmful: one query found some relevant, others not",
    "alike": "Wanted: judged alike",
    "unjudged": "No harm known: never judged together",
}
_COUNTED = {
    "categories": ("holds items of different categories", "hold items of different categories"),
    "grades": (
        "holds items of which one query found some relevant and others not",
        "hold items of which one query found some relevant and others not",
    ),
    "alike": ("holds items that were judged alike, as is wanted", "hold items that were judged alike, as is wanted"),
    "unjudged": (
        "was never judged: no query graded two of its items",
        "were never judged: no query graded two of their items",
    ),
}


def told(counts: Mapping[str, int]) -> str:
    """'910 SIDs are held by two items or more (4,308 items): 307 hold items of which ..., and 192 were never judged together.'"""
    n, items = counts["n"], counts["items"]
    start = f"{text.plural(n, 'SID is', 'SIDs are')} held by two items or more ({items:,} items)"
    parts = [
        text.plural(counts[f"n_{reason}"], *said) for reason, said in _COUNTED.items() if counts.get(f"n_{reason}")
    ]
    return f"{start}: {text.listed(parts)}."


def show(prefix: str, key: str) -> None:
    """SIDs that two items or more hold below a prefix ('' = all): a sentence, what conflicts, then the SIDs."""
    run = current().run_id
    counts = fetch(queries.sharing, run, prefix)
    if not counts["n"]:
        nothing("No SID here is held by two items.")
        return
    st.markdown(escape(told(counts)), help=text.DEFINITIONS["harmful_aliasing"])
    conflicts(prefix, f"{key}-conflicts")
    _mixed(prefix, f"{key}-mixed")
    _sids(prefix, key, counts)


def conflicts(prefix: str, key: str) -> None:
    """Each pair of items under one SID that a query tells apart: the query, both items, both grades."""
    run = current().run_id
    pairs, queries_, sids = fetch(queries.count_conflicts, run, prefix)
    if not pairs:
        return
    rows = paged_table(
        queries.conflicts, (run, prefix), rows=pairs, title="Conflicts: one query, one SID, two grades", key=key, height=340,
        define="harmful_aliasing", filters={"code": prefix or "all"}, on_select=lambda: None,
        show=["query", "relevant_title", "relevant_grade", "other_title", "other_grade", "sid", "frequency"],
        columns={
            "query": st.column_config.TextColumn("Query", width=160 if prefix else 180),
            "relevant_title": st.column_config.TextColumn("Relevant item", width=200 if prefix else 280),
            "relevant_grade": st.column_config.NumberColumn("Grade", format="%.1f", width=60),
            "other_title": st.column_config.TextColumn("Item of the same SID", width=200 if prefix else 280),
            "other_grade": st.column_config.NumberColumn("Grade", format="%.1f", width=60),
            "sid": st.column_config.TextColumn("SID", width=70),
            "frequency": st.column_config.NumberColumn("Asked", format="localized", width=70, help="How often, by the log"),
        },
    )  # fmt: skip
    st.caption(
        f"{text.plural(pairs, 'pair', 'pairs')} of items in {text.plural(queries_, 'conflict', 'conflicts')} (a query and a SID) of "
        f"{text.plural(sids, 'SID', 'SIDs')}. Choose one to see why the ranker puts either where it is."
    )
    row = chosen_row(key, rows)
    if row is not None:
        with st.container(horizontal=True):
            link(
                "explain",
                f"Explain “{escape(text.shortened(row['relevant_title']))}”",
                {"q": row["query_id"], "item": row["relevant_id"]},
            )
            link(
                "explain",
                f"Explain “{escape(text.shortened(row['other_title']))}”",
                {"q": row["query_id"], "item": row["other_id"]},
            )
            link("query", f"Follow “{escape(text.shortened(row['query']))}”", {"q": row["query_id"]})  # fmt: skip


def _mixed(prefix: str, key: str) -> None:
    """Items of SIDs that several categories share, category by category."""
    run = current().run_id
    n = fetch(queries.count_mixed, run, prefix)
    if not n:
        return
    paged_table(
        queries.mixed, (run, prefix), rows=n, title="One SID, several categories", key=key, height=340, define="harmful_aliasing",
        filters={"code": prefix or "all"}, chooses=("item_id", "item"), show=["sid", "category", "title", "seller", "brand"],
        columns={
            "sid": st.column_config.TextColumn("SID", width="small"), "category": st.column_config.TextColumn("Category", width="medium"),
            "title": st.column_config.TextColumn("Title", width="large"), "seller": "Seller", "brand": "Brand",
        },
    )  # fmt: skip


def _sids(prefix: str, key: str, counts: Mapping[str, int]) -> None:
    run = current().run_id
    n_harmful = counts.get("n_categories", 0) + counts.get("n_grades", 0)
    harmful = bool(n_harmful) and st.toggle(
        "Harmful ones only", key=f"{key}-harmful", help=f"{n_harmful:,} of {counts['n']:,} shared SIDs"
    )
    n = n_harmful if harmful else counts["n"]

    rows = fetch(queries.shared, run, prefix, harmful, names.given(), 5_000, 0)
    shown = rows.assign(reason=rows["reason"].map(REASONS).fillna("unknown"))
    table(
        shown, title="SIDs held by two items or more", key=key, define="harmful_aliasing",
        filters={"code": prefix or "all"} | ({"only": "harmful"} if harmful else {}), chooses=("sid", "code"), height=420,
        n=f"{text.plural(n, 'shared SID', 'shared SIDs')}, all" if len(rows) == n else f"the first {len(rows):,} of {n:,} shared SIDs, those with most conflicts first",
        show=["name", "inside", "sid", "reason", "n_items", "n_categories", "n_conflicts"],
        full=deferred(queries.shared, run, prefix, harmful, names.given(), n, 0),
        columns={
            "name": st.column_config.TextColumn("Name", width=230), "inside": st.column_config.TextColumn("Inside", width=200), "sid": st.column_config.TextColumn("SID", width="small"),
            "reason": st.column_config.TextColumn("Harmful or not", width=300),
            "n_items": st.column_config.NumberColumn("Items"), "n_categories": st.column_config.NumberColumn("Categories"),
            "n_conflicts": st.column_config.NumberColumn("Queries that tell them apart"),
        },
    )  # fmt: skip
