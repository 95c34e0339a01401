"""Every state of every page, and a walk through them that notes whatever is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote_plus

from playwright.sync_api import Browser

from tests.browser.conftest import Snapshot
from tests.browser.dashboard import Server, settle
from tests.browser.sound import cut, violations, wider
from tests.browser.visit import PICTURES, Visit

STATES = {
    "overview": "",
    "overview-lifts": "?details=Kinds+of+queries",
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
    "runs": "runs",
    "runs-methods": "runs?alone=Methods",
    "runs-queries": "runs?base={other}&part=Query+by+query",
    "runs-settings": "runs?base={other}&part=Settings",
    "runs-learning": "runs?base={other}&part=While+learning",
    "report": "report?base={other}",
    "data": "data",
    "data-judging": "data?judge=true",
    "console": "data?sql=SELECT+title%2C+price+FROM+items+ORDER+BY+price+DESC+LIMIT+20",
}
"""Page states by name; what stands in braces is looked up in the snapshot."""
SIZES = {"laptop": (1440, 900), "small": (1024, 768), "large": (1920, 1080)}


def named(snapshot: Snapshot) -> dict[str, str]:
    """What states speak of: the example story's query, item and code, a box of the map, the seller that changed most, a category."""
    [(query, words, item, prefix)] = snapshot.rows(
        """SELECT query_id, text, item_id, matched_prefix FROM stories JOIN queries USING (query_id)
           WHERE stories.kind = 'example' ORDER BY run_id LIMIT 1"""
    )
    [(seller,)] = snapshot.rows(
        """SELECT value FROM exposure WHERE dimension = 'seller' AND discount = 'log2' AND effective_n >= 30
           ORDER BY abs(difference) DESC LIMIT 1"""
    )
    [(category,)] = snapshot.rows("SELECT category FROM categories ORDER BY n_items DESC, category LIMIT 1")
    [box] = snapshot.rows("SELECT min(x), (min(x) + max(x)) / 2, min(y), max(y) FROM projection")
    [(other,)] = snapshot.rows("SELECT run_id FROM runs WHERE method = 'none' ORDER BY run_id LIMIT 1")
    told = {
        "other": other,
        "query": query,
        "text": words,
        "item": item,
        "code": prefix.split("-")[0],
        "seller": seller,
        "category": category,
    }
    return {name: quote_plus(str(value)) for name, value in told.items()} | {"box": ",".join(f"{v:.3f}" for v in box)}


def faults(visit: Visit, *, accessible: bool) -> list[str]:
    """Everything that is wrong with the page on screen."""
    page = visit.page
    settle(page)
    broken = page.locator('[data-testid="stException"]').all_inner_texts()
    broken += page.get_by_text("could not be shown").all_inner_texts()
    if page.get_by_role("button", name="Download as CSV").count():
        broken.append("a table's toolbar offers a CSV that is not disarmed and says nothing of where it is from")
    found = broken + wider(page) + cut(page) + visit.ran() + visit.problems + (violations(page) if accessible else [])
    visit.problems.clear()
    return found


def turned(visit: Visit, theme: str, size: str) -> None:
    """The window as someone with that theme and that screen has it."""
    width, height = SIZES[size]
    visit.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    visit.page.set_viewport_size({"width": width, "height": height})
    visit.page.evaluate("window.__idleSince = undefined")  # what it draws anew takes a moment


def walk(
    browser: Browser,
    server: Server,
    told: dict[str, str],
    look: tuple[str, str, bool],
    kind: str,
    states: Sequence[str] = tuple(STATES),
) -> Iterator[tuple[str, Visit, list[str]]]:
    """Every state's name, the tab that shows it, and its faults in that look: theme, window, whether axe is asked as well.

    While one is looked at, the next one opens in a second tab.
    """
    theme, size, accessible = look
    tabs = [Visit(browser, server.url, kind) for _ in range(2)]

    def begin(place: int) -> None:
        if place < len(states):
            tabs[place % 2].page.goto(f"{server.url}/{STATES[states[place]].format(**told)}", wait_until="commit")

    for tab in tabs:
        turned(tab, theme, size)
    begin(0)
    for place, state in enumerate(states):
        begin(place + 1)
        visit = tabs[place % 2]
        found = [f"{state}, {theme}, {size}: {fault}" for fault in faults(visit, accessible=accessible)]
        if PICTURES or found:
            visit.picture(f"{kind}-{state}-{theme}-{size}")
        yield state, visit, found
    for tab in tabs:
        tab.close()
