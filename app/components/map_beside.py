"""Two runs with one selection: where the items looked at lie on the map of another run, and which codes hold them there."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.charts import item_map as charts
from app.components.figure import figure, table
from app.components.map_look import Look
from app.fetch import deferred, fetch
from app.queries import map as maps
from app.queries import map_parts as parts
from app.queries import snapshot
from app.rankers import run_name
from app.text import escape, number

MOST = 8_000
"""Points of each of the two maps."""
MOST_LIT = 4_000


def show(run: str, look: Look | None) -> None:
    """Offered where another run of the snapshot has a map too."""
    others = [other for other in fetch(maps.drawn_runs) if other != run]
    if not others:
        return
    runs = fetch(snapshot.runs)
    names = {str(r): run_name(r, method) for r, method in zip(runs["run_id"], runs["method"], strict=True)}
    st.subheader("The same items in another run", anchor=False)
    other = st.selectbox(
        "Run beside", others, index=None, key="maprun", bind="query-params", placeholder="none", width=420,
        format_func=lambda r: names.get(r, r), help="Its map is drawn beside this one, with the same items lit up.",
    )  # fmt: skip
    if other is None:
        return
    if look is None:
        st.caption(
            "Nothing is selected: draw a region, light up items or choose a code, and both maps light the same items up."
        )
    with st.grid(2, min_column_width=420):
        for place, id in ((run, "map-here"), (other, "map-there")):
            with st.container():
                _small(place, run, look, names.get(place, place), id)
    if look is not None:
        _held(run, other, look, names)


def _small(place: str, run: str, look: Look | None, title: str, id: str) -> None:
    """One of the two maps, in grey, with the items looked at lit up."""
    view = fetch(maps.extent, place)
    whole = fetch(maps.count, place, maps.EVERYWHERE)
    rows = fetch(maps.points, place, 1, view, MOST, "tier")
    chart = charts.points(rows, box=view, faint=True, height=440)
    lit = fetch(parts.places, run, look.kind, look.text, maps.EVERYWHERE, MOST_LIT, place) if look else None
    said = ""
    if lit is not None and len(lit):
        n = int(lit["n"].iloc[0])
        said = f"; {n:,} items of {look.name if look else ''} lit" + (
            f", {len(lit):,} of them drawn" if len(lit) < n else ""
        )
        charts.light(chart, [charts.Overlay(lit, f"the same {n:,} items", "found")])
    charts.name(chart, charts.placed(fetch(maps.names, place, view, 100), view, wide=520, high=440))
    figure(
        chart, title=title, key=id, define="map", filters={"map": place, "part": f"{look.kind} {look.text}" if look else ""},
        data=deferred(parts.places, run, look.kind, look.text, maps.EVERYWHERE, whole, place) if look else rows,
        n=(f"{whole:,} items, all" if len(rows) >= whole else f"{len(rows):,} of {whole:,} items, stratified by level-1 code") + said,
        alt=f"Map of the run {title}{said}.",
    )  # fmt: skip


def _held(run: str, other: str, look: Look, names: dict[str, str]) -> None:
    """How the codes of either run hold these items: the two maps as a table."""
    sides = []
    for side in (run, other):
        rows = fetch(parts.held_by, run, look.kind, look.text, side)
        sides.append(rows.assign(run=names.get(side, side), share=rows["n_most"] / rows["n"]))
    both = pd.concat(sides, ignore_index=True)
    if both.empty:
        st.caption("Neither run gives these items a SID.")
        return
    deepest = [side.iloc[-1] for side in sides if len(side)]
    st.markdown(
        escape(
            "; ".join(
                f"{row['run']}: {row['n']:,} items under {row['n_codes']:,} whole SIDs, {number(row['share'], 'percent')} under the commonest"
                for row in deepest
            )
        )
        + "."
    )
    table(
        both, title="Codes that hold them", key="map-held", n=f"{len(both):,} rows, all levels of both runs", define="map_held",
        filters={"part": f"{look.kind} {look.text}", "beside": other}, show=["run", "level", "n_codes", "prefix", "label", "n_most", "share", "n"],
        columns={
            "run": st.column_config.TextColumn("Run", width="medium"), "level": "Level",
            "n_codes": st.column_config.NumberColumn("Codes that hold them", format="localized"), "prefix": "Commonest code",
            "label": st.column_config.TextColumn("Its label", width="medium"),
            "n_most": st.column_config.NumberColumn("Items under it", format="localized"),
            "n": st.column_config.NumberColumn("Items", format="localized"),
        },
        percent={"share": "Share under it"},
    )  # fmt: skip
