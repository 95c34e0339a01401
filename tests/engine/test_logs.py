"""Events for programs: one JSON object a line, with run ids, wherever they come from."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import logs
from engine.cli import main
from engine.config import preset
from engine.errors import ConfigError
from engine.runs import Run


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file of events; afterwards nothing is kept any more."""
    monkeypatch.setenv(logs.VARIABLE, "")
    handlers = list(logging.getLogger().handlers)
    yield tmp_path / "events.jsonl"
    for handler in set(logging.getLogger().handlers) - set(handlers):
        logging.getLogger().removeHandler(handler)
        handler.close()
    for name in logs.OURS:
        logging.getLogger(name).setLevel(logging.NOTSET)


def events(log: Path) -> list[dict[str, object]]:
    """Every line of it."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_stage_says_its_run_and_how_long_it_took(log: Path, tmp_path: Path) -> None:
    logs.keep(str(log))
    run = Run.create(tmp_path, "0" * 16, preset("tiny"), {})
    for _ in range(2):
        run.stage("one", "One", lambda folder, progress: None)
    told = events(log)
    assert [(event["event"], event.get("cached")) for event in told] == [
        ("stage begins", None),
        ("stage ends", False),
        ("stage ends", True),
    ]
    assert {event["run"] for event in told} == {run.run_id}
    assert {event["stage"] for event in told} == {"one"}
    assert all(str(event["time"]).endswith("Z") for event in told)


def test_a_command_says_how_it_ended_and_no_secret(
    log: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "postgresql://me:hunter2@127.0.0.1:1/shop"
    arguments = ["engine", "--log", str(log), "ingest", "--from", secret, "-w", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    told = events(log)
    assert ended.value.code == 1
    assert [event["event"] for event in told[::2]] == ["command begins", "command ends"]
    assert told[1]["level"] == "error"
    assert str(told[1]["event"])[:40] in " ".join(capsys.readouterr().err.split())
    assert told[2]["code"] == 1
    assert "hunter2" not in log.read_text()


def test_no_text_steers_a_terminal_or_ends_a_line(log: Path) -> None:
    logs.keep(str(log))
    hostile = "\x1b]0;pwn\x07\x9b2J\n\u202e ü"
    try:
        raise ValueError(hostile)
    except ValueError:
        logging.getLogger("app.test").exception(hostile, extra={"query": hostile})
    (line,) = log.read_bytes().splitlines()
    assert all(32 <= byte < 127 for byte in line)
    event = json.loads(line)
    assert (event["event"], event["query"]) == (hostile, hostile)
    assert "ValueError" in event["trace"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--log .*No such file"):
        logs.keep(str(tmp_path / "nowhere" / "events.jsonl"))
