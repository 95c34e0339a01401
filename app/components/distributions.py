"""What the catalogue holds: distributions of titles, categories, grades and traffic, and which columns are filled."""

from __future__ import annotations

import streamlit as st

from app import text
from app.charts import data as charts
from app.components.figure import figure, table
from app.components.states import nothing, panel
from app.fetch import fetch
from app.queries import data as queries
from app.queries import snapshot
from app.text import escape

LOG_KINDS = {
    "day": ("Traffic of the log by day", "What the log shows of each day"),
    "position": ("The log by position", "Clicks by the place of a result"),
}
COUNT = st.column_config.NumberColumn


def what_it_holds() -> None:
    """Distributions of items, judgments and traffic, and which columns are filled."""
    st.header("What it holds", anchor=False)
    row = fetch(snapshot.info)
    left, right = st.columns(2, gap="large")
    with left, panel("Title lengths", height=charts.HEIGHT):
        titles()
    with right, panel("Missing values", height=charts.HEIGHT):
        missing()
    left, right = st.columns(2, gap="large")
    with left, panel("Departments", height=charts.HEIGHT):
        departments()
    with right, panel("Category depth", height=charts.HEIGHT):
        depths()
    if fetch(queries.judged).empty:
        nothing("Nobody judged anything in this catalogue: there are no grades to show, and nothing can be measured on them.",
                remedy="Give a judgments file (query, item\\_id, grade); see `data/README.md`.")  # fmt: skip
    else:
        judgments(row)
    queries_and_log()


def titles() -> None:
    """Items by the words of their title."""
    rows = fetch(queries.title_lengths)
    if rows.empty:
        nothing("This catalogue holds no items.")
        return
    total, middle = int(rows["n_items"].sum()), charts.median(rows["words"], rows["n_items"])
    figure(
        charts.lengths(rows, "words", "n_items", title="Words of the title", unit="items"), title="Title lengths", data=rows,
        n=f"{total:,} items, all", define="title_words", key="titles",
        subtitle=f"At least half of all titles have {middle:g} words or fewer; the longest has {int(rows['words'].max()):,}",
        alt=f"Items by the words of their title: from {int(rows['words'].min())} to {int(rows['words'].max())}, median {middle:g}.",
    )  # fmt: skip


def missing() -> None:
    """How much of every optional column is filled."""
    rows = fetch(queries.columns)
    if rows.empty:
        st.subheader("Missing values", anchor=False, help=text.DEFINITIONS["missing"])
        nothing("Which columns are filled is not told in this snapshot.")
        return
    some, none = (rows["missing"] > 0) & (rows["missing"] < 1), rows["missing"] == 1
    # What is filled in part asks for a look; what is empty was not given.
    shown = rows.assign(order=2 * ~(some | none) + none).sort_values(
        ["order", "missing"], ascending=[True, False], kind="stable"
    )
    with st.container(gap="xxsmall"):
        st.subheader("Missing values", anchor=False, help=text.DEFINITIONS["missing"])
        st.caption(f"{int(some.sum()):,} of {len(rows):,} columns filled in part, {int(none.sum()):,} empty")
        table(
            shown.drop(columns="order"), title="Missing values", key="missing", heading=False, define="missing", height=300,
            n=f"{len(rows):,} columns, all rows",
            columns={"table": "Table", "column": "Column", "n_rows": COUNT("Rows", format="localized"),
                     "n_missing": COUNT("Missing", format="localized")},
            show=["table", "column", "missing", "n_missing", "n_rows"], percent={"missing": "Missing"},
        )  # fmt: skip


def departments() -> None:
    """Items by the first part of their category."""
    rows = fetch(queries.departments)
    if rows.empty or rows["department"].isna().all():
        st.subheader("Departments", anchor=False, help=text.DEFINITIONS["department"])
        nothing("No item of this catalogue has a category.")
        return
    named = rows[rows["department"].notna()]
    top = named.iloc[0]
    figure(
        charts.departments(rows), title="Items by department", data=rows, define="department", key="departments",
        subtitle=f"{text.plural(len(named), 'department', 'departments')}; the largest, {top['department']}, holds {text.number(top['share'], 'percent')} of items",
        n=f"{int(rows['n_items'].sum()):,} items, all",
        alt=f"Items by department; {top['department']} is the largest with {text.number(top['share'], 'percent')}.",
    )  # fmt: skip


def depths() -> None:
    """Items by the depth of their category, and how many have none."""
    rows = fetch(queries.depths)
    if rows.empty or (rows["depth"] == 0).all():
        st.subheader("Category depth", anchor=False, help=text.DEFINITIONS["category_depth"])
        nothing("No item of this catalogue has a category: level 1 of SIDs and everything by category rests on none.")
        return
    without = float(rows.loc[rows["depth"] == 0, "share"].sum())
    said = (
        "every item has a category" if without == 0 else f"{text.number(without, 'percent')} of items have no category"
    )
    figure(
        charts.depths(rows), title="Category depth", subtitle=text.sentence(said), data=rows, define="category_depth", key="depths",
        n=f"{int(rows['n_items'].sum()):,} items, all", alt=f"Items by depth of category; {said}.",
    )  # fmt: skip


def judgments(row: dict[str, object]) -> None:
    """Grades with the threshold, judged pairs a query, and who judged what for which use."""
    rows, per_query, mix = fetch(queries.grades), fetch(queries.pairs_per_query), fetch(queries.judged)
    pairs, asked = int(rows["n_pairs"].sum()), int(per_query["n_queries"].sum())
    share = rows["n_relevant"].sum() / pairs
    left, right = st.columns(2, gap="large")
    with left, panel("Grades", height=charts.HEIGHT):
        figure(
            charts.grades(rows, float(str(row["relevant_grade"])), float(str(row["max_grade"]))), title="Grades", data=rows, key="grades",
            define="grade_bars", n=f"{pairs:,} judged pairs, all",
            subtitle=f"{text.number(share, 'percent')} of judged pairs are relevant: grade {row['relevant_grade']:g} or more of {row['max_grade']:g}",
            alt=f"Judged pairs by grade; {text.number(share, 'percent')} are relevant.",
        )  # fmt: skip
    with right, panel("Judged pairs a query", height=charts.HEIGHT):
        middle = charts.median(per_query["n_pairs"], per_query["n_queries"])
        one_sided = int(per_query["n_one_sided"].sum())
        figure(
            charts.lengths(per_query, "n_pairs", "n_queries", title="Judged items of the query", unit="queries"), title="Judged pairs a query",
            data=per_query, key="pairs-per-query", define="pairs_per_query", n=f"{asked:,} judged queries, all",
            subtitle=f"Median {middle:g}; {one_sided:,} of {asked:,} judged queries are one-sided: all relevant, or none",
            alt=f"Judged queries by number of judged items; median {middle:g}.",
        )  # fmt: skip
    with panel("Judgments by source and split"):
        table(
            mix, title="Judgments by source and split", key="judged", define="judged_mix", n=f"{pairs:,} judged pairs, all",
            show=["source", "split", "n_pairs", "n_queries", "n_relevant", "relevant", "mean_raters"],
            columns={
                "source": "Source", "split": "Split", "n_pairs": COUNT("Judged pairs", format="localized"),
                "n_queries": COUNT("Queries", format="localized"), "n_relevant": COUNT("Relevant pairs", format="localized"),
                "mean_raters": COUNT("Raters a pair, mean", format="%.2f"),
            },
            percent={"relevant": "Relevant"},
        )  # fmt: skip


def queries_and_log() -> None:
    """Traffic by tier, how long its tail is, and the log by day and position."""
    tiers, curve = fetch(queries.traffic), fetch(queries.traffic_curve)
    if tiers.empty:
        nothing("No query of this catalogue has traffic: which ones are asked often is not known.",
                remedy="Give a search log (interactions) or a frequency for each query; see `data/README.md`.")  # fmt: skip
    else:
        once, total = int(tiers["n_once"].sum()), int(tiers["n_queries"].sum())
        every = int(fetch(queries.query_sources)["n_queries"].sum())
        of_all = f"{total:,} queries, all" if total == every else f"{total:,} of {every:,} queries, those with traffic"
        left, right = st.columns(2, gap="large")
        with left, panel("Traffic by tier", height=charts.HEIGHT):
            table(
                tiers, title="Traffic by query tier", key="traffic", define=f"{text.DEFINITIONS['traffic']} {text.DEFINITIONS['query_tier']}",
                n=of_all,
                columns={
                    "tier": "Tier", "n_queries": COUNT("Queries", format="localized"), "frequency": COUNT("Traffic", format="localized"),
                    "n_once": COUNT("Asked once", format="localized"), "n_judged": COUNT("Judged", format="localized"),
                },
                percent={"share_of_queries": "Of queries", "share": "Of traffic"},
                show=["tier", "n_queries", "share_of_queries", "share", "n_once", "n_judged", "frequency"],
            )  # fmt: skip
            st.markdown(
                escape(
                    f"{once:,} of {total:,} queries with traffic ({text.number(once / total, 'percent')}) were asked once at most."
                )
            )
            sources()
        with right, panel("Long tail", height=charts.HEIGHT):
            tenth = curve[curve["share_of_queries"] <= 0.1]
            held = float(tenth["share_of_traffic"].max()) if len(tenth) else float("nan")
            said = (
                f"the most frequent tenth of queries holds {text.number(held, 'percent')} of traffic"
                if held == held
                else "fewer than ten queries"
            )
            figure(
                charts.traffic(curve), title="How long the tail is", subtitle=text.sentence(said), data=curve, define="traffic", key="tail",
                n=of_all, alt=f"Traffic held by the most frequent queries: {said}.",
            )  # fmt: skip
    whole = fetch(queries.log_sums, "all")
    if whole.empty:
        nothing("There is no search log in this catalogue, so no traffic by day or position.")
        return
    places = st.columns(2, gap="large")
    for place, (kind, (title, subtitle)) in zip(places, LOG_KINDS.items(), strict=True):
        with place, panel(title, height=charts.HEIGHT):
            rows = fetch(queries.log_sums, kind)
            if rows.empty:
                st.subheader(title, anchor=False, help=text.DEFINITIONS["log"])
                nothing(f"The log states no {kind}.")
                continue
            measured, name = charts.log_measure(rows, kind)
            n, unit = int(rows["n_rows"].sum()), "percent" if "%" in name else "count"
            figure(
                charts.log(rows, kind), title=title, subtitle=subtitle, data=rows, define="log", key=f"log-{kind}",
                n=f"{n:,} of {int(whole['n_rows'].sum()):,} rows of the log" if n < whole["n_rows"].sum() else f"{n:,} rows, all",
                alt=f"{name.removesuffix(' (%)')} by {kind}: from {text.number(measured.min(), unit)} to {text.number(measured.max(), unit)}.",
            )  # fmt: skip


def sources() -> None:
    """Where queries come from, in a sentence."""
    rows = fetch(queries.query_sources)
    names = {
        "log": "in the log, or given without judgments",
        "judged": "judged and not in the log",
        "synthetic": "made from item fields",
    }
    said = [f"{n:,} {names.get(source, source)}" for source, n in zip(rows["source"], rows["n_queries"], strict=True)]
    st.markdown(escape(f"Of all {int(rows['n_queries'].sum()):,} queries: {text.listed(said)}."))
