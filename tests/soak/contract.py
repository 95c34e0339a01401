"""What the product owes to any input: it is taken, or refused in a sentence; nothing else."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from engine.errors import EngineError

READ, REFUSED, FAULT = "read", "refused", "fault"
LONGEST = 4_000
"""Characters of a message."""


class Tried(NamedTuple):
    """What became of an input."""

    kind: str
    """The way in, and what went in."""
    how: str
    said: str
    """The refusal, or what is wrong."""


Way = Callable[[Path], Callable[[int, int], Tried]]
"""Makes a way in ready in an empty folder; what it gives back tries the n-th input of a seed."""


def drawn(seed: int, number: int, way: str) -> random.Random:
    """Of what all that an input is follows."""
    return random.Random(f"{way}/{seed}/{number}")


def tried(kind: str, given: object, work: Callable[[], str], *, refusals: tuple[type[Exception], ...] = ()) -> Tried:
    """An input tried: `work` gives back what is wrong with what came of it, '' where nothing is.

    Refused is what raises an EngineError, or one of `refusals`.
    """
    try:
        wrong = work()
    except (EngineError, *refusals) as error:
        said = str(error)
        wrong = wrong_text(said)
        return Tried(kind, FAULT, f"{wrong}: {said[:600]!r}") if wrong else Tried(kind, REFUSED, said)
    except BaseException:  # a fault may be of any kind
        return Tried(kind, FAULT, f"{repr(given)[:1_500]}\n{traceback.format_exc(limit=-6)}")
    return Tried(kind, FAULT, f"{wrong}: {repr(given)[:1_500]}") if wrong else Tried(kind, READ, "")


def wrong_text(text: str, *places: Path, lines: bool = False) -> str:
    """What is wrong with what people are told; '' where nothing is. `places`: of this machine, which nobody asked about."""
    if not text.strip():
        return "nothing is said"
    if not lines and len(text.splitlines()) != 1:
        return "a message of several lines"
    odd = next((c for c in text if c != "\n" and (ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029" or 0xD800 <= ord(c) < 0xE000)), None)  # fmt: skip
    if odd:
        return f"a message with {odd!r}"
    if len(text) > LONGEST:
        return f"a message of {len(text):,} characters"
    if "Traceback" in text or "object at 0x" in text:
        return "a message for programmers"
    return next(("a message that names a place of this machine" for place in places if str(place) in text), "")
