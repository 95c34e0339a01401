"""Names of codes: kept by run, undone one by one, whatever people type, and no crash where the disk refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import DataError
from engine.store.kept import Kept
from engine.store.names import DOCUMENT, LONGEST, given, history, rename, undo

RUN = "dsirm-11111111"


def called(workspace: Path, run: str = RUN) -> dict[str, str]:
    return {prefix: name.name for prefix, name in given(workspace, run).items()}


def test_names_are_kept_by_run_and_code(tmp_path: Path) -> None:
    assert called(tmp_path) == {}
    rename(tmp_path, RUN, "79-2", "Dome tents", by="Ada")
    rename(tmp_path, RUN, "79", "Camping", by="Ada", proposed=True)
    rename(tmp_path, "other-run", "79", "Lamps", by="Bob")
    assert called(tmp_path) == {"79-2": "Dome tents", "79": "Camping"}
    assert called(tmp_path, "other-run") == {"79": "Lamps"}
    assert given(tmp_path, RUN)["79"].by == "Ada"
    assert given(tmp_path, RUN)["79"].proposed
    assert given(tmp_path, RUN)["79-2"].at.endswith("+00:00")


def test_undo_goes_back_one_name_at_a_time(tmp_path: Path) -> None:
    for name in ("Tents", "Domes", ""):
        rename(tmp_path, RUN, "79-2", name, by="Ada")
    assert called(tmp_path) == {}, "a blank name gives the label back"
    assert [name.name for name in history(tmp_path, RUN)] == ["Tents", "Domes", ""]
    left = []
    for _ in range(4):
        undo(tmp_path, RUN, "79-2")
        left.append(called(tmp_path).get("79-2"))
    assert left == ["Domes", "Tents", None, None]
    assert history(tmp_path, RUN) == []


def test_whatever_is_typed_is_kept_as_one_printable_line(tmp_path: Path) -> None:
    rename(tmp_path, RUN, "1", "  <b>Zelte</b>\n$x^2$\x00 \u202e \u26fa ", by="\t")
    assert called(tmp_path)["1"] == "<b>Zelte</b> $x^2$ \u26fa"
    assert given(tmp_path, RUN)["1"].by == "somebody"
    with pytest.raises(DataError, match=f"{LONGEST + 1} characters; allowed: {LONGEST}"):
        rename(tmp_path, RUN, "1", "x" * (LONGEST + 1), by="Ada")


def test_a_workspace_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be written"):
        rename(tmp_path, RUN, "1", "Tents", by="Ada")


@pytest.mark.parametrize("damaged", ['{"dsirm-11111111": []}', '{"dsirm-11111111": {"1": [{"by": "Ada"}]}}'])
def test_a_damaged_document_is_said_and_not_guessed(tmp_path: Path, damaged: str) -> None:
    path = Kept(tmp_path, DOCUMENT).path
    path.parent.mkdir()
    path.write_text(damaged, encoding="utf-8")
    with pytest.raises(DataError, match="does not read as names"):
        history(tmp_path, RUN)
