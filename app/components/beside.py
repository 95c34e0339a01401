"""The other run on every page: what the page shows of this run, beside the same of the one it is compared with."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import text
from app.components import drift
from app.components.comparing import NUMBER, Pair, by_query, pair, verdict
from app.components.figure import table
from app.components.links import address, link
from app.components.states import nothing, panel
from app.fetch import base, current, fetch_both
from app.queries import comparison
from app.text import escape

PLACES = 20


def two() -> Pair | None:
    """Both runs, where a second one is chosen."""
    other = base()
    return pair(other) if other and current().run_id else None


def overview() -> None:
    """Whether this run is better than the other, in a sentence."""
    if both := two():
        with panel("The other run"):
            counts = comparison.tally(by_query(both, "ndcg@10"))
            st.markdown(
                f":material/compare_arrows: {escape(verdict(both))} "
                + escape(f"{counts.won:,} queries better, {counts.tied:,} the same, {counts.lost:,} worse."),
                help=text.DEFINITIONS["paired_runs"],
            )
            link("runs", "All that differs between the two runs")


def query(query_id: str) -> None:
    """The first places of a query in both runs."""
    both = two()
    if both is None:
        return
    st.subheader("In the other run", anchor=False, help=text.DEFINITIONS["two_rankings"])
    rows = fetch_both(comparison.ranking, both.base.snapshot_id, both.run, both.base.run_id, query_id, PLACES)
    if rows.empty:
        nothing(f"{escape(both.base_name)} holds no ranking of these words.")
        return
    st.markdown(escape(ranking_sentence(rows, both)))
    table(
        rows.assign(
            why=[address("explain", {"q": query_id, "item": item}) for item in rows["item_id"]],
            moved=rows["base_rank"] - rows["rank"],
        ),
        title="Both rankings", key="two-rankings", heading=False, define="two_rankings", filters=both.filters | {"query": query_id}, height=420,
        n=f"items among the first {PLACES} of either run, all",
        show=["title", "base_rank", "rank", "moved", "grade", "base_sid", "sid", "why"],
        columns={
            "title": st.column_config.TextColumn("Item", width="large"), "base_rank": NUMBER("Rank, other run"), "rank": NUMBER("Rank, this run"),
            "moved": NUMBER("Places up", format="%+d"), "grade": NUMBER("Grade", format="%.1f"), "base_sid": "SID, other run", "sid": "SID, this run",
            "why": st.column_config.LinkColumn("", display_text="why", width=60),
        },
    )  # fmt: skip


def ranking_sentence(rows: pd.DataFrame, both: Pair) -> str:
    """How many of the first ten are the same items."""
    here, there = (set(rows.loc[rows[name] <= 10, "item_id"]) for name in ("rank", "base_rank"))
    if not here and not there:
        return f"Neither run ranks an item among the first ten ({both.name}, {both.base_name})."
    return (
        f"{len(here & there):,} of the first ten are the same items in both runs; {text.plural(len(here - there), 'item is', 'items are')} new "
        f"on page one against {both.base_name}, {text.plural(len(there - here), 'item', 'items')} gone."
    )


def one_pair(query_id: str, item_id: str) -> None:
    """A query and an item, in a sentence."""
    both = two()
    if both is None:
        return
    rows = fetch_both(comparison.pair, both.base.snapshot_id, both.run, both.base.run_id, query_id, item_id)
    other = rows[rows["run"] == "other"]
    if other.empty:
        st.caption(f":material/compare_arrows: {escape(both.base_name)} knows nothing of this pair.")
        return
    row = other.iloc[0]
    if pd.isna(row["match_level"]):
        deep = "that run knows no SIDs"
    elif row["match_level"] > 0:
        deep = f"a beam agrees with its SID down to level {int(row['match_level'])}"
    else:
        deep = "no beam agrees with its SID"
    place = f"rank {int(row['rank'])}" if pd.notna(row["rank"]) else "not retrieved"
    without = f", {int(row['rank_without_sid'])} without SIDs" if pd.notna(row["rank_without_sid"]) else ""
    st.markdown(
        f":material/compare_arrows: In the other run ({escape(both.base_name)}): {escape(f'{place}{without}; {deep}.')}"
    )


def coverage() -> None:
    """Categories in both runs."""
    both = two()
    if both is None:
        return
    with panel("Categories in both runs", height=320):
        rows = fetch_both(comparison.coverage, both.base.snapshot_id, both.run, both.base.run_id)
        if rows.empty:
            st.subheader("Categories in both runs", anchor=False)
            nothing(f"{escape(both.base_name)} tells of no category that this run tells of.")
            return
        table(
            rows, title="Categories in both runs", key="two-coverages", define="two_coverages", filters=both.filters, height=420,
            n=f"{text.plural(len(rows), 'category', 'categories')}, the largest change of what beams reach first",
            show=["category", "tier", "n_items", "base_in_beam", "in_beam", "base_in_top_k", "in_top_k", "base_protected", "protected"],
            columns={
                "category": st.column_config.TextColumn("Category", width="large"), "tier": "Tier", "n_items": NUMBER("Items", format="localized"),
                "base_protected": "Protected, other run", "protected": "Protected, this run",
            },
            percent={"base_in_beam": "In a beam, other run", "in_beam": "In a beam, this run", "base_in_top_k": "In a top 10, other run",
                     "in_top_k": "In a top 10, this run"},
        )  # fmt: skip


def exposure(dimension: str, discount: str) -> None:
    """The share of exposure of every value under both rankings."""
    both = two()
    if both is None:
        return
    with panel("Exposure in both runs", height=320):
        rows = fetch_both(comparison.exposure, both.base.snapshot_id, both.run, both.base.run_id, discount, dimension)
        if rows.empty:
            st.subheader("Exposure in both runs", anchor=False)
            nothing("Neither run stores exposure by this.")
            return
        table(
            rows, title="Exposure in both runs", key="two-exposures", define="two_exposures", height=420,
            filters=both.filters | {"dimension": dimension, "discount": discount}, n=f"{text.plural(len(rows), 'value', 'values')}, the largest change first",
            columns={"value": st.column_config.TextColumn("Name", width="large")},
            show=["value", "base_share", "share", "change", "base_difference", "difference"],
            percent={"base_share": "Share, other run", "share": "Share, this run", "change": "Change (pp)", "base_difference": "By SIDs, other run (pp)",
                     "difference": "By SIDs, this run (pp)"},
        )  # fmt: skip


def code(prefix: str) -> None:
    """Which code of the other run a prefix is the match of."""
    both = two()
    if both is None:
        return
    moves = drift.matched(both)
    depth = prefix.count("-") + 1
    if moves is None or depth > moves.levels:
        st.caption(f":material/compare_arrows: {escape(both.base_name)} has no code to match with this one.")
        return
    was = {new: old for old, new in moves.found.matches[depth - 1].items()}.get(
        tuple(int(c) for c in prefix.split("-"))
    )
    said = f"it was code {'-'.join(map(str, was))}" if was else "no code there became this one"
    st.markdown(
        f":material/compare_arrows: In the other run ({escape(both.base_name)}) {escape(said)}.",
        help=text.DEFINITIONS["churn"],
    )
