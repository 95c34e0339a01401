"""Codebook: level by level, as a map, a tree and a table of one selection, with the card of the chosen code."""

from collections.abc import Collection

import pandas as pd
import streamlit as st

from app import text
from app.charts import codebook as charts
from app.components import code_card, generations, item_map
from app.components.figure import chosen_point, figure, paged_table, table
from app.components.links import choose
from app.components.states import bad_parameter, has_run, header, nothing, panel, unfilled
from app.fetch import current, fetch
from app.queries import codebook as queries
from app.text import escape

MOST_BOXES = 2_500  # prefixes of a treemap: more are not readable and slow the browser
MEASURES = {
    "utilisation": ("Utilisation", "percent", "utilisation"),
    "dead_codes": ("Dead codes", "count", "dead"),
    "perplexity": ("Perplexity", "number", "perplexity"),
    "perplexity_ratio": ("Perplexity / size", "number", "perplexity_ratio"),
    "entropy": ("Entropy (bits)", "number", "entropy"),
    "gini": ("Gini of use", "number", "gini"),
    "prefixes": ("Prefixes that exist", "count", "sid"),
    "hourglass": ("Hourglass index", "number", "hourglass"),
    "category_purity": ("Category purity", "percent", "purity"),
    "brand_purity": ("Brand purity", "percent", "purity"),
    "category_nmi": ("NMI with category", "number", "nmi"),
    "brand_nmi": ("NMI with brand", "number", "nmi"),
    "neighbour_agreement": ("True neighbours agree", "percent", "neighbour_agreement"),
    "neighbour_agreement_random": ("Random pairs agree", "percent", "neighbour_agreement"),
    "aliasing": ("Aliasing", "percent", "aliasing"),
    "harmful_share": ("Harmful sharing", "percent", "harmful_aliasing"),
    "unique_share": ("Distinct SIDs / items", "percent", "unique_share"),
    "largest_bucket": ("Largest bucket (items)", "count", "largest_bucket"),
    "same_sid_others": ("Others with the same SID (items)", "number", "same_sid_others"),
}
KNOWLEDGE = {
    "attribute_gain": ("Attributes told beyond the category (attribute gain)", "points", "attribute_gain"),
    "attribute_predictability": ("Attributes told by the prefix (leave-one-out)", "percent", "attribute_gain"),
    "attribute_by_category": ("Attributes told by the category alone", "percent", "attribute_gain"),
    "coclick_alignment": ("Clicked for one query, same prefix (co-click alignment)", "percent", "coclick"),
    "coclick_alignment_random": ("The same of random pairs", "percent", "coclick"),
    "coclick_alignment_category": ("The same by category path", "percent", "coclick"),
    "coclick_lift": ("Clicked for one query, times chance (co-click lift)", "number", "coclick"),
    "coclick_lift_category": ("The same times chance, by category path", "number", "coclick"),
    "label_score": ("Labels find their items (AUC among siblings)", "number", "label_score"),
    "flip_rate.typo": ("Code changes with a typo (flip rate)", "percent", "flip_rate"),
    "flip_rate.reorder": ("Code changes with another word order (flip rate)", "percent", "flip_rate"),
    "flip_rate.stuffing": ("Code changes with stuffed words (flip rate)", "percent", "flip_rate"),
    "margin_flipped.typo": ("Margin of codes that a typo changes", "number", "flip_rate"),
    "margin_kept.typo": ("Margin of codes that stay under a typo", "number", "flip_rate"),
}
"""Plain words first, the term of art beside."""
WORDS = {"good": "✓ good", "warn": "! watch", "bad": "✗ poor", "info": ""}


def known_as(metric: str) -> tuple[str, str, str] | None:
    """Name, form and definition of a measure that is shown; of single attributes only the gain is."""
    name, _, attribute = metric.partition(".")
    if name == "attribute_gain" and attribute:
        return f"Beyond the category: {attribute}", *KNOWLEDGE[name][1:]
    return (MEASURES | KNOWLEDGE).get(metric)


def strip(rows: pd.DataFrame, levels: int) -> pd.DataFrame:
    """One row a measure, one column a level, with verdicts in words and what holds by construction marked."""
    columns = {level: f"Level {level}" for level in range(1, levels + 1)}
    made: dict[str, dict[str, str]] = {}
    for row in rows.to_dict("records"):
        known = known_as(str(row["metric"]))
        if known is None:
            continue
        name, form, _ = known
        place = columns.get(int(row["level"]), "") if pd.notna(row["level"]) else "Whole SID"
        forced = row["by_construction"] is True
        mark = "by construction" if forced else WORDS.get(str(row["verdict"]), "")
        said = text.number(row["value"], form) if pd.notna(row["value"]) else "not measured"
        if pd.notna(row["low"]) and pd.notna(row["high"]) and not forced:
            said += f" {text.interval(row['low'], row['high'], form)}"
        made.setdefault(name, {})[place] = f"{said}  {mark}".strip()
    wide = pd.DataFrame([{"Measure": name} | cells for name, cells in made.items()])
    held = [name for name in (*columns.values(), "Whole SID") if name in wide]
    return wide.reindex(columns=["Measure", *held]).fillna("")


def chosen_rows(rows: pd.DataFrame, measures: Collection[str]) -> pd.DataFrame:
    """The rows of some measures and of what they are for single attributes, in the order of the measures."""
    order = {metric: place for place, metric in enumerate(measures)}
    base = rows["metric"].where(rows["metric"].isin(order), rows["metric"].str.partition(".")[0])
    return rows.assign(place=base.map(order)).dropna(subset=["place"]).sort_values(["place", "metric"], kind="stable")


def definitions(rows: pd.DataFrame) -> None:
    """What the measures shown mean."""
    with st.popover("Definitions", icon=":material/menu_book:"):
        for name, define in dict.fromkeys((k[0], k[2]) for m in rows["metric"] if (k := known_as(str(m)))):
            st.markdown(f"**{escape(name)}.** {escape(text.DEFINITIONS.get(define, ''))}")


def health_strip(levels: int) -> None:
    """How well codes are used, with verdicts; then what they know."""
    every = fetch(queries.health, run)
    if every.empty:
        nothing("This run holds no health measures.")
        return
    rows = chosen_rows(every, MEASURES)
    verdicts = rows["verdict"].value_counts()
    said = f"{verdicts.get('bad', 0)} poor, {verdicts.get('warn', 0)} to watch, {verdicts.get('good', 0)} good"
    with st.expander(
        f"Health of each level: {said}",
        icon=":material/monitor_heart:",
        key="health",
        on_change="rerun",
        bind="query-params",
    ) as box:
        if box.open:
            st.caption(escape(text.DEFINITIONS["by_construction"]))
            table(
                strip(rows, levels), title="Health strip", key="health", heading=False, full=lambda: every, height="content",
                n=f"{text.number(rows.loc[rows['metric'] == 'utilisation', 'n'].max(), 'count')} items, all",
                define="Every measure is defined under Definitions below; thresholds are in the export.",
            )  # fmt: skip
            definitions(rows)
    known = chosen_rows(every, KNOWLEDGE)
    if known.empty:
        return
    with st.expander(
        "What codes know, and how steady they are",
        icon=":material/psychology:",
        key="knowledge",
        on_change="rerun",
        bind="query-params",
    ) as box:
        if box.open:
            st.caption(escape(text.DEFINITIONS["knowledge"]))
            table(
                strip(known, levels), title="What codes know", key="knowledge", heading=False, full=lambda: known,
                height="content", columns={"Measure": st.column_config.TextColumn("Measure", width=330)}, n="items and queries as the export says, row by row",
                define="Every measure is defined under Definitions below; numbers of items, queries and notes are in the export.",
            )  # fmt: skip
            for note in known.loc[known["value"].isna(), "note"].dropna().unique():
                st.caption(escape(f"Some are {note}."))
            definitions(known)


def from_tree() -> None:
    """A box of the treemap chooses its prefix."""
    point = chosen_point("tree")
    if point is not None:
        choose("code", str(point[0] if isinstance(point, list | tuple) else point))


def show_tree() -> None:
    """Treemap of the prefixes below the chosen one (or its parent, where nothing is below)."""
    size = st.segmented_control(
        "Size by", ["n_items", "exposure"], default="n_items", required=True, key="size", bind="query-params",
        format_func=lambda c: {"n_items": "items", "exposure": "exposure with SIDs"}[c],
    )  # fmt: skip
    root = code if chosen else ""
    if root and root.count("-") + 1 >= levels:
        root = root.rpartition("-")[0]
    rows = fetch(queries.tree, run, root, MOST_BOXES)
    size = size or "n_items"
    if rows.empty or not rows[size].fillna(0).sum():
        nothing("No code here has a size to draw.", remedy="Size by items instead." if size != "n_items" else None)
        return
    deepest = int(rows["level"].max())
    figure(
        charts.tree(rows, root, size),
        title=f"Tree below {root}" if root else "Tree of codes",
        subtitle="Click a code to open it; brighter means more mixed categories",
        data=rows,
        n=f"{len(rows):,} prefixes, levels 1-{deepest}"
        if not root
        else f"{len(rows):,} prefixes down to level {deepest}",
        define="purity",
        filters={"root": root or "all", "size": size},
        key="tree",
        on_select=from_tree,
        alt=f"Treemap of {len(rows)} prefixes; the largest is {rows.iloc[0]['prefix']} with {rows.iloc[0]['n_items']} items.",
    )


def show_table() -> None:
    """Every prefix of the level: search, sort, choose."""
    find = st.text_input("Search label, code or category", key="find", bind="query-params", type="search").strip()
    n = fetch(queries.count_codes, run, level, find)
    if not n:
        nothing("No code of this level carries these words.", remedy="Clear the search, or look at another level.")
        return
    paged_table(
        queries.codes, (run, level, find), rows=n, title=f"Codes of level {level}", key="codes", chooses=("prefix", "code"),
        filters={"level": level, "find": find}, define="code_label", height=460,
        show=[
            "prefix", "label", "n_items", "purity", "top_category", "exposure", "exposure_change", "n_queries",
            "query_weight", "category_entropy", "price_median", "dead", "under_used",
        ],
        columns={
            "prefix": "Code", "label": st.column_config.TextColumn("Label", width="medium"),
            "n_items": st.column_config.NumberColumn("Items", format="localized"),
            "top_category": "Main category",
            "n_queries": st.column_config.NumberColumn("Queries", format="localized"),
            "category_entropy": st.column_config.NumberColumn("Entropy (bits)", format="%.2f"),
            "price_median": st.column_config.NumberColumn("Median price", format="%.2f"),
            "dead": "Dead", "under_used": "Under-used",
        },
        percent={
            "purity": "Purity", "exposure": "Exposure", "exposure_change": "Change by SIDs", "query_weight": "Traffic",
        },
    )  # fmt: skip


header("Codebook", "What every code means: which items it holds, which queries reach it, and what it shares.")
if has_run():
    run = current().run_id
    levels = fetch(queries.depth, run)
    if not levels:
        unfilled("This run has no codes.", needs=("SIDs",), remedy="Publish it again: `python -m engine publish`.")
        st.stop()
    with panel("Health of each level"):
        health_strip(levels)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        level_text = st.segmented_control(
            "Level", [str(k) for k in range(1, levels + 1)], default="1", required=True, key="level", bind="query-params",
            help="1 is the coarsest. A click on the map chooses the code of this level.",
        )  # fmt: skip
        code = st.text_input(
            "Code", key="code", bind="query-params", placeholder="for example 17 or 17-203", width=220,
            help="A prefix: codes joined by '-'. Set by the map, the tree and the table too.",
        ).strip()  # fmt: skip
        item_id = st.text_input("Item", key="item", bind="query-params", placeholder="an item id", width=220).strip()
    level = int(level_text or "1")
    item = fetch(queries.item, run, item_id) if item_id else None
    if item_id and item is None:
        bad_parameter("item", item_id, "Choose one on the map or in a code's items.")
    if item and not code and item["sid"]:
        code = "-".join(str(item["sid"]).split("-")[:level])
    chosen = fetch(queries.code, run, code) if code else None
    if code and chosen is None:
        bad_parameter("code", code, "Choose one in the table, the tree or on the map.")

    left, right = st.columns([3, 2], gap="large")
    with left:
        names = ("Map", "Tree", "Table", "Shared SIDs")
        for name, place in zip(names, st.tabs(names, key="view", on_change="rerun", bind="query-params"), strict=True):
            if place.open:
                with place, panel(name, height=560):
                    if name == "Map":
                        item_map.show(run, level, code if chosen else "", item_id if item else "")
                    elif name == "Tree":
                        show_tree()
                    elif name == "Table":
                        show_table()
                    else:
                        code_card.shared_table(run, "", "shared")
    with right:
        if chosen:
            with panel(f"Code {code}"):
                code_card.summary(chosen)
        elif not item:
            nothing(
                "No code is chosen.", remedy="Click a point, a box of the tree, or a row of the table for its card."
            )
        if item:
            with panel(f"Item {item_id}"):
                code_card.item_card(run, item, code)
    if chosen:
        with panel(f"Details of code {code}"):
            code_card.details(chosen)
    with panel("Generations"):
        generations.show(run)
