"""A label error: found on the page, judged without seeing what anybody said, exported, ingested, seen in the next snapshot."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, expect

from app.components.agreement import LABELS
from app.components.judging import PARTS
from engine import pipeline
from engine.datasets.ingest import list_catalogues
from engine.store.judged import JudgedStore
from engine.store.snapshot import open_snapshot
from tests.browser.conftest import Snapshot
from tests.browser.dashboard import ROOT, SLOWEST, serve, settle
from tests.browser.visit import ARTIFACTS, Visit
from tests.conftest import Trained, tiny

MOST_SKIPPED = 60
CHANGED = "(before) => ![undefined, before].includes(document.querySelector('.st-key-pair')?.innerText)"
REASON = "Zubehör 🙂 <b>not</b> the thing"


def on_screen(visit: Visit) -> str:
    return visit.page.locator(".st-key-pair").inner_text()


def press(visit: Visit, key: str) -> None:
    """A key, and the next pair."""
    before = on_screen(visit)
    visit.page.keyboard.press(key)
    visit.page.wait_for_function(CHANGED, arg=before, timeout=SLOWEST)
    settle(visit.page)


def test_a_label_error_is_mended(browser: Browser, trained: Trained, marketplace: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(trained.workspace, workspace)
    with serve(workspace, tmp_path / "app.log") as server:
        visit = Visit(browser, server.url, "judging")
        query, item = found(visit)
        judged(visit, workspace, query, item)
        exported(visit, query, item)
        visit.close()
    ingested(workspace, marketplace)
    with serve(workspace, tmp_path / "app.log") as server:
        visit = Visit(browser, server.url, "judging-after")
        seen(visit, workspace, query, item)
        visit.close()


def found(visit: Visit) -> tuple[str, str]:
    """The surest dispute, and one click from it to its explanation."""
    visit.open("data")
    visit.text("Where they disagree most")
    visit.text("surely so")
    visit.page.get_by_role("heading", name="Where they disagree most").evaluate(
        "e => e.scrollIntoView({block: 'start'})"
    )
    visit.see("found")
    rows = visit.export("disputed").rows
    assert rows["sure"].is_monotonic_decreasing
    first = rows.iloc[0]
    explained = visit.table("Disputed grades").follow(0)
    assert f"q={first['query_id']}" in explained.url
    expect(explained.get_by_text(str(first["title"])[:30]).first).to_be_visible(timeout=SLOWEST)
    explained.close()
    return str(first["query_id"]), str(first["item_id"])


def judged(visit: Visit, workspace: Path, query: str, item: str) -> None:
    """By keyboard alone, once the name is given."""
    visit.open("data", judge="true", judge_of=PARTS["disputed"])
    visit.page.locator(".st-key-rater-name input").fill("Ada")
    visit.page.get_by_role("button", name="Begin").click()
    visit.text("A shopper searched for")
    assert visit.page.get_by_test_id("stDataFrame").count() == 0, "nothing of the page tells the answer"
    for theme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        visit.see(f"queue-{theme}")
    snapshot = open_snapshot(workspace)
    [(text, title)] = snapshot.cursor().execute(
        "SELECT text, title FROM queries, items WHERE query_id = ? AND item_id = ?", [query, item]
    ).fetchall()  # fmt: skip
    snapshot.close()
    for _ in range(MOST_SKIPPED):
        shown = on_screen(visit)
        if text in shown and title in shown:
            break
        press(visit, "s")
    else:
        raise AssertionError("the surest dispute is not in the queue")
    visit.page.locator('[class*="st-key-reason-"] input').fill(REASON)
    visit.page.keyboard.press("Tab")
    press(visit, "0")
    press(visit, "u")
    assert title in on_screen(visit), "taken back, it is asked again"
    visit.page.locator('[class*="st-key-reason-"] input').fill(REASON)
    visit.page.keyboard.press("Tab")
    press(visit, "0")
    visit.text("1 judgment by 1 rater of this catalogue is kept")
    visit.see("judged")
    assert not visit.ran()
    [kept] = JudgedStore(workspace).standing()
    assert (kept.rater, kept.query_id, kept.item_id, kept.grade, kept.reason) == ("Ada", query, item, 0, REASON)


def exported(visit: Visit, query: str, item: str) -> None:
    with visit.page.expect_download() as waited:
        visit.page.locator(".st-key-judged-csv button").click()
    assert waited.value.suggested_filename == "judgments.csv"
    with Path(waited.value.path()).open(encoding="utf-8", newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["query_id"], row["item_id"], row["grade"], row["rater"], row["reason"]) == (
        query,
        item,
        "0",
        "Ada",
        REASON,
    )


def ingested(workspace: Path, marketplace: Path) -> None:
    """By the command that the page tells; then trained and published."""
    asked = [sys.executable, "-m", "engine", "ingest", str(marketplace), "--with-judged", "--workspace", str(workspace)]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fingerprint = str(list_catalogues(workspace)["fingerprint"].iloc[0])
    run = pipeline.train(workspace, fingerprint, tiny())
    pipeline.publish(workspace, [run.run_id])


def seen(visit: Visit, workspace: Path, query: str, item: str) -> None:
    """Two ratings, their mean, and Ada among the raters."""
    opened = Snapshot(workspace)
    [(grade, raters)] = opened.rows(
        "SELECT grade, n_raters FROM judgments WHERE query_id = ? AND item_id = ?", query, item
    )
    ratings = dict(
        opened.rows("SELECT coalesce(rater, ''), grade FROM ratings WHERE query_id = ? AND item_id = ?", query, item)
    )
    opened.close()
    assert ratings["Ada"] == 0
    assert (raters, grade) == (2, ratings[""] / 2)
    visit.open("data", against=LABELS["people"])
    visit.text("1 pair has two ratings or more")
    visit.text("On 1 of 1 pair that people rated twice or more, they differ")
    visit.page.get_by_role("heading", name="Who judged").evaluate("e => e.scrollIntoView({block: 'start'})")
    visit.see("next-snapshot")
    assert visit.export("raters").rows["rater"].tolist() == ["not named", "Ada"]
    [row] = visit.export("disputed").rows.to_dict("records")
    assert (row["query_id"], row["item_id"], row["lowest"]) == (query, item, 0)
    visit.open("data", judge="true", judge_of=PARTS["disputed"])
    visit.page.locator(".st-key-rater-name input").fill("Bob")
    visit.page.get_by_role("button", name="Begin").click()
    visit.text("A shopper searched for")
    visit.see("for-the-next-rater")
    assert ARTIFACTS.is_dir()
