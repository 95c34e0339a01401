"""Questions to what answers one at a time: whose turn it is, who went away, and what was answered already.

    turns = Turns()
    made = turns.answer("asker", question, key=("query", "red scarf"), still=raises_when_nobody_waits, told=show)

Askers take turns: one with many questions waiting holds up another with one by a single answer. Equal questions are answered
once. Nothing here knows Streamlit.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

Answered = TypeVar("Answered")

LOOK_EVERY = 0.1
"""Seconds between looks whether an asker still waits."""
KEPT = 64
"""Answers that are kept, the last ones asked for."""


class _Ticket:
    """One question that waits for its turn, and its answer where somebody else's question had the same."""

    found: Any = None


class Turns:
    """One question at a time, the askers in turn. Its methods may be called from any thread."""

    def __init__(self, kept: int = KEPT) -> None:
        self._most = kept
        self._changed = threading.Condition()
        self._waiting: OrderedDict[str, deque[_Ticket]] = OrderedDict()  # by asker, the next one first
        self._turn: _Ticket | None = None
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def answer(
        self,
        asker: str,
        question: Callable[[], Answered],
        *,
        key: Hashable = None,
        still: Callable[[], None] = lambda: None,
        told: Callable[[int], None] = lambda before: None,
    ) -> Answered:
        """What `question()` returns when its turn has come, or what it returned under that `key`; each asker gets its own copy.

        `still` raises when nobody waits for the answer any more: the question is dropped then. `told` hears how many answers
        come before, whenever that changes. Whatever `question` raises is its asker's alone.
        """
        mine = _Ticket()
        with self._changed:
            self._waiting.setdefault(asker, deque()).append(mine)
            self._pass_on()
        try:
            if not self._wait(asker, mine, key, still, told):
                return cast(Answered, copy.deepcopy(mine.found))
            still()
            made = question()
            if key is not None:
                self._keep(key, copy.deepcopy(made))
            return made
        finally:
            self._leave(asker, mine)

    def _wait(
        self, asker: str, mine: _Ticket, key: Hashable, still: Callable[[], None], told: Callable[[int], None]
    ) -> bool:
        """True when it is this question's turn; False when its answer is known."""
        said = 0
        while True:
            with self._changed:
                if key is not None and key in self._kept:
                    self._kept.move_to_end(key)
                    mine.found = self._kept[key]
                    return False
                if self._turn is mine:
                    return True
                before = self._before(asker, mine)
            if before != said:
                told(before)
                said = before
            still()
            with self._changed:
                if self._turn is not mine:
                    self._changed.wait(LOOK_EVERY)

    def _before(self, asker: str, mine: _Ticket) -> int:
        """How many answers come before this one: the one being made, and of each other asker as many as take turns until then."""
        place, met, before = self._waiting[asker].index(mine), False, 0
        for other, theirs in self._waiting.items():
            if other == asker:
                met = True
            else:
                before += min(len(theirs), place + (not met))
        return before + place + (self._turn is not None)

    def _pass_on(self) -> None:
        """The turn, where nobody has it, to the next asker, whose other questions go to the end."""
        if self._turn is None and self._waiting:
            asker, theirs = self._waiting.popitem(last=False)
            self._turn = theirs.popleft()
            if theirs:
                self._waiting[asker] = theirs
        self._changed.notify_all()

    def _leave(self, asker: str, mine: _Ticket) -> None:
        with self._changed:
            if self._turn is mine:
                self._turn = None
            else:
                self._waiting[asker].remove(mine)
                if not self._waiting[asker]:
                    del self._waiting[asker]
            self._pass_on()

    def _keep(self, key: Hashable, made: Any) -> None:
        with self._changed:
            self._kept[key] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
