"""How files were read, as data: what was found, why, and what would change it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from engine.errors import DataError


class Decision(NamedTuple):
    """One thing that was found out about a file."""

    file: str
    what: str  # 'encoding', 'columns', 'price' ...
    found: str
    because: str
    change: str  # What the user would write to have it otherwise.


class Doubt(DataError):
    """Two readings are possible and matter; the message names both and how to choose."""


class Doubts(list[str]):
    """Questions that came up while files were read: asked together, not one after another."""

    def ask(self) -> None:
        """Raises Doubt where there are any."""
        if self:
            raise Doubt("; ".join(dict.fromkeys(self)))


def read_option(table: str, key: str, value: str) -> str:
    """What to write in `dataset.toml`, on one line of a message."""
    return f"{key} = {value} under [read.{table}] in dataset.toml"


LONGEST = 60
"""Characters of a name or value in a message: a damaged header may name a column in a million."""


def brief(text: str) -> str:
    """A name as messages show it."""
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def listed(values: Iterable[str], *, most: int = 3, quote: str = "'") -> str:
    """'a', 'b', 'c' and 4 more."""
    values = list(values)
    some = ", ".join(f"{quote}{brief(v)}{quote}" for v in values[:most])
    return some + (f" and {len(values) - most:,} more" if len(values) > most else "")
