"""Reads JSON-lines files with Python's parser: it alone gives the place of an error inside a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from engine.datasets.reading.raw import BadRow
from engine.datasets.reading.records import Record, as_text


def recognise(head: str) -> bool:
    """Whether a text begins like an object or a list."""
    return head.lstrip("\ufeff \t\r\n")[:1] in ("{", "[")


def records(path: Path) -> Iterator[Record | BadRow]:
    """One a line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            try:
                yield Record(number, _json_row(line))
            except ValueError as error:
                text = line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
                yield BadRow(number, "row cannot be read", "", str(error), text, 1)


def _json_row(line: bytes) -> dict[str, str | None]:
    """The object of one line, each value as text. Raises ValueError with the reason."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} at character {error.pos + 1}") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8; save the file as UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(row, dict):
        raise ValueError("it is not a JSON object")
    values = {key: as_text(value) for key, value in row.items()}
    if b"\\u" in line:
        try:
            "".join(v for pair in values.items() for v in pair if v).encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half of a surrogate pair, which is not text") from None
    return values
