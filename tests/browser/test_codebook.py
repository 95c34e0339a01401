"""The code card as a drawer in a real browser: by link, by key, beside the page; named; found by words; closed."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.conftest import Snapshot
from tests.browser.dashboard import settle
from tests.browser.visit import Visit


def family(snapshot: Snapshot) -> list[str]:
    """The codes of the largest code of level 1, by number."""
    rows = snapshot.rows(
        """SELECT prefix FROM codes WHERE level = 2 AND n_items > 0 AND run_id = (SELECT default_run FROM snapshot)
           AND parent = (SELECT parent FROM codes WHERE level = 2 AND n_items > 0 AND run_id = (SELECT default_run FROM snapshot)
                         GROUP BY parent ORDER BY count(*) DESC, parent LIMIT 1) ORDER BY code"""
    )
    return [str(prefix) for (prefix,) in rows]


def test_drawer_by_link_key_and_escape(visit: Visit, snapshot: Snapshot) -> None:
    """A link opens the card; J and K turn to the siblings; a tab and an export work in it; Esc leaves nothing chosen."""
    codes = family(snapshot)
    assert len(codes) >= 2
    visit.open("codebook", code=codes[0], view="Table")
    expect(visit.card).to_contain_text(f"Code {codes[0]}, level 2")
    expect(visit.card).to_contain_text(f"1 of {len(codes)}")
    visit.see("by-link")
    visit.page.keyboard.press("j")
    visit.expect_param("code", codes[1])
    expect(visit.card).to_contain_text(f"Code {codes[1]}, level 2")
    visit.page.keyboard.press("k")
    visit.expect_param("code", codes[0])
    visit.card.get_by_role("tab", name="Siblings").click()
    visit.expect_param("card", "Siblings")
    assert set(visit.export("siblings").rows["prefix"]) == set(codes[1:])
    visit.see("siblings")
    visit.close_card()
    visit.see("closed")


def test_drawer_opens_again_and_stands_beside(visit: Visit, snapshot: Snapshot) -> None:
    """A row that was closed opens again; beside the page the table stays in use."""
    visit.open("codebook", view="Table", level="2")
    table = visit.table("Codes of level 2")
    first, second = table.column("Code")[:2]
    table.choose(0)
    visit.expect_param("code", first)
    visit.card.get_by_role("button", name="Close", exact=True).first.click()
    expect(visit.card).to_have_count(0)
    visit.page.wait_for_function("!new URLSearchParams(location.search).has('code')")
    visit.page.wait_for_timeout(600)  # the table is drawn anew without its tick
    settle(visit.page)
    table.choose(0)
    visit.expect_param("code", first)
    visit.card.get_by_role("button", name="Keep beside the page").click()
    expect(visit.card).to_have_count(0)
    visit.text(f"Code {first}, level 2")
    visit.see("beside")
    table.choose(1)
    visit.expect_param("code", second)
    visit.text(f"Code {second}, level 2")


def test_drawer_names_a_code_and_words_find_it(visit: Visit, snapshot: Snapshot) -> None:
    """A name given in the drawer is its title at once, and finds the code."""
    code = family(snapshot)[0]
    visit.open("codebook", code=code, view="Table")
    visit.card.get_by_role("button", name="Rename").click()
    visit.page.get_by_label("Name", exact=True).fill("Somebody's *shelf*")
    visit.page.get_by_role("button", name="Save").click()
    expect(visit.card.get_by_role("heading").first).to_contain_text("Somebody's *shelf*")
    visit.see("named")
    visit.close_card()
    visit.field("Code").fill("somebody shelf")
    visit.field("Code").press("Enter")
    found = visit.table("Codes with the words")
    assert code in found.column("Code")
    visit.see("found")
    visit.open("codebook", code=code, view="Table")
    visit.card.get_by_role("button", name="Rename").click()
    visit.page.get_by_role("button", name=re.compile("Undo")).click()
    expect(visit.card.get_by_role("heading").first).not_to_contain_text("shelf")
