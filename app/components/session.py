"""What a browser session looks at: its snapshot, its run, and the notice that a newer snapshot is ready.

A session stays on the snapshot it opened, so that numbers do not change under a reader; the address bar names it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import streamlit as st

from app.components import states
from app.components.glossary import glossary
from app.fetch import Base, Current, current, fetch, fetch_of, handles
from app.queries import snapshot as queries
from app.rankers import method_in_words, run_name
from app.text import escape
from engine.errors import SnapshotError
from engine.store.snapshot import current_id, list_snapshots
from engine.store.workspace import from_environment

CHECK_EVERY = 60.0
"""Seconds between looks for a newer snapshot; also renews the lease that protects this one."""


def start() -> bool:
    """Choose snapshot and run, draw the sidebar; False where there is nothing a page could show."""
    folder = from_environment()
    newest = current_id(folder)
    asked = st.query_params.get("snapshot") or st.session_state.get("_snapshot")
    wanted = asked or newest
    if wanted is None:
        states.no_snapshot()
        return False
    try:
        handles().keep(folder, wanted)
    except SnapshotError as error:
        _unusable(str(error), wanted, newest)
        return False
    st.session_state["_snapshot"] = wanted
    st.session_state["_current"] = Current(folder, wanted, "")
    with st.sidebar:
        st.session_state["_current"] = Current(folder, wanted, _choose_run())
        st.session_state["_base"] = _choose_base()
        _watch(str(folder), wanted)
        _about()
        glossary()
    return True


def name_in_address() -> None:
    """Put the snapshot that is shown into the address: after the page, when the browser knows how to keep its history."""
    if st.query_params.get("snapshot") != current().snapshot_id:
        st.query_params["snapshot"] = current().snapshot_id


def open_current() -> None:
    """Leave the snapshot of this session for the current one (a button's callback)."""
    st.session_state.pop("_snapshot", None)
    if "snapshot" in st.query_params:
        del st.query_params["snapshot"]


def _unusable(message: str, wanted: str, newest: str | None) -> None:
    st.title("This snapshot cannot be opened", anchor=False)
    st.error(escape(message), icon=":material/error:")
    if newest and newest != wanted:
        st.button(
            f"Open the current snapshot ({escape(newest)})",
            on_click=open_current,
            type="primary",
            icon=":material/history:",
        )
    else:
        st.markdown("Publish one again (nothing is retrained), then look again:")
        st.code("python -m engine publish", language="bash")
        st.button("Look again", icon=":material/refresh:", on_click=open_current)


def _choose_run() -> str:
    """The run with SIDs that pages show: the one asked for, else the snapshot's own choice, else the first."""
    runs = fetch(queries.runs)
    capable = [str(r) for r in runs.loc[runs["method"] != "none", "run_id"]]
    if not capable:
        return ""
    info = fetch(queries.info)
    first = str(info["default_run"]) if info.get("default_run") in capable else capable[0]
    asked = st.query_params.get("run")
    if asked and asked not in capable:
        states.bad_parameter("run", asked, f"Shown instead: {escape(first)}.")
    names = {str(run): run_name(run, method) for run, method in zip(runs["run_id"], runs["method"], strict=True)}
    # Not bound to the address: a bound menu would write its words there, and links name runs by their id.
    if st.session_state.get("run_menu") not in capable or (asked in capable and asked != st.session_state["run_menu"]):
        st.session_state["run_menu"] = asked if asked in capable else first
    chosen = st.selectbox("Run", capable, key="run_menu", format_func=names.__getitem__, on_change=_turn_to_run)
    if asked != chosen and chosen != first:
        st.query_params["run"] = chosen
    return str(chosen)


def _choose_base() -> Base | None:
    """The run to compare with: of this snapshot or of another one of the workspace; the address names it as `base`."""
    offered = {other.address(): other for other in _others()}
    asked = st.query_params.get("base")
    if asked == current().run_id:  # the two were the same run: nothing to compare
        asked = None
    if asked and asked not in offered:
        states.bad_parameter("base", asked, "Choose a run to compare with, if any.", called="run to compare with")
        asked = None
    if st.session_state.get("base_menu") not in (None, *offered) or (
        asked and asked != st.session_state.get("base_menu")
    ):
        st.session_state["base_menu"] = asked
    chosen = st.selectbox(
        "Compare with", list(offered), index=None, key="base_menu", placeholder="no other run", disabled=not offered,
        format_func=lambda name: _base_name(offered[name]), on_change=_turn_to_base,
        help="A second run, of this snapshot or of another one: pages show what differs, and Runs all of it."
        if offered else "There is no other run in this snapshot, nor another snapshot.",
    )  # fmt: skip
    return offered[chosen] if chosen else None


def _others() -> list[Base]:
    """Every other run that can be compared with, those of this snapshot first."""
    where = current()
    found = [Base(where.snapshot_id, str(r)) for r in fetch(queries.runs)["run_id"] if r != where.run_id]
    for info in list_snapshots(where.workspace):
        if info.snapshot_id != where.snapshot_id:
            with contextlib.suppress(SnapshotError):  # of another version, or pruned since the listing
                runs = fetch_of(info.snapshot_id, queries.runs)
                found += [Base(info.snapshot_id, str(run)) for run in runs["run_id"]]
    return found


def _base_name(base: Base) -> str:
    runs = fetch_of(base.snapshot_id, queries.runs).set_index("run_id")
    name = run_name(base.run_id, str(runs.loc[base.run_id, "method"]))
    if base.snapshot_id == current().snapshot_id:
        return name
    return f"{name}, in {base.snapshot_id} of {fetch_of(base.snapshot_id, queries.info)['created_at']:%Y-%m-%d %H:%M}"


def _turn_to_base() -> None:
    """The address names the run that the menu shows."""
    if st.session_state["base_menu"]:
        st.query_params["base"] = st.session_state["base_menu"]
    elif "base" in st.query_params:
        del st.query_params["base"]


def _turn_to_run() -> None:
    """The address names the run that the menu shows."""
    st.query_params["run"] = st.session_state["run_menu"]


@st.fragment(run_every=CHECK_EVERY)
def _watch(folder: str, snapshot_id: str) -> None:
    """Renew the lease; say when a newer snapshot is ready."""
    with contextlib.suppress(SnapshotError):  # pruned while this browser slept: the next page says so
        handles().keep(Path(folder), snapshot_id)
    newest = current_id(Path(folder))
    if newest and newest != snapshot_id:
        st.warning("A newer snapshot is ready.", icon=":material/update:")
        if st.button("Reload with the newer one", icon=":material/refresh:"):
            open_current()
            st.rerun()


def _about() -> None:
    info = fetch(queries.info)
    where = current()
    st.caption(escape(f"{info['dataset']}, {int(info['n_items'] or 0):,} items"))
    st.caption(escape(f"Run {where.run_id or 'none'}"))
    if where.run_id:
        st.caption(escape(method_in_words(fetch(queries.run, where.run_id).method)))
    st.caption(escape(f"{where.snapshot_id}, published {info['created_at']:%Y-%m-%d %H:%M} UTC"))
