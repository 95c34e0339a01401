"""A chart or a table with what every number on the dashboard must carry: run, snapshot, n, definition, export."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from app import text
from app.components.export import download
from app.components.links import choose
from app.components.states import defined
from app.export import Filters, slug
from app.fetch import current, deferred, fetch

Selection = Literal["points", "box", "lasso"]
PAGE = 5_000
"""Rows that a browser is sent; of more it sees a page. (Streamlit's own tables turn lazy above 10,000 and lose search and selection.)"""


def provenance(n: str, definition: str) -> None:
    """The caption line: n, run, snapshot; the definition is its tooltip."""
    where = current()
    st.caption(text.escape(f"{n} · run {where.run_id or 'none'} · {where.snapshot_id}"), help=definition or None)


def figure(
    chart: go.Figure,
    *,
    title: str,
    data: pd.DataFrame | Callable[[], pd.DataFrame],
    n: str,
    alt: str,
    define: str = "",
    filters: Filters | None = None,
    key: str | None = None,
    on_select: Callable[[], None] | None = None,
    selection_mode: Selection | Iterable[Selection] = "points",
    subtitle: str = "",
    tools: bool = False,
    opens: str = "",
) -> Any:
    """A chart with its title, caption and CSV export. Returns Streamlit's selection state.

    `n` says how much it shows ('6,000 items, all' or '50,000 of 1,200,000 items, stratified sample'); `alt` states
    the takeaway; `define` is a key of `app.text.DEFINITIONS` or a sentence; `title` and `subtitle` are plain text; `opens`
    is the widget that `on_select` sets: once that is empty again, the same point can be chosen again.
    """
    id = key or slug(title)
    definition = defined(define)
    with st.container(gap="xxsmall"):
        st.subheader(text.escape(title), anchor=False, help=definition or None)
        if subtitle:
            st.caption(text.escape(subtitle))
        event = st.plotly_chart(
            chart,
            key=_chart(id, opens),
            on_select=on_select or "ignore",
            selection_mode=selection_mode,
            config={"displayModeBar": tools, "displaylogo": False, "scrollZoom": False},
            alt=alt,
        )
        with st.container(horizontal=True, vertical_alignment="center", wrap=False):
            provenance(n, definition)
            download(title, data, key=id, filters=filters, definition=definition)
    return event


def table(
    data: pd.DataFrame,
    *,
    title: str,
    n: str | None = None,
    define: str = "",
    columns: Mapping[str, Any] | None = None,
    show: Iterable[str] | None = None,
    percent: Mapping[str, str] | None = None,
    filters: Filters | None = None,
    key: str | None = None,
    on_select: Callable[[], None] | None = None,
    height: int | Literal["content"] | None = None,
    heading: bool = True,
    alt: str | None = None,
    full: Callable[[], pd.DataFrame] | None = None,
    chooses: tuple[str, str] | None = None,
    row_height: int | None = None,
) -> Any:
    """A table with title, caption and CSV export of all its columns; a click on a row chooses it where `on_select` is given.

    `columns` is Streamlit's column configuration (names with units); `show` the columns on screen, in order; `percent`
    names the columns of shares to show as percentages with one decimal (the export keeps shares); `full` gives the rows
    to export where `data` is a page of them; `chooses` = (column, widget key): the widget follows the chosen row, and the
    chosen row the widget.
    """
    id = key or slug(title)
    whole = data
    if len(whole) > PAGE:
        first, _ = _page(len(whole), id)
        data = whole.iloc[first : first + PAGE]
        n, full = f"rows {first + 1:,}-{first + len(data):,} of {len(whole):,}", full or (lambda: whole)
    if chooses:
        on_select = partial(choose_from, id, data, *chooses)
        _mark(id, data, *chooses)
    definition = defined(define)
    shares = {
        name: st.column_config.NumberColumn(f"{label} (%)", format="%.1f") for name, label in (percent or {}).items()
    }
    with st.container(gap="xxsmall"):
        if heading:
            st.subheader(text.escape(title), anchor=False, help=definition or None)
        event = st.dataframe(
            data.assign(**{name: 100 * data[name].astype(float) for name in shares}),
            key=f"table-{id}",
            hide_index=True,
            placeholder="–",
            column_config=dict(columns or {}) | shares,
            column_order=list(show) if show is not None else None,
            on_select=on_select or "ignore",
            selection_mode=("single-row", "single-cell"),
            height="content"
            if isinstance(height, int) and (row_height or 38) * (len(data) + 1) < height
            else height or "auto",
            row_height=row_height,
            alt=alt or title,
        )
        with st.container(horizontal=True, vertical_alignment="center", wrap=False):
            provenance(n or f"{text.plural(len(data), 'row', 'rows')}, all", definition)
            download(title, full or data, key=id, filters=filters, definition=definition)
    return event


def paged_table(
    page: Callable[..., pd.DataFrame],
    args: tuple[Any, ...],
    *,
    rows: int,
    title: str,
    key: str,
    chooses: tuple[str, str] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """A table of a query that may have more rows than a browser takes: whole if small, else paged in SQL.

    `page` is a query `(cursor, *args, limit, offset)`; `rows` the whole count; `chooses` = (column, widget key) sets that
    widget to the column of a chosen row. Returns the rows on screen. The export always holds all of them.
    """
    offset, limit = _page(rows, key)
    data = fetch(page, *args, limit, offset)
    n = (
        f"{text.plural(rows, 'row', 'rows')}, all"
        if rows <= PAGE
        else f"rows {offset + 1:,}-{offset + len(data):,} of {rows:,}"
    )
    table(data, title=title, n=n, key=key, full=deferred(page, *args, rows, 0), chooses=chooses, **options)
    return data


def _page(rows: int, key: str) -> tuple[int, int]:
    """First row and number of rows of the page of a table that is chosen above it, where it has several."""
    last = (rows - 1) // PAGE + 1
    if last <= 1:
        return 0, PAGE
    chosen = st.number_input(f"Page of {last:,} ({PAGE:,} rows each)", 1, last, 1, key=f"page-{key}")
    return (int(chosen) - 1) * PAGE, PAGE


def chosen_row(key: str, data: pd.DataFrame) -> pd.Series | None:
    """The row chosen in a `table(key=...)`, by its box or by a click on any of its cells."""
    chosen = st.session_state.get(f"table-{key}", {}).get("selection", {})
    rows = [row for row, _ in chosen.get("cells", [])] or chosen.get("rows", [])
    if rows and len(data) > PAGE:  # all of a table of which a page was shown
        rows = [rows[0] + (int(st.session_state.get(f"page-{key}", 1)) - 1) * PAGE]
    return data.iloc[rows[0]] if rows and rows[0] < len(data) else None


def choose_from(table_key: str, data: pd.DataFrame, column: str, key: str) -> None:
    """Set the widget `key` to a column of the row chosen in a table, and empty it where no row is chosen any more."""
    row = chosen_row(table_key, data)
    if row is None:
        choose(key, "")
    elif pd.notna(row[column]):
        choose(key, str(row[column]))


def _mark(id: str, data: pd.DataFrame, column: str, key: str) -> None:
    """Mark the row that the widget `key` names, and no other: so that a row that was closed can be chosen again."""
    value, state = st.session_state.get(key), f"table-{id}"
    rows = [int(row) for row in np.flatnonzero(data[column].astype(str) == str(value))[:1]] if value else []
    chosen = st.session_state.get(state, {}).get("selection", {})
    if list(chosen.get("rows", [])) != rows or chosen.get("cells"):
        st.session_state[state] = {"selection": {"rows": rows, "columns": [], "cells": []}}


def _chart(id: str, opens: str) -> str:
    """The key of a chart: a new one once the widget `opens` is empty again, because a chart cannot be told to forget a point."""
    if not opens:
        return f"chart-{id}"
    closed, was = st.session_state.get(f"_closed-{id}", (0, ""))
    value = st.session_state.get(opens) or ""
    closed += bool(was and not value)
    st.session_state[f"_closed-{id}"] = (closed, value)
    return f"chart-{id}-{closed}"


def chosen_point(key: str) -> Any:
    """The first point chosen in a `figure(key=...)`: its customdata, or the id of a treemap's box; None without one."""
    closed = st.session_state.get(f"_closed-{key}")
    chart = f"chart-{key}" if closed is None else f"chart-{key}-{closed[0]}"
    points = st.session_state.get(chart, {}).get("selection", {}).get("points", [])
    return points[0].get("customdata", points[0].get("id")) if points else None
