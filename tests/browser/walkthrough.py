"""One audit, click by click: from the first finding to a report that holds the decision. docs/walkthrough.md tells it.

python -m tests.browser.walkthrough --workspace data/workspace --run DSIRM --other TIGER
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, expect

from tests.browser.dashboard import ROOT, SLOWEST, chromium, serve, settle
from tests.browser.take_screenshots import OUT, smaller
from tests.browser.visit import Visit

SEEN = "Relevant, yet it falls behind with SIDs: the catalogue team reads its title beside the others under this code."
DECISION = "Kept as it is: the other run orders no better on the queries that both were judged on."
BY = "Ada"


def audit(visit: Visit, keep: Callable[[str], None], run: str, other: str) -> str:
    """Walks, and calls `keep` with each step's name. `run` begins the menu's name of the run that is audited, `other` that of the
    one that might be shipped instead.

    Returns the report that the last step downloads.
    """
    page = visit.page
    visit.open("")
    pick(visit, "Run", run)
    top(visit.text("What should I look at first?"))
    keep("findings")
    page.get_by_role("link", name="See the evidence").first.click()
    page.wait_for_function("location.pathname !== '/'", timeout=SLOWEST)
    settle(page)
    keep("evidence")
    page.get_by_role("link", name="Sellers & categories", exact=True).first.click()
    visit.heading("Sellers & categories")
    settle(page)
    visit.table("All ").click(0)
    page.wait_for_function("new URLSearchParams(location.search).get('value')", timeout=SLOWEST)
    settle(page)
    top(page.locator(".st-key-one-page"))
    keep("seller")
    page.get_by_role("link", name="Overview", exact=True).first.click()
    visit.heading("Overview")
    settle(page)
    story = page.get_by_test_id("stVerticalBlock").filter(has_text="A query lost").last
    story.get_by_role("link", name="Follow the query").click()
    visit.heading("Query")
    settle(page)
    visit.tab("Where was it lost?")
    keep("lost")
    page.go_back()
    settle(page)
    page.go_back()
    visit.heading("Overview")
    settle(page)
    story.get_by_role("link", name="Why this item").click()
    visit.heading("Explain")
    visit.text("From the reference to the score")
    keep("explained")
    page.get_by_role("link", name=re.compile(r"^[✓✗] \d+-\d+ ")).first.click()
    expect(visit.card).to_be_visible(timeout=SLOWEST)
    settle(page)
    note(visit, visit.card, SEEN)
    keep("code")
    visit.close_card()
    page.get_by_role("link", name="Runs", exact=True).first.click()
    visit.heading("Runs")
    settle(page)
    pick(visit, "Compare with", other)
    visit.text(re.compile("paired|queries, fewer than"))
    note(visit, page.get_by_test_id("stMain"), DECISION)
    top(page.get_by_role("heading", name="Is it better?"))
    keep("decision")
    visit.tab("Query by query")
    top(page.get_by_role("tablist").first)
    keep("query-by-query")
    page.get_by_role("link", name="Report", exact=True).first.click()
    visit.heading("Report")
    visit.text(DECISION)
    keep("report")
    with page.expect_download(timeout=SLOWEST) as waited:
        page.get_by_role("button", name="Report, HTML").click()
    return Path(waited.value.path()).read_text(encoding="utf-8")


def pick(visit: Visit, menu: str, name: str) -> None:
    """Choose a run in a menu of the sidebar."""
    visit.page.get_by_test_id("stSidebar").get_by_role("combobox", name=menu, exact=True).click()
    visit.page.get_by_role("option", name=re.compile(f"^{re.escape(name)}")).first.click()
    settle(visit.page)


def top(there: Locator) -> None:
    """Scroll so that it begins the window."""
    there.evaluate("e => e.scrollIntoView({block: 'start'})")


def note(visit: Visit, within: Locator, words: str) -> None:
    """Write a note there, and see it kept."""
    within.get_by_role("button", name="Note", exact=True).first.click()
    visit.page.get_by_role("textbox", name="Note", exact=True).fill(words)
    visit.page.get_by_role("textbox", name="By", exact=True).fill(BY)
    visit.page.get_by_role("button", name="Keep", exact=True).click()
    expect(within.get_by_text(words).first).to_be_visible(timeout=SLOWEST)
    visit.page.keyboard.press("Escape")
    visit.page.mouse.move(5, 500)  # away from what explains itself
    settle(visit.page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=ROOT / "data" / "workspace")
    parser.add_argument("--run", default="DSIRM", help="how the menu's name of the audited run begins")
    parser.add_argument("--other", default="TIGER", help="how that of the other run begins")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    with (
        tempfile.NamedTemporaryFile(suffix=".log") as log,
        serve(given.workspace, Path(log.name)) as server,
        chromium() as browser,
    ):
        visit = Visit(browser, server.url, "walkthrough")
        steps: list[str] = []

        def keep(step: str) -> None:
            settle(visit.page)
            steps.append(step)
            path = given.out / f"walkthrough-{len(steps)}-{step}.png"
            path.write_bytes(smaller(visit.page.screenshot(animations="disabled")))
            sys.stdout.write(f"{path}\n")

        audit(visit, keep, given.run, given.other)


if __name__ == "__main__":
    main()
