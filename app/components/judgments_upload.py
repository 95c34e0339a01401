"""A file of judgments handed in on the dashboard: kept, checked against the shown catalogue, and what ingests it."""

from __future__ import annotations

import shlex
from typing import Any

import pandas as pd
import streamlit as st

from app import text
from app.command import answered
from app.components.figure import table
from app.components.states import nothing
from app.fetch import current, fetch
from app.queries import data as queries
from app.queries.snapshot import info
from app.text import escape
from engine.errors import EngineError
from engine.store.uploads import ALLOWED, ENDINGS, MOST_MB, Upload, allowed, keep, uploads

LONGEST = 120
"""Seconds that a check may take."""
MENU = "upload"


def hand_in() -> None:
    """The uploader where this server takes files, the files so far, and the chosen one's check; else how to allow it."""
    st.header("Hand in judgments", anchor=False, help=text.DEFINITIONS["upload"])
    if not allowed():
        st.caption(
            f":material/upload_file: This server takes no files. Whoever runs it can allow judgments to be handed in: "
            f"`python -m app --allow-upload`, or `{ALLOWED}=1`."
        )
        return
    workspace, shown = current().workspace, fetch(info)
    st.markdown(
        f"A table with columns query (or query\\_id), item\\_id and grade, as {', '.join(ENDINGS)}, at most {MOST_MB} MB. It "
        "is kept in the workspace and checked against this catalogue; nothing shown here changes. "
        f"Grades run from 0 to {shown['max_grade']:g}, relevant from {shown['relevant_grade']:g}, as in this catalogue; where its dataset.toml "
        "does not say so, ingest finds the scale anew from the file."
    )
    st.file_uploader(
        "File of judgments", type=list(ENDINGS), max_upload_size=MOST_MB, key="judgments-file", on_change=_take
    )
    if failed := st.session_state.get("_upload_failed"):
        st.error(f"It was not kept: {escape(failed)}.", icon=":material/error:")
    there = uploads(workspace)
    if not there:
        return
    names = {u.upload_id: f"{u.received_at[:16].replace('T', ' ')} UTC · {u.name} · {u.size:,} bytes" for u in there}
    if st.session_state.get(MENU) not in names:
        asked = st.query_params.get(MENU)
        st.session_state[MENU] = asked if asked in names else there[0].upload_id
    chosen = st.selectbox("Files handed in", list(names), key=MENU, format_func=names.__getitem__)
    st.query_params[MENU] = chosen
    _checked(next(u for u in there if u.upload_id == chosen))


def _take() -> None:
    """Keep what was just handed in (the uploader's callback)."""
    st.session_state["_upload_failed"] = None
    given = st.session_state["judgments-file"]
    if given is None:
        return
    try:
        st.session_state[MENU] = keep(current().workspace, given.name, given.getvalue()).upload_id
    except EngineError as error:
        st.session_state["_upload_failed"] = str(error)


def _checked(upload: Upload) -> None:
    """What became of the file's rows, and the command that ingests it."""
    st.caption(escape(f"{upload.path} · sha256 {upload.sha256}"))
    fingerprint = str(fetch(info)["fingerprint"])
    with st.spinner("Reading and checking the file ..."):
        found, failed = check(str(current().workspace), fingerprint, str(upload.path))
    if failed:
        st.error(f"It cannot be used: {escape(failed)}", icon=":material/error:")
        return
    (file,) = found["report"]["files"]
    st.markdown(escape(summary(found)))
    rows = pd.DataFrame(
        [
            {"rule": i["rule"], "column": i["column"], "costs": i["costs"], "n_rows": i["count"], "examples": "\n".join(i["examples"])}
            for i in found["report"]["issues"]
        ]
    )  # fmt: skip
    if len(rows):
        table(
            rows, title="What its rows broke", key="upload-issues", define="issue", filters={"upload": upload.upload_id},
            n=f"{text.plural(file['rejected'], 'rejected row', 'rejected rows')} of {file['read']:,}",
            columns={"rule": "Rule", "column": "Column", "costs": "Costs the",
                     "n_rows": st.column_config.NumberColumn("Rows", format="localized"),
                     "examples": st.column_config.TextColumn("First examples", width="large")},
        )  # fmt: skip
    for decision in found["report"]["decisions"]:
        st.caption(
            escape(
                f"{decision['what']}: {decision['found']}, for {decision['because']}. To change: {decision['change']}"
            )
        )
    for warning in found["report"]["warnings"]:
        st.caption(f":material/info: {escape(warning)}")
    if found["n_pairs"]:
        _ingested_by(upload)


def summary(found: dict[str, Any]) -> str:
    """What the file holds, in two sentences."""
    (file,) = found["report"]["files"]
    return (
        f"{text.plural(file['read'], 'row', 'rows')} read: {file['accepted']:,} accepted, {file['rejected']:,} rejected, {file['skipped']:,} "
        f"passed over. The accepted ones judge {text.plural(found['n_pairs'], 'pair', 'pairs')} of "
        f"{text.plural(found['n_queries'], 'query', 'queries')}: {found['n_judged']:,} of the pairs are judged in this catalogue already, "
        f"{found['n_new_queries']:,} of the queries are new to it; {text.plural(found['n_unknown_items'], 'item is', 'items are')} "
        f"unknown to it."
    )


def _ingested_by(upload: Upload) -> None:
    where = str(current().workspace)
    given = command(fetch(queries.files, ""), bool(fetch(queries.by_adapter)), str(upload.path), where)
    if given is None:
        nothing(
            "This catalogue was made by an adapter, which reads one folder of its own layout: judgments of another file cannot "
            "join it."
        )
        return
    st.markdown(
        "To use them, ingest the dataset's own files with this one in place of its judgments, then train again (FOLDER: where they lie; "
        "WORKSPACE: what this server looks into):"
    )
    st.code(text.placeless(given), language="bash", wrap_lines=True)


def command(files: pd.DataFrame, by_adapter: bool, upload: str, workspace: str) -> str | None:
    """What ingests the catalogue's own files with the uploaded judgments; None where an adapter made the catalogue."""
    if by_adapter:
        return None
    others = files.loc[files["table"] != "judgments", "file"]
    # A folder that holds judgments too would give two files of them: then files are named one by one.
    paths = ["FOLDER"] if len(others) == len(files) else [f"FOLDER/{name}" for name in others]
    return f"python -m engine ingest {shlex.join([*paths, upload])} --workspace {shlex.quote(workspace)}"


@st.cache_data(max_entries=50, show_spinner=False)
def check(workspace: str, fingerprint: str, path: str) -> tuple[dict[str, Any], str]:
    """The engine's check of a file, or why there is none: in a process of its own, for the file is a stranger's."""
    asked = ("check-judgments", path, "--workspace", workspace, "--catalogue", fingerprint)
    return answered(*asked, longest=LONGEST)
