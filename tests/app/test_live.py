"""A question to the run's model, asked from a page: what the page says while it waits, and what becomes of it when it is left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.components import live

SLOWEST = 20.0


class Gone(Exception):
    """What Streamlit raises where a page was left."""


class Place:
    """Where the page says how long it waits."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.waits = threading.Event()

    def caption(self, words: str) -> None:
        self.told.append(words)
        self.waits.set()

    def empty(self) -> None:
        self.told.append("")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place()
    monkeypatch.setattr(live.st, "empty", lambda: made)
    return made


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[live.Model, threading.Event]]:
    """A model at work on somebody else's question until the event is set."""
    model, held, over = live.Model(tmp_path, "dsirm-tiny-01234567"), threading.Event(), threading.Event()
    monkeypatch.setattr(model, "_ready", lambda: "the run")

    def long(_: Any) -> None:
        held.set()
        over.wait(SLOWEST)

    thread = threading.Thread(target=lambda: model.ask(long), daemon=True)
    thread.start()
    assert held.wait(SLOWEST)
    monkeypatch.setattr(live, "_asker", lambda: "another browser")
    yield model, over
    over.set()
    thread.join(SLOWEST)


def test_the_page_says_how_many_come_before_and_then_no_more(
    busy: tuple[live.Model, threading.Event], place: Place
) -> None:
    model, over = busy
    made: list[str] = []
    waiting = threading.Thread(target=lambda: made.append(model.ask(lambda run: f"answered by {run}")), daemon=True)
    waiting.start()
    assert place.waits.wait(SLOWEST)
    over.set()
    waiting.join(SLOWEST)
    assert made == ["answered by the run"]
    assert place.told == [":material/hourglass_top: 1 answer before yours …", ""]


def test_a_page_that_was_left_asks_nothing(
    busy: tuple[live.Model, threading.Event], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def left() -> None:
        raise Gone

    model, over = busy
    monkeypatch.setattr(live, "get_run_yield_check", lambda: left)
    asked: list[object] = []
    with pytest.raises(Gone):
        model.ask(asked.append)
    over.set()
    assert not asked
    assert place.told[-1] == "", "nothing is said any more where nobody waits"
