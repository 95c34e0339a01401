"""Exports are held for their browser: for a while, within a size."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.runtime.memory_media_file_storage import MediaFileKind, MemoryMediaFileStorage

from app import serving
from app.fetch import Current
from app.serving import Exports


def streamlits_id(data: bytes, name: str) -> str:
    return MemoryMediaFileStorage("/media").load_and_get_id(data, "text/csv", MediaFileKind.DOWNLOADABLE, name)


def test_a_file_is_found_by_streamlits_id_and_its_owner_alone() -> None:
    exports = Exports()
    exports.keep("ada", b"1,2", "a.csv", "text/csv")
    found = exports.of("ada", streamlits_id(b"1,2", "a.csv"))
    assert found is not None
    assert (found.data, found.file_name, found.mime) == (b"1,2", "a.csv", "text/csv")
    assert exports.of("bob", streamlits_id(b"1,2", "a.csv")) is None
    assert exports.of("ada", streamlits_id(b"1,3", "a.csv")) is None


def test_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "KEPT_BYTES", 10)
    exports, ids = Exports(), []
    for n in range(4):
        exports.keep("ada", bytes(4), f"{n}.csv", "text/csv")
        ids.append(streamlits_id(bytes(4), f"{n}.csv"))
    assert [exports.of("ada", id) is not None for id in ids] == [False, False, True, True]
    exports.keep("ada", bytes(4), "2.csv", "text/csv")  # the same again counts once
    assert [exports.of("ada", id) is not None for id in ids] == [False, False, True, True]
    exports.keep("ada", bytes(11), "large.csv", "text/csv")  # the newest is held, however large
    assert exports.of("ada", ids[3]) is None
    assert exports.of("ada", streamlits_id(bytes(11), "large.csv"))
    monkeypatch.setattr(serving, "KEPT_SECONDS", -1.0)
    assert exports.of("ada", streamlits_id(bytes(11), "large.csv")) is None


@pytest.mark.parametrize("chosen", [False, True])
def test_a_page_that_fails_is_logged_with_what_it_showed(
    chosen: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one that fails before a snapshot was chosen."""
    shown = {"_current": Current(Path("w"), "snap-1", "run-1")} if chosen else {}
    monkeypatch.setattr("streamlit.session_state", shown)
    serving._page_failed(ValueError("odd"))
    (record,) = caplog.records
    assert record.message == "page failed"
    assert (getattr(record, "run", None), getattr(record, "snapshot", None)) == (
        ("run-1", "snap-1") if chosen else (None, None)
    )
