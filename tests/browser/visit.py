"""One browser tab on the way through the dashboard, which notices everything that goes wrong on the way."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import pandas as pd
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Download,
    Locator,
    Page,
    Request,
    TimeoutError,
    expect,
)

from tests.browser.dashboard import SLOWEST, settle

ARTIFACTS = Path(__file__).parent / "artifacts"
PICTURES = os.environ.get("SIDELIGHT_PICTURES") == "1"
"""Whether every step leaves a picture; one that went wrong always does."""
# Streamlit looks for its base path by asking below the page's address first.
EXPECTED_404 = re.compile(r"/[a-z-]+/_stcore/(host-config|health)$")
# Markup that a test writes sets window.__ran; the dashboard's own script does not.
RAN = """() => [
    ...(window.__ran === undefined ? [] : ['it ran']),
    ...[...document.querySelectorAll('[data-testid="stMain"] :is(img[src="x"], script, a[href^="https://example.com"], a[href^="javascript"])')]
        .filter(e => e.tagName !== 'SCRIPT' || e.src || e.textContent.includes('__ran')).map(e => e.outerHTML.slice(0, 200)),
]"""


class Table:
    """A Streamlit table, found by its accessible name: cells are drawn on a canvas, mirrored in a hidden grid."""

    def __init__(self, page: Page, name: str) -> None:
        self._page = page
        self._box = page.locator(f'[data-testid="stDataFrameResizable"][aria-label^="{name}" i]:visible').first

    def _ready(self) -> None:
        # the grid is drawn only where it is on screen; at its upper edge the page's header would lie over it
        self._box.evaluate("box => box.scrollIntoView({block: 'center'})")
        self._page.wait_for_timeout(150)
        expect(self._box.locator("tbody tr").first).to_be_attached()

    def column(self, header: str) -> list[str]:
        """The cells on screen of the column with that header."""
        self._ready()
        headers = [h.strip("↑↓ ") for h in self._box.locator("thead th").all_text_contents()]
        place = self._box.locator("thead th").nth(headers.index(header)).get_attribute("aria-colindex")
        return self._box.locator(f'tbody td[aria-colindex="{place}"]').all_text_contents()

    def _middle(self, row: int) -> tuple[dict[str, float], float]:
        box = self._box.bounding_box()
        assert box is not None
        # Streamlit's rows are 2.1875 rem high, and so is the header
        high = 2.1875 * float(self._page.evaluate("parseFloat(getComputedStyle(document.documentElement).fontSize)"))
        return {"x": box["x"], "width": box["width"]}, box["y"] + 1 + high * (row + 1.5)

    def _press(self, x: float, y: float) -> None:
        """As a hand does it: the grid learns from the way there over which cell the mouse is."""
        self._page.mouse.move(x + 12, y + 6)
        self._page.mouse.move(x, y, steps=3)
        self._page.wait_for_timeout(100)
        self._page.mouse.click(x, y, delay=40)

    def choose(self, row: int) -> None:
        """Tick a row's box."""
        self._ready()
        box, y = self._middle(row)
        self._press(box["x"] + 17, y)

    def click(self, row: int) -> None:
        """Click the first cell of a row; -1 is the header, which sorts by it."""
        self._ready()
        box, y = self._middle(row)
        self._press(box["x"] + 90, y)
        self._page.wait_for_timeout(300)

    def follow(self, row: int) -> Page:
        """Click the row's first link as a person finds it: where the mouse turns into a hand. Returns the new tab."""
        self._ready()
        box, y = self._middle(row)
        canvas = self._box.locator("canvas").first
        x = box["x"] + 4
        while x < box["x"] + box["width"]:
            self._page.mouse.move(x, y)
            if canvas.evaluate("c => c.style.cursor") == "pointer":
                with self._page.context.expect_page() as opened:
                    self._page.mouse.click(x + 3, y)
                return opened.value
            x += 6
        raise AssertionError(f"row {row} holds no link on screen")


class Export(NamedTuple):
    """An exported table: the lines above it by name, and its rows."""

    head: dict[str, str]
    rows: pd.DataFrame


class Visit:
    """One browser tab on the way through the dashboard. `see` is called at every step."""

    def __init__(self, browser: Browser, url: str, journey: str) -> None:
        self._browser, self.url, self._journey = browser, url, journey
        self._steps = 0
        self.problems: list[str] = []
        self._contexts: list[BrowserContext] = []
        self.page = self._fresh()

    def _fresh(self) -> Page:
        # A page that moves while it waits takes a core to draw it by software.
        made = self._browser.new_context(viewport={"width": 1440, "height": 1000}, reduced_motion="reduce")
        self._contexts.append(made)
        return self._watch(made.new_page())

    def _watch(self, page: Page) -> Page:
        page.set_default_timeout(SLOWEST)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.problems.append(f"script error: {error}"))
        page.on("request", self._on_request)
        return page

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not EXPECTED_404.search(str(message.location.get("url", ""))):
            self.problems.append(f"console: {message.text} ({message.location.get('url')})")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.url, self.url.replace("http", "ws", 1), "data:", "blob:")):
            self.problems.append(f"left this machine: {request.url}")

    def open(self, path: str = "", **params: str) -> None:
        """Go to a page of the dashboard and wait for it."""
        self.page.goto(f"{self.url}/{path}" + (f"?{urlencode(params)}" if params else ""))
        settle(self.page)

    def elsewhere(self, url: str) -> Page:
        """The address in a browser that never saw this dashboard."""
        page = self._fresh()
        page.goto(url)
        settle(page)
        return page

    def turn_to(self, page: Page) -> None:
        """Go on in a tab that a link opened."""
        self.page = self._watch(page)
        settle(self.page)

    def ran(self) -> list[str]:
        """What of words that are markup became an element, or ran."""
        return list(self.page.evaluate(RAN))

    def see(self, step: str) -> None:
        """Wait for the page, keep a picture of it (see `PICTURES`), and fail on anything that broke."""
        settle(self.page)
        self._steps += 1
        broken = self.page.locator('[data-testid="stException"]').all_inner_texts()
        failed = self.page.get_by_text("could not be shown").all_inner_texts()
        if PICTURES or broken or failed or self.problems:
            self.picture(f"{self._journey}-{self._steps:02d}-{step}")
        assert not broken + failed, f"{step}: {broken + failed}"
        assert not self.problems, f"{step}: {self.problems}"

    def picture(self, name: str) -> None:
        """Keep what is on screen under that name."""
        self.page.screenshot(path=ARTIFACTS / f"{name}.png", animations="disabled")

    def back_to(self, title: str) -> None:
        """The browser's own way back. A page that leaves usual values out of its address takes a second press."""
        self.page.go_back()
        try:
            self.heading(title, timeout=8_000)
        except AssertionError:
            self.page.go_back()
            self.heading(title)
        settle(self.page)

    @property
    def params(self) -> dict[str, str]:
        """Query parameters in the address bar."""
        return dict(parse_qsl(urlsplit(self.page.url).query))

    @property
    def path(self) -> str:
        """The page's path without slashes; '' for Overview."""
        return urlsplit(self.page.url).path.strip("/")

    def expect_param(self, name: str, value: str) -> None:
        """Wait until the address bar says so."""
        self.page.wait_for_function(
            "([n, v]) => new URLSearchParams(location.search).get(n) === v", arg=[name, value], timeout=SLOWEST
        )
        settle(self.page)

    def heading(self, text: str, *, timeout: float = SLOWEST) -> Locator:
        """The page's own title, visible within `timeout` ms."""
        found = self.page.locator('[data-testid="stMain"] h1', has_text=text)
        expect(found).to_be_visible(timeout=timeout)
        return found

    def field(self, label: str) -> Locator:
        """A text input by its label."""
        return self.page.get_by_label(label, exact=True).and_(self.page.locator("input")).first

    @property
    def card(self) -> Locator:
        """The drawer over the page."""
        return self.page.get_by_role("dialog")

    def close_card(self) -> None:
        """Esc, away from anything whose own hint would take the key first; nothing is chosen afterwards."""
        self.page.mouse.move(5, 500)
        expect(self.page.get_by_role("tooltip")).to_have_count(0)
        self.page.keyboard.press("Escape")
        expect(self.card).to_have_count(0)
        self.page.wait_for_function("!new URLSearchParams(location.search).has('code')")
        settle(self.page)

    def text(self, words: str | re.Pattern[str]) -> Locator:
        """The first visible text of the main part, or of the drawer over it, with these words, waited for."""
        shown = self.page.locator('[data-testid="stMain"], [role="dialog"]')
        found = shown.get_by_text(words).filter(visible=True).first
        expect(found).to_be_visible(timeout=SLOWEST)
        return found

    def table(self, name: str) -> Table:
        """A table by the start of its name."""
        return Table(self.page, name)

    def export(self, key: str) -> Export:
        """Press the CSV button of the figure or table of that key, and read what it gives."""
        told = self._pressed(key)
        file = told.suggested_filename
        written = Path(told.path()).read_text(encoding="utf-8")
        lines = [line[2:] for line in written.splitlines() if line.startswith("# ")]
        head = dict(line.split(": ", 1) for line in lines)
        rows = pd.read_csv(io.StringIO(written.split("\n", len(lines))[-1]), dtype={"code": str, "prefix": str})
        assert int(head["rows"]) == len(rows), f"{file} is cut short"
        assert head["snapshot"] in file
        return Export(head, rows)

    def _pressed(self, key: str) -> Download:
        """The file of a CSV button. A press that the page gave way under (a chart above was just drawn) is made again, once;
        a button that says that it failed is not forgiven."""
        box = self.page.locator(f".st-key-csv-{key}").first
        for _ in range(2):
            box.scroll_into_view_if_needed()
            try:
                with self.page.expect_download(timeout=SLOWEST / 2) as waited:
                    box.locator("button").first.click()
                return waited.value
            except TimeoutError:
                said = box.get_by_test_id("stDownloadButtonError").all_inner_texts()
                assert not said, f"the CSV of {key} says {said}"
                settle(self.page)
        raise AssertionError(f"the CSV of {key} gives no file, and says nothing: {self.page.url}")

    def tab(self, name: str) -> None:
        """Open a tab of the page."""
        self.page.get_by_role("tab", name=name, exact=True).click()
        settle(self.page)

    def close(self) -> None:
        for context in self._contexts:
            context.close()
