"""Every page over data that nobody wishes to show, and over as much as a large shop has: as sound as over any other."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Snapshot
from tests.browser.dashboard import Server, serve
from tests.browser.grown import grow
from tests.browser.hostile import make_hostile
from tests.browser.states import named, walk

GROWING = (
    *("overview", "codebook-map", "codebook-drawn", "codebook-tree", "codebook-table", "codebook-shared", "codebook-card"),
    *("coverage", "coverage-slipped", "query-log", "query-ledger", "query-beams", "query-lost", "explain", "what-if"),
    *("what-if-policy", "sellers", "seller", "seller-crossed", "runs", "report", "data", "console"),
)  # fmt: skip
"""Every page, and its states that tell of more where there are more items."""


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


def test_hostile_words_are_words(browser: Browser, hostile: tuple[Server, Snapshot]) -> None:
    """Markup, formulas, emoji, other directions and titles of 10,000 letters change nothing of it."""
    server, snapshot = hostile
    look = ("light", "small", True)  # where words have least room
    wrong = [f for _, _, found in walk(browser, server, named(snapshot), look, "hostile") for f in found]
    assert not wrong, "\n".join(wrong)


def test_large_catalogue(browser: Browser, large: tuple[Server, Snapshot]) -> None:
    """200,000 items, on a large screen."""
    server, snapshot = large
    look = ("light", "large", False)
    wrong = [f for _, _, found in walk(browser, server, named(snapshot), look, "large", GROWING) for f in found]
    assert not wrong, "\n".join(wrong)
