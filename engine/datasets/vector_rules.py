"""The rules of `text_embedding`: vectors of the data's own encoder, which stand in for ours wholly or not at all.

A broken one is an error, not a rejected row: a row is whole without its vector, but a catalogue is not.
"""

from __future__ import annotations

from engine.datasets.contract import LENGTHS, MAX_EMBEDDING, shown
from engine.datasets.reading.raw import RawTable
from engine.datasets.validation import Validator, given_values
from engine.errors import DataError

NAME = "text_embedding"
USUAL_LENGTHS = (0.99, 1.01)
_NORM = f"sqrt(list_inner_product(t.{NAME}::DOUBLE[], t.{NAME}::DOUBLE[]))"
_REMEDY = {
    "items": "give every item one, or leave the column out: titles are then encoded here",
    "queries": "mend them, or leave them empty: such queries are encoded with encoder.model, of the same space",
}


def check_vectors(validator: Validator) -> None:
    """Raises DataError for vectors that are unreadable, unequally long, without direction or, of items, lacking."""
    items = validator.raw["items"]
    queries = validator.raw.get("queries")
    width = check_width(validator, "items", items, None)
    of_queries = None if queries is None else check_width(validator, "queries", queries, width)
    if queries is not None and of_queries and not width:
        raise DataError(
            f"{queries.file} gives {NAME}, {items.file} does not; vectors of queries mean something beside those of the "
            "items alone: give both, or leave the column out"
        )
    if width:
        lacking = "queries have none"
        if queries is not None:
            n = _rows(validator, "queries", f"{NAME} IS NULL")
            lacking = f"{n:,} rows of {queries.file} have none" if n else ""
        if lacking:
            validator.warnings.append(
                f"{items.file} gives {NAME} ({width} numbers), but {lacking}: they are encoded with encoder.model, which "
                "must be of that same space; or give theirs in the queries file"
            )


def check_width(validator: Validator, table: str, raw: RawTable, wanted: int | None) -> int | None:
    """The width that all vectors of a file have (`wanted`, where the items' is known); None where it gives none.

    Raises DataError for vectors that are unreadable, unequally long, without direction or, of items, lacking.
    """
    if NAME not in raw.columns:
        return None
    rows, given = f"{validator.accepted(table)} t JOIN {raw.name} ON {raw.name}.rowid = t._row", given_values(NAME, raw)
    if not validator.one(f"SELECT count(*) FROM {rows} WHERE {given}"):
        return None
    usual = wanted or validator.usual_length(NAME, rows) or 0
    where = "items.text_embedding has" if wanted else "most have"
    why = f"""CASE WHEN NOT {given} THEN {"'every item needs one where any has one'" if table == "items" else "NULL"}
        WHEN {validator.unreadable(f"t.{NAME}")} THEN 'write it as [0.1, 0.2, ...], finite numbers only'
        WHEN len(t.{NAME}) > {MAX_EMBEDDING} THEN 'at most {MAX_EMBEDDING:,} numbers'
        WHEN len(t.{NAME}) <> {usual} THEN 'it has ' || len(t.{NAME}) || ' numbers where {where} {usual}'
        WHEN {_NORM} NOT BETWEEN {LENGTHS[0]!r} AND {LENGTHS[1]!r} THEN 'its length is ' || {_NORM} || ', so it has no direction'
        END"""
    first = validator.connection.execute(
        f"""SELECT _row, value, why, count(*) OVER () FROM (SELECT t._row, {why} AS why,
        left(CAST({raw.columns[NAME].given} AS VARCHAR), 200) AS value FROM {rows}) WHERE why IS NOT NULL ORDER BY _row LIMIT 1"""
    ).fetchone()
    if first is not None:
        row, value, reason, n = first
        raise DataError(
            f"{raw.file}: {n:,} of {_rows(validator, table):,} rows have no usable {NAME}, the first {raw.file}:"
            f"{raw.lines[row]} {shown(value) if value else '(missing)'} -> {reason}; {_REMEDY[table]}"
        )
    low, high = (validator.one(f"SELECT {pick}({_NORM}) FROM {rows}") for pick in ("min", "max"))
    if low < USUAL_LENGTHS[0] or high > USUAL_LENGTHS[1]:
        validator.warnings.append(
            f"{raw.file}: {NAME} has lengths from {low:.3g} to {high:.3g}; kept as given, brought to 1 where it is used"
        )
    return usual


def _rows(validator: Validator, table: str, where: str = "true") -> int:
    return int(validator.one(f"SELECT count(*) FROM {validator.accepted(table)} WHERE {where}"))
