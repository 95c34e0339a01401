"""An input file as read into DuckDB, before any rule has looked at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import duckdb
import numpy as np

from engine.datasets.contract import COLUMNS
from engine.errors import DataError


class BadRow(NamedTuple):
    """A row that could not be divided into columns at all."""

    line: int
    rule: str
    column: str
    why: str
    text: str  # The row, whole.
    rows: int  # Rows it stands for: an unclosed quotation mark swallows the lines after it.


class Cell(NamedTuple):
    """Where the values of a column lie."""

    place: str  # Column of the raw table: 'c1', 'c2' ...
    kind: str  # Its DuckDB type.


@dataclass
class RawTable:
    """A file as read: the DuckDB table `name`, whose rowid r is the r-th row that could be read.

    Its columns are c1, c2 ... in the order of the file: what a file calls its columns never becomes an identifier.
    """

    name: str
    file: str
    columns: dict[str, Cell]  # By the name in messages; those of the contract in the contract's spelling.
    n_rows: int
    bad_rows: list[BadRow] = field(default_factory=list)
    find_lines: Callable[[], np.ndarray] | None = None
    """Finds `lines`, only when some are asked for; None where row numbers serve as lines."""

    @property
    def n_read(self) -> int:
        """Rows of the file, unreadable ones included."""
        return self.n_rows + sum(b.rows for b in self.bad_rows)

    @cached_property
    def lines(self) -> np.ndarray:
        """(n_rows,) int64: the 1-based line of each row; its row number in a Parquet file."""
        return np.arange(1, self.n_rows + 1) if self.find_lines is None else self.find_lines()


def clean_columns(names: list[str], table: str, label: str) -> list[str]:
    """The contract's spelling for known names, whatever their case; others as they are. Clashes are errors."""
    known = {c.name for c in COLUMNS[table]}
    clean = []
    for position, name in enumerate(names, start=1):
        name = name.strip() or f"column_{position}"
        clean.append(name.casefold() if name.casefold() in known else name)
    folded = [c.casefold() for c in clean]
    twice = next((c for c in clean if folded.count(c.casefold()) > 1), None)
    if twice is not None:
        raise DataError(f"{label} names column '{twice}' more than once; rename or remove one")
    return clean


def places(n: int) -> list[str]:
    """Names of n columns of a raw table."""
    return [f"c{place}" for place in range(1, n + 1)]


def needs(table: str) -> str:
    """What such a file must hold, for messages."""
    required = [f"'{c.name}'" for c in COLUMNS[table] if c.required]
    return f"a header line with {', '.join(required)}, and rows"


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    """Rows of a table."""
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def first_line(error: Exception) -> str:
    """A library's message without its advice."""
    return str(error).strip().splitlines()[0][:200]
