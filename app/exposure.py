"""The rows of exposure as Sellers & categories shows them, and one of them by its name: for the page and the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from app import text
from app.queries import groups
from app.queries import sellers as queries

Ask = Callable[..., Any]
"""`ask(query, *args)`: the result of a query of app/queries; a page has `app.fetch.fetch`."""


def found(ask: Ask, run_id: str, dimension: str, discount: str) -> pd.DataFrame:
    """The rows of a stored dimension, or of an attribute of the items."""
    if dimension.startswith(queries.ATTRIBUTE):
        rows = ask(groups.attribute, run_id, dimension.removeprefix(queries.ATTRIBUTE))
        return groups.under(rows, discount)
    stored: pd.DataFrame = ask(queries.exposure, run_id, discount, dimension)
    return stored


def prepared(rows: pd.DataFrame) -> pd.DataFrame:
    """Exposure rows with ratios and percentages; a ratio that rests on too little is left out."""
    rows = rows.copy()
    said = rows["verdict"].str.split(",").str[0].map({"gains": "▲ ", "loses": "▼ ", "unchanged": "= "}).fillna("")
    rows["in_words"] = said + rows["verdict"]
    rows["sure"] = rows["verdict"].str.contains(", clear")
    rows["relative_pct"] = 100 * rows["difference"] / rows["share_without"].where(rows["share_without"] > 0)
    enough = rows["n_merit_pairs"].fillna(0) >= text.LEAST_QUERIES
    rows["per_merit"] = (rows["share"] / rows["merit"]).where(enough & (rows["merit"] > 0))
    rows["per_catalogue"] = (rows["share"] / rows["catalogue_share"]).where(rows["catalogue_share"] > 0)
    rows["revenue_difference"] = rows["revenue_share"] - rows["revenue_share_without"]
    rows.loc[rows["verdict"] == text.TOO_SMALL, ["low", "high", "p_value", "q_value"]] = float("nan")
    for name in ("share", "share_without", "difference", "low", "high", "revenue_share", "revenue_difference"):
        rows[f"{name}_pct"] = 100 * rows[name].astype(float)
    return rows


def plural_name(dimension: str) -> str:
    """'sellers', 'values of color'."""
    if dimension.startswith(queries.ATTRIBUTE):
        return f"values of {dimension.removeprefix(queries.ATTRIBUTE)}"
    return text.DIMENSION_NAMES[dimension].lower()


def resolved(asked: str, names: list[str]) -> str:
    """The name as the table has it, whatever its case; '' where there is none such."""
    if asked in set(names):
        return asked
    same = [name for name in names if name.casefold() == asked.casefold()]
    return same[0] if len(same) == 1 else ""
