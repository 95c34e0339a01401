"""Every page in every state: nothing is wider than the window, no label is cut, nobody is shut out, every export gives its rows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import Snapshot
from tests.browser.dashboard import SLOWEST, Server, serve, settle
from tests.browser.grown import grow
from tests.browser.hostile import make_hostile
from tests.browser.sound import cut, violations, wider
from tests.browser.visit import ARTIFACTS, Visit

STATES = {
    "overview": "",
    "codebook-map": "codebook?level=2",
    "codebook-tree": "codebook?view=Tree",
    "codebook-table": "codebook?view=Table",
    "codebook-shared": "codebook?view=Shared+SIDs",
    "codebook-card": "codebook?code={code}&view=Table",
    "coverage": "coverage",
    "coverage-category": "coverage?category={category}",
    "query-log": "query",
    "query-beams": "query?q={query}",
    "query-ranking": "query?q={query}&view=Ranking",
    "query-lost": "query?q={query}&item={item}&view=Where+was+it+lost%3F",
    "explain-start": "explain",
    "explain": "explain?q={query}&item={item}",
    "sellers": "sellers",
    "seller": "sellers?value={seller}",
    "data": "data",
}
"""Page states by name; what stands in braces is looked up in the snapshot."""
SIZES = {"laptop": (1440, 900), "small": (1024, 768), "large": (1920, 1080)}


LINKED = '[data-testid="stMain"] :is(img[src="x"], script[src], a[href*="example.com"], a[href^="javascript"])'


def named(snapshot: Snapshot) -> dict[str, str]:
    """What states speak of: the example story's query, item and code, the seller that changed most, a large category."""
    [(query, item, prefix)] = snapshot.rows(
        "SELECT query_id, item_id, matched_prefix FROM stories WHERE kind = 'example'"
    )
    [(seller,)] = snapshot.rows(
        """SELECT value FROM exposure WHERE dimension = 'seller' AND discount = 'log2' AND effective_n >= 30
           ORDER BY abs(difference) DESC LIMIT 1"""
    )
    [(category,)] = snapshot.rows("SELECT category FROM categories ORDER BY n_items DESC, category LIMIT 1")
    return {"query": query, "item": item, "code": prefix.split("-")[0], "seller": seller, "category": category}


def changed(published: Path, folder: Path, change: Callable[[Path], None]) -> Iterator[tuple[Server, Snapshot]]:
    """The dashboard over a copy of the snapshot that was changed."""
    current = (published / "CURRENT").read_text().strip()
    (folder / "snapshots").mkdir()
    shutil.copy(published / current, folder / current)
    shutil.copy(published / "CURRENT", folder)
    change(folder / current)
    snapshot = Snapshot(folder)
    with serve(folder, folder / "app.log") as server:
        yield server, snapshot
    snapshot.close()


@pytest.fixture(scope="module")
def hostile(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Snapshot]]:
    """Words that nobody wishes to show."""
    yield from changed(published, tmp_path_factory.mktemp("hostile"), make_hostile)


@pytest.fixture(scope="module")
def large(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Snapshot]]:
    """As many items as a large shop has."""
    yield from changed(published, tmp_path_factory.mktemp("large"), partial(grow, n_items=200_000))


def faults(page: Page, *, accessible: bool) -> list[str]:
    """Everything that is wrong with the page on screen."""
    settle(page)
    broken = page.locator('[data-testid="stException"]').all_inner_texts()
    broken += page.get_by_text("could not be shown").all_inner_texts()
    return broken + wider(page) + cut(page) + (violations(page) if accessible else [])


def look(
    browser: Browser, server: Server, told: dict[str, str], kind: str, theme: str, size: str
) -> dict[str, list[str]]:
    """The faults of every state, by its name; keeps a picture of each."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(SLOWEST)
    found = []
    for state, path in STATES.items():
        page.goto(
            f"{server.url}/{path.format(**{k: v.replace('&', '%26').replace('#', '%23').replace('+', '%2B') for k, v in told.items()})}"
        )
        found += [f"{state}: {fault}" for fault in faults(page, accessible=size != "small")]
        page.screenshot(path=ARTIFACTS / f"{kind}-{state}-{theme}-{width}.png", animations="disabled")
        assert page.evaluate("window.__ran") is None
        assert not page.locator(LINKED).count(), f"{state}: words became a link, an image or a script"
    context.close()
    return found


@pytest.mark.parametrize(("theme", "size"), [("light", "small"), ("dark", "laptop"), ("light", "large")])
def test_every_state_is_sound(browser: Browser, server: Server, snapshot: Snapshot, theme: str, size: str) -> None:
    """Both themes, three windows."""
    found = look(browser, server, named(snapshot), "sound", theme, size)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("theme", "size"), [("light", "small"), ("dark", "laptop")])
def test_hostile_words_are_words(browser: Browser, hostile: tuple[Server, Snapshot], theme: str, size: str) -> None:
    """Markup, formulas, emoji, other directions and titles of 10,000 letters change nothing of it."""
    server, snapshot = hostile
    found = look(browser, server, named(snapshot), "hostile", theme, size)
    assert not found, "\n".join(found)


def test_large_catalogue(browser: Browser, large: tuple[Server, Snapshot]) -> None:
    """200,000 items."""
    server, snapshot = large
    found = look(browser, server, named(snapshot), "large", "light", "laptop")
    assert not found, "\n".join(found)


EMPTY = frozenset({"rejects", "issues"})
"""Exports that rightly hold no row: the marketplace has no faulty rows."""


@pytest.mark.parametrize("state", STATES)
def test_every_export(visit: Visit, snapshot: Snapshot, state: str) -> None:
    """Every CSV button of the state is pressed; each gives the rows that its head counts."""
    told = named(snapshot)
    visit.page.goto(f"{visit.url}/{STATES[state].format(**{k: v.replace('&', '%26') for k, v in told.items()})}")
    settle(visit.page)
    buttons = visit.page.locator('[class*="st-key-csv-"]')
    keys = dict.fromkeys(
        name.removeprefix("st-key-csv-")
        for place in range(buttons.count())
        for name in (buttons.nth(place).get_attribute("class") or "").split()
        if name.startswith("st-key-csv-") and buttons.nth(place).is_visible()
    )
    assert keys, "this state shows nothing that can be exported"
    for key in keys:
        given = visit.export(key)
        assert len(given.rows) or key in EMPTY, f"{key} is empty"
