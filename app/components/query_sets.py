"""Sets of queries: put together by people, kept by text beside the snapshots, measured in every run of this one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
import streamlit as st

from app import text
from app.components.export import download
from app.components.figure import table
from app.components.links import choose
from app.components.set_measures import KIND, measures
from app.components.states import bad_parameter, lacks
from app.export import slug
from app.fetch import current, fetch
from app.queries import query_sets as queries
from engine.errors import EngineError
from engine.store.query_sets import TAGS, QuerySet, QuerySets, normalise, read_csv, rows

LARGEST_FILE = 5 * 2**20
ZERO = "nothing relevant retrieved"
NEW = "a new set"


def show() -> None:
    """The sets with their measures, the heatmap over runs, one set's queries, and how sets are made and exchanged."""
    sets = _store().all()
    st.markdown(
        f"A set is a list of queries under one name; it is kept by text, so it outlives every snapshot. There "
        f"{'is' if len(sets) == 1 else 'are'} **{text.plural(len(sets), 'set', 'sets')}** of yours.",
        help=text.DEFINITIONS["query_sets"],
    )
    _make(sets)
    measures(sets, ranked=not lacks("judgments"))
    _one(sets)


def add_one(query: str) -> None:
    """A small control that puts the query in view into a set; for a row of controls."""
    try:
        sets = _store().all()
    except EngineError as error:
        st.caption(f"Sets of queries: {text.escape(error)}")
        return
    key = normalise(query)
    inside = [each.name for each in sets if key in map(normalise, each.texts)]
    with st.popover("Add to a set", icon=":material/playlist_add:", type="tertiary"):
        name = _which(sets, "add")
        if st.button("Add this query", type="primary", disabled=not name) and _put(name, [query], ()):
            st.rerun()
    if inside:
        st.caption(
            text.escape(f"In your {'set' if len(inside) == 1 else 'sets'} {text.listed(inside)}"), width="content"
        )


def _store() -> QuerySets:
    return QuerySets(current().workspace)


def _which(sets: list[QuerySet], key: str) -> str:
    """The name of a set, chosen or new."""
    names = [each.name for each in sets]
    chosen = st.selectbox("Set", [*names, NEW], key=f"set-{key}") if names else NEW
    if chosen != NEW:
        return str(chosen)
    return str(st.text_input("Name of the new set", key=f"set-name-{key}", max_chars=60) or "").strip()


def _put(name: str, texts: list[str], tags: tuple[str, ...]) -> bool:
    """Add texts, and say what became of them; False where that failed."""
    try:
        added = _store().add(name, texts, tags)
    except EngineError as error:
        st.error(text.escape(error), icon=":material/error:")
        return False
    said = [f"{text.plural(added.new, 'query', 'queries')} added to “{name}”"]
    said += [f"{added.known:,} in it already"] if added.known else []
    said += [f"{added.refused:,} left out: too long, or the set is full"] if added.refused else []
    st.toast(text.escape("; ".join(said) + "."), icon=":material/playlist_add_check:")
    return True


def _make(sets: list[QuerySet]) -> None:
    """Add by pasting lines or by a file."""
    with st.expander("Make or extend a set", icon=":material/playlist_add:", expanded=not sets):
        paste, file = st.columns(2)
        with paste, st.form("paste", border=False, clear_on_submit=True):
            names = [each.name for each in sets]
            name = st.selectbox(
                "Set", names, index=None, accept_new_options=True, placeholder="choose, or type a new name"
            )
            tags = st.multiselect("Tags", _tags(sets), accept_new_options=True, placeholder="mine, seasonal, brand ...")
            lines = st.text_area("Queries, one a line", height=120)
            if st.form_submit_button("Add them", icon=":material/playlist_add:"):
                if not (name and (lines or "").strip()):
                    st.warning("A set needs a name and at least one query.", icon=":material/edit:")
                elif _put(str(name), str(lines).splitlines(), tuple(tags)):
                    st.rerun()
        with file:
            st.caption("CSV with the columns set, tags, text: what the CSV button below gives.")
            given = st.file_uploader("Sets from a CSV file", type="csv", key="set-file", max_upload_size=5)
            if given is not None and st.button("Add the sets of the file", icon=":material/upload:"):
                _read(given.getvalue())
            if sets:
                download(
                    "Query sets",
                    lambda: pd.DataFrame(rows(sets)),
                    key="all-sets",
                    definition=text.DEFINITIONS["query_sets"],
                )
            if not lacks("judgments") and st.button(f"Make a set of queries with {ZERO}", icon=":material/search_off:"):
                found = fetch(queries.nothing_relevant, current().run_id, 1_000)
                if _put(ZERO, list(found), ("zero result",)):
                    st.rerun()


def _read(data: bytes) -> None:
    try:
        given = read_csv(data[:LARGEST_FILE])
    except EngineError as error:
        st.error(text.escape(error), icon=":material/error:")
        return
    if all([_put(each.name, list(each.texts), each.tags) for each in given]):
        st.rerun()


def _tags(sets: list[QuerySet]) -> list[str]:
    return list(dict.fromkeys((*TAGS, *(tag for each in sets for tag in each.tags))))


def _one(sets: list[QuerySet]) -> None:
    """The queries of the chosen set, its tags, and the ways to change it."""
    kinds = (
        []
        if lacks("judgments")
        else [f"{KIND}{k}" for k in dict.fromkeys(fetch(queries.by_kind, current().run_id)["kind"])]
    )
    options = [*(each.name for each in sets), *kinds]
    asked = st.query_params.get("set")
    if asked and asked not in options:
        bad_parameter("set of queries", asked, "Choose one of the list.")
    if not options:
        return
    name = st.selectbox(
        "Queries of the set", options, index=None, key="set", bind="query-params", placeholder="choose a set", width=360
    )
    if name is None:
        return
    own = next((each for each in sets if each.name == name), None)
    if own is None:
        kind = str(name).removeprefix(KIND)
        st.button(
            f"Open the log of kind {text.escape(kind)}",
            icon=":material/list:",
            type="tertiary",
            on_click=_to_kind,
            args=(kind,),
        )
        return
    _queries(own)
    _change(own)


def _to_kind(kind: str) -> None:
    choose("part", "Query log")
    choose("kind", kind)


def _queries(own: QuerySet) -> None:
    found = fetch(queries.texts, current().run_id, own.texts)
    said = {normalise(t): t for t in own.texts}
    found = found.assign(
        text=found["normal"].map(said),
        state=[_state(row) for row in found.to_dict("records")],
    )
    table(
        found,
        title=f"Queries of {own.name}",
        key="set-queries",
        define="query_sets",
        filters={"set": own.name},
        n=f"{text.plural(len(found), 'query', 'queries')}, all",
        show=["text", "state", "frequency", "n_judged", "value_without", "value", "difference", "n_candidates"],
        columns={
            "text": st.column_config.TextColumn("Query", width=300), "state": st.column_config.TextColumn("State", width=170),
            "frequency": st.column_config.NumberColumn("Searches", format="localized"), "n_judged": "Judged",
            "value_without": st.column_config.NumberColumn("nDCG@10 without", format="%.3f"),
            "value": st.column_config.NumberColumn("with SIDs", format="%.3f"),
            "difference": st.column_config.NumberColumn("difference", format="%+.3f"),
            "n_candidates": st.column_config.NumberColumn("Candidates", format="localized"),
        },
        chooses=("text", "q"),
        height=380,
    )  # fmt: skip
    st.caption("Choose a row to open that query; one that the snapshot does not know is answered live.")


def _state(row: Mapping[Hashable, Any]) -> str:
    """What the snapshot knows of a query."""
    if pd.isna(row["query_id"]):
        return "not in this snapshot"
    if pd.notna(row["difference"]):
        return f"measured, {text.direction(float(row['difference']))}"
    return "judged, not a test query" if pd.notna(row["n_judged"]) and row["n_judged"] else "not judged"


def _change(own: QuerySet) -> None:
    """Tags, removal of queries and of the set; the export of all sets."""
    store = _store()
    with st.expander("Change this set", icon=":material/edit:"):
        with st.form(f"change-{slug(own.name)}", border=False):
            tags = st.multiselect("Tags", _tags([own]), default=list(own.tags), accept_new_options=True)
            gone = st.multiselect("Take out", list(own.texts))
            if st.form_submit_button("Save", icon=":material/save:"):
                try:
                    store.tag(own.name, tags)
                    store.take_out(own.name, gone)
                except EngineError as error:
                    st.error(text.escape(error), icon=":material/error:")
                else:
                    st.rerun()
        st.button("Remove the whole set", icon=":material/delete:", type="tertiary", on_click=_remove, args=(own.name,))
        if problem := st.session_state.pop("_set_problem", ""):
            st.error(text.escape(problem), icon=":material/error:")


def _remove(name: str) -> None:
    try:
        _store().remove(name)
    except EngineError as error:
        st.session_state["_set_problem"] = f"The set was not removed: {error}"
    else:
        choose("set", None)
