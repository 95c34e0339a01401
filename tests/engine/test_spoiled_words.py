"""What mutated inputs broke once (`tests.soak.soak_inputs`): each kind in its smallest form."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import httpx2
import pytest

from app import gate
from engine.audit.gate_config import gate_config
from engine.cli import main
from engine.config import click_grades
from engine.errors import LONGEST, ConfigError, DataError
from engine.labeling.answers import ANSWERS, read_answers
from engine.labeling.endpoint import Endpoint, EndpointSettings, Refused, Reply
from engine.labeling.prompt import MalformedAnswer, Prompt, attributes_shown
from engine.store import names
from engine.store.judged import JudgedStore
from engine.store.notes import Notes
from engine.store.query_sets import QuerySets
from engine.store.questions import QUESTIONS, values

DEEP = "[" * 20_000


def asked(body: bytes, kind: str) -> Reply:
    """What becomes of a server's answer."""

    async def work() -> Reply:
        async with Endpoint(EndpointSettings(url="http://127.0.0.1:9/v1", model="m", tries=1)) as endpoint:
            await endpoint._client.aclose()
            answer = httpx2.Response(200, content=body, headers={"content-type": kind})
            endpoint._client = httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _: answer))
            return await endpoint.ask([{"role": "user", "content": "x"}], {})

    return asyncio.run(work())


def test_a_judges_answer_is_utf8_whatever_it_is_called_and_has_an_end() -> None:
    body = json.dumps({"choices": [{"message": {"content": "é"}}]}, ensure_ascii=False).encode()
    assert asked(body, "application/json; charset=utf-16").text == "é"
    with pytest.raises(Refused, match="more than 4 MB"):
        asked(b" " * (5 * 2**20) + body, "application/json")


def test_spoiled_lines_are_passed_over_and_counted(tmp_path: Path) -> None:
    good = {"query_id": "q", "item_id": "i", "status": "ok", "grade": 2}
    bad = [
        good | {"item_id": []},
        good | {"grade": [None]},
        good | {"grade": True},
        good | {"grade": 10**400},
        good | {"grade": float("nan")},
        good | {"status": {}},
        [good],
    ]
    lines = [json.dumps(each) for each in (good, *bad)] + [DEEP]
    (tmp_path / ANSWERS).write_text("\n".join(lines))
    found = read_answers(tmp_path)
    assert (len(found.table), found.torn) == (1, len(bad) + 1)

    store = JudgedStore(tmp_path)
    store.path.parent.mkdir()
    answer = {"rater": "A", "dataset": "d", "query_id": "q", "query": "k", "item_id": "i", "grade": 2.0, "max_grade": 3.0, "relevant_grade": 2.0, "answer_id": "a"}  # fmt: skip
    store.path.write_text("\n".join([json.dumps(answer), json.dumps(answer | {"answer_id": {}}), DEEP]))
    assert [each.answer_id for each in store.standing()] == ["a"]


@pytest.mark.parametrize("said", ['{"r": "x="}', '{"r": {"1": {}}}', '{"r": {"1": [{"name": 1}]}}', DEEP])
def test_damaged_names_are_a_sentence_and_stay(tmp_path: Path, said: str) -> None:
    path = tmp_path / "kept" / "code_names.json"
    path.parent.mkdir()
    path.write_text(said)
    for work in (lambda: names.rename(tmp_path, "r", "1", "Tents", by="A"), lambda: names.undo(tmp_path, "r", "1"), lambda: names.given(tmp_path, "r")):  # fmt: skip
        with pytest.raises(DataError, match="move it away"):
            work()
    assert path.read_text() == said


def test_a_damaged_note_is_a_sentence(tmp_path: Path) -> None:
    store = Notes(tmp_path)
    store.path.parent.mkdir()
    note = {"id": "1", "kind": "item", "key": "i", "about": {}, "words": "w", "by": "A", "at": "x"}
    store.path.write_text(json.dumps({"notes": [note]}))
    with pytest.raises(DataError, match="not of the form"):
        store.all()


def test_half_characters(tmp_path: Path) -> None:
    sets = QuerySets(tmp_path)
    sets.add("mine", ["a\ud83d"], ["t\ud83d"])
    (held,) = sets.all()
    (held.tags[0] + held.texts[0]).encode()
    with pytest.raises(ConfigError, match="no text"):
        values(QUESTIONS["ranking"], {"query": "\udcff"})


def test_a_number_where_a_text_is_asked_for_is_its_digits() -> None:
    assert values(QUESTIONS["ranking"], {"query": 1, "limit": 5}) == {"run": None, "query": "1", "limit": 5}


def test_a_name_too_long_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["engine", "status", "-w", "x" * 2_000])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    said = capsys.readouterr().err
    assert "xxx" in said
    assert "the name is too long" in said
    assert len(said) < 1_000


def test_settings_of_a_wrong_kind_and_without_end() -> None:
    with pytest.raises(ConfigError, match="fail-on"):
        gate_config({"fail_on": ["act"]})
    with pytest.raises(ConfigError, match=r"allowed: a number$") as refused:
        click_grades([f"click_grades.later={'x' * 20_000}"])
    assert len(str(refused.value)) <= LONGEST + 3
    assert attributes_shown(DEEP) == {}
    for grade in ("9" * 400, "1e400", "NaN"):
        with pytest.raises(MalformedAnswer):
            Prompt.for_scale(3).read(f'{{"grade": {grade}}}')


def test_a_gate_that_refuses_names_no_place(tmp_path: Path) -> None:
    said = gate.lines(gate.ask(tmp_path, ("snap-1", "a"), ("snap-2", "b")))
    assert "WORKSPACE" in said[0]
    assert str(tmp_path) not in said[0]
