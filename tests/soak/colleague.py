"""One colleague of the soak: a browser of its own that opens links, clicks, types, exports, reloads and goes away.

Each page is looked at when it is ready: nothing failed, one snapshot is named, and files carry that snapshot's id.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote_plus, urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page
from playwright.async_api import TimeoutError as SlowError

from tests.browser.dashboard import SETTLED, SLOWEST
from tests.browser.states import STATES
from tests.browser.visit import EXPECTED_404

THINKS = (3.0, 9.0)
"""Seconds that a person looks at a page before the next click."""
SETTLES = 0.4
"""Seconds that `SETTLED` waits for a page to stay as it is; no part of its loading."""
LIVE = frozenset({"query-variants", "what-if-bulk"})
"""States that ask the model; drawn by an action of their own."""
NAMED = """() => ({
    side: document.querySelector('[data-testid="stSidebar"]')?.innerText.match(/snap-[0-9a-f]+(?=, published)/)?.[0],
    failed: [...document.querySelectorAll('[data-testid="stException"]')].map(e => e.innerText).concat(
        [...document.querySelectorAll('[data-testid="stAlert"]')].map(e => e.innerText)
            .filter(t => /could not be shown|cannot be opened|could not be answered/.test(t))),
})"""
WORDS = (
    "red",
    "garden",
    "quiet",
    "steel",
    "kettle",
    "scarf",
    "kids",
    "oak",
    "chair",
    "light",
    "travel",
    "wool",
    "soft",
    "pro",
)


@dataclass
class Seen:
    """What all colleagues saw together."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Until ready, by what was done."""
    faults: list[str] = field(default_factory=list)
    files: dict[tuple[str, ...], set[str]] = field(default_factory=dict)
    """Digests of an export's rows, by snapshot, run, page and name: one each, whoever asked."""
    refused: int = 0
    """Exports that another browser asked for and did not get."""
    reloads: int = 0


class Colleague:
    """One browser session after the other, until `end` (of `time.monotonic`)."""

    def __init__(self, name: str, browser: Browser, url: str, told: dict[str, str], seen: Seen, end: float) -> None:
        self._browser, self._url, self._told, self._seen, self._end = browser, url, told, seen, end
        self._name, self._draw = name, random.Random(name)
        self._page: Page

    async def work(self) -> None:
        """Come, click until the time is over, go."""
        actions: list[tuple[int, str, Callable[[], Awaitable[None]]]] = [
            (5, "link", self._link), (6, "menu", self._menu), (5, "tab", self._tab), (3, "new query", self._new_query),
            (1, "variants", self._variants), (1, "titles in bulk", self._bulk), (1, "listing", self._listing), (3, "export", self._export),
            (1, "reload", self._reload), (2, "newer snapshot", self._newer), (1, "back", self._back), (1, "leave", self._leave),
        ]  # fmt: skip
        await self._come()
        await self._ready("first page")
        while time.monotonic() < self._end:
            await asyncio.sleep(self._draw.uniform(*THINKS))
            [(_, what, act)] = self._draw.choices(actions, [weight for weight, _, _ in actions])
            try:
                await act()
            except SlowError as error:
                self._fault(f"{what}: {str(error).splitlines()[0]}")
                await self._page.goto(self._url)
        await self._page.context.close()

    async def _come(self) -> None:
        context = await self._browser.new_context(viewport={"width": 1440, "height": 1000})
        self._page = await context.new_page()
        self._page.set_default_timeout(SLOWEST)
        self._page.on("console", self._on_console)
        self._page.on("pageerror", lambda error: self._fault(f"script error: {error}"))
        self._began = time.monotonic()
        await self._page.goto(self._url, wait_until="commit")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not EXPECTED_404.search(str(message.location.get("url", ""))):
            self._fault(f"console: {message.text} ({message.location.get('url')})")

    def _fault(self, what: str) -> None:
        self._seen.faults.append(f"{self._name}: {what} [{self._page.url}]")

    async def _ready(self, what: str) -> None:
        """Wait for the page, note how long it took since `_began`, and look at it."""
        app = '[data-testid="stApp"][data-test-connection-state="CONNECTED"]'
        await self._page.wait_for_selector(app, state="attached")
        await self._page.wait_for_function(SETTLED, polling=100)
        self._seen.seconds.setdefault(what, []).append(time.monotonic() - self._began - SETTLES)
        named = await self._page.evaluate(NAMED)
        for failed in named["failed"]:
            self._fault(f"{what}: {failed[:300]}")
        if (address := self._snapshot()) != named["side"]:
            self._fault(f"{what}: the address names {address}, the page {named['side']}")

    def _snapshot(self) -> str:
        return parse_qs(urlsplit(self._page.url).query).get("snapshot", [""])[0]

    async def _go(self, what: str, path: str) -> None:
        """Follow a link from elsewhere, which keeps the session's snapshot as people's own links do."""
        self._began = time.monotonic()
        joined = "&" if "?" in path else "?"
        await self._page.goto(f"{self._url}/{path}{joined}snapshot={self._snapshot()}", wait_until="commit")
        await self._ready(what)

    async def _press(self, what: str, selector: str) -> None:
        """Click one of what is visible of that kind, if anything is."""
        found = [e for e in await self._page.query_selector_all(selector) if await e.is_visible()]
        if found:
            self._began = time.monotonic()
            await self._draw.choice(found).click()
            await self._page.wait_for_timeout(50)  # a press takes a moment to reach the script
            await self._ready(what)

    async def _link(self) -> None:
        state = self._draw.choice([name for name in STATES if name not in LIVE and name != "console"])
        await self._go("link", STATES[state].format(**self._told))

    async def _menu(self) -> None:
        await self._press("menu", '[data-testid="stSidebarNavLink"]')

    async def _tab(self) -> None:
        main = '[data-testid="stMain"]'
        await self._press("tab", f'{main} [role="tab"], {main} [data-testid="stButtonGroup"] button')

    def _words(self) -> str:
        return quote_plus(" ".join(self._draw.sample(WORDS, 3)))

    async def _new_query(self) -> None:
        await self._go("new query", f"query?q={self._words()}")

    async def _variants(self) -> None:
        await self._go("variants", STATES["query-variants"].format(**self._told))

    async def _bulk(self) -> None:
        n = self._draw.choice((10, 20, 30))
        await self._go("titles in bulk", f"what-if?try=Listings+in+bulk&bulk=true&n={n}")

    async def _listing(self) -> None:
        path = "what-if?try=Listing&q={query}&item={item}&title=".format(**self._told)
        await self._go("listing", path + self._words())

    async def _reload(self) -> None:
        self._began = time.monotonic()
        await self._page.reload(wait_until="commit")
        await self._ready("reload")

    async def _newer(self) -> None:
        button = self._page.get_by_role("button", name="Reload with the newer one")
        if await button.count():
            before, self._began = self._snapshot(), time.monotonic()
            await button.first.click()
            await self._page.wait_for_function(
                "s => new URLSearchParams(location.search).get('snapshot') !== s", arg=before
            )
            await self._ready("newer snapshot")
            self._seen.reloads += 1

    async def _back(self) -> None:
        await self._page.go_back(wait_until="commit")
        if not self._page.url.startswith(self._url):
            await self._page.goto(self._url)
        await self._page.wait_for_timeout(50)
        self._began = time.monotonic()
        await self._ready("back")

    async def _leave(self) -> None:
        """Ask something new and go away before it is answered; a moment later come back as another browser."""
        await self._page.goto(f"{self._url}/query?q={self._words()}&view=Variants", wait_until="commit")
        await asyncio.sleep(self._draw.uniform(0.2, 1.5))
        await self._page.context.close()
        await self._come()
        await self._ready("first page")

    async def _export(self) -> None:
        """Press a CSV button; the file is of the page's snapshot and of this browser alone."""
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
        self._seen.seconds.setdefault("export", []).append(time.monotonic() - self._began)
        head = dict(re.findall(r"^# (\w+): (.*)$", text, re.MULTILINE))
        side = (await self._page.evaluate(NAMED))["side"]
        if not head["snapshot"].startswith(side) or side not in file.suggested_filename:
            self._fault(f"export: a page of {side} gives a file of {head['snapshot']}")
        key = (side, head.get("run", ""), file.suggested_filename, head.get("filters", ""))
        rows = "\n".join(line for line in text.splitlines() if not line.startswith("# "))
        self._seen.files.setdefault(key, set()).add(hashlib.sha256(rows.encode()).hexdigest())
        stranger = await self._browser.new_context()
        if (answer := await stranger.request.get(file.url)).status == 404:
            self._seen.refused += 1
        else:
            self._fault(f"export: another browser got it ({answer.status})")
        await stranger.close()
        if (own := await self._page.context.request.get(file.url)).status != 200:
            self._fault(f"export: its own browser did not get it again ({own.status})")
