"""From accepted rows to the tables of a catalogue: queries found or derived, raters averaged, sources named."""

from __future__ import annotations

import pyarrow as pa

from engine.datasets.contract import TABLES
from engine.datasets.validation import Validator


def assemble(validator: Validator) -> dict[str, pa.Table]:
    """The tables of `contract.TABLES`, without synthetic queries. Rows keep the order of the input."""
    # One thread: sums and means of floats must not depend on who adds first.
    validator.connection.execute("SET threads = 1")
    present = set(validator.raw)
    return {
        "items": _table(validator, "items", f"SELECT * FROM {validator.accepted('items')} ORDER BY _row"),
        "queries": _table(validator, "queries", _queries(validator)),
        "interactions": _table(
            validator, "interactions", _interactions(validator) if "interactions" in present else None
        ),
        "judgments": _table(validator, "judgments", _judgments(validator) if "judgments" in present else None),
        "judgments_raw": _table(
            validator, "judgments_raw", _raw_judgments(validator) if "judgments" in present else None
        ),
    }


def _table(validator: Validator, name: str, sql: str | None) -> pa.Table:
    schema = TABLES[name]
    if sql is None:
        return schema.empty_table()
    found = validator.connection.execute(sql).to_arrow_table()
    return found.select(schema.names).cast(schema)


def _queries(validator: Validator) -> str | None:
    present: list[str] = [t for t in ("interactions", "judgments") if t in validator.raw]
    # Only where nothing else names a query do those of an audit become the catalogue's.
    present = present or [t for t in ("beams", "scores") if t in validator.raw]
    if "queries" in validator.raw:
        base = f"SELECT *, _row AS place FROM {validator.accepted('queries')}"
    elif present:
        # Derived: each query where it first occurs, the log before the judgments.
        mentions = " UNION ALL ".join(
            f"SELECT _key, query, {part} AS part, _row FROM {validator.accepted(t)}" for part, t in enumerate(present)
        )
        base = f"""SELECT _key AS query_id, trim(arg_min(query, (part, _row))) AS text, NULL::DOUBLE AS frequency, NULL::VARCHAR AS kind,
            NULL::FLOAT[] AS image_space_embedding, NULL::FLOAT[] AS text_embedding, min((part, _row)) AS place FROM ({mentions}) GROUP BY _key"""
    else:
        return None
    log = "SELECT NULL::VARCHAR AS _key, NULL::DOUBLE AS shown, NULL::DOUBLE AS clicked WHERE false"
    if "interactions" in present:
        log = (
            f"SELECT _key, sum(impressions) AS shown, sum(clicks) AS clicked FROM ({_clicked(validator)}) GROUP BY _key"
        )
    judged = "SELECT NULL::VARCHAR AS _key WHERE false"
    if "judgments" in present:
        judged = f"SELECT DISTINCT _key FROM {validator.accepted('judgments')}"
    return f"""
        SELECT q.query_id, q.text, coalesce(q.frequency, nullif(l.shown, 0), nullif(l.clicked, 0), 1.0) AS frequency,
            CASE WHEN l._key IS NULL AND j._key IS NOT NULL THEN 'judged' ELSE 'log' END AS source,
            q.kind, q.image_space_embedding, q.text_embedding
        FROM ({base}) q LEFT JOIN ({log}) l ON l._key = q.query_id LEFT JOIN ({judged}) j ON j._key = q.query_id
        ORDER BY q.place"""


def _clicked(validator: Validator) -> str:
    """The log; a row that states no count at all is one click."""
    return f"""SELECT * REPLACE (CASE WHEN impressions IS NULL AND clicks IS NULL AND purchases IS NULL THEN 1.0
        ELSE clicks END AS clicks) FROM {validator.accepted("interactions")}"""


def _interactions(validator: Validator) -> str:
    return f"SELECT * REPLACE (_key AS query_id), 'log' AS source FROM ({_clicked(validator)}) ORDER BY _row"


def _raw_judgments(validator: Validator) -> str:
    return f"""SELECT * REPLACE (_key AS query_id, coalesce(source, 'unstated') AS source)
        FROM {validator.accepted("judgments")} ORDER BY _row"""


def _judgments(validator: Validator) -> str:
    """One row a pair: the mean over its raters; the split is the query's."""
    return f"""
        SELECT query_id, item_id, avg(grade) AS grade, string_agg(DISTINCT source, '+' ORDER BY source) AS source,
            any_value(whole) AS split, count(*) AS n_raters
        FROM (SELECT *, max(split) OVER (PARTITION BY query_id) AS whole FROM ({_raw_judgments(validator)}))
        GROUP BY query_id, item_id ORDER BY min(_row)"""
