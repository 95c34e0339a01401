"""Row for row from an adapter's CSV or TSV file to the contract's CSV: a row keeps its lines, damaged ones too."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from engine.datasets.contract import shown
from engine.errors import DataError

_SEPARATED_BY = {",": "commas", "\t": "tabs"}


class _Row(NamedTuple):
    values: list[str] | None  # None where a quotation mark is not closed rightly.
    lines: list[str]  # The lines of the file that it takes, line ends included.


@dataclass(frozen=True, kw_only=True)
class Carried:
    """How a source's table becomes one of the contract."""

    names: Mapping[str, str]  # Column of the source -> column of the contract.
    delimiter: str
    others: bool = False  # Keep columns that `names` lacks.
    spelling: Mapping[str, str] = field(default_factory=dict)  # Corrects names of the source.
    convert: Mapping[str, Callable[[str], str]] = field(default_factory=dict)
    """Column of the source -> what becomes of its values."""
    constant: Mapping[str, str] = field(default_factory=dict)  # Columns of the contract that are the same in every row.

    def header(self, source: Path, given: list[str]) -> list[str]:
        """The names of a source's columns, spelt right. Raises DataError where one is lacking."""
        header = [self.spelling.get(name, name) for name in given]
        if lacking := [name for name in self.names if name not in header]:
            between = self.delimiter.replace("\t", " ")
            raise DataError(
                f"{source.name} lacks {', '.join(lacking)}; its header is {shown(between.join(given))}, "
                f"expected is {between.join(self.names)} separated by {_SEPARATED_BY[self.delimiter]}"
            )
        return header


def carry_rows(source: Path, target: Path, how: Carried) -> None:
    """Writes `target` with the contract's column names and values.

    A row with too many values stays too long. One with too few, and one that runs over lines and does not fit the
    header, leaves each of its lines as a row that cannot be read: it is for validation to reject them, and to count
    every line that a quotation mark swallowed. Raises DataError where a column is lacking.
    """
    limit = csv.field_size_limit(sys.maxsize >> 32)
    try:
        with (
            source.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as read,
            target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as written,
        ):
            rows = _rows(read, how.delimiter)
            header = how.header(source, [name.strip() for name in next(rows, _Row([], [])).values or []])
            kept = [place for place, name in enumerate(header) if how.others or name in how.names]
            change = {place: how.convert[header[place]] for place in kept if header[place] in how.convert}
            writer = csv.writer(written, lineterminator="\n")
            writer.writerow([*(how.names.get(header[place], header[place]) for place in kept), *how.constant])
            for values, lines in rows:
                if values is None or (len(values) != len(header) and (len(values) < len(header) or len(lines) > 1)):
                    # One value where the contract's header names several.
                    writer.writerows([text] if (text := line.rstrip("\r\n")) else [] for line in lines)
                else:
                    own = [change.get(place, str)(values[place]) for place in kept]
                    writer.writerow([*own, *how.constant.values(), *values[len(header) :]])
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
