"""Login by configuration: the real dashboard, a real browser, and a provider on loopback that tells the truth or lies."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.app.filled_snapshot import write_snapshot
from tests.browser.dashboard import ROOT, SLOWEST, Server, free_port, serve, settle
from tests.browser.provider import CLIENT, CLIENT_SECRET, Provider, provide

ADA = {"email": "Ada@Example.org", "email_verified": True, "name": "Ada"}
STRANGER = {"email": "eve@example.com", "email_verified": True}
DATASET = "Test marketplace"
"""Of the snapshot: whoever sees these words saw something of it."""
LINK = "sellers?dimension=category"


class Guarded(NamedTuple):
    """A dashboard with a login, and its provider."""

    server: Server
    provider: Provider

    def told_truth(self) -> None:
        self.provider.wrong_state = self.provider.wrong_key = False
        self.provider.claims = dict(ADA)


def secrets(provider: str, port: int, allow: str) -> str:
    return f"""[auth]
redirect_uri = "http://127.0.0.1:{port}/oauth2callback"
cookie_secret = "{"0123456789abcdef" * 4}"
client_id = "{CLIENT}"
client_secret = "{CLIENT_SECRET}"
server_metadata_url = "{provider}/.well-known/openid-configuration"
[allow]
{allow}
"""


@pytest.fixture(scope="module")
def guarded(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("login")
    write_snapshot(folder / "workspace")
    port = free_port()
    with provide() as provider:
        file = folder / "elsewhere.toml"
        file.write_text(secrets(provider.url, port, 'emails = ["ada@example.org"]\nhours = 1'))
        with serve(folder / "workspace", folder / "app.log", port=port, options=("--secrets", str(file))) as server:
            yield Guarded(server, provider)


@pytest.fixture
def context(browser: Browser, guarded: Guarded) -> Iterator[BrowserContext]:
    guarded.told_truth()
    made = browser.new_context(viewport={"width": 1440, "height": 1000})
    made.set_default_timeout(SLOWEST)
    yield made
    made.close()


def opened(context: BrowserContext, guarded: Guarded, path: str = "") -> tuple[Page, list[str]]:
    """A page that keeps every text that the server sent over the WebSocket."""
    page = context.new_page()
    sent: list[str] = []

    def keep(payload: str | bytes) -> None:
        sent.append(payload if isinstance(payload, str) else payload.decode("utf-8", "replace"))

    page.on("websocket", lambda socket: socket.on("framereceived", keep))
    page.goto(f"{guarded.server.url}/{path}")
    settle(page)
    return page, sent


def log_in(page: Page) -> None:
    page.get_by_role("button", name="Log in", exact=True).click()


def title(page: Page, words: str) -> None:
    expect(page.locator('[data-testid="stMain"] h1', has_text=words)).to_be_visible(timeout=SLOWEST)


def nothing_of_the_snapshot(page: Page, sent: list[str]) -> None:
    """Neither on screen nor in anything that the server sent."""
    settle(page)
    everything = "\n".join([page.content(), *sent])
    for word in (DATASET, "dsirm-11111111", "snap-00000000test", "Alpha", "Garden"):
        assert word not in everything, word
    assert page.get_by_test_id("stDownloadButton").count() == 0
    assert page.get_by_test_id("stSidebarNavLink").count() == 0


@pytest.mark.parametrize(
    "path", ["", LINK, "data", "query?q=red+lamp&item=I000", "codebook?snapshot=snap-00000000test"]
)
def test_nothing_is_shown_before(context: BrowserContext, guarded: Guarded, path: str) -> None:
    page, sent = opened(context, guarded, path)
    title(page, "Log in to Sidelight")
    nothing_of_the_snapshot(page, sent)


def test_who_is_listed_gets_in_and_keeps_the_link(context: BrowserContext, guarded: Guarded) -> None:
    page, _ = opened(context, guarded, LINK)
    log_in(page)
    title(page, "Sellers")
    settle(page)
    assert "/sellers?" in page.url
    assert "dimension=category" in page.url
    sidebar = page.get_by_test_id("stSidebar")
    expect(sidebar.get_by_text(re.compile(r"Logged in as Ada@\W?Example.org"))).to_be_visible()
    expect(sidebar.get_by_text(DATASET)).to_be_visible()
    page.goto(f"{guarded.server.url}/codebook")  # the login lasts, and leads nowhere else
    title(page, "Codebook")


def test_log_out(context: BrowserContext, guarded: Guarded) -> None:
    page, _ = opened(context, guarded)
    log_in(page)
    page.get_by_role("button", name="Log out").click()
    title(page, "Log in to Sidelight")
    page, sent = opened(context, guarded, LINK)
    title(page, "Log in to Sidelight")
    nothing_of_the_snapshot(page, sent)


@pytest.mark.parametrize(
    "claims",
    [
        STRANGER,
        {**ADA, "email": "ada@example.org.evil.com"},
        {**ADA, "email_verified": False},
        {"email": "ada@example.org"},  # nobody says that it was verified
        {"name": "ada@example.org"},
        {**ADA, "email": "**eve**@[x](http://x)"},
    ],
)
def test_who_is_not_listed_is_turned_away(context: BrowserContext, guarded: Guarded, claims: dict[str, object]) -> None:
    guarded.provider.claims = dict(claims)
    page, _ = opened(context, guarded, LINK)
    log_in(page)
    title(page, "You are not on the list")
    page.get_by_role("button", name="Log in as somebody else").wait_for()  # the last thing on the page
    shown = page.locator('[data-testid="stMain"]').inner_text().replace("\u2060", "")
    assert str(claims.get("email", claims.get("name"))) in shown
    assert page.locator('[data-testid="stMain"] a').count() == 0
    page, sent = opened(context, guarded, LINK)
    title(page, "You are not on the list")
    nothing_of_the_snapshot(page, sent)


def test_somebody_else_may_log_in_then(context: BrowserContext, guarded: Guarded) -> None:
    guarded.provider.claims = dict(STRANGER)
    page, _ = opened(context, guarded, LINK)
    log_in(page)
    title(page, "You are not on the list")
    guarded.told_truth()
    page.get_by_role("button", name="Log in as somebody else").click()
    title(page, "Log in to Sidelight")
    settle(page)
    log_in(page)
    title(page, "Sellers")


@pytest.mark.parametrize("lie", ["wrong_state", "wrong_key"])
def test_a_wrong_state_or_signature_does_not_get_in(context: BrowserContext, guarded: Guarded, lie: str) -> None:
    setattr(guarded.provider, lie, True)
    page, sent = opened(context, guarded, LINK)
    before = guarded.provider.asked
    log_in(page)
    page.wait_for_url(f"{guarded.server.url}/")
    title(page, "Log in to Sidelight")
    assert guarded.provider.asked == before + 1
    nothing_of_the_snapshot(page, sent)


def test_a_forged_cookie_does_not_get_in(context: BrowserContext, guarded: Guarded) -> None:
    cookie = '{"email": "ada@example.org", "email_verified": true, "is_logged_in": true}'
    context.add_cookies([{"name": "_streamlit_user", "value": cookie.encode().hex(), "url": guarded.server.url}])
    page, sent = opened(context, guarded, LINK)
    title(page, "Log in to Sidelight")
    nothing_of_the_snapshot(page, sent)


def test_an_old_login_has_expired(context: BrowserContext, guarded: Guarded) -> None:
    guarded.provider.claims = {**ADA, "iat": int(time.time()) - 3601}
    page, _ = opened(context, guarded, LINK)
    log_in(page)
    title(page, "Your login has expired")
    guarded.told_truth()
    settle(page)
    page.get_by_role("button", name="Log in again").click()
    title(page, "Sellers")


def test_a_link_of_another_origin_is_not_followed(context: BrowserContext, guarded: Guarded) -> None:
    page, _ = opened(context, guarded)
    page.evaluate("sessionStorage.setItem('sidelight-asked', 'http://127.0.0.1:9/evil')")
    log_in(page)
    expect(page.get_by_test_id("stSidebar").get_by_text("Logged in as")).to_be_visible(timeout=SLOWEST)
    assert page.url.startswith(guarded.server.url)


def test_without_auth_nothing_is_asked(browser: Browser, tmp_path: Path) -> None:
    write_snapshot(tmp_path / "workspace")
    file = tmp_path / "secrets.toml"
    file.write_text('[other]\nkey = "x"\n')
    with serve(tmp_path / "workspace", tmp_path / "app.log", options=("--secrets", str(file))) as server:
        page = browser.new_page()
        page.goto(f"{server.url}/codebook")
        settle(page)
        title(page, "Codebook")
        assert page.get_by_text("Logged in as").count() == 0
        page.close()
    assert "Login: none" in (tmp_path / "app.log").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[auth\n", "cannot be read"),
        ('[allow]\nemails = ["a@b.org"]\n', "no [auth]"),
        (None, "is no file"),
    ],
)
def test_wrong_secrets_stop_the_dashboard(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "secrets.toml"
    if text is not None:
        file.write_text(text)
    line = [sys.executable, "-m", "app", "--workspace", str(tmp_path), "--secrets", str(file)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
