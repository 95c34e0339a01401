"""Sets of queries: kept by text, bounded, and the same after a journey through CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from engine.errors import DataError
from engine.store import query_sets
from engine.store.query_sets import Added, QuerySet, QuerySets, read_csv, rows


def test_a_text_is_in_a_set_once_however_it_is_typed(tmp_path: Path) -> None:
    sets = QuerySets(tmp_path)
    assert sets.add("Winter", ["Snow  Shovel", "snow shovel ", "", "sled"], ["seasonal"]) == Added(2, 1, 0)
    assert sets.add(" Winter ", ["SLED", "skis"], ["mine", "seasonal"]) == Added(1, 1, 0)
    assert QuerySets(tmp_path).all() == [QuerySet("Winter", ("seasonal", "mine"), ("Snow Shovel", "sled", "skis"))]


def test_sets_are_changed_and_removed(tmp_path: Path) -> None:
    sets = QuerySets(tmp_path)
    sets.add("b", ["one", "two"])
    sets.add("A", ["three"])
    sets.take_out("b", ["ONE"])
    sets.tag("b", ["brand", " ", "brand", "of; two"])
    sets.take_out("none", ["x"])
    sets.tag("none", ["x"])
    assert sets.all() == [QuerySet("A", (), ("three",)), QuerySet("b", ("brand", "of two"), ("two",))]
    sets.remove("A")
    sets.remove("none")
    assert [each.name for each in sets.all()] == ["b"]


def test_what_a_set_may_not_hold_is_counted_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_sets, "MOST_TEXTS", 2)
    monkeypatch.setattr(query_sets, "MOST_SETS", 1)
    sets = QuerySets(tmp_path)
    assert sets.add("a", ["1", "x" * 501, "2", "3"]) == Added(2, 0, 2)
    with pytest.raises(DataError, match="remove one first"):
        sets.add("b", [])
    for name in ("", "  ", "x" * 61, "two\u202elines"):
        with pytest.raises(DataError, match="a name of 1 to 60"):
            sets.add(name, ["1"])


def test_a_hand_edited_file_is_read_as_far_as_it_makes_sense(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "query_sets.json").write_text('{"a": {"tags": "x", "texts": ["one", 2]}, "b": 3}')
    assert QuerySets(tmp_path).all() == [QuerySet("a", (), ("one",)), QuerySet("b", (), ())]


def test_sets_survive_a_journey_through_csv() -> None:
    sets = [QuerySet("a, b", ("mine", "brand"), ('a "quoted" text', "=1+1", "צבע")), QuerySet("empty", (), ())]
    file = io.StringIO()
    writer = csv.DictWriter(file, query_sets.COLUMNS)
    writer.writeheader()
    writer.writerows({k: f"'{v}" if v.startswith("=") else v for k, v in row.items()} for row in rows(sets))
    found = read_csv(b"# Sidelight: Query sets\n" + file.getvalue().encode())
    assert found == [sets[0], QuerySet("empty", (), ("",))]


@pytest.mark.parametrize("data", [b"", b"name,query\na,b\n", b"\xff\xfe", b'set,text\na,"b\n'])
def test_another_file_is_refused_with_what_is_allowed(data: bytes) -> None:
    with pytest.raises(DataError):
        read_csv(data)
