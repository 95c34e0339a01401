"""CSV files that carry where their numbers come from: made by pages and by the report."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

Filters = Mapping[str, object]


def slug(text: str) -> str:
    """Letters, digits and dashes: for file names and widget keys."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()


def file_name(title: str, *, snapshot: str, run: str, filters: Filters) -> str:
    """`<title>_<filters>_<run>_<snapshot>.csv`, at most 180 characters."""
    chosen = slug("-".join(f"{k}-{v}" for k, v in filters.items() if v not in (None, "", "all")))
    return "_".join(part for part in (slug(title)[:60], chosen[:60], slug(run)[:40], slug(snapshot)) if part) + ".csv"


def csv(data: pd.DataFrame, title: str, *, snapshot: str, run: str, filters: Filters, definition: str = "") -> bytes:
    """The table as CSV below a '#' header: title, snapshot, run, filters, definition, rows.

    Text cells that a spreadsheet would run as a formula get a leading apostrophe, and the header says so.
    """
    safe = data.copy()
    guarded = False
    for name in safe.columns:
        if safe[name].dtype == object or pd.api.types.is_string_dtype(safe[name]):
            risky = safe[name].map(lambda cell: isinstance(cell, str) and cell[:1] in "=+@\t\r" and cell != "")
            if risky.any():
                guarded = True
                safe[name] = safe[name].astype(object).where(~risky, "'" + safe[name].astype(str))
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
        lines.append("note: cells that begin with = + @ carry a leading apostrophe")
    head = "".join(f"# {' '.join(line.split())}\n" for line in lines)
    return (head + safe.to_csv(index=False)).encode("utf-8")
