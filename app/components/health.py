"""Health of the codebook on its page: sentences first, then every measure of each level, then what codes know."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd
import streamlit as st

from app import health, text
from app.components.figure import table
from app.components.states import nothing
from app.fetch import fetch
from app.queries import codebook as queries
from app.text import escape

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
MARKS = {
    "good": ":green[:material/check_circle:] **Well:**",
    "warn": ":orange[:material/error:] **To watch:**",
    "bad": ":red[:material/cancel:] **Poor:**",
}
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


def show(run: str, levels: int) -> None:
    """What is well and what is not, in sentences; the measures of each level; then what codes know."""
    every = fetch(queries.health, run)
    if every.empty:
        nothing("This run holds no health measures.")
        return
    rows = chosen_rows(every, MEASURES)
    with st.container(gap="xxsmall"):
        for said in health.sentences(every):
            st.markdown(f"{MARKS[said.verdict]} {escape(said.words)}", help=text.DEFINITIONS.get(said.define))
    verdicts = rows["verdict"].value_counts()
    counts = f"{verdicts.get('bad', 0)} poor, {verdicts.get('warn', 0)} to watch, {verdicts.get('good', 0)} good"
    with st.expander(
        f"Every measure of each level: {counts}",
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
