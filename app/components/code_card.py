"""The code card: everything about one prefix, and the item chosen in it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import text
from app.charts import codebook as charts
from app.components.figure import choose_from, figure, paged_table, table
from app.components.links import button, link
from app.components.states import lacks, nothing, panel, unfilled
from app.fetch import current, deferred, fetch
from app.queries import codebook as queries
from app.queries import snapshot
from app.text import escape

SHARING_REASONS = {
    "categories": "Harmful: different categories",
    "grades": "Harmful: graded differently for the same query",
    "alike": "Benign: judged alike",
    "unjudged": "Benign as far as known: never judged together",
}
MOST_DETAILED = 20_000
"""Items under a prefix above which its distance and price charts are not drawn from every item."""


def crumbs(prefix: str) -> None:
    """The prefix's ancestors as buttons, coarse to fine."""
    parts = prefix.split("-")
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center"):
        button("All codes", "code", "", id="crumb-all", icon=":material/home:")
        for depth in range(1, len(parts)):
            ancestor = "-".join(parts[:depth])
            button(escape(ancestor), "code", ancestor, id=f"crumb-{depth}", icon=":material/chevron_right:")
        st.markdown(f":material/chevron_right: **{escape(prefix)}**")


def summary(code: dict[str, Any]) -> None:
    """What the code means and how large it is."""
    crumbs(code["prefix"])
    st.subheader(f"Code {escape(code['prefix'])}", anchor=False, help=text.DEFINITIONS["sid"])
    st.markdown(f"**{escape(code['label'] or 'no label')}**", help=text.DEFINITIONS["code_label"])
    flags(code)
    if code["level"] == 1:
        ownership(code)
    if code["terms"]:
        said = "; ".join(f"{t['term']} ({100 * t['support']:.0f} % of its items)" for t in code["terms"][:6])
        st.caption("Set apart by: " + escape(said))
    values = (
        ("Items", text.number(code["n_items"], "count"), ""),
        ("Distinct SIDs", text.number(code["n_sids"], "count"), text.DEFINITIONS["sid"]),
        ("Queries reaching it", text.number(code["n_queries"], "count"), "Queries with at least one beam through it."),
        ("Their traffic", text.number(code["query_weight"], "percent"), "Share of all query traffic."),
        ("Exposure with SIDs", text.number(code["exposure"], "percent"), text.DEFINITIONS["exposure"]),
        ("without SIDs", text.number(code["exposure_without"], "percent"), text.DEFINITIONS["exposure"]),
        ("Purity", text.number(code["purity"], "percent"), text.DEFINITIONS["purity"]),
        ("Category entropy (bits)", text.number(code["category_entropy"]), text.DEFINITIONS["entropy"]),
    )
    for first in range(0, len(values), 2):
        for (name, value, help_), place in zip(values[first : first + 2], st.columns(2, gap="small"), strict=True):
            with place, st.container(gap=None):
                st.caption(escape(name), help=help_ or None)
                st.markdown(f"**{escape(value)}**")
    mostly = f"Mostly {code['top_category']}; " if code["top_category"] else "Categories unknown; "
    low, middle, high = (text.price(code[f"price_{name}"]) for name in ("low", "median", "high"))
    counts = ", ".join(
        text.plural(code[f"n_{many}"], one, many)
        for one, many in (("category", "categories"), ("seller", "sellers"), ("brand", "brands"))
    )
    st.caption(escape(f"{mostly}{counts}; price {low} to {high} (10th to 90th percentile), median {middle}."))
    if later := fetch(queries.count_assigned, current().run_id, code["prefix"]):
        st.caption(
            f"{text.plural(later, 'more item was', 'more items were')} assigned here in later generations, not counted above.",
            help=text.DEFINITIONS["generations"],
        )


def ownership(code: dict[str, Any]) -> None:
    """Whether the level-1 code was given to categories or found by k-means."""
    run = next(r for r in fetch(snapshot.runs).to_dict("records") if r["run_id"] == current().run_id)
    if run["level1"] == "kmeans":
        st.caption("A k-means cell: the catalogue has no categories, so nothing forces what level 1 means.")
        return
    owners = fetch(queries.owners, current().run_id, int(code["code"]))
    if len(owners):
        names = ", ".join(owners["category"].head(6)) + (f" and {len(owners) - 6} more" if len(owners) > 6 else "")
        together = " (merged: more categories than codes)" if owners["merged"].any() else ""
        st.caption(escape(f"Belongs to {names}{together}."), help=text.DEFINITIONS["by_construction"])


def flags(code: dict[str, Any]) -> None:
    """Dead, under-used, shared: in words."""
    shared = fetch(queries.count_shared, current().run_id, code["prefix"])
    with st.container(horizontal=True, gap="xsmall"):
        if code["dead"]:
            st.badge("Dead: no item holds it", color="red", icon=":material/block:")
        elif code["under_used"]:
            st.badge("Under-used: under a quarter of the even share", color="orange", icon=":material/hourglass_empty:")
        if shared:
            st.badge(
                f"{text.plural(shared, 'SID', 'SIDs')} here shared by several items",
                color="gray",
                icon=":material/group:",
            )


def details(code: dict[str, Any]) -> None:
    """The card's sections, each loaded when it is opened."""
    prefix, run = code["prefix"], current().run_id
    names = ["Items", "Mix", "Distances", "Siblings", "Queries", "Sharing"]
    places = st.tabs(names, key="card", on_change="rerun", bind="query-params")
    drawn = (_items, _mix, _distances, _siblings, _queries, _sharing)
    for name, place, draw in zip(names, places, drawn, strict=True):
        if place.open:
            with place, panel(f"{name} of code {prefix}", height=240):
                draw(run, prefix, code)


def _item_columns() -> dict[str, Any]:
    return {
        "place": st.column_config.TextColumn("Place", width="small"),
        "item_id": st.column_config.TextColumn("Item", width="small"),
        "title": st.column_config.TextColumn("Title", width="medium"),
        "category": "Category",
        "seller": "Seller",
        "brand": "Brand",
        "price": st.column_config.NumberColumn("Price", format="%.2f"),
        "currency": "Currency",
        "sid": "SID",
        "distance": st.column_config.NumberColumn("Distance to centre", format="%.3f"),
        "n_sharing": st.column_config.NumberColumn("Items with its SID"),
    }


def _items(run: str, prefix: str, code: dict[str, Any]) -> None:
    typical = fetch(queries.typical, run, prefix, 5)
    if typical.empty:
        nothing("No item holds this code.")
        return
    table(
        typical, title="Near, median and borderline items", define="distance", key="typical", columns=_item_columns(),
        n=f"{len(typical)} of {int(code['n_items']):,} items", filters={"code": prefix},
        on_select=lambda: choose_from("typical", typical, "item_id", "item"),
    )  # fmt: skip
    paged_table(
        queries.items, (run, prefix), rows=int(code["n_items"]), title="All items under the code", key="items",
        columns=_item_columns(), define="distance", filters={"code": prefix},
        chooses=("item_id", "item"),
    )  # fmt: skip
    st.caption("Choose a row to see the item's SID and the queries that reach it.")


def _mix(run: str, prefix: str, code: dict[str, Any]) -> None:
    if not code["n_items"]:
        nothing("No item holds this code.")
        return
    n = f"{int(code['n_items']):,} items, all"
    for field, place in zip(queries.MIXES, st.columns(3, gap="medium"), strict=True):
        rows = fetch(queries.mix, run, prefix, field)
        with place:
            figure(
                charts.mix(rows), title=f"{field.title()} mix", data=rows, n=n, key=f"mix-{field}",
                define="purity" if field == "category" else "", filters={"code": prefix, "field": field},
                alt=f"The commonest {field} is {rows.iloc[0]['value']} with {100 * rows.iloc[0]['share']:.1f} % of items.",
            )  # fmt: skip


def _distances(run: str, prefix: str, code: dict[str, Any]) -> None:
    if not code["n_items"]:
        nothing("No item holds this code.")
        return
    if code["n_items"] > MOST_DETAILED:
        nothing(f"More than {MOST_DETAILED:,} items: choose a deeper code for its distances and prices.")
        return
    rows = fetch(queries.measures, run, prefix)
    n, filters = f"{len(rows):,} items, all", {"code": prefix}
    left, middle, right = st.columns(3, gap="medium")
    with left:
        if rows["distance"].notna().any():
            median = float(rows["distance"].median())
            figure(
                charts.histogram(rows["distance"], x="Distance to the centre (latent)", median=median),
                title="Distance to the centre", data=rows, n=n, define="distance", filters=filters, key="distances",
                alt=f"Histogram of distances to the code's centre, median {median:.3f}.",
            )  # fmt: skip
        else:
            nothing("Distances are unknown for SIDs that were made elsewhere.")
    with middle:
        steps = fetch(queries.residuals, run, prefix)
        if len(steps):
            everywhere = fetch(queries.residuals, run, "")
            figure(
                charts.residuals(steps, everywhere), title="Residual norm, level by level", data=steps, n=n,
                define="residual", filters=filters, key="residuals",
                alt=f"Median residual norm falls from {steps['median'].iloc[0]:.2f} to {steps['median'].iloc[-1]:.2f}.",
            )  # fmt: skip
        else:
            nothing("Residual norms are unknown for SIDs that were made elsewhere.")
    with right:
        if rows["price"].notna().any():
            median = float(rows["price"].median())
            figure(
                charts.histogram(rows["price"], x="Price", median=median), title="Prices", data=rows, n=n,
                filters=filters, key="prices", alt=f"Histogram of prices, median {median:.2f}.",
            )  # fmt: skip
        else:
            nothing("No price is known for these items.")


def _siblings(run: str, prefix: str, code: dict[str, Any]) -> None:
    rows = fetch(queries.siblings, run, prefix)
    if rows.empty:
        nothing("This code has no siblings.")
        return
    table(
        rows, title="Siblings, nearest first", key="siblings", filters={"code": prefix},
        on_select=lambda: choose_from("siblings", rows, "prefix", "code"),
        define="Distance between the centres (mean latent vectors) of codes that share the parent.",
        columns={
            "prefix": "Code", "label": st.column_config.TextColumn("Label", width="large"),
            "distance": st.column_config.NumberColumn("Centre distance (latent)", format="%.3f"),
            "n_items": st.column_config.NumberColumn("Items"),
            "top_category": "Main category",
        },
        percent={"purity": "Purity"},
    )  # fmt: skip


def _queries(run: str, prefix: str, code: dict[str, Any]) -> None:
    rows = fetch(queries.queries_reaching, run, prefix)
    if rows.empty:
        alone = "" if lacks("judgments") else ": items under it are reached by other features alone"
        unfilled(f"No stored query has a beam through this code{alone}.", needs=("beams",))
        return
    event = table(
        rows, title="Queries whose beams reach the code", key="reaching", filters={"code": prefix},
        on_select=lambda: None,
        define="Probability: sum over the query's beams under this code, renormalised over codes that exist.",
        columns={
            "query_id": "Query id", "text": st.column_config.TextColumn("Query", width="large"), "tier": "Tier",
            "frequency": st.column_config.NumberColumn("Frequency", format="localized"),
            "beam_rank": st.column_config.NumberColumn("Best beam"),
            "probability": st.column_config.NumberColumn("Probability", format="%.3f"),
            "n_beams": st.column_config.NumberColumn("Beams"),
        },
    )  # fmt: skip
    _follow(event, rows, None)


def _follow(event: Any, rows: pd.DataFrame, item_id: str | None) -> None:
    """Links for the query chosen in a table."""
    chosen = event["selection"]["rows"] if event else []
    if not chosen or chosen[0] >= len(rows):
        st.caption("Choose a row to follow the query.")
        return
    row = rows.iloc[chosen[0]]
    with st.container(horizontal=True):
        link("query", f"Follow “{escape(row['text'])}”", {"q": row["query_id"], "item": item_id})
        if item_id:
            link("explain", "Explain this pair", {"q": row["query_id"], "item": item_id})


def _sharing(run: str, prefix: str, code: dict[str, Any]) -> None:
    shared_table(run, prefix, "aliases")


def shared_table(run: str, prefix: str, key: str) -> None:
    """SIDs that two items or more hold, below a prefix ('' = all), and why that is harmful or not."""
    n = fetch(queries.count_shared, run, prefix)
    if not n:
        nothing("No SID here is held by two items.")
        return
    rows = fetch(queries.shared, run, prefix, 5_000, 0)
    harmful = int(rows["harmful"].sum())
    st.markdown(
        escape(
            f"{text.plural(n, 'shared SID', 'shared SIDs')}, {harmful:,} of the {len(rows):,} shown harmful. "
            "Choose one for its items."
        )
    )
    shown = rows.assign(reason=rows["reason"].map(SHARING_REASONS).fillna("unknown"))
    table(
        shown, title="SIDs held by two items or more", key=key, define="harmful_aliasing", filters={"code": prefix or "all"},
        n=f"{len(rows):,} of {n:,} shared SIDs, harmful first", on_select=lambda: choose_from(key, rows, "sid", "code"), show=[
            "sid", "reason", "n_items", "n_categories", "n_conflicts", "label"
        ],
        full=deferred(queries.shared, run, prefix, n, 0),
        columns={
            "sid": "SID", "reason": st.column_config.TextColumn("Benign or harmful", width="large"),
            "n_items": st.column_config.NumberColumn("Items"), "n_categories": st.column_config.NumberColumn("Categories"),
            "n_conflicts": st.column_config.NumberColumn("Queries graded apart"),
            "label": st.column_config.TextColumn("Label", width="medium"),
        },
    )  # fmt: skip


def item_card(run: str, item: dict[str, Any], prefix: str) -> None:
    """The chosen item: where it lies, and the queries that reach it; one line where it lies outside the chosen prefix."""
    if prefix and item["sid"] and not f"{item['sid']}-".startswith(f"{prefix}-"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(escape(f"The chosen item {item['item_id']} lies elsewhere, under {item['sid']}."))
            button("Show its code", "code", item["sid"], id="item-code", icon=":material/account_tree:")
            button("Clear", "item", "", id="clear-item", icon=":material/close:")
        return
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.caption(f"Item {escape(item['item_id'])}")
            button("Clear", "item", "", id="clear-item", icon=":material/close:")
        st.text(item["title"])
        facts = [item["category"], item["seller"], item["brand"]]
        st.caption(escape(" · ".join(str(f) for f in facts if f)))
        if not item["sid"]:
            nothing("This item has no SID in this run.")
            return
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"SID **{escape(item['sid'])}**", help=text.DEFINITIONS["sid"])
            others = int(item["n_sharing"] or 1) - 1
            st.caption("held by this item alone" if not others else f"shared with {others:,} other items")
            button("Show its code", "code", item["sid"], id="item-code", icon=":material/account_tree:")
        rows = fetch(queries.queries_of_item, run, item["item_id"])
        if rows.empty:
            unfilled("No stored query retrieved or judged this item.", needs=("judgments",))
            return
        event = table(
            rows, title="Queries that scored it, deepest match first", key="item-queries", height=250,
            filters={"item": item["item_id"]}, on_select=lambda: None,
            define="Match level: how many leading codes the item shares with the query's best beam.",
            show=["text", "match_level", "rank", "rank_without_sid", "grade"],
            columns={
                "text": st.column_config.TextColumn("Query", width="medium"),
                "match_level": st.column_config.NumberColumn("Match level", width="small"),
                "rank": st.column_config.NumberColumn("Rank with SIDs", width="small"),
                "rank_without_sid": st.column_config.NumberColumn("Rank without", width="small"),
                "grade": st.column_config.NumberColumn("Grade", width="small"),
            },
        )  # fmt: skip
        _follow(event, rows, item["item_id"])
