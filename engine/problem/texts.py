"""What is written of items besides their titles."""

from __future__ import annotations

import json

import pandas as pd


def attribute_values(cell: object) -> list[str]:
    """The values of an item's attributes, which are kept as a JSON object."""
    found = json.loads(cell) if isinstance(cell, str) else {}
    return [str(value) for value in found.values() if value is not None and not isinstance(value, bool)]


def item_texts(items: pd.DataFrame, *columns: str) -> list[str]:
    """The `columns` of each item as one text, of attributes the values."""
    rows = items[list(columns)].itertuples(index=False)
    at = columns.index("attributes") if "attributes" in columns else -1
    cells = ([*row[:at], *attribute_values(row[at]), *row[at + 1 :]] if at >= 0 else row for row in rows)
    return [" ".join(cell for cell in row if isinstance(cell, str)) for row in cells]
