"""What is decided over all SIDs of a file: whether some carry a suffix, whether codes go on counting from level to level."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import duckdb

from engine.datasets.contract import shown
from engine.errors import DataError

SUFFIXES = ("drop", "level")
SHARED = 0.5
"""A last code that only some SIDs have is a suffix where at least this share of them differs from another SID by it alone."""


class Suffix(NamedTuple):
    """A code after the last level of some SIDs, which tells apart items that would share one."""

    base: int  # Levels of a SID without it.
    treat: str  # One of SUFFIXES.
    shift: int  # Added to it as a level of its own, where an item without it has 0.

    def apply(self, connection: duckdb.DuckDBPyConnection, table: str) -> None:
        """Changes `codes` of a table."""
        if self.treat == "drop":
            connection.execute(f"UPDATE {table} SET codes = codes[:{self.base}] WHERE len(codes) = {self.base + 1}")
            return
        connection.execute(
            f"""UPDATE {table} SET codes = CASE WHEN len(codes) = {self.base} THEN list_append(codes, 0)
            ELSE list_append(codes[:{self.base}], codes[{self.base + 1}] + {self.shift}) END
            WHERE len(codes) IN ({self.base}, {self.base + 1})"""
        )

    def told(self, label: str) -> str:
        """For the report."""
        if self.treat == "drop":
            return f"{label}: the suffix after level {self.base} is dropped; items that differ in it alone share a SID"
        shifted = "; those given are raised by 1, because 0 is one of them" if self.shift else ""
        return f"{label}: the suffix is level {self.base + 1}, 0 where an item has none{shifted}"


def find_suffix(connection: duckdb.DuckDBPyConnection, rows: str, label: str, wanted: str | None) -> Suffix | None:
    """The suffix of the SIDs of `rows` (sid, codes), treated as `wanted`; None where all are of one length.

    Raises DataError where there is one and nothing is wanted: to drop it and to keep it are different catalogues.
    """
    counts = dict(
        connection.execute(f"SELECT len(codes), count(*) FROM {rows} WHERE codes IS NOT NULL GROUP BY 1").fetchall()
    )
    bases = [n for n in counts if n + 1 in counts]
    if not bases:
        return None
    base = max(bases, key=lambda n: counts[n] + counts[n + 1])
    prefix = f"codes[:{base}]"
    longer = f"(SELECT * FROM {rows} WHERE len(codes) = {base + 1})"
    told = connection.execute(
        f"""SELECT avg(CAST(alike > 1 OR {prefix} IN (SELECT codes FROM {rows} WHERE len(codes) = {base}) AS INTEGER)),
        min(codes[{base + 1}]), min(sid) FROM (SELECT *, count(*) OVER (PARTITION BY {prefix}) AS alike FROM {longer})"""
    ).fetchone()
    assert told is not None
    share, lowest, example = told
    if wanted is None:
        if share < SHARED:
            return None
        raise DataError(
            f"{label}: {counts[base + 1]:,} SIDs, such as {shown(example)}, have one code more than the {counts[base]:,} "
            f"others, a suffix that tells apart items of one SID or a level of its own; add --sid-suffix drop (they then "
            f"share the SID) or --sid-suffix level (it is level {base + 1}, and 0 where an item has none)"
        )
    return Suffix(base, wanted, int(wanted == "level" and lowest == 0))


def running_on(connection: duckdb.DuckDBPyConnection, rows: str, label: str) -> str | None:
    """Says that every level begins above the codes of the level before, where it does."""
    found = connection.execute(
        f"""SELECT min(code), max(code) FROM (SELECT unnest(codes) AS code, generate_subscripts(codes, 1) AS level
        FROM {rows}) GROUP BY level ORDER BY level"""
    ).fetchall()
    constant = any(low == high for low, high in found)
    if len(found) < 2 or constant or any(low <= high for (_, high), (low, _) in pairwise(found)):
        return None
    ranges = ", ".join(f"{low}-{high}" for low, high in found)
    return f"{label}: codes go on counting from level to level ({ranges}); kept as given"
