"""The report: every figure of it from SQL, one file that needs nothing, the page and the command that make it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app import report, text
from engine.store.handles import Handles
from engine.store.notes import Notes
from engine.store.snapshot import current_id

Sql = Callable[..., list[tuple[Any, ...]]]
ROOT = Path(__file__).parents[2]
HOSTILE = "<script>window.__ran=1</script> *x* =1+1"


@pytest.fixture
def made(true_workspace: Path, sql: Sql) -> report.Report:
    """The report on the trained run, against the run without SIDs."""
    [(run,)] = sql("SELECT default_run FROM snapshot")
    [(base,)] = sql("SELECT run_id FROM runs WHERE method = 'none' ORDER BY run_id LIMIT 1")
    snapshot = str(current_id(true_workspace))
    return report.of(Handles(), true_workspace, snapshot, run, report.Other(snapshot, base))


def _table(made: report.Report, name: str) -> report.Table:
    return next(t for s in made.sections for t in s.tables if t.name == name)


def _section(made: report.Report, title: str) -> str:
    return " ".join(next(s for s in made.sections if s.title == title).lines)


def test_every_row_of_the_headline_is_a_stored_comparison(made: report.Report, sql: Sql) -> None:
    rows = _table(made, "headline").whole
    assert len(rows)
    for row in rows.to_dict("records"):
        stored = sql(
            """SELECT c.difference, c.low, c.high, c.n FROM comparisons c JOIN runs r USING (run_id)
               WHERE run_id = ? AND c.ranker = r.ranker AND c.baseline = r.baseline AND metric = ? AND segment = ?""",
            made.run_id, row["metric"], row["segment"],
        )  # fmt: skip
        assert stored == [(row["difference"], row["low"], row["high"], row["n"])]
    shown = _table(made, "headline").rows[0]
    first = rows.iloc[0]
    assert text.number(first["difference"], "points") in shown
    assert f"{int(first['n']):,}" in shown


def test_findings_are_all_of_them(made: report.Report, sql: Sql) -> None:
    stored = sql("SELECT title FROM findings WHERE run_id = ? AND member = 0 ORDER BY position", made.run_id)
    assert [t for (t,) in stored] == list(_table(made, "findings").whole["title"])
    counts = dict(
        sql("SELECT severity, count(*) FROM findings WHERE run_id = ? AND member = 0 GROUP BY 1", made.run_id)
    )
    said = _section(made, "Findings")
    assert f"Of {sum(counts.values())} things looked at" in said
    assert all(str(n) in said for n in counts.values())


def test_exposure_holds_who_changes_clearly(made: report.Report, sql: Sql) -> None:
    for dimension in ("seller", "category"):
        [(clear, every)] = sql(
            """SELECT count(*) FILTER (contains(verdict, ', clear')), count(*) FROM exposure
               WHERE run_id = ? AND discount = 'log2' AND dimension = ?""",
            made.run_id, dimension,
        )  # fmt: skip
        assert f"{clear:,} of {every:,} change clearly" in _section(made, "Who gains and who loses exposure")


def test_coverage_counts_tail_verdicts(made: report.Report, sql: Sql) -> None:
    counts = dict(
        sql("SELECT protected, count(*) FROM coverage WHERE run_id = ? AND tier = 'tail' GROUP BY 1", made.run_id)
    )
    said = _section(made, "Coverage of categories")
    assert f"{counts.get('yes', 0):,} are protected, {counts.get('no', 0):,} are not" in said
    assert f"for {counts.get('n too small', 0):,} n is too small" in said


def test_the_other_run_is_counted_query_by_query(made: report.Report, sql: Sql) -> None:
    [(won, tied, lost)] = sql(
        """SELECT count(*) FILTER (a.value > b.value), count(*) FILTER (a.value = b.value), count(*) FILTER (a.value < b.value)
           FROM query_metrics a JOIN query_metrics b USING (query_id, metric)
           WHERE metric = 'ndcg@10' AND a.run_id = ? AND b.run_id = (SELECT run_id FROM runs WHERE method = 'none')""",
        made.run_id,
    )  # fmt: skip
    said = _section(made, "Against the other run")
    if won + tied + lost >= text.LEAST_QUERIES:
        assert f"{won:,} queries better, {tied:,} the same, {lost:,} worse" in said
    assert len(_table(made, "worse-queries").whole) == lost


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href", "action")]


def test_one_file_that_needs_nothing(made: report.Report) -> None:
    page = report.document(made)
    links = _Links()
    links.feed(page)
    assert links.addresses == []
    assert "script" not in links.tags
    assert "url(" not in page
    assert "@import" not in page
    assert len(page.encode()) < 5 * 2**20
    assert made.snapshot_id in page
    assert "@page { size: A4" in page


def test_notes_and_words_are_text(own_workspace: Path) -> None:
    Notes(own_workspace).add("run", "r", HOSTILE, about=HOSTILE, by=HOSTILE)
    snapshot = str(current_id(own_workspace))
    handles = Handles()
    with handles.cursor(own_workspace, snapshot) as cursor:
        [(run,)] = cursor.execute("SELECT run_id FROM runs WHERE method <> 'none' LIMIT 1").fetchall()
    page = report.document(report.of(handles, own_workspace, snapshot, run))
    handles.close()
    assert "&lt;script&gt;window.__ran=1&lt;/script&gt; *x* =1+1" in page
    assert "<script" not in page


def test_the_command_writes_report_and_tables(true_workspace: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "engine",
        "report",
        "-w",
        str(true_workspace),
        "--out",
        str(tmp_path / "a.html"),
        "--csv",
        str(tmp_path / "t"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.search(r"a\.html: \d+ KB, run \S+ of snap-", done.stdout)
    rows = pd.read_csv(tmp_path / "t" / "findings.csv", comment="#")
    assert len(rows)
    wrong = subprocess.run([*command, "--run", "nobody"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert wrong.returncode == 1
    assert "no run 'nobody' in this snapshot; there are:" in wrong.stderr


def test_the_page_offers_it_and_lists_notes(open_page: Callable[..., AppTest], own_workspace: Path) -> None:
    Notes(own_workspace).add("seller", "Blue", "was rung up", about="Blue", by="Ada")
    page = open_page("report", own_workspace)
    assert not page.exception
    assert not page.error
    shown = " ".join(str(m.value).replace("\\", "") for m in page.main.markdown)
    assert "was rung up" in shown
    assert "It holds “Notes and decisions”" in shown
