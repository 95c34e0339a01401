"""Every page in every state: nothing is wider than the window, no label is cut, nobody is shut out, every export gives its rows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Snapshot
from tests.browser.dashboard import Server, serve, settle
from tests.browser.grown import grow
from tests.browser.hostile import make_hostile
from tests.browser.sound import cut, violations, wider
from tests.browser.visit import ARTIFACTS, Visit

STATES = {
    "overview": "",
    "overview-guesses": "?details=How+well+the+model+guesses",
    "overview-rankers": "?details=Ranker+by+ranker&rungs=true",
    "codebook-map": "codebook?level=2",
    "codebook-drawn": "codebook?mapq={text}&sel={box}",
    "codebook-tree": "codebook?view=Tree",
    "codebook-table": "codebook?view=Table&health=true&knowledge=true",
    "codebook-shared": "codebook?view=Shared+SIDs",
    "codebook-card": "codebook?code={code}&view=Table",
    "codebook-siblings": "codebook?code={code}&view=Table&card=Siblings",
    "codebook-item": "codebook?item={item}&view=Table&beside=true",
    "coverage": "coverage",
    "coverage-slipped": "coverage?category={category}",
    "coverage-queries": "coverage?category={category}&show=Queries+that+should+reach+it",
    "query-log": "query",
    "query-sets": "query?part=Query+sets",
    "query-ledger": "query?part=Where+relevant+items+are+lost",
    "query-beams": "query?q={query}",
    "query-ranking": "query?q={query}&item={item}&view=Ranking",
    "query-lost": "query?q={query}&item={item}&view=Where+was+it+lost%3F",
    "query-variants": "query?q={query}&view=Variants",
    "explain-start": "explain",
    "explain": "explain?q={query}&item={item}",
    "what-if": "what-if?q={query}&item={item}",
    "what-if-bulk": "what-if?try=Listings+in+bulk",
    "what-if-policy": "what-if?try=Policy&of_seller={seller}",
    "sellers": "sellers",
    "seller": "sellers?value={seller}",
    "seller-crossed": "sellers?value={seller}&told=By+part+of+it",
    "data": "data",
}
"""Page states by name; what stands in braces is looked up in the snapshot."""
SIZES = {"laptop": (1440, 900), "small": (1024, 768), "large": (1920, 1080)}
NO_EXPORT = frozenset({"what-if", "what-if-bulk"})
"""States that ask first: nothing is shown yet that could be exported."""
EMPTY = frozenset({"rejects", "issues"})
"""Exports that rightly hold no row: the marketplace has no faulty rows."""


def named(snapshot: Snapshot) -> dict[str, str]:
    """What states speak of: the example story's query, item and code, a box of the map, the seller that changed most, a category."""
    [(query, words, item, prefix)] = snapshot.rows(
        "SELECT query_id, text, item_id, matched_prefix FROM stories JOIN queries USING (query_id) WHERE stories.kind = 'example'"
    )
    [(seller,)] = snapshot.rows(
        """SELECT value FROM exposure WHERE dimension = 'seller' AND discount = 'log2' AND effective_n >= 30
           ORDER BY abs(difference) DESC LIMIT 1"""
    )
    [(category,)] = snapshot.rows("SELECT category FROM categories ORDER BY n_items DESC, category LIMIT 1")
    [box] = snapshot.rows("SELECT min(x), (min(x) + max(x)) / 2, min(y), max(y) FROM projection")
    told = {
        "query": query,
        "text": words,
        "item": item,
        "code": prefix.split("-")[0],
        "seller": seller,
        "category": category,
    }
    return {name: quote_plus(str(value)) for name, value in told.items()} | {"box": ",".join(f"{v:.3f}" for v in box)}


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


def faults(visit: Visit, *, accessible: bool) -> list[str]:
    """Everything that is wrong with the page on screen."""
    page = visit.page
    settle(page)
    broken = page.locator('[data-testid="stException"]').all_inner_texts()
    broken += page.get_by_text("could not be shown").all_inner_texts()
    found = broken + wider(page) + cut(page) + visit.ran() + visit.problems + (violations(page) if accessible else [])
    visit.problems.clear()
    return found


def turned(visit: Visit, theme: str, size: str) -> None:
    """The window as someone with that theme and that screen has it."""
    width, height = SIZES[size]
    visit.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    visit.page.set_viewport_size({"width": width, "height": height})


def walk(
    browser: Browser, server: Server, told: dict[str, str], looks: Sequence[tuple[str, str, bool]], kind: str
) -> Iterator[tuple[str, Visit, list[str]]]:
    """Every state's name, the tab that shows it, and its faults in all `looks`: theme, window, whether axe is asked as well.

    A state is opened once and then turned. While one is looked at, the next one opens in a second tab.
    """
    tabs = [Visit(browser, server.url, kind) for _ in range(2)]
    states = list(STATES)

    def begin(place: int) -> None:
        if place < len(states):
            turned(tabs[place % 2], *looks[0][:2])
            tabs[place % 2].page.goto(f"{server.url}/{STATES[states[place]].format(**told)}", wait_until="commit")

    begin(0)
    for place, state in enumerate(states):
        begin(place + 1)
        visit, found = tabs[place % 2], []
        for theme, size, accessible in looks:
            turned(visit, theme, size)
            found += [f"{state}, {theme}, {size}: {fault}" for fault in faults(visit, accessible=accessible)]
            visit.page.screenshot(path=ARTIFACTS / f"{kind}-{state}-{theme}-{size}.png", animations="disabled")
        yield state, visit, found
    for tab in tabs:
        tab.close()


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
    """Both themes, three windows; every CSV holds rows."""
    told = named(snapshot)
    first = Visit(browser, server.url, "model")  # what is answered live is looked at with the model loaded
    first.open("query", q="nobody asked this before")
    first.text("Generated live")
    first.close()
    looks = (("dark", "laptop", True), ("dark", "small", False), ("light", "large", True))
    wrong: list[str] = []
    for state, visit, found in walk(browser, server, told, looks, "sound"):
        wrong += found + pressed(visit, state)
    assert not wrong, "\n".join(wrong)


def test_hostile_words_are_words(browser: Browser, hostile: tuple[Server, Snapshot]) -> None:
    """Markup, formulas, emoji, other directions and titles of 10,000 letters change nothing of it."""
    server, snapshot = hostile
    looks = (("dark", "laptop", True), ("light", "small", False))
    wrong = [f for _, _, found in walk(browser, server, named(snapshot), looks, "hostile") for f in found]
    assert not wrong, "\n".join(wrong)


def test_large_catalogue(browser: Browser, large: tuple[Server, Snapshot]) -> None:
    """200,000 items."""
    server, snapshot = large
    looks = (("light", "laptop", False),)
    wrong = [f for _, _, found in walk(browser, server, named(snapshot), looks, "large") for f in found]
    assert not wrong, "\n".join(wrong)
