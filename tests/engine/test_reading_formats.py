"""The formats that people hold, on small files in their public layouts (tests/cases/formats), whole and damaged."""

from __future__ import annotations

import datetime
import json
import math
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.datasets.reading import json_any, ltr, merchant_xml, qrels, rated_json, ubi, workbook
from engine.datasets.reading.raw import BadRow
from engine.datasets.reading.records import Record
from engine.errors import DataError

CASES = Path(__file__).parents[1] / "cases" / "formats"
READERS: dict[str, Any] = {
    "qrels": qrels, "ltr": ltr, "rre": rated_json, "rank_eval": rated_json, "quepid": rated_json,
    "search_relevance_workbench": rated_json, "json": json_any, "elastic": json_any, "algolia": json_any,
    "shopify": json_any, "merchant": merchant_xml, "ubi": ubi,
}  # fmt: skip
FILES = sorted(CASES.glob("*/*"))


class Read(NamedTuple):
    values: list[dict[str, Any]]
    places: list[int]
    bad: list[BadRow]


def gather(found: Iterator[Record | BadRow]) -> Read:
    rows = list(found)
    good = [row for row in rows if isinstance(row, Record)]
    bad = [row for row in rows if isinstance(row, BadRow)]
    return Read([dict(row.values) for row in good], [row.line for row in good], bad)


def case(name: str) -> Read:
    path = CASES / name
    return gather(READERS[path.parent.name].records(path))


def read(reader: Any, tmp_path: Path, content: str | bytes, name: str = "given") -> Read:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return gather(reader.records(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_each_format_is_recognised_by_content_and_no_other_claims_it(path: Path) -> None:
    head = path.read_text()
    claimed = {reader for reader in READERS.values() if reader.recognise(head)}
    own = READERS[path.parent.name]
    assert own in claimed
    # JSON in any shape holds the others that are JSON; the caller asks for those first.
    assert claimed - {json_any} <= {own}
    assert own.recognise("\ufeff" + head)


@pytest.mark.parametrize(
    "head",
    [
        "item_id,title\na,Kettle\n", "", "\n", "query\titem_id\tgrade\nkettle\ta\t3\n", "a b c d\n", "q1\t120\tB01\t3\nq1\t80\tB02\t1\n",
        "[section]\nname = 1\n", "<html><body>rss</body></html>", "<!-- a --><!-- b --> <!DOCTYPE html>" * 200, "kettle\n",
        "{not json}", "1,2,3,4\n", "PK\x03\x04",
    ],
)  # fmt: skip
def test_other_files_are_claimed_by_none(head: str) -> None:
    assert not [reader.__name__ for reader in set(READERS.values()) if reader.recognise(head)]


# Judgments.


def test_a_catalogue_with_ratings_is_no_list_of_judgments() -> None:
    content = json.dumps({"products": [{"id": "a", "topics": ["tea"], "ratings": {"5": 2}, "queries": []}]})
    assert not rated_json.recognise(content)
    assert rated_json.recognise(
        '{"scorer": {"code": "\\"[{", "scale": [0]}, "queries": [{"query_text": "a", "ratings": {'
    )


def test_qrels() -> None:
    rows = case("qrels/judgments.qrels")
    assert [(r["query_id"], r["item_id"], r["grade"]) for r in rows.values] == [
        ("1", "B01", 3), ("1", "B02", 0), ("2", "B03", -2), ("2", "B 04", 1),
    ]  # fmt: skip
    assert not rows.bad


def test_damaged_qrels(tmp_path: Path) -> None:
    rows = read(qrels, tmp_path, b"1 0 a 3\n1 0 b\n1 0 c high\n\n1 0 \xff 1\r\n1 0 e 1.5\r\n")
    assert [r["grade"] for r in rows.values] == [3, 1.5]
    assert rows.places == [1, 6]
    assert [(b.line, b.why.split(";")[0].split(",")[0]) for b in rows.bad] == [
        (2, "it has 3 values where a TREC qrels line has four: query id"),
        (3, "its fourth value"),
        (5, "it is not UTF-8"),
    ]
    assert rows.bad[2].text == r"1 0 \xff 1"


def test_ltr_reads_texts_from_the_header() -> None:
    rows = case("ltr/header.txt")
    assert [(r["query_id"], r["query"], r["item_id"], r["grade"]) for r in rows.values] == [
        ("1", "kettle", "B01", 4), ("1", "kettle", "B02", 0), ("2", "travel kettle", "B03", 3),
    ]  # fmt: skip
    assert rows.places == [6, 7, 8]


def test_ltr_reads_texts_from_comments_that_agree() -> None:
    assert [r["query"] for r in case("ltr/quepid.txt").values] == ["red kettle", "red kettle", "kettle"]
    assert [r["item_id"] for r in case("ltr/letor.txt").values] == ["GX029-35", "G34-15"]


def test_ltr_takes_no_title_for_a_query(tmp_path: Path) -> None:
    rows = read(ltr, tmp_path, "4 qid:1 # a\tKettle\n3 qid:1 # b\tToaster\n2 qid:2 # c\tLamp\n")
    assert [r["item_id"] for r in rows.values] == ["a", "b", "c"]
    assert not any("query" in r for r in rows.values)


def test_ltr_without_comments_names_no_item(tmp_path: Path) -> None:
    rows = read(ltr, tmp_path, "3 qid:1 1:0.5 2:0.1\n2 qid:1 1:0.5 #\nhigh qid:1 # a\n3 qid:1 1:x y # a\n1 qid:2 # b\n")
    assert [r["item_id"] for r in rows.values] == ["b"]
    assert [b.line for b in rows.bad] == [1, 2, 3, 4]
    assert "names no item" in rows.bad[0].why
    assert "3 qid:1 1:0.5 # B01" in rows.bad[2].why


def test_rre() -> None:
    rows = case("rre/ratings.json").values
    assert {(r["query"], r["item_id"], float(r["grade"])) for r in rows} == {
        ("kettle", "B01", 3), ("Kettles", "B01", 3), ("kettle", "B02", 3), ("Kettles", "B02", 3),
        ("kettle", "B03", 1), ("Kettles", "B03", 1), ("acme", "B09", 2),
    }  # fmt: skip
    assert len(rows) == 7
    assert [(r["query"], r["item_id"]) for r in case("rre/quepid.json").values] == [
        ("star lamp", "L9"), ("star lamp", "L1"),
    ]  # fmt: skip


def test_rank_eval() -> None:
    rows = case("rank_eval/request.json")
    assert [(r["query"], r["item_id"], r["grade"]) for r in rows.values] == [
        ("kettle", "B01", 3), ("kettle", "B02", 0), ("red kettle", "B01", 1), ("lamp", "L1", 2), ("toaster", "T1", 1),
        ("水壶", "B07", 1),
    ]  # fmt: skip
    assert rows.places == [1, 1, 2, 3, 4, 6]  # The number of the query.


def test_quepid_and_search_relevance_workbench() -> None:
    assert [(r["query"], r["item_id"], r["grade"]) for r in case("quepid/case.json").values] == [
        ("kettle", "B01", 3), ("kettle", "B02", 0),
    ]  # fmt: skip
    assert [r["query"] for r in case("quepid/ratings.json").values] == ["kettle", "lamp"]
    rows = case("search_relevance_workbench/judgments.json").values
    assert [(r["query"], r["item_id"], r["grade"]) for r in rows] == [
        ("kettle", "B01", "3.000"),
        ("kettle", "B02", "0.000"),
    ]


def test_rated_json_with_wrong_parts(tmp_path: Path) -> None:
    groups = [
        7, {"ratings": [{"_id": "a", "rating": 1}]}, {"query": "kettle", "ratings": [{"rating": 1}, "a", {"_id": 0, "rating": 2}]},
        {"query": "lamp", "ratings": "all"}, {"query": "half \ud83d", "ratings": {"a": 1}}, {"query": "none", "ratings": None},
    ]  # fmt: skip
    rows = read(rated_json, tmp_path, json.dumps({"queries": groups}))
    assert [(r["query"], r["item_id"], r["grade"]) for r in rows.values] == [("kettle", 0, 2)]
    assert [b.line for b in rows.bad] == [1, 2, 3, 3, 4, 5]
    assert [
        w in b.why for b, w in zip(rows.bad, ["object", "query", "no item", "no item", "neither", "half"], strict=True)
    ] == [True] * 6


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ('{"queries": [{"query": "a", "ratings": {"x": 1}}', ["given:1", "cut short"]),
        ('{"queries": [\n {"query": "a" "ratings": {}}]}', ["given:2", "mend"]),
        ('{"queries": 1}', ["no list of judgments", "'requests'"]),
        ("[" * 100_000, ["nested too deeply"]),
        (b'{"queries": ["\xff"]}', ["not UTF-8 (byte 14)"]),
        ('{"queries": [' + "9" * 5000 + "]}", ["thousands of digits"]),
    ],
)
def test_rated_json_that_cannot_be_read(tmp_path: Path, content: str | bytes, parts: list[str]) -> None:
    with pytest.raises(DataError) as error:
        read(rated_json, tmp_path, content)
    assert all(part in str(error.value) for part in parts), error.value


# JSON in any shape.

ITEMS = [{"item_id": "a", "title": "Kettle"}, {"item_id": "b", "title": "Lamp"}]
ARRAY = json.dumps(ITEMS)


def test_json_shapes_of_the_cases() -> None:
    assert case("json/array.json").values == [
        {"item_id": "a", "title": "Kettle", "price": None}, {"item_id": "b", "title": "Käse 水壶", "price": 2.5},
    ]  # fmt: skip
    assert case("json/wrapped.json").values == ITEMS
    assert case("json/by_id.json").values == [
        {"item_id": "B01", "title": "Kettle"}, {"item_id": "own", "title": "Lamp"},
    ]  # fmt: skip
    assert case("json/graphql.json").values == [{"id": "1", "title": "Kettle"}]


def test_elastic_unwraps_documents() -> None:
    assert [r.get("item_id") for r in case("elastic/dump.ndjson").values] == ["a", "b"]
    assert case("elastic/response.json").values == ITEMS
    bulk = case("elastic/bulk.ndjson")
    assert bulk.values == [
        {"item_id": "a", "title": "Kettle"}, {"item_id": "own", "title": "Lamp"}, {"title": "No id"},
        {"item_id": "c", "title": "Toaster"},
    ]  # fmt: skip
    assert bulk.places == [2, 4, 6, 8]
    assert ["deletes" in b.why for b in bulk.bad] == [True]


def test_bulk_actions_without_documents_are_told(tmp_path: Path) -> None:
    lines = ['{"index": {"_id": "a"}}', '{"index": {"_id": "b"}}', '{"title": "B"}', '{"index": {"_id": "c"}}']
    rows = read(json_any, tmp_path, "\n".join(lines))
    assert rows.values == [{"item_id": "b", "title": "B"}]
    assert [b.line for b in rows.bad] == [1, 4]


def test_a_judgment_out_of_elastic_is_not_named_by_its_document(tmp_path: Path) -> None:
    line = {"_id": "auto", "_source": {"query": "kettle", "docid": "a", "grade": 3}}
    assert read(json_any, tmp_path, json.dumps(line)).values == [{"_id": "auto", **line["_source"]}]  # type: ignore[dict-item]


def test_scrolled_responses_a_line(tmp_path: Path) -> None:
    page = json.dumps({"took": 1, "hits": {"total": 2, "hits": [{"_id": "a", "_source": {"title": "Kettle"}}]}})
    assert read(json_any, tmp_path, f"{page}\n{page}\n").values == [ITEMS[0]] * 2


def test_algolia_and_shopify() -> None:
    rows = case("algolia/export.json").values
    assert [(r["item_id"], r["category"]) for r in rows] == [
        ("a", "Kitchen > Kettles"), ("b", "Home > Lamps"), ("c", "Own"),
    ]  # fmt: skip
    kettle, card = case("shopify/products.json").values
    assert (kettle["id"], kettle["price"], kettle["sku"], kettle["variants"]) == (632910392, "19.00", "K-R", 2)
    assert kettle["image_url"] == "https://shop.example/k.jpg"
    assert card["variants"] == 0
    assert "price" not in card


@pytest.mark.parametrize(
    "content",
    [
        ARRAY, "\ufeff" + ARRAY, " \n" + ARRAY.replace("}, {", "}\n,\r\n{") + "\n", ARRAY[:-1] + ",]", '{"items": ' + ARRAY + "}",
        '{"items": [\n' + "\n".join(map(json.dumps, ITEMS)).replace("\n", ",\n") + "\n]\n}", '{"shop": {"things": ' + ARRAY + "}}",
        '{"meta": {"n": 2}, "facets": [], "results": ' + ARRAY + "}", json.dumps(ITEMS, indent=2), "".join(map(json.dumps, ITEMS)),
        "\n".join(json.dumps(item, indent=1) for item in ITEMS), "\r\n\r\n".join(map(json.dumps, ITEMS)),
        '{"item_id": {"0": "a", "1": "b"}, "title": {"0": "Kettle", "1": "Lamp"}}', '{"item_id": ["a", "b"], "title": ["Kettle", "Lamp"]}',
        '{"hits": {"hits": ' + ARRAY + ', "total": 2}, "hits2": {"hits": 1}}',
    ],
)  # fmt: skip
def test_equal_records_in_every_layout(tmp_path: Path, content: str) -> None:
    assert read(json_any, tmp_path, content).values == ITEMS
    assert json_any.recognise(content)


def test_values_that_json_does_not_know_are_missing(tmp_path: Path) -> None:
    (row,) = read(
        json_any, tmp_path, '[{"a": NaN, "b": -Infinity, "c": 1e999, "d": [NaN], "": 1, " ": 2, "x": 1, "x": 2}]'
    ).values
    assert row == {"a": None, "b": None, "c": None, "d": [None], "x": 2}


def test_bad_lines_cost_themselves_alone(tmp_path: Path) -> None:
    lines = [
        b'{"item_id": "a",, }', b'{"item_id": "b"}', b"hello", b"[1]", b'{"t": "\\ud83d"}', b'{"t": "\xe9"}', b"", b"[" * 100_000,
        b'{"n": ' + b"9" * 5000 + b"}", b'{"item_id": "c"', b'{"item_id": "d"}',
    ]  # fmt: skip
    rows = read(json_any, tmp_path, b"\n".join(lines))
    assert [r["item_id"] for r in rows.values] == ["b", "d"]
    assert rows.places == [2, 11]
    said = {
        1: "not JSON",
        3: "not JSON",
        4: "not a JSON object",
        5: "surrogate",
        6: "not UTF-8",
        8: "deeply",
        9: "digits",
        10: "not JSON",
    }
    assert [b.line for b in rows.bad] == list(said)
    assert all(said[b.line] in b.why for b in rows.bad)
    assert rows.bad[4].text == r'{"t": "\xe9"}'


def test_bad_records_of_an_array_cost_themselves_alone(tmp_path: Path) -> None:
    rows = read(json_any, tmp_path, b'[{"i": 1}, 2, null, "x", {"t": "\xe9"}, {"t": "\\ud83d"}, {"i": 7}]')
    assert rows.values == [{"i": 1}, {"i": 7}]
    assert rows.places == [1, 7]
    assert [b.line for b in rows.bad] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (ARRAY[:-1], ["given ends in the midst", "copy or write it again"]),
        (ARRAY[:-4], ["given ends within a record"]),
        ('{"items": ' + ARRAY, ["ends in the midst"]),
        ('[{"a": 1},\n {"a": 1 "b": 2}]', ["given:2", "character 10", "mend"]),
        ('[{"a": 1}\n {"a": 1}]', ["given:2", "','"]),
        ('[{"a": 1},\n' + "[" * 100_000, ["given:2", "nested too deeply"]),
        ("[1, " + "9" * 5000 + "]", ["thousands of digits"]),
        ('{"products": [{"a": 1}], "events": [{"b": 1}]}', ["'products' and 'events'", "keep one"]),
        ('{"items":\n 1 "b": 2}', ["given:2"]),
    ],
)
def test_documents_that_cannot_be_divided(tmp_path: Path, content: str, parts: list[str]) -> None:
    with pytest.raises(DataError) as error:
        read(json_any, tmp_path, content)
    assert all(part in str(error.value) for part in parts), error.value


def test_empty_documents_hold_no_records(tmp_path: Path) -> None:
    for content in ("", "[]", '{"products": []}', " \n"):
        assert read(json_any, tmp_path, content) == ([], [], []), content


def test_one_object_is_one_record(tmp_path: Path) -> None:
    row = {"item_id": "a", "title": "Kettle", "stock": [{"place": "x"}], "size": {"w": 1}}
    assert read(json_any, tmp_path, json.dumps(row)).values == [row]
    assert read(json_any, tmp_path, json.dumps(row, indent=1)).values == [row]


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda name: (
        bool(name.strip()) and name not in (json_any.CONTAINERS | {"variants", "node", "_source", "index", "hits"})
    )
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(
    st.characters(exclude_categories=["Cs"])
)  # fmt: skip
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
ROWS = st.lists(
    st.dictionaries(NAMES, VALUES, max_size=4).map(lambda row: {"item_id": "x", **row}), min_size=1, max_size=5
)
LAYOUTS: dict[str, Callable[[list[dict[str, Any]], bool], str]] = {
    "array": lambda rows, ascii: json.dumps(rows, ensure_ascii=ascii),
    "indented": lambda rows, ascii: json.dumps(rows, ensure_ascii=ascii, indent=2),
    "lines": lambda rows, ascii: "\n".join(json.dumps(row, ensure_ascii=ascii) for row in rows),
    "wrapped": lambda rows, ascii: json.dumps({"n": 1, "meta": {"a": {}}, "products": rows}, ensure_ascii=ascii, indent=1),
    "bulk": lambda rows, ascii: "\n".join('{"index": {}}\n' + json.dumps(row, ensure_ascii=ascii) for row in rows),
    "hits": lambda rows, ascii: json.dumps(
        {"hits": {"total": 1, "hits": [{"_id": "z", "_source": row} for row in rows]}}, ensure_ascii=ascii
    ),
    "keyed": lambda rows, ascii: json.dumps({str(i): row for i, row in enumerate(rows)} | {"~": {"item_id": "x"}}, ensure_ascii=ascii),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, ascii=st.booleans(), window=st.integers(1, 40))
def test_what_is_written_is_read(
    layout: str, rows: list[dict[str, Any]], ascii: bool, window: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(json_any, "_WINDOW", window)  # Windows that end anywhere.
        found = read(json_any, tmp_path, LAYOUTS[layout](rows, ascii))
    assert not found.bad
    expected = [{name: v for name, v in row.items() if name.strip()} for row in rows]
    assert found.values == ([*expected, {"item_id": "x"}] if layout == "keyed" else expected)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, layout=st.sampled_from(sorted(LAYOUTS)), cut=st.floats(0, 1), damage=st.binary(max_size=2))
def test_damaged_json_is_read_or_told(
    rows: list[dict[str, Any]], layout: str, cut: float, damage: bytes, tmp_path: Path
) -> None:
    content = LAYOUTS[layout](rows, False).encode()
    at = math.floor(cut * len(content))
    for changed in (content[:at], content[:at] + damage + content[at:]):
        found, told = Read([], [], []), "given"
        try:
            found = read(json_any, tmp_path, changed)
        except DataError as error:
            told = str(error)
        assert told.startswith("given")
        for row in found.values:
            json.dumps(row, ensure_ascii=False).encode()
        for bad in found.bad:
            bad.text.encode()


def test_large_arrays_are_not_held(tmp_path: Path) -> None:
    """64 MB of records pass through a process that may not take as much."""
    path = tmp_path / "items.json"
    row = json.dumps({"item_id": "a", "title": "k" * 1000})
    with path.open("w") as file:
        file.write('{"products": [' + row)
        for _ in range(64_000):
            file.write("," + row)
        file.write("]}")
    code = (
        "import resource, sys; from pathlib import Path; from engine.datasets.reading import json_any\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "n = sum(1 for _ in json_any.records(Path(sys.argv[1])))\n"
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    n, grown = map(int, done.stdout.split())
    assert n == 64_001
    assert grown < 30_000  # KB.


# Merchant feeds.


def test_merchant_rss() -> None:
    rows = case("merchant/rss.xml")
    kettle, lamp = rows.values
    assert kettle == {
        "id": "a", "title": "Kettle & stand", "description": "Käse 水壶&nbsp;&amp; more", "link": "https://shop.example/a?x=1&y=2",
        "image_link": "https://shop.example/a.jpg", "price": "19.99 EUR", "brand": "Acme", "product_type": "Kitchen > Kettles",
        "additional_image_link": ["https://shop.example/a1.jpg", "https://shop.example/a2.jpg"],
        "google_product_category": "730", "shipping": {"country": "DE", "price": "4.90 EUR"},
    }  # fmt: skip
    assert lamp == {"id": "b", "title": "Lamp"}
    assert rows.places == [7, 24]
    assert [(b.line, "<g:id>" in b.why) for b in rows.bad] == [(25, True)]


def test_merchant_atom() -> None:
    assert case("merchant/atom.xml").values == [
        {"id": "a", "title": "Kettle", "link": "https://shop.example/a", "summary": "Boils"}
    ]


def test_merchant_without_declared_names(tmp_path: Path) -> None:
    content = (
        "\ufeff<rss><channel><item><g:id>a</g:id><description>Boils <b>fast</b></description></item></channel></rss>"
    )
    assert read(merchant_xml, tmp_path, content).values == [{"id": "a", "description": "Boils fast"}]


ENTITIES = '<!DOCTYPE rss [\n<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (
            ENTITIES + "<rss><channel><item><id>&b;</id></item></channel></rss>",
            ["given:2", "declares entities", "remove"],
        ),
        (ENTITIES.replace('"ha"', 'SYSTEM "file:///etc/passwd"') + "<rss/>", ["given:2", "declares entities"]),
        ("<rss><channel><item><id>a</id>", ["given:1", "no element found", "copy or write it again"]),
        ("<rss><channel>\n<item><id>a</item></channel></rss>", ["given:2", "mismatched tag", "character 14"]),
        (b"<rss><channel><item><id>\xff</id></item></channel></rss>", ["given:1", "not well-formed"]),
        ("<rss><channel><item><id>a & b</id></item></channel></rss>", ["given:1", "not well-formed", "'&amp;'"]),
    ],
)
def test_feeds_that_cannot_be_read(tmp_path: Path, content: str | bytes, parts: list[str]) -> None:
    with pytest.raises(DataError) as error:
        read(merchant_xml, tmp_path, content)
    assert all(part in str(error.value) for part in parts), error.value
    assert merchant_xml.recognise(content if isinstance(content, str) else content.decode("utf-8", "replace"))


def test_items_before_the_damage_are_given_first(tmp_path: Path) -> None:
    path = tmp_path / "feed.xml"
    path.write_text("<rss><channel><item><id>a</id></item><item><id>b")
    found = merchant_xml.records(path)
    assert next(found) == Record(1, {"id": "a"})
    with pytest.raises(DataError):
        next(found)


def test_a_document_type_without_entities_is_harmless(tmp_path: Path) -> None:
    content = (
        '<!DOCTYPE rss SYSTEM "http://shop.example/rss.dtd"><rss><channel><item><id>a&uuml;</id></item></channel></rss>'
    )
    assert read(merchant_xml, tmp_path, content).values == [{"id": "a&uuml;"}]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.dictionaries(
            st.sampled_from(["id", "title", "price", "brand"]),
            st.text(
                st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="\ufffe\uffff"),
                min_size=1,
            ),
            min_size=1,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_feeds_are_read_as_written(rows: list[dict[str, str]], tmp_path: Path) -> None:
    from xml.sax.saxutils import escape

    items = "".join(
        "<item>" + "".join(f"<g:{k}>{escape(v)}</g:{k}>" for k, v in row.items()) + "</item>" for row in rows
    )
    content = f'<rss xmlns:g="http://base.google.com/ns/1.0"><channel>{items}</channel></rss>'
    assert read(merchant_xml, tmp_path, content).values == rows


# Workbooks.


def book(path: Path, **sheets: list[list[object]]) -> Path:
    made = openpyxl.Workbook()
    made.remove(made.worksheets[0])
    for title, rows in sheets.items():
        sheet = made.create_sheet(title)
        for row in rows:
            sheet.append(row)
    made.save(path)
    return path


def test_workbook(tmp_path: Path) -> None:
    path = book(
        tmp_path / "items.xlsx",
        Notes=[["x"]] * 3,
        Products=[
            ["Our products"], [], ["item_id", " title ", None, "price", "since", "shown"],
            [1001.0, "Kettle", None, 19.9, datetime.datetime(2026, 1, 2), True], [None] * 6,
            [4006381333931, "Käse 水壶", "note", "#N/A", datetime.datetime(2026, 1, 2, 3, 4), False, "beyond"], ["  ", None],
        ],
    )  # fmt: skip
    rows = gather(workbook.records(path))
    assert rows.values == [
        {"item_id": 1001, "title": "Kettle", "price": 19.9, "since": "2026-01-02", "shown": True},
        {"item_id": 4006381333931, "title": "Käse 水壶", "column_3": "note", "since": "2026-01-02T03:04:00", "shown": False, "column_7": "beyond"},
    ]  # fmt: skip
    assert rows.places == [4, 6]
    assert workbook.recognise(path.read_bytes()[: 1 << 16])


def test_a_workbook_of_another_name_is_one(tmp_path: Path) -> None:
    path = book(tmp_path / "items.xlsx", S=[["item_id", "title"], ["a", "Kettle"]]).rename(tmp_path / "items.csv")
    assert gather(workbook.records(path)).values == [{"item_id": "a", "title": "Kettle"}]


def test_the_sheet_named_like_the_file_is_read(tmp_path: Path) -> None:
    many = [["item_id", "title"], *([i, "x"] for i in range(9))]
    few = [["query", "item_id"], ["kettle", "a"]]
    judgments: dict[str, Any] = {"Products": many, "Judgments": few}
    assert len(gather(workbook.records(book(tmp_path / "judgments.xlsx", **judgments))).values) == 1
    assert len(gather(workbook.records(book(tmp_path / "export.xlsx", **judgments))).values) == 1
    assert len(gather(workbook.records(book(tmp_path / "two.xlsx", One=few, Two=many))).values) == 9


def test_merged_cells_and_one_column(tmp_path: Path) -> None:
    made = openpyxl.Workbook()
    sheet = made.worksheets[0]
    for row in (["Kettles of 2026", None], ["item_id", "title"], ["a", "Kettle"]):
        sheet.append(row)
    sheet.merge_cells("A1:B1")
    made.save(tmp_path / "merged.xlsx")
    assert gather(workbook.records(tmp_path / "merged.xlsx")).values == [{"item_id": "a", "title": "Kettle"}]
    assert gather(workbook.records(book(tmp_path / "q.xlsx", S=[["query"], ["kettle"], [7]]))).values == [
        {"query": "kettle"},
        {"query": 7},
    ]


def test_a_wrong_dimension_loses_no_rows(tmp_path: Path) -> None:
    good = book(tmp_path / "good.xlsx", S=[["item_id", "title"], ["a", "Kettle"], ["b", "Lamp"]])
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(tmp_path / "items.xlsx", "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b'ref="A1:B3"', b'ref="A1"'))
    assert len(gather(workbook.records(tmp_path / "items.xlsx")).values) == 2


def test_workbooks_that_cannot_be_read(tmp_path: Path) -> None:
    good = book(tmp_path / "good.xlsx", S=[["item_id", "title"], ["a", "Kettle"]]).read_bytes()
    ole = bytes.fromhex("d0cf11e0a1b11ae1")
    files: dict[str, tuple[bytes, list[str]]] = {
        "cut.xlsx": (good[: len(good) // 2], ["cut.xlsx cannot be read", "cut short"]),
        "old.xls": (ole + b"\0" * 600, ["old kind", "save it as .xlsx or CSV"]),
        "locked.xlsx": (
            ole + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le"),
            ["password", "save it without one"],
        ),
        "broken.xlsx": (good.replace(b"PK\x05\x06", b"PK\x05\x07"), ["cannot be read"]),
    }
    for name, (content, parts) in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert workbook.recognise(content[: 1 << 16])
        with pytest.raises(DataError) as error:
            gather(workbook.records(path))
        assert all(part in str(error.value) for part in parts), error.value
    for rows, part in (([], "is empty"), ([["a", "b", "a"], [1, 2, 3]], "names column 'a' more than once")):
        with pytest.raises(DataError, match=part):
            gather(workbook.records(book(tmp_path / "sheet.xlsx", S=rows)))
    with pytest.raises(DataError, match="column 'price' of sheet 'S' holds formulas"):
        gather(workbook.records(book(tmp_path / "f.xlsx", S=[["item_id", "price"], ["a", "=1+1"], ["b", None]])))
    assert not workbook.recognise(b"PK\x03\x04items.csv")


# User behaviour.


def test_ubi_files() -> None:
    shown = case("ubi/ubi_queries.ndjson").values
    assert [(r["query"], r["item_id"], r["event"], r["position"], r["session"]) for r in shown] == [
        ("kettle", "a", "impression", 1, "c1"), ("kettle", "b", "impression", 2, "c1"),
    ]  # fmt: skip
    click, search = case("ubi/ubi_events.json").values
    assert click == {
        "query_id": "s1", "query": None, "session": "v1", "item_id": "b", "event": "click", "position": 2,
        "date": "2026-01-23T13:18:30.000Z",
    }  # fmt: skip
    assert (search["event"], search["item_id"], search["session"]) == ("on_search", None, "c1")


@pytest.mark.parametrize(
    "where",
    [
        {"event_attributes.object.object_id": "b", "event_attributes.position.ordinal": 2},
        {"event_attributes_object_object_id": "b", "event_attributes_position_ordinal": 2},
        {"event_attributes": '{"object": {"object_id": "b"}, "position": {"ordinal": 2}}'},
        {
            "event_attributes.object": {"object_id": "b"},
            "event_attributes.position": '{"ordinal": 2}',
            "event_attributes": None,
        },
        {
            "event_attributes": "no JSON",
            "event_attributes.object.object_id": "b",
            "event_attributes.position.ordinal": 2,
        },
    ],
)
def test_ubi_events_flattened_in_any_way(where: dict[str, object]) -> None:
    flat = ubi.flatten(
        {"action_name": "click", "query_id": "s1", "session_id": float("nan"), "client_id": "c", **where}
    )
    assert (flat["item_id"], flat["position"], flat["session"]) == ("b", 2, "c")


@pytest.mark.parametrize("ids", [["a", "b"], '["a", "b"]', "['a', 'b']", "[a, b]", "a,b", ("a", None, "b")])
def test_ubi_hits_written_in_any_way(ids: object) -> None:
    rows = ubi.rows({"query_id": "s", "user_query": "kettle", "query_response_id": "r", "query_response_hit_ids": ids})
    assert [(r["item_id"], r["position"]) for r in rows] == [("a", 1), ("b", 2)]


def test_ubi_hits_of_parquet() -> None:
    ids = np.array(["a", "b"], object)
    rows = ubi.rows({"query_id": "s", "user_query": "kettle", "query_response_id": "r", "query_response_hit_ids": ids})
    assert [r["item_id"] for r in rows] == ["a", "b"]


def test_ubi_columns() -> None:
    assert ubi.recognise_columns(["Query_ID", "user_query", "query_response_hit_ids"]) == "queries"
    assert ubi.recognise_columns(["query_id", "action_name", "user_query", "query_response_id"]) == "events"
    assert ubi.recognise_columns(["query", "client_id", "event_attributes.object.object_id"]) == "events"
    assert ubi.recognise_columns(["query_id", "query", "item_id"]) is None
    assert ubi.flatten({"query": '{"match": {}}'})["query"] is None
    assert ubi.flatten({"query": "kettle"})["query"] == "kettle"
    for nothing in (None, "", "[]", float("nan"), 3, "{}"):
        assert ubi.rows({"query_id": "s", "user_query": "k", "query_response_hit_ids": nothing}) == [], nothing
