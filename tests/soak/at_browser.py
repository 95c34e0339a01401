"""A colleague at a browser: a context of its own in one Chromium, where pages are drawn."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page

from tests.browser.dashboard import SETTLED
from tests.browser.visit import EXPECTED_404
from tests.soak.colleague import FAILED, PATIENCE, Colleague, Seen

SETTLES = 0.4
"""Seconds that `SETTLED` waits for a page to stay as it is; no part of its loading."""
CONNECTED = '[data-testid="stApp"][data-test-connection-state="CONNECTED"]'
LOOK = """() => ({
    side: document.querySelector('[data-testid="stSidebar"]')?.innerText.match(/snap-[0-9a-f]+(?=, published)/)?.[0] ?? '',
    broken: [...document.querySelectorAll('[data-testid="stException"]')].map(e => e.innerText),
    told: [...document.querySelectorAll('[data-testid="stAlert"]')].map(e => e.innerText),
})"""


class AtBrowser(Colleague):
    """Clicks what can be seen, and waits until it is drawn."""

    kind = "browser"

    def __init__(self, browser: Browser, name: str, url: str, told: dict[str, str], seen: Seen, end: float) -> None:
        super().__init__(name, url, told, seen, end)
        self._browser = browser
        self._page: Page

    async def _come(self, path: str) -> None:
        context = await self._browser.new_context(viewport={"width": 1440, "height": 1000})
        self._page = await context.new_page()
        self._page.set_default_timeout(1000 * PATIENCE)
        self._page.on("console", self._on_console)
        self._page.on("pageerror", lambda error: self._fault(f"script error: {error}"))
        self._began = time.monotonic()
        await self._open(path)

    async def _go_away(self) -> None:
        await self._page.context.close()

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not EXPECTED_404.search(str(message.location.get("url", ""))):
            self._fault(f"console: {message.text} ({message.location.get('url')})")

    async def _open(self, path: str) -> None:
        await self._page.goto(f"{self._url}/{path}", wait_until="commit")

    async def _ready(self, what: str) -> None:
        await self._page.wait_for_selector(CONNECTED, state="attached")
        await self._page.wait_for_function(SETTLED, polling=100)
        seconds = max(0.0, time.monotonic() - self._began - SETTLES)  # a press may change nothing
        look = await self._page.evaluate(LOOK)
        self._looked(
            what, seconds, look["side"], look["broken"] + [words for words in look["told"] if FAILED.search(words)]
        )

    def _address(self) -> str:
        at = urlsplit(self._page.url)
        return at.path.lstrip("/") + (f"?{at.query}" if at.query else "")

    async def _press(self, what: str, selector: str) -> None:
        """Click one of what is visible of that kind, if anything is."""
        found = [e for e in await self._page.query_selector_all(selector) if await e.is_visible()]
        if found:
            self._began = time.monotonic()
            await self._draw.choice(found).click()
            await self._page.wait_for_timeout(50)  # a press takes a moment to reach the script
            await self._ready(what)

    async def _menu(self) -> None:
        await self._press("menu", '[data-testid="stSidebarNavLink"]')

    async def _choose(self) -> None:
        await self._press("choice", '[data-testid="stMain"] :is([role="tab"], [data-testid="stButtonGroup"] button)')

    async def _newer(self) -> None:
        button = self._page.get_by_role("button", name="Reload with the newer one")
        if await button.count():
            before, self._began = self._snapshot(), time.monotonic()
            await button.first.click()
            await self._page.wait_for_function(
                "s => ![s, null].includes(new URLSearchParams(location.search).get('snapshot'))", arg=before
            )
            await self._ready("newer snapshot")
            self._seen.turned += 1

    async def _export(self) -> None:
        buttons = [
            b for b in await self._page.query_selector_all('[class*="st-key-csv-"] button') if await b.is_visible()
        ]
        if not buttons:
            return
        self._began = time.monotonic()
        async with self._page.expect_download() as waited:
            await self._draw.choice(buttons).click()
        file = await waited.value
        text = (await file.path()).read_text(encoding="utf-8")
        self._seen.seconds.setdefault((self.kind, "export"), []).append(time.monotonic() - self._began)
        stranger = await self._browser.new_context()
        others = (await stranger.request.get(file.url)).status
        await stranger.close()
        own = (await self._page.context.request.get(file.url)).status
        self._checked((await self._page.evaluate(LOOK))["side"], file.suggested_filename, text, others, own)
