"""The errors a user can cause and mend; `engine.cli` alone turns them into messages."""

from __future__ import annotations

import re

_BREAKING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What would break a line of text or its direction, or cannot be written at all."""
LONGEST = 3_000
"""Characters of a message."""


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
