"""Files as people really send them: formats, damage, odd bytes, and where a bad row is said to be."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pandas import DataFrame

from engine.datasets.ingest import ingest, validate
from engine.errors import DataError

ITEMS = "item_id,title,price\na,Red kettle,12.5\nb,Blue kettle,13\nc,Green pan,9\n"


def dataset(folder: Path, **files: str | bytes) -> Path:
    """Writes `items_csv=...` as items.csv, and so on."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        stem, _, suffix = name.partition("_")
        raw = content.encode() if isinstance(content, str) else content
        (folder / f"{stem}.{suffix.replace('_', '.')}").write_bytes(raw)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        validate(folder)
    assert "\n" not in str(caught.value), "one sentence, no trace"
    return str(caught.value)


# ---------------------------------------------------------------- files that cannot be used: one sentence


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"items_csv": "item_id,what,price\na,Kettle,1\n"}, ["items.csv", "'title'", 'title = "its name here" under [columns.items]']),
        ({"items_csv": "title,price\nKettle,1\n"}, ["no column 'item_id'", "'title', 'price'"]),
        ({"items_csv": "what,price\nKettle,1\n"}, ["no column 'item_id', 'title', which are required"]),
        ({"items_csv": ""}, ["items.csv is empty", "'item_id', 'title'"]),
        ({"items_csv": "\n\n"}, ["only blank lines"]),
        ({"items_csv": "item_id,title\n"}, ["items.csv has no rows"]),
        ({"items_csv": "item_id,title,Title\na,b,c\n"}, ["'title' more than once"]),
        ({"items_parquet": b"PAR1 this is no parquet"}, ["items.parquet cannot be read as Parquet", "cut short"]),
        ({"items_csv_gz": gzip.compress(ITEMS.encode())[:-12]}, ["items.csv.gz", "not a whole gzip"]),
        ({"items_csv_gz": b"plain text"}, ["items.csv.gz:1 'plain text' names no known column"]),
        ({"items_jsonl": "hello\n[1]\n"}, ["holds no records", "line 1"]),
        ({"items_csv": ITEMS, "items_tsv": "item_id\ttitle\na\tb\n"}, ["items.csv and items.tsv", "keep one"]),
        ({"notes_csv": "a,b\n1,2\n"}, ["is not a dataset", "no items file", "notes.csv"]),
        ({"items_csv": ITEMS, "judgments_csv": "query,item_id\nkettle,a\n"}, ["judgments.csv has no column 'grade'"]),
        ({"items_csv": ITEMS, "interactions_csv": "looked for,item_id\nkettle,a\n"}, ["no column 'query'", "'looked for'"]),
        ({"items_csv": ITEMS, "interactions_csv": "query_id,item_id\nq1,a\n"}, ["no queries file gives their text"]),
        ({"items_csv": ITEMS, "dataset_toml": 'name = "unclosed\n'}, ["dataset.toml is not valid TOML", "line 1"]),
        ({"items_csv": ITEMS, "dataset_toml": b'name = "caf\xe9"'}, ["dataset.toml is not UTF-8"]),
        ({"items_csv": ITEMS, "dataset_toml": 'max_grade = "three"'}, ["max_grade = 'three'", "a number"]),
        ({"items_csv": ITEMS, "dataset_toml": "max_grade = 2\nrelevant_grade = 3"}, ["relevant_grade = 3.0", "at most"]),
        ({"items_csv": ITEMS, "dataset_toml": 'derived = "category"'}, ["derived = 'category'", "a list"]),
    ],
)  # fmt: skip
def test_unusable_input_gives_one_clear_sentence(
    tmp_path: Path, files: dict[str, str | bytes], said: list[str]
) -> None:
    message = refusal(dataset(tmp_path / "shop", **files))
    for part in said:
        assert part in message


def test_a_folder_is_missing_and_a_file_will_do(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nowhere")
    (tmp_path / "items.csv").write_text(ITEMS)
    assert validate(tmp_path / "items.csv").files[0].accepted == 3


def test_truncated_parquet(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "shop")
    DataFrame({"item_id": [str(i) for i in range(5000)], "title": "Kettle"}).to_parquet(folder / "items.parquet")
    whole = (folder / "items.parquet").read_bytes()
    (folder / "items.parquet").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read as Parquet" in refusal(folder)


def test_unknown_adapter_and_layout_of_an_adapter(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "shop", items_csv=ITEMS)
    with pytest.raises(DataError, match=r"adapter 'icecap' is unknown; allowed: .*icecat"):
        validate(folder, adapter="icecap")
    chorus = dataset(tmp_path / "chorus", products_parquet=b"x", ratings_csv="x")
    assert "products.parquet cannot be read as Parquet" in refusal(chorus)


def test_other_files_are_named_and_mistyped_names_guessed(tmp_path: Path) -> None:
    folder = dataset(
        tmp_path / "shop", items_csv=ITEMS, judgements_csv="query,docid,rating\nkettle,a,3\n", sids_csv="item_id,sid\n",
        notes_txt="x", picture_png="x", more_csv="a,b\n1,2\n",
    )  # fmt: skip
    report = validate(folder)
    assert [f.file for f in report.files] == ["items.csv", "judgements.csv"]
    warnings = " | ".join(report.warnings)
    assert "not read: sids.csv (it serves audits" in warnings
    for left in ("notes.txt", "picture.png", "more.csv"):
        assert f"not read: {left}" in warnings


# ---------------------------------------------------------------- places of bad rows


def test_lines_are_physical_lines_whatever_is_inside_the_quotes(tmp_path: Path) -> None:
    text = (
        "item_id,title,price\n"  # 1
        'a,"two\nlines",1\n'  # 2-3
        "b,short\n"  # 4: a value is missing
        "\n"  # 5: blank
        "c,too,1,2\n"  # 6
        'd,17" monitor,5\n'  # 7: a bare mark is data
        "e,bad price,cheap\n"  # 8
        "f,fine,2\n"
    )
    for name, content in {"unix": text, "windows": text.replace("\n", "\r\n"), "mark": "\ufeff" + text}.items():
        report = validate(dataset(tmp_path / name, items_csv=content), max_reject_share=1)
        examples = sorted(example for issue in report.issues for example in issue.examples)
        assert [e.split(" ")[0] for e in examples] == ["items.csv:4", "items.csv:6", "items.csv:8"], name
        assert "too few values: the header names 3 columns" in examples[0]
        assert "too many values" in examples[1]
        assert examples[2] == ("items.csv:8 price 'cheap' -> write a number like 12.5")
        (count,) = report.files
        assert (count.read, count.accepted, count.rejected) == (6, 4, 2)


def test_places_in_parquet_and_json_lines(tmp_path: Path) -> None:
    rows = [{"item_id": str(i), "title": f"Kettle {i}", "price": "1"} for i in range(40)]
    rows[6]["price"] = "cheap"
    folder = dataset(tmp_path / "parquet")
    DataFrame(rows).to_parquet(folder / "items.parquet")
    assert validate(folder).issues[0].examples[0].startswith("items.parquet:7 price 'cheap'")

    lines = [json.dumps(row) for row in rows]
    lines.insert(2, "")  # a blank line moves the lines, not the rows
    lines.insert(20, '{"item_id": "x", ')
    folder = dataset(tmp_path / "json", items_jsonl="\n".join(lines))
    broken, price = validate(folder).issues
    assert price.examples[0].startswith("items.jsonl:8 price 'cheap'")
    assert broken.examples[0].startswith("items.jsonl:21")
    assert "not JSON" in broken.examples[0]


def test_a_quotation_mark_never_closed_does_not_swallow_the_file_unnoticed(tmp_path: Path) -> None:
    lines = ["item_id,title"] + [f"{i},Kettle" for i in range(100)]
    lines[10] = '9,"Kettle'
    unquoted = validate(dataset(tmp_path / "unquoted", items_csv="\n".join(lines) + "\n"))
    assert unquoted.files[0].accepted == 100, "no value is quoted: a mark is data"
    lines[2] = '1,"Kettle"'
    folder = dataset(tmp_path / "shop", items_csv="\n".join(lines) + "\n")
    report = validate(folder)
    (count,) = report.files
    assert (count.read, count.accepted, count.rejected) == (100, 9, 91)
    assert not report.ok
    assert report.issues[0].examples[0].startswith("items.csv:11 ")


def test_rows_that_are_not_utf8_in_a_file_that_is_are_rejected_whole_and_with_their_line(tmp_path: Path) -> None:
    rows = "".join(f"{i},Käse\n" for i in range(60)).encode()
    folder = dataset(tmp_path / "shop", items_csv=b"item_id,title\nx,caf\xe9\n" + rows)
    done = ingest(folder, tmp_path / "ws")
    assert "items.csv:2" in done.report.issues[0].examples[0]
    assert "not UTF-8" in done.report.issues[0].examples[0]
    rejects = pd.read_parquet(tmp_path / "ws" / "catalogues" / done.catalogue.fingerprint / "rejects.parquet")
    assert rejects["row"].tolist() == ["x,caf\\xe9"]


def test_lines_of_many_rows_stay_right(tmp_path: Path) -> None:
    """More rows than one of DuckDB's row groups, read in parallel."""
    lines = ["item_id,title,price"] + [f'{i},"Kettle\n{i}",1' for i in range(150_000)]
    lines[140_001] = "140000,Kettle,cheap"
    folder = dataset(tmp_path / "shop", items_csv="\n".join(lines))
    assert validate(folder).issues[0].examples[0].startswith("items.csv:280002 price 'cheap'")


# ---------------------------------------------------------------- odd values are data


ODD = [
    "<b>Kettle</b> & <script>alert(1)</script>",
    "🫖 teapot 👩‍🍳",
    "غلاية كهربائية",
    "קומקום ‏חשמלי",
    "nul\x00inside",
    "=HYPERLINK(\"http://x\",\"y\")",
    "'; DROP TABLE items; --",
    "{line} %s {0} \\N",
    " spaces kept ",
    'quote " and, comma',
    "line\nbreak\r\nand tab\t",
    "\ufeffmark inside",
    "x" * 1_000_000,
]  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet", "csv.gz", "jsonl.gz", "parquet.gz"])
def test_odd_titles_survive_every_format(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    rows = DataFrame({"item_id": [f"i{n}" for n in range(len(ODD))], "title": ODD})
    path = folder / f"items.{suffix}"
    plain = path.with_name(f"items.{suffix.removesuffix('.gz')}")
    if "parquet" in suffix:
        rows.to_parquet(plain)
    elif "jsonl" in suffix:
        plain.write_text("\n".join(json.dumps(r) for r in rows.to_dict("records")))
    else:
        rows.to_csv(plain, index=False, sep="\t" if suffix == "tsv" else ",", lineterminator="\n")
    if suffix.endswith(".gz"):
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    done = ingest(folder, tmp_path / "ws")
    assert done.catalogue.items["title"].tolist() == ODD
    assert done.report.n_rejected == 0


def test_parquet_bytes_and_numbers_become_text(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "shop")
    table = pa.table({"item_id": pa.array([7, 8]), "title": pa.array([b"Kettle", "Käse".encode()], pa.binary())})
    pq.write_table(table, folder / "items.parquet")
    items = ingest(folder, tmp_path / "ws").catalogue.items
    assert items[["item_id", "title"]].to_numpy().tolist() == [["7", "Kettle"], ["8", "Käse"]]


def test_json_that_is_no_text_is_rejected_not_fatal(tmp_path: Path) -> None:
    lines = [json.dumps({"item_id": str(i), "title": "Kettle"}) for i in range(60)]
    lines += ['{"item_id": "x", "title": "\\ud83d"}', '["a"]', "[" * 100_000]
    report = validate(dataset(tmp_path / "shop", items_jsonl="\n".join(lines)), max_reject_share=0.1)
    assert report.n_rejected == 3
    assert "half of a surrogate pair" in " ".join(report.issues[0].examples)
