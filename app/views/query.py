"""Query: what the generator predicts for a query, how that changes the ranking, and where a target was lost."""

import pandas as pd
import streamlit as st

from app import text
from app.components import beside, notes, query_sets, ranking, trie, variants
from app.components.answer import Answer, answer, origin
from app.components.ledger import ledger
from app.components.lost import lost
from app.components.query_log import choose_from_log, known, walk
from app.components.states import has_run, header, lacks, panel

VIEWS = ("Beams", "Ranking", "Where was it lost?", "Variants")
PARTS = ("Query log", "Query sets", "Where relevant items are lost")


def about(given: Answer) -> None:
    """What is known of the query, and how the answer came about."""
    row = given.query
    st.subheader("Answer", anchor=False)
    st.text(given.text)
    origin(given)
    if row is None:
        st.caption("Not in the log and not judged: nothing about it was stored.")
        return
    used = "used in training" if row["source"] == "synthetic" else "its clicks were used in training"
    seen = used if pd.notna(row["seen"]) and bool(row["seen"]) else "new to the generator"
    tier = f"{row['tier']} tier" if pd.notna(row["tier"]) else None
    facts = [
        _searches(row["frequency"]),
        tier if row["frequency"] != 0 else "in no traffic tier",
        f"kind {row['kind']}" if pd.notna(row["kind"]) else None,
        f"split {row['split']}" if pd.notna(row["split"]) else None,
        "made from item fields (synthetic)" if row["source"] == "synthetic" else None,
        seen if pd.notna(row["seen"]) else None,
        text.plural(row["n_judged"], "judged item", "judged items") if pd.notna(row["n_judged"]) else None,
        f"id {row['query_id']}",
    ]
    st.caption(text.escape(" · ".join(f for f in facts if f)), help=text.DEFINITIONS["seen"])
    notes.notes("query", given.text, given.text)


def _searches(frequency: float | None) -> str:
    """How often the query was asked."""
    if frequency is None or pd.isna(frequency):
        return "frequency unknown"
    return (
        text.plural(frequency, "search", "searches") if frequency > 0 else "not in the search log, so without traffic"
    )


def overview() -> None:
    """Without a query: the log, sets of queries, and where judged relevant items are lost."""
    parts = PARTS if not lacks("judgments") else PARTS[:2]
    known("part", parts)
    log, sets, *rest = st.tabs(parts, key="part", bind="query-params", on_change="rerun")
    if log.open:
        with log, panel("Query log", height=420):
            choose_from_log()
    if sets.open:
        with sets, panel("Query sets", height=420):
            query_sets.show()
    for lost_items in rest:
        if lost_items.open:
            with lost_items, panel("Loss ledger", height=420):
                ledger()


def one(asked: str, fresh: bool) -> None:
    """A query: its answer in four views."""
    given = answer(asked, fresh=fresh)
    if given is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        walk(given)
        query_sets.add_one(given.text)
    with panel("Answer"):
        about(given)
    known("view", VIEWS)
    beams, ranked, target, others = st.tabs(VIEWS, key="view", bind="query-params", on_change="rerun")
    if beams.open:
        with beams:
            with panel("Beam trie", height=420):
                trie.show(given)
            with panel("Other beams", height=200):
                trie.others(given)
    if ranked.open:
        with ranked:
            with panel("Ranking", height=420):
                ranking.show(given)
            if given.query_id:
                with panel("Ranking in the other run"):
                    beside.query(given.query_id)
    if target.open:
        with target, panel("Where was it lost?", height=300):
            lost(given)
    if others.open:
        with others, panel("Variants", height=300):
            variants.show(given)


header("Query", "What does the system think a query means, what does that change, and where was an item lost?")
if has_run():
    with st.container(horizontal=True, vertical_alignment="bottom"):
        asked = st.text_input(
            "Query", key="q", bind="query-params", type="search",
            placeholder="Type anything, or choose from the log below", help=text.DEFINITIONS["cached"],
        )  # fmt: skip
        fresh = st.toggle(
            "Generate live", key="live", bind="query-params", help=text.DEFINITIONS["live"], width="content"
        )
    if (asked or "").strip():
        one(str(asked), fresh)
    else:
        overview()
