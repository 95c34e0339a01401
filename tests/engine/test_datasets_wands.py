"""The WANDS adapter on small files written in its layout, with what the real ones hold: quotes, gaps, repeated names."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from engine.datasets.ingest import ADAPTERS, ingest, validate
from engine.errors import DataError

PRODUCT_HEADER = (
    "product_id\tproduct_name\tproduct_class\tcategory hierarchy\tproduct_description\tproduct_features\t"
    "rating_count\taverage_rating\treview_count\n"
)
PRODUCTS = [
    "0\tmaple bunk bed\tBeds\tFurniture / Bedroom Furniture / Beds\tsturdy , with <b>rails</b>\t"
    "color : red|color : blue|widthinches:64.7| : gray wood|material : pine|oak\t15.0\t4.5\t12.0",
    '7\t"48"" barn door"\tBarn Doors|Interior Doors\tHome Improvement / Doors\t\t\t\t\t',
    '12\t"stool with a\ttab"\t\t\t"two\nlines, é"\tfinish : oak\t0\tNaN\tnan',
    "13\tbedside lamp\tTable Lamps\tLighting / Table Lamps\tNaN\tNaN\t3.0\t5.0\t1.0",
]
QUERIES = 'query_id\tquery\tquery_class\n0\tbunk bed\tBeds\n4\t"barn door 48"""\t\n9\tlamp\tTable Lamps\n'
LABELS = (
    "id\tquery_id\tproduct_id\tlabel\n0\t0\t0\tExact\n1\t0\t12\tPartial\n2\t0\t13\tIrrelevant\n3\t4\t7\tExact\n"
    "4\t9\t13\tExact\n5\t9\t0\tIrrelevant\n"
)


def wands(folder: Path, products: list[str] | None = None, queries: str = QUERIES, labels: str = LABELS) -> Path:
    folder.mkdir(parents=True)
    (folder / "product.csv").write_text(PRODUCT_HEADER + "\n".join(products or PRODUCTS) + "\n", encoding="utf-8")
    (folder / "query.csv").write_text(queries, encoding="utf-8")
    (folder / "label.csv").write_text(labels, encoding="utf-8")
    return folder


def test_every_field_finds_its_place(tmp_path: Path) -> None:
    done = ingest(wands(tmp_path / "dataset"), tmp_path / "ws", adapter="wands")
    assert done.report.n_rejected == 0
    catalogue = done.catalogue
    settings = catalogue.settings
    assert (settings.max_grade, settings.relevant_grade, settings.category_separator) == (2, 2, " / ")
    assert settings.license == "MIT"
    items = catalogue.items.set_index("item_id")
    assert items.index.tolist() == ["0", "7", "12", "13"]
    assert items["title"].tolist() == ["maple bunk bed", '48" barn door', "stool with a\ttab", "bedside lamp"]
    assert items.loc["0", "category"] == "Furniture / Bedroom Furniture / Beds"
    assert pd.isna(items.loc["12", "category"]), "unknown, not ''"
    assert items.loc["0", "description"] == "sturdy , with <b>rails</b>"
    assert items.loc["12", "description"] == "two\nlines, é"
    assert pd.isna(items.loc["7", "description"])
    assert pd.isna(items.loc["13", "description"]), "NaN is what a missing value was written as"
    assert items["popularity"].tolist()[0] == 15.0
    assert pd.isna(items.loc["7", "popularity"])
    assert json.loads(items.loc["0", "attributes"]) == {
        "color": "red; blue", "widthinches": "64.7", "unnamed": "gray wood", "material": "pine|oak",
        "product_class": "Beds", "average_rating": "4.5", "review_count": "12.0",
    }  # fmt: skip
    assert json.loads(items.loc["12", "attributes"]) == {"finish": "oak"}
    queries = catalogue.queries.query("source != 'synthetic'")
    assert queries[["query_id", "text"]].to_numpy().tolist() == [
        ["0", "bunk bed"],
        ["4", 'barn door 48"'],
        ["9", "lamp"],
    ]
    assert queries["kind"].tolist()[0] == "Beds"
    assert pd.isna(queries["kind"].tolist()[1])
    assert catalogue.judgments[["query_id", "item_id", "grade", "source"]].to_numpy().tolist() == [
        ["0", "0", 2.0, "human"], ["0", "12", 1.0, "human"], ["0", "13", 0.0, "human"], ["4", "7", 2.0, "human"],
        ["9", "13", 2.0, "human"], ["9", "0", 0.0, "human"],
    ]  # fmt: skip


def test_bad_rows_keep_their_place_in_the_source(tmp_path: Path) -> None:
    labels = LABELS + "6\t9\t12\tMaybe\n7\t9\t404\tExact\n8\t9\n9\t9\t7\tExact\textra\n10\t9\t7\t\n"
    products = [*PRODUCTS, "0\tagain\tBeds\t\t\t\t1\t1\t1", "\tno id\tBeds\t\t\t\t1\t1\t1", "99\tshort"]
    report = validate(wands(tmp_path / "w", products, labels=labels), adapter="wands", max_reject_share=1)
    said = {(issue.file, issue.column, issue.rule): issue.examples for issue in report.issues}
    assert "label.csv:8 label 'Maybe'" in said["label.csv", "grade", "not a number"][0]
    assert "label.csv:9 product_id '404'" in said["label.csv", "item_id", "unknown item"][0]
    unreadable = said["label.csv", "row", "row cannot be read"]
    assert "label.csv:10" in unreadable[0]
    assert "too few values" in unreadable[0]
    assert "label.csv:11" in unreadable[1]
    assert "too many values" in unreadable[1]
    assert report.skipped == (("label.csv", "without a grade: not judged", 1),)
    # The stool's description has a line break, so later products stand one line further down.
    assert "product.csv:7 product_id '0'" in said["product.csv", "item_id", "duplicate id"][0]
    assert "product.csv:8" in said["product.csv", "item_id", "required value is missing"][0]
    assert "product.csv:9" in said["product.csv", "row", "row cannot be read"][0]
    assert [f.rejected for f in report.files] == [3, 0, 4]


@pytest.mark.parametrize(("opened", "rejected"), [([20], 20), ([20, 29], 10)], ids=["to the end", "to the next mark"])
def test_lines_that_a_quotation_mark_swallows_are_all_rejected(
    tmp_path: Path, opened: list[int], rejected: int
) -> None:
    queries = "query_id\tquery\tquery_class\n" + "".join(f"{q}\tquery {q}\t\n" for q in range(10))
    rows = [f"{n}\t{n // 4}\t{(0, 7, 12, 13)[n % 4]}\tExact\n" for n in range(40)]
    for n in opened:
        rows[n] = f'"{rows[n]}'
    rows[0] = rows[0].replace("Exact", '"Exact"')
    labels = "id\tquery_id\tproduct_id\tlabel\n" + "".join(rows)
    report = validate(wands(tmp_path / "w", queries=queries, labels=labels), adapter="wands")
    found = next(f for f in report.files if f.file == "label.csv")
    assert (found.read, found.accepted, found.rejected) == (40, 40 - rejected, rejected)
    assert not report.ok
    assert report.issues[0].examples[0].startswith("label.csv:22 ")


def test_undecodable_bytes_are_told_apart(tmp_path: Path) -> None:
    folder = wands(tmp_path / "w")
    raw = (folder / "product.csv").read_bytes().replace("é".encode(), b"\xe9")
    (folder / "product.csv").write_bytes(raw)
    report = validate(folder, adapter="wands", max_reject_share=1)
    assert not report.issues
    assert ("encoding", "cp1252") in {(d.what, d.found) for d in report.decisions}


def test_a_clone_of_the_repository_will_do(tmp_path: Path) -> None:
    wands(tmp_path / "WANDS" / "dataset")
    whole = ingest(tmp_path / "WANDS", tmp_path / "ws", adapter="wands").catalogue
    assert (
        whole.fingerprint
        == ingest(tmp_path / "WANDS" / "dataset", tmp_path / "ws", adapter="wands").catalogue.fingerprint
    )


def test_layout_is_recognised_and_lacks_are_named(tmp_path: Path) -> None:
    folder = wands(tmp_path / "w")
    assert ("layout", "wands") in {(d.what, d.found) for d in validate(folder).decisions}
    (folder / "label.csv").write_text(LABELS.replace("\t", ","))
    assert validate(folder, adapter="wands").ok, "commas will do"
    (folder / "label.csv").unlink()
    with pytest.raises(DataError, match=r"is not a WANDS folder: it has no label.csv"):
        validate(folder, adapter="wands")
    assert "wands" in ADAPTERS
