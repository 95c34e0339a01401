"""The rules of the contract: what is rejected, why, and how it is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from pandas import DataFrame

from engine.datasets.contract import normalise_query, shown
from engine.datasets.ingest import ingest, validate
from engine.datasets.report import Report
from engine.errors import DataError

ITEMS = "item_id,title\na,Red kettle\nb,Blue kettle\nc,Green pan\n"


def dataset(folder: Path, **files: str) -> Path:
    """Writes `items=...` as items.csv, and so on."""
    folder.mkdir(exist_ok=True)
    for stem, content in files.items():
        (folder / ("dataset.toml" if stem == "toml" else f"{stem}.csv")).write_text(content, encoding="utf-8")
    return folder


def found(report: Report) -> dict[tuple[str, str], int]:
    """(rule, column) -> count"""
    return {(i.rule, i.column): i.count for i in report.issues}


def check(tmp_path: Path, **files: str) -> Report:
    return validate(dataset(tmp_path / "shop", **files), max_reject_share=1)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("title", "", "required value is missing"),
        ("title", "  \u00a0 ", "required value is missing"),
        ("item_id", "", "required value is missing"),
        ("item_id", "x" * 1001, "absurdly long id"),
        ("price", "cheap", "not a number"),
        ("price", "12,34,5", "not a number"),
        ("price", "1e400", "not a number"),
        ("price", "-1", "number out of range"),
        ("price", "1e16", "number out of range"),
        ("popularity", "-0.1", "number out of range"),
        ("created_at", "yesterday", "not a date"),
        ("created_at", "2024-02-30", "not a date"),
        ("created_at", "0024-02-20", "date out of range"),
        ("created_at", "infinity", "date out of range"),
        ("attributes", "colour: red", "not a JSON object"),
        ("attributes", "[1]", "not a JSON object"),
        ("attributes", "{", "not a JSON object"),
        ("category", " > ".join("ABCDEFGHIJKLM"), "category is too deep"),
        ("image_embedding", "[1, x]", "not a list of numbers"),
        ("image_embedding", "[]", "not a list of numbers"),
        ("image_embedding", "[1, NaN]", "not a list of numbers"),
        ("image_embedding", "[1, 2, 3]", "embeddings of unequal length"),
    ],
)
def test_bad_item_values_are_rejected_with_their_place(tmp_path: Path, column: str, value: str, rule: str) -> None:
    rows = DataFrame({"item_id": [f"i{n}" for n in range(6)], "title": "Kettle", "category": "A > B", "price": "1",
                      "popularity": "0.5", "created_at": "2024-05-31", "attributes": '{"colour": "red"}',
                      "image_embedding": "[1, 2]"})  # fmt: skip
    rows.loc[2, column] = value
    report = check(tmp_path, items=rows.to_csv(index=False))
    assert found(report) == {(rule, column): 1}
    assert report.issues[0].examples[0].startswith(f"items.csv:4 {column} ")
    costs = "row" if column in ("title", "item_id") else "value"
    assert report.issues[0].costs == costs
    assert report.files[0].accepted == (5 if costs == "row" else 6)


def test_accepted_values_are_normalised(tmp_path: Path) -> None:
    rows = DataFrame(
        {
            "Item_ID": [" a ", "b"],
            "title": [" Kettle ", "Pan"],
            "category": ["Home  >  Kitchen ", ""],
            "created_at": ["2024-05-31T12:00:00+02:00", "2024-05-31"],
            "attributes": ['{ "colour" : "red", "size": 3}', ""],
            "colour": ["blue", "green"],
            "Weight": ["1 kg", ""],
        }
    )
    done = ingest(dataset(tmp_path / "shop", items=rows.to_csv(index=False)), tmp_path / "ws")
    items = done.catalogue.items
    assert items["item_id"].tolist() == ["a", "b"]
    assert items["title"].tolist() == [" Kettle ", "Pan"], "text is data, its spaces too"
    assert items["category"][0] == "Home > Kitchen"
    assert pd.isna(items["category"][1])
    assert items["created_at"].tolist() == [pd.Timestamp("2024-05-31 10:00"), pd.Timestamp("2024-05-31")]
    assert json.loads(items["attributes"][0]) == {"colour": "red", "size": 3, "Weight": "1 kg"}
    assert json.loads(items["attributes"][1]) == {"colour": "green"}
    assert "unknown columns kept as attributes: 'colour', 'Weight'" in " ".join(done.report.warnings)


def test_duplicate_ids_keep_the_first_that_is_sound(tmp_path: Path) -> None:
    text = "item_id,title,price\na,,1\na,First,2\nb,Other,3\na,Second,4\na,Third,5\n"
    done = ingest(dataset(tmp_path / "shop", items=text), tmp_path / "ws", max_reject_share=0.9)
    assert done.catalogue.items["title"].tolist() == ["First", "Other"]
    assert found(done.report) == {("duplicate id", "item_id"): 2, ("required value is missing", "title"): 1}
    example = next(i for i in done.report.issues if i.rule == "duplicate id").examples[1]
    assert example == "items.csv:6 item_id 'a' -> already given at items.csv:3; the first is kept"


def test_references_to_unknown_items_and_queries(tmp_path: Path) -> None:
    report = check(
        tmp_path,
        items=ITEMS + "d,\n",
        queries="query_id,text\nq1,kettle\nq2,\n",
        interactions="query_id,item_id,clicks\nq1,a,1\nq1,zzz,1\nq9,a,1\nq2,a,1\nq1,d,1\n,a,1\n",
        judgments="query,item_id,grade\nKETTLE ,a,3\npan,a,3\n",
    )
    counts = {(i.file, i.rule): (i.count, i.examples[0]) for i in report.issues}
    assert counts["interactions.csv", "unknown item"][0] == 2, "an item rejected itself is unknown too"
    assert counts["interactions.csv", "unknown query"][0] == 2
    assert counts["interactions.csv", "required value is missing"][0] == 1
    assert counts["judgments.csv", "unknown query"] == (
        1, "judgments.csv:3 query 'pan' -> queries.csv has no accepted row with it",
    )  # fmt: skip
    assert {f.file: f.rejected for f in report.files} == {
        "items.csv": 1, "queries.csv": 1, "interactions.csv": 5, "judgments.csv": 1,
    }  # fmt: skip


def test_grades(tmp_path: Path) -> None:
    rows = "query,item_id,grade,source,rater,split\nkettle,a,So so,human,r1,train\nkettle,a,4,human,r2,train\n"
    rows += (
        "kettle,a,-1,human,r3,train\nkettle,a,,human,r4,train\nkettle,a,2.5,human,r5,dev\nkettle,a,3,human,r6,train\n"
    )
    report = check(tmp_path, items=ITEMS, judgments=rows)
    faults = {("not a number", "grade"): 1, ("grade out of range", "grade"): 1, ("unknown split", "split"): 1}
    assert found(report) == faults
    assert report.skipped == (("judgments.csv", "without a grade: not judged", 1),)
    assert ("grades", "0 to 4, relevant from 3") in {(d.what, d.found) for d in report.decisions}
    stated = dataset(tmp_path / "stated", items=ITEMS, judgments=rows, toml="max_grade = 3\n")
    assert found(validate(stated, max_reject_share=1)) == faults | {("grade out of range", "grade"): 2}


def test_grades_as_text_stop_ingest_with_the_remedy(tmp_path: Path) -> None:
    folder = dataset(
        tmp_path / "shop", items=ITEMS, judgments="query,item_id,grade\nkettle,a,So so\nkettle,b,Partial\n"
    )
    assert not validate(folder).ok
    with pytest.raises(DataError) as caught:
        ingest(folder, tmp_path / "ws")
    message = str(caught.value)
    assert "judgments.csv: 2 of 2 rows (100.0%)" in message
    assert "judgments.csv:2 grade 'So so' -> write a number" in message
    assert "Nothing was stored" in message
    assert list((tmp_path / "ws" / "catalogues").iterdir()) == []


def test_one_split_a_query_and_one_grade_a_rater(tmp_path: Path) -> None:
    rows = "query,item_id,grade,rater,split\nkettle,a,3,ann,train\nkettle,b,1,ann,test\nKettle,c,0,ann,\nkettle,a,2,bob,train\n"
    rows += "kettle,a,1,ann,train\npan,c,3,ann,test\n"
    folder = dataset(tmp_path / "shop", items=ITEMS, judgments=rows)
    done = ingest(folder, tmp_path / "ws", max_reject_share=0.9)
    assert found(done.report) == {
        ("query in two splits", "split"): 1,
        ("same rater judged the pair twice", "item_id"): 1,
    }
    split = next(i for i in done.report.issues if i.column == "split")
    assert split.examples == (
        "judgments.csv:3 split 'test' -> its query is in train since judgments.csv:2; one split a query",
    )
    judged = done.catalogue.judgments
    assert judged[["query_id", "item_id", "grade", "split", "n_raters"]].to_numpy().tolist() == [
        ["kettle", "a", 2.5, "train", 2], ["kettle", "b", 1.0, "train", 1], ["kettle", "c", 0.0, "train", 1],
        ["pan", "c", 3.0, "test", 1],
    ]  # fmt: skip


def test_query_embeddings_must_share_the_items_space(tmp_path: Path) -> None:
    report = check(
        tmp_path,
        items='item_id,title,image_embedding\na,Kettle,"[1, 2]"\nb,Pan,\n',
        queries='query_id,text,image_space_embedding\nq1,kettle,"[1, 2, 3]"\nq2,pan,\n',
    )
    assert found(report) == {("embedding of another space", "image_space_embedding"): 1}
    assert report.issues[0].examples == (
        "queries.csv:2 image_space_embedding '[1, 2, 3]' -> it has 3 numbers where items.image_embedding has 2",
    )


def test_counts_add_up_and_rejected_rows_are_kept_whole(tmp_path: Path) -> None:
    text = "item_id,title,price,note\na,Kettle,1,x\na,,cheap,y\nb,Pan\nc,Wok,-3,\n" + "".join(
        f"k{n},K,1,\n" for n in range(96)
    )
    done = ingest(dataset(tmp_path / "shop", items=text), tmp_path / "ws")
    (count,) = done.report.files
    assert (count.read, count.accepted, count.rejected) == (100, 98, 2)
    rejects = pd.read_parquet(tmp_path / "ws" / "catalogues" / done.catalogue.fingerprint / "rejects.parquet")
    assert len(rejects) == done.catalogue.n_rejected == 2
    assert rejects["line"].tolist() == [3, 4]
    assert rejects["rules"].tolist() == [
        "not a number; required value is missing", "row cannot be read",
    ]  # fmt: skip
    assert json.loads(rejects["row"][0]) == {"item_id": "a", "title": None, "price": "cheap", "note": "y"}
    assert rejects["row"][1] == "b,Pan"
    counts = done.report.files[0]
    assert (counts.read, counts.accepted, counts.rejected) == (100, 98, 2)
    examples = [example for issue in done.report.issues for example in issue.examples]
    assert "items.csv:5 price '-3' -> allowed: 0 to 1e+15" in examples


def test_reject_share_is_per_file_and_can_be_raised(tmp_path: Path) -> None:
    many = "item_id,title\n" + "".join(f"k{n},Kettle\n" for n in range(1000))
    folder = dataset(tmp_path / "shop", items=many, judgments="query,item_id,grade\nkettle,k1,3\nkettle,zzz,3\n")
    with pytest.raises(DataError, match=r"judgments.csv: 1 of 2 rows \(50.0%\) are rejected, more than the 5% allowed"):
        ingest(folder, tmp_path / "ws")
    assert ingest(folder, tmp_path / "ws", max_reject_share=0.5).catalogue.n_rejected == 1


def test_a_catalogue_has_at_least_one_item(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"1 of 1 rows \(100.0%\) are rejected, which leaves no item; mostly required value is missing"
    ):
        ingest(dataset(tmp_path / "shop", items="item_id,title\na,\n"), tmp_path / "ws", max_reject_share=1)


def test_reports_show_dangerous_values_on_one_line() -> None:
    assert shown("a\nb\x00\u202e") == "'a\\nb\\x00\\u202e'"
    assert shown("x" * 100).endswith("…' (100 characters)")


def test_normalised_queries() -> None:
    assert normalise_query("  ＫETTLE\u00a0 1.7  L ") == "kettle 1.7 l"
    assert normalise_query("Straße") == normalise_query("STRASSE")
