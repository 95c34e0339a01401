"""The tour: its five steps lead to pages that show something, and once dismissed it stays away, in this browser."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Page, expect

from tests.browser.dashboard import SLOWEST, Server, settle

STEPS = {"Codebook": "codebook", "Query": "query", "Explain": "explain", "Sellers & categories": "sellers"}
DISMISS, AGAIN = "Dismiss the tour", "Show the tour again"


def opened(page: Page, server: Server) -> None:
    page.goto(server.url)
    settle(page)


def test_every_step_leads_to_a_page_that_shows_something(browser: Browser, server: Server) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    try:
        for label, path in STEPS.items():
            opened(page, server)
            main = page.get_by_test_id("stMain")
            main.get_by_role("link", name=label, exact=True).first.click()
            page.wait_for_url(f"**/{path}?*", timeout=SLOWEST)
            settle(page)
            words = main.inner_text()
            assert not re.search("There is no [a-z]+ “", words), f"{label}: {words[:500]}"
            assert len(words) > 500, f"{label}: {words}"
    finally:
        context.close()


def test_once_dismissed_it_stays_away_until_asked_for(browser: Browser, server: Server) -> None:
    context = browser.new_context(viewport={"width": 1024, "height": 768})
    try:
        page = context.new_page()
        opened(page, server)
        page.get_by_role("button", name=DISMISS).click()
        expect(page.get_by_role("button", name=AGAIN)).to_be_visible(timeout=SLOWEST)
        later = context.new_page()  # a new session of the same browser
        opened(later, server)
        expect(later.get_by_role("button", name=AGAIN)).to_be_visible(timeout=SLOWEST)
        expect(later.get_by_role("button", name=DISMISS)).to_have_count(0)
        later.get_by_role("button", name=AGAIN).click()
        expect(later.get_by_role("button", name=DISMISS)).to_be_visible(timeout=SLOWEST)
        later.reload()
        expect(later.get_by_role("button", name=DISMISS)).to_be_visible(timeout=SLOWEST)
    finally:
        context.close()
    other = browser.new_context()  # another visitor
    try:
        page = other.new_page()
        opened(page, server)
        expect(page.get_by_role("button", name=DISMISS)).to_be_visible(timeout=SLOWEST)
    finally:
        other.close()
