"""Dates as programs write them: ISO 8601, seconds since 1970, day or month first; one order a column."""

from __future__ import annotations

from typing import NamedTuple

from engine.datasets.reading.decisions import read_option
from engine.datasets.reading.raw import Asked

MISSING = ("0000-00-00", "0000-00-00 00:00:00")
"""What MySQL writes where there is no date."""
_TIMES = ("", " %H:%M", " %H:%M:%S", "T%H:%M:%S", ", %H:%M", ", %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_WORDS = ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%y", "%d-%b-%Y", "%Y%m%d", "%Y.%m.%d",
          "%a, %d %b %Y %H:%M:%S", "%a %b %d %H:%M:%S %Y")  # fmt: skip
# Two digits of a year before four: '%Y' takes 97 for the year 97.
_PARTS = r"^(\d{1,2})([./-])(\d{1,2})[./-](\d{2,4})"
_EPOCH = {r"^\d{9,10}(\.\d+)?$": 1e6, r"^\d{12,13}(\.\d+)?$": 1e3, r"^\d{15,16}$": 1.0, r"^\d{18,19}$": 1e-3}
"""Digits since 1970 -> microseconds of one: seconds, milliseconds, microseconds, nanoseconds."""


class DateReading(NamedTuple):
    """How a column of dates is read."""

    sql: str  # TIMESTAMP in UTC, NULL where a value is none.
    found: str | None = None
    because: str = ""
    doubt: str | None = None


def read_dates(asked: Asked, day_first: bool | None) -> DateReading:
    """How the dates of a column are read, with the order that is stated."""
    cell = asked.cell
    if cell.kind == "DATE" or (cell.kind.startswith("TIMESTAMP") and "ZONE" not in cell.kind):
        return DateReading(f"TRY_CAST({cell.place} AS TIMESTAMP)")
    text = cell.place if cell.kind == "VARCHAR" else f"CAST({cell.place} AS VARCHAR)"
    # Through TIMESTAMPTZ, because a plain cast drops a stated offset from UTC; '+0000' after a space is no offset to it.
    zoned = f"regexp_replace(trim({text}), '\\s+([+-]\\d{{2}}):?(\\d{{2}})$', '\\1:\\2')"
    # A date alone has no room for an offset. Microseconds spare the calendar that a cast of the zoned time consults.
    # '28/02/08' begins with no year, though a cast would take it for a day of the year 28.
    iso = f"""CASE WHEN {text}[2] IN ('/', '-') OR {text}[3] IN ('/', '-') THEN NULL WHEN strlen({text}) <= 10 THEN TRY_CAST({text} AS TIMESTAMP)
        ELSE try(make_timestamp(epoch_us(TRY_CAST({text} AS TIMESTAMPTZ)))) END"""
    odd = f"{text} IS NOT NULL AND {iso} IS NULL"
    if not asked.any(odd):
        return DateReading(iso)
    row = asked.connection.execute(
        f"""SELECT count(*), max(v) FILTER (p[1] <> ''), max(TRY_CAST(p[1] AS INT)), max(TRY_CAST(p[3] AS INT)), bool_or(p[2] = '.'),
        count(*) FILTER ({" OR ".join(f"regexp_matches(v, '{e}')" for e in _EPOCH)}), count(*) FILTER (v IN {MISSING})
        FROM (SELECT v, [{", ".join(f"regexp_extract(v, '{_PARTS}', {group})" for group in (1, 2, 3))}] AS p FROM (SELECT DISTINCT {text} AS v FROM {asked.raw.name} WHERE {odd}))"""
    ).fetchone()
    assert row is not None
    _, example, first, second, dotted, n_epoch, n_missing = row
    why, doubt = "", None
    if example is None:
        order = None
    elif day_first is not None:
        order, why = day_first, "dataset.toml says so"
    elif first > 12 and second > 12:
        order, doubt = None, _doubt(asked, example, "both day and month are above 12 in some")
    elif first > 12 or dotted:
        order, why = True, "the first number goes beyond 12" if first > 12 else "dates with points begin with the day"
    elif second > 12:
        order, why = False, "the second number goes beyond 12"
    else:
        order, doubt = True, _doubt(asked, example, "no number in them goes beyond 12")
    formats = list(_WORDS)
    if order is not None:
        day = "%d{0}%m{0}" if order else "%m{0}%d{0}"
        formats = [
            day.format(s) + y + t for s in "/.-" for y in ("%y", "%Y") for t in _TIMES
        ] + formats  # fmt: skip
    epochs = " ".join(
        f"WHEN regexp_matches({text}, '{e}') THEN make_timestamp(CAST(TRY_CAST({text} AS DOUBLE) * {unit!r} AS BIGINT))"
        for e, unit in _EPOCH.items()
    )
    bare = f"regexp_replace(trim({text}), '\\s*(GMT|UTC|Z|[+-]00:?00)$', '')"
    listed = "[" + ", ".join(f"'{f}'" for f in formats) + "]"
    sql = (
        f"CASE WHEN {text} IS NULL OR {text} IN {MISSING} THEN NULL {epochs} ELSE coalesce({iso}, "
        f"try_strptime({bare}, {listed}), CAST(TRY_CAST({zoned} AS TIMESTAMPTZ) AS TIMESTAMP)) END"
    )
    parts = [
        {True: "day first", False: "month first", None: ""}[order],
        "counted from 1970 (UTC)" if n_epoch else "",
        f"{', '.join(MISSING[:1])} is missing" if n_missing else "",
    ]
    return DateReading(sql, ", ".join(p for p in parts if p) or None, why or "they are of that form", doubt)


def _doubt(asked: Asked, example: str, why: str) -> str:
    return (
        f"{asked.raw.file}: '{asked.name}' holds dates like '{example}', which may begin with the day or the month ({why}); write "
        f"{read_option(asked.table, 'day_first', 'true')} or day_first = false"
    )
