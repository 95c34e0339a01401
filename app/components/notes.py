"""Notes on what a page shows: read where they belong, written beside it, kept apart from snapshots."""

from __future__ import annotations

import streamlit as st

from app import text
from app.fetch import current
from app.text import escape
from engine.errors import EngineError
from engine.store.notes import LONGEST, Note, Notes, key_of_code


def on_code(prefix: str, about: str) -> None:
    """Notes on a code of the current run."""
    notes("code", key_of_code(current().run_id, prefix), about)


def notes(kind: str, key: str, about: str) -> None:
    """The notes on one thing, as they were written, and a popover to write another; what fails is said."""
    where, id = Notes(current().workspace), f"{kind}-{key}"
    try:
        found = where.of(kind, key)
    except EngineError as error:
        st.error(escape(error), icon=":material/error:")
        return
    for note in found:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f":material/sticky_note_2: {in_words(note)}", width="stretch")
            st.button(
                "Remove",
                key=f"note-remove-{note.id}",
                type="tertiary",
                icon=":material/delete:",
                on_click=_remove,
                args=(id, note.id),
            )
    with st.popover("Note", icon=":material/note_add:", type="tertiary", help=text.DEFINITIONS["notes"]):
        st.text_area("Note", key=f"note-words-{id}", max_chars=LONGEST, placeholder="what you saw, what was decided")
        st.session_state.setdefault(f"note-by-{id}", st.session_state.get("_note_by", ""))
        st.text_input("By", key=f"note-by-{id}", max_chars=80, placeholder="your name")
        st.button("Keep", key=f"note-keep-{id}", on_click=_keep, args=(id, kind, key, about))
    if problem := st.session_state.pop(f"_note-problem-{id}", ""):
        st.error(escape(problem), icon=":material/error:")


def in_words(note: Note) -> str:
    """A note with who wrote it and when, as Markdown."""
    who = ", ".join(filter(None, (note.by, f"{note.at[:16].replace('T', ' ')} UTC")))
    return f"{escape(note.words)} :small[{escape(f'({who})')}]"


def _keep(id: str, kind: str, key: str, about: str) -> None:
    words, by = (st.session_state.get(f"note-{field}-{id}") or "" for field in ("words", "by"))
    st.session_state["_note_by"] = by
    try:
        Notes(current().workspace).add(kind, key, words, about=about, by=by)
    except EngineError as error:
        st.session_state[f"_note-problem-{id}"] = f"The note was not kept: {error}"
    else:
        st.session_state[f"note-words-{id}"] = ""


def _remove(id: str, note: str) -> None:
    try:
        Notes(current().workspace).remove(note)
    except EngineError as error:
        st.session_state[f"_note-problem-{id}"] = f"The note was not removed: {error}"
