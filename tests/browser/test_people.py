"""People as they come: a seller who complains, a category at the tail, a query that went wrong, an import without scores; and
what every visitor does without thinking: going back, opening a row, closing it, opening it again."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from playwright.sync_api import Browser, expect

from engine import pipeline
from engine.config import preset
from engine.importing.run import ImportSettings, import_run
from tests.browser.conftest import Snapshot
from tests.browser.dashboard import SLOWEST, serve, settle
from tests.browser.test_journeys import TITLES
from tests.browser.visit import ARTIFACTS, Visit
from tests.imported_files import write_files

LOST = """SELECT l.query_id, l.item_id, l.rank, title FROM loss_ledger l JOIN items USING (item_id)
          WHERE verdict = 'outranked' AND rank > 10 ORDER BY rank, l.query_id LIMIT 1"""

SHOWN = "(name) => (new URLSearchParams(location.search).get('category') ?? '').endsWith(name)"


def test_a_seller_complains(visit: Visit, snapshot: Snapshot) -> None:
    """A name written wrongly -> the one-page answer -> the file and the paper, with the numbers of the audit."""
    [(seller, change)] = snapshot.rows(
        """SELECT value, difference FROM exposure WHERE dimension = 'seller' AND discount = 'log2' AND effective_n >= 30
           AND value <> '(unknown)' ORDER BY difference LIMIT 1"""
    )
    wrong = str(seller)[:-1] + "x"
    visit.open("sellers")
    visit.field("Find one by its name").fill(wrong)
    visit.field("Find one by its name").press("Enter")
    visit.text("Did you mean")
    visit.see("misspelt")
    visit.page.get_by_role("button", name=str(seller), exact=True).first.click()
    visit.expect_param("value", str(seller))
    points = f"{100 * float(str(change)):+.3f} pp"
    expect(visit.page.locator(".st-key-one-page")).to_contain_text(points, timeout=SLOWEST)
    visit.see("answer")
    with visit.page.expect_download() as waited:
        visit.page.get_by_role("button", name="One page, HTML").click()
    document = Path(waited.value.path()).read_text(encoding="utf-8")
    assert str(seller) in document
    assert points in document
    assert not re.search(r'(?:src|href)="https?:', document), "the file needs something else than itself"
    paper = visit.page.pdf(format="A4", print_background=True)
    (ARTIFACTS / "a_seller_complains.pdf").write_bytes(paper)
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) <= 2, "the answer is longer than a sheet"


def test_a_tail_category(visit: Visit, snapshot: Snapshot) -> None:
    """From the tail's verdict to one category, an item of it that slipped, and why."""
    [(category, n)] = snapshot.rows(
        """SELECT category, n_items FROM coverage WHERE tier = 'tail' AND category IN (
               SELECT i.category FROM items i JOIN scores s USING (item_id) WHERE s.rank > s.rank_without_sid)
           ORDER BY n_items DESC, category LIMIT 1"""
    )
    visit.open("coverage", category=str(category))
    visit.text(str(category))
    visit.text("Protected?")
    said = visit.text(re.compile(r"Of its [\d,]+ ranked items?, [\d,]+ (is|are) seen less with SIDs")).inner_text()
    ranked = int(re.search(r"Of its ([\d,]+)", said)[1].replace(",", ""))  # type: ignore[index]
    assert ranked <= int(str(n))
    visit.see("category")
    visit.tab("Items")
    visit.see("items")
    visit.tab("Queries that should reach it")
    visit.see("queries")


def test_a_bad_query(visit: Visit, snapshot: Snapshot) -> None:
    """A relevant item below page one -> where it was lost -> why -> the smallest change that would bring it there."""
    [(query, item, rank, title)] = snapshot.rows(LOST)
    visit.open("query", q=str(query), item=str(item), view="Where was it lost?")
    visit.text("outranked")
    visit.see("lost")
    visit.open("explain", q=str(query), item=str(item))
    visit.text(str(title)[:40])
    visit.text(re.compile(rf"rank {int(str(rank))} of "))
    visit.text("What is the smallest change that would do it?")
    told = visit.text(re.compile(r"^(To|No single change .*) enter the first 10")).inner_text()
    visit.see("counterfactual")
    rows = visit.export("counterfactual").rows
    enough = rows[rows["enough"] == "yes"]
    assert (enough["rank"] <= 10).all()
    assert len(enough) == 0 if told.startswith("No single change") else len(enough)


def test_an_import_without_scores(browser: Browser, tmp_path: Path) -> None:
    """SIDs and beams of another system: every page says what is missing, and shows what there is."""
    config = preset("tiny")
    config = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, exposure_resamples=200))
    files = write_files(tmp_path / "files", scores=False)
    made = import_run(files, tmp_path / "ws", ImportSettings(config, embed=False))
    pipeline.publish(tmp_path / "ws", [made.run.run_id])
    with serve(tmp_path / "ws", tmp_path / "app.log") as server:
        visit = Visit(browser, server.url, "an_import_without_scores")
        for page in ("", "codebook", "coverage", "query", "explain", "sellers", "what-if", "data"):
            visit.open(page)
            visit.text("This run was imported")
            visit.see(page or "overview")
        visit.close()


def test_one_step_back_undoes_one_step(visit: Visit) -> None:
    """Pages, a typed code, a level: each is one press of Back."""
    visit.open("")
    for page in ("Coverage", "Codebook"):
        visit.page.get_by_role("link", name=page, exact=True).first.click()
        visit.heading(page)
        visit.page.wait_for_timeout(600)
        visit.see(page.lower())
    visit.page.get_by_role("radio", name="2", exact=True).click()
    visit.expect_param("level", "2")
    visit.tab("Table")
    visit.expect_param("view", "Table")
    visit.page.go_back()
    visit.page.wait_for_function("!new URLSearchParams(location.search).get('view')")
    visit.see("level-again")
    visit.page.go_back()
    visit.page.wait_for_function("!new URLSearchParams(location.search).get('level')")
    visit.see("codebook-again")
    visit.page.go_back()
    visit.heading(TITLES["coverage"])
    visit.see("coverage-again")
    visit.page.go_back()
    visit.heading(TITLES[""])


def test_quick_steps_back_and_forward_arrive(visit: Visit) -> None:
    """Steps pressed faster than pages are made: the page stepped to is shown, and no step is put between."""
    visit.open("")
    for page in ("Coverage", "Query", "Codebook"):
        visit.page.get_by_role("link", name=page, exact=True).first.click()
        visit.heading(page)
        visit.see(page.lower())
    for step, title in ((-1, "Query"), (-1, "Coverage"), (-1, TITLES[""]), (3, "Codebook"), (-3, TITLES[""])):
        for _ in range(abs(step)):
            visit.page.evaluate("step => history.go(step)", step // abs(step))
            visit.page.wait_for_timeout(60)
        visit.heading(title)
        visit.see(title.lower())


def test_a_row_opens_by_any_cell_and_again(visit: Visit) -> None:
    """A click on a word of a row opens it; closed, the same click opens it again; the order of the table stays."""
    visit.open("coverage")
    table = visit.table("Categories")
    table.click(-1)
    ordered = table.column("Category")[:5]
    assert ordered == sorted(ordered, key=str.lower)
    table.click(2)
    visit.page.wait_for_function(SHOWN, arg=ordered[2])
    visit.see("opened")
    assert visit.table("Categories").column("Category")[:5] == ordered
    visit.page.get_by_role("button", name="Close").first.click()
    visit.page.wait_for_function("!new URLSearchParams(location.search).get('category')")
    visit.see("closed")
    assert visit.table("Categories").column("Category")[:5] == ordered
    visit.table("Categories").click(2)
    visit.page.wait_for_function(SHOWN, arg=ordered[2])
    settle(visit.page)
    was = visit.params["category"]
    visit.page.keyboard.press("j")
    visit.page.wait_for_function(
        "(was) => ![null, was].includes(new URLSearchParams(location.search).get('category'))", arg=was
    )
    visit.see("next-by-key")
