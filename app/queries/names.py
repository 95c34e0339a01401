"""What codes are called: their labels, or the names that people gave them, joined from the broadest level on.

`given` is what people named: ((prefix, name), ...). It is part of a query, so that names are searched, sorted and exported.
"""

from __future__ import annotations

from typing import Any

import duckdb

Given = tuple[tuple[str, str], ...]

GIVEN = "given AS (SELECT unnest($given_prefixes::VARCHAR[]) AS prefix, unnest($given_names::VARCHAR[]) AS name)"
"""A common table expression: prefix, name."""
NAMED = "coalesce({given}.name, replace({code}.label, ' · ', ', '), 'code ' || {code}.prefix)"


def values(given: Given) -> dict[str, Any]:
    """The parameters that `GIVEN` reads."""
    return {"given_prefixes": [prefix for prefix, _ in given], "given_names": [name for _, name in given]}


def paths_of(source: str) -> str:
    """A common table expression `paths` of the prefixes in `source`: prefix, path ('TV Stands > tv > oakridge, pine'), name (its
    last part) and inside (what comes before).

    Reads `GIVEN` and the parameter `run`.
    """
    return f"""
        paths AS (
            SELECT prefix, array_to_string(every, ' > ') AS path, every[-1] AS name, array_to_string(every[:-2], ' > ') AS inside
            FROM (
            SELECT s.prefix, list({NAMED.format(given="g", code="a")} ORDER BY s.depth) AS every
            FROM (SELECT prefix, unnest(range(1, len(string_split(prefix, '-')) + 1)) AS depth
                  FROM (SELECT DISTINCT prefix FROM {source})) s
            JOIN codes a ON a.run_id = $run
                 AND a.prefix = array_to_string(list_slice(string_split(s.prefix, '-'), 1, s.depth), '-')
            LEFT JOIN given g ON g.prefix = a.prefix
            GROUP BY s.prefix)
        )
    """


def names(cursor: duckdb.DuckDBPyConnection, run_id: str, prefix: str, given: Given) -> list[str]:
    """The names of a prefix's levels, from the broadest to its own; shorter where a level does not exist."""
    rows = cursor.execute(
        f"""
        WITH {GIVEN}
        SELECT {NAMED.format(given="g", code="a")} FROM codes a LEFT JOIN given g USING (prefix)
        WHERE a.run_id = $run AND (a.prefix = $prefix OR starts_with($prefix, a.prefix || '-')) ORDER BY a.level
        """,
        {"run": run_id, "prefix": prefix, **values(given)},
    ).fetchall()
    return [str(name) for (name,) in rows]


def words(cursor: duckdb.DuckDBPyConnection, run_id: str, level: int, given: Given) -> list[str]:
    """The distinct words and terms that codes are called by (`level` 0 = every level): what a mistyped word is held against."""
    rows = cursor.execute(
        f"""
        WITH {GIVEN}, called AS (
            SELECT unnest(string_split({NAMED.format(given="g", code="c")}, ',')
                          || string_split(coalesce(c.top_category, ''), ' > ')) AS word
            FROM codes c LEFT JOIN given g USING (prefix) WHERE c.run_id = $run AND ($level = 0 OR c.level = $level)
        )
        SELECT DISTINCT trim(word) AS word FROM called WHERE trim(word) <> '' AND NOT starts_with(word, 'code ')
        ORDER BY word LIMIT 50000
        """,
        {"run": run_id, "level": level, **values(given)},
    ).fetchall()
    return [str(word) for (word,) in rows]
