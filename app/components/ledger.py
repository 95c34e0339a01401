"""The loss ledger: what became of every judged relevant item, as counts that open into their queries."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import text
from app.components.figure import chosen_row, table
from app.components.links import address
from app.components.states import bad_parameter, unfilled
from app.fetch import current, fetch
from app.queries import query as queries
from engine.audit.lost import FOUND

KEYS = ("verdict", "level", "feature", "value")


def ledger() -> None:
    """One row a verdict and group; the items behind a chosen one."""
    asked = st.query_params.get("ledger")
    if asked and asked not in queries.LEDGER:
        bad_parameter("ledger", asked, "Shown instead: query tier.")
    by = st.segmented_control(
        "By", list(queries.LEDGER), default="query tier", required=True, key="ledger", bind="query-params"
    )
    by = by or "query tier"
    rows = fetch(queries.ledger, current().run_id, by)
    if rows.empty:
        unfilled("No judged relevant item is known for this run.", needs=("judgments", "scores with SIDs"))
        return
    rows["name"] = [_name(row["verdict"], row["level"], row["feature"]) for row in rows.to_dict("records")]
    total, found = int(rows["n_pairs"].sum()), int(rows.loc[rows["verdict"] == FOUND, "n_pairs"].sum())
    st.markdown(f"**{found:,} of {total:,}** judged relevant items are on page one ({100 * found / total:.1f} %).")
    table(
        rows,
        title="Loss ledger",
        key="ledger",
        define="ledger",
        filters={"by": by},
        n=f"{total:,} judged relevant items, all",
        show=["name", "value", "n_pairs", "share", "n_queries"],
        columns={
            "name": st.column_config.TextColumn("What became of it", width=250),
            "value": st.column_config.TextColumn(text.sentence(by), width=200 if by == "category" else 90),
            "n_pairs": st.column_config.NumberColumn("Items", width=56, format="localized"),
            "n_queries": st.column_config.NumberColumn("Queries", format="localized"),
        },
        percent={"share": "Share"},
        height=420,
        heading=False,
        on_select=lambda: None,  # read below
    )
    row = chosen_row("ledger", rows)
    if row is None:
        st.caption("Choose a row for its queries.")
    else:
        _behind(row, by)


def _name(verdict: str, level: float | None, feature: str | None) -> str:
    """'Lost in the beam at level 2', 'Outranked by word match (qs)'."""
    if isinstance(feature, str):
        name = text.feature_name(feature)
        return f"{text.sentence(verdict)}, mainly through {name if name.startswith('SID') else name[:1].lower() + name[1:]}"
    return text.sentence(verdict) + ("" if level is None or pd.isna(level) else f" at level {int(level)}")


def _behind(row: pd.Series, by: str) -> None:
    level = None if pd.isna(row["level"]) else int(row["level"])
    feature = row["feature"] if isinstance(row["feature"], str) else None
    pairs = fetch(queries.ledger_pairs, current().run_id, row["verdict"], level, feature, by, row["value"])
    pairs["open"] = [
        address("query", {"q": q, "item": i, "view": "Where was it lost?"})
        for q, i in zip(pairs["query_id"], pairs["item_id"], strict=True)
    ]
    table(
        pairs,
        title=f"{row['name']}: {row['value']}",
        key="ledger-pairs",
        define="ledger",
        filters={"by": by, "value": row["value"], "verdict": row["name"]},
        show=["text", "title", "grade", "rank_without_sid", "rank", "frequency", "open"],
        columns={
            "text": st.column_config.TextColumn("Query", width=220),
            "title": st.column_config.TextColumn("Item", width=300),
            "grade": st.column_config.NumberColumn("Grade", format="%.1f"),
            "rank_without_sid": "Rank without",
            "rank": "with SIDs",
            "frequency": st.column_config.NumberColumn("Searches", format="localized"),
            "open": st.column_config.LinkColumn("Where lost", display_text="open"),
        },
        height=300,
    )
