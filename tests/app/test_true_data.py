"""Every sentence and count of Data, held against SQL on the snapshot and on the catalogue's own files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest
from told import find, plain, told

from engine.datasets.ingest import ingest
from engine.reporting.intake import intake_tables
from tests.conftest import Trained

Page = Callable[..., AppTest]
Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def page(true_page: Page) -> AppTest:
    return true_page("data")


@pytest.fixture
def run(sql: Sql) -> str:
    [(name,)] = sql("SELECT default_run FROM snapshot")
    return str(name)


@pytest.fixture
def stored(true_workspace: Path, sql: Sql) -> Callable[[str], str]:
    """A file of the stored catalogue, as SQL reads it: most of it is in no snapshot."""
    [(fingerprint,)] = sql("SELECT fingerprint FROM snapshot")
    return lambda table: f"read_parquet('{true_workspace / 'catalogues' / fingerprint / table}.parquet')"


def share(part: float, whole: float) -> str:
    return f"{100 * (part / whole):.1f} %"


def counted(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def frame(page: AppTest, *columns: str) -> pd.DataFrame:
    """The table that has these columns."""
    (found,) = (f.value for f in page.dataframe if set(columns) <= set(f.value.columns))
    return found


def alts(page: AppTest) -> list[str]:
    """What charts are to who cannot see them."""
    return [element.proto.alt for element in page.get("plotly_chart")]


# ---------------------------------------------------------------- what came in


def test_what_is_stored(page: AppTest, sql: Sql, stored: Callable[[str], str]) -> None:
    [(name, source, licence)] = sql("SELECT dataset, source, license FROM snapshot")
    [(items, queries, made, pairs)] = sql(
        """SELECT (SELECT count(*) FROM items), count(*), count(*) FILTER (source = 'synthetic'),
           (SELECT count(*) FROM judgments) FROM queries"""
    )
    [(logged, made_rows)] = sql(
        f"SELECT count(*) FILTER (source <> 'synthetic'), count(*) FILTER (source = 'synthetic') FROM {stored('interactions')}"
    )
    of_them = (
        f" ({made:,} of them made from item fields, with {made_rows:,} rows of a log of their own)" if made else ""
    )
    assert (
        f"{name}, as stored: {counted(items, 'item', 'items')}, {counted(queries, 'query', 'queries')}{of_them}, "
        f"{counted(pairs, 'judged pair', 'judged pairs')} and {counted(logged, 'row', 'rows')} of the search log."
    ) in told(page)
    about = [f"Source: {source.rstrip('.')}."] * bool(source) + [f"Licence: {licence}."] * bool(licence)
    assert not about or " ".join(" ".join(about).split()) in told(page)


def test_files_read(page: AppTest, sql: Sql, run: str, stored: Callable[[str], str]) -> None:
    mine = "imported_run IS NULL OR imported_run = ?"
    rows = sql(
        f'SELECT file, "table", n_read, n_accepted, n_rejected, n_skipped FROM data_files WHERE {mine} ORDER BY ALL',
        run,
    )
    shown = frame(page, "n_read", "why_skipped")
    assert sorted(shown[["file", "table", "n_read", "n_accepted", "n_rejected", "n_skipped"]].itertuples(index=False, name=None)) == rows  # fmt: skip
    assert all(read == accepted + rejected + skipped for *_, read, accepted, rejected, skipped in rows)
    read, accepted, rejected, skipped = (sum(row[i] for row in rows) for i in range(2, 6))
    line = find(
        page, rf"^{counted(read, 'row', 'rows')} of {counted(len(rows), 'file', 'files')} (was|were) read: "
    ).string
    assert f"read: {accepted:,} accepted, {rejected:,} rejected, {skipped:,} passed over." in line
    assert ("Nothing broke a rule that a row cannot do without." in line) == (rejected == 0)
    assert f"{counted(len(rows), 'file', 'files')}, all" in find(page, r"files?, all").string
    # The catalogue's own rows: items, queries and the log are kept one by one, judgments are pairs of several raters.
    [(of_own,)] = sql("SELECT n_rejected FROM snapshot")
    assert of_own == sum(n for (n,) in sql("SELECT n_rejected FROM data_files WHERE imported_run IS NULL"))
    for table, kept in (("items", "items"), ("queries", "queries"), ("interactions", "interactions"), ("judgments", "judgments_raw")):  # fmt: skip
        where = " WHERE source <> 'synthetic'" if table in ("queries", "interactions") else ""
        there = [row[3] for row in rows if row[1] == table]
        if there:
            assert sql(f"SELECT count(*) FROM {stored(kept)}{where}") == [(sum(there),)], table
    if any(row[1] == "judgments" for row in rows):
        [(pairs,)] = sql(f"SELECT count(*) FROM (SELECT DISTINCT query_id, item_id FROM {stored('judgments_raw')})")
        assert sql("SELECT count(*) FROM judgments WHERE source <> 'implicit'") == [(pairs,)]
    for (note,) in sql(f"SELECT note FROM data_notes WHERE {mine}", run):
        find(page, re.escape(" ".join(note.split())))


def test_decisions_and_rules(true_page: Page, sql: Sql, run: str) -> None:
    for file in ("", *(name for (name,) in sql("SELECT DISTINCT file FROM data_files WHERE imported_run IS NULL ORDER BY 1"))):  # fmt: skip
        page = true_page("data", file=file) if file else true_page("data")
        mine = "(imported_run IS NULL OR imported_run = ?) AND (? = '' OR file = ?)"
        [(n, notable)] = sql(
            f"SELECT count(*), count(*) FILTER (notable) FROM data_decisions WHERE {mine}", run, file, file
        )
        said_of_decisions(page, n, notable, file)
        broken = sql(f"SELECT costs, rule, file, n_rows, position FROM data_issues WHERE {mine}", run, file, file)
        said_of_rules(page, broken, file)


def said_of_decisions(page: AppTest, n: int, notable: int, file: str) -> None:
    if not n:
        find(
            page, "^Nothing had to be found out about this file" if file else "^Nothing had to be found out: every file"
        )
        return
    line = find(page, r"^([\d,]+) things? (?:was|were) found out from the files themselves; ")
    assert line[1] == f"{n:,}"
    assert (f"look at what is marked ●: {notable:,} of them, on what values mean" in line.string) == (notable > 0)
    assert ("nothing on what values mean" in line.string) == (notable == 0)
    find(page, rf"^{counted(n, 'decision', 'decisions')}, all · ")
    assert len(frame(page, "found", "because")) == n
    assert (frame(page, "found", "because")["mark"] == "●").sum() == notable


def said_of_rules(page: AppTest, broken: list[tuple[Any, ...]], file: str) -> None:
    if not broken:
        find(
            page,
            f"^No row{' of this file' if file else ''} broke a rule: nothing was rejected, and no value was left out",
        )
        return
    find(page, rf"^{counted(len(broken), 'rule', 'rules')} broken, all · ")
    assert frame(page, "rule", "share")["n_rows"].sum() == sum(row[3] for row in broken)
    for costs, words in (("row", "cost rows"), ("value", "cost a value only")):
        rows = [row for row in broken if row[0] == costs]
        if not rows:
            assert not any(words in line for line in told(page))
            continue
        most = max(row[3] for row in rows)
        line = find(page, rf"{counted(len(rows), 'broken rule', 'broken rules')} {words}, most often “(.+?)” in (\S+) \({counted(most, 'row', 'rows')}\)")  # fmt: skip
        assert (line[1], line[2], most) in {row[1:4] for row in rows}


# ---------------------------------------------------------------- what it holds


def test_titles(page: AppTest, sql: Sql) -> None:
    # A word: a longest stretch without white space.
    words = r"len(regexp_extract_all(title, '\S+'))"
    [(n, middle, least, most)] = sql(
        f"SELECT count(*), quantile_disc({words}, 0.5), min({words}), max({words}) FROM items"
    )
    find(page, rf"^At least half of all titles have {middle} words or fewer; the longest has {most:,}$")
    [(up_to, below)] = sql(
        f"SELECT count(*) FILTER ({words} <= ?), count(*) FILTER ({words} < ?) FROM items", middle, middle
    )
    assert below < n / 2 <= up_to
    assert f"Items by the words of their title: from {least} to {most}, median {middle}." in alts(page)
    find(page, rf"^{n:,} items, all · ")


def test_missing_values(page: AppTest, sql: Sql, stored: Callable[[str], str]) -> None:
    shown = frame(page, "n_missing", "missing")
    counts = {}
    for table in ("items", "queries", "interactions", "judgments"):
        names = [name for name, *_ in sql(f"DESCRIBE SELECT * FROM {stored(table)}") if name != "source" or table == "judgments"]  # fmt: skip
        [(n, *given)] = sql(f"SELECT count(*), {', '.join(f'count({name})' for name in names)} FROM {stored(table)}")
        counts |= {(table, name): (n, n - there) for name, there in zip(names, given, strict=True) if n}
    assert {(r.table, r.column): (r.n_rows, r.n_missing) for r in shown.itertuples()} == counts
    assert list(shown["missing"]) == pytest.approx([100 * r.n_missing / r.n_rows for r in shown.itertuples()])
    some = sum(0 < missing < n for n, missing in counts.values())
    none = sum(missing == n for n, missing in counts.values())
    find(page, rf"^{some:,} of {len(counts):,} columns filled in part, {none:,} empty$")
    find(page, rf"^{len(counts):,} columns, all rows · ")
    for name in ("category", "seller", "brand", "price", "created_at", "popularity", "description", "attributes"):
        assert sql(f"SELECT count(*) - count({name}) FROM items") == [(counts["items", name][1],)], name


def test_departments_and_depth(page: AppTest, sql: Sql) -> None:
    [(n, without)] = sql("SELECT count(*), count(*) - count(category) FROM items")
    if n == without:
        find(page, "^No item of this catalogue has a category.$")
        return
    rows = sql(
        """
        SELECT trim(string_split(category, trim(category_separator))[1]) AS department, count(*) AS n FROM items, snapshot
        WHERE category IS NOT NULL GROUP BY 1 ORDER BY n DESC, department
        """
    )
    line = find(page, r"^([\d,]+) departments?; the largest, (.+), holds (.+) of items$")
    assert line.groups() == (f"{len(rows):,}", " ".join(rows[0][0].split()), share(rows[0][1], n))
    assert f"Items by department; {rows[0][0]} is the largest with {share(rows[0][1], n)}." in alts(page)
    said = f"{share(without, n)} of items have no category" if without else "every item has a category"
    assert f"{said[0].upper()}{said[1:]}" in told(page)
    assert f"Items by depth of category; {said}." in alts(page)
    assert sum(line.startswith(f"{n:,} items, all · ") for line in told(page)) == 3


def test_grades(page: AppTest, sql: Sql) -> None:
    [(pairs, relevant, bar, top)] = sql(
        """SELECT count(*), count(*) FILTER (grade >= relevant_grade), any_value(relevant_grade), any_value(max_grade)
           FROM judgments, snapshot"""
    )
    if not pairs:
        find(page, "^Nobody judged anything in this catalogue")
        return
    find(page, rf"^{share(relevant, pairs)} of judged pairs are relevant: grade {bar:g} or more of {top:g}$")
    assert f"Judged pairs by grade; {share(relevant, pairs)} are relevant." in alts(page)
    assert sum(line.startswith(f"{pairs:,} judged pairs, all · ") for line in told(page)) == 2
    rows = sql(
        """
        SELECT j.source, j.split, count(*), count(DISTINCT query_id), sum((grade >= relevant_grade)::INT)::BIGINT,
               100 * avg((grade >= relevant_grade)::INT), avg(n_raters) FROM judgments j, snapshot GROUP BY ALL
        """
    )
    columns = ["source", "split", "n_pairs", "n_queries", "n_relevant", "relevant", "mean_raters"]
    shown = frame(page, "n_pairs", "mean_raters").set_index(["source", "split"])
    assert len(shown) == len(rows)
    for source, split, *values in rows:
        assert list(shown.loc[(source, split), columns[2:]]) == pytest.approx(values), (source, split)
    [(implicit, held_out)] = sql(
        "SELECT count(*), count(*) FILTER (split IN ('valid', 'test')) FROM judgments WHERE source = 'implicit'"
    )
    clicked = [line for line in told(page) if "were read from the clicks of the search log" in line]
    assert len(clicked) == (implicit > 0)
    for line in clicked:
        assert f"{implicit:,} of {pairs:,} judgments were read" in line
        assert ("for training alone" in line) == (held_out == 0)


def test_pairs_a_query(page: AppTest, sql: Sql) -> None:
    [(asked, middle, one_sided)] = sql(
        """
        SELECT count(*), quantile_disc(n, 0.5), count(*) FILTER (low >= relevant_grade OR high < relevant_grade)
        FROM (SELECT query_id, count(*) AS n, min(grade) AS low, max(grade) AS high FROM judgments GROUP BY 1), snapshot
        """
    )
    if not asked:
        return
    assert f"Median {middle}; {one_sided:,} of {asked:,} judged queries are one-sided: all relevant, or none" in told(
        page
    )
    find(page, rf"^{asked:,} judged queries, all · ")
    assert f"Judged queries by number of judged items; median {middle}." in alts(page)


def test_traffic(page: AppTest, sql: Sql) -> None:
    tiers = {
        tier: values
        for tier, *values in sql(
            """
            SELECT tier, count(*), sum(frequency), count(*) FILTER (frequency <= 1),
                   count(*) FILTER (query_id IN (SELECT query_id FROM judgments))
            FROM queries WHERE frequency > 0 GROUP BY 1
            """
        )
    }
    if not tiers:
        find(page, "^No query of this catalogue has traffic")
        return
    shown = frame(page, "n_once", "share_of_queries").set_index("tier")
    total, searches, once = (sum(values[i] for values in tiers.values()) for i in range(3))
    assert set(shown.index) == set(tiers)
    for tier, (n, asked, few, judged) in tiers.items():
        assert list(shown.loc[tier, ["n_queries", "frequency", "n_once", "n_judged"]]) == [n, asked, few, judged]
        assert shown.loc[tier, "share_of_queries"] == pytest.approx(100 * n / total)
        assert shown.loc[tier, "share"] == pytest.approx(100 * asked / searches)
    [(every,)] = sql("SELECT count(*) FROM queries")
    assert f"{once:,} of {total:,} queries with traffic ({share(once, total)}) were asked once at most." in told(page)
    n = f"{total:,} queries, all" if total == every else f"{total:,} of {every:,} queries, those with traffic"
    assert sum(line.startswith(f"{n} · ") for line in told(page)) == 2
    tenth = total // 10
    [(held,)] = sql("SELECT sum(frequency) FROM (SELECT frequency FROM queries ORDER BY frequency DESC LIMIT ?)", tenth)
    said = f"the most frequent tenth of queries holds {share(held, searches)} of traffic" if tenth else "fewer than ten queries"  # fmt: skip
    assert f"{said[0].upper()}{said[1:]}" in told(page)
    assert f"Traffic held by the most frequent queries: {said}." in alts(page)


def test_sources_of_queries(page: AppTest, sql: Sql, stored: Callable[[str], str]) -> None:
    [(every, made, judged, other)] = sql(
        f"""
        WITH q AS (
            SELECT source = 'synthetic' AS made, query_id IN (SELECT query_id FROM {stored("judgments_raw")}) AS judged,
                   query_id IN (SELECT query_id FROM {stored("interactions")} WHERE source <> 'synthetic') AS logged FROM queries)
        SELECT count(*), count(*) FILTER (made), count(*) FILTER (NOT made AND judged AND NOT logged),
               count(*) FILTER (NOT made AND (logged OR NOT judged)) FROM q
        """
    )
    line = find(page, rf"^Of all {every:,} queries: (.+)\.$")[1]
    named = {
        "in the log, or given without judgments": other,
        "judged and not in the log": judged,
        "made from item fields": made,
    }
    assert set(re.split(r"(?<=[a-z]), (?=\d)| and (?=\d)", line)) == {f"{n:,} {name}" for name, n in named.items() if n}


def test_the_log(page: AppTest, sql: Sql, stored: Callable[[str], str]) -> None:
    log = f"(FROM {stored('interactions')} WHERE source <> 'synthetic')"
    [(every,)] = sql(f"SELECT count(*) FROM {log}")
    if not every:
        find(page, "^There is no search log in this catalogue")
        return
    for kind, key, title in (
        ("day", "CAST(date AS DATE)", "Traffic of the log by day"),
        ("position", "position", "The log by position"),
    ):
        rows = sql(f"SELECT count(*), sum(impressions), sum(clicks) FROM {log} WHERE {key} IS NOT NULL GROUP BY {key}")
        assert title in told(page)
        if not rows:
            find(page, f"^The log states no {kind}.$")
            continue
        n = sum(row[0] for row in rows)
        find(page, rf"^{n:,} rows, all · " if n == every else rf"^{n:,} of {every:,} rows of the log · ")
        seen = [row[1] or 0 for row in rows]
        rates = [row[2] / row[1] for row in rows if row[1] and row[2] is not None]
        if kind == "position" and rates:
            said = f"Clicks per impression by position: from {share(min(rates), 1)} to {share(max(rates), 1)}."
        elif kind == "position" and any(row[2] for row in rows):
            clicks = [row[2] or 0 for row in rows]
            said = f"Clicks by position: from {min(clicks):,.0f} to {max(clicks):,.0f}."
        elif any(seen):
            said = f"Impressions by {kind}: from {min(seen):,.0f} to {max(seen):,.0f}."
        else:
            counts = [row[0] for row in rows]
            said = f"Rows of the log by {kind}: from {min(counts):,} to {max(counts):,}."
        assert said in alts(page)


# ---------------------------------------------------------------- rows

SHOWN_BY = {"items": ("popularity",), "queries": ("frequency", "kind"), "judgments": ("grade",)}
"""Columns that no other table of the page has."""


@pytest.mark.parametrize("table", ["items", "queries", "judgments"])
def test_rows(true_page: Page, sql: Sql, table: str) -> None:
    [(every,)] = sql(f"SELECT count(*) FROM {table}")
    if not every:
        find(true_page("data", table=table), f"^This catalogue has no {table}.$")
        return
    key = "query_id" if table == "queries" else "item_id"
    last = (every - 1) // 200 + 1
    page = true_page("data", table=table, page=str(last))
    first = 200 * (last - 1) + 1
    find(
        page,
        rf"^{every:,} {table}, all · "
        if last == 1
        else rf"^{table} {first:,} to {every:,} of {every:,}, all in the CSV · ",
    )
    assert len(frame(page, key, *SHOWN_BY[table])) == every - first + 1
    assert "Choose a row for where it leads." in told(page)
    words = {"items": "title", "queries": "text", "judgments": "q.text"}[table]
    joined = (
        "judgments j JOIN queries q USING (query_id) JOIN items i USING (item_id)" if table == "judgments" else table
    )
    also = {
        "items": "OR contains(lower(category), ?)",
        "queries": "OR ? IS NULL",
        "judgments": "OR contains(lower(title), ?)",
    }
    [(word,)] = sql(f"SELECT upper(regexp_extract({words}, '[a-z]{{4,}}')) FROM {joined} ORDER BY 1 DESC LIMIT 1")
    low = word.lower()
    id = "j.item_id" if table == "judgments" else key
    [(n,)] = sql(f"SELECT count(*) FROM {joined} WHERE contains(lower({words}), ?) OR {id} = ? {also[table]}", low, word, low)  # fmt: skip
    page = true_page("data", table=table, find=word)
    find(page, rf"^{n:,} {table}, all · " if n <= 200 else rf"^{table} 1 to 200 of {n:,}, all in the CSV · ")
    [(one,)] = sql(f"SELECT max({key}) FROM {table}")
    [(n,)] = sql(f"SELECT count(*) FROM {table} WHERE {key} = ?", one)
    found = frame(true_page("data", table=table, find=one), key, *SHOWN_BY[table])
    assert (found[key] == one).sum() == min(n, 200)
    find(true_page("data", table=table, find="no such words"), f"^No row of {table} holds “no such words”")


def test_where_a_row_leads(true_page: Page, sql: Sql, run: str) -> None:
    [(item, sid)] = sql("SELECT item_id, sid FROM sids WHERE run_id = ? ORDER BY item_id LIMIT 1", run)
    best = sql("SELECT query_id FROM scores WHERE run_id = ? AND item_id = ? AND rank IS NOT NULL ORDER BY rank, query_id LIMIT 1", run, item)  # fmt: skip
    page = chosen(true_page("data", find=item), "rows")
    links = {plain(e.proto.label): e.proto.query_string for e in page.get("page_link")}
    assert f"item={item}" in links[f"Item {item} and its code"]
    assert f"code={sid}" in links[f"Item {item} and its code"]
    assert ("Why it ranks for the query that ranks it best" in links) == bool(best)


def chosen(page: AppTest, key: str) -> AppTest:
    """The page once the first row of a table is chosen."""
    page.session_state[f"table-{key}"] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    return page.run()


def test_a_decision_in_full(page: AppTest, sql: Sql, run: str) -> None:
    rows = sql(
        """SELECT file, what, found, because, change FROM data_decisions WHERE imported_run IS NULL OR imported_run = ?
           ORDER BY NOT notable, imported_run NULLS FIRST, position LIMIT 1""",
        run,
    )
    for file, what, found, because, change in rows:
        page = chosen(page, "decisions")
        said = f"{file}, {what}: {found}. Decided because {because}. To have it otherwise:"
        assert " ".join(said.split()) in told(page)
        assert change in [e.value for e in page.code]


def test_what_a_handed_in_file_is_held_to(true_page: Page, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDELIGHT_ALLOW_UPLOAD", "1")
    [(top, bar)] = sql("SELECT max_grade, relevant_grade FROM snapshot")
    find(true_page("data"), rf"Grades run from 0 to {top:g}, relevant from {bar:g}, as in this catalogue")


# ---------------------------------------------------------------- files with faults

MANY = 1_005
"""More rows with one fault than a snapshot holds."""
ITEMS = "\n".join(
    (
        "item_id,title,category,price",
        "a1,red lamp,Home > Lamps,5",
        "a1,again,Home > Lamps,6",
        "a3,a chair,Home > Chairs,cheap",
        "a4,desk,,3",
        *(f"x{i},,Home > Lamps,1" for i in range(MANY)),
    )
)
JUDGED = "query,item_id,grade\nlamp,a1,3\nlamp,zz,2\nlamp,a3,\nlamp,a4,0\ndesk,a4,2\n"


@pytest.fixture(scope="module")
def faulty(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained marketplace, told to have come in from files with known faults."""
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "in").mkdir()
    (folder / "in" / "items.csv").write_text(ITEMS)
    (folder / "in" / "judgments.csv").write_text(JUDGED)
    tables = intake_tables(ingest(folder / "in", folder / "own", max_reject_share=1.0).catalogue, [])
    workspace = folder / "workspace"
    shutil.copytree(trained.workspace / "snapshots", workspace / "snapshots", ignore=shutil.ignore_patterns("leases"))
    shutil.copy(trained.workspace / "CURRENT", workspace)
    with duckdb.connect(str(workspace / (workspace / "CURRENT").read_text().strip())) as connection:
        for name in ("data_files", "data_skipped", "data_decisions", "data_issues", "data_notes", "rejects"):
            rows = tables[name]
            connection.register("rows_of", rows)
            connection.execute(f"DELETE FROM {name}")
            connection.execute(f"INSERT INTO {name} BY NAME SELECT * FROM rows_of")
    return workspace


def test_faults_are_counted_as_they_were_written(open_page: Callable[..., AppTest], faulty: Path) -> None:
    page = open_page("data", faulty)
    read, rejected = 4 + MANY + 5, 1 + MANY + 1
    assert (
        f"{read:,} rows of 2 files were read: 6 accepted, {rejected:,} rejected, 1 passed over. Most were rejected in items.csv: "
        f"{1 + MANY:,} of {4 + MANY:,} that were not passed over ({share(1 + MANY, 4 + MANY)})."
    ) in told(page)
    assert "3 things were found out from the files themselves; look at what is marked ●: 1 of them, on what values mean or which are kept." in told(page)  # fmt: skip
    assert (
        f"3 broken rules cost rows, most often “required value is missing” in items.csv ({MANY:,} rows); 1 broken rule cost a value only, "
        "most often “not a number” in items.csv (1 row)."
    ) in told(page)
    find(page, r"^4 rules broken, all · ")
    rules = frame(page, "rule", "share").set_index("rule")
    assert rules.loc["unknown item", "share"] == pytest.approx(100 / 4)
    assert rules.loc["required value is missing", "share"] == pytest.approx(100 * MANY / (4 + MANY))
    page = open_page("data", faulty, file="judgments.csv")
    find(page, r"^1 broken rule cost rows, most often “unknown item” in judgments.csv \(1 row\)\.$")
    find(page, r"^2 things were found out from the files themselves; look at what is marked ●: 1 of them")
    assert f"{read:,} rows of 2 files were read" in find(page, "were read: ").string, (
        "of all files, whichever is chosen"
    )


def test_rejected_rows_are_counted_whole(open_page: Callable[..., AppTest], faulty: Path) -> None:
    page = open_page("data", faulty)
    assert f"Rejected rows, whole ({MANY + 2:,})" in [e.label for e in page.expander]
    page.session_state["rejected"] = True
    find(page.run(), rf"^500 of {MANY + 2:,} rejected rows; the snapshot and the CSV hold 1,002 · ")
    page.selectbox(key="rules").set_value("duplicate id").run()
    find(page, r"^1 of 1 rejected rows, all · ")
    page = chosen(page, "rejects")
    find(page, r"^items.csv:3, duplicate id: item_id 'a1' -> already given at items.csv:2; the first is kept$")
