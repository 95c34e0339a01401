"""Inputs that once went wrong, each with others of its kind: what people hold is read as it is meant, or refused with a true reason."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from engine.datasets.ingest import Ingested, ingest, validate
from engine.datasets.report import Report
from engine.errors import DataError

CASES = Path(__file__).parents[1] / "cases"
ITEMS = "item_id,title\n" + "".join(f"{n},oak tray {n}\n" for n in range(6))


def shop(folder: Path, **files: str | bytes) -> Path:
    """Writes `items_csv=...` as items.csv, and so on."""
    folder.mkdir(exist_ok=True, parents=True)
    for name, content in files.items():
        stem, _, ending = name.partition("_")
        raw = content.encode() if isinstance(content, str) else content
        (folder / f"{stem}.{ending.replace('_', '.')}").write_bytes(raw)
    return folder


def logged(done: Ingested) -> pd.DataFrame:
    log = done.catalogue.interactions
    return log[log["source"] == "log"].reset_index(drop=True)


def read(folder: Path, workspace: Path, share: float = 0.05) -> Ingested:
    done = ingest(folder, workspace, max_reject_share=share)
    for file in done.report.files:
        assert file.read == file.accepted + file.rejected + file.skipped
    return done


def decided(report: Report, what: str) -> list[str]:
    return [d.found for d in report.decisions if d.what == what]


@pytest.fixture
def ws(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


# ---------------------------------------------------------------- columns and headers


@pytest.mark.parametrize("case", ["rowid-column", "rowid-column-parquet"])
def test_a_column_named_like_one_of_the_readers(case: str, ws: Path) -> None:
    done = read(CASES / case, ws)
    assert done.report.n_rejected == 0
    assert json.loads(done.catalogue.items["attributes"][0])["rowid"] is not None


@pytest.mark.parametrize(
    "name", ["rowid", "_row", "_key", "c1", "c2", "raw_items", "typed_items", "t", "r", "x", "Item ID 2"]
)
def test_any_name_is_a_name(tmp_path: Path, ws: Path, name: str) -> None:
    csv = f"{name},item_id,title,price\n7,a,tray,1\n8,b,cap,2\n"
    done = read(shop(tmp_path / "csv", items_csv=csv), ws)
    assert [json.loads(a)[name] for a in done.catalogue.items["attributes"]] == ["7", "8"]
    lines = "".join(json.dumps({name: n, "item_id": str(n), "title": "tray"}) + "\n" for n in range(3))
    assert len(read(shop(tmp_path / "json", items_jsonl=lines), ws).catalogue.items) == 3


def test_a_header_cell_with_a_line_break(tmp_path: Path, ws: Path) -> None:
    done = read(CASES / "header-cell-with-line-break", ws)
    assert len(done.catalogue.judgments) == 12
    text = '"item\nid",title,"Remark\n\n(optional)"\n1,tray,\n2,cap,"two\nlines"\n'
    items = read(shop(tmp_path / "own", items_csv=text), ws).catalogue.items
    assert items["title"].tolist() == ["tray", "cap"]
    bad = validate(shop(tmp_path / "bad", items_csv=text + ",no id,\n"), max_reject_share=1)
    assert bad.issues[0].examples[0].startswith("items.csv:8 "), "lines are those of the file"


@pytest.mark.parametrize("before", ["\n", "\n\n\r\n", "\ufeff\n", "sep=,\n", "SEP=,\r\n", "   \n", ",,\n"])
def test_what_stands_before_the_header(tmp_path: Path, ws: Path, before: str) -> None:
    items = read(
        shop(tmp_path / "s", items_csv=before + "item_id,title,x\n1,oak tray,\n2,wool cap,\n"), ws
    ).catalogue.items
    assert items["title"].tolist() == ["oak tray", "wool cap"]


def test_blank_first_line_and_sep_line(ws: Path) -> None:
    assert len(read(CASES / "blank-first-line", ws).catalogue.items) == 2
    assert read(CASES / "sep-line", ws).catalogue.items["title"].tolist() == ["oak tray"]


def test_a_title_above_the_header(tmp_path: Path, ws: Path) -> None:
    text = "Report,,\nmade on,2026-01-01,\nitem_id,title,price\n1,oak tray,2\n"
    assert read(shop(tmp_path / "s", items_csv=text), ws).catalogue.items["price"].tolist() == [2.0]


def test_semicolons_and_a_comma_in_the_header(ws: Path) -> None:
    done = read(CASES / "semicolons-and-a-comma-in-the-header", ws)
    assert json.loads(done.catalogue.items["attributes"][0]) == {"size (l, w)": "10, 20"}


def test_no_header_is_told_truly_and_the_remedy_works(tmp_path: Path, ws: Path) -> None:
    with pytest.raises(DataError) as caught:
        ingest(CASES / "no-header", ws)
    assert "queries.tsv:1 'q1\\toak tray' names no known column" in str(caught.value)
    assert 'header = ["query_id", "text"] under [read.queries]' in str(caught.value)
    files = {p.stem + "_" + p.suffix[1:]: p.read_text() for p in (CASES / "no-header").iterdir()}
    toml = '[read.queries]\nheader = ["query_id", "text"]\n'
    done = read(shop(tmp_path / "s", **files, dataset_toml=toml), ws)
    assert {"q1", "q2"} <= set(done.catalogue.queries["query_id"])


# ---------------------------------------------------------------- files that were passed over


def test_files_by_any_ending(tmp_path: Path, ws: Path) -> None:
    assert len(read(CASES / "unread-json", ws).catalogue.judgments) == 1
    assert len(read(CASES / "unread-upper-case", ws).catalogue.judgments) == 1
    rows = [{"query": "tray", "item_id": n, "grade": n % 3} for n in range(6)]
    csv = "query,item_id,grade\n" + "".join("{query},{item_id},{grade}\n".format(**row) for row in rows)
    book = openpyxl.Workbook()
    for row in [["query", "item_id", "grade"], *([*row.values()] for row in rows)]:
        book.active.append(row)
    sheet, packed = io.BytesIO(), io.BytesIO()
    book.save(sheet)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("export.csv", csv)
    ways: dict[str, str | bytes] = {
        "judgments_JSON": json.dumps(rows), "judgments_ndjson": "\n".join(map(json.dumps, rows)),
        "judgments_csv_zip": packed.getvalue(), "judgments_CSV_GZ": gzip.compress(csv.encode()),
        "judgments_xlsx": sheet.getvalue(), "Judgments_Csv": csv, "judgement_csv": csv, "ratings_csv": csv,
        "anything_csv": csv, "judgments_txt": csv, "judgments_csv": csv.replace(",", "\t"), "judgments_tsv": csv,
    }  # fmt: skip
    found = {}
    for name, content in ways.items():
        done = read(shop(tmp_path / name, items_csv=ITEMS, **{name: content}), ws)
        found[name] = done.catalogue.judgments[["query_id", "item_id", "grade"]].to_numpy().tolist()
    assert found == {name: [["tray", str(n), float(n % 3)] for n in range(6)] for name in ways}


def test_what_is_left_is_named_and_no_file_is_read_as_nothing(tmp_path: Path, ws: Path) -> None:
    folder = shop(tmp_path / "s", items_csv=ITEMS, more_csv="a,b\n1,2\n", notes_md="x")
    assert [w for w in validate(folder).warnings if "not read" in w] == [
        "not read: more.csv", "not read: notes.md",
    ]  # fmt: skip
    for text in ("query,item_id,grade\n", "query,item_id,grade\n,,\n,,\n"):
        with pytest.raises(DataError, match=r"judgments.csv has no rows"):
            ingest(shop(tmp_path / "n", items_csv=ITEMS, judgments_csv=text), ws)
    with pytest.raises(DataError, match=r"items.csv has no rows"):
        ingest(shop(tmp_path / "e", items_csv="item_id,title\n,\n"), ws)


def test_a_spreadsheet_that_is_called_csv(tmp_path: Path, ws: Path) -> None:
    with pytest.raises(DataError, match=r"items.csv begins like a zip archive or a workbook .* not a whole one"):
        ingest(CASES / "spreadsheet-as-csv", ws)
    book, kept = openpyxl.Workbook(), io.BytesIO()
    for row in (["item_id", "title"], [1, "tray"], [2, "cap"]):
        book.active.append(row)
    book.save(kept)
    assert read(shop(tmp_path / "s", items_csv=kept.getvalue()), ws).catalogue.items["item_id"].tolist() == ["1", "2"]


def test_empty_rows_and_keys(tmp_path: Path, ws: Path) -> None:
    done = read(CASES / "empty-rows", ws)
    assert done.report.skipped == (("items.csv", "empty", 3),)
    assert read(CASES / "jsonl-empty-key", ws).catalogue.items["attributes"].isna().all()
    spaces = shop(tmp_path / "s", items_csv="item_id,title\n1,tray\n  ,\u00a0\n,\n2,cap\n")
    assert (read(spaces, ws).report.files[0].accepted, validate(spaces).files[0].skipped) == (2, 2)


# ---------------------------------------------------------------- names and values


def test_names_of_other_programs(tmp_path: Path, ws: Path) -> None:
    done = read(CASES / "other-names-of-optional-columns", ws)
    row = done.catalogue.items.iloc[0]
    assert row[["category", "seller", "brand", "price", "description"]].tolist() == [
        "Home > Kitchen", "Shop A", "Halden", 4.5, "Made by hand",
    ]  # fmt: skip
    for header in (
        "sku,Product Name,MERCHANT,g:product_type",
        "docid,product_title,shop,category_path",
        "_id,name,Vendor,categories",
    ):
        items = read(shop(tmp_path / header[:3], items_csv=f"{header}\n1,tray,A,Home > Kitchen\n"), ws).catalogue.items
        assert items[["item_id", "title", "seller", "category"]].to_numpy().tolist() == [
            ["1", "tray", "A", "Home > Kitchen"]
        ]


def test_names_of_ones_own_are_stated(tmp_path: Path, ws: Path) -> None:
    toml = '[columns]\ntitle = "Was"\n[columns.items]\nitem_id = "Nr"\n[columns.judgments]\ngrade = "Sterne"\n'
    files = {"items_csv": "Nr,Was,title\n1,tray,x\n", "judgments_csv": "query,item_id,Sterne\ntray,1,3\n"}
    done = read(shop(tmp_path / "s", **files, dataset_toml=toml), ws)
    assert done.catalogue.items["title"].tolist() == ["tray"]
    assert done.catalogue.judgments["grade"].tolist() == [3.0]
    with pytest.raises(DataError, match=r"items.csv has no column 'item_id', 'title', which are required"):
        ingest(shop(tmp_path / "n", items_csv="Nr,Was,price\n1,tray,2\n"), ws)


def test_the_id_that_the_other_files_speak_of(tmp_path: Path, ws: Path) -> None:
    items = "id,sku,title\n1,A-1,tray\n2,A-2,cap\n"
    done = read(shop(tmp_path / "s", items_csv=items, judgments_csv="query,docid,rating\ntray,A-1,2\ncap,A-1,0\n"), ws)
    assert done.catalogue.items["item_id"].tolist() == ["A-1", "A-2"]
    assert decided(done.report, "ids") == ["item_id = 'sku'"]
    assert read(shop(tmp_path / "t", items_csv=items), ws).catalogue.items["item_id"].tolist() == ["1", "2"]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("1001.0", "1001"),
        ("1001", "1001.0"),
        ("007", "7"),
        ("7", "007"),
        ("gid://shopify/Product/55", "55"),
        ("sku-a", "SKU-A"),
    ],
)
def test_ids_that_are_written_in_two_ways(tmp_path: Path, ws: Path, theirs: str, ours: str) -> None:
    folder = shop(tmp_path / "s", items_csv=f"item_id,title\n{ours},tray\nx,cap\n",
                  judgments_csv=f"query,item_id,grade\ntray,{theirs},2\ntray,x,0\n")  # fmt: skip
    done = read(folder, ws)
    assert done.catalogue.judgments["item_id"].tolist() == [ours, "x"]
    assert decided(done.report, "item_id")


def test_ids_as_floats(tmp_path: Path, ws: Path) -> None:
    assert len(read(CASES / "ids-as-floats", ws).catalogue.judgments) == 6
    frame = pd.DataFrame({"item_id": [1.0, 2.0], "title": ["a", "b"]})
    (tmp_path / "p").mkdir()
    frame.to_parquet(tmp_path / "p" / "items.parquet")
    assert read(tmp_path / "p", ws).catalogue.items["item_id"].tolist() == ["1", "2"]
    both = shop(
        tmp_path / "b", items_csv="item_id,title\n1,a\n1.0,b\n", judgments_csv="query,item_id,grade\nq,1.00,1\nq,1,0\n"
    )
    assert validate(both, max_reject_share=1).files[1].rejected == 1, "two items could be meant"


def test_an_optional_value_costs_the_value(ws: Path) -> None:
    done = read(CASES / "prices-as-shops-write-them", ws)
    items = done.catalogue.items
    assert items["price"].fillna(-1).tolist() == [19.99, 49.9, 1299.0, 12.5, -1, 5, 5, 5]
    assert items["currency"].fillna("").tolist()[:4] == ["EUR", "", "", "$"]
    assert [str(d)[:10] for d in items["created_at"].dropna()] == ["2025-03-01", "2025-03-01"]
    feed = read(CASES / "google-feed", ws).catalogue.items
    assert feed.loc[0, ["price", "currency", "category"]].tolist() == [0.99, "EUR", "Home > Kitchen"]


def test_a_thousand_is_never_read_as_one(tmp_path: Path, ws: Path) -> None:
    with pytest.raises(
        DataError, match=r"'1.299', which may be 1299 or 1.299; write decimal = \",\" under \[read.items\]"
    ):
        ingest(CASES / "price-thousands-dot", ws)
    text = (CASES / "price-thousands-dot" / "items.csv").read_text()
    for sign, values in {",": [1299.0, 899.0, 12990.0], ".": [1.299, 899.0, 12.99]}.items():
        done = read(shop(tmp_path / f"s{ord(sign)}", items_csv=text, dataset_toml=f'[read]\ndecimal = "{sign}"\n'), ws)
        assert done.catalogue.items["price"].tolist() == values
    settled = text + "4,oak door,899.50\n"
    assert read(shop(tmp_path / "p", items_csv=settled), ws).catalogue.items["price"].tolist()[:1] == [1.299]
    settled = text + '4,oak door,"899,50"\n'
    assert read(shop(tmp_path / "c", items_csv=settled), ws).catalogue.items["price"].tolist() == [
        1299,
        899,
        12990,
        899.5,
    ]
    numbers = "".join(json.dumps({"item_id": str(n), "title": "tray", "price": 1.299}) + "\n" for n in range(3))
    assert read(shop(tmp_path / "j", items_jsonl=numbers), ws).catalogue.items["price"].tolist() == [1.299] * 3


@pytest.mark.parametrize(
    ("written", "paths"),
    [
        (["Home >> Kitchen", "Home >> Bath"], ["Home > Kitchen", "Home > Bath"]),
        (["Home>Kitchen", "Home>Bath>Tubs"], ["Home > Kitchen", "Home > Bath > Tubs"]),
        (["Home/Kitchen", "Home/Bath", "Garden/Tools", "Garden/Pots"], ["Home > Kitchen", "Home > Bath", "Garden > Tools", "Garden > Pots"]),
        (["/Home/Kitchen/", "/Home/Bath/"], ["Home > Kitchen", "Home > Bath"]),
        (["Home|Kitchen", "Home|Bath"], ["Home > Kitchen", "Home > Bath"]),
        (["Home / Kitchen", "Home / Bath"], ["Home > Kitchen", "Home > Bath"]),
        (["Home::Kitchen", "Home::Bath"], ["Home > Kitchen", "Home > Bath"]),
        (['["Home","Kitchen"]', '["Home"]'], ["Home > Kitchen", "Home"]),
        (["['Home', 'Kitchen']", "['Home']"], ["Home > Kitchen", "Home"]),
        (['[["Home","Kitchen"],["Gifts"]]', '["Home"]'], ["Home > Kitchen", "Home"]),
        (["Home > Kitchen|Gifts > Him", "Home > Bath"], ["Home > Kitchen", "Home > Bath"]),
        (["Clothing, Shoes & Jewelry > Women", "Clothing, Shoes & Jewelry > Men"],
         ["Clothing, Shoes & Jewelry > Women", "Clothing, Shoes & Jewelry > Men"]),
        (["Home > Arts, Crafts & Sewing > Yarn", "Home > Bath"], ["Home > Arts, Crafts & Sewing > Yarn", "Home > Bath"]),
        (["TV/Audio", "Tea/Coffee", "Trays", "Caps"], ["TV/Audio", "Tea/Coffee", "Trays", "Caps"]),
        (["Home > TV/Audio", "Home > Tea"], ["Home > TV/Audio", "Home > Tea"]),
        (["Home > > Kitchen >", "Home"], ["Home > Kitchen", "Home"]),
    ],
)  # fmt: skip
def test_category_separators(tmp_path: Path, ws: Path, written: list[str], paths: list[str]) -> None:
    rows = pd.DataFrame({"item_id": [str(n) for n in range(len(written))], "title": "tray", "category": written})
    done = read(shop(tmp_path / "s", items_csv=rows.to_csv(index=False)), ws)
    assert done.catalogue.items["category"].tolist() == paths


def test_categories_of_a_column_of_every_kind(ws: Path) -> None:
    done = read(CASES / "category-other-separator", ws)
    assert done.catalogue.items["category"].tolist() == [
        "Home > Kitchen > Trays", "Home > Kitchen > Caps", "Home > Kitchen > Jars", "Home > Kitchen > Mugs",
        "Home > Bowls", "Home > Kitchen",
    ]  # fmt: skip
    assert json.loads(done.catalogue.items["attributes"][4]) == {"other categories": ["Gifts > For cooks"]}
    assert "levels separated by '>'" in decided(done.report, "category")[0]


def test_entities_are_decoded_once(tmp_path: Path, ws: Path) -> None:
    assert read(CASES / "entities-in-titles", ws).catalogue.items["title"][0] == "oak tray & lid\u00a0set"
    judged = "query,item_id,grade\noak &amp; lid,1,2\n"
    text = "item_id,title,brand\n1,a &amp;amp; b &#233; &lt;i&gt; AT&T; R&D,Marks &amp; Co\n"
    done = read(shop(tmp_path / "s", items_csv=text, judgments_csv=judged), ws)
    assert done.catalogue.judgments["query_id"].tolist() == ["oak & lid"]
    items = done.catalogue.items
    assert items.loc[0, ["title", "brand"]].tolist() == ["a &amp; b é <i> AT&T; R&D", "Marks & Co"]


# ---------------------------------------------------------------- judgments and logs


def test_a_scale_follows_from_the_grades(tmp_path: Path, ws: Path) -> None:
    settings = read(CASES / "binary-grades", ws).catalogue.settings
    assert (settings.max_grade, settings.relevant_grade) == (1, 1)
    scales = {
        "0 1 2": (2, 2),
        "0 1 2 3": (3, 2),
        "0 4 2": (4, 3),
        "1 3 5": (5, 4),
        "0 10 5": (10, 6),
        "0 0.5 1": (1, 0.5),
        "0 1.5 3": (3, 2),
    }
    for grades, scale in scales.items():
        rows = "".join(f"tray,{n},{g}\n" for n, g in enumerate(grades.split()))
        done = read(
            shop(tmp_path / grades.replace(" ", "-"), items_csv=ITEMS, judgments_csv="query,item_id,grade\n" + rows), ws
        )
        assert (done.catalogue.settings.max_grade, done.catalogue.settings.relevant_grade) == scale, grades


@pytest.mark.parametrize(
    ("toml", "scale"),
    [
        ("max_grade = 1", (1, 1)),
        ("max_grade = 4", (4, 3)),
        ("relevant_grade = 1", (2, 1)),
        ("max_grade = 4\nrelevant_grade = 2", (4, 2)),
    ],
)
def test_what_is_stated_of_a_scale_stands(tmp_path: Path, ws: Path, toml: str, scale: tuple[int, int]) -> None:
    rows = "query,item_id,grade\ntray,0,0\ntray,1,1\n" + ("" if "max_grade = 1" in toml else "tray,2,2\n")
    done = read(shop(tmp_path / "s", items_csv=ITEMS, judgments_csv=rows, dataset_toml=toml + "\n"), ws)
    assert (done.catalogue.settings.max_grade, done.catalogue.settings.relevant_grade) == scale


def test_a_slip_of_the_keyboard_is_no_scale(tmp_path: Path, ws: Path) -> None:
    rows = "".join(f"query {q},{n},{(q + n) % 4}\n" for q in range(20) for n in range(6)) + "query 1,0,99\n"
    done = read(shop(tmp_path / "s", items_csv=ITEMS, judgments_csv="query,item_id,grade\n" + rows), ws)
    assert done.catalogue.settings.max_grade == 3
    assert [(i.rule, i.count) for i in done.report.issues] == [("grade out of range", 1)]


def test_grades_that_never_reach_the_stated_scale_are_said(tmp_path: Path, ws: Path) -> None:
    files = {p.stem + "_csv": p.read_text() for p in (CASES / "binary-grades").iterdir()}
    done = read(shop(tmp_path / "s", **files, dataset_toml="relevant_grade = 2\n"), ws)
    assert any(
        "none reaches relevant_grade = 2" in w and "max_grade = 1 and relevant_grade = 1" in w
        for w in done.report.warnings
    )


def test_one_word_of_another_scale_costs_its_row(tmp_path: Path, ws: Path) -> None:
    rows = "".join(f"tray,{n},{word}\n" for n, word in enumerate(["Exact", "Partial", "Irrelevant", "Exact", "Maybe"]))
    done = read(shop(tmp_path / "s", items_csv=ITEMS, judgments_csv="query,item_id,label\n" + rows), ws, share=0.5)
    assert done.catalogue.judgments["grade"].tolist() == [2, 1, 0, 2]
    assert "label 'Maybe'" in done.report.issues[0].examples[0]


def test_the_id_of_a_row_is_not_its_items(tmp_path: Path, ws: Path) -> None:
    rows = "id,query,product_id,label\n0,tray,3,Exact\n1,tray,4,Partial\n"
    assert read(shop(tmp_path / "s", items_csv=ITEMS, label_csv=rows), ws).catalogue.judgments["item_id"].tolist() == [
        "3",
        "4",
    ]
    log = "id,query,product_id,event\n0,tray,3,click\n1,tray,4,click\n"
    assert logged(read(shop(tmp_path / "l", items_csv=ITEMS, log_csv=log), ws))["item_id"].tolist() == ["3", "4"]


@pytest.mark.parametrize(
    ("words", "grades"),
    [("Exact Partial Irrelevant", [2, 1, 0]), ("E S C I", [3, 2, 1, 0]), ("yes no", [1, 0]), ("TRUE FALSE", [1, 0])],
)
def test_grades_in_words(tmp_path: Path, ws: Path, words: str, grades: list[int]) -> None:
    rows = "".join(f"tray,{n},{word}\n" for n, word in enumerate(words.split()))
    done = read(shop(tmp_path / "s", items_csv=ITEMS, judgments_csv="query,item_id,label\n" + rows), ws)
    assert done.catalogue.judgments["grade"].tolist() == grades


def test_an_event_log(ws: Path) -> None:
    done = read(CASES / "event-log", ws)
    log = logged(done)
    assert log["clicks"].tolist() == [1, 0, 0, 0, 0, 0]
    assert log["impressions"].tolist() == [1] * 6, "what was clicked was shown"
    assert log["position"].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("column", "shown", "clicked", "bought", "other"),
    [
        ("event_type", "impression", "click", "purchase", "search"),
        ("action", "view_item_list", "select_item", "add_to_cart", "remove_from_cart"),
        ("event", "Product List Viewed", "Product Clicked", "Order Completed", "Product Removed Twice"),
        ("type", "SHOW", "CLICK", "BUY", "scroll"),
        ("event_name", "displayed", "clicked", "transaction", "login"),
    ],
)
def test_event_types(tmp_path: Path, ws: Path, column: str, shown: str, clicked: str, bought: str, other: str) -> None:
    rows = [(shown, 0), (shown, 1), (clicked, 1), (bought, 1), (other, 0)]
    text = f"query,item_id,{column},position\n" + "".join(f"tray,{n},{event},{n}\n" for event, n in rows)
    done = read(shop(tmp_path / "s", items_csv=ITEMS, interactions_csv=text), ws)
    log = logged(done)
    counts = {"impressions": 2, "clicks": 1, "purchases": 0 if bought == "add_to_cart" else 1}
    assert {name: log[name].sum() for name in counts} == counts
    assert log["position"].min() == 1
    assert sum(n for _, _, n in done.report.skipped) == (2 if bought == "add_to_cart" else 1)


def test_unknown_events_are_not_counted_and_can_be_named(tmp_path: Path, ws: Path) -> None:
    text = "query,item_id,event\ntray,1,impression\ntray,1,klick\ntray,2,click\n"
    done = read(shop(tmp_path / "s", items_csv=ITEMS, interactions_csv=text), ws)
    assert any("'klick'" in w and "not counted" in w for w in done.report.warnings)
    toml = '[read.interactions.events]\nklick = "click"\n'
    named = read(shop(tmp_path / "n", items_csv=ITEMS, interactions_csv=text, dataset_toml=toml), ws)
    assert named.catalogue.interactions["clicks"].sum() == done.catalogue.interactions["clicks"].sum() + 1


def test_one_search_one_query_id(tmp_path: Path, ws: Path) -> None:
    log = read(CASES / "one-search-one-query-id", ws).catalogue
    assert log.queries["query_id"].tolist()[:1] == ["oak tray"]
    assert len(log.queries[log.queries["source"] == "log"]) == 1
    assert log.interactions["session"].tolist() == [f"s{n}" for n in range(10)]
    own = "query_id,query,item_id,clicks\nq1,tray,0,1\nq2,cap,1,1\nq1,tray,2,1\n"
    kept = read(shop(tmp_path / "s", items_csv=ITEMS, interactions_csv=own), ws)
    assert set(logged(kept)["query_id"]) == {"q1", "q2"}


def test_values_inside_a_json_column(ws: Path) -> None:
    done = read(CASES / "wrong-suggestion", ws)
    assert done.catalogue.interactions[["item_id", "session"]].to_numpy().tolist() == [
        ["0", "c0"],
        ["1", "c1"],
        ["2", "c2"],
    ]


# ---------------------------------------------------------------- exports of other programs


SHOPIFY = """Handle,Title,Body (HTML),Vendor,Product Category,Type,Variant SKU,Variant Price,Image Src
oak-tray,Oak Tray,<p>Oak &amp; oil</p>,Halden,Home & Garden > Kitchen,Tray,OT-S,19.00,a.jpg
oak-tray,,,,,,OT-L,25.00,b.jpg
oak-tray,,,,,,,,c.jpg
wool-cap,Wool Cap,,Norra,Clothing > Hats,Cap,WC,9.50,d.jpg
"""


def test_shopify_products_and_variants(tmp_path: Path, ws: Path) -> None:
    quepid = "query,docid,rating\ntray,oak-tray,3\ntray,wool-cap,0\ncap,wool-cap,\n"
    done = read(shop(tmp_path / "p", products_csv=SHOPIFY, quepid_csv=quepid), ws)
    items = done.catalogue.items
    assert items[["item_id", "title", "seller", "price", "description"]].to_numpy().tolist()[0] == [
        "oak-tray", "Oak Tray", "Halden", 19.0, "Oak & oil",
    ]  # fmt: skip
    assert items["category"].tolist() == ["Home & Garden > Kitchen", "Clothing > Hats"]
    assert done.report.skipped == (
        ("products.csv", "variants and pictures of a product", 2), ("quepid.csv", "without a grade: not judged", 1),
    )  # fmt: skip
    by_sku = quepid.replace("oak-tray", "OT-L").replace("wool-cap", "WC")
    variants = read(shop(tmp_path / "v", products_csv=SHOPIFY, quepid_csv=by_sku), ws)
    assert variants.catalogue.items[["item_id", "title", "price"]].to_numpy().tolist() == [
        ["OT-S", "Oak Tray", 19.0], ["OT-L", "Oak Tray", 25.0], ["WC", "Wool Cap", 9.5],
    ]  # fmt: skip
    assert ("products.csv", "pictures of a product", 1) in variants.report.skipped


def test_woocommerce(tmp_path: Path, ws: Path) -> None:
    text = (
        "ID,Type,SKU,Name,Regular price,Categories,Parent\n"
        '10,variable,T,Oak Tray,,"Home > Trays, Gifts > For cooks",\n'
        '11,variation,T-S,Oak Tray - S,"12,50",,T\n12,simple,C,Wool Cap,"9,50",Clothing > Hats,\n'
    )
    done = read(shop(tmp_path / "s", products_csv=text), ws)
    assert done.catalogue.items[["item_id", "category"]].to_numpy().tolist() == [
        ["10", "Home > Trays"],
        ["12", "Clothing > Hats"],
    ]
    assert done.catalogue.items["price"].tolist()[1] == 9.5
    assert done.report.skipped == (("products.csv", "variations of a product", 1),)


def test_user_behavior_insights(tmp_path: Path, ws: Path) -> None:
    searches = [{"query_id": f"q{n}", "client_id": "c", "user_query": "Oak Tray", "query_response_id": f"r{n}",
                 "query_response_hit_ids": ["1", "0"], "timestamp": 1740823200000} for n in range(3)]  # fmt: skip
    events = [
        {"action_name": "on_search", "query_id": "q0", "client_id": "c"},
        {"action_name": "click", "query_id": "q0", "client_id": "c", "timestamp": 1740823205000,
         "event_attributes": {"object": {"object_id": "0"}, "position": {"ordinal": 2}}},
    ]  # fmt: skip
    lines = {
        f"ubi-{n}_ndjson": "\n".join(map(json.dumps, rows)) for n, rows in (("queries", searches), ("events", events))
    }
    flat = pd.json_normalize(events).to_csv(index=False)
    tables = {"ubi-queries_csv": pd.DataFrame(searches).to_csv(index=False), "ubi-events_csv": flat}
    logs = []
    for name, files in (("lines", lines), ("tables", tables)):
        log = logged(read(shop(tmp_path / name, items_csv=ITEMS, **files), ws))
        logs.append(log.sort_values(["session", "item_id", "clicks"], ignore_index=True))
        assert log["query_id"].unique().tolist() == ["oak tray"]
        assert log[["impressions", "clicks"]].sum().tolist() == [6, 1]
        assert log.loc[log["clicks"] == 1, "position"].tolist() == [2]
    pd.testing.assert_frame_equal(*logs)
