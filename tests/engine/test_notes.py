"""Notes: kept, found again by what they are about, never lost to a second writer."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine.errors import DataError
from engine.store.notes import KINDS, LONGEST, Notes, key_of_code


def test_a_note_is_found_by_what_it_is_about(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    assert notes.all() == []
    first = notes.add("query", "Red  Shoe", "asked for by marketing", about="Red  Shoe", by="Ada")
    notes.add("code", key_of_code("run-a", "3-1"), "lamps & shades", about="lamps")
    assert notes.of("query", "red shoe") == [first]
    assert (first.about, first.by) == ("Red Shoe", "Ada")
    assert notes.of("code", key_of_code("run-b", "3-1")) == []
    assert [n.kind for n in notes.all()] == sorted((n.kind for n in notes.all()), key=KINDS.index)
    notes.remove(first.id)
    notes.remove(first.id)
    assert notes.of("query", "red shoe") == []


@pytest.mark.parametrize("words", ["", "  \n ", "x" * (LONGEST + 1)])
def test_what_is_no_note_is_refused(tmp_path: Path, words: str) -> None:
    with pytest.raises(DataError, match="a note has 1 to"):
        Notes(tmp_path).add("item", "i1", words, about="an item")


@pytest.mark.parametrize("held", ['{"notes": [{"id": "1"}]}', '{"notes": ["x"]}', "[]", "{"])
def test_a_damaged_file_is_said(tmp_path: Path, held: str) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "notes.json").write_text(held)
    with pytest.raises(DataError):
        Notes(tmp_path).all()


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    def write(name: str) -> None:
        for place in range(10):
            Notes(tmp_path).add("seller", name, f"note {place}", about=name)

    threads = [threading.Thread(target=write, args=(f"seller {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Notes(tmp_path).all()) == 40
