"""Do SIDs help: the metrics with and without, beside what the same ideas give without SIDs, and what shuffled SIDs give."""

from __future__ import annotations

from collections.abc import Hashable

import pandas as pd
import streamlit as st

from app import rankers, text
from app.components.links import link
from app.components.metric import metric_card
from app.components.states import defined, lacks, unfilled
from app.fetch import current, fetch
from app.queries import benefit as queries
from app.queries import overview
from app.text import escape
from app.worth import Row, change, in_short, simulated

HEADLINE = ("ndcg@10", "auc")


def benefit() -> None:
    """In short; the two metrics; what clicks would do in a simulation; a warning where the ranker is not above raw cosine."""
    rows = fetch(overview.headline, current().run_id)
    whole = {row["metric"]: row for row in rows[rows["segment"] == "all"].to_dict("records")}
    shown = [m for m in HEADLINE if m in whole]
    if not shown and lacks("judgments"):
        inventory()
        return
    if not shown:
        unfilled(
            "This run holds no comparison with and without SIDs: no judged test queries.",
            needs=("scores with SIDs", "scores without SIDs"),
        )
        alone()
        return
    worth = fetch(queries.worth, current().run_id)
    if said := in_short(worth[worth["metric"] == shown[0]], shown[0]):
        st.markdown(f"**{escape(said)}**")
    with st.grid(2, min_column_width=430, gap="medium"):
        for metric in shown:
            with st.container(border=True, gap="xsmall"):
                _metric(whole[metric], worth[worth["metric"] == metric], metric)
    _simulated()
    _simplest()


def _metric(row: Row, worth: pd.DataFrame, metric: str) -> None:
    name = text.METRIC_NAMES[metric]
    small = row["n"] < text.LEAST_QUERIES
    said = f"{text.evidence(row['low'], row['high'])} (paired by query, {text.p_value(row['p_value'])})"
    st.markdown(f"**{escape(name)}**: {escape(text.TOO_SMALL if small else said)}.", help=defined(metric))
    with st.grid(3, min_column_width=120, gap="small"):
        for label, side, form in (
            ("with SIDs", "with_", "number"),
            ("without SIDs", "without_", "number"),
            ("difference", "", "points"),
        ):
            with st.container(gap="xxsmall"):
                metric_card(
                    label, row[f"{side}value" if side else "difference"], low=row[f"{side}low"], high=row[f"{side}high"],
                    n=row["n"], form=form, define="lift" if side != "with_" else metric,
                )  # fmt: skip
    for role, line in beside(worth).items():
        st.markdown(line, help=defined(role))


def beside(worth: pd.DataFrame) -> dict[str, str]:
    """What the same ideas give without SIDs, and what shuffled SIDs give: a line of Markdown each, by definition."""
    rows: dict[Hashable, Row] = {row["role"]: row for row in worth.to_dict("records") if row["n"] >= text.LEAST_QUERIES}
    lines = {}
    if "twin" in rows:
        said = "the same ideas without SIDs (dense twins)"
        if "beyond" in rows:
            seen = text.evidence(rows["beyond"]["low"], rows["beyond"]["high"])
            said += f"; SIDs beyond them {change(rows['beyond'])}, {seen}"
        lines["twin"] = f"**{escape(change(rows['twin']))}** {escape(said)}."
    if "placebo" in rows:
        seen = text.evidence(rows["placebo"]["low"], rows["placebo"]["high"])
        said = f"shuffled SIDs (placebo), which must give nothing: {seen}"
        lines["placebo"] = f"**{escape(change(rows['placebo']))}** {escape(said)}."
    return lines


def _simulated() -> None:
    """The simulated online effect in one line."""
    said = simulated(fetch(queries.simulated, current().run_id))
    if not said:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(
            f":material/science: **Simulated, not measured:** {escape(said)}.", help=defined("online"), width="content"
        )
        link("sellers", "The simulation")


def inventory() -> None:
    """What there is where nothing is ranked."""
    counts = fetch(overview.inventory, current().run_id)
    cards = (
        ("Items with a SID", "items", "sid"),
        ("Distinct SIDs", "sids", "unique_share"),
        ("Queries with guesses (beams)", "asked", "beam"),
    )
    with st.grid(3, min_column_width=200):
        for label, name, define in cards:
            metric_card(label, counts[name], form="count", define=define)


def _simplest() -> None:
    """A warning where training has not shown that it beats the cosine, which needs none."""
    rows = fetch(overview.against_cosine, current().run_id)
    rows = rows[rows["n"] >= text.LEAST_QUERIES]
    for row in rows[~(rows["low"] > 0)].to_dict("records"):
        said = text.not_above_cosine(row, rankers.ranker_name(str(row["ranker"])))
        if row["served"]:
            st.warning(escape(said), icon=":material/warning:")
        else:
            st.caption(f":material/warning: {escape(said)}")


def alone() -> None:
    """The metrics of scores that were imported without any to compare them with."""
    steps = {m: fetch(overview.ladder, current().run_id, m, "all") for m in HEADLINE}
    with st.grid(2, min_column_width=260):
        for metric, rows in steps.items():
            if len(rows) != 1:
                continue
            row = rows.iloc[0]
            with st.container(gap="xxsmall"):
                metric_card(
                    f"{text.METRIC_NAMES[metric]}, with SIDs", row["value"], low=row["low"], high=row["high"], n=row["n"],
                    define=metric,
                )  # fmt: skip
