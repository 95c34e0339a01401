"""The errors a user can cause and mend; `engine.cli` alone turns them into messages."""

from __future__ import annotations

import errno
import os
import re
from typing import NamedTuple

_BREAKING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What would break a line of text or its direction, or cannot be written at all."""
LONGEST = 3_000
"""Characters of a message."""


_REFUSALS = (
    ((errno.ENOSPC, errno.EDQUOT), "the disk is full", "free space"),
    ((errno.EROFS,), "the disk is read-only", "choose a workspace that can be written (--workspace)"),
    ((errno.EACCES, errno.EPERM), "this user may not write there", "change the folder's rights, or choose --workspace,"),
    ((errno.EFBIG,), "the file would be larger than may be written", "raise the limit"),
    ((errno.ENAMETOOLONG,), "the name is too long", "choose a shorter one"),
    ((errno.EIO,), "the disk fails", "have it looked at"),
)  # fmt: skip
"""What a disk may refuse: error numbers, the reason in words, what to do."""


_DAMAGED = "Corrupt database file"
"""How DuckDB tells that a block is not as it was written."""


class Refusal(NamedTuple):
    """Why a disk refused, and what to do about it."""

    reason: str
    advice: str


class EngineError(Exception):
    """Base of every error that is the user's to mend: says what was given, what is allowed, where.

    What it quotes of data may hold anything and be of any length: the message stays one line of plain text, cut in its middle.
    """

    def __init__(self, message: str) -> None:
        said = one_line(message)
        super().__init__(said if len(said) <= LONGEST else f"{said[: LONGEST // 2]} … {said[-LONGEST // 2 :]}")


class DataError(EngineError):
    """The input files break the contract of data/README.md."""


class ConfigError(EngineError):
    """A setting is outside what is allowed."""


class RunError(EngineError):
    """A run is missing, unfinished, stale or belongs to another catalogue."""


class SnapshotError(EngineError):
    """A snapshot is missing, corrupt, pruned or of another schema version."""


class QueryError(EngineError):
    """SQL that somebody wrote is refused, fails, or takes more than it may. DuckDB points at the place in lines below."""

    def __init__(self, message: str) -> None:
        Exception.__init__(self, printable(message))


class ModelError(EngineError):
    """Model weights are missing, altered, or do not fit the run's trie or features."""


def refused(error: BaseException) -> Refusal | None:
    """Why a disk refused, where that is what an error tells; None where it is another error.

    Libraries tell the system's reason in words alone, in errors of their own kinds, or in place of the system's error.
    """
    said = str(error)
    for numbers, reason, advice in _REFUSALS:
        if getattr(error, "errno", None) in numbers or any(os.strerror(number) in said for number in numbers):
            return Refusal(reason, advice)
    if _DAMAGED in said:
        return Refusal("a snapshot is damaged", "publish it again: it is built anew,")
    return None if error.__context__ is None else refused(error.__context__)


def one_line(text: str) -> str:
    """A message with control characters of what it quotes written as escapes."""
    return _BREAKING.sub(lambda found: found.group().encode("unicode_escape", "surrogatepass").decode(), text)


def printable(text: str) -> str:
    """A text of several lines, each as `one_line` has it: a terminal or a log acts on nothing in it."""
    return "\n".join(map(one_line, text.split("\n")))


def shown(given: str, most: int = 80) -> str:
    """What was given, for a message: cut after `most` characters, those that cannot be printed written as escapes."""
    cut = given if len(given) <= most else f"{given[:most]}…"
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in cut)
