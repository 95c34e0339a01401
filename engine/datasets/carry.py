"""Row for row from an adapter's CSV or TSV file to the contract's CSV: a row keeps its lines, damaged ones too."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from engine.datasets.contract import shown
from engine.errors import DataError

_SEPARATED_BY = {",": "commas", "\t": "tabs"}


class _Row(NamedTuple):
    values: list[str] | None
    """None where a quotation mark is not closed rightly."""
    lines: list[str]
    """The lines of the file that it takes, line ends included."""


def carry_rows(
    source: Path,
    target: Path,
    names: Mapping[str, str],
    *,
    delimiter: str,
    others: bool = False,
    spelling: Mapping[str, str] = {},
    convert: Mapping[str, Callable[[str], str]] = {},
    constant: Mapping[str, str] = {},
) -> None:
    """Writes `target` with the contract's column names (`names`: source -> contract) and values.

    `others` keeps columns that `names` lacks; `spelling` corrects names of the source. A row with too many values stays
    too long. One with too few, and one that runs over lines and does not fit the header, leaves each of its lines as a
    row that cannot be read: it is for validation to reject them, and to count every line that a quotation mark swallowed.
    Raises DataError where a column is lacking.
    """
    limit = csv.field_size_limit(sys.maxsize >> 32)
    try:
        with (
            source.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as read,
            target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as written,
        ):
            rows = _rows(read, delimiter)
            given = [name.strip() for name in next(rows, _Row([], [])).values or []]
            header = [spelling.get(name, name) for name in given]
            lacking = [name for name in names if name not in header]
            if lacking:
                between = delimiter.replace("\t", " ")
                raise DataError(
                    f"{source.name} lacks {', '.join(lacking)}; its header is {shown(between.join(given))}, "
                    f"expected is {between.join(names)} separated by {_SEPARATED_BY[delimiter]}"
                )
            kept = [place for place, name in enumerate(header) if others or name in names]
            change = {place: convert[header[place]] for place in kept if header[place] in convert}
            writer = csv.writer(written, lineterminator="\n")
            writer.writerow([*(names.get(header[place], header[place]) for place in kept), *constant])
            for values, lines in rows:
                if values is None or (len(values) != len(header) and (len(values) < len(header) or len(lines) > 1)):
                    # One value where the contract's header names several.
                    writer.writerows([text] if (text := line.rstrip("\r\n")) else [] for line in lines)
                else:
                    own = [change.get(place, str)(values[place]) for place in kept]
                    writer.writerow([*own, *constant.values(), *values[len(header) :]])
    finally:
        csv.field_size_limit(limit)


def _rows(lines: Iterable[str], delimiter: str) -> Iterator[_Row]:
    taken: list[str] = []

    def noted() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    # Strict, as the contract's own reader is: it says where a quotation mark goes wrong.
    reader = csv.reader(noted(), delimiter=delimiter, strict=True)
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error:
            values = None
        yield _Row(values, taken.copy())
        taken.clear()
