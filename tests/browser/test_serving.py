"""The command that serves: what it says when it cannot, how it stops, and what a workspace without snapshots shows."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.dashboard import ROOT, Server, command, free_port, serve
from tests.browser.visit import Visit


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command with arguments that do not make it serve."""
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


def leases(workspace: Path, server: Server) -> list[Path]:
    """The leases that a server holds on snapshots."""
    return list((workspace / "snapshots" / "leases").glob(f"*.{server.process.pid}-*"))


def test_help_says_what_can_be_chosen() -> None:
    done = run("--help")
    assert done.returncode == 0
    for option in ("--workspace", "--port", "--host"):
        assert option in done.stdout


def test_wrong_usage() -> None:
    done = run("--port", "eighty")
    assert done.returncode == 2
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_port_in_use(tmp_path: Path, host: str) -> None:
    """One sentence with the port and a remedy, and no server."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = run(*command(tmp_path, port, host)[3:])
    assert done.returncode == 1
    assert done.stderr.strip().count("\n") == 0
    assert f"Port {port} is taken" in done.stderr
    assert "--port" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_stops_when_asked(browser: Browser, published: Path, tmp_path: Path, how: signal.Signals) -> None:
    """Within five seconds, without a traceback, the leases are given back, and the port is free again."""
    with serve(published, tmp_path / "app.log") as server:
        visit = Visit(browser, server.url, "stops")
        visit.open()
        assert leases(published, server)
        server.process.send_signal(how)
        code = server.process.wait(timeout=5)
        visit.close()
    assert code in (0, 128 + how, -how)
    assert "Traceback" not in server.log.read_text()
    assert not leases(published, server)
    with socket.socket() as probe:
        assert probe.connect_ex((server.host, server.port)) != 0


def test_says_where_it_serves(published: Path, tmp_path: Path) -> None:
    with serve(published, tmp_path / "app.log") as server:
        said = server.log.read_text()
    assert f"{server.host}:{server.port}" in said
    assert str(published) in said
    assert "Ctrl-C" in said


def test_ctrl_c_while_the_model_warms(browser: Browser, published: Path, tmp_path: Path) -> None:
    """With a page open and torch half imported, it stops as fast; what was looked at stands in the log for programs."""
    events = tmp_path / "events.jsonl"
    with serve(published, tmp_path / "app.log", options=("--log", str(events))) as server:
        visit = Visit(browser, server.url, "ctrl_c")
        visit.open("query", q="something nobody ever asked")
        visit.text("The model is being loaded")
        server.process.send_signal(signal.SIGINT)
        code = server.process.wait(timeout=5)
        visit.close()
    assert code in (0, 130, -signal.SIGINT)
    assert "Traceback" not in server.log.read_text()
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert (told[0]["event"], told[-1]["event"]) == ("serving", "stopped")
    pages = [event for event in told if event["event"] == "page"]
    assert {event["page"] for event in pages} == {"query"}
    assert all(event["run"] and event["snapshot"].startswith("snap-") and event["seconds"] > 0 for event in pages)


def test_workspace_without_a_snapshot(browser: Browser, published: Path, tmp_path: Path) -> None:
    """Says what to do; once something was published, the same page shows it."""
    folder = tmp_path / "nowhere"
    with serve(folder, tmp_path / "app.log") as server:
        visit = Visit(browser, server.url, "no_workspace")
        visit.open()
        visit.heading("Nothing to look at yet")
        visit.text("python -m engine demo --no-serve")
        visit.see("nothing")
        assert str(tmp_path) not in visit.page.content()
        shutil.copytree(published, folder)
        visit.page.get_by_role("button", name="Look again").click()
        visit.heading("Overview")
        visit.see("published")
        visit.close()


def test_free_port_is_free() -> None:
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", free_port())) != 0


def asked(url: str, cookie: str = "", **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers (lower case) and words of an answer."""
    request = urllib.request.Request(url, headers={"Cookie": cookie, **headers} if cookie else headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read().decode()


def test_pages_stay_out_of_frames_and_metrics_are_closed(server: Server, published: Path, tmp_path: Path) -> None:
    for path in ("/", "/codebook", "/_stcore/health", "/nowhere.js"):
        _, headers, _ = asked(server.url + path)
        assert headers["x-frame-options"] == "SAMEORIGIN"
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert "connect-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    _, headers, _ = asked(server.url)
    assert re.match(r"sidelight=\S{32}; HttpOnly; Path=/; SameSite=Lax$", headers["set-cookie"])
    assert "set-cookie" not in asked(server.url, "sidelight=known")[1]
    assert asked(f"{server.url}/_stcore/metrics")[0] == 404
    assert asked(f"{server.url}/_stcore/metrics", Host="localhost/x?")[0] == 404
    with serve(published, tmp_path / "open.log", options=("--allow-metrics",)) as opened:
        status, _, said = asked(f"{opened.url}/_stcore/metrics")
        assert status == 200
        assert "# TYPE" in said


def test_readiness_is_that_of_the_snapshot(published: Path, tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    with serve(folder, tmp_path / "app.log") as server:
        status, _, said = asked(f"{server.url}/ready")
        assert (status, json.loads(said)) == (503, {"ready": False, "why": "nothing is published"})
        shutil.copytree(published, folder)
        current = (folder / "CURRENT").read_text().strip()
        status, _, said = asked(f"{server.url}/ready")
        assert (status, json.loads(said)) == (200, {"ready": True, "snapshot": Path(current).stem})
        (folder / current).write_bytes(b"not a database")
        status, _, said = asked(f"{server.url}/ready")
        assert status == 503
        assert "engine doctor" in said
        assert str(tmp_path) not in said
        assert asked(f"{server.url}/_stcore/health")[0] == 200


def test_an_export_answers_the_browser_that_asked_alone(visit: Visit, browser: Browser) -> None:
    """Also when others' scripts end between its making and its fetching, and for a second time."""
    visit.open("coverage")
    with visit.page.expect_download() as waited:
        visit.page.locator('[class*="st-key-csv-"] button').first.click()
    url, written = waited.value.url, Path(waited.value.path()).read_text(encoding="utf-8")
    assert asked(url)[0] == 404
    assert asked(url, "sidelight=guessed")[0] == 404
    assert asked(url, Host="localhost/x?")[0] == 404
    other = Visit(browser, visit.url, "other")
    other.open("coverage")
    assert other.page.request.get(url).status == 404
    other.close()
    visit.open("data")
    again = visit.page.request.get(url)
    assert again.status == 200
    assert again.text() == written
    assert "attachment" in again.headers["content-disposition"]
