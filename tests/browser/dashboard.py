"""The dashboard as a person meets it: served by its own command, looked at with a headless Chromium.

with serve(workspace) as server, chromium() as browser:
    browser.new_page().goto(server.url)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",  # the map is WebGL; without a GPU only software draws it
)
MISSING = (
    "No Chromium was found. Install one (apt-get install chromium, or: python -m playwright install chromium) "
    "and run again."
)
SLOWEST = 30_000
"""Milliseconds that a step may take on a busy machine before it counts as failed."""


class BrowserMissingError(Exception):
    """This machine has no Chromium."""


@dataclass(frozen=True)
class Server:
    """A served dashboard."""

    process: subprocess.Popen[bytes]
    host: str
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://{self.host}:{self.port}"


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def command(workspace: Path, port: int, host: str = "127.0.0.1", program: str = "app") -> list[str]:
    """The command that serves a workspace."""
    return [sys.executable, "-m", program, "--workspace", str(workspace), "--port", str(port), "--host", host]


def healthy(url: str) -> bool:
    """Whether Streamlit answers."""
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextlib.contextmanager
def serve(
    workspace: Path,
    log: Path,
    *,
    within: float = 60.0,
    port: int | None = None,
    options: tuple[str, ...] = (),
    program: str = "app",
) -> Iterator[Server]:
    """Serve a workspace on that port, or a free one, until the block ends. Raises RuntimeError with the log if it does not
    start."""
    port = port or free_port()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command(workspace, port, program=program), *options], cwd=ROOT, stdout=out, stderr=subprocess.STDOUT
        )
    server = Server(process, "127.0.0.1", port, log)
    try:
        end = time.monotonic() + within
        while not healthy(server.url):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the dashboard did not start within {within:.0f} s: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield server
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end; kill it if it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)


def find_chromium(own: str) -> str:
    """The system's Chromium, else Playwright's `own` where it was downloaded. Raises BrowserMissingError."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    if os.path.exists(own):
        return own
    raise BrowserMissingError(MISSING)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium. Raises BrowserMissingError where there is none."""
    with sync_playwright() as playwright:
        path = find_chromium(playwright.chromium.executable_path)
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def settle(page: Page) -> None:
    """Wait until Streamlit's script has run, nothing of the page is a skeleton, and charts are drawn."""
    app = page.locator('[data-testid="stApp"]')
    expect(app).to_have_attribute("data-test-connection-state", "CONNECTED", timeout=SLOWEST)
    page.wait_for_function(SETTLED, timeout=SLOWEST)


# A rerun begins a moment after a click: only a state that lasts counts. Fragments that poll do not unsettle a page.
SETTLED = """() => {
    const app = document.querySelector('[data-testid="stApp"]');
    const title = document.querySelector('[data-testid="stMain"] h1');
    const waiting = document.querySelector('[data-testid="stSkeleton"], [data-testid="stSpinner"], [data-stale="true"]');
    const undrawn = [...document.querySelectorAll('[data-testid="stPlotlyChart"]')].some(c => !c.querySelector('.main-svg'));
    const busy = app.dataset.testScriptState !== 'notRunning' || !title || waiting || undrawn;
    const now = performance.now();
    if (busy) window.__idleSince = undefined;
    else window.__idleSince ??= now;
    return !busy && now - window.__idleSince > 400;
}"""
