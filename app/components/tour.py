"""A tour of five pages for a first visit, each step at a state of this snapshot; dismissed once, it stays away.

The browser remembers the dismissal in a cookie of its own, which the server reads when a session begins.
"""

from __future__ import annotations

import streamlit as st

from app.components.links import link
from app.fetch import current, fetch
from app.queries import tour as queries
from app.text import escape, shortened

COOKIE = "sidelight_tour"
_YEAR = 31_536_000
_ANSWER = "_tour_wanted"
"""Whether the tour was asked for or dismissed in this session; until then the cookie says it."""


def wanted() -> bool:
    """Whether the tour is to be shown: on a first visit, and after it was asked for again."""
    answer = st.session_state.get(_ANSWER)
    return bool(answer) if answer is not None else st.context.cookies.get(COOKIE) != "seen"


def tour() -> None:
    """The five steps and the button that dismisses them."""
    found = fetch(queries.stops, current().run_id)
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(":material/tour: **New here? Five steps, a minute each**")
            st.button(
                "Dismiss the tour",
                key="tour-dismiss",
                icon=":material/close:",
                type="tertiary",
                on_click=_answer,
                args=(False,),
            )
        with st.grid(5, min_column_width=165, gap="small"):
            for i, (sentence, page, label, params) in enumerate(_steps(found), 1):
                with st.container(gap="xxsmall"):
                    st.markdown(f"**{i}** · {sentence}")
                    link(page, label, params)
    _remember()


def again() -> None:
    """The quiet button that brings the tour back."""
    st.button(
        "Show the tour again", key="tour-again", icon=":material/tour:", type="tertiary", on_click=_answer, args=(True,)
    )
    _remember()


def _steps(stops: queries.Stops) -> list[tuple[str, str, str, dict[str, str | None]]]:
    """Sentence (Markdown), page, label and parameters of each step."""
    named = f", like {escape(shortened(stops.code_name, 40))}" if stops.code_name else ""
    asked = f" “{escape(shortened(stops.query, 40))}”" if stops.query else " any search"
    title = f" “{escape(shortened(stops.title, 40))}”" if stops.title else " an item"
    audited: tuple[str, str, str, dict[str, str | None]] = (
        ("Who is seen more or less with SIDs, and why.", "sellers", "Sellers & categories", {"dimension": "seller", "value": stops.seller})
        if stops.seller
        else ("Which categories SIDs serve, and which they miss.", "coverage", "Coverage", {"category": stops.category})
    )  # fmt: skip
    return [
        ("This page: do SIDs help, and what to look at first.", "overview", "Overview", {}),
        (f"What every code means{named}.", "codebook", "Codebook", {"code": stops.code}),
        (f"What the model guesses for{asked}, and what it finds.", "query", "Query", {"q": stops.query_id}),
        (f"Why{title} stands where it does.", "explain", "Explain", {"q": stops.query_id, "item": stops.item_id}),
        audited,
    ]


def _answer(shown: bool) -> None:
    st.session_state[_ANSWER] = shown
    st.session_state["_tour_to_tell"] = True


def _remember() -> None:
    """Tell the browser what was answered, once."""
    if st.session_state.pop("_tour_to_tell", False):
        age = 0 if st.session_state[_ANSWER] else _YEAR
        st.html(
            f'<script>document.cookie = "{COOKIE}=seen; path=/; max-age={age}; SameSite=Lax";</script>',
            unsafe_allow_javascript=True,
            width="content",
        )
