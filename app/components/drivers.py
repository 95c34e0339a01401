"""What mainly decides a ranking: mean contributions of the shown results of a group, in plain words and as a table."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import text
from app.charts import exposure as charts
from app.components.figure import figure, table
from app.components.links import address, choose
from app.components.states import bad_parameter, imported, nothing
from app.fetch import current, fetch
from app.queries import sellers as queries
from app.queries import snapshot
from app.rankers import unit

COHORTS = ("all", "moved", "department", "category", "tier", "seller")
"""Groups as the control and the address name them."""
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


_PARAMETERS = {
    "sid": "whether the item is of the very kind that the query asks for, by its semantic identifier (a code learnt from its text, "
    "picture and category) and by what was chosen for like queries",
    "qs": "how much of the query's words, numbers and models the item's text holds",
    "dm": "how near the meaning of the item's text is to that of the query",
    "mm_dm": "how well the item's picture fits the query",
    "mm_missing": "whether the item has a picture",
    "ct": "whether the item's category is the one that the query asks for",
    "own": "what past searches tell of this very item",
}


def disclosure(rows: pd.DataFrame, cohort: str, value: str = "all") -> str:
    """The main parameters and their relative importance as plain text to copy: what Article 5 of Regulation (EU) 2019/1150 asks for."""
    player = ["sid" if f.startswith("sid_") else f for f in rows["feature"]]
    share = rows.assign(player=player).groupby("player")["share"].sum().sort_values(ascending=False, kind="stable")
    named = share[share >= LARGE]
    lines = [
        f"{place}. {text.sentence(_PARAMETERS.get(str(p), _kind(str(p))))}: {100 * part:.0f} %."
        for place, (p, part) in enumerate(named.items(), 1)
    ]
    rest = float(share[share < LARGE].sum())
    if rest:
        lines.append(f"Other parameters together: {100 * rest:.0f} %.")
    n, m = int(rows["n_pairs"].iloc[0]), int(rows["n_queries"].iloc[0])
    return (
        f"Main parameters that determine the ranking of {_where(cohort, value)}, and their relative importance:\n"
        + "\n".join(lines)
        + f"\nImportance is the mean size of each parameter's exact contribution to the score, over {n:,} results shown for "
        f"{m:,} queries, each query as often as it is asked."
    )


def _where(cohort: str, value: str) -> str:
    names = {"all": "search results", "moved": f"results that semantic identifiers {_MOVED.get(value, value)}"}
    return names.get(cohort, f"results of {text.shortened(value, 120)}")


def drivers() -> None:
    """A group, its sentence, its bars, its text to copy and its table."""
    known = fetch(queries.driver_cohorts, current().run_id)
    if known.empty:
        nothing(
            "What decides a ranking is told by the contributions of the ranker, which "
            + ("an imported run does not have." if imported() else "this run does not hold.")
        )
        return
    cohort, value = _choice(known)
    rows = fetch(queries.drivers, current().run_id, cohort, value)
    n = int(rows["n_queries"].iloc[0])
    if n < text.LEAST_QUERIES:
        nothing(
            f"{text.sentence(text.TOO_SMALL)}: it stands among the first results of {text.plural(n, 'query', 'queries')} only."
        )
        return
    st.markdown(text.escape(sentence(rows, cohort, value)))
    filters = {"cohort": cohort, "value": value}
    counted = f"{int(rows['n_pairs'].iloc[0]):,} results of {n:,} queries, all in the explained places"
    bars = _beside(known, cohort, value)
    figure(
        charts.drivers(bars), title="What decides the order, by size", key="driver-bars", define="drivers", filters=filters,
        data=bars, n=f"{text.sentence(_name(cohort, value))}: {counted}", alt=sentence(rows, cohort, value),
    )  # fmt: skip
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**To copy**, for the disclosure that Article 5 of Regulation (EU) 2019/1150 asks of marketplaces")
        st.code(disclosure(rows, cohort, value), language=None, wrap_lines=True)
    with right:
        _table(rows, filters, counted)
    if cohort == "category":
        st.caption(f"[Coverage of this category]({address('coverage', {'category': value})})")


def _choice(known: pd.DataFrame) -> tuple[str, str]:
    """The group that is asked about."""
    cohorts = [name for name in COHORTS if name in set(known["cohort"])]
    asked = st.query_params.get("cohort")
    if asked and asked not in cohorts:
        bad_parameter("cohort", asked, f"Shown instead: {cohorts[0]}.")
        st.session_state["cohort"] = cohorts[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        cohort = st.segmented_control(
            "Of", cohorts, default=cohorts[0], required=True, key="cohort", bind="query-params",
            on_change=choose, args=("driver", None), width="content",
        )  # fmt: skip
        cohort = cohort or cohorts[0]
        values = known.loc[known["cohort"] == cohort, "value"].tolist()
        if len(values) == 1:
            return cohort, values[0]
        named = st.session_state.get("driver") or st.query_params.get("driver")
        if named and named not in values:
            st.session_state["driver"] = values[0]
        value = st.selectbox("Which", values, key="driver", bind="query-params", width=320)
    if named and named not in values:
        bad_parameter("driver", str(named), f"Shown instead: {text.escape(values[0])}.", near=values)
    return cohort, value or values[0]


def _name(cohort: str, value: str) -> str:
    names = {"all": "all results", "moved": _MOVED_NAMES.get(value, value), "tier": f"{value} categories"}
    return names.get(cohort, value)


_MOVED_NAMES = {"gained": "moved up by SIDs", "lost": "moved down by SIDs", "unmoved": "left in place"}


def _beside(known: pd.DataFrame, cohort: str, value: str) -> pd.DataFrame:
    """The shares of the group, of its few siblings, and of all results (beside these, of the tiers): group, part, share; features of a SID level are one part."""
    values = known.loc[known["cohort"] == cohort, "value"].tolist()
    groups = [(cohort, v) for v in (values if len(values) <= SIBLINGS else [value])]
    if cohort == "all":
        groups += [("tier", v) for v in TIERS if ((known["cohort"] == "tier") & (known["value"] == v)).any()]
    else:
        groups.append(("all", "all"))
    parts = []
    for kind, one in groups:
        rows = fetch(queries.drivers, current().run_id, kind, one)
        part = [
            text.feature_name(_split(f)[0]) if f.startswith("sid_") else text.FEATURE_NAMES.get(f, f)
            for f in rows["feature"]
        ]
        share = rows.assign(part=part).groupby("part", as_index=False)["share"].sum()
        parts.append(share.assign(group=_name(kind, one)))
    return pd.concat(parts, ignore_index=True)[["group", "part", "share"]]


TIERS = ("head", "torso", "tail")
SIBLINGS = 4
"""Groups of a kind drawn together; of more, the chosen one alone beside all results."""


def _table(rows: pd.DataFrame, filters: dict[str, str], counted: str) -> None:
    in_units = unit(fetch(snapshot.run, current().run_id).ranker).column
    table(
        rows.assign(name=rows["feature"].map(text.feature_name)),
        title="What decides the order",
        key="drivers",
        define="drivers",
        filters=filters,
        n=counted,
        show=["name", "share", "mean", "mean_absolute"],
        columns={
            "name": st.column_config.TextColumn("Feature", width=240),
            "mean": st.column_config.NumberColumn(f"Mean, {in_units}", format="%+.4f"),
            "mean_absolute": st.column_config.NumberColumn(f"Mean size, {in_units}", format="%.4f"),
        },
        percent={"share": "Share"},
        height=320,
    )
