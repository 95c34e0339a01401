"""The Icecat adapter on small faithful files, and on the real catalogue where it is at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from pandas import DataFrame

from engine.datasets.contract import normalise_query
from engine.datasets.ingest import ingest, validate
from engine.errors import DataError

REAL = Path(__file__).parents[3] / "shared" / "data" / "icecat"

PRODUCTS = DataFrame(
    {
        "id": ["3920564", "2101957", "1128895"],
        "name": ["006R90321", "dv7-1211ea", "DB9 Adapter"],
        "title": ["Xerox 006R90321 toner cartridge", "HP Pavilion dv7-1211ea Notebook", "StarTech.com DB9 Adapter"],
        "short_description": ["Toner", None, "Adapter"],
        "supplier": ["Xerox", "HP", "StarTech.com"],
        "price": [4995, 10995, 95],
        "date_released": ["2009-12-10T00:00:00Z", "2008-12-19T00:00:00Z", "2007-08-09T00:00:00Z"],
        "ean": [["0095205603217"], [], None],
        "attr_t_product_type": [None, "Notebook", None],
        "attributes": [
            '{"t_printing_colours": "Black", "n_quantity_per_pack": 6.0, "b_colour": true, "t_colour": "Black"}',
            '{"t_product_type": "Notebook", "n_thermal_design_power__tdp_": 34.5}',
            "{}",
        ],
        "category_derived": ["toner cartridge", "notebook", None],
        "category_method": ["title_template", "attr_product_type", None],
    }
)
RATINGS = "query,docid,rating\nlaptop,2101957,3\nlaptop,1128895,0\nnotebook,2101957,2\n"


@pytest.fixture
def chorus(tmp_path: Path) -> Path:
    folder = tmp_path / "chorus"
    folder.mkdir()
    PRODUCTS.to_parquet(folder / "products.parquet")
    (folder / "ratings.csv").write_text(RATINGS)
    return folder


def test_small_faithful_files(chorus: Path, tmp_path: Path) -> None:
    done = ingest(chorus, tmp_path / "ws", adapter="icecat")
    catalogue = done.catalogue
    assert done.report.n_rejected == 0
    assert catalogue.settings.derived == ("category",)
    assert (catalogue.settings.max_grade, catalogue.settings.relevant_grade) == (3, 2)
    items = catalogue.items
    assert items["item_id"].tolist() == ["3920564", "2101957", "1128895"]
    assert items["price"].tolist() == [49.95, 109.95, 0.95]
    assert items["brand"].tolist() == ["Xerox", "HP", "StarTech.com"]
    assert items["seller"].isna().all(), "a supplier is no seller"
    assert items["category"][:2].tolist() == ["toner cartridge", "notebook"]
    assert pd.isna(items["category"][2])
    assert items["created_at"][0] == pd.Timestamp("2009-12-10")
    assert json.loads(items["attributes"][0]) == {
        "colour": "Black", "printing colours": "Black", "quantity per pack": 6, "colour (b)": True,
        "name": "006R90321", "ean": ["0095205603217"],
    }  # fmt: skip
    assert json.loads(items["attributes"][1])["thermal design power tdp"] == 34.5
    assert catalogue.judgments[["query_id", "item_id", "grade", "source"]].to_numpy().tolist() == [
        ["laptop", "2101957", 3.0, "human"], ["laptop", "1128895", 0.0, "human"], ["notebook", "2101957", 2.0, "human"],
    ]  # fmt: skip
    assert set(catalogue.interactions["source"]) == {"synthetic"}
    assert "notebook" not in set(catalogue.queries.query("source == 'synthetic'")["text"]), "it is judged"


def test_bad_rows_keep_their_place_in_the_source(chorus: Path) -> None:
    (chorus / "ratings.csv").write_text(RATINGS + "laptop,2101957\nlaptop,404,3\n\nmouse,3920564,good\n")
    PRODUCTS.assign(price=["n/a", "10995", "95"]).to_parquet(chorus / "products.parquet")
    report = validate(chorus, adapter="icecat", max_reject_share=1)
    places = {example.split(" ")[0] for issue in report.issues for example in issue.examples}
    assert places == {"ratings.csv:5", "ratings.csv:6", "ratings.csv:8"}


def test_lines_that_a_quotation_mark_swallows_are_all_rejected(chorus: Path) -> None:
    swallowed = (
        '"mouse",3920564,1\n"mouse,2101957,1\n' + "keyboard,3920564,1\n" * 10_000
    )  # 190 kB: more than csv allows a field
    (chorus / "ratings.csv").write_text(RATINGS + swallowed)
    report = validate(chorus, adapter="icecat")
    found = next(f for f in report.files if f.file == "ratings.csv")
    assert (found.accepted, found.rejected) == (4, 10_001)


def test_half_of_a_surrogate_pair_costs_its_row_alone(chorus: Path) -> None:
    PRODUCTS.assign(attributes=['{"t_note": "cut \\ud83d"}', '{"t_note": "é"}', "{}"]).to_parquet(
        chorus / "products.parquet"
    )
    report = validate(chorus, adapter="icecat", max_reject_share=1)
    assert {(i.file, i.column, i.rule, i.count) for i in report.issues if i.file == "items.parquet"} == {
        ("items.parquet", "attributes", "not a JSON object", 1)
    }


def test_what_is_missing_or_damaged_is_named(chorus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        validate(tmp_path / "nowhere", adapter="icecat")
    (chorus / "ratings.csv").write_text("query;docid;stars\nlaptop;1;3\n")
    with pytest.raises(DataError, match=r"ratings.csv has no column 'grade'"):
        validate(chorus, adapter="icecat")
    PRODUCTS.drop(columns="supplier").to_parquet(chorus / "products.parquet")
    with pytest.raises(DataError, match=r"products.parquet lacks supplier; it has id, name"):
        validate(chorus, adapter="icecat")
    (chorus / "products.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(DataError, match=r"products.parquet cannot be read as Parquet"):
        validate(chorus, adapter="icecat")
    (chorus / "products.parquet").unlink()
    with pytest.raises(DataError, match=r"not an Icecat folder: it has no products.parquet; expected are"):
        validate(chorus, adapter="icecat")


@pytest.mark.skipif(
    not REAL.exists(), reason="needs the Icecat catalogue in ../shared/data/icecat beside the repository"
)
def test_the_real_catalogue(tmp_path: Path) -> None:
    done = ingest(REAL, tmp_path, adapter="icecat")
    catalogue = done.catalogue
    assert done.report.n_rejected == 0
    assert len(catalogue.items) == 19_406
    assert len(catalogue.judgments) == 2_864
    assert catalogue.items["category"].nunique() == 259
    assert catalogue.items["brand"].nunique() == 161
    sources = catalogue.queries["source"].value_counts()
    assert sources["judged"] == 100
    assert 10_000 <= sources["synthetic"] <= 20_000
    texts = (
        catalogue.queries.assign(text=catalogue.queries["text"].map(normalise_query)).groupby("source")["text"].agg(set)
    )
    assert not texts["judged"] & texts["synthetic"]
    assert catalogue.interactions.groupby("query_id").size().max() <= 20
    assert catalogue.interactions["item_id"].nunique() > 0.9 * len(catalogue.items)
