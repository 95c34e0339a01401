"""A snapshot whose words are what nobody wishes to show: markup, formulas, emoji, right-to-left, titles of 10,000 letters.

Every word of the catalogue and of its searches is written otherwise, always in the same way, so that tables still join.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from engine.store.building import derive

LONG = 10_000
SUFFIXES = (
    "",
    '<img src=x onerror="window.__ran=1"><script>window.__ran=1</script>',
    r"**b** :red[r] $\frac{a}{b}$ [l](javascript:window.__ran=1) https://example.com",
    "👩‍👩‍👧 🛋️ שלום עולם מנורה مصباح الطاولة",
    '=HYPERLINK("x") | a_b `c` ~~d~~ \\ \' " % & <b>',
    "unbroken" * 12,
    "\u202eright-to-left override",
)
WORDS = (
    "title",
    "category",
    "name",
    "parent",
    "department",
    "seller",
    "brand",
    "top_category",
    "label",
    "text",
    "description",
)
"""Columns that hold words of the catalogue or of a search."""
GROUPS = ("exposure", "causes", "drivers")
"""Tables whose `value` is such a word too."""


def make_hostile(snapshot: Path) -> None:
    """Rewrite the words of a snapshot in place; it must be open nowhere."""
    with duckdb.connect(str(snapshot)) as connection:
        cases = " ".join(
            f"WHEN {place} THEN x || ' ' || $${suffix}$$" for place, suffix in enumerate(SUFFIXES) if suffix
        )
        connection.execute(
            f"CREATE TEMP MACRO worse(x) AS CASE CAST(hash(x) % {len(SUFFIXES)} AS INTEGER) {cases} ELSE x END"
        )
        columns = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE data_type = 'VARCHAR' AND table_schema = 'main'"
        ).fetchall()
        for table, column in columns:
            words = column in WORDS and (table, column) != ("codes", "parent")
            if words or (table in GROUPS and column == "value"):
                where = (
                    "WHERE cohort NOT IN ('all', 'moved', 'tier')" if table == "drivers" and column == "value" else ""
                )
                connection.execute(f'UPDATE "{table}" SET "{column}" = worse("{column}") {where}')
        longest = "(SELECT item_id FROM items ORDER BY item_id LIMIT 3)"
        connection.execute(
            f"UPDATE items SET title = repeat(title || ' ', {LONG} // greatest(length(title), 1)) WHERE item_id IN {longest}"
        )
        derive(connection)
