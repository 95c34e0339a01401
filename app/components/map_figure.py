"""The map itself: points or density, names, what is lit up; a drag draws the region that is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from app.charts import item_map as charts
from app.components import map_query, names
from app.components.figure import figure
from app.components.links import choose
from app.fetch import deferred, fetch
from app.queries import map as maps
from app.queries import map_parts as parts

MOST_LIT = 2_000
"""Items of a code or found by words that are lit up."""
MOST_NAMES = 200
"""Compact codes that are tried for names."""
DRAGS = {
    "pan": "A click chooses an item and its code of level {level}.",
    "select": "Drag a box around items to look closer at them.",
    "lasso": "Drag a line around items to look closer at them.",
}


class Shown(NamedTuple):
    """How the map is drawn."""

    colour: str
    drag: str
    dense: bool
    names: bool


class Scene(NamedTuple):
    """What the map shows."""

    run: str
    level: int
    view: maps.Box
    zoomed: bool
    inside: int  # Items in view.
    whole: int  # Items on the map.
    code: str
    item: str
    found: str
    query: map_query.Asked | None


def draw(scene: Scene, shown: Shown) -> None:
    """The figure with its caption and export."""
    lit = _lit(scene)
    faint = shown.colour != "reached" and any(over.look not in ("code", "item") for over in lit)
    asked = scene.query.query_id if scene.query and shown.colour == "reached" else ""
    if shown.dense:
        rows = fetch(maps.density, scene.run, scene.level, scene.view, maps.BINS)
        chart = charts.density(rows, box=scene.view, drag=shown.drag, faint=faint)
        hover = f"{len(rows):,} cells; hovering tells a cell's items and commonest code."
    else:
        rows = fetch(maps.points, scene.run, scene.level, scene.view, maps.MOST_POINTS, shown.colour, asked)
        titles = len(rows) <= maps.MOST_TITLES
        chart = _points(scene, shown, rows, titles=titles, faint=faint)
        hover = (
            "Hovering tells title, category and SID."
            if titles
            else f"Above {maps.MOST_TITLES:,} items hovering tells the SID alone; a click fetches the rest."
        )
    charts.light(chart, lit)
    if shown.names:
        charts.name(chart, charts.placed(_names(scene), scene.view))
    charts.outline(chart, parts.region(st.query_params.get("sel")))
    colour = "department" if shown.dense else shown.colour
    n = _counted(scene, len(rows), dense=shown.dense)
    figure(
        chart,
        title="Map of items",
        subtitle=f"{DRAGS[shown.drag].format(level=scene.level)} {hover}",
        data=deferred(maps.points, scene.run, scene.level, scene.view, scene.inside, colour, asked),
        n=n,
        define="map",
        filters={
            "level": scene.level, "colour": colour, "box": st.query_params.get("box", ""),
            "query": scene.query.text if asked and scene.query else "",
        },
        key="map",
        on_select=_from_map(scene.level),
        selection_mode=("points", "box", "lasso"),
        alt=_takeaway(scene, n, lit),
    )  # fmt: skip


def _from_map(level: int) -> Callable[[], None]:
    """A drawn box or lasso is looked at; a point chooses its item and code."""

    def chosen() -> None:
        selection = st.session_state.get("chart-map", {}).get("selection", {})
        picked = charts.picked(selection, level, parts.MOST_CORNERS)
        if picked.region:
            st.query_params["sel"] = picked.region
        if picked.code:
            choose("code", picked.code)
        if picked.item:
            choose("item", picked.item)

    return chosen


def _lit(scene: Scene) -> list[charts.Overlay]:
    """What is lit up, the last on top."""
    made: list[charts.Overlay] = []
    if scene.code:
        rows = fetch(parts.places, scene.run, "code", scene.code, scene.view, MOST_LIT)
        made.append(charts.Overlay(rows, f"code {scene.code}", "code"))
    if scene.found:
        rows = fetch(parts.places, scene.run, "words", scene.found, scene.view, MOST_LIT)
        made.append(charts.Overlay(rows, f"“{scene.found}”", "found"))
    if scene.query:
        made += map_query.overlays(scene.run, scene.query, scene.view)
    if scene.item:
        made.append(charts.Overlay(fetch(maps.one, scene.run, scene.item), "chosen item", "item"))
    return [over for over in made if len(over.rows)]


def _names(scene: Scene) -> pd.DataFrame:
    """Codes that are compact in view, by the names that people gave them, else by their labels."""
    rows = fetch(maps.names, scene.run, scene.view, MOST_NAMES)
    called = dict(names.given())
    return rows.assign(label=[called.get(p, label) for p, label in zip(rows["prefix"], rows["label"], strict=True)])


def _counted(scene: Scene, drawn: int, *, dense: bool) -> str:
    """How much of the catalogue the map shows."""
    where = f" in view, of {scene.whole:,} on the map" if scene.zoomed else ""
    if dense or drawn >= scene.inside:
        return f"{scene.inside:,} items{where}, all"
    return f"{drawn:,} of {scene.inside:,} items{where}, stratified by level-1 code"


def _points(scene: Scene, shown: Shown, rows: pd.DataFrame, *, titles: bool, faint: bool) -> go.Figure:
    """Points coloured by a value, by an amount, or by how far the query's beams reach."""
    marks: dict[str, charts.Mark] = {}
    amount = None
    if shown.colour == "reached":
        rows = rows.assign(value=[charts.reach(depth) for depth in rows["value"]])
        marks = charts.reach_marks(int(rows["sid"].str.count("-").max()) + 1)
    elif shown.colour in maps.AMOUNTS:
        told = fetch(maps.amounts, scene.run, shown.colour, scene.level)
        amount = charts.scale(shown.colour, told["low"], told["high"], fetch(maps.currency))
    else:
        marks = charts.marks(
            fetch(maps.marked_values, scene.run, shown.colour, scene.level), tiers=shown.colour == "tier"
        )
    return charts.points(rows, box=scene.view, marks=marks, amount=amount, titles=titles, drag=shown.drag, faint=faint)


def _takeaway(scene: Scene, n: str, lit: list[charts.Overlay]) -> str:
    """The map in a sentence: what lies on it, by the largest named groups, and what is lit up."""
    compact = _names(scene)
    largest = [f"{charts.called(r['label'], 40)} ({r['n_items']:,})" for r in compact.head(5).to_dict("records")]
    told = f"Map of {n}; alike items lie together."
    if largest:
        told += f" The largest compact groups: {', '.join(largest)}."
    if lit:
        told += f" Lit up: {', '.join(f'{over.name} ({len(over.rows):,})' for over in lit)}."
    return f"{told} The tables below hold the same."
