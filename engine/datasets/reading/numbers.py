"""Numbers as people write them: one style a column, decided from all of its values; what may be a thousand is never read as one."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from engine.datasets.reading.decisions import listed, read_option
from engine.datasets.reading.raw import Asked

_CURRENCY = r"(?:US\$|CA\$|A\$|\p{Sc}|[A-Z]{3}|kr\.?|Kč|zł|Ft|lei|руб\.?|Rs\.?|Fr\.)"
_SPACE = r"[\s\x{00A0}\x{202F}\x{2009}'’]"
_WHOLE = rf"^\s*({_CURRENCY})?\s*([+-]?[0-9.,](?:[0-9.,]|{_SPACE}[0-9])*)\s*({_CURRENCY})?\s*$"
_SIGNS = {"€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "₩": "KRW", "₽": "RUB", "₺": "TRY", "zł": "PLN", "Kč": "CZK",
          "US$": "USD", "CA$": "CAD", "A$": "AUD"}  # fmt: skip
"""Signs that one currency has; '$' and 'kr' have many and stay as they are."""

_CLASSES = {
    "plain": r"^[+-]?\d{1,3}$",
    "long": r"^[+-]?\d{4,}$",  # No thousands are marked here.
    "point": r"^[+-]?(\d*\.(\d{1,2}|\d{4,})|0?\.\d+|0\.\d+|\d{4,}\.\d+|\d+\.|\d{1,3}(,\d{2,3})+\.\d*|\d{1,3}(,\d{3}){2,})$",
    "comma": r"^[+-]?(\d*,(\d{1,2}|\d{4,})|0?,\d+|0,\d+|\d{4,},\d+|\d{1,3}(\.\d{3})+,\d*|\d{1,3}(\.\d{3}){2,})$",
    "either point": r"^[+-]?[1-9]\d{0,2}\.\d{3}$",
    "either comma": r"^[+-]?[1-9]\d{0,2},\d{3}$",
}
"""What the digits of a value say of its style, currency and grouping spaces removed."""


class NumberReading(NamedTuple):
    """How a column of numbers is read."""

    sql: str  # DOUBLE, NULL where a value is none.
    currency: str | None = None  # SQL of the currency that the values name; None where none does.
    found: str | None = None  # For a decision; None where every value is a plain number.
    because: str = ""
    doubt: str | None = None  # Two readings are possible.


def read_numbers(asked: Asked, decimal: str | None, *, grouped: bool) -> NumberReading:
    """How the numbers of a column are read, with the decimal sign that is stated.

    `grouped`: thousands may be marked in it, as people do in prices and counts and machines do not in scores.
    """
    cell = asked.cell
    if cell.kind == "BOOLEAN":
        return NumberReading(f"CAST({cell.place} AS DOUBLE)")
    if cell.kind != "VARCHAR":
        return NumberReading(f"TRY_CAST({cell.place} AS DOUBLE)")
    plain = f"TRY_CAST({cell.place} AS DOUBLE)"
    if cell.exact:
        return NumberReading(plain)
    odd = f"({cell.place} IS NOT NULL AND {plain} IS NULL)"
    dotted = f"contains({cell.place}, '.')"  # Said first: it spares most values the pattern.
    maybe = (
        f"{dotted} AND regexp_full_match(trim({cell.place}), '{_CLASSES['either point'][1:-1]}')"
        if grouped
        else "false"
    )
    if decimal != "," and not asked.any(f"{odd} OR ({maybe})"):
        return NumberReading(plain)
    digits = f"regexp_extract({cell.place}, '{_quoted(_WHOLE)}', 2)"
    bare = f"regexp_replace({digits}, '{_quoted(_SPACE)}', '', 'g')"
    counts = ", ".join(f"count(*) FILTER (regexp_matches(v, '{p}'))" for p in _CLASSES.values())
    examples = ", ".join(f"min(v) FILTER (regexp_matches(v, '{p}'))" for p in list(_CLASSES.values())[2:])
    row = asked.connection.execute(
        f"SELECT {counts}, {examples} FROM (SELECT {bare} AS v FROM {asked.raw.name})"
    ).fetchone()
    assert row is not None
    point, comma, either_point, either_comma = row[2:6]
    style, why, doubt = decimal, "dataset.toml says so", None
    if decimal is None:
        style, why, doubt = _style(asked, row, grouped=grouped)
    pattern = {p: _CLASSES[p] for p in ("point", "comma")}
    as_point, as_comma = f"replace({bare}, ',', '')", f"replace(replace({bare}, '.', ''), ',', '.')"
    by_value = f"WHEN regexp_matches({bare}, '{pattern['comma']}') THEN {as_comma} ELSE {as_point}"
    if decimal == "," or (style == "," and (either_point or either_comma)):
        by_value = f"WHEN regexp_matches({bare}, '{pattern['point']}') THEN {as_point} ELSE {as_comma}"
    # Each value that can be read one way only is read so; the style of the column decides the others.
    sound = " OR ".join(f"regexp_matches({bare}, '{p}')" for p in _CLASSES.values())
    sql = f"coalesce(CASE WHEN {sound} THEN TRY_CAST((CASE {by_value} END) AS DOUBLE) END, {plain})"
    signs = [f"regexp_extract({cell.place}, '{_quoted(_WHOLE)}', {group})" for group in (1, 3)]
    sign = f"nullif({signs[0]} || {signs[1]}, '')"
    named = asked.any(f"{sign} IS NOT NULL")
    cases = " ".join(f"WHEN '{a}' THEN '{b}'" for a, b in _SIGNS.items())
    said = [
        {".": "decimal point", ",": "decimal comma", None: "numbers"}[style]
        if not (point and comma) else f"{point:,} values with a decimal point, {comma:,} with a decimal comma",
        "the currency beside them" if named else "",
    ]  # fmt: skip
    marked = asked.any(f"{odd} AND ({sound})")
    if not (either_point or either_comma or named or marked):
        return NumberReading(plain)
    return NumberReading(
        sql, f"(CASE {sign} {cases} ELSE {sign} END)" if named else None, ", ".join(p for p in said if p), why, doubt
    )


def _style(asked: Asked, row: tuple[Any, ...], *, grouped: bool) -> tuple[str | None, str, str | None]:
    """(decimal sign, why, doubt) from how many values are of each class."""
    _, long, point, comma, either_point, either_comma, *shown = row
    certain = f"values like {listed([v for v in shown[:2] if v])} can be read one way only" if point or comma else ""
    if not (either_point or either_comma):
        return ("," if comma > point else "." if point else None), certain or "no value has a decimal sign", None
    if point and not comma:
        return ".", certain, None
    if comma and not point:
        return ",", certain, None
    if not comma and either_point and not either_comma and (long or not grouped):
        return ".", f"{long:,} values of four digits and more mark no thousands", None
    value = next(v for v in shown[2:] if v)
    whole, broken = value.replace(".", "").replace(",", ""), value.replace(",", ".")
    sign = "," if "." in value else "."
    other = "." if sign == "," else ","
    doubt = (
        f"{asked.raw.file}: '{asked.name}' holds values like '{value}', which may be {whole} or {broken}; write "
        f"{read_option(asked.table, 'decimal', json.dumps(sign))} for {whole}, "
        f'or decimal = "{other}" for {broken}'
    )
    return ".", "", doubt


def _quoted(pattern: str) -> str:
    return pattern.replace("'", "''")
