"""The pages and the links between them: every link carries its page's state, the snapshot and the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from app.fetch import base, current

SHARED = ("q", "item", "view")
"""Query parameters that widgets of more than one page are bound to."""


class Listed(NamedTuple):
    """A page: its file relative to app/main.py, title, icon, and what it is for."""

    file: str
    title: str
    icon: str
    help: str
    url_path: str

    def page(self) -> Any:
        """The st.Page; the first page answers at the root."""
        return st.Page(
            self.file,
            title=self.title,
            icon=self.icon,
            url_path=self.url_path,
            help=self.help,
            default=self.url_path == "overview",
        )


PAGES = {
    p.url_path: p
    for p in (
        Listed("views/overview.py", "Overview", ":material/insights:", "What to look at first", "overview"),
        Listed("views/codebook.py", "Codebook", ":material/account_tree:", "What every code means", "codebook"),
        Listed("views/coverage.py", "Coverage", ":material/shield:", "Which categories are served", "coverage"),
        Listed("views/query.py", "Query", ":material/search:", "Beams, ranking, where a target was lost", "query"),
        Listed("views/explain.py", "Explain", ":material/balance:", "Why this item for this query", "explain"),
        Listed("views/what_if.py", "What if", ":material/science:", "A listing edited, a policy tried", "what-if"),
        Listed(
            "views/sellers.py",
            "Sellers & categories",
            ":material/storefront:",
            "Who gains and loses exposure",
            "sellers",
        ),
        Listed("views/runs.py", "Runs", ":material/compare_arrows:", "What changed between two runs", "runs"),
        Listed(
            "views/report.py", "Report", ":material/description:", "One file for a meeting, and every note", "report"
        ),
        Listed(
            "views/data.py", "Data", ":material/database:", "What came in, how it was read, what was left out", "data"
        ),
    )
}


def parameters(params: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Query parameters of a link: the given ones without the empty, then the run, the one it is compared with, the snapshot."""
    where, other = current(), base()
    given = {k: str(v) for k, v in (params or {}).items() if v == v and v not in (None, "")}  # NaN: no such thing
    compared = {"base": other.address()} if other else {}
    return given | {"run": where.run_id, **compared, "snapshot": where.snapshot_id}


def link(page: str, label: str, params: Mapping[str, Any] | None = None, *, help: str | None = None) -> None:
    """A link to a page by its url_path. `label` is Markdown: escape catalogue text with `app.text.escape`."""
    listed = PAGES[page]
    st.page_link(listed.file, label=label, icon=listed.icon, help=help, query_params=parameters(params))


def go(page: str, params: Mapping[str, Any] | None = None) -> None:
    """Switch to a page now: for chart and table selections."""
    st.switch_page(PAGES[page].file, query_params=parameters(params))


def address(page: str, params: Mapping[str, Any] | None = None) -> str:
    """The relative address of a page's state, for a table's link column."""
    path = "" if page == "overview" else page
    return f"/{path}?{urlencode(parameters(params))}"


def arrive(url_path: str) -> None:
    """Give a page that was just changed to the shared parameters of its link; call it before the page runs.

    On a page change Streamlit drops every parameter that a widget of the page left behind was bound to, and with it the
    value a link carries to the new page's widget of the same name.
    """
    context = get_script_run_ctx()
    if context is not None and st.session_state.get("_page") != url_path:
        for name, value in parse_qsl(context.query_string):
            if name in SHARED and name not in st.query_params:
                st.session_state[name] = value
                st.query_params[name] = value
    st.session_state["_page"] = url_path


def choose(key: str, value: str | None) -> None:
    """Set the widget of that key before the next run: the target of every selection callback."""
    st.session_state[key] = value


def steps(key: str, values: Sequence[str], *, id: str) -> None:
    """Buttons, and keys, that take the widget `key` to the value before and after its own, and empty it."""
    value = st.session_state.get(key) or ""
    place = list(values).index(value) if value in values else None
    before = values[place - 1] if place else None
    after = (
        values[0]
        if place is None and values
        else values[place + 1]
        if place is not None and place + 1 < len(values)
        else None
    )
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center"):
        for name, to, icon, shortcut in (
            ("Previous", before, ":material/arrow_upward:", "K"), ("Next", after, ":material/arrow_downward:", "J"),
            ("Close", "" if value else None, ":material/close:", "Esc"),
        ):  # fmt: skip
            st.button(name, key=f"{id}-{name.lower()}", type="tertiary", icon=icon, shortcut=shortcut, disabled=to is None,
                      on_click=choose, args=(key, to))  # fmt: skip
        if place is not None:
            st.caption(f"{place + 1:,} of {len(values):,}")


def button(label: str, key: str, value: str, *, id: str, help: str | None = None, icon: str | None = None) -> None:
    """A quiet button that sets another widget of the same page (`label` is Markdown)."""
    chosen: Callable[..., None] = choose
    st.button(label, key=id, type="tertiary", help=help, icon=icon, on_click=chosen, args=(key, value))
