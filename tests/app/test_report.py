"""The report: every figure of it from SQL, one file that needs nothing, the page and the command that make it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest
from told import told

from app import report, text
from engine.store.handles import Handles
from engine.store.notes import Notes
from engine.store.snapshot import current_id

Page = Callable[..., AppTest]
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


def _pp(value: float) -> str:
    return f"{100 * value:+.2f} pp"


def test_what_sids_are_worth_is_the_overviews(made: report.Report, true_page: Page, sql: Sql) -> None:
    page = true_page("overview")
    [(ranker, baseline)] = sql("SELECT ranker, baseline FROM runs WHERE run_id = ?", made.run_id)
    twin, placebo = {"rich": ("twins", "rich_placebo"), "sid": ("control", "placebo")}[ranker]
    lines = next(s.lines for s in made.sections if s.title == "Do SIDs help?")
    pairs = {
        "Shuffled SIDs": (placebo, baseline), "The same ideas without SIDs": (twin, baseline), "SIDs beyond them": (ranker, twin),
    }  # fmt: skip
    for metric in ("ndcg@10", "auc"):
        for words, (one, other) in pairs.items():
            rows = sql(
                """WITH own AS (FROM comparisons WHERE run_id = ? AND segment = 'all' AND metric = ?)
                   SELECT difference, low, high, n FROM own WHERE ranker = ? AND baseline = ?
                   UNION ALL SELECT -difference, -high, -low, n FROM own WHERE baseline = ? AND ranker = ?""",
                made.run_id, metric, one, other, one, other,
            )  # fmt: skip
            mine = [line for line in lines if line.startswith(words) and text.METRIC_NAMES[metric] in line]
            if not rows or rows[0][3] < text.LEAST_QUERIES:
                assert not mine
                continue
            difference, low, high, _ = rows[0]
            said = f"{_pp(difference)} [{100 * low:+.2f}, {100 * high:+.2f}] pp"
            assert len(mine) == 1
            assert said in mine[0]
            assert any(said in line for line in told(page))
    assert told(page).count(made.lead[0]) == (not made.lead[0].startswith("Whether SIDs help cannot be told"))


def test_the_simulation_is_the_overviews_and_the_tables(
    true_workspace: Path, open_page: Page, tmp_path: Path, sql: Sql
) -> None:
    """As stored, and with rows that say otherwise: enough traffic, an effect that is sure, none at all."""
    [(run,)] = sql("SELECT default_run FROM snapshot")
    snapshot = str(current_id(true_workspace))
    for place, change in enumerate(("", "effective_n = 300, relative_low = -0.1, relative_high = 0.2",
                                    "effective_n = 300, relative_low = 0.01, relative_high = 0.2", "effective_n = 29", "DELETE")):  # fmt: skip
        own = _copy(true_workspace, tmp_path / str(place), _online(change))
        with duckdb.connect(str(own / "snapshots" / f"{snapshot}.duckdb"), read_only=True) as connection:
            rows = connection.execute(
                """SELECT metric, relative, relative_low, relative_high, effective_n FROM online
                   WHERE run_id = ? AND scenario = 'estimate' ORDER BY metric""",
                [run],
            ).fetchall()
        lines = next(s.lines for s in _of(own, run).sections if s.title == "Do SIDs help?")
        mine = [line for line in lines if line.startswith("Simulated")]
        page = [line for line in told(open_page("overview", own)) if line.startswith("Simulated, not measured")]
        assert mine == page
        assert len(mine) == bool(rows)
        for metric, value, low, high, effective in rows:
            words = {"uctr": "sessions with a click", "uctcvr": "sessions with a purchase"}[metric]
            said = f"{words} {100 * value:+.1f} % [{100 * low:+.1f}, {100 * high:+.1f}] %"
            assert (said in mine[0]) == (effective >= 30)
            assert (f"n too small ({effective:,.0f} equally" in mine[0]) == (effective < 30)
        unclear = all(low <= 0 <= high for _, _, low, high, _ in rows)
        assert not mine or ("not separable from zero" in mine[0]) == (unclear and rows[0][4] >= 30)


def _online(change: str) -> str:
    return "DELETE FROM online" if change == "DELETE" else f"UPDATE online SET {change}" if change else ""


def _copy(workspace: Path, to: Path, *changes: str) -> Path:
    """The current snapshot in a workspace of its own, with rows changed."""
    snapshot = f"{current_id(workspace)}.duckdb"
    (to / "snapshots").mkdir(parents=True)
    shutil.copy(workspace / "snapshots" / snapshot, to / "snapshots")
    (to / "CURRENT").write_text(f"snapshots/{snapshot}\n")
    with duckdb.connect(str(to / "snapshots" / snapshot)) as connection:
        for change in filter(None, changes):
            connection.execute(change)
    return to


def _of(workspace: Path, run: str) -> report.Report:
    handles = Handles()
    made = report.of(handles, workspace, str(current_id(workspace)), run)
    handles.close()
    return made


FORMS = {
    "utilisation": "percent", "perplexity_ratio": "number", "hourglass": "number", "category_purity": "percent",
    "neighbour_agreement": "percent", "harmful_share": "percent", "aliasing": "percent", "largest_bucket": "count", "same_sid_others": "number",
}  # fmt: skip
"""How each judged measure is told."""
CROWDING = ("aliasing", "largest_bucket", "same_sid_others")


@pytest.mark.parametrize("change", ["", "UPDATE health SET verdict = 'bad', value = 0.1234 WHERE verdict = 'good'"])
def test_health_is_the_codebooks_and_the_tables(
    true_workspace: Path, open_page: Page, tmp_path: Path, sql: Sql, change: str
) -> None:
    [(run,)] = sql("SELECT default_run FROM snapshot")
    own = _copy(true_workspace, tmp_path / "own", change)
    lines = next(list(s.lines) for s in _of(own, run).sections if s.title == "Health of the codebook")
    marked = [re.search(r"\] (Well|To watch|Poor): (.*)", line) for line in told(open_page("codebook", own))]
    assert [found[2] for found in marked if found] == lines
    with duckdb.connect(str(own / "snapshots" / f"{current_id(own)}.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "SELECT metric, level, value, verdict FROM health WHERE run_id = ? AND verdict IN ('good', 'warn', 'bad')", [run]
        ).fetchall()  # fmt: skip
    judged = [row for row in rows if row[0] in FORMS]
    amiss = [row for row in judged if row[3] != "good"]
    crowded = [row for row in amiss if row[0] in CROWDING]
    assert judged
    assert bool(amiss) or not change
    assert len(lines) == (len(judged) > len(amiss)) + len(amiss) - len(crowded) + bool(crowded)
    for metric, level, value, _ in amiss:
        where = "" if level is None else f"Level {level} "
        said = [line for line in lines if text.number(value, FORMS[metric]) in line and line.startswith(where)]
        assert said, (metric, level, value)


def test_notes_are_the_pages_and_the_files(own_workspace: Path, open_page: Page) -> None:
    kept = Notes(own_workspace)
    given = [
        kept.add("seller", "Alpha", "was rung up", about="Alpha", by="Ada"), kept.add("run", "dsirm-11111111", "keep it", about="the run"),
        kept.add("finding", "sellers", "a fault of the log", about="Sellers: 2 of 3", by="Bo"), kept.add("seller", "Alpha", "again", about="Alpha"),
    ]  # fmt: skip
    with duckdb.connect(str(next((own_workspace / "snapshots").glob("*.duckdb"))), read_only=True) as connection:
        [(run,)] = connection.execute("SELECT default_run FROM snapshot").fetchall()
    made = _of(own_workspace, run)
    section = next(s for s in made.sections if s.title == "Notes and decisions")
    stored = json.loads((own_workspace / "kept" / "notes.json").read_text(encoding="utf-8"))["notes"]
    assert sorted(n.id for n in section.notes) == sorted(n["id"] for n in stored) == sorted(n.id for n in given)
    document = report.document(made)
    pages = {kind: told(open_page(*page)) for kind, page in {"all": ("report", own_workspace)}.items()}
    pages["seller"] = told(open_page("sellers", own_workspace, value="Alpha"))
    for note in stored:
        who = ", ".join(filter(None, (note["by"], f"{note['at'][:16].replace('T', ' ')} UTC")))
        assert f"<small>{note['kind']}: {note['about']}, {who}</small>\n{note['words']}</div>" in document
        assert f"{note['about']}: {note['words']} :small[({who})]" in pages["all"]
        assert (f"{note['words']} :small[({who})]" in pages["seller"]) == (note["kind"] == "seller")


def test_where_the_numbers_come_from(made: report.Report, sql: Sql) -> None:
    origin = dict(made.origin)
    [counts] = sql(
        """SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM queries), (SELECT count(*) FROM judgments), n_interactions,
           dataset, fingerprint FROM snapshot"""
    )
    items, queries, judgments, interactions, dataset, fingerprint = counts
    assert origin["Catalogue"] == (
        f"{dataset}: {items:,} items, {queries:,} queries, {judgments:,} judgments, {interactions:,} interactions; fingerprint {fingerprint}"
    )
    [(evaluation, n)] = sql("SELECT evaluation, n_test_queries FROM runs WHERE run_id = ?", made.run_id)
    assert origin["Evaluation"] == f"{evaluation}, {n:,} test queries"


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
