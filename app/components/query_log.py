"""The query log: filtered, ordered and paged in SQL; a row opens its query, keys go to the next and the previous one."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import text
from app.components.answer import Answer
from app.components.figure import chosen_row, table
from app.components.links import choose
from app.components.states import bad_parameter, lacks, unfilled
from app.fetch import current, deferred, fetch
from app.queries import query_log as queries
from app.queries.query_log import Asked

# Orders, and columns, that rest on judgments.
MEASURED = ("worst for traffic", "worst regression", "best gain")
MEASURES = ("value_without", "value", "difference", "weighted", "direction")
ANY = "all"
ROWS = 500
"""A page of the log."""
_LAST = "_log"
"""What the log last showed in this session: the order in which keys walk."""


def known(name: str, allowed: tuple[str, ...]) -> None:
    """Say so where the address asks for what a control does not offer; it then shows its first value."""
    asked = st.query_params.get(name)
    if asked and asked not in allowed:
        bad_parameter(name, asked, f"Shown instead: {text.escape(allowed[0])}.")


def take(table_key: str, rows: pd.DataFrame, column: str, key: str) -> None:
    """Set a menu to a column of the row chosen in a table; a menu cannot be set to what it does not offer, so not to nothing."""
    row = chosen_row(table_key, rows)
    if row is not None:
        choose(key, str(row[column]))


def choose_from_log() -> None:
    """The log as a table: choosing a row writes the bound `q`."""
    if lacks("queries"):
        unfilled("There are no queries.", needs=("beams",))
        return
    ranked = not lacks("judgments")
    asked = _filters(ranked)
    st.session_state[_LAST] = asked
    found = fetch(queries.found, *asked)
    if not found.queries:
        plain = asked == Asked(asked.run_id, asked.order)
        unfilled(
            "No query of this run is like that.",
            needs=("beams", "scores with SIDs") if plain else (),
            remedy="Clear the words or choose other filters.",
        )
        return
    st.markdown(_counted(found), help=text.DEFINITIONS["query_tier"])
    pages = (found.queries - 1) // ROWS + 1
    number = st.pagination(pages, key="log_page", bind="query-params") if pages > 1 else 1
    rows = _in_words(fetch(queries.page, *asked, ROWS, (number - 1) * ROWS))
    every = deferred(queries.page, *asked, found.queries, 0)
    first = (number - 1) * ROWS + 1
    table(
        rows,
        title="Query log",
        n=f"{found.queries:,} queries, all"
        if pages == 1
        else f"queries {first:,} to {first + len(rows) - 1:,} of {found.queries:,}, all in the CSV",
        define="regression",
        filters={k: v for k, v in asked._asdict().items() if k != "run_id" and v},
        show=["text", "frequency", "tier", "n_judged", *(MEASURES if ranked else ()), "kind", "category", "source"]
        if rows["kind"].notna().any()
        else ["text", "frequency", "tier", "n_judged", *(MEASURES if ranked else ()), "category", "source"],
        columns={
            "text": st.column_config.TextColumn("Query", width=270),
            "frequency": st.column_config.NumberColumn("Searches", format="localized", width=75),
            "tier": st.column_config.TextColumn("Tier", width=75, help=text.DEFINITIONS["query_tier"]),
            "kind": "Kind", "category": "Category", "source": "Source",
            "n_judged": st.column_config.NumberColumn("Judged", help="Judged items", width=60),
            "value_without": st.column_config.NumberColumn("nDCG@10 without", format="%.3f"),
            "value": st.column_config.NumberColumn("with SIDs", format="%.3f", width=75),
            "difference": st.column_config.NumberColumn("difference", format="%+.3f", width=80),
            "weighted": st.column_config.NumberColumn("by traffic, pp", format="%+.3f", width=95, help=text.DEFINITIONS["weighted"]),
            "direction": st.column_config.TextColumn("In words", width=105),
        },
        height=420,
        full=lambda: _in_words(every()),
        heading=False,
        chooses=("handle", "q"),
    )  # fmt: skip
    told = ["Choose a row to open that query."]
    if pages > 1:
        told.append("A click on a column's head sorts this page; “Order” sorts all of them.")
    if ranked:
        told.append("nDCG@10 is measured on judged test queries alone.")
    st.caption(" ".join(told))


def _filters(ranked: bool) -> Asked:
    """The controls of the log, bound to the address."""
    orders = tuple(name for name in queries.ORDERS if ranked or name not in MEASURED)
    tiers, kinds = (ANY, *queries.TIERS), (ANY, *fetch(queries.kinds))
    categories, judged = (ANY, *fetch(queries.categories)), (ANY, *queries.JUDGED)
    for name, allowed in (
        ("order", orders),
        ("tier", tiers),
        ("kind", kinds),
        ("within", categories),
        ("judged", judged),
    ):
        known(name, allowed)
    kept = {"bind": "query-params", "persist_state": "page"}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(
            "Containing", key="words", placeholder="words, in any order", width=190, type="search", **kept
        )
        order = st.selectbox("Order", orders, key="order", help=text.DEFINITIONS["regression"], width=180, **kept)
        tier = st.segmented_control(
            "Traffic tier", tiers, default=ANY, required=True, key="tier", help=text.DEFINITIONS["query_tier"], **kept
        )
        shown = (
            st.selectbox("Judgments", judged, key="judged", width=130, help=text.DEFINITIONS["judged"], **kept)
            if ranked
            else ANY
        )
        kind = st.selectbox("Kind", kinds, key="kind", width=150, **kept) if len(kinds) > 1 else ANY
        category = st.selectbox("Category", categories, key="within", width=260, **kept) if len(categories) > 1 else ANY
    tier, kind, category, shown = (None if v in (ANY, None) else str(v) for v in (tier, kind, category, shown))
    return Asked(current().run_id, order or orders[0], tier, kind, category, shown, words or "")


def _counted(found: queries.Found) -> str:
    """How many queries are shown, and what part of the traffic they are."""
    said = f"**{text.plural(found.queries, 'query', 'queries')}**"
    if not found.all_searches:
        return f"{said}; the log tells no traffic."
    share = found.searches / found.all_searches
    return f"{said}, asked {text.plural(found.searches, 'time', 'times')}: {100 * share:.1f} % of all searches."


def _in_words(rows: pd.DataFrame) -> pd.DataFrame:
    """The log with the direction of each difference in words, and parts of the mean in percentage points."""
    unknown = rows["n_judged"].fillna(0).gt(0).map({True: "not a test query", False: "not judged"})
    said = rows["difference"].map(text.direction).where(rows["difference"].notna(), unknown)
    return rows.assign(direction=said, weighted=100 * rows["weighted"])


def walk(given: Answer) -> None:
    """Buttons and keys to the previous and the next query of the log as it was last shown, and back to it; for a row of controls."""
    last = st.session_state.get(_LAST)
    asked = last if isinstance(last, Asked) and last.run_id == current().run_id else Asked(current().run_id)
    there = fetch(queries.neighbours, *asked, given.query_id) if given.query_id else None
    step = {"type": "tertiary", "on_click": choose}
    st.button("Back to the log", icon=":material/list:", shortcut="L", key="back-to-log", args=("q", ""), **step)
    if there is None:
        return
    for label, icon, key, to in (
        ("Previous", ":material/arrow_upward:", "K", there.before),
        ("Next", ":material/arrow_downward:", "J", there.after),
    ):
        st.button(label, icon=icon, shortcut=key, key=f"walk-{key}", disabled=to is None, args=("q", to or ""), **step)
    st.caption(f"{there.place:,} of {there.of:,} in the log, {asked.order}{_narrowed(asked)}", width="content")


def _narrowed(asked: Asked) -> str:
    chosen = [v for v in (asked.tier, asked.kind, asked.category, asked.judged) if v]
    chosen += [f"“{asked.words}”"] if asked.words.strip() else []
    return text.escape(f"; {', '.join(chosen)}") if chosen else ""
