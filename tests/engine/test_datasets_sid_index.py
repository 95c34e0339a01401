"""The adapter for SID indices of LC-Rec, LETTER and MiniOneRec, on small files written in their layouts."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from engine.datasets.ingest import ingest, ingest_audit, validate
from engine.errors import DataError

INDEX = {"0": ["<a_183>", "<b_70>", "<c_232>", "<d_6>"], "1": ["<a_183>", "<b_122>", "<c_96>", "<d_235>"],
         "2": ["<a_52>", "<b_0>", "<c_54>", "<d_27>"]}  # fmt: skip
ITEM = {
    "0": {"title": "Cajón drum.", "description": ["A <b>box</b> to sit on.", "", "Birch."], "brand": "Tavo",
          "categories": "Musical Instruments,Drums & Percussion,Hand Drums"},
    "1": {"title": 'Snare "pro"', "description": "", "brand": "", "categories": "Clothing, Shoes & Jewelry,Straps",
          "price": "$9.99"},
    "2": {"title": "Stand", "description": None, "categories": [["Stands", "Mic"], ["Other"]]},
}  # fmt: skip


def folder(path: Path, index: object = INDEX, item: object = ITEM, name: str = "Instruments") -> Path:
    path.mkdir()
    (path / f"{name}.index.json").write_text(json.dumps(index, ensure_ascii=False), encoding="utf-8")
    if item is not None:
        (path / f"{name}.item.json").write_text(json.dumps(item, indent=2), encoding="utf-8")
    (path / f"{name}.inter.json").write_text('{"0": [0, 1]}')
    return path


def test_index_and_item_texts(tmp_path: Path) -> None:
    done = ingest_audit(folder(tmp_path / "lcrec"), tmp_path / "ws", adapter="sid-json")
    assert done.report.n_rejected == 0
    assert done.catalogue.settings.name == "Instruments"
    assert done.catalogue.settings.derived == ()
    items = done.catalogue.items.set_index("item_id")
    assert items["title"].tolist() == ["Cajón drum.", 'Snare "pro"', "Stand"]
    assert items["category"].tolist() == [
        "Musical Instruments > Drums & Percussion > Hand Drums", "Clothing, Shoes & Jewelry > Straps", "Stands > Mic",
    ]  # fmt: skip
    assert items.loc["0", "description"] == "A <b>box</b> to sit on.\nBirch."
    assert items.loc["0", "brand"] == "Tavo"
    assert pd.isna(items.loc["1", "brand"])
    assert json.loads(items.loc["1", "attributes"]) == {"price": "$9.99"}
    assert done.files.sids is not None
    assert done.files.sids.to_pydict() == {
        "item_id": ["0", "1", "2"], "codes": [[183, 70, 232, 6], [183, 122, 96, 235], [52, 0, 54, 27]],
    }  # fmt: skip
    assert done.files.sids is not None
    assert len(done.files.sids.column("codes")[0]) == 4


@pytest.mark.parametrize(
    "index",
    [
        {"0": [1, 2, 3], "1": [1, 2, 4]},
        [[1, 2, 3], [1, 2, 4]],
        {"0": "<a_1><b_2><c_3>", "1": "<a_1><b_2><c_4>"},
        {"0": "1-2-3", "1": "1-2-4"},
        {"0": ["<c_3>", "<a_1>", "<b_2>"], "1": ["<b_2>", "<a_1>", "<c_4>"]},
    ],
    ids=["numbers", "bare list", "tokens in a row", "dashes", "letters out of order"],
)
def test_variants_mean_the_same(tmp_path: Path, index: object) -> None:
    files = ingest_audit(folder(tmp_path / "v", index, None), tmp_path / "ws", adapter="sid-json").files
    assert files.sids is not None
    assert files.sids.column("codes").to_pylist() == [[1, 2, 3], [1, 2, 4]]


def test_items_without_text_are_named_after_their_ids(tmp_path: Path) -> None:
    done = ingest_audit(folder(tmp_path / "v", INDEX, {"1": ITEM["1"]}), tmp_path / "ws", adapter="sid-json")
    assert done.catalogue.items["item_id"].tolist() == ["1", "0", "2"], "the item file's first"
    assert done.catalogue.items["title"].tolist() == ['Snare "pro"', "Item 0", "Item 2"]
    assert done.catalogue.settings.derived == ("title",)


def test_an_item_without_sid_is_kept_and_counted(tmp_path: Path) -> None:
    index = {key: INDEX[key] for key in ("0", "2")}
    done = ingest_audit(folder(tmp_path / "v", index), tmp_path / "ws", adapter="sid-json")
    assert len(done.catalogue.items) == 3
    assert any("1 items have no SID" in warning for warning in done.report.warnings)


def test_a_plain_ingest_takes_the_items_alone(tmp_path: Path) -> None:
    done = ingest(folder(tmp_path / "v"), tmp_path / "ws", adapter="sid-json")
    assert len(done.catalogue.items) == 3
    assert any("python -m engine import" in warning for warning in done.report.warnings)


def test_sids_that_differ_in_length_say_so(tmp_path: Path) -> None:
    index = {**INDEX, "1": ["<a_183>", "<b_122>"]}
    report = validate_audit(folder(tmp_path / "v", index), tmp_path)
    (issue,) = report.issues
    assert (issue.file, issue.column, issue.rule) == ("Instruments.index.json", "sid", "SIDs of unequal length")
    assert "Instruments.index.json:2 sid" in issue.examples[0]
    assert "it has 2 levels where most have 4" in issue.examples[0]


def test_half_of_a_surrogate_pair_costs_its_row_alone(tmp_path: Path) -> None:
    source = folder(tmp_path / "v", INDEX, {**ITEM, "1": {"title": "Snare \ud83d"}})
    (source / "Instruments.index.json").write_text(json.dumps({**INDEX, "cut \ud83d": INDEX["0"]}))
    report = validate_audit(source, tmp_path)
    assert {(i.file, i.rule): i.count for i in report.issues} == {
        ("Instruments.item.json", "row cannot be read"): 2, ("Instruments.index.json", "row cannot be read"): 1,
        ("Instruments.index.json", "unknown item"): 1
    }  # fmt: skip
    assert "half of a surrogate pair" in report.issues[0].examples[0]


def validate_audit(source: Path, tmp_path: Path):
    return ingest_audit(source, tmp_path / "ws", adapter="sid-json", max_reject_share=1).report


def test_what_is_wrong_with_the_files_is_said(tmp_path: Path) -> None:
    assert ("layout", "sid-json") in {(d.what, d.found) for d in validate(folder(tmp_path / "a")).decisions}
    (tmp_path / "a" / "Instruments.index.json").write_text('{"0": ["<a_1>",\n]}')
    with pytest.raises(DataError, match=r"Instruments.index.json:2 is not JSON"):
        validate(tmp_path / "a", adapter="sid-json")
    (tmp_path / "a" / "Instruments.index.json").write_bytes(b'{"0": "\xe9"}')
    with pytest.raises(DataError, match="is not UTF-8"):
        validate(tmp_path / "a", adapter="sid-json")
    index = tmp_path / "a" / "Instruments.index.json"
    index.write_text('{"0": ["<a_1>"], "0": ["<a_2>"]}')
    with pytest.raises(DataError, match="gives '0' twice"):
        validate(tmp_path / "a", adapter="sid-json")
    for unreadable in ('{"0": [' + "9" * 5_000 + "]}", "[" * 100_000):
        index.write_text(unreadable)
        with pytest.raises(DataError, match="cannot be read as JSON"):
            validate(tmp_path / "a", adapter="sid-json")
    (tmp_path / "a" / "Instruments.index.json").write_text("3")
    with pytest.raises(DataError, match="holds no JSON object of items"):
        validate(tmp_path / "a", adapter="sid-json")
    (tmp_path / "a" / "Arts.index.json").write_text("{}")
    with pytest.raises(DataError, match=r"Arts.index.json holds no JSON object of items"):
        validate(tmp_path / "a", adapter="sid-json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="it has no index"):
        validate(tmp_path / "empty", adapter="sid-json")
