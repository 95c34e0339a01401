"""The one cache between pages and the snapshot.

    rows = fetch(queries.overview.metrics, current().run_id)

A query is a plain function `(cursor, *args) -> result` of app/queries. Results are cached by snapshot, query and
arguments; connections and relations never enter the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import streamlit as st

from engine.store.handles import Handles

Result = TypeVar("Result")
Plain = str | int | float | bool | None | tuple["Plain", ...]
"""What a query may take besides the cursor: it becomes part of the cache's key."""


class Current(NamedTuple):
    """What this browser session looks at."""

    workspace: Path
    snapshot_id: str
    run_id: str
    """'' where the snapshot holds no run with SIDs."""


def current() -> Current:
    """The snapshot and run chosen by `components.session.start`."""
    return cast(Current, st.session_state["_current"])


class Base(NamedTuple):
    """The run that the session's own is compared with."""

    snapshot_id: str
    run_id: str

    def address(self) -> str:
        """As an address names it: the run, with its snapshot before it where that is not the session's."""
        return self.run_id if self.snapshot_id == current().snapshot_id else f"{self.snapshot_id}:{self.run_id}"


def base() -> Base | None:
    """The run to compare with, chosen by `components.session.start`; None where none is."""
    return cast("Base | None", st.session_state.get("_base"))


@st.cache_resource(show_spinner=False, on_release=Handles.close)
def handles() -> Handles:
    """The snapshots that this server has open, shared by its sessions."""
    return Handles()


def fetch(query: Callable[..., Result], *args: Plain) -> Result:
    """The result of `query(cursor, *args)` on the current snapshot, from the cache when it was asked before."""
    return fetch_of(current().snapshot_id, query, *args)


def fetch_of(snapshot_id: str, query: Callable[..., Result], *args: Plain) -> Result:
    """The same on any snapshot of the workspace."""
    return cast(Result, _cached(str(current().workspace), snapshot_id, None, _named(query), args, query))


def fetch_both(query: Callable[..., Result], beside: str, *args: Plain) -> Result:
    """The result of `query(cursor, beside, *args)`, which reads the tables of the snapshot `beside` as `"<beside>".<table>`."""
    where = current()
    return cast(
        Result,
        _cached(str(where.workspace), where.snapshot_id, beside, _named(query), (beside, *args), query),
    )


def _named(query: Callable[..., Any]) -> str:
    return f"{query.__module__}.{query.__qualname__}"


def deferred(query: Callable[..., Result], *args: Plain) -> Callable[[], Result]:
    """The same when it is called, without the cache: for exports, which are large and asked for once.

    What the session looks at is found now: a download is made outside of the page's run, where no session is known.
    """
    where, opened = current(), handles()

    def made() -> Result:
        with opened.cursor(where.workspace, where.snapshot_id) as cursor:
            return query(cursor, *args)

    return made


@st.cache_data(max_entries=400, max_size="600MB", show_spinner=False)
def _cached(
    workspace: str, snapshot_id: str, beside: str | None, name: str, args: tuple[Plain, ...], _query: Callable[..., Any]
) -> Any:
    with handles().cursor(Path(workspace), snapshot_id, beside) as cursor:
        return _query(cursor, *args)
