"""Sellers & categories: who is seen more and who less when SIDs are used, how sure that is, and what caused it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from app import text
from app.charts import exposure as charts
from app.charts.waterfall import arrow
from app.components import drivers
from app.components.causes import causes
from app.components.figure import chosen_point, chosen_row, figure, table
from app.components.links import button, choose, link
from app.components.metric import metric_card
from app.components.online import online
from app.components.states import bad_parameter, has_run, header, lacks, nothing, panel, unfilled
from app.fetch import current, fetch
from app.queries import sellers as queries

SIDE = 12  # gains and losses drawn; the table has all values
CLEAR = 0.05
DUE = {"judged merit": "merit", "catalogue share": "catalogue_share"}


def verdict(row: Mapping[Any, Any]) -> str:
    """A change in words: its direction, and whether it is more than chance."""
    if not row["effective_n"] >= text.LEAST_QUERIES:
        return text.TOO_SMALL
    sign = f"{arrow(row['difference'])} {'gains' if row['difference'] > 0 else 'loses'}"
    if row["difference"] == 0:
        return "= unchanged"
    return f"{sign}, clear" if row["q_value"] < CLEAR else f"{sign}, could be chance"


def prepared(rows: pd.DataFrame) -> pd.DataFrame:
    """Exposure rows with verdict, ratios and percentages; a ratio that rests on too little is left out."""
    rows = rows.copy()
    rows["verdict"] = [verdict(row) for row in rows.to_dict("records")]
    rows["sure"] = rows["verdict"].str.endswith("clear")
    enough = rows["n_merit_pairs"].fillna(0) >= text.LEAST_QUERIES
    rows["per_merit"] = (rows["share"] / rows["merit"]).where(enough & (rows["merit"] > 0))
    rows["per_catalogue"] = (rows["share"] / rows["catalogue_share"]).where(rows["catalogue_share"] > 0)
    rows["revenue_difference"] = rows["revenue_share"] - rows["revenue_share_without"]
    small = ~(rows["effective_n"] >= text.LEAST_QUERIES)
    rows.loc[small, ["low", "high", "p_value", "q_value"]] = float("nan")
    for name in ("share", "share_without", "difference", "low", "high", "revenue_share", "revenue_difference"):
        rows[f"{name}_pct"] = 100 * rows[name].astype(float)
    return rows


def concentration(dimension: str, discount: str) -> None:
    """HHI, Gini and top share with and without SIDs."""
    rows = fetch(queries.concentration, current().run_id, discount, dimension)
    if rows.empty:
        st.caption(
            f"Concentration is not measured for {text.DIMENSION_NAMES[dimension].lower()}: there are too few of them."
        )
        return
    n = fetch(queries.n_queries, current().run_id)
    for place, row in zip(st.columns(len(rows)), rows.to_dict("records"), strict=True):
        with place:
            word = (
                "more concentrated" if row["low"] > 0 else "less concentrated" if row["high"] < 0 else "no clear change"
            )
            change = (
                f"{arrow(row['difference'])} {row['difference']:+.4f} {text.interval(row['low'], row['high'], 'fine')}"
            )
            metric_card(
                f"{text.METRIC_NAMES.get(row['metric'], row['metric'])} with SIDs",
                row["value"],
                n=n,
                form="fine",
                define=row["metric"],
                note=f"{text.number(row['value_without'], 'fine')} without: {change}, {word}",
            )


def gains_and_losses(rows: pd.DataFrame, dimension: str, discount: str) -> None:
    """The diverging chart of the largest changes."""
    enough = rows[rows["effective_n"] >= text.LEAST_QUERIES]
    drawn = pd.concat([enough.nlargest(SIDE, "difference"), enough.nsmallest(SIDE, "difference")]).drop_duplicates(
        "value"
    )
    if drawn.empty:
        nothing(f"No value of this dimension rests on {text.LEAST_QUERIES} queries or more, so no change can be shown.")
        return
    best, worst = drawn.iloc[drawn["difference"].argmax()], drawn.iloc[drawn["difference"].argmin()]
    small = len(rows) - len(enough)

    def take() -> None:
        point = chosen_point("changes")
        if point:
            choose("value", str(point[0] if isinstance(point, list) else point))

    figure(
        charts.diverging(drawn),
        title="Gains and losses",
        key="changes",
        data=rows,
        n=f"{len(drawn)} of {len(rows)} {text.DIMENSION_NAMES[dimension].lower()}, the largest changes; "
        f"{small} more: n too small",
        alt=f"{best['value']} changes by {best['difference_pct']:+.3f} pp, {worst['value']} by {worst['difference_pct']:+.3f} pp",
        define="exposure_change",
        filters={"dimension": dimension, "discount": discount},
        on_select=take,
        subtitle="Filled: clear after the correction for many comparisons. Hollow: could be chance. Click a bar for its causes.",
    )


def everyone(rows: pd.DataFrame, dimension: str, discount: str) -> None:
    """Every value, with intervals, q values and ratios."""

    def take() -> None:
        row = chosen_row("exposure", rows)
        if row is not None:
            choose("value", str(row["value"]))

    number = st.column_config.NumberColumn
    table(
        rows,
        title=f"All {text.DIMENSION_NAMES[dimension].lower()}",
        key="exposure",
        define="exposure_change",
        filters={"dimension": dimension, "discount": discount},
        show=["value", "verdict", "difference_pct", "low_pct", "high_pct", "q_value", "share_without_pct", "share_pct",
              "per_merit", "per_catalogue", "revenue_share_pct", "revenue_difference_pct", "n_items", "n_merit_pairs",
              "n_queries", "effective_n"],
        columns={
            "value": st.column_config.TextColumn("Name", width=270 if dimension == "category" else 170),
            "verdict": st.column_config.TextColumn("In words", width=160, help=text.DEFINITIONS["q_value"]),
            "difference_pct": number("Change, pp", format="%+.3f"),
            "low_pct": number("95 % from, pp", format="%+.3f"),
            "high_pct": number("to, pp", format="%+.3f"),
            "q_value": number("q value", format="%.3f", help=text.DEFINITIONS["q_value"]),
            "share_without_pct": number("Without SIDs, %", format="%.2f"),
            "share_pct": number("with SIDs, %", format="%.2f"),
            "per_merit": number("Exposure / merit", format="%.2f", help=text.DEFINITIONS["merit"] + " Empty: n too small."),
            "per_catalogue": number("Exposure / catalogue share", format="%.2f", help=text.DEFINITIONS["catalogue"]),
            "revenue_share_pct": number("Revenue proxy, %", format="%.2f", help=text.DEFINITIONS["revenue"]),
            "revenue_difference_pct": number("its change, pp", format="%+.3f", help=text.DEFINITIONS["revenue"]),
            "n_items": number("Items", format="localized"),
            "n_merit_pairs": number("Judged pairs", format="localized"),
            "n_queries": number("Queries", format="localized"),
            "effective_n": number("Effective n", format="%.0f", help=text.DEFINITIONS["effective_n"]),
        },
        height=420,
        on_select=take,
    )  # fmt: skip
    st.caption("Choose a row for the queries and codes behind its change.")


def against_due(rows: pd.DataFrame, dimension: str, discount: str) -> None:
    """Exposure against merit or catalogue share."""
    names = list(DUE)
    name = st.segmented_control(
        "Exposure against", names, default=names[0], required=True, key="due", bind="query-params"
    )
    name = name or names[0]
    due = DUE[name]
    shown = rows[rows["n_merit_pairs"].fillna(0) >= text.LEAST_QUERIES] if due == "merit" else rows
    if shown.empty:
        nothing(
            f"None has {text.LEAST_QUERIES} judged pairs or more: n too small for merit.",
            remedy="Choose catalogue share.",
        )
        return
    over = int((shown["share"] > shown[due]).sum())
    pairs = f", {int(shown['n_merit_pairs'].sum()):,} judged pairs" if due == "merit" else ""
    figure(
        charts.against(shown, due, name),
        title="Is exposure deserved?",
        key="due-chart",
        data=shown,
        n=f"{len(shown)} of {len(rows)} {text.DIMENSION_NAMES[dimension].lower()}{pairs}",
        alt=f"{over} of {len(shown)} get more exposure than their {name}",
        define="merit" if due == "merit" else "catalogue",
        filters={"dimension": dimension, "discount": discount, "against": due},
        subtitle="On the dotted line exposure equals what is due; above it there is more.",
    )


def chosen_value(rows: pd.DataFrame, dimension: str, discount: str, value: str) -> None:
    """One seller, category or band: its numbers and the causes of its change."""
    row = rows[rows["value"] == value].iloc[0]
    st.subheader(text.escape(value), anchor=False)
    button("Close", "value", "", id="close-value", icon=":material/close:")
    first, second, third = st.columns(3)
    n = row["effective_n"]
    with first:
        metric_card(
            "Change of exposure", row["difference"], low=row["low"], high=row["high"], n=n, unit="queries (effective)",
            form="share_points", define="exposure_change",
            note=f"over this log exactly {text.number(row['difference'], 'share_points')}; {row['verdict']}; "
            f"q = {text.number(row['q_value'])}",
        )  # fmt: skip
    with second:
        metric_card(
            "Share with SIDs", row["share"], form="share", define="exposure",
            note=f"{text.number(row['share_without'], 'share')} without; {text.plural(row['n_items'], 'item', 'items')}",
        )  # fmt: skip
    with third:
        metric_card(
            "Exposure / merit", row["per_merit"], n=row["n_merit_pairs"], unit="judged pairs", define="merit",
            note=f"{text.number(row['per_catalogue'])} × its catalogue share",
        )  # fmt: skip
    if dimension == "category" and value:
        link("coverage", "Coverage of this category", {"category": value})
    causes(dimension, value, discount, float(row["difference"]))


header(
    "Sellers & categories", "Who is seen more and who less when SIDs are used, how sure is that, and what caused it?"
)
if has_run():
    if lacks("judgments"):
        unfilled("Nothing is ranked.", needs=("judgments",))
        st.stop()
    found = fetch(queries.choices, current().run_id)
    if found.empty:
        unfilled(
            "This run holds no exposure audit: nothing was retrieved for a query with traffic.",
            needs=("scores with SIDs", "scores without SIDs"),
        )
    else:
        # The address bar holds what the control shows, so the names are plain words.
        dimensions = [d.replace("_", " ") for d in queries.DIMENSIONS if d in set(found["dimension"])]
        discounts = [d for d in queries.DISCOUNTS if d in set(found["discount"])]
        for name, allowed in (("dimension", dimensions), ("discount", discounts), ("due", list(DUE))):
            asked = st.query_params.get(name)
            if asked and asked not in allowed:
                bad_parameter(name, asked, f"Shown instead: {allowed[0]}.")
        with st.container(horizontal=True, vertical_alignment="bottom"):
            dimension = st.segmented_control(
                "Who", dimensions, default=dimensions[0], required=True,
                key="dimension", bind="query-params", on_change=choose, args=("value", ""),
            )  # fmt: skip
            discount = st.segmented_control(
                "A place counts by", discounts, default=discounts[0], required=True, key="discount", bind="query-params",
                help=text.DEFINITIONS["discount"],
            )  # fmt: skip
            value = st.text_input("Name", key="value", bind="query-params", placeholder="as in the table").strip()
        dimension, discount = (dimension or dimensions[0]).replace(" ", "_"), discount or discounts[0]
        rows = prepared(fetch(queries.exposure, current().run_id, discount, dimension))
        if value and value not in set(rows["value"]):
            bad_parameter("value", value, f"Choose one of {text.DIMENSION_NAMES[dimension].lower()} below.")
            value = ""
        if value:
            with panel("Causes", height=400):
                chosen_value(rows, dimension, discount, value)
        with panel("Concentration"):
            st.subheader("How unevenly exposure is spread", anchor=False, help=text.DEFINITIONS["concentration"])
            concentration(dimension, discount)
        with panel("Gains and losses", height=420):
            gains_and_losses(rows, dimension, discount)
        with panel("All values", height=420):
            everyone(rows, dimension, discount)
        with panel("Exposure against what is due", height=380):
            against_due(rows, dimension, discount)
    st.header("What mainly decides a ranking", anchor=False, help=text.DEFINITIONS["drivers"])
    with panel("What mainly decides a ranking", height=420):
        drivers.drivers()
    st.header("Simulated online effect", anchor=False, help=text.DEFINITIONS["online"])
    with panel("Simulated online effect", height=420):
        online()
