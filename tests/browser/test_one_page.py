"""A seller who complains: the answer on one page, printed on A4 and as a file of its own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, expect

from app import report
from app.one_page import (
    EXAMPLES,
    OnePage,
    Section,
    answer,
    code_lines,
    document,
    example_lines,
    ledger_lines,
    numbers,
    queries_line,
)
from app.text import DEFINITIONS, WHAT_IS_A_SID
from engine.store.snapshot import current_id
from tests.browser.conftest import Snapshot
from tests.browser.hostile import make_hostile
from tests.browser.visit import ARTIFACTS, RAN, Visit


@pytest.fixture
def seller(snapshot: Snapshot) -> str:
    """Who loses most."""
    [(name,)] = snapshot.rows(
        "SELECT value FROM exposure WHERE dimension = 'seller' AND discount = 'log2' ORDER BY difference LIMIT 1"
    )
    return str(name)


def test_only_the_answer_is_printed(visit: Visit, seller: str) -> None:
    visit.open("sellers", value=seller)
    answer = visit.page.locator(".st-key-one-page")
    expect(answer).to_contain_text("with semantic identifiers")
    visit.see("answer")
    pages = visit.page.pdf(format="A4", print_background=True).count(b"/Type /Page\n")
    assert 1 <= pages <= 2
    visit.page.emulate_media(media="print")
    expect(answer).to_be_visible()
    for hidden in ("stSidebar", "stHeader", "stDataFrame", "stPlotlyChart", "stTextInput"):
        for element in visit.page.get_by_test_id(hidden).all():
            expect(element).not_to_be_visible()
    expect(visit.page.get_by_text("Simulated online effect")).not_to_be_visible()
    visit.page.emulate_media(media="screen")


def test_the_file_needs_nothing_and_tells_the_same(visit: Visit, seller: str) -> None:
    visit.open("sellers", value=seller)
    said = visit.page.locator(".st-key-one-page").inner_text()
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="One page, HTML").click()
    made = download.value.path().read_text(encoding="utf-8")
    assert not re.search(r"<script|<link|\ssrc=|\shref=|url\(", made)
    other = visit.page.context.new_page()
    other.set_content(made)
    numbers = re.findall(r"[+-]\d+\.\d+ pp", said)
    assert numbers
    told = other.locator("body").inner_text()
    assert [n for n in numbers if n not in told] == []
    other.close()


def test_details_stand_beside_a_table_that_keeps_its_place(visit: Visit, seller: str) -> None:
    visit.open("sellers")
    table = visit.page.get_by_test_id("stDataFrame").first
    before = table.bounding_box()
    visit.page.get_by_label("Find one by its name").fill(seller)
    visit.page.keyboard.press("Enter")
    expect(visit.page.locator(".st-key-one-page")).to_be_visible()
    assert table.bounding_box() == before
    visit.see("beside")


def printed(browser: Browser, file: Path) -> int:
    """A4 pages of a file, which runs nothing and asks for nothing."""
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    assert page.evaluate(RAN) == []
    assert asked == [file.as_uri()]
    page.screenshot(path=ARTIFACTS / f"{file.stem}.png", full_page=True)
    pages = page.pdf(format="A4", prefer_css_page_size=True).count(b"/Type /Page\n")
    page.close()
    return pages


def test_the_commands_files_print_on_one_page_whatever_the_names(
    browser: Browser, published: Path, snapshot: Snapshot, tmp_path: Path
) -> None:
    """Those who gain and lose most of every kind; as they are, and with names that nobody wishes to print."""
    own, name = tmp_path / "own", f"{current_id(published)}.duckdb"
    (own / "snapshots").mkdir(parents=True)
    shutil.copy(published / "snapshots" / name, own / "snapshots")
    (own / "CURRENT").write_text(f"snapshots/{name}\n")
    sql = """SELECT dimension, unnest([arg_min("value", difference), arg_max("value", difference)]) FROM exposure
             WHERE discount = 'log2' AND run_id = (SELECT default_run FROM snapshot) GROUP BY dimension ORDER BY dimension"""
    for kind in ("plain", "hostile"):
        if kind == "hostile":
            make_hostile(own / "snapshots" / name)
        looked = Snapshot(own)
        who = looked.rows(sql)
        looked.close()
        for place, (dimension, value) in enumerate(who):
            file = tmp_path / f"answer-{kind}-{place}.html"
            assert report.main(["-w", str(own), "--of", f"{dimension}={value}", "--out", str(file)]) == 0
            assert printed(browser, file) == 1, (dimension, value)


def test_the_longest_answer_that_there_can_be_prints_on_one_page(browser: Browser, tmp_path: Path) -> None:
    """Wide letters in every name, every list as long as it gets."""
    name, many = "漢" * 500, 123_456
    row = pd.Series(
        {"share": 0.0176, "share_without": 0.0189, "difference": -0.0013, "low": -0.0033, "high": -0.0002, "q_value": 0.004, "verdict": "loses, clear",
         "n_queries": many, "effective_n": many, "per_merit": 2.82, "n_items": many, "catalogue_share": 0.0168, "merit": 0.0062, "n_merit_pairs": many}
    )  # fmt: skip
    places = pd.DataFrame(
        {
            "n": range(EXAMPLES),
            "net": -0.001,
            "change": -0.001,
            "rank": 1000,
            "rank_without_sid": 1000,
            "prefix": "1-2-3",
        }
    )
    named = places.assign(title=name, text=name, name=f"100-100-100 ({name})")
    lost = [("lost in the beam", 100 - n, n + 1, None) for n in range(EXAMPLES + 1)]
    ledger = pd.DataFrame([("found", 10, None, None), *lost], columns=["verdict", "n_pairs", "level", "feature"])
    parts = "SID level 1: What past queries like this one found (memory)"
    page = OnePage(
        "漢" * 40, name, answer("漢" * 40, name, row), numbers(row),
        [
            Section("What caused it", [f"Of the -0.130 pp, {f'-0.080 pp go through SIDs (level 1: -0.055 pp, mostly {parts}), ' * 3}"]),
            Section("3 examples", example_lines(named)), Section("Codes through which most of it went", code_lines(named, -1)),
            Section("What would change it", [queries_line(named, -0.01), *ledger_lines(ledger)]),
        ],
        [(parts, -0.03)] * 8,
        ["漢" * 80 + "r" * 80 + DEFINITIONS["discount"], WHAT_IS_A_SID, *(DEFINITIONS[k] for k in ("exposure_change", "effective_n", "merit", "cause"))],
    )  # fmt: skip
    file = tmp_path / "longest.html"
    file.write_text(document(page), encoding="utf-8")
    assert printed(browser, file) == 1
