"""The ESCI adapter on small Parquet files written in its layout: locales, versions, gaps, HTML, memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from pandas import DataFrame

from engine.datasets.adapters import esci
from engine.datasets.ingest import ADAPTERS, ingest, validate
from engine.errors import DataError

EXAMPLES = DataFrame(
    [
        (0, "revent 80 cfm", 0, "B000A", "us", "I", 0, 1, "train"),
        (1, "red kettle", 1, "B000A", "us", "E", 1, 1, "train"),
        (2, "red kettle", 1, "B000B", "us", "S", 1, 1, "train"),
        (3, "# 2 pencils not sharpened", 2, "B000C", "us", "C", 1, 1, "test"),
        (4, "# 2 pencils not sharpened", 2, "B000B", "us", "I", 1, 1, "test"),
        (5, "tetera roja", 9, "B000A", "es", "E", 1, 1, "train"),
        (6, "tetera roja", 9, "B000D", "es", "I", 1, 1, "train"),
        (7, "やかん", 11, "B000E", "jp", "E", 0, 1, "test"),
    ],
    columns=[
        "example_id", "query", "query_id", "product_id", "product_locale", "esci_label", "small_version",
        "large_version", "split",
    ],
)  # fmt: skip
PRODUCTS = DataFrame(
    [
        ("B000A", 'Kettle "Rosso", 1.7 L', "<p>Boils <b>fast</b>.</p>", "Red\nSteel", "Halden", "Red", "us"),
        ("B000B", "Teapot", None, None, None, None, "us"),
        ("B000C", "Pencils 12 pcs", "", "HB", "Tavo", "", "us"),
        ("B000A", "Tetera roja", None, None, "Halden", "Rojo", "es"),
        ("B000D", "Lápices", None, None, None, None, "es"),
        ("B000E", "電気やかん", None, "赤", "ハルデン", None, "jp"),
        ("B000F", "Named by no example", None, None, None, None, "us"),
    ],
    columns=[
        "product_id", "product_title", "product_description", "product_bullet_point", "product_brand", "product_color",
        "product_locale",
    ],
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "shopping"
    source.mkdir()
    EXAMPLES.to_parquet(source / esci.EXAMPLES)
    PRODUCTS.to_parquet(source / esci.PRODUCTS)
    return source


def test_the_small_version_of_one_locale(folder: Path, tmp_path: Path) -> None:
    (folder / esci.SOURCES).write_text("query_id,source\n1,behavioral\n2,negations\n9,other\n")
    done = ingest(folder, tmp_path / "ws", adapter="esci")
    assert done.report.n_rejected == 0
    catalogue = done.catalogue
    assert (catalogue.settings.max_grade, catalogue.settings.relevant_grade) == (3, 3)
    assert catalogue.settings.name == "ESCI English (US), small"
    items = catalogue.items.set_index("item_id")
    assert items.index.tolist() == ["B000A", "B000B", "B000C"], "those that the examples name, of this locale"
    assert items.loc["B000A", "title"] == 'Kettle "Rosso", 1.7 L'
    assert items.loc["B000A", "description"] == "<p>Boils <b>fast</b>.</p>"
    assert json.loads(items.loc["B000A", "attributes"]) == {"color": "Red", "bullet points": "Red\nSteel"}
    assert pd.isna(items.loc["B000B", "attributes"])
    assert pd.isna(items.loc["B000C", "description"])
    assert items["brand"].tolist()[0] == "Halden"
    queries = catalogue.queries.query("source == 'judged'")
    assert queries[["query_id", "text", "kind"]].to_numpy().tolist() == [
        ["1", "red kettle", "behavioral"], ["2", "# 2 pencils not sharpened", "negations"],
    ]  # fmt: skip
    assert catalogue.judgments[["query_id", "item_id", "grade", "split"]].to_numpy().tolist() == [
        ["1", "B000A", 3.0, "train"], ["1", "B000B", 2.0, "train"], ["2", "B000C", 1.0, "test"], ["2", "B000B", 0.0, "test"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("adapter", "items", "judged"),
    [
        ("esci:us", 3, 4),
        ("esci:us:large", 3, 5),
        ("esci:es", 2, 2),
        ("esci:jp:large", 1, 1),
    ],
)
def test_locale_and_version_are_part_of_the_name(
    folder: Path, tmp_path: Path, adapter: str, items: int, judged: int
) -> None:
    catalogue = ingest(folder, tmp_path / "ws", adapter=adapter).catalogue
    assert (len(catalogue.items), len(catalogue.judgments)) == (items, judged)


def test_what_is_not_there_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no example of locale 'jp' in the small version"):
        validate(folder, adapter="esci:jp")
    with pytest.raises(DataError, match=r"adapter 'esci:fr' is unknown; allowed: .*esci:es"):
        validate(folder, adapter="esci:fr")
    assert ("layout", "esci") in {(d.what, d.found) for d in validate(folder).decisions}
    assert {"esci", "esci:us:large", "esci:jp"} <= set(ADAPTERS)


def test_a_clone_and_its_pointers(folder: Path, tmp_path: Path) -> None:
    clone = tmp_path / "esci-data"
    clone.mkdir()
    inside = folder.rename(clone / "shopping_queries_dataset")
    assert validate(clone, adapter="esci").ok
    (inside / esci.PRODUCTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(DataError, match="git lfs pull"):
        validate(clone, adapter="esci")
    PRODUCTS.drop(columns="product_color").to_parquet(inside / esci.PRODUCTS)
    with pytest.raises(DataError, match=r"products.parquet lacks product_color; it has .*product_title"):
        validate(clone, adapter="esci")
    (inside / esci.PRODUCTS).write_bytes(b"PAR1 no parquet at all")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        validate(clone, adapter="esci")
    (inside / esci.PRODUCTS).unlink()
    with pytest.raises(DataError, match=r"is not an ESCI folder: it has no .*products.parquet"):
        validate(clone, adapter="esci")


def test_odd_labels_and_splits_are_rejected_with_their_place(folder: Path) -> None:
    odd = EXAMPLES.copy()
    odd.loc[odd["example_id"] == 2, "esci_label"] = "X"
    odd.loc[odd["example_id"] == 3, "esci_label"] = None
    odd.loc[odd["example_id"] == 4, "split"] = "holdout"
    odd.loc[odd["example_id"] == 1, "product_id"] = "GONE"
    odd.to_parquet(folder / esci.EXAMPLES)
    PRODUCTS.assign(product_title=[None, *PRODUCTS["product_title"][1:]]).to_parquet(folder / esci.PRODUCTS)
    report = validate(folder, adapter="esci", max_reject_share=1)
    said = {(i.column, i.rule) for i in report.issues}
    assert ("grade", "not a number") in said
    assert ("judgments.parquet", "without a grade: not judged", 1) in report.skipped
    assert ("split", "unknown split") in said
    assert ("item_id", "unknown item") in said
    assert "judgments.parquet:2 grade 'X'" in " ".join(e for i in report.issues for e in i.examples)


@pytest.mark.parametrize("name", esci.FILES)
def test_damaged_pages_behind_a_sound_footer_are_said(folder: Path, name: str) -> None:
    raw = bytearray((folder / name).read_bytes())
    footer = int.from_bytes(raw[-8:-4], "little") + 8
    raw[4:-footer] = b"\xff" * (len(raw) - footer - 4)
    (folder / name).write_bytes(raw)
    with pytest.raises(DataError, match=r"cannot be read \(.*copy or download them again"):
        validate(folder, adapter="esci")


@pytest.mark.parametrize(
    "text", ["source,query_id\nnegations,1\nother,2\n", "query_id,source,note\n1,negations,x\n2,other,\n"]
)
def test_kinds_are_read_by_column_name(folder: Path, tmp_path: Path, text: str) -> None:
    (folder / esci.SOURCES).write_text(text)
    queries = ingest(folder, tmp_path / "ws", adapter="esci").catalogue.queries
    assert queries.query("source == 'judged'")["kind"].tolist() == ["negations", "other"]


def test_kinds_that_cannot_be_read_are_said(folder: Path) -> None:
    (folder / esci.SOURCES).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(DataError, match=r"sources\.csv is only a pointer"):
        validate(folder, adapter="esci")
    (folder / esci.SOURCES).write_text("query,kind\n1,negations\n")
    with pytest.raises(DataError, match=r"sources\.csv lacks query_id, source; it has query, kind"):
        validate(folder, adapter="esci")


def test_columns_of_another_type(folder: Path) -> None:
    EXAMPLES.assign(esci_label=7).to_parquet(folder / esci.EXAMPLES)
    report = validate(folder, adapter="esci", max_reject_share=1)
    assert ("grade", "grade out of range", 4) in {(i.column, i.rule, i.count) for i in report.issues}
    EXAMPLES.assign(small_version="yes").to_parquet(folder / esci.EXAMPLES)
    with pytest.raises(DataError, match="copy or download them again"):
        validate(folder, adapter="esci")


def test_many_products_pass_in_little_memory(tmp_path: Path) -> None:
    """400,000 products of 2 kB each (800 MB of text): the adapter may not hold them."""
    source, contract = tmp_path / "big", tmp_path / "contract"
    source.mkdir()
    contract.mkdir()
    with duckdb.connect() as connection:
        connection.execute(
            f"""COPY (SELECT 'B' || i AS product_id, 'Title ' || i AS product_title,
                repeat('words that sell ' || i || ' ', 80) AS product_description, NULL::VARCHAR AS product_bullet_point,
                NULL::VARCHAR AS product_brand, NULL::VARCHAR AS product_color, 'us' AS product_locale
                FROM range(400000) t(i)) TO '{source / esci.PRODUCTS}' (FORMAT parquet, ROW_GROUP_SIZE 20000)"""
        )
        connection.execute(
            f"""COPY (SELECT i AS example_id, 'query ' || (i // 20) AS query, i // 20 AS query_id, 'B' || i AS product_id,
                'us' AS product_locale, 'E' AS esci_label, 1 AS small_version, 1 AS large_version, 'train' AS split
                FROM range(400000) t(i)) TO '{source / esci.EXAMPLES}' (FORMAT parquet)"""
        )
    code = (
        "import resource, sys\nfrom pathlib import Path\nimport duckdb\nfrom engine.datasets.adapters import esci\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"esci.adapt(Path({str(source)!r}), Path({str(contract)!r}))\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert float(done.stdout) < 500, "MB more than before"
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT count(*), count(DISTINCT item_id) FROM '{contract / 'items.parquet'}'"
        ).fetchone()
    assert found == (400_000, 400_000)
