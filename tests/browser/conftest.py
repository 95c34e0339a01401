"""A Chromium and the dashboard it looks at, over a marketplace that was really trained."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from engine.store.snapshot import open_snapshot
from tests.browser.dashboard import BrowserMissingError, Server, chromium, serve
from tests.browser.visit import ARTIFACTS, Visit
from tests.conftest import Trained


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for the browser says so: `pytest -m "not browser"` leaves it out."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A headless Chromium; skips where there is none, unless SIDELIGHT_REQUIRE_BROWSER=1.

    Closed with the package: as long as it is open, its event loop runs in this thread, and no other test could
    run one of its own.
    """
    opened = chromium()
    try:
        found = opened.__enter__()
    except BrowserMissingError as error:
        if os.environ.get("SIDELIGHT_REQUIRE_BROWSER") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))
    ARTIFACTS.mkdir(exist_ok=True)
    yield found
    opened.__exit__(None, None, None)


@pytest.fixture(scope="package")
def published(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained workspace, so that leases and publications of these tests touch nobody else's."""
    folder = tmp_path_factory.mktemp("published") / "workspace"
    shutil.copytree(trained.workspace, folder)
    return folder


@pytest.fixture(scope="package")
def server(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The dashboard over the trained marketplace."""
    with serve(published, tmp_path_factory.mktemp("log") / "app.log", options=("--allow-sql",)) as running:
        yield running


class Snapshot:
    """What the tests look up to know what the pages must show."""

    def __init__(self, workspace: Path) -> None:
        self._open = open_snapshot(workspace)

    def rows(self, sql: str, *args: object) -> list[tuple[Any, ...]]:
        """The result of a query."""
        return self._open.cursor().execute(sql, list(args)).fetchall()

    def close(self) -> None:
        self._open.close()


@pytest.fixture(scope="package")
def snapshot(published: Path) -> Iterator[Snapshot]:
    """The snapshot that `server` shows first."""
    opened = Snapshot(published)
    yield opened
    opened.close()


@pytest.fixture
def visit(browser: Browser, server: Server, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A fresh browser context on the shared server."""
    made = Visit(browser, server.url, request.node.name.removeprefix("test_").replace("[", "-").rstrip("]"))
    yield made
    made.close()
