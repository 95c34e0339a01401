"""What mainly decides a ranking: mean contributions of the shown results of a group, in plain words and as a table."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import text
from app.components.figure import table
from app.components.links import address
from app.components.states import bad_parameter, imported, nothing
from app.fetch import current, fetch
from app.queries import sellers as queries
from app.queries import snapshot
from app.rankers import unit

COHORTS = {
    "all": "All results", "moved": "Moved by SIDs", "department": "Department", "category": "Category", "tier": "Tier",
    "seller": "Seller",
}  # fmt: skip
LARGE = 0.05
"""A feature below this share of what decides is not named in the sentence."""


def summary() -> str | None:
    """The sentence over all shown results; None where it is not known."""
    rows = fetch(queries.drivers, current().run_id, "all", "all")
    return None if rows.empty else sentence(rows, "all")


def sentence(rows: pd.DataFrame, cohort: str, value: str = "all") -> str:
    """What decides the order of one group's results, largest first: plain text from the rows of one cohort."""
    kinds = rows.assign(kind=[_kind(f) for f in rows["feature"]]).groupby("kind")
    share = kinds["share"].sum().sort_values(ascending=False, kind="stable")
    named = [f"{kind} ({100 * part:.0f} %)" for kind, part in share.items() if part >= LARGE]
    where = {"all": "any result", "moved": f"results that SIDs {_MOVED.get(value, value)}"}.get(
        cohort, f"results of {value}"
    )
    signals = rows[rows["feature"].str.startswith("sid_")].assign(
        kind=lambda r: [text.feature_name(f"sid.{s}" if s else f) for f, s in (_split(f) for f in r["feature"])]
    )
    said = f"What decides the place of {where}, by size of what it adds or takes: {text.listed(named)}."
    if len(signals):
        largest = str(signals.groupby("kind")["share"].sum().idxmax()).removeprefix("SID: ")
        said += f" The largest signal of semantic identifiers: {largest[:1].lower()}{largest[1:]}."
    return said


_MOVED = {"gained": "moved up", "lost": "moved down", "unmoved": "left in place"}


def _split(feature: str) -> tuple[str, str]:
    head, _, signal = feature.partition(".")
    return head, signal


def _kind(feature: str) -> str:
    """A feature in a sentence: all of SIDs are one."""
    if feature.startswith("sid_"):
        return "semantic identifiers"
    name = text.FEATURE_NAMES.get(feature, feature)
    return name[:1].lower() + name[1:]


def drivers() -> None:
    """A group, its sentence and its table."""
    known = fetch(queries.driver_cohorts, current().run_id)
    if known.empty:
        nothing(
            "What decides a ranking is told by the contributions of the ranker, which "
            + ("an imported run does not have." if imported() else "this run does not hold.")
        )
        return
    cohorts = [name for name in COHORTS if name in set(known["cohort"])]
    asked = st.query_params.get("cohort")
    if asked and asked not in cohorts:
        bad_parameter("cohort", asked, f"Shown instead: {COHORTS[cohorts[0]]}.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        cohort = st.segmented_control(
            "Of", cohorts, default=cohorts[0], required=True, format_func=COHORTS.__getitem__, key="cohort", bind="query-params"
        )  # fmt: skip
        cohort = cohort or cohorts[0]
        values = known.loc[known["cohort"] == cohort, "value"].tolist()
        value = values[0]
        if len(values) > 1:
            value = st.selectbox(
                "Which", values, key=f"driver-{cohort}", format_func=lambda v: _MOVED.get(v, v) if cohort == "moved" else v
            )  # fmt: skip
    rows = fetch(queries.drivers, current().run_id, cohort, value)
    n = int(rows["n_queries"].iloc[0])
    if n < text.LEAST_QUERIES:
        nothing(f"{text.TOO_SMALL}: it stands among the first results of {text.plural(n, 'query', 'queries')} only.")
        return
    st.markdown(text.escape(sentence(rows, cohort, value)))
    run = fetch(snapshot.run, current().run_id)
    in_units = unit(run.ranker).column
    table(
        rows.assign(name=rows["feature"].map(text.feature_name)),
        title="What decides the order",
        key="drivers",
        define="drivers",
        filters={"cohort": cohort, "value": value},
        n=f"{int(rows['n_pairs'].iloc[0]):,} results of {n:,} queries, all in the explained places",
        show=["name", "share", "mean", "mean_absolute"],
        columns={
            "name": st.column_config.TextColumn("Feature", width=240),
            "mean": st.column_config.NumberColumn(f"Mean, {in_units}", format="%+.4f"),
            "mean_absolute": st.column_config.NumberColumn(f"Mean size, {in_units}", format="%.4f"),
        },
        percent={"share": "Share"},
        height=420,
    )
    if cohort == "category":
        st.caption(f"[Coverage of this category]({address('coverage', {'category': value})})")
