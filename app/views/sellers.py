"""Sellers & categories: who is seen more and who less when SIDs are used, how sure that is, and what caused it."""

import pandas as pd
import streamlit as st

from app import one_page, text
from app.charts import exposure as charts
from app.charts.waterfall import arrow
from app.components import beside, drivers, notes
from app.components import one_page as answer
from app.components.causes import causes
from app.components.figure import chosen_point, figure, table
from app.components.links import choose, link, steps
from app.components.metric import metric_card
from app.components.online import online
from app.components.states import bad_parameter, has_run, header, lacks, nothing, panel, unfilled
from app.exposure import found, plural_name, prepared, resolved
from app.fetch import current, fetch
from app.queries import sellers as queries

SIDE = 8  # gains and losses drawn; the table has all values
OTHER = "other"
DUE = {"judged merit": "merit", "catalogue share": "catalogue_share"}


def concentration(dimension: str, discount: str) -> None:
    """HHI, Gini and top share with and without SIDs."""
    rows = fetch(queries.concentration, current().run_id, discount, dimension)
    if rows.empty:
        st.caption(
            f"Concentration is measured for sellers, categories and brands, not for {text.escape(plural_name(dimension))}."
        )
        return
    n = fetch(queries.n_queries, current().run_id)
    with st.grid(len(rows), min_column_width=150):
        for row in rows.to_dict("records"):
            # A share is told in % and its change in pp; the others are indices without a unit.
            form, step = ("share", "share_points") if row["metric"] == "top10_share" else ("fine", "signed")
            word = (
                "more concentrated" if row["low"] > 0 else "less concentrated" if row["high"] < 0 else "no clear change"
            )
            with st.container(gap="xxsmall"):
                metric_card(
                    f"{text.METRIC_NAMES.get(row['metric'], row['metric'])} with SIDs", row["value"], n=n, form=form, define=row["metric"],
                    note=f"{text.number(row['value_without'], form)} without: {arrow(row['difference'])} {text.number(row['difference'], step)} "
                    f"{text.interval(row['low'], row['high'], step)}, {word}",
                )  # fmt: skip


def gains_and_losses(rows: pd.DataFrame, dimension: str, discount: str) -> None:
    """The diverging chart of the largest changes."""
    enough = rows[rows["verdict"] != text.TOO_SMALL]
    drawn = pd.concat([enough.nlargest(SIDE, "difference"), enough.nsmallest(SIDE, "difference")]).drop_duplicates(
        "value"
    )
    if drawn.empty:
        nothing(
            f"None rests on queries worth {text.LEAST_QUERIES} equally frequent ones or more, so no change can be shown."
        )
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
        n=f"{len(drawn)} of {len(rows)} {plural_name(dimension)}, the largest changes"
        + (f"; for {small} n is too small" if small else ""),
        alt=f"{best['value']} changes by {best['difference_pct']:+.3f} pp, {worst['value']} by {worst['difference_pct']:+.3f} pp",
        define="exposure_change",
        filters={"dimension": dimension, "discount": discount},
        on_select=take,
        opens="value",
        subtitle="Filled: clear after the correction for many comparisons. Hollow: could be chance. Click a bar for its causes.",
    )


def everyone(rows: pd.DataFrame, dimension: str, discount: str) -> None:
    """Every value, with intervals, q values and ratios; a row opens its answer beside it."""
    number, words = st.column_config.NumberColumn, st.column_config.TextColumn
    table(
        rows,
        title=f"All {plural_name(dimension)}",
        key="exposure",
        define="exposure_change",
        filters={"dimension": dimension, "discount": discount},
        chooses=("value", "value"),
        show=["value", "difference_pct", "in_words", "relative_pct", "low_pct", "high_pct", "q_value", "share_without_pct", "share_pct",
              "per_merit", "per_catalogue", "revenue_share_pct", "revenue_difference_pct", "n_items", "n_merit_pairs",
              "n_queries", "effective_n"],
        columns={
            "value": words("Name", width=150, pinned=True),
            "difference_pct": number("Change, pp", format="%+.3f", width=85),
            "in_words": words("In words", width=175, help=text.DEFINITIONS["q_value"]),
            "relative_pct": number("Change, % of what it had", format="%+.1f", width=155),
            "low_pct": number("95 % from, pp", format="%+.3f", width=100),
            "high_pct": number("to, pp", format="%+.3f", width=75),
            "q_value": number("q value", format="%.3f", width=70, help=text.DEFINITIONS["q_value"]),
            "share_without_pct": number("Without SIDs, %", format="%.2f", width=110),
            "share_pct": number("With SIDs, %", format="%.2f", width=95),
            "per_merit": number("Exposure / merit", format="%.2f", width=115, help=text.DEFINITIONS["merit"] + " Empty: n too small."),
            "per_catalogue": number("Exposure / catalogue share", format="%.2f", width=175, help=text.DEFINITIONS["catalogue"]),
            "revenue_share_pct": number("Revenue proxy, %", format="%.2f", width=120, help=text.DEFINITIONS["revenue"]),
            "revenue_difference_pct": number("its change, pp", format="%+.3f", width=100, help=text.DEFINITIONS["revenue"]),
            "n_items": number("Items", format="localized", width=60),
            "n_merit_pairs": number("Judged pairs", format="localized", width=95),
            "n_queries": number("Queries", format="localized", width=70),
            "effective_n": number("Effective n", format="%.0f", width=90, help=text.DEFINITIONS["effective_n"]),
        },
        height=560,
    )  # fmt: skip


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
        n=f"{len(shown)} of {len(rows)} {plural_name(dimension)}{pairs}",
        alt=f"{over} of {len(shown)} get more exposure than their {name}",
        define="merit" if due == "merit" else "catalogue",
        filters={"dimension": dimension, "discount": discount, "against": due},
        subtitle="On the dotted line exposure equals what is due; above it there is more.",
    )


def chosen_value(rows: pd.DataFrame, dimension: str, discount: str, value: str) -> None:
    """The one-page answer of one seller, category or band."""
    row = rows[rows["value"] == value].iloc[0]
    steps("value", list(rows["value"]), id="value-steps")
    made = fetch(queries.change, current().run_id, dimension, value, discount)
    page = one_page.collect(fetch, current().run_id, current().snapshot_id, dimension, discount, row)
    answer.draw(page, dimension, discount, one_page.examples(made.items, float(row["difference"])))
    if dimension == "seller":
        notes.notes("seller", value, value)
    if dimension == "category":
        link("coverage", "Coverage of this category", {"category": value})


def who() -> tuple[str, str]:
    """The dimension that is asked about, and what a place counts by."""
    found = fetch(queries.choices, current().run_id)
    # The address bar holds what the control shows, so the names are plain words.
    dimensions = [d.replace("_", " ") for d in queries.DIMENSIONS if d in set(found["dimension"])]
    attributes = fetch(queries.attributes)
    if attributes:
        dimensions.append(OTHER)
    discounts = [d for d in queries.DISCOUNTS if d in set(found["discount"])]
    for name, allowed in (
        ("dimension", dimensions),
        ("discount", discounts),
        ("due", list(DUE)),
        ("attribute", attributes),
    ):
        asked = st.query_params.get(name)
        if asked and asked not in allowed and allowed:
            bad_parameter(name, asked, f"Shown instead: {text.escape(allowed[0])}.")
            st.session_state[name] = allowed[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        dimension = st.segmented_control(
            "Who", dimensions, default=dimensions[0], required=True,
            key="dimension", bind="query-params", on_change=choose, args=("value", ""), width="content",
        )  # fmt: skip
        attribute = ""
        if dimension == OTHER:
            attribute = st.selectbox(
                "Attribute", attributes, key="attribute", bind="query-params", on_change=choose, args=("value", ""), width=200,
                help="Any attribute that the catalogue states for enough items; computed now.",
            )  # fmt: skip
        discount = st.segmented_control(
            "A place counts by", discounts, default=discounts[0], required=True, key="discount", bind="query-params",
            help=text.DEFINITIONS["discount"], width="content",
        )  # fmt: skip
    chosen = (dimension or dimensions[0]).replace(" ", "_")
    return (f"{queries.ATTRIBUTE}{attribute}" if chosen == OTHER else chosen), discount or discounts[0]


def exposure() -> None:
    """Who gains and who loses."""
    dimension, discount = who()
    rows = prepared(found(fetch, current().run_id, dimension, discount))
    names = list(rows["value"])
    if meant := st.session_state.pop("_meant", None):
        st.session_state["value"] = meant
    asked = st.text_input(
        "Find one by its name",
        key="value",
        bind="query-params",
        placeholder=f"one of {len(rows):,} {plural_name(dimension)}",
        width=320,
    ).strip()
    value = resolved(asked, names) if asked else ""
    if value and value != asked:  # as the table writes it: next, previous and the marked row go by that
        st.session_state["_meant"] = value
        st.rerun()
    if asked and not value:
        called = text.DIMENSION_NAME.get(dimension, dimension.removeprefix(queries.ATTRIBUTE)).lower()
        bad_parameter("value", asked, "Choose one in the table below.", near=names, called=called)
    with st.grid(2, min_column_width=320, gap="large"):
        with st.container(), panel("All values", height=480):
            everyone(rows, dimension, discount)
            with panel("Concentration"):
                st.subheader("How unevenly exposure is spread", anchor=False, help=text.DEFINITIONS["concentration"])
                concentration(dimension, discount)
        if value:
            with st.container(), panel("The answer", height=480):
                chosen_value(rows, dimension, discount, value)
        else:
            with st.container(), panel("Gains and losses", height=480):
                gains_and_losses(rows, dimension, discount)
    if value:
        with panel("Causes", height=400):
            st.subheader("What moved its items", anchor=False, help=text.DEFINITIONS["cause"])
            causes(dimension, value, discount, float(rows.loc[rows["value"] == value, "difference"].iloc[0]))
    with panel("Exposure against what is due", height=380):
        against_due(rows, dimension, discount)
    beside.exposure(dimension, discount)


header(
    "Sellers & categories", "Who is seen more and who less when SIDs are used, how sure is that, and what caused it?"
)
if has_run():
    if lacks("judgments"):
        unfilled("Nothing is ranked.", needs=("judgments",))
        st.stop()
    if fetch(queries.choices, current().run_id).empty:
        unfilled(
            "This run holds no exposure audit: nothing was retrieved for a query with traffic.",
            needs=("scores with SIDs", "scores without SIDs"),
        )
    else:
        exposure()
    st.header("What mainly decides a ranking", anchor=False, help=text.DEFINITIONS["drivers"])
    with panel("What mainly decides a ranking", height=420):
        drivers.drivers()
    st.header("Simulated online effect", anchor=False, help=text.DEFINITIONS["online"])
    with panel("Simulated online effect", height=420):
        online()
