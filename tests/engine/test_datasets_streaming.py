"""Tables that are written as they come: order, fingerprints and places hold however many threads and blocks there are."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.datasets import ingest as ingesting
from engine.datasets.contract import normalise_query
from engine.datasets.ingest import ingest, load, validate
from engine.datasets.table_file import ContentDigest, write_table
from engine.datasets.vectors import BLOCK
from engine.errors import DataError

ROWS = 300_000
"""More than DuckDB gives one thread at a time."""
GONE = 50_000
"""One log row in so many names an item that is not there."""


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows as `csv/` and `parquet/`; fractions of impressions, which add up differently in another order."""
    folder = tmp_path_factory.mktemp("market")
    with duckdb.connect() as c:
        c.execute(
            "CREATE TABLE items AS SELECT 'P' || i AS item_id, 'Kettle ' || i AS title, 'A > B' || i % 9 AS category FROM range(1000) r(i)"
        )
        c.execute(
            "CREATE TABLE queries AS SELECT 'q' || i AS query_id, 'kettle no ' || i AS text FROM range(3000) r(i)"
        )
        c.execute(f"""CREATE TABLE interactions AS SELECT 'Kettle  no ' || hash(i) % 3000 AS query,
            CASE WHEN i % {GONE} = 7 THEN 'gone' ELSE 'P' || hash(i, 1) % 1000 END AS item_id,
            (hash(i, 2) % 1000) / 7 AS impressions, hash(i, 3) % 2 AS clicks FROM range({ROWS}) r(i)""")  # fmt: skip
        for form in ("csv", "parquet"):
            (folder / form).mkdir()
            for table in ("items", "queries", "interactions"):
                c.execute(f"COPY {table} TO '{folder / form / table}.{form}' (FORMAT {form})")
    return folder


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Sets how many threads DuckDB has."""
    real = ingesting.connected

    def use(n: int) -> None:
        def connect(staged: Path):  # type: ignore[no-untyped-def]
            made = real(staged)
            made.thing.execute(f"SET threads = {n}")  # type: ignore[attr-defined]
            return made

        monkeypatch.setattr(ingesting, "connected", connect)

    return use


@pytest.mark.parametrize("given", [True, False], ids=["queries file", "queries of the log"])
def test_order_and_fingerprint_depend_on_neither_threads_nor_format(
    market: Path, tmp_path: Path, threads, given: bool  # type: ignore[no-untyped-def]
) -> None:  # fmt: skip
    found = []
    for form, n in (("csv", 1), ("csv", 4), ("parquet", 4)):
        threads(n)
        files = [f for f in (market / form).iterdir() if given or f.stem != "queries"]
        found.append(ingest(files, tmp_path / f"{form}{n}").catalogue)
    assert len({catalogue.fingerprint for catalogue in found}) == 1
    log = pd.read_parquet(market / "parquet" / "interactions.parquet")
    log = log[log["item_id"] != "gone"]
    for catalogue in found:
        assert catalogue.n_rejected == ROWS // GONE
        assert catalogue.items["item_id"].tolist() == [f"P{i}" for i in range(1000)]
        for name in ("item_id", "impressions", "clicks"):
            assert catalogue.interactions[name].tolist() == log[name].tolist()
        key = log["query"].str.extract(r"(\d+)")[0].map("q{}".format if given else "kettle no {}".format)
        assert catalogue.interactions["query_id"].tolist() == key.tolist()
        shown = log.groupby(key.to_numpy())["impressions"].sum()
        assert catalogue.queries.set_index("query_id")["frequency"].to_dict() == pytest.approx(shown.to_dict())
        groups = pq.ParquetFile(catalogue.folder / "interactions.parquet").metadata
        sizes = [groups.row_group(n).num_rows for n in range(groups.num_row_groups)]
        assert sizes[:-1] == [BLOCK] * (ROWS // BLOCK)
        assert sum(sizes) == len(log)


TABLE = pa.table({
    "text": pa.array(["ab", None, "", "cé", "d"]),
    "list": pa.array([[1.0], None, [], [2.0, 3.0], [4.0]], pa.list_(pa.float32())),
    "number": pa.array([0.0, -0.0, None, 2.5, 1.0]),
    "time": pa.array([0, None, 2, 3, 4], pa.timestamp("us")),
    "nothing": pa.array([None] * 5, pa.string()),
})  # fmt: skip


def digest(*parts: pa.Table) -> str:
    made = ContentDigest()
    for part in parts:
        made.update(part)
    return made.hexdigest()


def test_the_digest_is_of_the_rows_not_of_their_blocks() -> None:
    whole = digest(TABLE)
    for cuts in ([2], [1, 3], [0, 1, 2, 3, 4], [5]):
        assert digest(*(TABLE.slice(a, b - a) for a, b in pairwise([0, *cuts, 5]))) == whole
    assert digest(pa.concat_tables([TABLE.slice(0, 3), TABLE.slice(3)])) == whole


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab", "c"], ["a", "bc"]),
        ([None, "a"], ["", "a"]),
        ([None, "a"], ["a", None]),
        ([[1.0], [2.0, 3.0]], [[1.0, 2.0], [3.0]]),
        ([1.0, 2.0], [2.0, 1.0]),
    ],
)
def test_the_digest_tells_contents_apart(one: list[object], other: list[object]) -> None:
    assert digest(pa.table({"a": one})) != digest(pa.table({"a": other}))


def test_a_table_without_rows_is_a_file(tmp_path: Path) -> None:
    written = write_table(tmp_path / "t.parquet", TABLE.schema, [])
    assert written.rows == 0
    assert pq.read_table(tmp_path / "t.parquet").equals(TABLE.schema.empty_table())


def test_texts_of_queries_mean_what_python_says_they_mean(tmp_path: Path) -> None:
    texts = [
        "Red Kettle",
        " red kettle",
        "RED  KETTLE ",
        "Straße",
        "STRASSE",
        "ﬁsh",
        "fish",
        "a\u00a0b",
        "A b",
        "İx",
        "ｶﾌｪ",
    ]
    (tmp_path / "items.csv").write_text("item_id,title\na,Red kettle\n")
    rows = pd.DataFrame({"query": texts, "item_id": "a", "clicks": 1})
    rows.to_csv(tmp_path / "interactions.csv", index=False)
    log = ingest(tmp_path, tmp_path / "ws").catalogue.interactions
    assert log.loc[log["source"] == "log", "query_id"].tolist() == [normalise_query(t) for t in texts]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("first", "later"), [("p0,Kettle,0", 0), ('p0,"Kettle, red",0', 0), ('p0,"Kettle\nred",0', 1), ("p0,Kettle,0\n", 1)]
)
def test_places_are_lines(tmp_path: Path, first: str, later: int, end: str) -> None:
    """Of plain files, quoted values, values over two lines, and with a blank line."""
    rows = [first, *(f"p{i},Kettle,{i}" for i in range(1, 100))]
    rows[10], rows[40], rows[60] = "p10,Kettle", "p40,Kettle,cheap", ",Kettle,1"
    text = "\n".join(["item_id,title,price", *rows]).replace("\n", end)
    (tmp_path / "items.csv").write_bytes(text.encode())
    places = {i.rule: i.examples[0].split()[0] for i in validate(tmp_path, max_reject_share=1).issues}
    assert places["row cannot be read"] == f"items.csv:{12 + later}"
    assert places["not a number"] == f"items.csv:{42 + later}"
    assert places["required value is missing"] == f"items.csv:{62 + later}"


def test_tables_are_read_when_asked_for_and_may_be_replaced(market: Path, tmp_path: Path) -> None:
    stored = ingest([market / "csv" / "items.csv"], tmp_path).catalogue
    other = stored.with_tables(judgments=stored.judgments.assign(grade=1.0))
    assert other.items.equals(stored.items)
    assert other.fingerprint == stored.fingerprint
    loaded = load(tmp_path, stored.fingerprint)
    assert not {"items", "queries"} & set(vars(loaded))
    path = stored.folder / "queries.parquet"
    path.write_bytes(path.read_bytes()[:-8] + b"PAR1PAR1")
    with pytest.raises(DataError, match=r"is damaged .* ingest again"):
        _ = loaded.queries
