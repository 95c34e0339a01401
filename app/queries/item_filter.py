"""Which items a page counts: by seller, brand, price band, age, or any attribute of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from engine.audit.groups import UNKNOWN, age_bands, price_bands

if TYPE_CHECKING:
    import duckdb

NAMES = 2_000
"""Names offered of a kind: the commonest."""
KEYS = 24
"""Attributes offered: the commonest."""
LEAST_ITEMS = 30
"""Items that must have an attribute for it to be offered."""


class Filter(NamedTuple):
    """Plain values: it is part of a cache's key. Empty parts ask for nothing."""

    seller: str = ""
    brand: str = ""
    price: tuple[float, float, str] | tuple[()] = ()
    """Lowest and highest price, and their currency ('' where none is stated)."""
    age: tuple[str, str] | tuple[()] = ()
    """First and last creation, ISO."""
    attribute: str = ""
    value: str = ""

    @property
    def active(self) -> bool:
        """Whether it leaves any item out."""
        return bool(self.seller or self.brand or self.price or self.age or (self.attribute and self.value))


WHERE = """
            ($seller = '' OR i.seller = $seller) AND ($brand = '' OR i.brand = $brand)
            AND (NOT $by_price OR (i.price BETWEEN $low AND $high AND coalesce(i.currency, '') = $currency))
            AND (NOT $by_age OR i.created_at BETWEEN $first::TIMESTAMP AND $last::TIMESTAMP)
            AND ($value = '' OR json_extract_string(i.attributes, $pointer) = $value)
"""
"""Conditions on `items i`; they take `parameters`."""


def pointer(key: str) -> str:
    """A JSON pointer to a key of an object, whatever its letters."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def parameters(which: Filter) -> dict[str, Any]:
    """What `WHERE` takes."""
    low, high, currency = which.price or (0.0, 0.0, "")
    first, last = which.age or ("2000-01-01", "2000-01-01")
    value = which.value if which.attribute else ""
    return {
        "seller": which.seller, "brand": which.brand, "by_price": bool(which.price), "low": low, "high": high,
        "currency": currency, "by_age": bool(which.age), "first": first, "last": last, "value": value,
        "pointer": pointer(which.attribute),
    }  # fmt: skip


def names(cursor: duckdb.DuckDBPyConnection, column: str) -> list[str]:
    """The commonest sellers or brands, the one with most items first."""
    assert column in ("seller", "brand"), column
    rows = cursor.execute(
        f'SELECT "{column}" FROM items WHERE "{column}" IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {NAMES}'
    ).fetchall()
    return [str(name) for (name,) in rows]


def bands(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Price bands and ages as the audit cuts them: kind ('price' | 'age'), name, currency, low, high, n_items."""
    items = cursor.execute("SELECT price, coalesce(currency, '') AS currency, created_at FROM items").df()
    parts = []
    for kind, label, value in (
        ("price", price_bands(items["price"], items["currency"]), items["price"]),
        ("age", age_bands(items["created_at"]), items["created_at"]),
    ):
        rows = pd.DataFrame({"name": label, "currency": items["currency"] if kind == "price" else "", "value": value})
        rows = rows[rows["name"] != UNKNOWN]
        made = rows.groupby(["currency", "name"])["value"].agg(["min", "max", "size"]).reset_index()
        made = made.sort_values(["currency", "min"], ascending=[True, kind == "price"])
        parts.append(made.astype({"min": object, "max": object}).assign(kind=kind))
    return (
        pd.concat(parts, ignore_index=True)
        .rename(columns={"min": "low", "max": "high", "size": "n_items"})
        .astype({"name": object})
    )


def attribute_keys(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Attributes that tell items apart: name, n_items that state it in a word or number, n_values; the commonest first."""
    return cursor.execute(
        f"""
        WITH stated AS (
            SELECT e.key AS name, json_extract_string(e.value, '$') AS stated
            FROM items i, json_each(i.attributes) e
            WHERE json_valid(i.attributes) AND e.type NOT IN ('ARRAY', 'OBJECT', 'NULL')
        )
        SELECT name, count(*) AS n_items, count(DISTINCT stated) AS n_values FROM stated WHERE stated <> ''
        GROUP BY name HAVING n_items >= {LEAST_ITEMS} AND n_values > 1 AND n_values <= n_items / 5
        ORDER BY n_items DESC, name LIMIT {KEYS}
        """
    ).df()


def attribute_values(cursor: duckdb.DuckDBPyConnection, key: str) -> list[str]:
    """The commonest values of an attribute."""
    rows = cursor.execute(
        f"""
        SELECT json_extract_string(attributes, $pointer) AS stated FROM items
        WHERE json_type(attributes, $pointer) NOT IN ('ARRAY', 'OBJECT', 'NULL') AND stated <> ''
        GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {NAMES}
        """,
        {"pointer": pointer(key)},
    ).fetchall()
    return [str(value) for (value,) in rows]
