"""The ablation: methods against each other over seeds, with placebo, controls and twins."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd
import streamlit as st

from app import rankers, text
from app.charts import runs as charts
from app.components.comparing import NUMBER, measure_name
from app.components.figure import figure, table
from app.components.health import known_as
from app.components.states import nothing
from app.fetch import fetch
from app.queries import runs as queries
from app.text import escape

OTHER_MEASURES = {
    "stability": "Agreement of two seeds (adjusted Rand)", "seconds": "Time of its own stages (s)", "peak_mb": "Peak memory (MB)",
}  # fmt: skip


def show() -> None:
    """A measure by method as chart, all of it as tables."""
    rows = fetch(queries.ladder)
    if rows.empty:
        nothing(
            "No ablation is in this snapshot, so methods cannot be compared over seeds.",
            remedy="Train one: `python -m engine ablate --methods none,dsirm,tiger --seeds 3`.",
        )
        return
    rows["what"] = [_what(row) for row in rows.to_dict("records")]
    overall = rows[rows["segment"].isna() | (rows["segment"] == "all")]
    offered = list(dict.fromkeys(overall.loc[overall["method"] != "none", "what"]))
    first = next((w for w in offered if w.startswith("Served: ")), offered[0])
    chosen = (
        st.selectbox(
            "Measure of methods", offered, index=offered.index(first), key="rung", bind="query-params", width=520
        )
        or first
    )
    mine = overall[overall["what"] == chosen]
    best = mine.loc[mine["value"].idxmax(), "method"] if mine["value"].notna().any() else ""
    figure(
        charts.ladder(mine[mine["value"].notna()], name=chosen), title="Methods side by side", subtitle=chosen, key="methods", define="methods",
        data=mine, n=f"{text.plural(mine['method'].nunique(), 'method', 'methods')}, {text.plural(mine['n_seeds'].max(), 'seed', 'seeds')} each at most",
        filters={"measure": chosen}, alt=f"{chosen}, by method; the highest: {rankers.method_name(str(best))}.",
    )  # fmt: skip
    compared = fetch(queries.method_comparisons)
    if len(compared):
        st.markdown(escape(first_sentence(compared)))
        table(
            compared.assign(
                first=compared["method"].map(rankers.method_name), second=compared["baseline_method"].map(rankers.method_name),
                by=compared["ranker"].map(rankers.ranker_name),
            ),
            title="Method against method", key="method-comparisons", define="method_comparisons", height=420,
            show=["first", "second", "by", "difference", "low", "high", "p_holm", "low_seeds", "high_seeds", "p_seeds_holm", "n_seeds", "n"],
            columns={
                "first": st.column_config.TextColumn("Method", width="medium"), "second": st.column_config.TextColumn("Minus", width="medium"),
                "by": st.column_config.TextColumn("Ranked by", width="medium"), "difference": NUMBER("Difference of AUC", format="%+.4f"),
                "low": NUMBER("Low", format="%+.4f"), "high": NUMBER("High", format="%+.4f"), "p_holm": NUMBER("p (Holm)", format="%.3f"),
                "low_seeds": NUMBER("Low, seeds redrawn", format="%+.4f"), "high_seeds": NUMBER("High, seeds redrawn", format="%+.4f"),
                "p_seeds_holm": NUMBER("p, seeds redrawn (Holm)", format="%.3f"), "n_seeds": "Seeds", "n": NUMBER("Queries", format="localized"),
            },
        )  # fmt: skip
    table(
        rows.assign(name=rows["method"].map(rankers.method_name)), title="The whole ladder", key="whole-ladder", define="methods", height=420,
        show=["name", "what", "segment", "value", "low", "high", "seed_sd", "n_seeds", "n"],
        columns={
            "name": st.column_config.TextColumn("Method", width="medium"), "what": st.column_config.TextColumn("Measure", width="large"), "segment": "Queries",
            "value": NUMBER("Value", format="%.4f"), "low": NUMBER("Low", format="%.4f"), "high": NUMBER("High", format="%.4f"),
            "seed_sd": NUMBER("Between seeds (sd)", format="%.4f"), "n_seeds": "Seeds", "n": NUMBER("Queries", format="localized"),
        },
    )  # fmt: skip


def _what(row: dict[Hashable, Any]) -> str:
    """What a row of the ladder measures, in words."""
    name, level = str(row["measure"]), row["level"]
    where = f", level {int(level)}" if pd.notna(level) else ""
    if name == "auc_lift":
        said = f"Change of AUC against “{rankers.ranker_name(row['baseline'])}”"
    elif name in OTHER_MEASURES:
        said = OTHER_MEASURES[name]
    elif name in text.METRIC_NAMES:
        said = text.METRIC_NAMES[name]
    elif "hit@" in name:
        return measure_name("ranking", f"{name}.level_{int(level)}" if pd.notna(level) else name)
    else:
        known = known_as(name)
        said = known[0] if known else name.replace("_", " ")
    who = ""
    if isinstance(row["ranker"], str):
        who = "Served: " if row["served"] else f"{rankers.ranker_name(row['ranker'])}: "
    return f"{who}{said}{where}"


def first_sentence(rows: pd.DataFrame) -> str:
    """How many of the comparisons are clear, seeds redrawn where there are several."""
    p = rows["p_seeds_holm"].fillna(rows["p_holm"])
    clear = int((p < 0.05).sum())
    return (
        f"{clear:,} of {text.plural(len(rows), 'comparison', 'comparisons')} of two methods {'is' if clear == 1 else 'are'} clear "
        "(p below 0.05 after Holm's correction for all of them)."
    )
