"""The codebook as a table: every code of a level by name, to search, sort and open."""

from __future__ import annotations

import streamlit as st

from app.components import names
from app.components.figure import paged_table, table
from app.components.states import nothing, suggest
from app.fetch import fetch
from app.queries import codebook as queries
from app.queries import names as name_queries
from app.queries.codebook import Wanted
from app.text import escape

OFFERED = 50  # codes offered for words


def columns() -> dict[str, object]:
    """Column names and units of tables of codes."""
    number = st.column_config.NumberColumn
    return {
        "inside": st.column_config.TextColumn("Inside", width="medium"), "prefix": st.column_config.TextColumn("Code", width="small"),
        "name": st.column_config.TextColumn("Name", width=260), "level": number("Level", width="small"),
        "n_items": number("Items", format="localized"), "n_categories": number("Categories"),
        "top_category": "Main category", "label_score": number("Label score", format="%.2f", help="0.5 = by chance"),
        "label_items": number("Items it rests on"), "n_queries": number("Queries", format="localized"),
        "category_entropy": number("Entropy (bits)", format="%.2f"), "price_median": number("Median price", format="%.2f"),
        "dead": "No item", "under_used": "Under-used", "distance": number("Centre distance (latent)", format="%.3f"),
    }  # fmt: skip


def show(run: str, level: int) -> None:
    """Every code of the level: search by name, mixed ones only, sort, open."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        find = st.text_input(
            "Search names, codes and categories", key="find", bind="query-params", type="search", width=380
        )
        mixed = st.toggle(
            "Mixed codes only", key="mixed", bind="query-params", help="Codes whose items lie in two categories or more"
        )
    wanted = Wanted(level, find.strip(), mixed)
    n = fetch(queries.count_codes, run, wanted, names.given())
    if not n:
        _none(run, wanted)
        return
    paged_table(
        queries.codes, (run, wanted, names.given()), rows=n, title=f"Codes of level {level}", key="codes", chooses=("prefix", "code"),
        filters={"level": level, "find": wanted.find} | ({"only": "mixed"} if mixed else {}), define="code_label", height=520,
        show=[
            "name", *(["inside"] if level > 1 else []), "prefix", "n_items", "n_categories", "top_category", "label_score", "label_items", "exposure",
            "exposure_change", "n_queries", "query_weight", "purity", "category_entropy", "price_median", "dead", "under_used",
        ],
        columns=columns(),
        percent={
            "purity": "Purity", "exposure": "Exposure", "exposure_change": "Change by SIDs", "query_weight": "Traffic",
        },
    )  # fmt: skip
    names.register()


def _none(run: str, wanted: Wanted) -> None:
    """Why nothing is shown, and the names that were perhaps meant."""
    if wanted.mixed and fetch(queries.count_codes, run, wanted._replace(mixed=False), names.given()):
        what = "with these words " if wanted.find else ""
        nothing(
            f"No code of level {wanted.level} {what}mixes categories: each holds items of one category.",
            remedy="Switch “Mixed codes only” off to see them.",
        )
        return
    nothing(
        f"No code of level {wanted.level} carries these words.", remedy="Clear the search, or look at another level."
    )
    suggest("find", wanted.find, fetch(name_queries.words, run, wanted.level, names.given()))


def offer(run: str, said: str) -> None:
    """Codes of any level that carry the words typed for a code; near words where none does."""
    wanted = Wanted(0, said)
    n = fetch(queries.count_codes, run, wanted, names.given())
    if not n:
        st.warning(f"No code is called, or reads, “{escape(said[:80])}”.", icon=":material/search_off:")
        suggest("code", said, fetch(name_queries.words, run, 0, names.given()))
        return
    rows = fetch(queries.codes, run, wanted, names.given(), OFFERED, 0)
    table(
        rows, title=f"Codes with the words “{said[:60]}”", key="offered", chooses=("prefix", "code"), height=300,
        n=f"{n:,} codes, all" if n <= OFFERED else f"the {OFFERED} largest of {n:,} codes", define="code_label",
        filters={"words": said}, show=["name", "inside", "prefix", "level", "n_items", "n_categories", "top_category", "label_score"], columns=columns(),
    )  # fmt: skip
