"""Which items a page counts: by seller, brand, price band, age, or any attribute of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from engine.audit.groups import UNKNOWN

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

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
    """Price bands and ages as the audit cuts them: kind ('price' | 'age'), name, currency, low and high (as text), n_items."""
    return cursor.execute(
        """
        SELECT kind, name, currency, coalesce(low::VARCHAR, first::VARCHAR) AS low, coalesce(high::VARCHAR, last::VARCHAR) AS high, n_items
        FROM item_bands ORDER BY kind = 'age', currency, item_bands.low, first DESC
        """
    ).df()


def of_value(dimension: str, value: str, cursor: duckdb.DuckDBPyConnection) -> tuple[str, dict[str, Any]]:
    """The items of one value of a dimension of the audit, grouped as it groups them: a condition on `items i`, and what it takes."""
    if dimension in ("seller", "category", "brand"):
        return f"coalesce(i.{dimension}, '{UNKNOWN}') = $value", {"value": value}
    if dimension in ("seller_size", "seller_age"):
        of = f"SELECT seller FROM sellers WHERE coalesce({dimension.removeprefix('seller_')}_group, '{UNKNOWN}') = $value"
        return f"(i.seller IN ({of}) OR (i.seller IS NULL AND $value = '{UNKNOWN}'))", {"value": value}
    if value == UNKNOWN:
        known = "i.price >= 0 AND isfinite(i.price)" if dimension == "price_band" else "i.created_at IS NOT NULL"
        return f"NOT coalesce({known}, false)", {}
    kind = "price" if dimension == "price_band" else "age"
    row = cursor.execute(
        "SELECT low, high, first, last, currency FROM item_bands WHERE kind = ? AND name = ?", [kind, value]
    ).fetchone()
    if row is None:
        return "false", {}
    low, high, first, last, currency = row
    if kind == "age":
        return "i.created_at BETWEEN $first AND $last", {"first": first, "last": last}
    return (
        "i.price BETWEEN $low AND $high AND coalesce(i.currency, '') = $currency",
        {"low": low, "high": high, "currency": currency},
    )


def attribute_keys(cursor: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Attributes that tell items apart: name, n_items that state it in a word or number, n_values; the commonest first."""
    return cursor.execute(
        f"""
        SELECT name, n_items, n_values FROM item_attributes
        WHERE n_items >= {LEAST_ITEMS} AND n_values > 1 AND n_values <= n_items / 5 ORDER BY n_items DESC, name LIMIT {KEYS}
        """
    ).df()


def attribute_values(cursor: duckdb.DuckDBPyConnection, key: str) -> list[str]:
    """The commonest values of an attribute."""
    rows = cursor.execute(
        f'SELECT "value" FROM attribute_values WHERE name = ? ORDER BY n_items DESC, "value" LIMIT {NAMES}', [key]
    ).fetchall()
    return [str(value) for (value,) in rows]
