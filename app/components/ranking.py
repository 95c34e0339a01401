"""A query's ranking as one difference list: every scored item, its rank without and with SIDs, and what SIDs add to it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from app import text
from app.charts import signed
from app.components import items
from app.components.answer import Answer, reference
from app.components.compared import MOVES, compare, in_words, kind, numbers
from app.components.explanation import explain_all, load_ranker
from app.components.figure import table
from app.components.links import address
from app.components.moved import moved_item
from app.components.query_log import known
from app.components.states import nothing, unfilled
from app.fetch import current, fetch
from app.queries import query as queries
from app.queries import snapshot as snapshot_queries
from app.rankers import unit
from engine.errors import EngineError

MARKS = ("all", "judged", "not judged")
ANY = "all"
LONGEST = 400
"""Letters of a title on screen; the export and the drawer have all."""
TALL = 66
"""Pixels a row: from 65 on Streamlit wraps the text of a cell."""


def rows(given: Answer) -> pd.DataFrame:
    """`given.scores` with title, seller, category, SID, grade, and the change of rank in words; by rank."""
    run = current().run_id
    facts = fetch(queries.item_facts, run, given.query_id, tuple(sorted(set(given.scores["item_id"]))))
    out = given.scores.merge(facts, on="item_id", how="left").sort_values(["rank", "item_id"], na_position="last")
    out["move"] = [text.move(a, b) for a, b in zip(out["rank"], out["rank_without_sid"], strict=True)]
    levels = fetch(snapshot_queries.run, run).levels
    out["match"] = [text.match(m, levels, p) for m, p in zip(out["match_level"], out["matched_prefix"], strict=True)]
    out["dots"] = [text.dots(m, levels) for m in out["match_level"]]
    out["kind"] = [kind(a, b) for a, b in zip(out["rank"], out["rank_without_sid"], strict=True)]
    out["explain"] = out["item_id"].map(lambda i: address("explain", {"q": given.query_id or given.text, "item": i}))
    return out.reset_index(drop=True)


def show(given: Answer) -> None:
    """The query's own measures, how the two rankings differ, and the list of every scored item."""
    if given.scores.empty:
        unfilled("No item was retrieved or judged for this query, so there is no ranking.", needs=("scores with SIDs",))
        _under(given)
        return
    ranked, why = _with_parts(given, rows(given))
    compared = compare(ranked) if ranked["rank_without_sid"].notna().any() else None
    numbers(given, compared)
    if compared is None:
        unfilled("This query was not ranked without SIDs.", needs=("scores without SIDs",))
    else:
        st.markdown(in_words(compared), help=text.DEFINITIONS["without"])
    if why:
        st.caption(f"What SIDs add cannot be told: {text.escape(why)}.")
    _listed(given, ranked)


def _with_parts(given: Answer, ranked: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows with what SIDs add to each score, `sids` and its `levels`, and why that is unknown where it is."""
    empty = ranked.assign(sids=np.nan, levels=None)
    point = reference(given)
    if point is None:
        return empty, "" if given.query_id is None else "no reference point was stored for this query"
    try:
        made = explain_all(load_ranker(point), ranked)
    except EngineError as error:
        return empty, str(error)
    made = made[made["feature"].str.startswith("sid_")]
    wide = made.pivot_table(index="item_id", columns="feature", values="value", aggfunc="sum").sort_index(axis=1)
    levels = {
        str(item): [round(float(v), 4) for v in row] for item, row in zip(wide.index, wide.to_numpy(), strict=True)
    }
    return ranked.assign(sids=ranked["item_id"].map(wide.sum(axis=1)), levels=ranked["item_id"].map(levels)), ""


def _listed(given: Answer, ranked: pd.DataFrame) -> None:
    """The difference list with its filters; a row opens what moved it."""
    words, shown, filters = _filtered(ranked)
    chosen = ranked[ranked["item_id"] == words]
    if shown.empty:
        nothing("No item of this ranking is like that.", remedy="Clear the words or choose other filters.")
        return
    largest = float(shown["sids"].abs().max()) if shown["sids"].notna().any() else 0.0
    shown = shown.assign(bar=shown["sids"].map(lambda v: signed.bar(v, largest)))
    counted = unit(fetch(snapshot_queries.run, current().run_id).ranker)
    lost = int((~ranked["retrieved"].astype(bool)).sum())
    has = {
        name: bool(shown[name].notna().any())
        for name in ("image", "price", "sids", "rank_without_sid", "grade", "seller")
    }
    order = ["rank", "rank_without_sid", "move", "image", "title", "dots", "bar", "sids", "grade", "seller", "category",
             "price", "explain", "score", "score_without_sid", "expected_grade", "first_stage_rank", "item_id"]  # fmt: skip
    needs = {"image": "image", "price": "price", "sids": "sids", "bar": "sids", "seller": "seller", "rank_without_sid": "rank_without_sid",
             "move": "rank_without_sid", "score_without_sid": "rank_without_sid"}  # fmt: skip
    table(
        shown.assign(title=shown["title"].str.slice(0, LONGEST)),
        title="Ranking, without and with SIDs",
        key="ranking",
        n=f"{len(shown):,} of {len(ranked):,} scored items: {int(ranked['retrieved'].sum()):,} candidates and "
        f"{text.plural(lost, 'judged item', 'judged items')} not retrieved; {int(ranked['judged'].sum()):,} judged in all",
        define=counted.define,
        filters={"query": given.text, **filters},
        show=[name for name in order if has.get(needs.get(name, ""), True)],
        columns={
            "rank": st.column_config.NumberColumn("Rank with", width=62, help="With SIDs"),
            "rank_without_sid": st.column_config.NumberColumn("without", width=58, help=text.DEFINITIONS["without"]),
            "move": st.column_config.TextColumn("Change", width=80),
            "image": st.column_config.ImageColumn("Image", width=70),
            "title": st.column_config.TextColumn("Title", width=300),
            "dots": st.column_config.TextColumn("SID match", width=72, help=text.DEFINITIONS["match"]),
            "bar": st.column_config.ImageColumn("SIDs add", width=118, help=text.DEFINITIONS["sid_part"]),
            "sids": st.column_config.NumberColumn("in numbers", format="%+.3f", width=82, help=f"{text.DEFINITIONS['sid_part']} Unit: {counted.axis}."),
            "grade": st.column_config.NumberColumn("Grade", format="%.1f", width=56, help=text.DEFINITIONS["grade"]),
            "seller": st.column_config.TextColumn("Seller", width=115),
            "category": st.column_config.TextColumn("Category", width=170),
            "price": st.column_config.NumberColumn("Price", format="%.2f", width=70, help="In the currency of the item"),
            "explain": st.column_config.LinkColumn("Why", display_text="explain", width=66),
            "score": st.column_config.NumberColumn(f"Score, {counted.column}", format="%.3f", help=text.DEFINITIONS[counted.define]),
            "score_without_sid": st.column_config.NumberColumn(f"Score without, {counted.column}", format="%.3f"),
            "expected_grade": st.column_config.NumberColumn("Expected grade", format="%.2f"),
            "first_stage_rank": st.column_config.NumberColumn("First-stage rank"),
            "item_id": "Item",
        },
        height=680,
        row_height=TALL,
        heading=False,
        full=lambda: shown.drop(columns=["bar", "explain", "dots"]),
        chooses=("item_id", "item"),
        alt="Every scored item with its rank without and with SIDs",
    )  # fmt: skip
    st.caption(
        "“–” under Grade: nobody judged it. Choose a row for what moved it, level by level and signal by signal."
    )
    if len(chosen):
        moved_item(given, chosen.iloc[0])


def _filtered(ranked: pd.DataFrame) -> tuple[str, pd.DataFrame, dict[str, str]]:
    """The words or the id that was asked for, the rows that the controls ask for, and the controls as filters of the export."""
    kinds = tuple(k for k in MOVES if (ranked["kind"] == k).any())
    categories, sellers = ((ANY, *sorted(ranked[c].dropna().unique())) for c in ("category", "seller"))
    for name, allowed in (("marked", MARKS), ("within", categories), ("from", sellers)):
        known(name, allowed)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = items.ask("Item of this list")
        category = _menu("Category", categories, "within", 200)
        seller = _menu("Seller", sellers, "from", 160)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        moves = st.pills(
            "Change", kinds, selection_mode="multi", key="moves", bind="query-params", help=text.DEFINITIONS["moves"]
        )
        mark = st.segmented_control("Judgments", MARKS, default=ANY, required=True, key="marked", bind="query-params")
    shown = ranked[ranked["kind"].isin(moves)] if moves else ranked
    if mark != ANY:
        shown = shown[shown["judged"].astype(bool) == (mark == "judged")]
    for column, value in (("category", category), ("seller", seller)):
        if value != ANY:
            shown = shown[shown[column] == value]
    if words not in set(ranked["item_id"]):
        for word in words.lower().split():
            shown = shown[shown["title"].str.lower().str.contains(word, regex=False)]
    filters = {
        "change": ", ".join(moves or ()),
        "judgments": mark or "",
        "category": category,
        "seller": seller,
        "words": words,
    }
    return words, shown, {k: v for k, v in filters.items() if v and v != ANY}


def _menu(label: str, options: tuple[str, ...], key: str, width: int) -> str:
    """A menu of what the list holds, where there is anything to choose."""
    if len(options) <= 2:
        return ANY
    return st.selectbox(label, options, key=key, bind="query-params", width=width) or ANY


def _under(given: Answer) -> None:
    """What the beams point at, where nothing is ranked: in their order, items of one SID as they come."""
    found = fetch(queries.items_under, current().run_id, tuple(given.beams["sid"]))
    if found.empty:
        return
    found = found.merge(given.beams[["sid", "rank", "log_prob"]], on="sid").sort_values(["rank", "item_id"])
    table(
        found.assign(probability=100 * np.exp(found["log_prob"])),
        title="Items under the beams",
        key="under",
        n=f"{text.plural(len(found), 'item', 'items')} of {text.plural(len(given.beams), 'beam', 'beams')}, all",
        define="beam",
        filters={"query": given.text},
        show=["rank", "title", "category", "seller", "probability", "sid"],
        columns={
            "rank": st.column_config.NumberColumn("Beam", width=56), "sid": "SID",
            "title": st.column_config.TextColumn("Title", width=420), "category": "Category", "seller": "Seller",
            "probability": st.column_config.NumberColumn("Probability of the SID, %", format="%.2f"),
        },
    )  # fmt: skip
