"""Files that hold the SIDs of items, in whatever shape their system wrote them; told by what is in them.

| shape | written by |
|---|---|
| `{"0": ["<a_1>", "<b_7>"], ...}`, also with texts, lists of numbers, or a bare list (its places are the ids) | LC-Rec, LETTER, MiniOneRec, MIMIGenRec, OneRec, OneSearch |
| `{"<a_1><b_7>": ["0", "5"], ...}`: SIDs first, with the item or items of each | maps `sid2item` |
| `{"item_to_sid": {...}, "codes": [...]}`: one of the above inside; items may name rows of `codes` | TorchEasyRec |
| `[{"item_id": ..., "sid": ...}, ...]`, `{"0": {"sid": ...}}`, columns with lists, JSON lines, CSV, TSV, Parquet | GRID, TIGER, SIDscope |
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from engine.datasets.contract import SID_NAMES
from engine.datasets.sid_columns import ITEM_NAMES, SidColumns, folded, item_columns, joined, sid_columns
from engine.datasets.sid_text import BadSid, parse_sid
from engine.errors import DataError

JSON, LINES, TABLES = (".json",), (".jsonl", ".ndjson"), (".csv", ".tsv", ".parquet")
SUFFIXES = (*JSON, *LINES, *TABLES)
SAMPLE = 2_000
"""SIDs of a file that are looked at to tell what it holds."""
MOST = 0.9
"""Share of them that must be SIDs, of one length or one more."""

_BUNDLED = ("item_to_sid", "item2sid", "id2sid", "id_to_sid", "item_to_semantic_id", "item2semantic_id", "item_sids",
            "sids", "sid", "semantic_ids", "index", "indices", "mapping", "codes", "sid_to_item", "sid2item",
            "sid_to_items", "sid2items")  # fmt: skip
"""Keys under which a bundle keeps its SIDs, likelier ones first."""


class SidFile(NamedTuple):
    """The SIDs of a file in its own order, and what it says of the items beside them."""

    path: Path
    sids: list[tuple[str, object]]  # (item id, SID as written); an id may come twice.
    features: dict[str, dict[str, object]]  # By item id; empty where the file says nothing else.
    inverted: bool = False  # Whether it goes from SIDs to items.
    header: bool = False  # Whether its rows begin on line 2.


def suffix(path: Path) -> str:
    """The format: `.csv` for `sids.CSV.gz`."""
    return Path(path.name.casefold().removesuffix(".gz")).suffix


def read_sids(path: Path, *, named: bool) -> SidFile | None:
    """The SIDs of a file; None where it holds none. A file `named` as an index holds what it holds: bad SIDs of it are
    rejected row by row, where those of another file would only show that it is something else.

    Raises DataError for a damaged file, and for one named as an index that cannot be one.
    """
    if suffix(path) in JSON:
        content = load_json(path)
        if named and (not content or not isinstance(content, dict | list)):
            raise DataError(f'{path.name} holds no JSON object of items; it should be like {{"0": ["<a_1>", "<b_7>"]}}')
        return _shape(path, content, named=named)
    if _places(column_names(path), path.name) is None:
        return None  # before all of a large table is read
    return _table(path, records(path), header=suffix(path) in (".csv", ".tsv"))


def load_json(path: Path) -> Any:
    """The content of a JSON file; a key that is given twice is an error: of two SIDs of an item none is the right one."""
    try:
        return json.loads(_bytes(path), object_pairs_hook=lambda pairs: _once(path, pairs))
    except json.JSONDecodeError as error:
        raise DataError(f"{path.name}:{error.lineno} is not JSON: {error.msg} at character {error.colno}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets thousands deep
        raise DataError(f"{path.name} cannot be read as JSON: {error}") from None


def records(path: Path) -> list[dict[str, object]]:
    """The rows of a table or of JSON lines; those that are no objects are left out. Raises DataError where it is damaged."""
    if suffix(path) == ".parquet":
        try:
            return pq.read_table(path).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path.name} cannot be read as Parquet ({str(error)[:120]}); write it again") from None
    try:
        text = _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    if suffix(path) in LINES:
        try:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise DataError(f"{path.name} is not JSON lines: {error}") from None
        return [row for row in rows if isinstance(row, dict)]
    try:
        return [
            {name: value for name, value in row.items() if isinstance(name, str)}
            for row in csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(text.split("\n", 1)[0]))
        ]
    except csv.Error as error:
        raise DataError(f"{path.name} cannot be read as a table: {error}") from None


def _delimiter(header: str) -> str:
    return max("\t,;|", key=header.count)


def column_names(path: Path) -> list[str]:
    """The columns of a table, from its first line alone. Raises DataError for a Parquet file that is damaged."""
    if suffix(path) == ".parquet":
        try:
            return pq.read_schema(path).names
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path.name} cannot be read as Parquet ({str(error)[:120]}); write it again") from None
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as file:
            first = file.readline(1 << 20).decode("utf-8-sig", "replace").strip("\r\n")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} cannot be read: {error}") from None
    if suffix(path) not in LINES:
        try:
            return next(csv.reader([first.partition("\r")[0]], delimiter=_delimiter(first)), [])
        except csv.Error:  # a value beyond the reader's limit, which is no name
            return []
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        return []
    return list(row) if isinstance(row, dict) else []


def by_id(content: object) -> dict[str, object]:
    """What is said of items, by their ids: an object as it is, records by their column of ids, else by their places."""
    if isinstance(content, dict):
        return content
    if not isinstance(content, list):
        return {}
    rows = [row for row in content if isinstance(row, dict)]
    names = item_columns(dict.fromkeys(name for row in rows[:SAMPLE] for name in row))
    if rows and names:
        return {name: row for row in rows if (name := item_id(row.get(names[0])))}
    return {str(place): value for place, value in enumerate(content)}


def item_id(value: object) -> str:
    """An id as text: 7.0 of a column with gaps is 7."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _bytes(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} cannot be read: {error}") from None


def _once(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise DataError(f"{path.name} gives '{twice[:60]}' twice; keep one")
    return found


# ---------------------------------------------------------------- shapes of JSON


def _shape(path: Path, content: object, *, named: bool) -> SidFile | None:
    if isinstance(content, list):
        if content and all(isinstance(row, dict) for row in content):
            return _table(path, content)
        content = {str(place): value for place, value in enumerate(content)}
    if not isinstance(content, dict) or not content:
        return None
    if all(isinstance(value, dict) for value in content.values()):
        rows = [{"item_id": name, **value} for name, value in content.items()]
        if found := _table(path, rows):
            return found
    if columns := _columns(content):
        return _table(path, columns)
    if any(name in content for name in _BUNDLED):
        return _bundle(path, content, named=named)
    if not all(isinstance(value, str | int | float | list) for value in content.values()):
        return None
    if _inverted(content):
        ids = ((each, sid) for sid, held in content.items() for each in (held if isinstance(held, list) else [held]))
        return SidFile(path, [(item_id(each), sid) for each, sid in ids], {}, inverted=True)
    if named or are_sids(content.values()):
        return SidFile(path, list(content.items()), {})
    return None


def _bundle(path: Path, content: dict[str, Any], *, named: bool) -> SidFile | None:
    """SIDs under a key of a bundle, in `codes` beside the ids, or in rows of `codes` that the items name."""
    codes = content.get("codes")
    for key in _BUNDLED:
        found = content.get(key)
        if isinstance(found, list) and found:
            ids = next((v for name, v in content.items() if folded(name) in ITEM_NAMES and isinstance(v, list)), None)
            if ids is not None and len(ids) == len(found):
                return SidFile(path, [(item_id(each), sid) for each, sid in zip(ids, found, strict=True)], {})
        if isinstance(found, dict) and isinstance(codes, list | dict) and found is not codes:
            rows = {name: _row_of(codes, value) for name, value in found.items()}
            if rows and None not in rows.values():
                return SidFile(path, list(rows.items()), {})
        if isinstance(found, dict | list) and (read := _shape(path, found, named=named and key != "codes")):
            return read
    return None


def _row_of(codes: list[Any] | dict[str, Any], place: object) -> object:
    """The row of `codes` that `place` names; None where it names none."""
    if isinstance(codes, dict):
        return codes.get(str(place))
    if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < len(codes):
        return None
    return codes[place]


def _columns(content: Mapping[str, Any]) -> list[dict[str, object]] | None:
    """The rows of a table that is written column by column, as lists or as objects with the same keys."""
    if not any(folded(name) in ITEM_NAMES for name in content):
        return None
    columns = list(content.values())
    if all(isinstance(column, dict) for column in columns) and len({tuple(column) for column in columns}) == 1:
        columns = [list(column.values()) for column in columns]
    if not all(isinstance(column, list) for column in columns) or len({len(column) for column in columns}) != 1:
        return None
    return [dict(zip(content, row, strict=True)) for row in zip(*columns, strict=True)]


def _inverted(content: Mapping[str, Any]) -> bool:
    """Whether the keys are SIDs and the values items. A key like `1-2-3` may be an id too: then the values decide."""
    keys, values = list(content)[:SAMPLE], list(content.values())[:SAMPLE]
    if not are_sids(keys):
        return False
    if all(key[:1] in "<[(" for key in keys):
        return True
    lists = [value for value in values if isinstance(value, list)]
    if len(lists) == len(values):
        return not are_sids(values)
    return not lists and not are_sids(values)


def are_sids(values: Iterable[object]) -> bool:
    """Whether values are SIDs of two levels and more, of one length or, with a suffix, one more."""
    lengths: Counter[int] = Counter()
    n = 0
    for n, value in enumerate(values, start=1):
        if n > SAMPLE:
            break
        try:
            lengths[len(parse_sid(as_text(value)))] += 1
        except BadSid:
            continue
    usual = max((length for length in lengths if length > 1), key=lambda k: lengths[k] + lengths[k + 1], default=0)
    return bool(usual) and lengths[usual] + lengths[usual + 1] >= MOST * min(n, SAMPLE)


def as_text(value: object) -> str:
    """A SID as a text: lists in JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


# ---------------------------------------------------------------- tables


def _places(names: Sequence[str], label: str) -> SidColumns | None:
    """Where a table has its SIDs; one without ids has them in the order of the items."""
    return sid_columns(names, label) or (None if "item_id" in names else sid_columns(["item_id", *names], label))


def _table(path: Path, rows: Sequence[Mapping[str, Any]], *, header: bool = False) -> SidFile | None:
    names = list(dict.fromkeys(name for row in rows[:SAMPLE] for name in row))
    places = _places(names, path.name)
    if places is not None and places.item not in names:
        rows = [{places.item: str(place), **row} for place, row in enumerate(rows)]
    if places is None:
        return None
    item, codes = places
    sids: list[tuple[str, object]] = [
        (item_id(row.get(item)), row.get(codes[0]) if len(codes) == 1 else joined([row.get(name) for name in codes]))
        for row in rows
    ]
    if not (are_sids(sid for _, sid in sids) or (len(codes) == 1 and folded(codes[0]) in ("sid", *SID_NAMES))):
        return None
    others = [
        name for name in names if name not in (item, *codes) and not re.fullmatch(r"unnamed:?_?\d+|", folded(name))
    ]
    features = (
        {name: {o: row.get(o) for o in others} for (name, _), row in zip(sids, rows, strict=True)} if others else {}
    )
    return SidFile(path, sids, features, header=header)
