"""The audit of docs/walkthrough.md on another marketplace: two runs, ship or not, to a report that holds the decision."""

from __future__ import annotations

import html
import shutil
from pathlib import Path

from playwright.sync_api import Browser

from app.rankers import run_name
from engine.store.notes import Notes
from tests.browser.conftest import Snapshot
from tests.browser.dashboard import serve
from tests.browser.visit import Visit
from tests.browser.walkthrough import BY, DECISION, SEEN, audit
from tests.conftest import TwoTrained

CHANGES = """SELECT 100 * avg(here.value - there.value), count(*), count_if(here.value > there.value), count_if(here.value < there.value)
             FROM query_metrics here JOIN query_metrics there USING (query_id, metric)
             WHERE metric = 'ndcg@10' AND here.run_id = ? AND there.run_id = ?"""


def test_two_runs_to_a_report_that_holds_the_decision(
    browser: Browser, two_trained: TwoTrained, tmp_path: Path
) -> None:
    workspace = Path(shutil.copytree(two_trained.workspace, tmp_path / "workspace"))
    opened = Snapshot(workspace)
    (run, method), (other, other_method) = opened.rows(
        "SELECT run_id, method FROM runs WHERE method <> 'none' ORDER BY method"
    )
    [(change, n, won, lost)] = opened.rows(CHANGES, run, other)
    opened.close()
    with serve(workspace, tmp_path / "app.log") as server:
        visit = Visit(browser, server.url, "two_runs")
        report = html.unescape(audit(visit, visit.see, run_name(run, method), run_name(other, other_method)))
        visit.close()
    assert {(note.words, note.by) for note in Notes(workspace).all()} == {(SEEN, BY), (DECISION, BY)}
    assert SEEN in report
    assert DECISION in report
    assert f"nDCG@10 {change:+.2f} pp" in report
    assert f"{won:,} queries better, {n - won - lost:,} the same, {lost:,} worse" in report
