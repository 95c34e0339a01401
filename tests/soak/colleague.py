"""One colleague of the soak, who opens links, clicks, types, exports, reloads and goes away: at a browser or on the wire.

Each page is looked at when it is ready: nothing failed, one snapshot is named, and files carry that snapshot's id.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import quote_plus

from tests.browser.states import STATES

THINKS = (3.0, 9.0)
"""Seconds that a person looks at a page before the next click."""
PATIENCE = 120.0
"""Seconds that a colleague waits before a page counts as failed: long questions of others may come before."""
DRAWN_APART = frozenset({"query-variants", "what-if-bulk", "console"})
"""States that ask the model, which are actions of their own, and one that this server does not allow."""
WORDS = (
    "red", "garden", "quiet", "steel", "kettle", "scarf", "kids", "oak", "chair", "light", "travel", "wool", "soft", "pro",
)  # fmt: skip
LIVE = ", live"
"""Ends the name of what may wait for the model."""
ASKS_LIVE = re.compile(r"^what-if|view=Variants")
FAILED = re.compile(r"could not be shown|cannot be opened|could not be answered")


@dataclass
class Seen:
    """What all colleagues saw together."""

    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """Until ready, by how one looks (at a browser, on the wire) and by what was done."""
    faults: list[str] = field(default_factory=list)
    files: dict[tuple[str, ...], set[str]] = field(default_factory=dict)
    """Digests of an export's rows, by snapshot, run, page and name: one each, whoever asked."""
    refused: int = 0
    """Exports that another browser asked for and did not get."""
    turned: int = 0
    """Sessions that turned to a newer snapshot."""


class Colleague(ABC):
    """One browser session after the other, until `end` (of `time.monotonic`)."""

    kind: str

    def __init__(self, name: str, url: str, told: dict[str, str], seen: Seen, end: float) -> None:
        self._url, self._told, self._seen, self._end = url, told, seen, end
        self._name, self._draw, self._began = name, random.Random(name), 0.0

    async def work(self) -> None:
        """Come, click until the time is over, go."""
        actions: list[tuple[int, str, Callable[[], Awaitable[None]]]] = [
            (5, "link", self._link), (6, "menu", self._menu), (5, "choice", self._choose), (3, "new query", self._new_query),
            (1, "variants", self._variants), (1, "titles in bulk", self._bulk), (1, "listing", self._listing),
            (3, "export", self._export), (1, "reload", self._reload), (2, "newer snapshot", self._newer), (1, "leave", self._leave),
        ]  # fmt: skip
        await self._come("")
        await self._ready("first page")
        while time.monotonic() < self._end:
            await asyncio.sleep(self._draw.uniform(*THINKS))
            [(_, what, act)] = self._draw.choices(actions, [weight for weight, _, _ in actions])
            try:
                await act()
            except Exception as error:  # whatever it is, it is what the soak looks for
                self._fault(f"{what}: {type(error).__name__}: {str(error)[:300]}")
                await self._start_anew()
        await self._go_away()

    async def _start_anew(self) -> None:
        """As a person does whose page failed."""
        await self._go_away()
        await self._come("")
        await self._ready("first page")

    @abstractmethod
    async def _come(self, path: str) -> None:
        """A browser that was never here opens that page."""

    @abstractmethod
    async def _go_away(self) -> None:
        """Close it, whatever it waits for."""

    @abstractmethod
    async def _open(self, path: str) -> None:
        """Load that page anew."""

    @abstractmethod
    async def _ready(self, what: str) -> None:
        """Wait for the page and look at it: `_looked`."""

    @abstractmethod
    async def _menu(self) -> None:
        """Turn to a page of the menu."""

    @abstractmethod
    async def _choose(self) -> None:
        """Press one of the page's choices."""

    @abstractmethod
    async def _newer(self) -> None:
        """Turn to a newer snapshot where one is offered."""

    @abstractmethod
    async def _export(self) -> None:
        """Fetch one of the page's files: `_checked`."""

    @abstractmethod
    def _address(self) -> str:
        """The page's path and query."""

    def _snapshot(self) -> str:
        found = re.search(r"[?&]snapshot=([^&]*)", self._address())
        return found[1] if found else ""

    def _fault(self, what: str) -> None:
        self._seen.faults.append(f"{self._name}: {what} [{self._address()}]")

    def _looked(self, what: str, seconds: float, side: str, failed: list[str]) -> None:
        """Note how long a page took, and what is wrong with it: `side` is the snapshot that its side names."""
        live = what == "new query" or ASKS_LIVE.search(self._address())
        self._seen.seconds.setdefault((self.kind, f"{what}{LIVE if live else ''}"), []).append(seconds)
        for words in failed:
            self._fault(f"{what}: {words[:300]}")
        if self._snapshot() != side:
            self._fault(f"{what}: the address names {self._snapshot()}, the page {side}")

    def _checked(self, side: str, name: str, text: str, others: int, own: int) -> None:
        """A file of a page that names `side`; `others` and `own` are what asking for it again was answered."""
        head = dict(re.findall(r"^# (\w+): (.*)$", text, re.MULTILINE))
        if head["snapshot"] != side or side not in name:
            self._fault(f"export: a page of {side} gives a file of {head['snapshot']}, {name}")
        rows = "\n".join(line for line in text.splitlines() if not line.startswith("# "))
        key = (side, head["run"], name, head["filters"])
        self._seen.files.setdefault(key, set()).add(hashlib.sha256(rows.encode()).hexdigest())
        if others != 404:
            self._fault(f"export: another browser got it ({others})")
        if own != 200:
            self._fault(f"export: its own browser did not get it again ({own})")
        self._seen.refused += others == 404

    async def _go(self, what: str, path: str) -> None:
        """Follow a link that keeps the session's snapshot, as people's own links do."""
        self._began = time.monotonic()
        await self._open(f"{path}{'&' if '?' in path else '?'}snapshot={self._snapshot()}")
        await self._ready(what)

    async def _link(self) -> None:
        state = self._draw.choice([name for name in STATES if name not in DRAWN_APART])
        await self._go("link", STATES[state].format(**self._told))

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
        await self._open(self._address())
        await self._ready("reload")

    async def _leave(self) -> None:
        """Ask something new and go away before it is answered; a moment later come back as another browser."""
        await self._open(f"query?q={self._words()}&view=Variants")
        await asyncio.sleep(self._draw.uniform(0.2, 1.5))
        await self._start_anew()
