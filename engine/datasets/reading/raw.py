"""An input file as read into DuckDB, before any rule has looked at it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np

from engine.datasets.contract import COLUMNS
from engine.errors import DataError

# Most values begin with a visible ASCII character, which settles it without the pattern.
BLANK = r"(CASE WHEN {0} BETWEEN '!' AND '~' THEN false ELSE regexp_full_match({0}, '[\s\pZ]*') END)"
"""SQL: whether a text is white space alone."""


MOST_COLUMNS = 20_000
"""A worksheet has at most 16,384."""


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

    place: str  # SQL over the columns c1, c2 ... of the raw table; most are one of them.
    kind: str  # Its DuckDB type.
    exact: bool = False  # Text that was written from numbers: its decimal sign is a point.
    said: str = ""  # SQL of the value as the file has it, where `place` reads something else from it.

    @property
    def given(self) -> str:
        """SQL of the value as the file has it."""
        return self.said or self.place


@dataclass
class RawTable:
    """A file as read: the DuckDB table `name`, whose rowid r is the r-th row that could be read.

    Its columns are c1, c2 ... in the order of the file: what a file calls its columns never becomes an identifier.
    """

    name: str
    file: str
    given: dict[str, Cell]  # By the names of the file.
    n_rows: int
    bad_rows: list[BadRow] = field(default_factory=list)
    find_lines: Callable[[], np.ndarray] | None = None
    """Finds `lines`, only when some are asked for; None where row numbers serve as lines."""
    columns: dict[str, Cell] = field(default_factory=dict)  # By the contract's names; others by their own.
    spoken: dict[str, str] = field(default_factory=dict)  # Name in `columns` -> name in the file, where they differ.
    skipped: dict[str, str] = field(default_factory=dict)
    """Why rows are passed over without being faulty -> SQL over c1, c2 ... that is true for them."""
    by_event: bool = False  # Whether each row is an event, from whose kind its counts come.
    n_skipped: dict[str, int] = field(default_factory=dict)  # The same -> how many, once they are counted.

    def __post_init__(self) -> None:
        self.columns = self.columns or dict(self.given)

    @property
    def n_read(self) -> int:
        """Rows of the file, unreadable ones included."""
        return self.n_rows + sum(b.rows for b in self.bad_rows)

    @cached_property
    def lines(self) -> np.ndarray:
        """(n_rows,) int64: the 1-based line of each row; its row number in a Parquet file."""
        return np.arange(1, self.n_rows + 1) if self.find_lines is None else self.find_lines()

    def called(self, name: str) -> str:
        """What the file calls a column of the contract."""
        return self.spoken.get(name, name)


class Asked(NamedTuple):
    """A column of a file of which the reading is to be found."""

    connection: duckdb.DuckDBPyConnection
    raw: RawTable
    table: str  # The file of the contract that it is.
    name: str  # What the file calls the column, for messages.
    cell: Cell

    def any(self, condition: str) -> bool:
        """Whether `condition` holds for a row of the file."""
        return (
            self.connection.execute(f"SELECT 1 FROM {self.raw.name} WHERE {condition} LIMIT 1").fetchone() is not None
        )


def own_names(names: list[str], table: str, label: str) -> list[str]:
    """The names of a file's columns, none of them blank and none twice. Raises DataError where one of the contract is."""
    require_width(len(names), label)
    known = {c.name for c in COLUMNS[table]}
    unique: dict[str, None] = {}
    again: dict[str, int] = {}
    for position, name in enumerate(names, start=1):
        name = name.strip() or f"column_{position}"
        if name in unique and name.casefold() in known:
            raise DataError(f"{label} names column '{name}' more than once; rename or remove one")
        plain = name
        while name in unique:
            again[plain] = again.get(plain, 0) + 1
            name = f"{plain} (again)" if again[plain] == 1 else f"{plain} (again, {again[plain]})"
        unique[name] = None
    return list(unique)


def require_width(n: int, label: str) -> None:
    """Raises DataError for more columns than a table has."""
    if n > MOST_COLUMNS:
        raise DataError(
            f"{label} has more than {MOST_COLUMNS:,} columns, which no table does: is a line of it, or the separator, damaged?"
        )


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


def literal(text: str) -> str:
    """An SQL string; DuckDB's parser knows no NUL."""
    sql = "'" + text.replace("'", "''") + "'"
    return "(" + sql.replace("\0", "' || chr(0) || '") + ")" if "\0" in sql else sql


def count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    """Rows of a table."""
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def first_line(error: Exception) -> str:
    """A library's message without its advice."""
    return str(error).strip().splitlines()[0][:200]


def connected(staged: Path) -> contextlib.closing[duckdb.DuckDBPyConnection]:
    """A database in memory that raw tables are read into; what does not fit goes to `staged`."""
    # 'x IN (ten constants)' would become a join wherever it stands, and the SQL of a column stands in a hundred places.
    own: dict[str, str | bool | int | float | list[str]] = {
        "temp_directory": str(staged / "spill"),
        "autoinstall_known_extensions": False,
        "disabled_optimizers": "in_clause",
    }
    connection = duckdb.connect(config=own)
    connection.execute("SET enable_progress_bar = false")
    return contextlib.closing(connection)
