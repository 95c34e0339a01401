"""Notes on pages: written where they belong, read again there, said where they cannot be kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from streamlit.testing.v1 import AppTest

from engine.errors import DataError
from engine.store.notes import Notes

Open = Callable[..., AppTest]


def _first(workspace: Path, sql: str) -> str:
    (path,) = (workspace / "snapshots").glob("*.duckdb")
    with duckdb.connect(str(path), read_only=True) as cursor:
        row = cursor.execute(sql).fetchone()
    assert row is not None
    return str(row[0])


def _shown(page: AppTest) -> str:
    return " ".join(str(m.value).replace("\\", "") for m in page.markdown)


def test_a_note_is_written_and_stands_there_again(open_page: Open, own_workspace: Path) -> None:
    text = _first(own_workspace, "SELECT text FROM queries ORDER BY frequency DESC, query_id LIMIT 1")
    page = open_page("query", own_workspace, q=text)
    page.text_area(key=f"note-words-query-{text}").set_value("<b>ask *Ada*</b>")
    page.text_input(key=f"note-by-query-{text}").set_value("Bo")
    page.button(key=f"note-keep-query-{text}").click().run()
    assert not page.exception
    (note,) = Notes(own_workspace).all()
    assert (note.kind, note.about, note.words, note.by) == ("query", text, "<b>ask *Ada*</b>", "Bo")
    assert "<b>ask *Ada*</b>" in _shown(page)
    again = open_page("query", own_workspace, q=text)
    assert "<b>ask *Ada*</b>" in _shown(again)
    again.button(key=f"note-remove-{note.id}").click().run()
    assert Notes(own_workspace).all() == []


def test_a_note_that_cannot_be_kept_says_so(
    open_page: Open, own_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise DataError("no space left on the device")

    kind = _first(own_workspace, "SELECT kind FROM findings WHERE member = 0 AND severity <> 'good' ORDER BY position")
    page = open_page("overview", own_workspace)
    page.text_area(key=f"note-words-finding-{kind}").set_value("to be asked")
    monkeypatch.setattr(Notes, "add", full)
    page.button(key=f"note-keep-finding-{kind}").click().run()
    assert not page.exception
    assert [str(e.value).replace("\\", "") for e in page.error] == [
        "The note was not kept: no space left on the device"
    ]
