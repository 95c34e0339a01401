"""The query's own nDCG and the like, with and without SIDs, where it is judged."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
import streamlit as st

from app import text
from app.components.answer import Answer
from app.components.metric import metric_card
from app.fetch import current, fetch
from app.queries import query as queries


def own_metrics(given: Answer) -> None:
    """One card a metric; nothing for a live answer or a query that was not measured."""
    if given.query_id is None or given.live:
        return
    found = fetch(queries.query_metrics, current().run_id, given.query_id)
    if found.empty:
        return
    judged = given.query["n_judged"] if given.query is not None else None
    st.caption("How this query's judged items are ordered among themselves", help=text.DEFINITIONS["own_ndcg"])
    with st.grid(min_column_width=240):
        for row in found.to_dict("records"):
            with st.container():
                metric_card(
                    f"{text.METRIC_NAMES.get(row['metric'], row['metric'])} with SIDs",
                    row["value"],
                    n=judged,
                    unit="judged items",
                    define=row["metric"] if row["metric"] != "ndcg@10" else "own_ndcg",
                    least=1,
                    note=f"{_against(row)}one query, so no interval",
                )


def _against(row: Mapping[Hashable, Any]) -> str:
    """A query's metric without SIDs, and the change; nothing where that is unknown."""
    if pd.isna(row["difference"]):
        return ""
    return f"{row['value_without']:.3f} without: {row['difference']:+.3f}, {text.direction(row['difference'])}; "
