"""What people note about a code, query, item, seller or finding, kept apart from snapshots so that a new one has them again.

    WORKSPACE/kept/notes.json    {"notes": [{"id", "kind", "key", "about", "words", "by", "at"}, ...]}

A code is known by its run and prefix, a query by its words, an item by its id, a seller by its name, a finding by its kind; a run, where
decisions are noted, by its id.
"""

from __future__ import annotations

import datetime
import uuid
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import DataError
from engine.store.kept import Kept
from engine.store.query_sets import normalise

DOCUMENT = "notes"
KINDS = ("run", "finding", "seller", "query", "item", "code")
"""In the order of a report."""
MOST, LONGEST, LONGEST_NAME = 5_000, 4_000, 200


class Note(NamedTuple):
    """A note."""

    id: str
    kind: str
    key: str
    about: str
    """What the thing was called when the note was written."""
    words: str
    by: str
    """Who wrote it; '' where that was not said."""
    at: str
    """UTC, ISO 8601, to the second."""


def key_of_code(run_id: str, prefix: str) -> str:
    """A prefix means something only in its run."""
    return f"{run_id}:{prefix}"


class Notes:
    """The notes of a workspace."""

    def __init__(self, workspace: Path) -> None:
        self._kept = Kept(workspace, DOCUMENT)
        self.path = self._kept.path

    def all(self) -> list[Note]:
        """Every note, by kind, then by what it is about, the oldest first. Raises DataError where the file was damaged."""
        found = _notes(self._kept.read())
        return sorted(found, key=lambda n: (KINDS.index(n.kind), n.about.casefold(), n.key, n.at))

    def of(self, kind: str, key: str) -> list[Note]:
        """The notes on one thing, the oldest first."""
        wanted = _key(kind, key)
        return sorted((n for n in _notes(self._kept.read()) if (n.kind, n.key) == (kind, wanted)), key=lambda n: n.at)

    def add(self, kind: str, key: str, words: str, *, about: str, by: str = "") -> Note:
        """Note something. Raises DataError for an empty or too long note, and where there are too many."""
        said = words.strip()
        if not said or len(said) > LONGEST:
            raise DataError(f"a note has 1 to {LONGEST:,} letters; this one has {len(said):,}")
        note = Note(
            uuid.uuid4().hex[:12], kind, _key(kind, key), " ".join(about.split())[:LONGEST_NAME], said,
            " ".join(by.split())[:LONGEST_NAME], datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )  # fmt: skip

        def change(document: dict[str, Any]) -> dict[str, Any]:
            found = _notes(document)
            if len(found) >= MOST:
                raise DataError(f"there are {len(found):,} notes already; remove some first")
            return {"notes": [n._asdict() for n in (*found, note)]}

        self._kept.update(change)
        return note

    def remove(self, id: str) -> None:
        """Remove a note; one that is gone already stays gone."""
        self._kept.update(lambda said: {"notes": [n._asdict() for n in _notes(said) if n.id != id]})


def _key(kind: str, key: str) -> str:
    assert kind in KINDS, kind
    return normalise(key) if kind == "query" else key


def _notes(document: dict[str, Any]) -> list[Note]:
    try:
        found = [Note(**note) for note in document.get("notes", [])]
        if not all(isinstance(part, str) for note in found for part in note):
            raise TypeError
    except (TypeError, AttributeError) as error:
        raise DataError(f"a note in {DOCUMENT}.json is not of the form {', '.join(Note._fields)}") from error
    if unknown := {n.kind for n in found} - set(KINDS):
        raise DataError(f"{DOCUMENT}.json has notes on {', '.join(sorted(unknown))}; known: {', '.join(KINDS)}")
    return found
