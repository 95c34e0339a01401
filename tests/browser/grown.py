"""A snapshot of as many items and scored pairs as a large shop has: a trained one, many times over.

Its items come in groups, the first of which is large and the last small. A group has categories, sellers, brands and codes of
its own, so that their tables grow too. A copied query asks in one group: its beams are codes of that group and its candidates
items of it, one copy of each, the first copies more often. What is counted by category, seller or code is scaled to fit. The
first copy of everything keeps its names, so that findings and stories lead where they led. Only the default run answers
the copied queries.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import duckdb

from engine.store.building import SCHEMA, derive

ITEMS_OF_A_GROUP = 125_000
"""On average; the first group of eight holds a third of all."""
MEMORY = "3GB"
_MACROS = """
CREATE TEMP MACRO item(id, k) AS CASE k WHEN 0 THEN id ELSE id || '-' || k END;
CREATE TEMP MACRO named(name, g) AS CASE g WHEN 0 THEN name ELSE name || ' ' || (g + 1) END;
CREATE TEMP MACRO code(c, g) AS c + g * getvariable('width');
CREATE TEMP MACRO codes_of(c, g) AS list_prepend(c[1] + g * getvariable('width'), c[2:])::INTEGER[];
CREATE TEMP MACRO prefix(p, g) AS CASE g WHEN 0 THEN p ELSE
    (split_part(p, '-', 1)::INTEGER + g * getvariable('width'))::VARCHAR || p[length(split_part(p, '-', 1)) + 1:] END;
CREATE TEMP MACRO place(n) AS floor(sqrt(n))::INTEGER;
CREATE TEMP MACRO chosen(q, i, kq, first, n) AS CASE kq WHEN 0 THEN first ELSE
    first + floor(n * pow((hash(q, i, kq) % 100000) / 100000.0, 2))::BIGINT END;
"""
# Copy k of the items is of group g: the j-th of its n, which begin at copy `first`.
_COPIES = """
CREATE TEMP TABLE copies AS
WITH drawn AS (SELECT k, floor($groups * pow((k + 0.5) / $copies, 2))::INTEGER AS g FROM range($copies) r(k))
SELECT k, g, count(*) OVER (PARTITION BY g) AS n, min(k) OVER (PARTITION BY g) AS first FROM drawn ORDER BY k
"""
_GROUPS = "CREATE TEMP TABLE groups AS SELECT g, any_value(n) AS n, any_value(first) AS first FROM copies GROUP BY g"
_ASKED = """
CREATE TEMP TABLE asked AS
SELECT kq, g, n, first FROM (SELECT kq, floor($copies * (kq + 0.5) / $queries)::BIGINT AS k FROM range($queries) r(kq))
JOIN copies USING (k) ORDER BY kq
"""
_BY_ITEM = {
    "items": {
        "title": "title || CASE k WHEN 0 THEN '' ELSE ' edition ' || k END", "category": "named(category, g)",
        "seller": "named(seller, g)", "brand": "named(brand, g)", "popularity": "popularity / (1 + k - first)",
    },
    "sids": {
        "sid": "prefix(sid, g)", "codes": "codes_of(codes, g)", "code_1": "code(code_1, g)", "n_sharing": "n_sharing * n",
    },
    "projection": {
        "x": "x + 12 * (g % place(getvariable('groups'))) + (hash(item_id, k) % 1000) / 2000.0",
        "y": "y + 12 * (g // place(getvariable('groups'))) + (hash(k, item_id) % 1000) / 2000.0",
    },
    "projection_kept": {},
}  # fmt: skip
_PART = "* n / getvariable('copies')"
_BY_GROUP = {
    "categories": {"category": "named(category, g)", "name": "named(name, g)", "n_items": "n_items * n"},
    "sellers": {"seller": "named(seller, g)", "n_items": "n_items * n"},
    "item_bands": {"n_items": "n_items * getvariable('copies')"},
    "category_codes": {"category": "named(category, g)", "code_1": "code(code_1, g)", "code_name": "named(code_name, g)"},
    "codes": {
        "prefix": "prefix(prefix, g)", "parent": "prefix(parent, g)", "code": "CASE level WHEN 1 THEN code(code, g) ELSE code END",
        "top_category": "named(top_category, g)", "n_items": "n_items * n", "exposure": f"exposure {_PART}",
        "exposure_without": f"exposure_without {_PART}",
    },
    "sid_sharing": {"sid": "prefix(sid, g)", "n_items": "n_items * n"},
    "coverage": {
        "category": "named(category, g)", "n_items": "n_items * n", "has_sid": "has_sid * n", "in_beam": "in_beam * n",
        "in_top_k": "in_top_k * n", "shown": "shown * n", "unshared": "CASE n WHEN 1 THEN unshared ELSE 0 END",
        "utilisation": "utilisation / n",
    },
    "exposure": {
        '"value"': 'named("value", g)', "share": f"share {_PART}", "share_without": f"share_without {_PART}",
        "difference": f"difference {_PART}", "low": f"low {_PART}", "high": f"high {_PART}", "n_items": "n_items * n",
    },
    "causes": {
        '"value"': 'named("value", g)', "prefix": "prefix(prefix, g)", "gain": f"gain {_PART}", "loss": f"loss {_PART}",
        "net": f"net {_PART}",
    },
    "drivers": {'"value"': 'named("value", g)'},
}  # fmt: skip
_BEAM = {"query_id": "item(query_id, kq)", "sid": "prefix(sid, g)"}
_NODE = {"query_id": "item(query_id, kq)", "prefix": "prefix(prefix, g)", "parent": "prefix(parent, g)", "n_items": "n_items * n"}  # fmt: skip
_PAIR = {"query_id": "item(query_id, kq)", "item_id": "item(item_id, chosen(query_id, item_id, kq, first, n))"}
_BY_QUERY = {
    "queries": {
        "query_id": "item(query_id, kq)", "text": "text || CASE kq WHEN 0 THEN '' ELSE ' no ' || kq END",
        "frequency": "ceil(frequency / (1 + kq))", "category": "named(category, g)",
    },
    "beams": {**_BEAM, "codes": "codes_of(codes, g)", "n_items": "n_items * n"},
    "beam_nodes": _NODE,
    "free_beams": _BEAM,
    "reference_points": {"query_id": "item(query_id, kq)"},
    "query_metrics": {"query_id": "item(query_id, kq)"},
    "scores": {**_PAIR, "matched_prefix": "prefix(matched_prefix, g)"},
    "contributions": _PAIR,
    "judgments": _PAIR,
    "ratings": _PAIR,
    "loss_ledger": {**_PAIR, "category": "named(category, g)"},
}  # fmt: skip
_OWN = {"seller", "category", "brand"}
"""Dimensions and cohorts that have values of their own in every group; of the others the table keeps its rows."""


class Size(NamedTuple):
    """How many times over."""

    items: int
    queries: int
    groups: int


def grow(snapshot: Path, n_items: int, n_pairs: int = 0) -> None:
    """Put in a snapshot's place one of `n_items` items or more, and `n_pairs` scored ones of the default run; it must be open nowhere."""
    grown = snapshot.with_suffix(".grown")
    grown.unlink(missing_ok=True)
    config = {"memory_limit": MEMORY, "temp_directory": str(snapshot.with_suffix(".spill"))}
    with duckdb.connect(str(grown), config=config) as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(SCHEMA.read_text(encoding="utf-8"))
        path = str(snapshot).replace("'", "''")
        connection.execute(f"ATTACH '{path}' AS old (READ_ONLY)")
        _count(connection, n_items, n_pairs)
        tables = connection.execute(
            "SELECT table_name, list(column_name) FROM duckdb_columns() WHERE database_name = 'old' AND NOT internal GROUP BY 1"
        ).fetchall()
        for table, columns in tables:
            connection.begin()
            _fill(connection, table, columns)
            connection.commit()
        connection.execute(
            "UPDATE snapshot SET n_items = (SELECT count(*) FROM items), n_queries = (SELECT count(*) FROM queries)"
        )
        connection.execute("DETACH old")
        derive(connection)
        connection.execute("CHECKPOINT")
    os.replace(grown, snapshot)


def _count(connection: duckdb.DuckDBPyConnection, n_items: int, n_pairs: int) -> None:
    """Tables copies, groups and asked, and the macros."""
    items, pairs, width = connection.execute(
        """
        SELECT (SELECT count(*) FROM old.items),
               (SELECT count(*) FROM old.scores WHERE run_id = (SELECT default_run FROM old.snapshot)),
               (SELECT coalesce(max(sizes[1]), 0) FROM old.runs)
        """
    ).fetchone() or (1, 0, 0)
    copies = max(1, -(-n_items // items))
    queries = max(1, -(-n_pairs // max(pairs, 1)))
    groups = min(copies, max(1, n_items // ITEMS_OF_A_GROUP))
    connection.execute(_MACROS)
    for name, value in {"width": width, "copies": copies, "groups": groups}.items():
        connection.execute(f"SET VARIABLE {name} = {value}")
    connection.execute(_COPIES, {"copies": copies, "groups": groups})
    connection.execute(_GROUPS)
    connection.execute(_ASKED, {"copies": copies, "queries": queries})


def _fill(connection: duckdb.DuckDBPyConnection, table: str, columns: list[str]) -> None:
    """Copy one table, as often as its kind wants."""
    quoted = f'old."{table}"'
    into = f'INSERT INTO "{table}" BY NAME SELECT * EXCLUDE ({{left}}) REPLACE ({{made}}) FROM {quoted}'
    if table in _BY_ITEM:
        made = _made({"item_id": "item(item_id, k)", **_BY_ITEM[table]}, columns)
        some = " WHERE k < 4" if table == "projection_kept" else ""  # a publication measures 20,000
        connection.execute(into.format(left="k, g, n, first", made=made) + f", copies{some}")
    elif table in _BY_GROUP:
        by = next((name for name in ("dimension", "cohort", "kind") if name in columns), None)
        own = f" WHERE g = 0 OR {by} IN ({', '.join(repr(name) for name in sorted(_OWN))})" if by else ""
        connection.execute(into.format(left="g, n, first", made=_made(_BY_GROUP[table], columns)) + f", groups{own}")
    elif table in _BY_QUERY:
        made = _made(_BY_QUERY[table], columns)
        mine = " AND (kq = 0 OR run_id = (SELECT default_run FROM old.snapshot))" if "run_id" in columns else ""
        for (kq,) in connection.execute("SELECT kq FROM asked ORDER BY kq").fetchall():  # a query's rows lie together
            connection.execute(into.format(left="kq, g, n, first", made=made) + f", asked WHERE kq = {kq}{mine}")
    else:
        connection.execute(f'INSERT INTO "{table}" BY NAME FROM {quoted}')


def _made(columns: dict[str, str], there: list[str]) -> str:
    return ", ".join(f"{sql} AS {name}" for name, sql in columns.items() if name.strip('"') in there)
