"""From accepted rows to the tables of a catalogue: queries found or derived, raters averaged, sources named."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from engine.datasets.contract import TABLES
from engine.datasets.reading.raw import quoted
from engine.datasets.validation import Validator
from engine.datasets.vectors import BLOCK

EXACT = 2**52
"""Sums of whole numbers below this are exact as doubles, whoever adds first."""


def assemble(validator: Validator, table: str) -> Iterator[pa.RecordBatch]:
    """The rows of a table of `contract.TABLES`, without synthetic queries, as they are asked for.

    In the order of the input: a table that is scanned keeps its own.
    """
    made = {
        "items": _items,
        "queries": _queries,
        "interactions": _interactions,
        "judgments": _judgments,
        "judgments_raw": _raw_judgments,
    }
    sql = made[table](validator)
    if sql is None:
        return
    # Sums and means of floats must not depend on who adds first.
    alone = table == "judgments" or (table == "queries" and not _whole_counts(validator))
    threads = validator.one("SELECT current_setting('threads')")
    validator.connection.execute(f"SET threads = {1 if alone else threads}")
    for batch in validator.connection.execute(sql).to_arrow_reader(BLOCK):
        yield batch.cast(TABLES[table])
    validator.connection.execute(f"SET threads = {threads}")


def _columns(table: str, **made: str) -> str:
    """SQL of the columns of a table, some of them `made` of others."""
    return ", ".join(f"{made.get(name, quoted(name))} AS {quoted(name)}" for name in TABLES[table].names)


def _items(validator: Validator) -> str:
    return f"SELECT {_columns('items')} FROM {validator.accepted('items')}"


_CLICKS = "CASE WHEN impressions IS NULL AND clicks IS NULL AND purchases IS NULL THEN 1.0 ELSE clicks END"
"""A row of the log that states no count at all is one click."""


def _interactions(validator: Validator) -> str | None:
    if "interactions" not in validator.raw:
        return None
    columns = _columns("interactions", query_id="_key", clicks=_CLICKS, source="'log'")
    return f"SELECT {columns} FROM {validator.accepted('interactions')}"


def _whole_counts(validator: Validator) -> bool:
    if "interactions" not in validator.raw:
        return True
    return bool(validator.one(
        f"""SELECT coalesce(bool_and(impressions = floor(impressions) AND clicks = floor(clicks)), true)
        AND coalesce(sum(impressions), 0) < {EXACT} AND coalesce(sum(clicks), 0) + count(*) < {EXACT}
        FROM {validator.accepted("interactions")}"""
    ))  # fmt: skip


def _mentions(validator: Validator) -> str | None:
    """Each query where it first occurs, the log before the judgments, with its counts; `logged` where not judged alone."""
    present: list[str] = [t for t in ("interactions", "judgments") if t in validator.raw]
    # Only where nothing else names a query do those of an audit become the catalogue's.
    present = present or [t for t in ("beams", "scores") if t in validator.raw]
    if not present:
        return None
    rows = " UNION ALL ".join(
        f"""SELECT _key, query, {part << 56} + _row AS place, {"impressions" if t == "interactions" else "NULL"} AS shown,
        {_CLICKS if t == "interactions" else "NULL"} AS clicked, {t != "judgments"} AS logged FROM {validator.accepted(t)}"""
        for part, t in enumerate(present)
    )
    return f"""SELECT _key, trim(arg_min(query, place)) AS said, min(place) AS place, bool_or(logged) AS logged,
        coalesce(nullif(sum(shown), 0), nullif(sum(clicked), 0), 1.0) AS counted FROM ({rows}) GROUP BY _key"""


def _queries(validator: Validator) -> str | None:
    mentions = _mentions(validator)
    source = "CASE WHEN logged THEN 'log' ELSE 'judged' END"
    if "queries" in validator.raw:
        mentions = (
            mentions or "SELECT NULL::VARCHAR AS _key, NULL::DOUBLE AS counted, NULL::BOOLEAN AS logged WHERE false"
        )
        columns = _columns(
            "queries", frequency="coalesce(frequency, counted, 1.0)", source=source.replace("logged", "coalesce(logged, true)")
        )  # fmt: skip
        return f"""SELECT {columns} FROM {validator.accepted("queries")} q
            LEFT JOIN (SELECT _key, counted, logged FROM ({mentions})) m ON m._key = q.query_id ORDER BY q._row"""
    absent = {"kind": "NULL::VARCHAR", "image_space_embedding": "NULL::FLOAT[]", "text_embedding": "NULL::FLOAT[]"}
    columns = _columns("queries", query_id="_key", text="said", frequency="counted", source=source, **absent)
    return mentions and f"SELECT {columns} FROM ({mentions}) ORDER BY place"


def _raw_judgments(validator: Validator) -> str | None:
    if "judgments" not in validator.raw:
        return None
    columns = _columns("judgments_raw", query_id="_key", source="coalesce(source, 'unstated')")
    return f"SELECT {columns} FROM {validator.accepted('judgments')}"


def _judgments(validator: Validator) -> str | None:
    """One row a pair: the mean over its raters; the split is the query's."""
    if "judgments" not in validator.raw:
        return None
    return f"""
        SELECT _key AS query_id, item_id, avg(grade) AS grade, string_agg(DISTINCT said, '+' ORDER BY said) AS source,
            any_value(whole) AS split, count(*) AS n_raters
        FROM (SELECT *, coalesce(source, 'unstated') AS said, max(split) OVER (PARTITION BY _key) AS whole
            FROM {validator.accepted("judgments")})
        GROUP BY _key, item_id ORDER BY min(_row)"""
