"""The SQL console: ready questions and own SQL over the snapshot, its schema beside it. Off unless this server allows it.

    python -m app --allow-sql

The SQL and its parameters are in the address. It runs in a process of its own (`engine.store.locked`), apart from the
connections that pages read by.
"""

from __future__ import annotations

import json
import time
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import streamlit as st

from app import text
from app.components.figure import table
from app.components.links import choose
from app.components.states import nothing
from app.fetch import current, fetch
from app.text import escape
from engine.errors import QueryError
from engine.store import questions, schema
from engine.store.locked import ALLOWED, Answer, Limits, Locked, Running, Value, allowed
from engine.store.rows import plain
from engine.store.snapshot import SCHEMA_VERSION, snapshot_file

OWN = ""
PATIENCE = 1.5
"""Seconds that a page waits for an answer before it shows how to cancel."""
ALL_TABLES = "all tables"


class Asked(NamedTuple):
    """What this session asked last, and what became of it."""

    what: tuple[str, str, tuple[tuple[str, Value], ...]]
    """Snapshot id, SQL, parameters."""
    running: Running


@st.cache_resource(show_spinner=False)
def place() -> Locked:
    """Where this server runs SQL of its visitors: two questions at once, shared by all sessions."""
    return Locked(Limits())


def console() -> None:
    """The console, or how to allow it."""
    st.header("SQL console", anchor=False, help=text.DEFINITIONS["console"])
    if not allowed():
        st.caption(
            ":material/terminal: This server runs no SQL of visitors. Whoever runs it can allow read-only, bounded questions: "
            f"`python -m app --allow-sql`, or `{ALLOWED}=1`. On the command line: `python -m engine query --list`."
        )
        return
    limits = place().limits
    st.markdown(
        f"One SELECT over this snapshot's tables, at most {limits.seconds:g} seconds, {limits.memory_mb} MB and {limits.rows:,} rows. "
        "Nothing can be changed by it."
    )
    _ready()
    with st.expander(
        "Tables, columns and what they mean", icon=":material/schema:", key="schema", on_change="rerun"
    ) as opened:
        if opened.open:
            browse()
    given = _editor()
    if sql := (st.session_state.get("sql") or "").strip():
        _answered(sql, given)
    else:
        nothing("Nothing was asked yet.", remedy="Choose a question, or write a SELECT.")


def _ready() -> None:
    """The ready questions; choosing one writes its SQL, which then runs."""
    sentences = {OWN: "choose one, or write your own below"} | {
        name: question.sentence for name, question in questions.QUESTIONS.items()
    }
    written = (st.session_state.get("sql") or st.query_params.get("sql") or "").strip()
    st.session_state["ready"] = next((n for n, q in questions.QUESTIONS.items() if q.sql.strip() == written), OWN)
    st.selectbox(
        "Ready questions", list(sentences), key="ready", format_func=sentences.__getitem__, on_change=_write, width="stretch"
    )  # fmt: skip


def _write() -> None:
    """Put the chosen question's SQL where it is read (a callback)."""
    name = st.session_state["ready"]
    choose("sql", questions.QUESTIONS[name].sql.strip() if name else "")


def _editor() -> dict[str, Value]:
    """The SQL and the values of what it asks for; both count once they are sent."""
    example = fetch(questions.example, current().run_id)
    written = st.session_state.get("sql") or st.query_params.get("sql") or ""
    asked = [name for name in questions.PARAMETERS if name in questions.named_in(written) and name != "run"]
    for name in asked:
        if not st.session_state.get(f"ask-{name}") and f"ask-{name}" not in st.query_params:
            default = example.get(name, questions.PARAMETERS[name].default)
            st.session_state[f"ask-{name}"] = "" if default is None else str(default)
    with st.form("console", border=False, enter_to_submit=False):
        st.text_area(
            "SQL",
            key="sql",
            bind="query-params",
            height=220,
            max_chars=8_000,
            placeholder="SELECT title, price FROM items ORDER BY price DESC LIMIT 20",
        )
        if asked:
            with st.container(horizontal=True):
                for name in asked:
                    st.text_input(
                        f"${name}", key=f"ask-{name}", bind="query-params", help=questions.PARAMETERS[name].about, max_chars=300
                    )  # fmt: skip
        st.form_submit_button("Run", icon=":material/play_arrow:", type="primary")
    given: dict[str, Value] = {"run": current().run_id or None}
    for name in asked:
        value = (st.session_state.get(f"ask-{name}") or "").strip()
        given[name] = int(value) if name == "limit" and value.isascii() and value.isdigit() else value or None
    return given


def _answered(sql: str, given: dict[str, Value]) -> None:
    """The rows of what is asked, or why there are none; while it is at work, how long, and the button that ends it."""
    where = current()
    what = (where.snapshot_id, sql, tuple(given.items()))
    before: Asked | None = st.session_state.get("_console")
    try:
        if before is None or before.what != what:
            if before is not None:
                before.running.cancel()
                del st.session_state["_console"]
            running = place().start(snapshot_file(where.workspace, where.snapshot_id), sql, given)
            before = st.session_state["_console"] = Asked(what, running)
        until = time.monotonic() + PATIENCE
        while not before.running.done() and time.monotonic() < until:
            time.sleep(0.02)
        if not before.running.done():
            _at_work()
            return
        answer = before.running.answer()
    except QueryError as error:
        first, _, rest = str(error).partition("\n")
        st.error(escape(first), icon=":material/error:")
        if rest.strip():
            st.code(rest.strip("\n"), language=None)
        if before is not None:
            st.button("Ask again", on_click=_forget, icon=":material/refresh:")
        return
    _show(sql, given, answer)


def _forget() -> None:
    st.session_state.pop("_console", None)


@st.fragment(run_every=1.0)
def _at_work() -> None:
    """A question at work, looked at every second."""
    asked: Asked = st.session_state["_console"]
    if asked.running.done():
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f":material/hourglass_top: At work for {asked.running.seconds:.0f} s, at most {place().limits.seconds:g} s."
        )
        st.button("Cancel", icon=":material/close:", on_click=asked.running.cancel, key="cancel-sql")


def _show(sql: str, given: dict[str, Value], answer: Answer) -> None:
    rows = frame(answer.rows)
    if answer.cut:
        limit = f"{place().limits.rows:,} rows" if answer.cut == "rows" else f"{place().limits.bytes // 2**20} MB"
        st.warning(
            f"Cut off at {limit}: there is more. Ask for less with WHERE, LIMIT or sums.", icon=":material/content_cut:"
        )
    if rows.empty:
        nothing("No row answers this.")
        return
    used = {name: value for name, value in given.items() if value is not None and f"${name}" in sql}
    table(
        rows,
        title="Answer",
        key="sql-answer",
        heading=False,
        define="console",
        height=460,
        filters={"sql": " ".join(sql.split()), **used},
        alt="The rows of the SQL above",
        n=f"{text.plural(len(rows), 'row', 'rows')}{', cut off' if answer.cut else ', all'} · {answer.seconds:.1f} s",
    )


def frame(rows: pa.Table) -> pd.DataFrame:
    """Rows for screen and CSV: lists, objects, intervals and bytes as text."""
    odd = [
        field.name
        for field in rows.schema
        if pa.types.is_nested(field.type) or pa.types.is_binary(field.type) or pa.types.is_interval(field.type)
    ]
    told = rows.drop_columns(odd).to_pandas()
    for name in odd:
        cells = [row[name] for row in plain(rows.select([name]))]
        told[name] = [
            cell if cell is None or isinstance(cell, str) else json.dumps(cell, ensure_ascii=False) for cell in cells
        ]
    return told[rows.column_names]


def browse() -> None:
    """The schema: one table's columns, or the columns of all tables that words find."""
    known = {found.name: found for found in schema.tables()}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Table of the schema", [ALL_TABLES, *known], key="schema-table", width=260)
        find = st.text_input("Words in names and meanings", key="schema-find").strip().lower()
    rows = pd.DataFrame(
        [
            {"table": found.name, "column": c.name, "type": c.type, "null": "" if c.required else "may be", "meaning": c.comment}
            for found in known.values()
            if name in (ALL_TABLES, found.name)
            for c in found.columns
            if find in f"{found.name} {c.name} {c.comment}".lower()
        ]
    )  # fmt: skip
    if name != ALL_TABLES and known[name].about:
        st.markdown(escape(known[name].about))
    if rows.empty:
        nothing(f"No table or column speaks of “{escape(find)}”.")
        return
    table(
        rows, title="Columns", key="schema-columns", heading=False, height=380, filters={"table": name, "find": find},
        define=f"The schema of snapshots, version {SCHEMA_VERSION}; `python -m engine schema` prints it whole.",
        n=text.plural(len(rows), "column", "columns"),
        columns={
            "table": st.column_config.TextColumn("Table", width=150), "column": st.column_config.TextColumn("Column", width=170),
            "type": st.column_config.TextColumn("Type", width=100), "null": st.column_config.TextColumn("NULL", width=70),
            "meaning": st.column_config.TextColumn("Meaning", width=620),
        },
    )  # fmt: skip
