"""JSON in the shapes that people hold -> one record an object.

- JSON Lines / NDJSON; objects one behind the other; an array of objects; one object that is the record;
- an object around one list of them ({"products": [...]}, {"data": {"products": {"edges": [{"node": ...}]}}});
- objects by their id, {"B01": {...}}: the id becomes `item_id`;
- Elasticsearch and OpenSearch: search responses ({"hits": {"hits": [{"_id", "_source"}]}}), dumps of hits a line
  (elasticdump), bulk requests (an action line, {"index": {"_id": ...}}, before each document); `_source` is unwrapped and
  `_id` becomes `item_id` unless the document has its own, or tells of a query and not of an item;
- Algolia's browse export: `objectID`, and of `hierarchicalCategories` ({"lvl0": "A", "lvl1": "A > B"}) the deepest path;
- columns by name, as pandas writes them ({"item_id": {"0": "a"}} or {"item_id": ["a"]}): read whole, unlike the others;
- Shopify's products.json: a record a product, with its first variant's price and SKU and the number of its variants.

NaN and Infinity, which JSON does not know, mean missing. Of equal names in an object the last counts. Files are read as a
stream, a window of about 1 MB at a time: a library would do (ijson), but refuses NaN, and cannot give a bad record whole.
One object is walked twice, first for where its records lie.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from engine.datasets.reading.lines import NOT_UTF8, bad_row, is_text, numbered_lines
from engine.datasets.reading.raw import BadRow
from engine.datasets.reading.records import Record
from engine.errors import DataError

CONTAINERS = frozenset({
    "products", "items", "hits", "docs", "documents", "records", "results", "rows", "data", "response", "entries",
    "objects", "nodes", "edges", "catalog", "catalogue", "queries", "judgments", "interactions", "events", "sids", "beams",
    "scores",
})  # fmt: skip
"""Names under which programs put their list of records."""

_RECORD_NAMES = {"item_id", "objectID", "title", "query", "query_id", "grade", "sku", "docid"}
_OF_QUERIES = {"query", "query_id", "user_query", "action_name", "grade"}
_WINDOW = 1 << 20  # Characters.
_LONGEST_LINE = 1 << 24  # Bytes of a first line that is looked at whole.
_NO_DOCUMENT = "no document follows this action of a bulk request"
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)


class _Value(NamedTuple):
    """One value of a file, before it is known to be a record."""

    place: int
    value: object
    text: str  # As it is written.


def recognise(head: str) -> bool:
    """Whether a file begins as a JSON object, or as an array of values."""
    return re.match(r'\ufeff?\s*(\{\s*(["}]|$)|\[\s*([\[{"\]\d-]|$))', head) is not None


def first_names(path: Path) -> list[str]:
    """Names of the first records' values."""
    first = itertools.islice((r for r in records(path) if isinstance(r, Record)), 50)
    return list(dict.fromkeys(name for record in first for name in record.values))


def records(path: Path) -> Iterator[Record | BadRow]:
    """One record an object; a place is a line (of lines) or the number of the record (in a list).

    Raises DataError where the file is damaged so that what follows cannot be divided into records, or where it holds
    several lists that may be the records.
    """
    action: _Value | None = None  # Of a bulk request, whose document comes next.
    for found in _values(path):
        if isinstance(found, BadRow):
            yield found
            continue
        row = found.value
        why = _wrong(found)
        if why or not isinstance(row, dict):
            yield bad_row(found.place, why, found.text)
            continue
        if _is_action(row):
            if action is not None:
                yield bad_row(action.place, _NO_DOCUMENT, action.text)
            action = None if "delete" in row else found
            if action is None:
                yield bad_row(found.place, "it deletes a document, which is no record", found.text)
            continue
        if action is not None and isinstance(action.value, dict):
            ((verb, meta),) = action.value.items()
            whole = row.get("doc") if verb == "update" else row
            row = {"_id": meta.get("_id"), "_source": whole if isinstance(whole, dict) else row}
            action = None
        for each in _pages(row):
            yield Record(found.place, _named(each))
    if action is not None:
        yield bad_row(action.place, _NO_DOCUMENT, action.text)


def _values(path: Path) -> Iterator[_Value | BadRow]:
    if _is_lines(path):
        yield from _lines(path)
    else:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            yield from _parts(_Text(path.name, file), path)


def _wrong(found: _Value) -> str:
    """Why a value is no record; '' where it is."""
    if not isinstance(found.value, dict):
        return "it is not a JSON object"
    if not is_text(found.text):
        return NOT_UTF8
    if "\\u" in found.text and not is_text(json.dumps(found.value, ensure_ascii=False)):
        return "it holds half of a surrogate pair, which is not text"
    return ""


def _is_action(row: dict[str, object]) -> bool:
    (name, meta), *more = row.items() or [("", None)]
    return (
        not more
        and name in ("index", "create", "update", "delete")
        and isinstance(meta, dict)
        and all(key.startswith("_") or key in ("routing", "pipeline", "require_alias") for key in meta)
    )


def _pages(row: dict[str, object]) -> Iterator[dict[str, object]]:
    """The hits of a line that is a whole search response, as scrolls write them; else the object itself."""
    hits = row.get("hits")
    listed = hits.get("hits") if isinstance(hits, dict) else None
    if isinstance(listed, list) and all(isinstance(hit, dict) for hit in listed):
        yield from listed
    else:
        yield row


def _named(row: dict[str, object]) -> dict[str, object]:
    """A record without the wrapping of the program that wrote it."""
    source, node = row.get("_source"), row.get("node")
    if isinstance(source, dict):
        own = {} if row.get("_id") is None else {"_id" if _OF_QUERIES & source.keys() else "item_id": row["_id"]}
        row = {**own, **source}
    elif isinstance(node, dict) and row.keys() <= {"node", "cursor"}:
        row = node
    if "objectID" in row and "item_id" not in row:
        row = {("item_id" if name == "objectID" else name): value for name, value in row.items()}
    levels = row.get("hierarchicalCategories")
    if isinstance(levels, dict) and "category" not in row:
        filled = [levels[name] for name in sorted(levels) if re.fullmatch(r"lvl\d", name) and levels[name]]
        deepest = filled[-1] if filled else None
        row = {**row, "category": deepest[0] if isinstance(deepest, list) else deepest}
    variants = row.get("variants")
    if isinstance(variants, list) and row.keys() & {"product_type", "body_html", "handle"}:
        first = variants[0] if variants and isinstance(variants[0], dict) else {}
        told = {name: first[name] for name in ("price", "sku") if name in first and name not in row}
        images = [image["src"] for image in _dicts(row.get("images")) if "src" in image]
        image = {"image_url": images[0]} if images and "image_url" not in row else {}
        row = {**row, **told, **image, "variants": len(variants)}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items() if k.strip()}


def _dicts(value: object) -> list[dict[str, object]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _is_lines(path: Path) -> bool:
    """Whether each line is a value by itself; false for a document, which may take many lines."""
    lines: list[str] = []
    with path.open("rb") as file:
        while len(lines) < 12 and (raw := file.readline(_LONGEST_LINE)):
            if len(raw) == _LONGEST_LINE:
                return bool(lines) and not _why_not(lines[0])
            if raw.strip(b" \t\r\n\xef\xbb\xbf"):
                lines.append(raw.decode("utf-8", "surrogateescape").removeprefix("\ufeff").strip(" \t\r\n"))
    if not lines or lines[0][0] != "{":
        return bool(lines) and lines[0][0] != "["
    whole = [_why_not(line) for line in lines]
    if not whole[0] or (len(lines) == 1 and whole[0] == "Extra data"):
        return len(lines) > 1
    # A first line that is damaged, not only unfinished, or one unfinished before lines that are whole.
    return (
        whole[0] != "cut" or sum(line[0] == "{" and not why for line, why in zip(lines[1:], whole[1:], strict=True)) > 1
    )


def _why_not(line: str) -> str:
    """What is wrong with a line of JSON: '' nothing, 'cut' where only more text is missing."""
    try:
        _DECODER.decode(line)
    except json.JSONDecodeError as error:
        return "cut" if error.pos >= len(line) else error.msg
    except (RecursionError, ValueError) as error:
        return str(error)
    return ""


def _lines(path: Path) -> Iterator[_Value | BadRow]:
    for number, line in numbered_lines(path):
        try:
            yield _Value(number, _DECODER.decode(line), line)
        except json.JSONDecodeError as error:
            why = f"it is not JSON: {error.msg} at character {error.pos + 1}"
            yield bad_row(number, why if is_text(line) else NOT_UTF8, line)
        except RecursionError:
            yield bad_row(number, "it is nested too deeply", line)
        except ValueError:
            yield bad_row(number, "it holds a number of thousands of digits", line)


class _Text:
    """A cursor over a file's text, of which only a window is held."""

    def __init__(self, name: str, file: TextIO) -> None:
        self.name, self._file = name, file
        self._window, self._at = "", 0
        # The last place whose line is known: in the window, its line, the characters before it there.
        self._known, self._line, self._begun = 0, 1, 0

    def _fill(self) -> bool:
        """Reads on; a record longer than the window doubles it. False at the end of the file."""
        more = self._file.read(max(_WINDOW, len(self._window) - self._at))
        if more:
            self._line, self._begun = self._where(self._at)
            self._window, self._at, self._known = self._window[self._at :] + more, 0, 0
        return bool(more)

    def _where(self, at: int) -> tuple[int, int]:
        """(line, characters before it in its line) of a place in the window."""
        breaks = self._window.count("\n", self._known, at)
        begun = at - self._window.rfind("\n", 0, at) - 1 if breaks else self._begun + at - self._known
        return self._line + breaks, begun

    @property
    def line(self) -> int:
        """The line of the cursor."""
        self._line, self._begun = self._where(self._at)
        self._known = self._at
        return self._line

    def fault(self, why: str, at: int | None = None) -> DataError:
        """The error of a file that cannot be read on from here."""
        line, before = self._where(self._at if at is None else at)
        return DataError(
            f"{self.name}:{line} {why} at character {before + 1} of the line, and what follows cannot be divided into "
            f"records; mend that place, or write the file again"
        )

    def peek(self) -> str:
        """The next character that is no white space; '' at the end."""
        while True:
            space = _SPACE.match(self._window, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._window):
                return self._window[self._at]
            if not self._fill():
                return ""

    def value(self) -> tuple[object, str]:
        """The value at the cursor, and its text."""
        while True:
            if not self.peek():
                raise DataError(f"{self.name} ends in the midst of its records; copy or write it again")
            try:
                value, end = _DECODER.raw_decode(self._window, self._at)
            except json.JSONDecodeError as error:
                # Numbers, words and escapes that are cut off are told some characters before the end.
                cut = error.msg.startswith("Unterminated") or error.pos > len(self._window) - 12
                if cut and self._fill():
                    continue
                if error.pos >= len(self._window.rstrip()) or error.msg.startswith("Unterminated"):
                    raise DataError(f"{self.name} ends within a record; copy or write it again") from None
                raise self.fault(f"is not JSON ({error.msg})", error.pos) from None
            except RecursionError:
                raise self.fault("is nested too deeply") from None
            except ValueError:
                raise self.fault("holds a number of thousands of digits, in the value") from None
            if end > len(self._window) - 4 and self._fill():  # '10.' and '10e+' would be read as 10.
                continue
            text, self._at = self._window[self._at : end], end
            return value, text

    def parts(self, close: str) -> Iterator[str]:
        """For each part of the object or array here its name ('' in an array); whoever asks takes its value before the next."""
        self._at += 1
        while self.peek() != close:
            name = ""
            if close == "}":
                name = str(self.value()[0])
                if self.peek() != ":":
                    raise self.fault("lacks a ':' behind a name")
                self._at += 1
            yield name
            mark = self.peek()
            if mark == ",":
                self._at += 1
            elif not mark:
                raise DataError(f"{self.name} ends in the midst of its records; copy or write it again")
            elif mark != close:
                raise self.fault(f"is not JSON (neither ',' nor '{close}' behind a value)")
        self._at += 1


@dataclass
class _Outline:
    """Where the objects of a document lie."""

    lists: dict[tuple[str, ...], int] = field(default_factory=dict)  # Path -> objects in it.
    objects: int = 0  # Members that are objects.
    others: int = 0  # Members that are neither objects nor lists.
    is_record: bool = False  # A member is named like a value of a record.
    is_columns: bool = False  # The same, of a member that is a list or an object.


def _outline(text: _Text, depth: int = 0) -> _Outline:
    found = _Outline()
    nested: dict[str, dict[tuple[str, ...], int]] = {}
    for name in text.parts("}"):
        mark = text.peek()
        found.is_columns |= mark in ("[", "{") and name in _RECORD_NAMES
        if mark == "[":
            count = 0
            for _ in text.parts("]"):
                count += text.peek() == "{"
                text.value()
            found.lists[(name,)] = found.lists.get((name,), 0) + count
        elif mark == "{":
            found.objects += 1
            if depth < 4 and (name in CONTAINERS or found.objects == 1):
                nested[name] = _outline(text, depth + 1).lists
            else:
                text.value()
        else:
            found.others += 1
            found.is_record |= name in _RECORD_NAMES
            text.value()
    for name, lists in nested.items():
        if name in CONTAINERS or found.objects == 1:
            found.lists |= {(name, *path): count for path, count in lists.items()}
    return found


def _chosen(found: _Outline, path: Path) -> tuple[str, ...] | None:
    """The path of the list that holds the records; None where no list does."""
    full = [each for each, count in found.lists.items() if count]
    known = [each for each in full if each[-1] in CONTAINERS]
    wanted = known or ([] if found.is_record else full)
    if len(wanted) > 1:
        names = " and ".join(repr(".".join(each)) for each in wanted)
        raise DataError(f"{path.name} holds several lists of objects, {names}; keep one of them a file")
    empty = [each for each in found.lists if each[-1] in CONTAINERS]
    return wanted[0] if wanted else empty[0] if empty and not found.is_record else None


def _parts(text: _Text, path: Path) -> Iterator[_Value]:
    """The values of a document that may be records."""
    number = 0
    if text.peek() == "{":
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            walker = _Text(path.name, file)
            walker.peek()
            found = _outline(walker)
            alone = not walker.peek()
        if alone and found.is_columns and not found.others:
            yield from _columns(*text.value())
            return
        where = _chosen(found, path) if alone else None
        if where is not None:
            for number, (value, raw) in enumerate(_listed(text, where), start=1):
                yield _Value(number, value, raw)
            return
        if alone and found.objects and not found.others and not found.lists:
            for number, name in enumerate(text.parts("}"), start=1):
                value, raw = text.value()
                keyed = {"item_id": name, **value} if isinstance(value, dict) else value
                yield _Value(number, keyed, raw if is_text(name) else name)
            return
    while mark := text.peek():
        if mark == "[":
            for _ in text.parts("]"):
                number += 1
                yield _Value(number, *text.value())
        else:
            yield _Value(text.line, *text.value())


def _columns(value: object, text: str) -> Iterator[_Value]:
    """Rows of columns, each a list or an object by the row's name."""
    columns: dict[str, Any] = value if isinstance(value, dict) else {}
    by_name = {name: col if isinstance(col, dict) else dict(zip(map(str, range(len(col))), col, strict=True))
               for name, col in columns.items()}  # fmt: skip
    rows = dict.fromkeys(row for column in by_name.values() for row in column)
    for number, row in enumerate(rows, start=1):
        values = {name: column.get(row) for name, column in by_name.items()}
        yield _Value(number, values, json.dumps(values, ensure_ascii=False))


def _listed(text: _Text, path: tuple[str, ...]) -> Iterator[tuple[object, str]]:
    """The values of the list at `path` of the object at the cursor."""
    for name in text.parts("}"):
        mark = text.peek()
        if name != path[0] or mark not in "[{" or (mark == "[") != (len(path) == 1):
            text.value()
        elif mark == "{":
            yield from _listed(text, path[1:])
        else:
            for _ in text.parts("]"):
                yield text.value()
