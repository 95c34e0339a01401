"""Codebook: level by level, as a map, a tree and a table of one selection, with the card of the chosen code."""

import re
from typing import NamedTuple

import streamlit as st

from app import text
from app.charts import codebook as charts
from app.components import code_drawer, code_table, code_tree, generations, health, items, sharing
from app.components.figure import figure
from app.components.links import choose
from app.components.states import bad_parameter, has_run, header, imported, nothing, panel, unfilled
from app.fetch import current, deferred, fetch
from app.queries import codebook as queries
from app.queries import map as maps
from app.text import escape

RINGS = 2_000  # items of the chosen code that are ringed on the map


def parse_box(raw: str | None) -> maps.Box | None:
    """'x0,x1,y0,y1' of a link; None where it is not four finite numbers."""
    if not raw:
        return None
    if not re.fullmatch(r"(-?\d{1,6}(\.\d{1,4})?)(,-?\d{1,6}(\.\d{1,4})?){3}", raw):
        bad_parameter("box", raw, "Shown instead: the whole map.")
        return None
    x0, x1, y0, y1 = (float(part) for part in raw.split(","))
    return min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)


def from_map() -> None:
    """A box zooms in; a point chooses its item and code."""
    picked = charts.picked(st.session_state.get("chart-map", {}).get("selection", {}), level)
    if picked.box:
        st.query_params["box"] = picked.box
    if picked.code:
        choose("code", picked.code)
    if picked.item:
        choose("item", picked.item)


def zoom_out() -> None:
    """Back to the whole map."""
    del st.query_params["box"]


class MapChoice(NamedTuple):
    """How the map is drawn."""

    dense: bool  # As density, not as points.
    colour: str
    drag: str  # 'pan' | 'select'.


def choose_map(inside: int, zoomed: bool) -> MapChoice:
    """The controls above the map of `inside` items."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        dense = inside > maps.MOST_POINTS
        if dense:
            dense = st.segmented_control(
                "Show", ["density", "sample"], default="density", required=True, key="show", bind="query-params",
                help="Too many items for one view: their density, or a sample that keeps every level-1 code's share.",
            ) == "density"  # fmt: skip
        by = "department"
        if not dense:
            by = st.segmented_control(
                "Colour", charts.COLOURINGS, default="department", required=True, key="colour", bind="query-params",
                format_func=lambda c: {"purity": "purity of its code"}.get(c, c),
            )  # fmt: skip
        drag = st.segmented_control(
            "Mouse", ["pan", "select"], default="pan", required=True, key="mouse", bind="query-params",
            format_func=lambda c: {"pan": "choose a point", "select": "draw a box to zoom in"}[c],
        ) or "pan"  # fmt: skip
        if zoomed:
            st.button("Zoom out", icon=":material/zoom_out_map:", on_click=zoom_out)
    return MapChoice(dense, by or charts.COLOURINGS[0], drag)


def faithfulness() -> None:
    """How far the map can be trusted."""
    trust = fetch(maps.faithfulness, run)
    if trust is None:
        st.caption("How faithful the map is was not measured.")
        return
    st.caption(
        escape(
            f"Faithfulness: trustworthiness {text.number(trust['trustworthiness'])}, neighbours kept "
            f"{text.number(trust['neighbour_preservation'], 'percent')} of {trust['neighbours']}, measured on "
            f"{text.number(trust['n_sampled'], 'count')} items; {text.number(trust['landmarks'], 'count')} landmarks, "
            f"seed {trust['seed']}; {text.settings(trust['parameters'])}."
        ),
        help=text.DEFINITIONS["map"],
    )


def show_map() -> None:
    """The UMAP map of items, coloured, with the chosen code ringed."""
    box = parse_box(st.query_params.get("box")) or maps.EVERYWHERE
    whole = fetch(maps.count, run, maps.EVERYWHERE)
    if not whole and imported():
        nothing("This run was imported without a map.", remedy="`python -m engine import FOLDER --map` draws one.")
        return
    if not whole:
        nothing(
            "The map is still being computed: it takes longest, so it is published after everything else.",
            remedy="The sidebar says when a newer snapshot is ready. The tree and the table show the same codes now. "
            "Started without it? `python -m engine publish` adds it.",
        )
        return
    inside = fetch(maps.count, run, box)
    choice = choose_map(inside, box != maps.EVERYWHERE)
    if not inside:
        nothing("No item lies in this part of the map.")
        return
    rings = fetch(maps.highlighted, run, code, box, RINGS) if chosen else None
    if choice.dense:
        rows = fetch(maps.density, run, level, box, maps.BINS)
        chart = charts.map_density(rows, rings, f"code {code}", choice.drag)
        n = f"{inside:,} items, all, in {len(rows):,} cells"
    else:
        rows = fetch(maps.points, run, level, box, maps.MOST_POINTS)
        chart = charts.map_points(rows, choice.colour, rings, f"code {code}", choice.drag)
        sampled = f"{len(rows):,} of {inside:,} items, stratified by level-1 code"
        n = f"{inside:,} items, all" if len(rows) >= inside else sampled
    where = "" if box == maps.EVERYWHERE else f" in the chosen box (of {whole:,})"
    zooms, chooses = "Draw a box to zoom in", "A click chooses an item and its code of the level above"
    figure(
        chart,
        title="Map of items",
        subtitle=chooses if choice.drag == "pan" else zooms,
        data=deferred(maps.points, run, level, box, inside),
        n=n + where,
        define="map",
        filters={"level": level, "box": st.query_params.get("box", "")},
        key="map",
        on_select=from_map,
        selection_mode=("points", "box"),
        alt=f"UMAP map of {n}" + (f"; {len(rings)} items of code {code} are ringed." if rings is not None else "."),
    )
    faithfulness()


VIEWS = ("Map", "Tree", "Table", "Shared SIDs")


def views(level: int, code: str) -> None:
    """Four views of one selection."""
    for name, place in zip(VIEWS, st.tabs(VIEWS, key="view", on_change="rerun", bind="query-params"), strict=True):
        if place.open:
            with place, panel(name, height=560):
                if name == "Map":
                    show_map()
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
            "Code", key="code", bind="query-params", type="search", placeholder="a name, or codes such as 17-203", width=280,
            help="Words of its name or category, or its codes joined by '-'. Set by the map, the tree and the table too.",
        ).strip()  # fmt: skip
        item_id = items.ask("Item")
        aside = st.toggle(
            "Card beside the page", key="beside", bind="query-params",
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
    if not aside:
        code_drawer.show(chosen, item)
