"""Text of a catalogue on a terminal, in a log, in an error: shown, never acted on."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from app.log import PlainLog
from engine import console
from engine.cli import main
from engine.errors import ConfigError, DataError, QueryError, printable

HOSTILE = "kettle \x1b]0;pwn\x07\x1b[2J\x1b[31m \x9b2J \x9d0;x\x9c \u202eabc\u2066 \x08\x7f [bold]b[/] [/] [link=http://x]l[/link]"
"""A window's title, a cleared screen, colours, their one-letter forms (C1), turned text, backspaces, and rich's own markup."""
SHOWN = HOSTILE.encode("unicode_escape").decode()


def harmless(text: str) -> bool:
    """Whether a terminal only prints it."""
    return printable(text) == text


@pytest.fixture(params=[False, True], ids=["pipe", "terminal"])
def drawn(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], str]:
    """What the command line drew on a wide screen."""
    for each in (console.out, console.err):
        monkeypatch.setattr(each, "_force_terminal", request.param)
        monkeypatch.setattr(each, "_width", 600)
        monkeypatch.setattr(each, "_color_system", None)
    return lambda: "".join(capsys.readouterr())


def test_whatever_is_drawn_is_text(drawn: Callable[[], str]) -> None:
    console.table(HOSTILE, ["a", HOSTILE], [(HOSTILE, 1.0)])
    console.fail(HOSTILE)
    console.say(console.escape(HOSTILE))
    console.say(HOSTILE.replace("[/]", ""))  # somebody forgot to escape: markup, but no code for the terminal
    said = drawn()
    assert said.count(SHOWN) == 5, said
    assert harmless(said)


def test_bars_and_boards_are_text(drawn: Callable[[], str]) -> None:
    with console.ConsoleWatcher() as watcher, watcher.step(HOSTILE) as progress:
        progress(1, 2)
    with console.remark_bar(HOSTILE, 2) as report:
        report(1, HOSTILE)
    with console.Board() as board:
        board.show([HOSTILE, HOSTILE])
    left = re.sub(r"\x1b\[(\?25[lh]|2K|1A)|\r", "", drawn())  # where the console's own cursor goes
    assert "kettle" in left
    assert harmless(left), left


def test_json_stays_exact(capsys: pytest.CaptureFixture[str]) -> None:
    console.machine_line(True, title=HOSTILE)
    assert json.loads(capsys.readouterr().out) == {"title": HOSTILE}


def test_rows_are_exact_in_a_file_and_harmless_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal in (False, True):
        said = io.StringIO()
        monkeypatch.setattr(said, "isatty", lambda terminal=terminal: terminal)
        monkeypatch.setattr(sys, "stdout", said)
        console.data(f"a,b\n{HOSTILE},2\n")
        assert said.getvalue() == f"a,b\n{SHOWN if terminal else HOSTILE},2\n"


@pytest.mark.parametrize("kind", [ConfigError, DataError])
def test_errors_are_one_line(kind: type[Exception]) -> None:
    assert str(kind(f"a\n{HOSTILE}")) == f"a\\n{SHOWN}"
    assert str(QueryError(f"a\n{HOSTILE}")) == f"a\n{SHOWN}"


def test_names_of_files_and_columns_in_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "shop \x1b[2J [red]"
    folder.mkdir()
    rows = pd.DataFrame({"item_id": ["a", "a", HOSTILE], "title": ["x", "y", HOSTILE], HOSTILE: [1, 2, 3]})
    rows.to_csv(folder / "items.csv", index=False)
    for command in ("validate", "inspect"):
        monkeypatch.setattr(sys, "argv", ["engine", command, str(folder)])
        with pytest.raises(SystemExit):
            main()
        said = capsys.readouterr()
        assert "2 ×" in said.out or "Files" in said.out
        assert harmless(said.out + said.err)


def test_a_servers_log_is_text() -> None:
    said = io.StringIO()
    handler = logging.StreamHandler(PlainLog(said))
    log = logging.Logger("x")
    log.addHandler(handler)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("panel %s", HOSTILE)
    assert said.getvalue().count(SHOWN) == 2
    assert "\nTraceback (most recent call last):\n" in said.getvalue()
    assert harmless(said.getvalue())
    assert not PlainLog(sys.stderr).isatty()
