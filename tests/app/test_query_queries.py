"""The SELECTs of Query and Explain on a full snapshot, checked against the tables themselves."""

from __future__ import annotations

import duckdb
import pandas as pd
import pytest

from app.queries import explain, query, query_log
from app.queries.query_log import Asked


@pytest.fixture
def run_id(cursor: duckdb.DuckDBPyConnection) -> str:
    row = cursor.execute("SELECT run_id FROM runs WHERE method = 'dsirm' ORDER BY run_id LIMIT 1").fetchone()
    assert row is not None
    return str(row[0])


@pytest.fixture
def some_query(cursor: duckdb.DuckDBPyConnection, run_id: str) -> tuple[str, str]:
    """(id, text) of a scored query whose text is unique."""
    row = cursor.execute(
        """
        SELECT min(query_id), text FROM queries WHERE query_id IN (SELECT query_id FROM scores WHERE run_id = ?)
        GROUP BY text HAVING count(*) = 1 ORDER BY 1 LIMIT 1
        """,
        [run_id],
    ).fetchone()
    assert row is not None
    return str(row[0]), str(row[1])


def test_find_query_by_text_however_it_is_typed_and_by_id(
    cursor: duckdb.DuckDBPyConnection, run_id: str, some_query: tuple[str, str]
) -> None:
    id, text = some_query
    typed = "  " + text.upper().replace(" ", "   ")
    for asked in (text, typed, id):
        found = query.find_query(cursor, run_id, asked)
        assert found["query_id"].tolist() == [id]
        assert bool(found["cached"].iloc[0])
    assert query.find_query(cursor, run_id, text + " and more").empty
    assert query.find_query(cursor, run_id, "' OR 1=1 --").empty


def rows(cursor: duckdb.DuckDBPyConnection, asked: Asked, limit: int = 1000, offset: int = 0) -> pd.DataFrame:
    return query_log.page(cursor, *asked, limit, offset)


def test_log_orders_and_filters(cursor: duckdb.DuckDBPyConnection, run_id: str) -> None:
    frequent = rows(cursor, Asked(run_id))
    assert frequent["frequency"].is_monotonic_decreasing
    assert (
        len(frequent)
        == cursor.execute("SELECT count(DISTINCT query_id) FROM scores WHERE run_id = ?", [run_id]).fetchone()[0]
    )
    worst = rows(cursor, Asked(run_id, "worst regression"))["difference"].dropna()
    assert worst.is_monotonic_increasing
    assert len(worst) > 0
    assert set(rows(cursor, Asked(run_id, tier="tail"))["tier"]) == {"tail"}
    word = frequent["text"].iloc[0].split()[-1]
    assert all(word.lower() in t.lower() for t in rows(cursor, Asked(run_id, "A to Z", words=word))["text"])
    category = frequent["category"].iloc[0]
    assert set(rows(cursor, Asked(run_id, category=category))["category"]) == {category}
    department = category.split(" > ")[0]
    expected = frequent["category"].str.startswith(f"{department} > ").sum()
    assert len(rows(cursor, Asked(run_id, category=department))) == expected
    assert {category, department} <= set(query_log.categories(cursor))
    judged = {name: rows(cursor, Asked(run_id, judged=name)) for name in query_log.JUDGED}
    assert (judged["judged"]["n_judged"] > 0).all()
    assert judged["measured"]["difference"].notna().all()
    assert len(judged["judged"]) + len(judged["not judged"]) == len(frequent)


def test_a_query_without_traffic_is_in_no_tier(cursor: duckdb.DuckDBPyConnection, run_id: str) -> None:
    cursor.execute(
        "CREATE TEMP TABLE queries AS SELECT * REPLACE (if(query_id = 'q03', 0, frequency) AS frequency) FROM queries"
    )
    assert rows(cursor, Asked(run_id, tier="no traffic"))["query_id"].tolist() == ["q03"]
    told = rows(cursor, Asked(run_id)).set_index("query_id")
    assert told["tier"].eq("no traffic").sum() == 1
    assert sum(query_log.found(cursor, *Asked(run_id, tier=tier)).queries for tier in query_log.TIERS) == len(told)
    assert pd.isna(told.loc["q03", "weighted"])
    ledger = query.ledger(cursor, run_id, "query tier")
    own = cursor.execute("SELECT count(*) FROM loss_ledger WHERE query_id = 'q03'").fetchone()
    assert ledger.loc[ledger["value"] == "no traffic", "n_pairs"].sum() == own[0]  # type: ignore[index]


def test_parts_of_the_mean_add_up_to_the_mean_weighed_by_traffic(
    cursor: duckdb.DuckDBPyConnection, run_id: str
) -> None:
    told = rows(cursor, Asked(run_id, "worst for traffic"))
    assert told["weighted"].dropna().is_monotonic_increasing
    [(mean,)] = cursor.execute(
        "SELECT sum(difference * frequency) / sum(frequency) FROM query_metrics JOIN queries USING (query_id) "
        "WHERE run_id = ? AND metric = 'ndcg@10'",
        [run_id],
    ).fetchall()
    assert told["weighted"].sum() == pytest.approx(mean)


@pytest.mark.parametrize("order", list(query_log.ORDERS))
def test_every_order_is_paged_without_a_gap_and_walked(
    cursor: duckdb.DuckDBPyConnection, run_id: str, order: str
) -> None:
    asked = Asked(run_id, order)
    every = rows(cursor, asked)
    pages = [rows(cursor, asked, 5, offset) for offset in range(0, len(every), 5)]
    assert pd.concat(pages)["query_id"].tolist() == every["query_id"].tolist()
    assert query_log.found(cursor, *asked).queries == len(every)
    walked = [query_log.neighbours(cursor, *asked, id) for id in every["query_id"]]
    assert [n.place for n in walked if n] == list(range(1, len(every) + 1))
    assert [n.after for n in walked if n] == [*every["handle"].iloc[1:], None]
    assert [n.before for n in walked if n] == [None, *every["handle"].iloc[:-1]]
    assert query_log.neighbours(cursor, *asked, "no such query") is None


def test_search_items_finds_ids_first_and_all_words_in_any_order(cursor: duckdb.DuckDBPyConnection) -> None:
    id, title = cursor.execute("SELECT item_id, title FROM items ORDER BY item_id LIMIT 1").fetchone()  # type: ignore[misc]
    assert query.search_items(cursor, id, 5)["item_id"].iloc[0] == id
    words = title.split()
    found = query.search_items(cursor, " ".join(reversed(words)).upper(), 2000)
    assert id in set(found["item_id"])
    assert query.search_items(cursor, "no such words anywhere", 5).empty
    assert query.search_items(cursor, "", 5).empty


def test_item_facts_gives_one_row_an_item_even_with_several_judgments(
    cursor: duckdb.DuckDBPyConnection, run_id: str
) -> None:
    row = cursor.execute(
        "SELECT query_id, item_id, avg(grade) FROM judgments GROUP BY ALL ORDER BY ALL LIMIT 1"
    ).fetchone()
    assert row is not None
    facts = query.item_facts(cursor, run_id, row[0], (row[1],))
    assert len(facts) == 1
    assert facts["grade"].iloc[0] == pytest.approx(row[2])
    assert query.item_facts(cursor, run_id, None, (row[1],))["grade"].isna().all()


def test_prefix_labels_are_the_prefixes_of_that_sid_only(cursor: duckdb.DuckDBPyConnection, run_id: str) -> None:
    sid = cursor.execute("SELECT sid FROM sids WHERE run_id = ? ORDER BY sid DESC LIMIT 1", [run_id]).fetchone()[0]  # type: ignore[index]
    codes = sid.split("-")
    expected = ["-".join(codes[: level + 1]) for level in range(len(codes))]
    assert explain.prefix_labels(cursor, run_id, sid)["prefix"].tolist() == expected


def test_strongest_pairs_are_ordered_by_the_size_of_the_sid_part(
    cursor: duckdb.DuckDBPyConnection, run_id: str
) -> None:
    rows = explain.strongest(cursor, run_id, 20)
    assert rows["sid"].abs().is_monotonic_decreasing
    first = rows.iloc[0]
    parts = explain.contributions(cursor, run_id, first["query_id"], first["item_id"])
    assert parts.loc[parts["feature"].str.startswith("sid_"), "value"].sum() == pytest.approx(first["sid"])


@pytest.mark.parametrize("dimension", list(query.LEDGER))
def test_the_ledger_counts_its_pairs(cursor: duckdb.DuckDBPyConnection, run_id: str, dimension: str) -> None:
    rows = query.ledger(cursor, run_id, dimension)
    counted = cursor.execute(
        """
        SELECT count(*) FROM judgments WHERE grade >= (SELECT relevant_grade FROM snapshot)
        """
    ).fetchone()
    assert counted == (rows["n_pairs"].sum(),)
    assert rows.groupby("value")["share"].sum().tolist() == pytest.approx([1.0] * rows["value"].nunique())
    for row in rows.astype(object).where(rows.notna(), None).to_dict("records"):
        level = None if row["level"] is None else int(row["level"])
        pairs = query.ledger_pairs(cursor, run_id, row["verdict"], level, row["feature"], dimension, row["value"])
        assert (len(pairs), pairs["query_id"].nunique()) == (row["n_pairs"], row["n_queries"])
        assert (pairs["verdict"] == row["verdict"]).all()


@pytest.mark.parametrize(
    ("attributes", "image"),
    [
        ('{"image_url": "https://shop.example/a.jpg"}', "https://shop.example/a.jpg"),
        ('{"image_link": "http://shop.example/b.jpg"}', "http://shop.example/b.jpg"),
        ('{"image_url": "javascript:alert(1)"}', None),
        ('{"image_url": "data:image/svg+xml,<svg/>"}', None),
        ("{}", None),
        (None, None),
    ],
)
def test_a_picture_is_a_web_address_among_the_attributes(
    cursor: duckdb.DuckDBPyConnection, run_id: str, attributes: str | None, image: str | None
) -> None:
    cursor.execute("CREATE TEMP TABLE items AS SELECT * FROM items WHERE item_id = 'I001'")
    cursor.execute("UPDATE temp.items SET attributes = ?", [attributes])
    [found] = query.item_facts(cursor, run_id, None, ("I001",))["image"].astype(object).where(lambda v: v.notna(), None)
    assert found == image
