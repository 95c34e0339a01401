"""Data: what came in, how it was read, what was left out, what it holds, and its rows."""

import pandas as pd
import streamlit as st

from app import text
from app.components import judging
from app.components.agreement import disagreement, who_judged
from app.components.console import console
from app.components.distributions import what_it_holds
from app.components.figure import chosen_row, table
from app.components.judgments_upload import hand_in
from app.components.links import choose, link
from app.components.states import bad_parameter, has_run, header, nothing, panel
from app.fetch import current, deferred, fetch
from app.queries import data as queries
from app.queries import snapshot
from app.text import escape

ALL = "all files"
PAGE = 200
REJECTS_SHOWN = 500
COSTS = {"row": "the row", "value": "the value"}
COUNT = st.column_config.NumberColumn


# ---------------------------------------------------------------- what came in


def what_came_in(files: pd.DataFrame) -> None:
    """Rows of every file and what became of them; what is stored."""
    st.header("What came in", anchor=False, help=text.DEFINITIONS["came_in"])
    row = fetch(snapshot.info)
    st.markdown(escape(_stored(row)))
    if row["source"] or row["license"]:
        st.caption(
            escape(
                " ".join(
                    f"{k}: {v}."
                    for k, v in (("Source", str(row["source"] or "").rstrip(".")), ("Licence", row["license"]))
                    if v
                )
            )
        )
    if files.empty:
        nothing(
            "How this catalogue came in is not told in this snapshot.",
            remedy="Ingest the data again, then `python -m engine publish`.",
        )
        return
    st.markdown(escape(came_in(files)))
    table(
        files, title="Files", key="files", heading=False, define="came_in", n=f"{text.plural(len(files), 'file', 'files')}, all",
        columns={
            "file": st.column_config.TextColumn("File", width="medium"), "table": "Read as", "n_read": COUNT("Rows read", format="localized"),
            "n_accepted": COUNT("Accepted", format="localized"), "n_rejected": COUNT("Rejected", format="localized"),
            "n_skipped": COUNT("Passed over", format="localized"),
            "why_skipped": st.column_config.TextColumn("Passed over because", width="large"),
        },
    )  # fmt: skip
    if notes := fetch(queries.notes, current().run_id):
        st.caption("  \n".join(f":material/info: {escape(note)}" for note in notes))


def _stored(row: dict[str, object]) -> str:
    """What the catalogue holds, in a sentence."""
    stored = {name: fetch(queries.count_rows, name, "") for name in queries.TABLES}
    sources = fetch(queries.query_sources).set_index("source")["n_queries"]
    logged = fetch(queries.log_sums, "all")["n_rows"].sum()
    made, made_rows = int(sources.get("synthetic", 0)), _int(row["n_interactions"]) - int(logged)
    counts = [
        text.plural(stored["items"], "item", "items"),
        text.plural(stored["queries"], "query", "queries")
        + (f" ({made:,} of them made from item fields, with {made_rows:,} rows of a log of their own)" if made else ""),
        text.plural(stored["judgments"], "judged pair", "judged pairs"),
        text.plural(int(logged), "row of the search log", "rows of the search log"),
    ]
    return f"{row['dataset']}, as stored: {text.listed(counts)}."


def _int(value: object) -> int:
    return int(str(value)) if value is not None and value == value else 0


def came_in(files: pd.DataFrame) -> str:
    """Read, accepted, rejected and passed over rows of all files, and where most were rejected."""
    read, accepted, rejected, skipped = (
        int(files[f"n_{name}"].sum()) for name in ("read", "accepted", "rejected", "skipped")
    )
    said = (
        f"{text.plural(read, 'row', 'rows')} of {text.plural(len(files), 'file', 'files')} {'was' if read == 1 else 'were'} read: "
        f"{accepted:,} accepted, {rejected:,} rejected, {skipped:,} passed over."
    )
    if not rejected:
        return f"{said} Nothing broke a rule that a row cannot do without."
    worst = files.sort_values("n_rejected", kind="stable").iloc[-1]
    faced = int(worst["n_read"] - worst["n_skipped"])
    return (
        f"{said} Most were rejected in {worst['file']}: {int(worst['n_rejected']):,} of {faced:,} that were not passed over "
        f"({text.number(worst['n_rejected'] / max(faced, 1), 'percent')})."
    )


# ---------------------------------------------------------------- how it was read


def how_it_was_read(file: str) -> None:
    """What was found out about the files, and how to have it otherwise."""
    st.header("How it was read", anchor=False, help=text.DEFINITIONS["decision"])
    rows = fetch(queries.decisions, current().run_id, file)
    if rows.empty:
        nothing(
            "Nothing had to be found out: every file is as the format says."
            if not file
            else "Nothing had to be found out about this file."
        )
        return
    marked = int(rows["notable"].sum())
    st.markdown(
        escape(
            f"{text.plural(len(rows), 'thing was', 'things were')} found out from the files themselves; "
            + (
                f"look at what is marked ●: {marked:,} of them, on what values mean or which are kept."
                if marked
                else "nothing on what values mean, only on how bytes become a table."
            )
        )
    )
    table(
        rows.assign(mark=rows["notable"].map({True: "●", False: ""})), title="Decisions", key="decisions", heading=False, define="decision",
        filters={"file": file}, height=420, n=f"{text.plural(len(rows), 'decision', 'decisions')}, all",
        show=["mark"] * bool(marked) + ["file", "what", "found", "because", "change"], on_select=lambda: None,
        columns={
            "mark": st.column_config.TextColumn("", width=28), "file": st.column_config.TextColumn("File", width=125),
            "what": st.column_config.TextColumn("About", width=90), "found": st.column_config.TextColumn("Found", width=270),
            "because": st.column_config.TextColumn("Decided because", width=250),
            "change": st.column_config.TextColumn("Change it with", width=250),
        },
    )  # fmt: skip
    row = chosen_row("decisions", rows)
    if row is None:
        st.caption("Choose a row to read it in full.")
    else:
        st.markdown(
            escape(
                f"{row['file']}, {row['what']}: {row['found']}. Decided because {row['because']}. To have it otherwise:"
            )
        )
        st.code(row["change"], language=None, wrap_lines=True)


# ---------------------------------------------------------------- what was left out


def what_was_left_out(file: str) -> None:
    """Broken rules with counts, cost and examples; the rejected rows, whole."""
    st.header("What was left out", anchor=False, help=text.DEFINITIONS["issue"])
    rows = fetch(queries.issues, current().run_id, file)
    if rows.empty:
        nothing(
            f"No row{' of this file' if file else ''} broke a rule: nothing was rejected, and no value was left out."
        )
    else:
        st.markdown(escape(left_out(rows)))
        table(
            rows.assign(cost=rows["costs"].map(COSTS)), title="Broken rules", key="issues", heading=False, define="issue",
            filters={"file": file}, height=380, n=f"{text.plural(len(rows), 'rule', 'rules')} broken, all",
            on_select=lambda: None, show=["rule", "file", "column", "cost", "n_rows", "share", "example"],
            columns={
                "rule": st.column_config.TextColumn("Rule", width=180), "file": st.column_config.TextColumn("File", width=125),
                "column": st.column_config.TextColumn("Column", width=90),
                "cost": st.column_config.TextColumn("It cost", width=75), "n_rows": COUNT("Rows", format="localized"),
                "example": st.column_config.TextColumn("First example: file:line, value, why", width=370),
            },
            percent={"share": "Share"},
        )  # fmt: skip
        row = chosen_row("issues", rows)
        if row is None:
            st.caption("Choose a row for its first examples in full.")
        else:
            st.code(row["examples"], language=None, wrap_lines=True)
    counts = fetch(queries.reject_counts, current().run_id)
    counts = counts[counts["file"] == file] if file else counts
    if len(counts):
        total = int(counts["n_alike"].sum())
        with st.expander(
            f"Rejected rows, whole ({total:,})", icon=":material/table_rows:", key="rejected", on_change="rerun"
        ) as place:
            if place.open:
                rejected_rows(file, counts)


def left_out(rows: pd.DataFrame) -> str:
    """How much broke what, by cost, in a sentence."""
    parts = []
    for cost, words in (("row", "cost rows"), ("value", "cost a value only")):
        part = rows[rows["costs"] == cost]
        if len(part):
            worst = part.iloc[0]
            parts.append(
                f"{text.plural(len(part), 'broken rule', 'broken rules')} {words}, most often “{worst['rule']}” in {worst['file']} "
                f"({text.plural(worst['n_rows'], 'row', 'rows')})"
            )
    return text.sentence("; ".join(parts)) + "."


def rejected_rows(file: str, counts: pd.DataFrame) -> None:
    """The rejected rows that the snapshot holds, of one set of broken rules or of all."""
    kinds = list(dict.fromkeys(counts["rules"]))
    if st.session_state.get("rules") not in (None, "", *kinds):
        choose("rules", "")
    rules = st.selectbox("Broken rules", ["", *kinds], key="rules", format_func=lambda kind: kind or "all") or ""
    mine = counts[counts["rules"] == rules] if rules else counts
    kept, total = int(mine["n_kept"].sum()), int(mine["n_alike"].sum())
    rows = fetch(queries.rejects, current().run_id, file, rules, REJECTS_SHOWN, 0)
    held = (
        f"; the snapshot and the CSV hold {kept:,}"
        if kept < total
        else ", all in the CSV"
        if len(rows) < total
        else ", all"
    )
    table(
        rows, title="Rejected rows", key="rejects", heading=False, define="reject", n=f"{len(rows):,} of {total:,} rejected rows{held}", height=420, filters={"file": file, "rules": rules},
        on_select=lambda: None, full=deferred(queries.rejects, current().run_id, file, rules, kept, 0),
        columns={
            "file": st.column_config.TextColumn("File", width=125), "line": COUNT("Line", format="%d", width=70),
            "rules": st.column_config.TextColumn("Broken rules", width=190), "reason": st.column_config.TextColumn("Reason", width=380),
            "content": st.column_config.TextColumn("The row", width=480),
        },
    )  # fmt: skip
    row = chosen_row("rejects", rows)
    if row is None:
        st.caption("Choose a row to read it whole.")
    else:
        st.markdown(escape(f"{row['file']}:{row['line']}, {row['rules']}: {row['reason']}"))
        st.code(row["content"], language=None, wrap_lines=True)


# ---------------------------------------------------------------- rows


def the_rows() -> None:
    """Items, queries or judgments, searched and paged."""
    st.header("Rows", anchor=False, help=text.DEFINITIONS["rows"])
    asked = st.query_params.get("table")
    if asked and asked not in queries.TABLES:
        bad_parameter("table", asked, f"Shown: {queries.TABLES[0]}.")
        del st.query_params["table"]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Table", queries.TABLES, key="table", bind="query-params", width=180)
        find = st.text_input(
            "Words or an id",
            key="find",
            bind="query-params",
            placeholder="words of a title, query or category; or an id",
        ).strip()
        n = fetch(queries.count_rows, name, find)
        last = max((n - 1) // PAGE + 1, 1)
        if last > 1:
            page = page_of(last)
    if not n:
        nothing(f"No row of {escape(name)} holds “{escape(find)}”." if find else f"This catalogue has no {escape(name)}.",
                remedy="Clear the words, or choose another table." if find else None)  # fmt: skip
        return
    offset = (page - 1) * PAGE if last > 1 else 0
    rows = fetch(queries.rows, name, find, PAGE, offset)
    table(
        rows, title=f"Rows of {name}", key="rows", heading=False, define="rows", height=460, filters={"table": name, "find": find},
        n=f"{n:,} {name}, all" if n == len(rows) else f"{name} {offset + 1:,} to {offset + len(rows):,} of {n:,}, all in the CSV",
        full=deferred(queries.rows, name, find, n, 0), columns=_columns(name), on_select=lambda: None,
    )  # fmt: skip
    row = chosen_row("rows", rows)
    if row is None:
        st.caption(
            "Choose a row for where it leads."
            if current().run_id
            else "Pages on items and queries open once a run is published."
        )
    elif current().run_id:
        leads_to(name, row)


def page_of(last: int) -> int:
    """The page chosen, kept within what there is."""
    given = st.query_params.get("page", "1")
    if st.session_state.get("page", 0) > last or not given.isdigit() or not 1 <= int(given) <= last:
        st.session_state["page"] = 1
        st.query_params["page"] = "1"
    return int(st.number_input(f"Page of {last:,}", 1, last, key="page", bind="query-params", width=140))


def _columns(name: str) -> dict[str, object]:
    wide = {"title": 330, "text": 260, "category": 240, "description": 300, "attributes": 300}
    names = {
        "item_id": "Item", "query_id": "Query id", "title": "Title", "text": "Query", "category": "Category", "seller": "Seller", "brand": "Brand",
        "currency": "Currency", "tier": "Tier", "created_at": "Created", "description": "Description", "attributes": "Attributes", "source": "Source",
        "split": "Split", "kind": "Kind",
    }  # fmt: skip
    made: dict[str, object] = {key: st.column_config.Column(label, width=wide.get(key)) for key, label in names.items()}
    return made | {
        "price": COUNT("Price", format="%.2f"), "popularity": COUNT("Popularity", format="localized"),
        "frequency": COUNT("Traffic", format="localized"), "n_judged": COUNT("Judged items"), "grade": COUNT("Grade", format="%.2f"),
        "n_raters": COUNT("Raters"), "attractiveness": COUNT("Chance of a click", format="%.3f"), "low": COUNT("Low", format="%.3f"),
        "high": COUNT("High", format="%.3f"), "examined": COUNT("Looked at", format="%.1f"),
    }  # fmt: skip


def leads_to(name: str, row: pd.Series) -> None:
    """Links from a chosen row to the pages that explain it."""
    run = current().run_id
    with st.container(horizontal=True):
        if name == "items":
            item = str(row["item_id"])
            if sid := fetch(queries.sid_of, run, item):
                link("codebook", f"Item {escape(item)} and its code", {"item": item, "code": sid})
            query = fetch(queries.best_query, run, item)
            if query:
                link("explain", "Why it ranks for the query that ranks it best", {"q": query, "item": item})
            elif not sid:
                st.caption("This run gave the item no SID, and no stored query retrieved it.")
        else:
            link("query", f"Beams and ranking of “{escape(row['text'])}”", {"q": row["query_id"]})
            if name == "judgments":
                link("explain", "Why this item for this query", {"q": row["query_id"], "item": row["item_id"]})


# ---------------------------------------------------------------- the page

header("Data", "What came in, how it was read, what was left out, and what the catalogue holds.")
has_run()
if judging.switch():  # whatever else the page shows would tell a rater the answer
    with panel("Judge pairs", height=460):
        judging.queue()
    st.stop()
files = fetch(queries.files, current().run_id)
chosen = ""
with panel("What came in"):
    what_came_in(files)
if len(files):
    names = list(dict.fromkeys(files["file"]))
    wanted = st.query_params.get("file")
    if wanted and wanted not in (ALL, *names):
        bad_parameter("file", wanted, "Shown: all files.")
        del st.query_params["file"]
    picked = st.selectbox("File, for the next two sections", [ALL, *names], key="file", bind="query-params", width=360)
    chosen = "" if picked == ALL else str(picked)
    with panel("How it was read"):
        how_it_was_read(chosen)
    with panel("What was left out"):
        what_was_left_out(chosen)
what_it_holds()
with panel("Who judged"):
    who_judged()
with panel("Where they disagree most", height=460):
    disagreement()
with panel("Rows", height=460):
    the_rows()
with panel("Hand in judgments"):
    hand_in()
with panel("SQL console"):
    console()
