"""What should I look at first: every kind of harm in one headline, its worst members below, and what is well."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd
import streamlit as st

from app.components import notes
from app.components.figure import table
from app.components.links import link
from app.components.metric import severity_badge
from app.components.states import unfilled
from app.fetch import current, fetch
from app.queries import overview as queries
from app.text import SEVERITY_NAMES, escape, plural, shortened
from app.worth import counted


def findings() -> None:
    """All of them; what is well stands last, in one list."""
    found = fetch(queries.findings, current().run_id)
    if found.empty:
        unfilled("Nothing of this run could be audited.", needs=("scores with SIDs", "scores without SIDs", "SIDs"))
        return
    st.markdown(escape(counted(found)))
    well = found["kind"].isin(found.loc[found["severity"].eq("good") & found["member"].eq(0), "kind"])
    for _, group in found[~well].groupby("kind", sort=False):
        _group(group)
    if well.any():
        with st.container(border=True, gap="xsmall"):
            st.markdown("**What is well**")
            for row in found[well & found["member"].eq(0)].to_dict("records"):
                _row(row, bold=False)
    with st.expander(
        "All findings as a table", icon=":material/table:", on_change="rerun", key="findings-table"
    ) as every:
        if every.open:
            _table(found)


def _group(group: pd.DataFrame) -> None:
    """A headline and its members; what is merely to be noted opens on demand."""
    head, *members = group.to_dict("records")
    with st.container(border=True, gap="xsmall"):
        _row(head, bold=True)
        notes.notes("finding", str(head["kind"]), str(head["title"]))
        if members and head["severity"] == "note":
            with st.expander(f"The largest: {len(members)}", type="compact"):
                for row in members:
                    _row(row, bold=False)
        else:
            for row in members:
                _row(row, bold=False)


def _row(row: dict[Hashable, Any], *, bold: bool) -> None:
    title = escape(shortened(row["title"], 200))
    title = f"**{title}**" if bold else title
    detail = f"  \n:small[{escape(shortened(row['detail'], 600))}]" if row["detail"] else ""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        with st.container(width=84):
            severity_badge(str(row["severity"]))
        with st.container(gap=None):
            st.markdown(title + detail)
        with st.container(width="content"):
            link(row["page"], "See the evidence", row["params"])


def _table(found: pd.DataFrame) -> None:
    rows = found.assign(word=found["severity"].map(SEVERITY_NAMES))
    table(
        rows, title="Findings", heading=False, define="severity", n=f"{plural(len(rows), 'finding', 'findings')}, all",
        show=["word", "kind", "title", "detail", "n", "of_n", "absolute", "relative", "traffic", "sure"],
        columns={
            "word": "Severity", "kind": "Kind", "title": st.column_config.TextColumn("Finding", width="large"), "detail": "Detail",
            "n": st.column_config.NumberColumn("n", format="localized"), "of_n": st.column_config.NumberColumn("of", format="localized"),
            "sure": st.column_config.CheckboxColumn("Sure"),
        },
        percent={"absolute": "Loss, by traffic", "relative": "Loss, of its own", "traffic": "Traffic"},
    )  # fmt: skip
