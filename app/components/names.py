"""What codes are called: the one place where people's names stand in for computed labels, and where they are given.

names.given()                  # what a query that names codes takes
names.named("79-2", label)     # the name of one code: a person's, else its label in words
names.overlay(rows, "prefix")  # the same for a table's column of labels
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app import text
from app.components.figure import table
from app.fetch import current, fetch
from app.queries import codebook as codes
from app.queries import names as queries
from app.text import escape
from engine.errors import EngineError
from engine.store import names as store
from engine.store.kept import Kept
from engine.store.names import Name


def given() -> queries.Given:
    """What people named in the current run, for queries: ((prefix, name), ...)."""
    return tuple((prefix, name.name) for prefix, name in _given().items())


def named(prefix: str, label: str | None) -> str:
    """The name of a code: a person's, else its label in words ('oakridge, pine'), else its number. Plain text: escape it."""
    person = _given().get(prefix)
    return person.name if person else in_words(prefix, label)


def in_words(prefix: str, label: str | None) -> str:
    """A computed label as words."""
    return label.replace(" · ", ", ") if isinstance(label, str) and label else f"code {prefix}"


def overlay(rows: pd.DataFrame, prefix: str, label: str = "label") -> pd.DataFrame:
    """The rows with the names of codes in their column of labels; rows without a prefix keep what they have."""
    if rows.empty:
        return rows
    said = [named(p, v) if isinstance(p, str) and p else v for p, v in zip(rows[prefix], rows[label], strict=True)]
    return rows.assign(**{label: said})


def renamed(rows: pd.DataFrame, prefix: str = "prefix", label: str = "label") -> pd.DataFrame:
    """The rows with the names that people gave in their column of labels; computed labels stay as they are."""
    people = _given()
    if rows.empty or not people:
        return rows
    said = [people[p].name if p in people else v for p, v in zip(rows[prefix], rows[label], strict=True)]
    return rows.assign(**{label: said})


def levels(prefix: str) -> list[str]:
    """The names of a code's levels, from the broadest to its own; empty where it does not exist."""
    return fetch(queries.names, current().run_id, prefix, given())


def path(prefix: str) -> str:
    """Those names in one line: 'TV Stands > tv > oakridge, pine'."""
    return " > ".join(levels(prefix))


def _given() -> dict[str, Name]:
    where = current()
    if not where.run_id:
        return {}
    try:
        return _read(str(where.workspace), where.run_id, _touched(where.workspace))
    except EngineError:  # said where names are given: everywhere else labels stand
        return {}


def _touched(workspace: Path) -> tuple[int, int]:
    try:
        found = Kept(workspace, store.DOCUMENT).path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


@st.cache_data(max_entries=16, show_spinner=False)
def _read(workspace: str, run_id: str, touched: tuple[int, int]) -> dict[str, Name]:
    return store.given(Path(workspace), run_id)


# ---------------------------------------------------------------- giving names


def editor(code: dict[str, Any]) -> None:
    """The popover in which a code is named, its name taken back, and a language model asked; what fails is said."""
    where, prefix = current(), str(code["prefix"])
    with st.popover("Rename", icon=":material/edit:", help="Call this code what your people call it"):
        try:
            past = [n for n in store.history(where.workspace, where.run_id) if n.prefix == prefix]
        except EngineError as error:
            st.error(escape(str(error)), icon=":material/error:")
            return
        said = in_words(prefix, code["label"])
        st.caption(escape(f"Computed from its items: {text.shortened(said, 200)}"), help=text.DEFINITIONS["code_label"])
        field = f"name-{prefix}"
        st.session_state.setdefault(field, past[-1].name if past else "")
        st.text_input("Name", key=field, max_chars=store.LONGEST, placeholder=said[: store.LONGEST],
                      help="Kept beside snapshots, for this run: a new snapshot of it has the name again.")  # fmt: skip
        st.text_input("Given by", key="named_by", max_chars=store.LONGEST, placeholder=_visitor() or "your name",
                      persist_state="session")  # fmt: skip
        with st.container(horizontal=True):
            st.button("Save", type="primary", key=f"save-{prefix}", on_click=_save, args=(prefix, field))
            st.button("Undo", icon=":material/undo:", key=f"undo-{prefix}", disabled=not past, on_click=_undo,
                      args=(prefix, field), help="Take the newest name back")  # fmt: skip
            if store.can_be_proposed():
                st.button("Propose", icon=":material/smart_toy:", key=f"propose-{prefix}", on_click=_propose,
                          args=(code, field), help="Ask the language model of this server; nothing is renamed until you save")  # fmt: skip
        if problem := st.session_state.pop("_name_problem", ""):
            st.error(escape(problem), icon=":material/error:")
        for name in reversed(past[-3:]):
            st.caption(escape(_told(name)))


def _told(name: Name) -> str:
    what = f"“{name.name}”" if name.name else "the computed label again"
    return f"{what}, by {name.by}, {name.at[:16].replace('T', ' ')} UTC{', worded by a model' if name.proposed else ''}"


def _visitor() -> str:
    """Who is logged in, where the server asks for it."""
    return str(st.user.get("name") or st.user.get("email") or "") if st.user.get("is_logged_in") else ""


def _save(prefix: str, field: str) -> None:
    where = current()
    name = st.session_state.get(field) or ""
    proposed = bool(name) and st.session_state.get("_proposed") == (prefix, name)
    by = (st.session_state.get("named_by") or "").strip() or _visitor()
    try:
        store.rename(where.workspace, where.run_id, prefix, name, by=by, proposed=proposed)
    except EngineError as error:
        st.session_state["_name_problem"] = f"The name was not kept: {error}"


def _undo(prefix: str, field: str) -> None:
    where = current()
    try:
        store.undo(where.workspace, where.run_id, prefix)
        st.session_state[field] = next(
            (n.name for n in reversed(store.history(where.workspace, where.run_id)) if n.prefix == prefix), ""
        )
    except EngineError as error:
        st.session_state["_name_problem"] = f"The name was not taken back: {error}"


def _propose(code: dict[str, Any], field: str) -> None:
    from engine.labeling.naming import Shelf, propose, settings

    run, prefix = current().run_id, str(code["prefix"])
    try:
        where = settings()
        near = fetch(codes.siblings, run, prefix, given())["name"].head(8)
        typical = fetch(codes.items, run, prefix, 8, 0)["title"]
        terms = tuple(str(term["term"]) for term in code["terms"])
        name = propose(Shelf(tuple(levels(prefix)[:-1]), terms, tuple(typical), tuple(near)), where)
    except EngineError as error:
        st.session_state["_name_problem"] = f"No name was proposed: {error}"
        return
    st.session_state[field], st.session_state["_proposed"] = name, (prefix, name)


def register() -> None:
    """Every name that people gave codes of the run, to read, open and export; nothing where there is none."""
    where = current()
    try:
        past = store.history(where.workspace, where.run_id)
    except EngineError as error:
        st.error(escape(str(error)), icon=":material/error:")
        return
    if not past:
        return
    rows = pd.DataFrame(past)[::-1].reset_index(drop=True)
    table(
        rows, title="Names that people gave", key="names", chooses=("prefix", "code"), height=260,
        define="Kept beside snapshots, by run. The newest name of a code is shown wherever the code is.",
        columns={"prefix": "Code", "name": "Name", "by": "Given by", "at": "When (UTC)", "proposed": "Worded by a model"},
    )  # fmt: skip
