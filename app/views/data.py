"""Data: what came in, how it was read, what was left out, what it holds, and its rows."""

import pandas as pd
import streamlit as st

from app import text
from app.charts import data as charts
from app.components.figure import chosen_row, figure, table
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
LOG_KINDS = {
    "day": ("Traffic of the log by day", "How the log is spread over time"),
    "position": ("The log by position", "How clicks fall with the place of a result"),
}
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
    for note in fetch(queries.notes, current().run_id):
        st.caption(f":material/info: {escape(note)}")


def _stored(row: dict[str, object]) -> str:
    """What the catalogue holds, in a sentence."""
    sources = fetch(queries.query_sources).set_index("source")["n_queries"]
    made = int(sources.get("synthetic", 0))
    counts = [
        text.plural(_int(row["n_items"]), "item", "items"),
        text.plural(_int(row["n_queries"]), "query", "queries")
        + (f" ({made:,} made from item fields)" if made else ""),
        text.plural(_int(row["n_judgments"]), "judged pair", "judged pairs"),
        text.plural(_int(row["n_interactions"]), "row of the search log", "rows of the search log"),
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
        f"{text.plural(read, 'row', 'rows')} of {text.plural(len(files), 'file', 'files')} were read: {accepted:,} accepted, {rejected:,} rejected, "
        f"{skipped:,} passed over."
    )
    if not rejected:
        return f"{said} Nothing broke a rule that a row cannot do without."
    worst = files.sort_values("n_rejected", kind="stable").iloc[-1]
    share = worst["n_rejected"] / max(worst["n_read"] - worst["n_skipped"], 1)
    return f"{said} Most were rejected in {worst['file']}: {int(worst['n_rejected']):,}, {text.number(share, 'percent')} of its rows less those passed over."


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
                f"{marked:,} of them say what values mean or which are kept: look at those (●)."
                if marked
                else "all say how bytes become a table."
            )
        )
    )
    table(
        rows.assign(mark=rows["notable"].map({True: "●", False: ""})), title="Decisions", key="decisions", heading=False, define="decision",
        filters={"file": file}, height=420, n=f"{text.plural(len(rows), 'decision', 'decisions')}, all",
        show=["mark", "file", "what", "found", "because", "change"],
        columns={
            "mark": st.column_config.TextColumn("", width=28), "file": st.column_config.TextColumn("File", width=140),
            "what": st.column_config.TextColumn("About", width=110), "found": st.column_config.TextColumn("Found", width=330),
            "because": st.column_config.TextColumn("Decided because", width=300),
            "change": st.column_config.TextColumn("Change it with", width=300),
        },
    )  # fmt: skip


# ---------------------------------------------------------------- what was left out


def what_was_left_out(file: str) -> None:
    """Broken rules with counts, cost and examples; the rejected rows, whole."""
    st.header("What was left out", anchor=False, help=text.DEFINITIONS["issue"])
    rows = fetch(queries.issues, current().run_id, file)
    if rows.empty:
        nothing("No row broke a rule: nothing was rejected, and no value was left out.")
    else:
        st.markdown(escape(left_out(rows)))
        table(
            rows.assign(cost=rows["costs"].map(COSTS)), title="Broken rules", key="issues", heading=False, define="issue",
            filters={"file": file}, height=380, n=f"{text.plural(len(rows), 'rule', 'rules')} broken, all",
            on_select=lambda: None, show=["rule", "file", "column", "cost", "n_rows", "share", "example"],
            columns={
                "rule": st.column_config.TextColumn("Rule", width=210), "file": st.column_config.TextColumn("File", width=140),
                "column": st.column_config.TextColumn("Column", width=110),
                "cost": st.column_config.TextColumn("It cost", width=80), "n_rows": COUNT("Rows", format="localized"),
                "example": st.column_config.TextColumn("First example: file:line, value, why", width=420),
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
    told = f"{len(rows):,} of {total:,} rejected rows" + (f"; the snapshot and the CSV hold {kept:,}" if len(rows) < kept < total or kept < total else
            ", all in the CSV" if len(rows) < total else ", all")  # fmt: skip
    table(
        rows, title="Rejected rows", key="rejects", heading=False, define="reject", n=told, height=420, filters={"file": file, "rules": rules},
        full=deferred(queries.rejects, current().run_id, file, rules, kept, 0),
        columns={
            "file": st.column_config.TextColumn("File", width=140), "line": COUNT("Line", format="%d", width=70),
            "rules": st.column_config.TextColumn("Broken rules", width=190), "reason": st.column_config.TextColumn("Reason", width=380),
            "content": st.column_config.TextColumn("The row", width=480),
        },
    )  # fmt: skip


# ---------------------------------------------------------------- what it holds


def what_it_holds() -> None:
    """Distributions of items, judgments and traffic, and which columns are filled."""
    st.header("What it holds", anchor=False)
    row = fetch(snapshot.info)
    left, right = st.columns(2, gap="large")
    with left, panel("Title lengths", height=charts.HEIGHT):
        titles()
    with right, panel("Missing values", height=charts.HEIGHT):
        missing()
    left, right = st.columns(2, gap="large")
    with left, panel("Departments", height=charts.HEIGHT):
        departments()
    with right, panel("Category depth", height=charts.HEIGHT):
        depths()
    if fetch(queries.judged).empty:
        nothing("Nobody judged anything in this catalogue: there are no grades to show, and nothing can be measured on them.",
                remedy="Give a judgments file (query, item\\_id, grade); see `data/README.md`.")  # fmt: skip
    else:
        judgments(row)
    queries_and_log()


def titles() -> None:
    """Items by the words of their title."""
    rows = fetch(queries.title_lengths)
    if rows.empty:
        nothing("This catalogue holds no items.")
        return
    total, middle = int(rows["n_items"].sum()), charts.median(rows["words"], rows["n_items"])
    figure(
        charts.lengths(rows, "words", "n_items", title="Words of the title", unit="items"), title="Title lengths", data=rows,
        n=f"{total:,} items, all", define="title_words", key="titles",
        subtitle=f"Half of all titles have {middle:g} words or fewer; the longest has {int(rows['words'].max()):,}",
        alt=f"Items by the words of their title: from {int(rows['words'].min())} to {int(rows['words'].max())}, median {middle:g}.",
    )  # fmt: skip


def missing() -> None:
    """How much of every optional column is filled."""
    rows = fetch(queries.columns)
    if rows.empty:
        st.subheader("Missing values", anchor=False, help=text.DEFINITIONS["missing"])
        nothing("Which columns are filled is not told in this snapshot.")
        return
    shown = rows.sort_values(["missing"], kind="stable", ascending=False)
    empty = int((rows["missing"] == 1).sum())
    st.subheader("Missing values", anchor=False, help=text.DEFINITIONS["missing"])
    st.caption(
        f"{empty:,} of {len(rows):,} columns are empty, {int(((rows['missing'] > 0) & (rows['missing'] < 1)).sum()):,} filled in part"
    )
    table(
        shown, title="Missing values", key="missing", heading=False, define="missing", height=300, n=f"{len(rows):,} columns, all rows",
        columns={"table": "Table", "column": "Column", "n_rows": COUNT("Rows", format="localized"),
                 "n_missing": COUNT("Missing", format="localized")},
        percent={"missing": "Missing"},
    )  # fmt: skip


def departments() -> None:
    """Items by the first part of their category."""
    rows = fetch(queries.departments)
    if rows.empty or rows["department"].isna().all():
        st.subheader("Departments", anchor=False, help=text.DEFINITIONS["department"])
        nothing("No item of this catalogue has a category.")
        return
    named = rows[rows["department"].notna()]
    top = named.iloc[0]
    figure(
        charts.departments(rows), title="Items by department", data=rows, define="department", key="departments",
        subtitle=f"{text.plural(len(named), 'department', 'departments')}; the largest, {top['department']}, holds {text.number(top['share'], 'percent')} of items",
        n=f"{int(rows['n_items'].sum()):,} items, all",
        alt=f"Items by department; {top['department']} is the largest with {text.number(top['share'], 'percent')}.",
    )  # fmt: skip


def depths() -> None:
    """Items by the depth of their category, and how many have none."""
    rows = fetch(queries.depths)
    if rows.empty or (rows["depth"] == 0).all():
        st.subheader("Category depth", anchor=False, help=text.DEFINITIONS["category_depth"])
        nothing("No item of this catalogue has a category: level 1 of SIDs and everything by category rests on none.")
        return
    without = float(rows.loc[rows["depth"] == 0, "share"].sum())
    said = (
        "every item has a category" if without == 0 else f"{text.number(without, 'percent')} of items have no category"
    )
    figure(
        charts.depths(rows), title="Category depth", subtitle=text.sentence(said), data=rows, define="category_depth", key="depths",
        n=f"{int(rows['n_items'].sum()):,} items, all", alt=f"Items by depth of category; {said}.",
    )  # fmt: skip


def judgments(row: dict[str, object]) -> None:
    """Grades with the threshold, judged pairs a query, and who judged what for which use."""
    rows, per_query, mix = fetch(queries.grades), fetch(queries.pairs_per_query), fetch(queries.judged)
    pairs, asked = int(rows["n_pairs"].sum()), int(per_query["n_queries"].sum())
    share = rows["n_relevant"].sum() / pairs
    left, right = st.columns(2, gap="large")
    with left, panel("Grades", height=charts.HEIGHT):
        figure(
            charts.grades(rows, float(str(row["relevant_grade"])), float(str(row["max_grade"]))), title="Grades", data=rows, key="grades",
            define="grade_bars", n=f"{pairs:,} judged pairs, all",
            subtitle=f"{text.number(share, 'percent')} of judged pairs are relevant: grade {row['relevant_grade']:g} or more of {row['max_grade']:g}",
            alt=f"Judged pairs by grade; {text.number(share, 'percent')} are relevant.",
        )  # fmt: skip
    with right, panel("Judged pairs a query", height=charts.HEIGHT):
        middle = charts.median(per_query["n_pairs"], per_query["n_queries"])
        one_sided = int(per_query["n_one_sided"].sum())
        figure(
            charts.lengths(per_query, "n_pairs", "n_queries", title="Judged items of the query", unit="queries"), title="Judged pairs a query",
            data=per_query, key="pairs-per-query", define="pairs_per_query", n=f"{asked:,} judged queries, all",
            subtitle=f"Median {middle:g}; {one_sided:,} of {asked:,} queries are one-sided: all relevant, or none",
            alt=f"Judged queries by number of judged items; median {middle:g}.",
        )  # fmt: skip
    with panel("Judgments by source and split"):
        table(
            mix, title="Judgments by source and split", key="judged", define="judged_mix", n=f"{pairs:,} judged pairs, all",
            show=["source", "split", "n_pairs", "n_queries", "n_relevant", "relevant", "mean_raters"],
            columns={
                "source": "Source", "split": "Split", "n_pairs": COUNT("Judged pairs", format="localized"),
                "n_queries": COUNT("Queries", format="localized"), "n_relevant": COUNT("Relevant pairs", format="localized"),
                "mean_raters": COUNT("Raters a pair, mean", format="%.2f"),
            },
            percent={"relevant": "Relevant"},
        )  # fmt: skip


def queries_and_log() -> None:
    """Traffic by tier, how long its tail is, and the log by day and position."""
    tiers, curve = fetch(queries.traffic), fetch(queries.traffic_curve)
    if tiers.empty:
        nothing("No query of this catalogue has traffic: which ones are asked often is not known.",
                remedy="Give a search log (interactions) or a frequency for each query; see `data/README.md`.")  # fmt: skip
    else:
        left, right = st.columns(2, gap="large")
        with left, panel("Traffic by tier", height=charts.HEIGHT):
            once = int(tiers["n_once"].sum())
            total = int(tiers["n_queries"].sum())
            table(
                tiers, title="Traffic by query tier", key="traffic", define=f"{text.DEFINITIONS['traffic']} {text.DEFINITIONS['query_tier']}",
                n=f"{total:,} queries with traffic, all",
                columns={
                    "tier": "Tier", "n_queries": COUNT("Queries", format="localized"), "frequency": COUNT("Traffic", format="localized"),
                    "n_once": COUNT("Asked once", format="localized"), "n_judged": COUNT("Judged", format="localized"),
                },
                percent={"share_of_queries": "Of queries", "share": "Of traffic"},
                show=["tier", "n_queries", "share_of_queries", "share", "n_once", "n_judged", "frequency"],
            )  # fmt: skip
            st.markdown(
                escape(
                    f"{once:,} of {total:,} queries ({text.number(once / total, 'percent')}) were asked once at most."
                )
            )
            sources()
        with right, panel("Long tail", height=charts.HEIGHT):
            tenth = curve[curve["share_of_queries"] <= 0.1]
            held = float(tenth["share_of_traffic"].max()) if len(tenth) else float("nan")
            said = (
                f"a tenth of the queries holds {text.number(held, 'percent')} of traffic"
                if held == held
                else "fewer than ten queries"
            )
            figure(
                charts.traffic(curve), title="How long the tail is", subtitle=text.sentence(said), data=curve, define="traffic", key="tail",
                n=f"{total:,} queries with traffic, all", alt=f"Traffic held by the most frequent queries: {said}.",
            )  # fmt: skip
    whole = fetch(queries.log_sums, "all")
    if whole.empty:
        nothing("There is no search log in this catalogue, so no traffic by day or position.")
        return
    places = st.columns(2, gap="large")
    for place, (kind, (title, subtitle)) in zip(places, LOG_KINDS.items(), strict=True):
        with place, panel(title, height=charts.HEIGHT):
            rows = fetch(queries.log_sums, kind)
            if rows.empty:
                st.subheader(title, anchor=False, help=text.DEFINITIONS["log"])
                nothing(f"The log states no {kind}.")
                continue
            measured, name = charts.log_measure(rows, kind)
            n = int(rows["n_rows"].sum())
            figure(
                charts.log(rows, kind), title=title, subtitle=subtitle, data=rows, define="log", key=f"log-{kind}",
                n=f"{n:,} of {int(whole['n_rows'].sum()):,} rows of the log" if n < whole["n_rows"].sum() else f"{n:,} rows of the log, all",
                alt=f"{name} by {kind}: from {measured.min():,.4g} to {measured.max():,.4g}.",
            )  # fmt: skip


def sources() -> None:
    """Where queries come from, in a sentence."""
    rows = fetch(queries.query_sources)
    names = {
        "log": "from the log or a queries file",
        "judged": "from judgments alone",
        "synthetic": "made from item fields",
    }
    said = [f"{n:,} {names.get(source, source)}" for source, n in zip(rows["source"], rows["n_queries"], strict=True)]
    st.markdown(escape(f"Of all {int(rows['n_queries'].sum()):,} queries, {text.listed(said)}."))


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
with panel("Rows", height=460):
    the_rows()
with panel("Hand in judgments"):
    hand_in()
