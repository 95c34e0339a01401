"""Several browsers at one model, and a server that goes: turns, who left, the end while somebody waits, and the way back."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.dashboard import SLOWEST, Server, free_port, serve, settle
from tests.browser.visit import Visit


def asked(server: Server) -> list[str]:
    """The texts that the model was asked, in their order."""
    lines = server.log.read_text().splitlines()
    return [line.removeprefix("asked: ") for line in lines if line.startswith("asked: ")]


def begin(visit: Visit, path: str) -> None:
    """Open a page without waiting for it."""
    visit.page.goto(f"{visit.url}/{path}", wait_until="commit")


def test_turns_leaving_and_the_end_while_somebody_waits(
    browser: Browser, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = tmp_path / "hold"
    monkeypatch.setenv("HOLD", str(hold))
    with serve(published, tmp_path / "app.log", program="tests.browser.held_model") as server:
        many, one, gone = (Visit(browser, server.url, name) for name in ("many", "one", "gone"))
        many.open("query", q="something nobody asked")
        many.text("Generated live")
        warmed = len(asked(server))

        hold.touch()
        begin(many, "query?q=red+garden+chair&view=Variants")
        many.text("Generating SIDs and scoring")
        begin(one, "query?q=quiet+lamp")
        one.text("1 answer before yours")
        begin(gone, "query?q=a+query+of+one+who+left")
        gone.text("2 answers before yours")
        gone.close()  # as a person closes the window
        hold.unlink()
        one.text("Generated live")
        expect(one.page.get_by_text("before yours")).to_have_count(0)
        settle(many.page)
        order = asked(server)[warmed:]
        assert order[:2] == ["red garden chair", "quiet lamp"], "one question waits for one of a search's, not for all"
        assert len(order) > 3
        assert "a query of one who left" not in order

        hold.touch()
        begin(many, "query?q=blue+garden+chair")
        many.text("Generating SIDs and scoring")
        begin(one, "query?q=quiet+green+lamp")
        one.text("1 answer before yours")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=5) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
        many.close()
        one.close()
    assert "Traceback" not in server.log.read_text()


def test_a_page_says_that_the_server_is_gone_and_shows_the_same_when_it_is_back(
    browser: Browser, published: Path, tmp_path: Path
) -> None:
    port = free_port()
    with serve(published, tmp_path / "first.log", port=port) as server:
        visit = Visit(browser, server.url, "back")
        visit.open("codebook", level="2", view="Table")
        code = visit.table("Codes").column("Code")[0]
        query = visit.params
    app = visit.page.get_by_test_id("stApp")
    expect(app).not_to_have_attribute("data-test-connection-state", "CONNECTED", timeout=SLOWEST)
    visit.page.get_by_text("Connecting").first.wait_for()
    with serve(published, tmp_path / "second.log", port=port) as server:
        settle(visit.page)
        assert visit.params == query
        assert visit.table("Codes").column("Code")[0] == code
        visit.page.get_by_role("radio", name="3", exact=True).click()
        visit.expect_param("level", "3")
        assert not visit.page.get_by_test_id("stException").count()
        visit.close()
    assert "Traceback" not in server.log.read_text()
