"""What a page shows when there is nothing, too little, or something failed: one place for the wording."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import streamlit as st

from app.fetch import current, fetch
from app.near import alike
from app.queries import snapshot
from app.text import CLICKS, DEFINITIONS, FROM_GRADES, clicked, escape, listed
from engine.errors import EngineError

_logger = logging.getLogger(__name__)


def header(title: str, lead: str) -> None:
    """A page's title and one sentence on what it answers."""
    st.title(title, anchor=False)
    st.markdown(lead)


@contextmanager
def panel(what: str, *, height: int = 120) -> Iterator[None]:
    """A part of a page that may fail alone: a skeleton while it loads, a message in its place if it breaks.

    A failed query is not zero results, so it never looks like an empty one.
    """
    try:
        with st.skeleton(height):
            yield
    except EngineError as error:
        st.error(f"{escape(what)}: {escape(str(error))}", icon=":material/error:")
    except Exception as error:  # the other panels stay usable; the whole trace goes to the log
        _logger.exception("panel %s", what)
        st.error(
            f"{escape(what)} could not be shown ({escape(type(error).__name__)}: {escape(str(error)[:200])}). "
            "This is a failure, not an empty result; the rest of the page is unaffected.",
            icon=":material/error:",
        )


def nothing(message: str, *, remedy: str | None = None) -> None:
    """An empty result, said as such: what is not there, and what would fill it."""
    st.info(message + (f"  \n{remedy}" if remedy else ""), icon=":material/inbox:")


def defined(define: str) -> str:
    """The definition of that name, or the sentence itself; it says so where it rests on grades that were read from clicks."""
    definition = DEFINITIONS.get(define, define)
    if define in FROM_GRADES and fetch(snapshot.grades_from_clicks)[1]:
        return f"{definition} {CLICKS}"
    return definition


def imported() -> bool:
    """Whether the current run was made of files of another system."""
    return fetch(snapshot.missing_files, current().run_id) is not None


RESTS_ON = {"scores with SIDs": "judgments", "scores without SIDs": "judgments", "beams": "queries"}
"""What a catalogue must have for what pages need, where the names differ."""


def unfilled(message: str, *, needs: tuple[str, ...], remedy: str | None = None) -> None:
    """`nothing`, unless the current run was made without what the page `needs`: then that is the reason."""
    missing = fetch(snapshot.missing_files, current().run_id) or ()
    lacking = [name for name in needs if name in missing]
    if lacking:
        nothing(f"This run was imported, and {listed(lacking)} were not among its files.")
    elif absent := why_empty(needs):
        nothing(escape(absent))
    else:
        nothing(message, remedy=remedy)


def why_empty(needs: tuple[str, ...]) -> str:
    """What the catalogue lacks for what a page `needs`, and what would fill it; blank where it lacks nothing."""
    absent = fetch(snapshot.lacks, current().run_id)
    kinds = dict.fromkeys(RESTS_ON.get(name, name) for name in needs)
    return " ".join(absent[kind] for kind in kinds if kind in absent)


def lacks(kind: str) -> bool:
    """Whether the catalogue of the current run had no 'judgments' (so nothing is ranked), 'queries' or 'categories'."""
    return kind in fetch(snapshot.lacks, current().run_id)


def bad_parameter(name: str, value: str, allowed: str, near: Iterable[str] = (), called: str = "") -> None:
    """A link or a person named something that is not here; the page stays usable.

    `near`: names that exist; those like `value` are offered, each as a button that sets the widget `name`. `called`: the
    word for it where that is not `name`.
    """
    st.warning(
        f"There is no {escape(called or name)} “{escape(value[:80])}” here. {allowed}", icon=":material/search_off:"
    )
    suggest(name, value, near)


def suggest(name: str, value: str, near: Iterable[str]) -> None:
    """Those of the names in `near` that are like what was written, each a button that sets the widget `name`; nothing without."""
    meant = alike(value, near)
    if meant:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown("Did you mean")
            for place, one in enumerate(meant):
                st.button(escape(one), key=f"near-{name}-{place}", on_click=_mean, args=(name, one))


def _mean(name: str, value: str) -> None:
    st.session_state[name] = value


def has_run() -> bool:
    """Whether there is a run with SIDs to show; says so where there is not, and what an imported one lacks."""
    if current().run_id:
        missing = fetch(snapshot.missing_files, current().run_id)
        if missing is not None:
            lacks = listed(missing)
            lacks = (
                f" {lacks[:1].upper()}{lacks[1:]} were not among its files; what rests on them is empty."
                if lacks
                else ""
            )
            st.caption(f":material/move_to_inbox: This run was imported, nothing was trained here.{lacks}")
        for kind in ("judgments", "queries"):
            if absent := why_empty((kind,)):
                st.caption(f":material/inbox: {escape(absent)}")
        if said := clicked(*fetch(snapshot.grades_from_clicks)):
            st.caption(f":material/ads_click: {said}")
        return True
    nothing(
        "This snapshot holds a catalogue but no run with semantic identifiers yet.",
        remedy="Train one and publish: `python -m engine train`, then `python -m engine publish`.",
    )
    return False


def no_snapshot() -> None:
    """The first thing a new user sees when nothing was published."""
    st.title("Nothing to look at yet", anchor=False)
    st.markdown("Sidelight shows snapshots, and this workspace has none. Start with the bundled marketplace:")
    st.code("python -m engine demo --no-serve", language="bash")
    st.markdown("or with your own catalogue (see `data/README.md` for the files):")
    st.code(
        "python -m engine ingest FOLDER\npython -m engine train\npython -m engine publish",
        language="bash",
    )
    st.markdown("This page looks again when you press the button.")
    st.button("Look again", icon=":material/refresh:", type="primary")
    st.caption("Which workspace this server looks into, it said where it was started.")
