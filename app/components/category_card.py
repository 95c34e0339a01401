"""One category: its verdict with the reason, which of its items slipped, and the way to its items, codes and queries."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import text
from app.charts.coverage import VERDICT_NAMES
from app.components.figure import chosen_row, paged_table, table
from app.components.links import address, link, steps
from app.components.metric import verdict_badge
from app.components.states import nothing, panel
from app.fetch import current, fetch
from app.queries import coverage as queries
from app.queries.item_filter import Filter
from app.text import escape

LIGHTS = {"yes": "good", "no": "bad", "n too small": "info"}
NAMED = 3
"""Items named in a sentence."""


def category_card(row: pd.Series, order: list[str], which: Filter) -> None:
    """The card of one row of `queries.coverage`; `order` = the categories on screen, for next and previous."""
    category = str(row["category"])
    st.header(escape(category), anchor=False)
    steps("category", order, id="category-steps")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Protected?**", help=text.DEFINITIONS["protection"])
        verdict = row["protected"] if isinstance(row["protected"], str) else "not judged"
        verdict_badge(LIGHTS.get(verdict), verdict_words(row))
    st.markdown(escape(row["reason"] or "No reason is stored."))
    own, pooled = lift_sentences(row)
    st.markdown(escape(own))
    if pooled:
        st.markdown(f":gray[{escape(pooled)}]")
    link("sellers", "Its exposure, and what moved it", {"dimension": "category", "value": category})
    names = ("Who slipped", "Items", "Codes", "Queries that should reach it")
    places = st.tabs(names, key="show", on_change="rerun", bind="query-params")
    for name, place, draw in zip(names, places, (_slipped, _items, _codes, _queries), strict=True):
        if place.open:
            with place, panel(f"{name} of the category", height=240):
                draw(category, int(row["n_items"]), which)


def verdict_words(row: pd.Series) -> str:
    """'protected', 'not protected, judged by its department' ..."""
    verdict = row["protected"] if isinstance(row["protected"], str) else "not judged"
    whose = ", judged by its department" if row["judged_by"] == "department" else ""
    return f"{VERDICT_NAMES.get(verdict, verdict)}{whose}"


def lift_sentences(row: pd.Series) -> tuple[str, str]:
    """What is known of the category's own AUC lift, and of its department's."""
    asked = text.plural(row["n_queries"], "test query of its own", "test queries of its own")
    if pd.isna(row["auc_lift"]):
        own = f"AUC lift of this category: {text.TOO_SMALL} ({asked})."
    else:
        told = f"{text.number(row['auc_lift'], 'points')} {text.interval(row['low'], row['high'], 'points')}"
        own = f"AUC lift of this category: {told}, {asked}."
    if pd.isna(row["pooled_lift"]):
        return own, ""
    told = (
        f"{text.number(row['pooled_lift'], 'points')} {text.interval(row['pooled_low'], row['pooled_high'], 'points')}"
    )
    n = text.plural(row["pooled_n"], "test query", "test queries")
    return own, f"Pooled over {row['department']}: {told}, {n}; this is the department's, not the category's."


def slipped_sentence(rows: pd.DataFrame) -> str:
    """How many items fell and rose, and those that fell most: plain text from the rows of `queries.slipped`."""
    known = rows[rows["change"].notna()]
    fell, rose = known[known["change"] < 0], known[known["change"] > 0]
    n = text.plural(len(known), "ranked item", "ranked items")
    said = f"Of its {n}, {len(fell):,} {'is' if len(fell) == 1 else 'are'} seen less with SIDs, {len(rose):,} more"
    same = len(known) - len(fell) - len(rose)
    said += f", {same:,} as before" if same else ""
    if fell.empty:
        return f"{said}."
    named = [
        f"“{text.shortened(r['title'], 60)}” {int(r['rank_without_sid'])} → {int(r['rank'])} for “{text.shortened(r['text'], 60)}”"
        for r in fell.head(NAMED).to_dict("records")
    ]
    return f"{said}. Fell most: {'; '.join(named)}."


def relevant_sentence(rows: pd.DataFrame) -> str:
    """What became of the judged relevant pairs of the category's own test queries."""
    if rows.empty:
        return "No relevant item was judged for a test query of this category."
    ranked = rows[rows["rank"].notna() & rows["rank_without_sid"].notna()]
    fell, rose = (
        int((ranked["rank"] > ranked["rank_without_sid"]).sum()),
        int((ranked["rank"] < ranked["rank_without_sid"]).sum()),
    )
    said = f"Judged relevant for its own test queries: {text.plural(len(rows), 'pair', 'pairs')} of a query and an item"
    return (
        f"{said}; {fell:,} fell, {rose:,} rose, {len(ranked) - fell - rose:,} stayed, {len(rows) - len(ranked):,} were not retrieved."
    )  # fmt: skip


_PLACES = {
    "rank_without_sid": st.column_config.NumberColumn("Rank without", width=85),
    "rank": st.column_config.NumberColumn("with SIDs", width=75),
    "move": st.column_config.TextColumn("In words", width=80),
    "open": st.column_config.LinkColumn("Why", display_text="explain", width=70),
}


def _opened(rows: pd.DataFrame) -> pd.DataFrame:
    pairs = zip(rows["query_id"], rows["item_id"], strict=True)
    rank, without = (rows[name].astype(float) for name in ("rank", "rank_without_sid"))
    return rows.assign(
        move=[text.move(a, b) for a, b in zip(rank, without, strict=True)],
        open=pd.Series(
            [address("explain", {"q": q, "item": i}) if isinstance(q, str) else None for q, i in pairs],
            index=rows.index,
            dtype=object,
        ),
    )


def _slipped(category: str, n: int, which: Filter) -> None:
    run = current().run_id
    rows = fetch(queries.slipped, run, category)
    if rows["change"].isna().all():
        nothing("None of its items is ranked, with and without SIDs, for a query that is asked.")
        return
    st.markdown(escape(slipped_sentence(rows)))
    rows = _opened(rows).assign(points=100 * rows["change"])
    table(
        rows, title="Its items, who lost most first", key="slipped", define="slipped", filters={"category": category}, height=320,
        n=f"{len(rows):,} items, all; the whole category, whatever the filter",
        show=["title", "points", "text", "rank_without_sid", "rank", "move", "open"],
        columns={
            "title": st.column_config.TextColumn("Item", width=250), "points": st.column_config.NumberColumn("Change, pp", format="%+.4f", width=90),
            "text": st.column_config.TextColumn("Mostly on the query", width=190), **_PLACES,
        },
    )  # fmt: skip
    judged = fetch(queries.relevant_moves, run, category)
    st.markdown(escape(relevant_sentence(judged)))
    if len(judged):
        table(
            _opened(judged), title="Judged relevant items of its test queries", key="slipped-judged", define="protection",
            filters={"category": category}, height=280, show=["title", "text", "rank_without_sid", "rank", "move", "open"],
            columns={
                "title": st.column_config.TextColumn("Item", width=250),
                "text": st.column_config.TextColumn("Query", width=190), **_PLACES,
            },
        )  # fmt: skip


def _items(category: str, n: int, which: Filter) -> None:
    rows = paged_table(
        queries.items, (current().run_id, category, which), rows=n, title="Items, the earliest lost first",
        key="coverage-items", define="funnel", filters={"category": category}, height=320, on_select=lambda: None,
        columns={
            "title": st.column_config.TextColumn("Title", width=280), "seller": "Seller", "sid": "SID", "item_id": "Item",
            "n_sharing": st.column_config.NumberColumn("Items with its SID"),
            "n_beams": st.column_config.NumberColumn("Queries whose beams hold it"),
            "best_rank": st.column_config.NumberColumn("Best rank with SIDs"),
            "best_rank_without": st.column_config.NumberColumn("Best rank without"),
            "lost_at": st.column_config.TextColumn("Lost at step", help="The first step of the funnel it does not pass."),
        },
        show=["title", "lost_at", "n_beams", "best_rank", "best_rank_without", "n_sharing", "sid", "seller", "item_id"],
    )  # fmt: skip
    row = chosen_row("coverage-items", rows)
    if row is None:
        st.caption("Choose a row for the item's code and the queries that scored it.")
    else:
        link(
            "codebook",
            f"{escape(text.shortened(row['title'], 60))} and its code",
            {"item": row["item_id"], "code": row["sid"]},
        )


def _codes(category: str, n: int, which: Filter) -> None:
    rows = fetch(queries.codes, current().run_id, category, 2)
    if rows.empty:
        nothing("No item of this category has a SID.")
        return
    held = int(rows["n_mine"].sum())
    table(
        rows, title="Its codes of level 2, most of its items first", key="coverage-codes", filters={"category": category},
        define="purity", on_select=lambda: None, n=f"{len(rows):,} codes holding {held:,} items of the whole category, all",
        height=320, show=["label", "prefix", "n_mine", "n_items", "share", "top_category", "n_queries"],
        columns={
            "prefix": "Code", "label": st.column_config.TextColumn("Label", width=280),
            "n_mine": st.column_config.NumberColumn("Items of the category"),
            "n_items": st.column_config.NumberColumn("All items"), "top_category": "Main category",
            "n_queries": st.column_config.NumberColumn("Queries reaching it"),
        },
        percent={"share": "Share of the code"},
    )  # fmt: skip
    row = chosen_row("coverage-codes", rows)
    if row is None:
        st.caption("Choose a code for its card and for the queries that should have reached the category through it.")
    else:
        prefix = str(row["prefix"])
        link("codebook", f"Card of code {escape(prefix)}", {"code": prefix, "level": 2})
        _query_table(category, prefix)


def _queries(category: str, n: int, which: Filter) -> None:
    _query_table(category, "")


def _query_table(category: str, prefix: str) -> None:
    rows = fetch(queries.queries, current().run_id, category, prefix)
    if rows.empty:
        nothing(
            "No stored query belongs to this category or has a relevant item in it: nothing tells who should reach it."
        )
        return
    missed = int((rows["match_level"] == 0).sum())
    st.markdown(escape(f"{missed:,} of {len(rows):,} queries have no beam that agrees with any of these items."))
    through = f" through code {prefix}" if prefix else ""
    table(
        rows, title=f"Queries that should reach it{through}, worst served first", key="coverage-queries",
        filters={"category": category, "code": prefix}, on_select=lambda: None, height=320,
        define="Queries with a judged relevant item in the category, or whose commonest relevant or clicked category it is. "
        "Match level: how many leading codes the best of its relevant items shares with the query's beams.",
        show=["text", "tier", "frequency", "n_relevant", "match_level", "beam_rank", "best_rank", "best_rank_without"],
        columns={
            "text": st.column_config.TextColumn("Query", width="large"), "tier": "Tier",
            "frequency": st.column_config.NumberColumn("Searches", format="localized"),
            "n_relevant": st.column_config.NumberColumn("Relevant items here"),
            "match_level": st.column_config.NumberColumn("Match level"),
            "beam_rank": st.column_config.NumberColumn("Best beam"),
            "best_rank": st.column_config.NumberColumn("Best rank with SIDs"),
            "best_rank_without": st.column_config.NumberColumn("Best rank without"),
        },
    )  # fmt: skip
    row = chosen_row("coverage-queries", rows)
    if row is None:
        st.caption("Choose a row to see where the query lost its item.")
    else:
        link(
            "query",
            f"Where “{escape(row['text'])}” lost it",
            {"q": row["query_id"], "item": row["item_id"], "view": "Where was it lost?"},
        )
