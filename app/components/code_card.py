"""The code card: everything about one prefix, in words first."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import text
from app.charts import codebook as charts
from app.components import names, notes, sharing
from app.components.code_table import columns
from app.components.figure import chosen_row, figure, paged_table, table
from app.components.links import button, link
from app.components.states import lacks, nothing, panel, unfilled
from app.fetch import current, fetch
from app.queries import codebook as queries
from app.queries import sharing as shared
from app.queries import snapshot
from app.text import escape

MOST_DETAILED = 20_000
"""Items under a prefix above which its distance and price charts are not drawn from every item."""
SECTIONS = ("Items", "Mix", "Distances", "Siblings", "Queries", "Sharing")


def crumbs(prefix: str) -> None:
    """The names of the prefix's levels as buttons, coarse to fine."""
    parts, called = prefix.split("-"), names.levels(prefix)
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center"):
        button("All codes", "code", "", id="crumb-all", icon=":material/home:")
        for depth in range(1, len(parts)):
            ancestor = "-".join(parts[:depth])
            said = called[depth - 1] if depth <= len(called) else ancestor
            button(
                escape(text.shortened(said, 40)), "code", ancestor, id=f"crumb-{depth}", icon=":material/chevron_right:"
            )
        st.markdown(f":material/chevron_right: **{escape(text.shortened(called[-1], 60))}**")


def summary(code: dict[str, Any]) -> None:
    """What the code means and how large it is."""
    prefix = str(code["prefix"])
    crumbs(prefix)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"Code **{escape(prefix)}**, level {code['level']}", help=text.DEFINITIONS["sid"])
        names.editor(code)
    st.caption(escape(label_told(code)), help=text.DEFINITIONS["code_label"])
    flags(code)
    if code["level"] == 1:
        ownership(code)
    if code["terms"]:
        said = "; ".join(
            f"{text.shortened(t['term'])} ({100 * t['support']:.0f} % of its items)" for t in code["terms"][:6]
        )
        st.caption("Set apart by: " + escape(said))
    _numbers(code)
    notes.on_code(prefix, names.path(prefix))
    st.caption(escape(f"{_held(code)}."))
    if later := fetch(queries.count_assigned, current().run_id, prefix):
        st.caption(
            f"{text.plural(later, 'more item was', 'more items were')} assigned here in later generations, not counted above.",
            help=text.DEFINITIONS["generations"],
        )


def _held(code: dict[str, Any]) -> str:
    """Categories, sellers, brands and prices of its items, what is not known left out."""
    told = []
    if code["top_category"]:
        told.append(
            f"{'All' if code['n_categories'] == 1 else 'Mostly'} in {text.shortened(code['top_category'], 160)}"
        )
    counts = [
        text.plural(code[f"n_{many}"], one, many)
        for one, many in (("category", "categories"), ("seller", "sellers"), ("brand", "brands"))
        if code[f"n_{many}"] and (many != "categories" or code["n_categories"] > 1)
    ]
    if counts:
        told.append(", ".join(counts))
    if (median := code["price_median"]) is not None and median == median:
        low, high = text.price(code["price_low"]), text.price(code["price_high"])
        told.append(f"price {low} to {high} (10th to 90th percentile), median {text.price(median)}")
    return "; ".join(told) or "Categories, sellers, brands and prices of its items are unknown"


def label_told(code: dict[str, Any]) -> str:
    """How well the label fits, in words and as a number."""
    score, n = code["label_score"], code["label_items"]
    if not code["label"]:
        return "It has no label: no term sets it apart."
    if score is None or score != score:
        return "How well the label fits was not measured: it has no sibling to compare with, or no encoder was at hand."
    fits = "fits well" if score >= 0.9 else "fits" if score >= 0.7 else "fits poorly" if score > 0.5 else "does not fit"
    whole = "all" if n == code["n_items"] else f"of {text.number(code['n_items'], 'count')}"
    return f"The computed label {fits}: an item is nearer to it than to a sibling's label {text.number(score, 'percent')} of the time ({text.plural(n, 'item', 'items')}, {whole}; 50 % = by chance)."  # fmt: skip


def _numbers(code: dict[str, Any]) -> None:
    values = (
        ("Items", text.number(code["n_items"], "count"), ""),
        ("Distinct SIDs", text.number(code["n_sids"], "count"), text.DEFINITIONS["sid"]),
        ("Queries reaching it", text.number(code["n_queries"], "count"), "Queries with at least one beam through it."),
        ("Their traffic", text.number(code["query_weight"], "percent"), "Share of all query traffic."),
        ("Exposure with SIDs", text.number(code["exposure"], "share"), text.DEFINITIONS["exposure"]),
        ("without SIDs", text.number(code["exposure_without"], "share"), text.DEFINITIONS["exposure"]),
        ("Purity", text.number(code["purity"], "percent"), text.DEFINITIONS["purity"]),
        ("Category entropy (bits)", text.number(code["category_entropy"]), text.DEFINITIONS["entropy"]),
    )
    with st.grid(4, min_column_width=130):
        for name, value, help_ in values:
            with st.container(gap=None):
                st.caption(escape(name), help=help_ or None)
                st.markdown(f"**{escape(value)}**")


def ownership(code: dict[str, Any]) -> None:
    """Whether the level-1 code was given to categories or found by k-means."""
    run = next(r for r in fetch(snapshot.runs).to_dict("records") if r["run_id"] == current().run_id)
    if run["level1"] == "kmeans":
        st.caption("A k-means cell: the catalogue has no categories, so nothing forces what level 1 means.")
        return
    owners = fetch(queries.owners, current().run_id, int(code["code"]))
    if len(owners):
        said = ", ".join(text.shortened(c, 80) for c in owners["category"].head(6)) + (
            f" and {len(owners) - 6} more" if len(owners) > 6 else ""
        )
        together = " (merged: more categories than codes)" if owners["merged"].any() else ""
        st.caption(escape(f"Belongs to {said}{together}."), help=text.DEFINITIONS["by_construction"])


def flags(code: dict[str, Any]) -> None:
    """Dead, under-used, shared: in words."""
    n_shared = fetch(shared.sharing, current().run_id, code["prefix"])["n"]
    with st.container(horizontal=True, gap="xsmall"):
        if code["dead"]:
            st.badge("Dead: no item holds it", color="red", icon=":material/block:")
        elif code["under_used"]:
            st.badge("Under-used: under a quarter of the even share", color="orange", icon=":material/hourglass_empty:")
        if n_shared:
            st.badge(
                f"{text.plural(n_shared, 'SID', 'SIDs')} here shared by several items",
                color="gray",
                icon=":material/group:",
            )


def details(code: dict[str, Any]) -> None:
    """The card's sections, each loaded when it is opened."""
    prefix, run = str(code["prefix"]), current().run_id
    drawn = (_items, _mix, _distances, _siblings, _queries, _sharing)
    places = st.tabs(SECTIONS, key="card", on_change="rerun", bind="query-params")
    for name, place, draw in zip(SECTIONS, places, drawn, strict=True):
        if place.open:
            with place, panel(f"{name} of code {prefix}", height=240):
                draw(run, prefix, code)


def _items(run: str, prefix: str, code: dict[str, Any]) -> None:
    typical = fetch(queries.typical, run, prefix, 5)
    if typical.empty:
        nothing("No item holds this code.")
        return
    n_items = int(code["n_items"])
    mixed = ["category"] if code["n_categories"] != 1 else []
    described = {
        "place": st.column_config.TextColumn("Place", width=80),
        "item_id": st.column_config.TextColumn("Item", width=90),
        "title": st.column_config.TextColumn("Title", width=290 if mixed else 420),
        "category": st.column_config.TextColumn("Category", width=180),
        "seller": st.column_config.TextColumn("Seller", width=120),
        "brand": st.column_config.TextColumn("Brand", width=100),
        "price": st.column_config.NumberColumn("Price", format="%.2f", width=70),
        "currency": st.column_config.TextColumn("Currency", width=70),
        "sid": st.column_config.TextColumn("SID", width=80),
        "distance": st.column_config.NumberColumn("Distance to centre", format="%.3f", width=130),
        "n_sharing": st.column_config.NumberColumn("Items with its SID", width=120),
    }
    if n_items > len(typical):
        table(
            typical, title="Near, median and borderline items", define="distance", key="typical", columns=described,
            n=f"{len(typical)} of {n_items:,} items", filters={"code": prefix}, chooses=("item_id", "item"), height=300,
            show=["place", "title", *mixed, "distance", "item_id"],
        )  # fmt: skip
    paged_table(
        queries.items, (run, prefix), rows=n_items, title="All items under the code, nearest first", key="items",
        columns=described, define="distance", filters={"code": prefix}, chooses=("item_id", "item"),
        show=["title", *mixed, "seller", "brand", "price", "currency", "distance", "sid", "n_sharing", "item_id"],
    )  # fmt: skip


def _mix(run: str, prefix: str, code: dict[str, Any]) -> None:
    if not code["n_items"]:
        nothing("No item holds this code.")
        return
    n_items = int(code["n_items"])
    n = f"{text.plural(n_items, 'item', 'items')}, all"
    mixes = {field: fetch(queries.mix, run, prefix, field) for field in queries.MIXES}
    for field, rows in mixes.items():
        if len(rows) == 1:
            value = rows.iloc[0]["value"]
            said = (
                f"The {field} of its items is unknown"
                if value == "unknown"
                else f"All its items have one {field}: {value}"
            )
            st.markdown(f"{escape(said)} ({n}).")
    with st.grid(2, min_column_width=300, gap="medium"):
        for field, rows in mixes.items():
            if len(rows) > 1:
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
    n, filters = f"{text.plural(len(rows), 'item', 'items')}, all", {"code": prefix}
    steps = fetch(queries.residuals, run, prefix)
    said = []
    with st.grid(2, min_column_width=300, gap="medium"):
        for column, title, x, define, unknown in (
            ("distance", "Distance to the centre", "Distance to the centre (latent)", "distance", "Distances are unknown for SIDs that were made elsewhere."),
            ("price", "Prices", "Price", "", "No price is known for these items."),
        ):  # fmt: skip
            known = rows[column].dropna()
            if known.nunique() > 1:
                median = float(known.median())
                figure(
                    charts.histogram(rows[column], x=x, median=median), title=title, data=rows, n=n, define=define, filters=filters,
                    key=f"{column}s", alt=f"Histogram of {len(known)} values ({x}), median {median:.3f}.",
                )  # fmt: skip
            else:
                said.append(unknown if known.empty else f"{title}: {text.number(float(known.iloc[0]))} for {text.plural(len(known), 'item', 'items')}, all alike.")  # fmt: skip
        if len(steps):
            figure(
                charts.residuals(steps, fetch(queries.residuals, run, "")), title="Residual norm, level by level", data=steps,
                n=n, define="residual", filters=filters, key="residuals",
                alt=f"Median residual norm falls from {steps['median'].iloc[0]:.2f} to {steps['median'].iloc[-1]:.2f}.",
            )  # fmt: skip
        else:
            said.append("Residual norms are unknown for SIDs that were made elsewhere.")
    for sentence in said:
        st.caption(escape(sentence))


def _siblings(run: str, prefix: str, code: dict[str, Any]) -> None:
    rows = fetch(queries.siblings, run, prefix, names.given())
    if rows.empty:
        nothing("This code has no siblings.")
        return
    table(
        rows, title="Siblings, nearest first", key="siblings", filters={"code": prefix}, chooses=("prefix", "code"),
        define="Distance between the centres (mean latent vectors) of codes that share the parent.",
        show=["name", "prefix", "distance", "n_items", "n_categories", "label_score", "purity", "top_category"],
        columns=columns(), percent={"purity": "Purity"},
    )  # fmt: skip


def _queries(run: str, prefix: str, code: dict[str, Any]) -> None:
    rows = fetch(queries.queries_reaching, run, prefix)
    if rows.empty:
        alone = "" if lacks("judgments") else ": items under it are reached by other features alone"
        unfilled(f"No stored query has a beam through this code{alone}.", needs=("beams",))
        return
    table(
        rows, title="Queries whose beams reach the code", key="reaching", filters={"code": prefix},
        on_select=lambda: None, show=["text", "frequency", "tier", "beam_rank", "probability", "n_beams"],
        define="Probability: sum over the query's beams under this code, renormalised over codes that exist.",
        columns={
            "text": st.column_config.TextColumn("Query", width="large"), "tier": "Tier",
            "frequency": st.column_config.NumberColumn("Frequency", format="localized"),
            "beam_rank": st.column_config.NumberColumn("Best beam"),
            "probability": st.column_config.NumberColumn("Probability", format="%.3f"),
            "n_beams": st.column_config.NumberColumn("Beams"),
        },
    )  # fmt: skip
    follow("reaching", rows)


def follow(key: str, rows: pd.DataFrame, item_id: str | None = None) -> None:
    """Links for the query chosen in the table of that key."""
    row = chosen_row(key, rows)
    if row is None:
        st.caption("Choose a row to follow the query.")
        return
    with st.container(horizontal=True):
        link("query", f"Follow “{escape(text.shortened(row['text']))}”", {"q": row["query_id"], "item": item_id})
        if item_id:
            link("explain", "Explain this pair", {"q": row["query_id"], "item": item_id})


def _sharing(run: str, prefix: str, code: dict[str, Any]) -> None:
    sharing.show(prefix, "aliases")
