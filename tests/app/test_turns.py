"""Turns at the model: who comes next, who is dropped, and what is answered once. Threads wait for events, never for time."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.turns import Turns

SLOWEST = 20.0
"""Seconds after which a thread that should be over counts as stuck."""


class Gone(Exception):
    """Nobody waits for this answer."""


class Crowd:
    """Askers in threads of their own, behind a question that holds the turn until `begin`."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.order: list[str] = []
        self.told: dict[str, list[int]] = {}
        self.made: dict[str, Any] = {}
        self._open, self._held = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []
        self._start(lambda: turns.answer("holder", self._hold))
        assert self._held.wait(SLOWEST)

    def _hold(self) -> None:
        self._held.set()
        assert self._open.wait(SLOWEST)

    def _start(self, work: Callable[[], Any]) -> None:
        self._threads.append(threading.Thread(target=work, daemon=True))
        self._threads[-1].start()

    def ask(
        self, asker: str, name: str, answer: Callable[[], Any] = lambda: None, still: Callable[[], None] | None = None, **more: Any
    ) -> None:  # fmt: skip
        """Have a question wait; returns when it stands in the queue."""
        waits = threading.Event()

        def look() -> None:
            waits.set()
            if still is not None:
                still()

        def question() -> Any:
            self.order.append(name)
            return answer()

        def work() -> None:
            try:
                self.made[name] = self.turns.answer(
                    asker, question, still=look, told=self.told.setdefault(name, []).append, **more
                )
            except Exception as error:
                self.made[name] = error

        self._start(work)
        assert waits.wait(SLOWEST)

    def begin(self) -> None:
        """Let the first question end, and wait for all others."""
        self._open.set()
        for thread in self._threads:
            thread.join(SLOWEST)
            assert not thread.is_alive()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    made = Crowd(Turns())
    yield made
    made.begin()


def test_askers_take_turns_however_many_questions_each_has(crowd: Crowd) -> None:
    for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
        crowd.ask(name[0], name)
    crowd.begin()
    assert crowd.order == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_each_hears_how_many_answers_come_before_its_own(crowd: Crowd) -> None:
    places = {"a1": 1, "a2": 2, "b1": 2, "c1": 3, "c2": 5}  # a2 falls behind b1 and c1 when they come
    for name, place in places.items():
        crowd.ask(name[0], name)
        assert crowd.told[name][0] == place
    crowd.begin()
    assert crowd.order == ["a1", "b1", "c1", "a2", "c2"]
    assert all(told == sorted(told, reverse=True) for name, told in crowd.told.items() if name != "a2")


def test_one_who_asks_on_and_on_stands_behind_who_waits(crowd: Crowd) -> None:
    """Questions asked one after the other, each once the last is answered, as a search does."""
    turns, order = crowd.turns, crowd.order

    def search() -> None:
        for step in range(3):
            turns.answer("search", lambda step=step: order.append(f"step {step}"))  # type: ignore[misc]

    first = threading.Event()
    thread = threading.Thread(
        target=lambda: (turns.answer("search", lambda: None, still=first.set), search()), daemon=True
    )
    thread.start()
    assert first.wait(SLOWEST)
    crowd.ask("b", "b1")
    crowd.ask("c", "c1")
    crowd.begin()
    thread.join(SLOWEST)
    assert order.index("b1") < order.index("step 0")
    assert order.index("c1") < order.index("step 0")
    assert [o for o in order if o.startswith("step")] == ["step 0", "step 1", "step 2"]


def test_a_question_whose_asker_went_is_never_asked(crowd: Crowd) -> None:
    gone = threading.Event()

    def still() -> None:
        if gone.is_set():
            raise Gone

    crowd.ask("a", "a1", still=still)
    crowd.ask("a", "a2")
    crowd.ask("b", "b1")
    gone.set()
    crowd.begin()
    assert sorted(crowd.order) == ["a2", "b1"]
    assert isinstance(crowd.made["a1"], Gone)


def test_who_went_at_the_very_turn_passes_it_on(crowd: Crowd) -> None:
    """`still` is looked at once more when the turn has come, before the work begins."""
    looks = itertools.count()
    begun = threading.Event()

    def still() -> None:
        if next(looks) and begun.is_set():
            raise Gone

    crowd.ask("a", "a1", still=still)
    crowd.ask("b", "b1")
    begun.set()
    crowd.begin()
    assert crowd.order == ["b1"]


def test_an_error_is_its_askers_alone(crowd: Crowd) -> None:
    def fails() -> None:
        raise ValueError("no")

    crowd.ask("a", "a1", fails)
    crowd.ask("b", "b1", lambda: "answered")
    crowd.begin()
    assert isinstance(crowd.made["a1"], ValueError)
    assert crowd.made["b1"] == "answered"


def test_equal_questions_are_answered_once_each_with_its_own_copy(crowd: Crowd) -> None:
    for name in ("a1", "b1", "c1"):
        crowd.ask(name[0], name, lambda: ["rows"], key=("query", "scarf"))
    crowd.ask("d", "d1", lambda: ["others"], key=("query", "hat"))
    crowd.begin()
    assert crowd.order == ["a1", "d1"]
    assert crowd.made["a1"] == crowd.made["b1"] == crowd.made["c1"] == ["rows"]
    crowd.made["a1"].append("changed")
    assert crowd.made["b1"] == ["rows"]
    assert crowd.turns.answer("e", lambda: ["asked again"], key=("query", "scarf")) == ["rows"]


def test_a_failed_question_is_asked_again_by_the_next(crowd: Crowd) -> None:
    tries = itertools.count()

    def fails_once() -> str:
        if next(tries) == 0:
            raise ValueError("no")
        return "answered"

    for name in ("a1", "b1"):
        crowd.ask(name[0], name, fails_once, key="same")
    crowd.begin()
    assert isinstance(crowd.made["a1"], ValueError)
    assert crowd.made["b1"] == "answered"


def test_none_is_an_answer_and_the_oldest_ones_go() -> None:
    turns, asked = Turns(kept=2), []
    for key in ("a", "a", "b", "c", "a"):
        turns.answer("one", lambda key=key: asked.append(key), key=key)  # type: ignore[misc]
    assert asked == ["a", "b", "c", "a"]
