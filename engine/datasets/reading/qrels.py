"""TREC qrels: `query-id iteration item-id grade`, one judgment a line, without a header (trec.nist.gov/data/qrels_eng).

The second column is a remnant (0, or Q0). Grades below 0 (spam, -1 or -2) are kept. The first column is an id, never text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from engine.datasets.reading.lines import NOT_UTF8, bad_row, is_text, number, numbered_lines, whole_lines
from engine.datasets.reading.raw import BadRow
from engine.datasets.reading.records import Record

_ITERATION = re.compile(r"[Qq]?\d")
SOUND = 0.8
"""Share of the first lines that must be judgments: one that is damaged does not make a file another."""
_GRADE = re.compile(r"[+-]?\d+(\.\d+)?")


def _fields(line: str) -> list[str]:
    """The values of a line; where tabs separate them, an item id may hold spaces."""
    by_tab = [value.strip() for value in line.strip().split("\t")]
    return by_tab if len(by_tab) == 4 else line.split()


def recognise(head: str) -> bool:
    """Whether four lines in five have four values, the second the same small number throughout and the fourth a number."""
    every = [_fields(line) for line in whole_lines(head)]
    rows = [row for row in every if len(row) == 4 and _GRADE.fullmatch(row[3])]
    return (
        bool(rows)
        and len(rows) >= SOUND * len(every)
        and len({row[1] for row in rows}) == 1
        and bool(_ITERATION.fullmatch(rows[0][1]))
    )


def records(path: Path) -> Iterator[Record | BadRow]:
    """One record a line: query_id, item_id, grade."""
    for place, line in numbered_lines(path):
        row = _fields(line)
        if not is_text(line):
            yield bad_row(place, NOT_UTF8, line)
        elif len(row) != 4:
            why = f"it has {len(row)} values where a TREC qrels line has four: query id, 0, item id, grade"
            yield bad_row(place, why, line)
        elif (grade := number(row[3])) is None:
            yield bad_row(place, "its fourth value, the grade, is not a number", line)
        else:
            yield Record(place, {"query_id": row[0], "item_id": row[2], "grade": grade})
