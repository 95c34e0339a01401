"""Every page in every state: nothing is wider than the window, no label is cut, nobody is shut out, every export gives its rows."""

from __future__ import annotations

from playwright.sync_api import Browser

from tests.browser.conftest import Snapshot
from tests.browser.dashboard import Server
from tests.browser.states import named, walk
from tests.browser.visit import Visit

NO_EXPORT = frozenset({"overview", "what-if", "what-if-bulk", "report", "data-judging"})
"""States that ask first, or begin with words: nothing is shown yet that could be exported as CSV."""
EMPTY = frozenset({"rejects", "issues"})
"""Exports that rightly hold no row: the marketplace has no faulty rows."""


def pressed(visit: Visit, state: str) -> list[str]:
    """Every CSV button within reach is pressed; what of it does not give the rows that its head counts."""
    within = visit.card if visit.card.count() else visit.page.locator('[data-testid="stMain"]')
    buttons = within.locator('[class*="st-key-csv-"]')
    keys = dict.fromkeys(
        name.removeprefix("st-key-csv-")
        for place in range(buttons.count())
        for name in (buttons.nth(place).get_attribute("class") or "").split()
        if name.startswith("st-key-csv-") and buttons.nth(place).is_visible()
    )
    if bool(keys) == (state in NO_EXPORT):
        return [f"{state}: exports {list(keys)}"]
    return [f"{state}: {key} is empty" for key in keys if key not in EMPTY and not len(visit.export(key).rows)]


def test_every_state_is_sound_and_exports(browser: Browser, server: Server, snapshot: Snapshot) -> None:
    """In the dark, on a laptop (in the light, and in the other two windows: test_other_data); every CSV holds rows."""
    told = named(snapshot)
    first = Visit(browser, server.url, "model")  # what is answered live is looked at with the model loaded
    first.open("query", q="nobody asked this before")
    first.text("Generated live")
    first.close()
    wrong: list[str] = []
    for state, visit, found in walk(browser, server, told, ("dark", "laptop", True), "sound"):
        wrong += found + pressed(visit, state)
    assert not wrong, "\n".join(wrong)
