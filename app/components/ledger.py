"""The loss ledger: what became of every judged relevant item, as counts that open into their queries."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import text
from app.charts import ledger as charts
from app.components.figure import chosen_point, chosen_row, figure, table
from app.components.links import address, choose
from app.components.states import bad_parameter, unfilled
from app.fetch import current, fetch
from app.queries import query as queries
from engine.audit.lost import FOUND

FIRST = "query tier"
DRAWN = 14
"""Groups that are drawn: those with most judged relevant items; the table has all."""
ANY = "any"
MOST = 1_000
"""Rows on screen of either table; the export has all."""


def ledger() -> None:
    """Bars and a table of verdicts by group; the items behind a chosen part of either."""
    asked = st.query_params.get("ledger")
    if asked and asked not in queries.LEDGER:
        bad_parameter("ledger", asked, f"Shown instead: {FIRST}.")
    by = st.segmented_control(
        "By", list(queries.LEDGER), default=FIRST, required=True, key="ledger", bind="query-params"
    )
    by = by or FIRST
    rows = fetch(queries.ledger, current().run_id, by)
    if rows.empty:
        unfilled("No judged relevant item is known for this run.", needs=("judgments", "scores with SIDs"))
        return
    rows["name"] = [_name(row["verdict"], row["level"], row["feature"]) for row in rows.to_dict("records")]
    total, found = int(rows["n_pairs"].sum()), int(rows.loc[rows["verdict"] == FOUND, "n_pairs"].sum())
    st.markdown(
        f"**{found:,} of {total:,}** judged relevant items are on page one ({100 * found / total:.1f} %). {_rest(rows, total)}",
        help=text.DEFINITIONS["ledger"],
    )
    counts = rows.groupby(["value", "verdict"], sort=False)[["n_pairs", "share"]].sum().reset_index()
    largest = counts.groupby("value")["n_pairs"].sum().sort_values(ascending=False, kind="stable")
    order = [v for v in ("head", "torso", "tail", "no traffic") if v in largest.index]
    groups = [*order, *(v for v in largest.index if v not in order)][:DRAWN]
    drawn = counts[counts["value"].isin(groups)]
    drawn = drawn.assign(place=drawn["value"].map(groups.index)).sort_values(["place"], kind="stable")
    figure(
        charts.bars(drawn),
        title=f"Where relevant items are lost, by {by}",
        key="ledger-bars",
        data=counts,
        n=f"{total:,} judged relevant items" + (f"; the {DRAWN} largest of {len(largest)} groups, all in the CSV" if len(largest) > DRAWN else ", all"),
        alt=_takeaway(counts),
        define="ledger",
        filters={"by": by},
        subtitle="Click a part of a bar, or a row below, for its items and queries.",
        on_select=_take_part,
    )  # fmt: skip
    table(
        rows.head(MOST),
        title="Loss ledger",
        key="ledger",
        define="ledger",
        filters={"by": by},
        n=f"{total:,} judged relevant items"
        + (", all" if len(rows) <= MOST else f"; the first {MOST:,} of {len(rows):,} rows, all in the CSV"),
        full=lambda: rows,
        show=["name", "value", "n_pairs", "share", "n_queries"],
        columns={
            "name": st.column_config.TextColumn("What became of it", width=330),
            "value": st.column_config.TextColumn(text.sentence(by), width=240 if by == "category" else 120),
            "n_pairs": st.column_config.NumberColumn("Items", width=60, format="localized"),
            "n_queries": st.column_config.NumberColumn("Queries", format="localized"),
        },
        percent={"share": "Share"},
        height=420,
        heading=False,
        on_select=lambda: _take_row(rows),
    )
    _behind(rows, by)


def _rest(rows: pd.DataFrame, total: int) -> str:
    """Where the others were lost, the commonest first."""
    lost = (
        rows[rows["verdict"] != FOUND].groupby("verdict")["n_pairs"].sum().sort_values(ascending=False, kind="stable")
    )
    said = [f"{n:,} {verdict} ({100 * n / total:.1f} %)" for verdict, n in lost.items()]
    return f"The others: {text.listed(said)}." if said else ""


def _takeaway(counts: pd.DataFrame) -> str:
    """The group that loses most."""
    found = counts[counts["verdict"] == FOUND].set_index("value")["share"]
    found = found.reindex(counts["value"].unique(), fill_value=0.0)
    return f"Least found: {found.idxmin()} with {100 * found.min():.0f} % of its judged relevant items on page one"


def _name(verdict: str, level: float | None, feature: str | None) -> str:
    """'Lost in the beam at level 2', 'Outranked by word match (qs)'."""
    if isinstance(feature, str):
        name = text.feature_name(feature)
        return f"{text.sentence(verdict)}, mainly through {name if name.startswith('SID') else name[:1].lower() + name[1:]}"
    return text.sentence(verdict) + ("" if level is None or pd.isna(level) else f" at level {int(level)}")


def _take_row(rows: pd.DataFrame) -> None:
    row = chosen_row("ledger", rows)
    if row is not None:
        choose("fate", str(row["name"]))
        choose("group", str(row["value"]))


def _take_part() -> None:
    point = chosen_point("ledger-bars")
    if point:
        choose("fate", text.sentence(str(point[0])))
        choose("group", str(point[1]))


def _behind(rows: pd.DataFrame, by: str) -> None:
    """The items of the chosen fate and group, each opening where it was lost."""
    verdicts = [text.sentence(v) for v in rows["verdict"].unique()]
    fates = list(dict.fromkeys([*verdicts, *rows["name"]]))
    groups = [ANY, *sorted(rows["value"].unique())]
    for name, allowed in (("fate", fates), ("group", groups)):
        asked = st.query_params.get(name)
        if asked and asked not in allowed:
            bad_parameter(name, asked, "Choose one of the list.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        fate = st.selectbox(
            "What became of it", fates, index=None, key="fate", bind="query-params", placeholder="choose", width=400
        )
        group = st.selectbox(text.sentence(by), groups, key="group", bind="query-params", width=300)
    if fate is None:
        st.caption("Choose what became of an item for the items and their queries.")
        return
    cells = rows[(rows["name"] == fate) | (rows["verdict"].map(text.sentence) == fate)]
    if group not in (ANY, None):
        cells = cells[cells["value"] == group]
    parts = [_pairs(row, by) for row in cells.to_dict("records")]
    pairs = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if pairs.empty:
        st.caption(text.escape(f"No judged relevant item: {fate}, {by} {group}."))
        return
    pairs = pairs.sort_values(
        ["frequency", "query_id", "item_id"], ascending=[False, True, True], kind="stable", ignore_index=True
    )
    pairs["open"] = [
        address("query", {"q": q, "item": i, "view": "Where was it lost?"})
        for q, i in zip(pairs["query_id"], pairs["item_id"], strict=True)
    ]
    st.markdown(
        f"**{text.plural(len(pairs), 'judged relevant item', 'judged relevant items')}** of "
        f"{text.plural(pairs['query_id'].nunique(), 'query', 'queries')}: {text.escape(fate[:1].lower() + fate[1:])}"
        + ("" if group in (ANY, None) else f"; {text.escape(f'{by} {group}')}") + "."
    )  # fmt: skip
    table(
        pairs.head(MOST),
        title=f"{fate}: {group}",
        key="ledger-pairs",
        define="ledger",
        filters={"by": by, "value": group, "verdict": fate},
        n=f"{len(pairs):,} items, all"
        if len(pairs) <= MOST
        else f"the {MOST:,} of the most frequent queries of {len(pairs):,}, all in the CSV",
        full=lambda: pairs,
        show=["text", "title", "grade", "rank_without_sid", "rank", "frequency", "open", "category"],
        columns={
            "text": st.column_config.TextColumn("Query", width=240),
            "title": st.column_config.TextColumn("Item", width=380),
            "grade": st.column_config.NumberColumn("Grade", format="%.1f", width=55),
            "rank_without_sid": st.column_config.NumberColumn("Rank without", width=95),
            "rank": st.column_config.NumberColumn("with SIDs", width=75),
            "frequency": st.column_config.NumberColumn("Searches", format="localized", width=75),
            "open": st.column_config.LinkColumn("Where lost", display_text="open", width=85),
            "category": "Category",
        },
        height=360,
        heading=False,
    )


def _pairs(row: dict[str, object], by: str) -> pd.DataFrame:
    """The items behind one row of the ledger."""
    level = None if pd.isna(row["level"]) else int(row["level"])  # type: ignore[call-overload]
    feature = row["feature"] if isinstance(row["feature"], str) else None
    return fetch(queries.ledger_pairs, current().run_id, str(row["verdict"]), level, feature, by, str(row["value"]))
