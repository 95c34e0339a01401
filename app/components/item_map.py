"""The Codebook's map at full width: what it shows, what is lit up, and the closer look at a part of it.

Its state is the address: `box` is the part in view, `sel` the drawn region, `lit` the words, `mapq` the query.
"""

from __future__ import annotations

import streamlit as st

from app import text
from app.components import map_beside, map_figure, map_look, map_query
from app.components.map_figure import Scene, Shown
from app.components.states import bad_parameter, imported, nothing, suggest
from app.fetch import fetch
from app.queries import map as maps
from app.queries import map_parts as parts
from app.text import escape

COLOURS = {
    "department": "department", "tier": "tier of the category", "code": "code of the level", "seller": "seller", "brand": "brand",
    "purity": "purity of the code", "price": "price", "age": "new or old", "grade": "mean judged grade",
    "exposure": "exposure gained by SIDs", "reached": "reached by the drawn query",
}  # fmt: skip
MOST_WORDS = 5_000
"""Words that a mistyped one is held against."""
MICE = {"pan": "choose a point", "select": "draw a box", "lasso": "draw a lasso"}


def show(run: str, level: int, code: str, item: str) -> None:
    """The map of a run, with the chosen code (a prefix that exists, or '') and item (its id, or '') on it."""
    whole = fetch(maps.count, run, maps.EVERYWHERE)
    if not whole:
        _not_drawn()
        return
    box = _box()
    inside = fetch(maps.count, run, box) if box else whole
    found, query = _search(run)
    if found:
        _found(run, found, box)
    if query:
        map_query.sentence(run, query, box)
    shown = _controls(run, inside, query is not None)
    if inside:
        view = box or fetch(maps.extent, run)
        map_figure.draw(Scene(run, level, view, box is not None, inside, whole, code, item, found, query), shown)
    else:
        nothing("No item lies in this part of the map.", remedy="Zoom out to see the whole map.")
    _trust(run)
    look = map_look.chosen(run, code, found, box)
    _buttons(run, look, box)
    map_look.show(run, look, whole)
    if query:
        map_query.table(run, query)
    map_beside.show(run, look)


def _not_drawn() -> None:
    if imported():
        nothing("This run was imported without a map.", remedy="`python -m engine import FOLDER --map` draws one.")
        return
    nothing(
        "The map is still being computed: it takes longest, so it is published after everything else.",
        remedy="The sidebar says when a newer snapshot is ready. The tree and the table show the same codes now. "
        "Started without it? `python -m engine publish` adds it.",
    )


def _box() -> maps.Box | None:
    """The part in view that the address names; None for the whole map."""
    raw = st.query_params.get("box")
    numbers = parts.region(raw)
    if raw and (numbers is None or len(numbers) != 4):
        bad_parameter("box", raw, "Shown instead: the whole map.")
        return None
    return parts.bounds(numbers) if numbers else None


def _search(run: str) -> tuple[str, map_query.Asked | None]:
    """The words that light items up, and the query that is drawn."""
    with st.grid(2, min_column_width=280):
        found = st.text_input(
            "Light up items", key="lit", bind="query-params", type="search", placeholder="words of title, brand, seller or category",
        )  # fmt: skip
        asked = st.text_input(
            "Draw a query", key="mapq", bind="query-params", type="search", placeholder="what people search for",
            help="Marks the items under the SIDs of its beams, its candidates and its judged items.",
        )  # fmt: skip
    return " ".join(found.split()), map_query.asked(run, asked)


def _controls(run: str, inside: int, drawn: bool) -> Shown:
    """Colour, mouse, names; density or sample where there are too many items."""
    held = fetch(maps.colourings, run)
    offered = [name for name in COLOURS if held.get(name, drawn)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        dense = inside > maps.MOST_POINTS
        if dense:
            dense = st.segmented_control(
                "Show", ["density", "sample"], default="density", required=True, key="show", bind="query-params",
                help="Too many items for one view: their density, or a sample that keeps every level-1 code's share.",
            ) == "density"  # fmt: skip
        colour = offered[0]
        if not dense:
            colour = st.selectbox(
                "Colour by", offered, key="colour", bind="query-params", width=250,
                format_func=COLOURS.__getitem__,
                help=text.DEFINITIONS["map_colour"],
            )  # fmt: skip
        drag = st.segmented_control(
            "Mouse", list(MICE), default="pan", required=True, key="mouse", bind="query-params", format_func=MICE.__getitem__,
        ) or "pan"  # fmt: skip
        names = st.toggle(
            "Names of codes", value=True, key="names", bind="query-params", help=text.DEFINITIONS["map_names"]
        )
    return Shown(colour, drag, dense, names)


def _zoom(box: str) -> None:
    """Show that part."""
    st.query_params["box"] = box


def _drop(name: str) -> None:
    """Leave `box` or `sel` out of the address."""
    if name in st.query_params:
        del st.query_params[name]


def _buttons(run: str, look: map_look.Look | None, box: maps.Box | None) -> None:
    """Zoom and clear, which the keyboard reaches too."""
    around = fetch(parts.surroundings, run, look.kind, look.text) if look and look.name != map_look.IN_VIEW else None
    drawn = "sel" in st.query_params
    if not (around or box or drawn):
        return
    with st.container(horizontal=True):
        if look and around:
            to = ",".join(f"{v:.3f}" for v in around)
            st.button(f"Zoom to {escape(look.name)}", icon=":material/zoom_in_map:", on_click=_zoom, args=(to,))
        if box:
            st.button("Zoom out", icon=":material/zoom_out_map:", on_click=_drop, args=("box",))
        if drawn:
            st.button("Clear the drawn region", icon=":material/deselect:", on_click=_drop, args=("sel",))


def _found(run: str, words: str, box: maps.Box | None) -> None:
    """How many items carry the words, and how many of them are in view."""
    n = fetch(parts.size, run, "words", words)
    if not n:
        st.caption(f"No item carries “{escape(words)}” in its title, brand, seller or category.")
        suggest("lit", words, fetch(maps.vocabulary, MOST_WORDS))
        return
    lit = fetch(parts.places, run, "words", words, box or maps.EVERYWHERE, map_figure.MOST_LIT)
    here = int(lit["n"].iloc[0]) if len(lit) else 0
    view = f", {here:,} of them in view" if box else ""
    some = f"; {len(lit):,} are lit, drawn at random" if len(lit) < here else ""
    st.caption(f"{n:,} items carry “{escape(words)}” in title, brand, seller or category{view}{some}.")


def _trust(run: str) -> None:
    """How far the map can be trusted."""
    trust = fetch(maps.faithfulness, run)
    if trust is None:
        st.caption("How faithful the map is was not measured.")
        return
    n, kept, _ = map_look.mean_kept(fetch(parts.kept, run, "", ""))
    if not n:
        n, kept = trust["n_sampled"], trust["neighbour_preservation"]
    st.caption(
        escape(
            f"How far to trust the map: of an item's {trust['neighbours']} nearest neighbours it keeps {text.number(kept, 'percent')}, "
            f"measured on {n:,} items; who is a neighbour on it is one in truth to {text.number(trust['trustworthiness'])} of 1 "
            f"(trustworthiness, measured on {text.number(trust['n_sampled'], 'count')}); how far apart groups lie means little. "
            f"Made with {text.number(trust['landmarks'], 'count')} landmarks, seed {trust['seed']}; {text.settings(trust['parameters'])}."
        ),
        help=text.DEFINITIONS["map"],
    )
