"""CSV files that carry where their numbers come from: made by pages and by the report."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

Filters = Mapping[str, object]
FORMULA = re.compile(r"(^|[;\t\r\n])(?=[=+\-@＝＋－＠])(?![+-]\d+(?:\.\d+)?(?:$|[;\t\r\n]))")
"""Where a spreadsheet, whatever it splits cells at, would begin to read a formula: no plain number is one."""
FORMULA_IN_HEAD = re.compile(r"(^|[,;] ?)(?=[=+\-@＝＋－＠])(?![+-]\d+(?:\.\d+)?(?:$|[,;]))")


def slug(text: str) -> str:
    """Letters, digits and dashes: for file names and widget keys."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()


def file_name(title: str, *, snapshot: str, run: str, filters: Filters) -> str:
    """`<title>_<filters>_<run>_<snapshot>.csv`, at most 180 characters."""
    chosen = slug("-".join(f"{k}-{v}" for k, v in filters.items() if v not in (None, "", "all")))
    return "_".join(part for part in (slug(title)[:60], chosen[:60], slug(run)[:40], slug(snapshot)) if part) + ".csv"


def csv(data: pd.DataFrame, title: str, *, snapshot: str, run: str, filters: Filters, definition: str = "") -> bytes:
    """The table as CSV below a '#' header: title, snapshot, run, filters, definition, rows.

    Text that a spreadsheet would run as a formula gets an apostrophe before it, and the header says so.
    """
    safe = data.rename(columns=_disarmed)
    guarded = list(safe.columns) != list(data.columns)
    for name in safe.columns:
        if safe[name].dtype == object or pd.api.types.is_string_dtype(safe[name]):
            cells = safe[name].astype(object)
            safe[name] = cells.map(lambda cell: _disarmed(cell) if isinstance(cell, str) else cell)
            guarded |= any(FORMULA.search(cell) for cell in cells if isinstance(cell, str))
    lines = [
        f"Sidelight: {title}",
        f"snapshot: {snapshot}",
        f"run: {run}",
        f"filters: {'; '.join(f'{k} = {v}' for k, v in filters.items()) or 'none'}",
        f"rows: {len(data)}",
    ]
    if definition:
        lines.append(f"definition: {definition}")
    if guarded:
        lines.append("note: text that begins like a formula (= + - @) carries a leading apostrophe")
    head = [FORMULA_IN_HEAD.sub(r"\1'", " ".join(line.split())) for line in lines]
    return ("".join(f"# {line}\n" for line in head) + safe.to_csv(index=False)).encode("utf-8")


def _disarmed(text: str) -> str:
    """Without what a spreadsheet would run, and with line ends that every reader of CSV knows."""
    return FORMULA.sub(r"\1'", re.sub(r"\r\n?", "\n", str(text)))
