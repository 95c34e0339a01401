"""Excel workbooks (.xlsx, ECMA-376) by openpyxl's read-only mode: one sheet, a record a row.

The sheet named like the file, or else like a file of the contract, is read; else the one with most rows. Its header is the
row with known names among the first, else the first with two texts: titles above it are passed over. Whole numbers lose their '.0' (a sheet knows only decimal
numbers, and ids must not gain one), dates become ISO, errors such as #N/A are missing, formulas are read as last computed.
"""

from __future__ import annotations

import datetime
import itertools
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import openpyxl

from engine.datasets.contract import COLUMNS
from engine.datasets.reading.dialect import HEADER_WITHIN
from engine.datasets.reading.names import known_names, stem_of
from engine.datasets.reading.raw import BadRow
from engine.datasets.reading.records import Record
from engine.errors import DataError

_OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # The container of .xls, and of encrypted .xlsx.
_ERRORS = {"#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!"}
_DAMAGE = (zipfile.BadZipFile, zlib.error, ParseError, EOFError, KeyError, ValueError, TypeError, AttributeError,
           IndexError, NotImplementedError, OSError)  # fmt: skip


def recognise(head: bytes) -> bool:
    """Whether a file begins as a workbook, one that can be read or one for which `records` says what to do."""
    zipped = head.startswith(b"PK\x03\x04")
    return head.startswith(_OLE2) or (zipped and (b"xl/" in head or b"opendocument.spreadsheet" in head))


def records(path: Path) -> Iterator[Record | BadRow]:
    """One record a row that is not empty; its place is the row's number.

    Raises DataError for what is no readable workbook, and for a sheet without a header or with a name twice in it.
    """
    with path.open("rb") as file:
        start = file.read(1 << 16)
        if start.startswith(_OLE2):
            if "EncryptedPackage".encode("utf-16-le") in start + file.read():
                raise DataError(f"{path.name} is protected by a password; save it without one, or as CSV")
            raise DataError(f"{path.name} is a workbook of the old kind (.xls); save it as .xlsx or CSV")
    if b"opendocument.spreadsheet" in start[:200]:
        raise DataError(f"{path.name} is an OpenDocument spreadsheet; save it as .xlsx or CSV")
    try:
        with path.open("rb") as file:  # By its name openpyxl would refuse a workbook that is called otherwise.
            yield from _rows(openpyxl.load_workbook(file, read_only=True, data_only=True), path)
    except _DAMAGE as error:
        said = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise DataError(
            f"{path.name} cannot be read as an Excel workbook ({said}); it may be cut short: copy it or save it again"
        ) from None


def _rows(book: Any, path: Path) -> Iterator[Record]:
    sheet = _sheet(book, path)
    header, names = _header(sheet, path)
    filled: set[str] = set()
    for number, row in _cells(sheet):
        if number > header:
            values = {name: value for name, value in zip(names, row, strict=False) if value is not None}
            values |= {f"column_{at}": v for at, v in enumerate(row[len(names) :], len(names) + 1) if v is not None}
            filled |= values.keys()
            yield Record(number, values)
    empty = [name for name in names if name not in filled]
    if filled and empty and (uncounted := _formulas(path, sheet.title, header, [names.index(name) for name in empty])):
        raise DataError(
            f"{path.name}: column '{names[uncounted[0]]}' of sheet '{sheet.title}' holds formulas whose values were never "
            f"computed; open the file in a spreadsheet program and save it"
        )


def _sheet(book: Any, path: Path) -> Any:
    shown = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"] or book.worksheets
    if not shown:
        raise DataError(f"{path.name} has no sheet with cells; it needs one with a header row, and rows")
    for sheet in shown:
        sheet.reset_dimensions()  # What other programs write there is often wrong, and rows would be lost.
    if len(shown) == 1:
        return shown[0]
    like_file = [sheet for sheet in shown if sheet.title.strip().casefold() == stem_of(path.name).casefold()]
    like_contract = [sheet for sheet in shown if sheet.title.strip().casefold() in COLUMNS]
    named = like_file or (like_contract if len(like_contract) == 1 else [])
    return named[0] if named else max(shown, key=lambda sheet: sum(1 for _ in _cells(sheet)))


def _cells(sheet: Any) -> Iterator[tuple[int, list[object]]]:
    """(1-based number, values) of the rows that are not empty."""
    for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
        values = [_plain(value) for value in row]
        if any(value is not None for value in values):
            yield number, values


def _plain(value: object) -> object:
    if isinstance(value, str):
        return None if not value.strip() or value in _ERRORS else value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _header(sheet: Any, path: Path) -> tuple[int, list[str]]:
    """(number, names) of the header: the row with known names, else the first with two texts, else the first one."""
    first = list(itertools.islice(_cells(sheet), HEADER_WITHIN))
    if not first:
        raise DataError(f"{path.name}: sheet '{sheet.title}' is empty; it needs a header row, and rows")

    def like_header(place: int) -> tuple[int, bool, int]:
        texts = [value for value in first[place][1] if isinstance(value, str)]
        return min(known_names(texts, None), 2), len(texts) > 1, -place

    number, row = first[max(range(len(first)), key=like_header)]
    names = ["" if value is None else str(value).strip() for value in row]
    while not names[-1]:
        names.pop()
    names = [name or f"column_{at}" for at, name in enumerate(names, start=1)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            f"{path.name}: sheet '{sheet.title}' names column '{twice}' more than once; rename or remove one"
        )
    return number, names


def _formulas(path: Path, title: str, header: int, places: list[int]) -> list[int]:
    """Those of `places` (0-based columns) that hold a formula below the header."""
    with path.open("rb") as file:
        sheet: Any = openpyxl.load_workbook(file, read_only=True)[title]
        sheet.reset_dimensions()
        for row in sheet.iter_rows(min_row=header + 1):
            if found := [at for at in places if at < len(row) and row[at].data_type == "f"]:
                return found
    return []
