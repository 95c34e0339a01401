"""Lines of a text file with their numbers, and the row that could not be read; shared by the formats of one record a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.datasets.reading.raw import BadRow

NOT_UTF8 = "it is not UTF-8; save the file as UTF-8"


def bad_row(line: int, why: str, text: str) -> BadRow:
    """One record that could not be read; bytes that are no text are written as escapes."""
    return BadRow(line, "row cannot be read", "", why, printable(text), 1)


def printable(text: str) -> str:
    """Text read with `surrogateescape`, its bytes that are no UTF-8 as escapes."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # Half of a surrogate pair, out of a JSON escape.
        return text.encode("utf-8", "backslashreplace").decode()


def is_text(text: str) -> bool:
    """False where bytes were no UTF-8 or half of a surrogate pair stands alone."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(1-based number, text) of the lines that are not blank, without a byte-order mark; bad bytes as surrogates."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            if line.strip():
                yield number, line.decode("utf-8", "surrogateescape").rstrip("\r\n")


def whole_lines(head: str, most: int = 50) -> list[str]:
    """The first lines of a file's head that are not blank; the last, which may be cut, only where it is the sole one."""
    lines = [line for line in head.removeprefix("\ufeff").split("\n") if line.strip()]
    return (lines[:-1] if len(lines) > 1 and not head.endswith("\n") else lines)[:most]


def number(text: str) -> int | float | None:
    """A grade as a number; None where the text is none."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
