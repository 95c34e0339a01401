"""SELECTs of brands: those that a query names, and the one that stands most often among some items."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


def named(cursor: duckdb.DuckDBPyConnection, text: str, limit: int) -> tuple[str, ...]:
    """Brands of the catalogue that the text names as whole words, the longest first."""
    rows = cursor.execute(
        """
        SELECT brand FROM (SELECT DISTINCT brand FROM items WHERE len(trim(brand)) > 1)
        WHERE contains(' ' || regexp_replace(lower($text), '[^\\w&+]+', ' ', 'g') || ' ',
                       ' ' || trim(regexp_replace(lower(brand), '[^\\w&+]+', ' ', 'g')) || ' ')
          AND contains(lower($text), lower(brand))
        ORDER BY len(brand) DESC, brand LIMIT $limit
        """,
        {"text": text, "limit": limit},
    ).fetchall()
    return tuple(str(brand) for (brand,) in rows)


def usual(cursor: duckdb.DuckDBPyConnection, items: tuple[str, ...]) -> str | None:
    """The commonest brand of the items; None where they have none."""
    row = cursor.execute(
        """
        SELECT brand FROM items WHERE item_id IN (SELECT unnest(?::VARCHAR[])) AND len(trim(brand)) > 1
        GROUP BY brand ORDER BY count(*) DESC, brand LIMIT 1
        """,
        [list(items)],
    ).fetchone()
    return None if row is None else str(row[0])
