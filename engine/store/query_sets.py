"""Sets of queries that people put together, kept apart from snapshots: a query is known by its text, so a set survives
every new snapshot.

    WORKSPACE/kept/query_sets.json    {name: {"tags": [...], "texts": [...]}}
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import DataError
from engine.store.kept import Kept

MOST_SETS, MOST_TEXTS = 200, 5_000
LONGEST_NAME, LONGEST_TEXT = 60, 500
"""Letters. A longer query is left out and counted, a longer name refused."""
TAGS = ("mine", "seasonal", "brand", "zero result")
"""Offered; any other word will do."""
COLUMNS = ("set", "tags", "text")
"""Of the CSV that sets are exchanged as; several tags are parted by ';'."""


class QuerySet(NamedTuple):
    """Queries under one name."""

    name: str
    tags: tuple[str, ...]
    texts: tuple[str, ...]
    """As they were written, each once."""


class Added(NamedTuple):
    """What became of texts that were handed in."""

    new: int
    known: int
    """In the set already."""
    refused: int
    """Too long, or beyond what a set may hold."""


def normalise(text: str) -> str:
    """Lower case, NFC, single spaces: two texts with equal normal forms are the same query."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip().lower()


class QuerySets:
    """The sets of a workspace."""

    def __init__(self, workspace: Path) -> None:
        self._kept = Kept(workspace, "query_sets")

    def all(self) -> list[QuerySet]:
        """Every set, by name. Raises DataError where the file was damaged."""
        said = self._kept.read()
        return [QuerySet(name, *_parts(said[name])) for name in sorted(said, key=str.casefold)]

    def add(self, name: str, texts: Iterable[str], tags: Iterable[str] = ()) -> Added:
        """Put texts into a set, which is made where there is none. Raises DataError for a name that cannot be one."""
        name = _name(name)
        lines = [" ".join(_whole(text).split()) for text in texts]
        counted = Added(0, 0, 0)

        def change(said: dict[str, Any]) -> dict[str, Any]:
            nonlocal counted
            if name not in said and len(said) >= MOST_SETS:
                raise DataError(f"there are {len(said)} sets already; remove one first")
            old_tags, old = _parts(said.get(name, {}))
            held = {normalise(text): text for text in old}
            new = known = refused = 0
            for line in filter(None, lines):
                if normalise(line) in held:
                    known += 1
                elif len(line) > LONGEST_TEXT or len(held) >= MOST_TEXTS:
                    refused += 1
                else:
                    held[normalise(line)] = line
                    new += 1
            counted = Added(new, known, refused)
            return said | {name: _said((*old_tags, *tags), held.values())}

        self._kept.update(change)
        return counted

    def take_out(self, name: str, texts: Iterable[str]) -> None:
        """Take texts out of a set; the set stays, empty if need be."""
        gone = {normalise(text) for text in texts}

        def change(said: dict[str, Any]) -> dict[str, Any]:
            if name not in said:
                return said
            tags, old = _parts(said[name])
            return said | {name: _said(tags, (text for text in old if normalise(text) not in gone))}

        self._kept.update(change)

    def tag(self, name: str, tags: Iterable[str]) -> None:
        """Give a set these tags and no others."""
        given = list(tags)
        self._kept.update(
            lambda said: said | {name: _said(given, _parts(said[name])[1])} if name in said else said
        )  # fmt: skip

    def remove(self, name: str) -> None:
        """Remove a set."""
        self._kept.update(lambda said: {other: held for other, held in said.items() if other != name})


def rows(sets: Iterable[QuerySet]) -> list[dict[str, str]]:
    """Sets as rows of COLUMNS: what an export holds and `read_csv` takes. An empty set has one row without text."""
    return [
        {"set": each.name, "tags": ";".join(each.tags), "text": text} for each in sets for text in each.texts or ("",)
    ]


def read_csv(data: bytes) -> list[QuerySet]:
    """Sets of a CSV file with the columns of COLUMNS ('tags' may be absent); lines that begin with '#' are passed over.

    Raises DataError for a file that cannot be read so.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("the file is not UTF-8 text") from error
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith("#")]
    try:
        found = list(csv.DictReader(io.StringIO("".join(lines)), strict=True))
    except csv.Error as error:
        raise DataError(f"the file is no CSV: {error}") from error
    if not found or not {"set", "text"} <= {str(name) for name in found[0]}:
        raise DataError(
            f"the file needs the columns 'set' and 'text' ('tags' may be there); allowed: {', '.join(COLUMNS)}"
        )
    sets: dict[str, tuple[dict[str, None], list[str]]] = {}
    for row in found:
        tags, texts = sets.setdefault(_name(row["set"] or ""), ({}, []))
        tags |= dict.fromkeys(tag for tag in (row.get("tags") or "").split(";"))
        texts.append((row["text"] or "").removeprefix("'"))  # an export guards spreadsheets with an apostrophe
    return [QuerySet(name, _tags(tags), tuple(texts)) for name, (tags, texts) in sets.items()]


def _name(name: str) -> str:
    name = " ".join(name.split())
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise DataError(f"a set needs a name of 1 to {LONGEST_NAME} letters")
    return name


def _tags(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags once each, blank ones left out; at most twelve of 30 letters."""
    plain = (" ".join(_whole(str(tag)).replace(";", " ").split())[:30] for tag in tags)
    return tuple(dict.fromkeys(filter(None, plain)))[:12]


def _said(tags: Iterable[str], texts: Iterable[str]) -> dict[str, list[str]]:
    return {"tags": list(_tags(tags)), "texts": list(texts)}


def _parts(said: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tags and texts of a set in the file, which a hand may have edited."""
    if not isinstance(said, dict):
        return (), ()
    tags, texts = said.get("tags"), said.get("texts")
    return (
        _tags(tags) if isinstance(tags, list) else (),
        tuple(_whole(t) for t in texts if isinstance(t, str)) if isinstance(texts, list) else (),
    )


def _whole(text: str) -> str:
    """A text without halves of characters, which no file can hold."""
    return text.encode("utf-8", "replace").decode()
