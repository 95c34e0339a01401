"""What the server says on its error output: its log, warnings, traces. Whatever they quote, a terminal acts on nothing in it."""

from __future__ import annotations

from typing import Any, TextIO

from engine.errors import printable


class PlainLog:
    """A stream whose text is `printable`; uncoloured, for colours are such codes too. Everything else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, tabs as spaces."""
        self._stream.write(printable(text.expandtabs(4)))
        return len(text)

    def isatty(self) -> bool:
        """No: who asks would colour what he writes."""
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
