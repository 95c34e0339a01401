"""A seller who complains: the answer on one page, printed on A4 and as a file of its own."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Snapshot
from tests.browser.visit import Visit


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
