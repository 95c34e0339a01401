"""The schema of a snapshot as programs and people read it: tables, columns, what they mean.

    python -m engine schema                # docs/schema.md
    python -m engine schema --json

Names and types are those that DuckDB makes of `schema.sql`; the meaning is what its comments say. A comment belongs to the
columns that its line begins; a line of comment alone continues the one above.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from typing import NamedTuple

import duckdb

from engine.store.building import SCHEMA

_BEGINS = re.compile(r'(?:^|,)\s*(?:"(\w+)"|(\w+))\s+[A-Z]')
_TABLE = re.compile(r"CREATE TABLE (\w+) \((.*)")
_TITLE = re.compile(r"-- -{10,} (.+)")


class Column(NamedTuple):
    """A column; `comment` may speak of all columns of its line in schema.sql, which `line` numbers within the table."""

    name: str
    type: str
    required: bool
    line: int
    comment: str


class Table(NamedTuple):
    """A table of a snapshot."""

    name: str
    about: str
    section: str
    columns: tuple[Column, ...]


@cache
def tables() -> tuple[Table, ...]:
    """Every table of a snapshot, in the order of schema.sql."""
    text = SCHEMA.read_text(encoding="utf-8")
    with duckdb.connect() as connection:
        connection.execute(text)
        known = connection.execute(
            "SELECT table_name, column_name, data_type, NOT is_nullable FROM duckdb_columns() WHERE NOT internal "
            "ORDER BY table_oid, column_index"
        ).fetchall()
    types = {(table, column): (type_, required) for table, column, type_, required in known}
    return tuple(
        Table(name, about, section, tuple(Column(c, *types[name, c], line, comment) for c, line, comment in columns))
        for name, about, section, columns in _read(text)
    )


def _read(text: str) -> list[tuple[str, str, str, list[tuple[str, int, str]]]]:
    """(table, about, section, [(column, line, comment)]) of the text of schema.sql."""
    found: list[tuple[str, str, str, list[tuple[str, int, str]]]] = []
    section, above = "this file", ""
    lines: list[tuple[list[str], str]] | None = None  # of the table being read: columns begun, comment
    for row in text.splitlines():
        code, _, comment = (part.strip() for part in row.partition("--"))
        if lines is None:
            if title := _TITLE.match(row):
                section, above = title[1], ""
                continue
            above = f"{above} {comment}".strip() if comment and not code else above if code else ""
            if not (start := _TABLE.match(code)):
                continue
            name, code = start[1], start[2].strip()
            lines, about = [], " ".join(part for part in (above, comment if not code else "") if part)
            comment = comment if code else ""
            above = ""
        closes = code.endswith(");")
        code = code.removesuffix(");")
        columns = [quoted or plain for quoted, plain in _BEGINS.findall(code)]
        if columns:
            lines.append((columns, comment))
        elif comment and lines:
            lines[-1] = (lines[-1][0], f"{lines[-1][1]} {comment}".strip())
        elif comment:
            about = f"{about} {comment}".strip()
        if closes:
            found.append((name, about, section, [(c, n, said) for n, (cs, said) in enumerate(lines) for c in cs]))
            lines = None
    return found


def fingerprint() -> str:
    """Names, types and NOT NULL of everything, as a short hash: what a schema version stands for."""
    told = "\n".join(f"{t.name}.{c.name} {c.type} {c.required}" for t in tables() for c in t.columns)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


_HEAD = """# The schema of a snapshot

*Made by `python -m engine schema`; a test holds it against `engine/store/schema.sql`. How to read it from programs, and what
may change: [programs.md](programs.md).*

Schema version **{version}**, fingerprint `{fingerprint}`. Levels are 1-based, codes 0-based integers; a prefix is the first l codes
joined by '-' ('17', '17-203'). Shares are fractions. NULL means unknown, never zero. `[low, high]` is the 95 % bootstrap
interval over queries unless the column says otherwise. **Bold** columns are never NULL.
"""


def markdown(version: int) -> str:
    """The whole schema as docs/schema.md."""
    parts, section = [_HEAD.format(version=version, fingerprint=fingerprint())], ""
    for table in tables():
        if table.section != section:
            section = table.section
            parts.append(f"## {section[:1].upper()}{section[1:]}\n")
        parts.append(f"### `{table.name}`\n" + (f"\n{_cell(table.about)}\n" if table.about else ""))
        rows = ["| column | type | meaning |", "|---|---|---|"]
        for line in sorted({column.line for column in table.columns}):
            mine = [column for column in table.columns if column.line == line]
            names = ", ".join(f"**{c.name}**" if c.required else c.name for c in mine)
            rows.append(f"| {names} | {', '.join(dict.fromkeys(c.type for c in mine))} | {_cell(mine[0].comment)} |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    return re.sub(r"([|<>*_])", r"\\\1", text)
