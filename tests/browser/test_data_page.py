"""The Data page in a real browser: exports read back, drop-downs, the address, where a row leads, a file handed in."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from engine.store.uploads import ALLOWED
from tests.browser.conftest import Snapshot
from tests.browser.dashboard import SLOWEST, serve, settle
from tests.browser.test_exports import agree
from tests.browser.visit import Visit


def choose(visit: Visit, key: str, option: str) -> None:
    """Choose from the drop-down of that key."""
    box = visit.page.locator(f".st-key-{key} input").first
    box.scroll_into_view_if_needed()
    box.click()
    visit.page.get_by_role("option", name=option, exact=True).click()
    settle(visit.page)


def test_exports_are_the_rows(visit: Visit, snapshot: Snapshot) -> None:
    visit.open("data")
    visit.heading("Data")
    visit.see("data")
    files = "file n_read n_accepted n_rejected n_skipped"
    agree(visit.export("files").rows, files, snapshot.rows(f"SELECT {files.replace(' ', ', ')} FROM data_files"))
    decisions = "file what found because change notable"
    agree(
        visit.export("decisions").rows,
        decisions,
        snapshot.rows(f"SELECT {decisions.replace(' ', ', ')} FROM data_decisions"),
    )
    agree(
        visit.export("grades").rows, "grade n_pairs", snapshot.rows("SELECT grade, count(*) FROM judgments GROUP BY 1")
    )
    agree(visit.export("depths").rows, "depth n_items",
          snapshot.rows("SELECT depth, count(*) FROM items JOIN categories USING (category) GROUP BY 1"))  # fmt: skip
    agree(visit.export("log-position").rows, "value n_rows clicks",
          snapshot.rows("SELECT value::BIGINT, n_rows, clicks FROM log_sums WHERE kind = 'position' AND value IS NOT NULL AND source = 'log'"))  # fmt: skip
    [(n,)] = snapshot.rows("SELECT count(*) FROM items")
    assert len(visit.export("rows").rows) == n, "the export holds every page"
    for key in ("missing", "titles", "departments", "pairs-per-query", "judged", "traffic", "tail", "log-day"):
        assert len(visit.export(key).rows)


def test_a_row_found_by_words_leads_to_its_pages(visit: Visit, snapshot: Snapshot) -> None:
    [(query, text)] = snapshot.rows(
        "SELECT query_id, text FROM queries WHERE n_judged > 0 AND split = 'test' ORDER BY 1 LIMIT 1"
    )
    visit.open("data")
    choose(visit, "table", "judgments")
    visit.expect_param("table", "judgments")
    visit.field("Words or an id").fill(str(query))
    visit.field("Words or an id").press("Enter")
    visit.expect_param("find", str(query))
    [(n,)] = snapshot.rows("SELECT count(*) FROM judgments WHERE query_id = ?", query)
    visit.text(f"{n:,} judgments, all")
    visit.table("Rows of judgments").choose(0)
    visit.text("Why this item for this query")
    visit.see("row")
    elsewhere = visit.elsewhere(visit.page.url)  # the same page for who gets the link
    expect(elsewhere.get_by_text(f"{n:,} judgments, all").first).to_be_visible(timeout=SLOWEST)
    visit.page.get_by_role("link", name="Why this item for this query").click()
    visit.heading("Explain")
    visit.expect_param("q", str(query))
    visit.text(str(text))
    visit.see("explained")


def test_a_decision_is_read_in_full(visit: Visit, snapshot: Snapshot) -> None:
    [(file,)] = snapshot.rows("SELECT file FROM data_files WHERE \"table\" = 'judgments'")
    visit.open("data")
    choose(visit, "file", str(file))
    visit.expect_param("file", str(file))
    visit.table("Decisions").choose(0)
    visit.text("To have it otherwise")
    visit.see("decision")


def test_a_file_handed_in(
    browser: Browser, published: Path, snapshot: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept beside the workspace, checked, and told with the command that ingests it; another visitor finds it by link."""
    monkeypatch.setenv(ALLOWED, "1")
    [(query, item)] = snapshot.rows("SELECT query_id, item_id FROM judgments LIMIT 1")
    given = tmp_path / "my grades.csv"
    given.write_text(f"query_id,item_id,grade\n{query},{item},1\n{query},no-such-item,2\n")
    with serve(published, tmp_path / "app.log") as server:
        visit = Visit(browser, server.url, "hand-in")
        visit.open("data")
        visit.page.locator('[data-testid="stFileUploader"] input[type="file"]').set_input_files(given)
        visit.text("2 rows read: 1 accepted, 1 rejected, 0 passed over.")
        visit.text("What its rows broke")
        visit.see("checked")
        [kept] = (published / "uploads").glob("*/judgments.csv")
        assert kept.read_bytes() == given.read_bytes()
        visit.expect_param("upload", kept.parent.name)
        expect(visit.page.locator("code", has_text=f"WORKSPACE/{kept.relative_to(published)}").first).to_be_visible(
            timeout=SLOWEST
        )
        assert len(visit.export("upload-issues").rows) == 1
        visit.close()
