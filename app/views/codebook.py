"""Codebook: level by level, as a map, a tree and a table of one selection, with the card of the chosen code."""

import streamlit as st

from app.components import code_drawer, code_table, code_tree, generations, health, item_map, items, sharing
from app.components.states import has_run, header, panel, unfilled
from app.fetch import current, fetch
from app.queries import codebook as queries

VIEWS = ("Map", "Tree", "Table", "Shared SIDs")


def views(level: int, code: str) -> None:
    """Four views of one selection."""
    for name, place in zip(VIEWS, st.tabs(VIEWS, key="view", on_change="rerun", bind="query-params"), strict=True):
        if place.open:
            with place, panel(name, height=560):
                if name == "Map":
                    item_map.show(run, level, code, str(item["item_id"]) if item else "")
                elif name == "Tree":
                    code_tree.show(run, code, levels)
                elif name == "Table":
                    code_table.show(run, level)
                else:
                    sharing.show("", "shared")


header("Codebook", "What every code means: which items it holds, which queries reach it, and what it shares.")
if has_run():
    run = current().run_id
    levels = fetch(queries.depth, run)
    if not levels:
        unfilled("This run has no codes.", needs=("SIDs",), remedy="Publish it again: `python -m engine publish`.")
        st.stop()
    with panel("Health of the codebook"):
        health.show(run, levels)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        level_text = st.segmented_control(
            "Level", [str(k) for k in range(1, levels + 1)], default="1", required=True, key="level", bind="query-params",
            help="1 is the broadest. A click on the map chooses the code of this level.",
        )  # fmt: skip
        said = st.text_input(
            "Code", key="code", bind="query-params", type="search", placeholder="a name, or 17-203", width=220,
            help="Words of its name or category, or its codes joined by '-'. Set by the map, the tree and the table too.",
        ).strip()  # fmt: skip
        item_id = items.ask("Item")
        aside = st.toggle(
            "Card beside", key="beside", bind="query-params",
            help="Off: the card of what is chosen opens over the page, which keeps its whole width. On: beside it, to compare.",
        )  # fmt: skip
    level = int(level_text or "1")
    chosen = fetch(queries.code, run, said) if said else None
    if said and chosen is None:
        code_table.offer(run, said)
    found = items.find(item_id, None) if item_id else None
    item = fetch(queries.item, run, str(found["item_id"])) if found is not None else None
    if item and item["sid"] and not said:
        chosen = fetch(queries.code, run, "-".join(str(item["sid"]).split("-")[:level]))
    code = str(chosen["prefix"]) if chosen else ""
    if not aside:
        code_drawer.show(chosen, item)  # over the page: before the charts below it are made
    if aside and (chosen or item):
        left, right = st.columns([3, 2], gap="large")
        with left:
            views(level, code)
        with right:
            code_drawer.body(chosen, item, live=True)
    else:
        views(level, code)
    with panel("Generations"):
        generations.show(run)
