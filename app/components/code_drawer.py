"""The card of what is chosen, as a drawer over the page; or, for comparing, beside it.

The drawer opens while `code` or `item` is set, so it opens by links, and on the map, in the tree and in tables alike; closing it
empties both. What is pressed in it runs the drawer alone, and the page only where that chose something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app import text
from app.components import beside, code_card, item_card, names
from app.components.links import choose
from app.components.states import panel
from app.fetch import current, fetch
from app.queries import codebook as queries

WIDTH = 860  # pixels; it can be pulled wider


def show(code: dict[str, Any] | None, item: dict[str, Any] | None) -> None:
    """Open the card of a code, an item, or both, as a drawer."""
    if not (code or item):
        return
    chosen = _chosen()

    @st.dialog(text.escape(text.shortened(_title(code, item), 90)), width=WIDTH, position="right", on_dismiss=close)
    def opened() -> None:
        if _chosen() != chosen:
            st.rerun()
        body(code, item, live=False)

    opened()


def body(code: dict[str, Any] | None, item: dict[str, Any] | None, *, live: bool) -> None:
    """The card itself. `live`: it is part of the page, which runs again by itself."""
    prefix = str(code["prefix"]) if code else ""
    if live:
        st.subheader(text.escape(text.shortened(_title(code, item), 90)), anchor=False)
    _bar(prefix, live=live)
    if item:
        with panel("The item"):
            item_card.show(current().run_id, item, prefix)
    if code:
        with panel(f"Code {prefix}"):
            code_card.summary(code)
            beside.code(prefix)
        with panel(f"Details of code {prefix}"):
            code_card.details(code)


def _chosen() -> tuple[Any, ...]:
    """What the page shows depends on this: where it changes in the drawer, the page must run again."""
    kept = st.session_state
    return kept.get("code"), kept.get("item"), bool(kept.get("beside")), names.given()


def close() -> None:
    """Nothing is chosen any more."""
    choose("code", "")
    choose("item", "")


def _title(code: dict[str, Any] | None, item: dict[str, Any] | None) -> str:
    if code:
        return names.path(str(code["prefix"]))
    return str(item["title"]) if item else ""


def _bar(prefix: str, *, live: bool) -> None:
    """Previous and next code of the same parent, by button and by key; its end; how the card stands."""
    family: Sequence[str] = fetch(queries.family, current().run_id, prefix) if prefix else ()
    place = family.index(prefix) if prefix in family else -1
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        if len(family) > 1:
            for name, to, icon, key in (
                ("Previous", place - 1, ":material/arrow_back:", "K"),
                ("Next", place + 1, ":material/arrow_forward:", "J"),
            ):
                held = 0 <= to < len(family)
                st.button(name, key=f"card-{name.lower()}", icon=icon, type="tertiary", shortcut=key, disabled=not held,
                          help="The codes of the same parent, by their numbers", on_click=_turn, args=(family[to] if held else "",))  # fmt: skip
            st.caption(f"{place + 1:,} of {len(family):,}")
        # A drawer hears Esc only while the focus is in it, and loses it where what had the focus is drawn anew.
        st.button("Close", key="card-close", icon=":material/close:", type="tertiary", shortcut="Esc", on_click=close)
        if not live:
            st.button("Keep beside the page", key="card-beside", icon=":material/view_sidebar:", type="tertiary", on_click=_stand,
                      help="Map, tree and table stay in use then: for comparing codes")  # fmt: skip


def _turn(prefix: str) -> None:
    choose("code", prefix)
    choose("item", "")


def _stand() -> None:
    st.session_state["beside"] = True
