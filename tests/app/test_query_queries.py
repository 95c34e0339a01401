"""The SELECTs of Query and Explain on a full snapshot, checked against the tables themselves."""

from __future__ import annotations

import duckdb
import pytest

from app.queries import explain, query


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


def test_log_orders_and_filters(cursor: duckdb.DuckDBPyConnection, run_id: str) -> None:
    frequent = query.log(cursor, run_id, "frequency", None, "", 1000)
    assert frequent["frequency"].is_monotonic_decreasing
    assert (
        len(frequent)
        == cursor.execute("SELECT count(DISTINCT query_id) FROM scores WHERE run_id = ?", [run_id]).fetchone()[0]
    )
    worst = query.log(cursor, run_id, "regression", None, "", 1000)["difference"].dropna()
    assert worst.is_monotonic_increasing
    assert len(worst) > 0
    tail = query.log(cursor, run_id, "frequency", "tail", "", 1000)
    assert set(tail["tier"]) == {"tail"}
    word = frequent["text"].iloc[0].split()[-1]
    assert all(word.lower() in t.lower() for t in query.log(cursor, run_id, "text", None, word, 1000)["text"])


@pytest.mark.parametrize("order", list(query.ORDERS))
def test_every_order_works_and_respects_the_limit(cursor: duckdb.DuckDBPyConnection, run_id: str, order: str) -> None:
    assert len(query.log(cursor, run_id, order, None, "", 3)) == 3


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
