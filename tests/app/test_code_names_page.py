"""Codes named on the page: seen everywhere at once, taken back, proposed by a model; hostile names; a workspace that is read-only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from filled_snapshot import HOSTILE, RUN
from streamlit.testing.v1 import AppTest
from told import told

from engine.store.names import ENDPOINT, MODEL, given, history, rename
from tests.engine.judge_server import Asked, JudgeServer, Said

Open = Callable[..., AppTest]


def healthy(page: AppTest) -> AppTest:
    assert not page.exception, [e.message for e in page.exception]
    assert not [e.value for e in page.error]
    return page


def press(page: AppTest, label: str) -> AppTest:
    (button,) = [b for b in page.button if b.label == label]
    return button.click().run()


def write(page: AppTest, label: str, words: str) -> AppTest:
    (field,) = [t for t in page.text_input if t.label == label]
    field.set_value(words)
    return page


def test_a_name_is_seen_in_card_table_and_search_and_can_be_taken_back(open_page: Open, own_workspace: Path) -> None:
    page = open_page("codebook", own_workspace, code="0-1")
    write(page, "Name", "Bedside lights")
    write(page, "Given by", "Ada")
    page = healthy(press(page, "Save"))
    assert given(own_workspace, RUN)["0-1"][1:3] == ("Bedside lights", "Ada")
    assert any("Bedside lights" in line for line in told(page))

    page = healthy(open_page("codebook", own_workspace, view="Table", level="3", find="bedside"))
    rows = next(d.value for d in page.dataframe if "inside" in d.value)
    assert set(rows["prefix"].str.rpartition("-")[0]) == {"0-1"}
    assert set(rows["inside"]) == {"Lamps > Bedside lights"}
    register = next(d.value for d in page.dataframe if "proposed" in d.value)
    assert register[["prefix", "name", "by"]].to_numpy().tolist() == [["0-1", "Bedside lights", "Ada"]]
    offered = next(
        d.value for d in open_page("codebook", own_workspace, code="bedside LIGHTS").dataframe if "inside" in d.value
    )
    assert offered["prefix"].iloc[0] == "0-1"
    assert set(offered["prefix"].str[:3]) == {"0-1"}

    page = healthy(press(open_page("codebook", own_workspace, code="0-1"), "Undo"))
    assert history(own_workspace, RUN) == []
    assert not any("Bedside lights" in line for line in told(page))


def test_a_hostile_name_is_shown_as_text(open_page: Open, own_workspace: Path) -> None:
    rename(own_workspace, RUN, "0", HOSTILE, by=HOSTILE)
    for view in ("Map", "Tree", "Table", "Shared SIDs"):
        page = healthy(open_page("codebook", own_workspace, code="0", view=view))
        assert any(HOSTILE[:30] in line for line in told(page))
        assert not any(HOSTILE[:30] in element.value for element in (*page.markdown, *page.caption))


def test_a_new_snapshot_of_the_run_keeps_the_names(open_page: Open, own_workspace: Path) -> None:
    rename(own_workspace, RUN, "0", "Lighting", by="Ada")
    (path,) = (own_workspace / "snapshots").glob("*.duckdb")
    path.rename(path.with_name("snap-00000000next.duckdb"))
    (own_workspace / "CURRENT").write_text("snapshots/snap-00000000next.duckdb\n", encoding="utf-8")
    assert any("Lighting" in line for line in told(healthy(open_page("codebook", own_workspace, code="0"))))


def test_a_workspace_that_cannot_be_written_is_said(open_page: Open, own_workspace: Path) -> None:
    page = open_page("codebook", own_workspace, code="0")
    (own_workspace / "kept").write_text("no folder", encoding="utf-8")
    page = press(write(page, "Name", "Lighting"), "Save")
    assert not page.exception
    assert any("cannot be" in e.value for e in page.error)


def test_a_damaged_document_is_said_and_labels_stand(open_page: Open, own_workspace: Path) -> None:
    kept = own_workspace / "kept" / "code_names.json"
    kept.parent.mkdir()
    kept.write_text("[]", encoding="utf-8")
    page = open_page("codebook", own_workspace, code="0")
    assert not page.exception
    assert any("mend it or move it away" in e.value for e in page.error)
    assert any("Code 0, level 1" in line for line in told(page))


def test_a_model_proposes_and_a_person_takes(
    open_page: Open, own_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Propose" not in [b.label for b in open_page("codebook", own_workspace, code="0-1").button]

    def answer(asked: Asked) -> Said:
        return Said(json.dumps({"name": "Small lamps"}))

    with JudgeServer(answer) as server:
        monkeypatch.setenv(ENDPOINT, server.url)
        monkeypatch.setenv(MODEL, "tiny")
        page = healthy(press(open_page("codebook", own_workspace, code="0-1"), "Propose"))
        assert [t.value for t in page.text_input if t.label == "Name"] == ["Small lamps"]
        assert given(own_workspace, RUN) == {}, "a proposal renames nothing"
        healthy(press(page, "Save"))
    shown = json.loads(server.asked[0].user)
    assert shown["inside"] == ["Lamps"]
    assert len(shown["titles"]) == 8
    name = given(own_workspace, RUN)["0-1"]
    assert (name.name, name.proposed) == ("Small lamps", True)


def test_a_model_that_does_not_answer_is_said(
    open_page: Open, own_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9/v1")
    monkeypatch.setenv(MODEL, "tiny")
    page = press(open_page("codebook", own_workspace, code="0-1"), "Propose")
    assert not page.exception
    assert any("No name was proposed" in e.value for e in page.error)


def test_near_names_are_offered_for_words_nobody_carries(open_page: Open, own_workspace: Path) -> None:
    rename(own_workspace, RUN, "0-1", "Bedside lights", by="Ada")
    for params in ({"code": "bedsied lihgts"}, {"view": "Table", "level": "2", "find": "bedsied lihgts"}):
        page = healthy(open_page("codebook", own_workspace, **params))
        (near,) = [b for b in page.button if b.label == "Bedside lights"]
        page = healthy(near.click().run())
        rows = next(d.value for d in page.dataframe if "inside" in d.value)
        assert "0-1" in set(rows["prefix"])
