"""The command that serves: what it says when it cannot, how it stops, and what a workspace without snapshots shows."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.dashboard import ROOT, command, free_port, serve
from tests.browser.visit import Visit


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command with arguments that do not make it serve."""
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


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
def test_stops_when_asked(published: Path, tmp_path: Path, how: signal.Signals) -> None:
    """Within five seconds, without a traceback, and the port is free again."""
    with serve(published, tmp_path / "app.log") as server:
        server.process.send_signal(how)
        code = server.process.wait(timeout=5)
    assert code in (0, 128 + how, -how)
    assert "Traceback" not in server.log.read_text()
    with socket.socket() as probe:
        assert probe.connect_ex((server.host, server.port)) != 0


def test_says_where_it_serves(published: Path, tmp_path: Path) -> None:
    with serve(published, tmp_path / "app.log") as server:
        said = server.log.read_text()
    assert f"{server.host}:{server.port}" in said
    assert str(published) in said
    assert "Ctrl-C" in said


def test_ctrl_c_while_the_model_warms(browser: Browser, published: Path, tmp_path: Path) -> None:
    """With a page open and torch half imported, it stops as fast."""
    with serve(published, tmp_path / "app.log") as server:
        visit = Visit(browser, server.url, "ctrl_c")
        visit.open("query", q="something nobody ever asked")
        visit.text("The model is being loaded")
        server.process.send_signal(signal.SIGINT)
        code = server.process.wait(timeout=5)
        visit.close()
    assert code in (0, 130, -signal.SIGINT)
    assert "Traceback" not in server.log.read_text()


def test_workspace_without_a_snapshot(browser: Browser, published: Path, tmp_path: Path) -> None:
    """Says what to do; once something was published, the same page shows it."""
    folder = tmp_path / "nowhere"
    with serve(folder, tmp_path / "app.log") as server:
        visit = Visit(browser, server.url, "no_workspace")
        visit.open()
        visit.heading("Nothing to look at yet")
        visit.text("python -m engine demo --no-serve")
        visit.text(str(folder))
        visit.see("nothing")
        shutil.copytree(published, folder)
        visit.page.get_by_role("button", name="Look again").click()
        visit.heading("Overview")
        visit.see("published")
        visit.close()


def test_free_port_is_free() -> None:
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", free_port())) != 0
