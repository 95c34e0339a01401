"""What the Data page reads, recomputed by plain SQL or by hand on the filled snapshot, and on one that is read by the engine."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import pytest
from filled_snapshot import HOSTILE, RUN, N, Q

from app.charts import data as charts
from app.queries import data
from engine.datasets.ingest import ingest
from engine.reporting.intake import KEPT, intake_tables


def test_files_add_up(cursor: duckdb.DuckDBPyConnection) -> None:
    rows = data.files(cursor, RUN)
    assert list(rows["file"]) == ["items.csv", "queries.csv", "judgments.csv"]
    assert (rows["n_read"] == rows["n_accepted"] + rows["n_rejected"] + rows["n_skipped"]).all()
    assert rows.loc[0, "why_skipped"] == "empty: 1"
    assert pd.isna(rows.loc[1, "why_skipped"])


def test_notable_decisions_and_lost_rows_first(cursor: duckdb.DuckDBPyConnection) -> None:
    assert list(data.decisions(cursor, RUN, "")["what"]) == ["price", "format"]
    assert data.decisions(cursor, RUN, "queries.csv").empty
    rows = data.issues(cursor, RUN, "")
    assert list(rows["costs"]) == ["row", "row", "value"]
    assert rows.loc[0, "share"] == pytest.approx(1 / (N + 2))
    assert list(data.issues(cursor, RUN, "judgments.csv")["rule"]) == ["unknown split"]


def test_rejected_rows_by_file_and_rule(cursor: duckdb.DuckDBPyConnection) -> None:
    assert list(data.rejects(cursor, RUN, "", "", 10, 0)["line"]) == [2, 9]
    assert list(data.rejects(cursor, RUN, "items.csv", "duplicate id", 10, 0)["line"]) == [2]
    assert data.reject_counts(cursor, RUN)["n_alike"].sum() == 2


def test_distributions_are_those_of_the_rows(cursor: duckdb.DuckDBPyConnection) -> None:
    items = cursor.execute("SELECT * FROM items").df()
    words = items["title"].str.split().map(len).value_counts().sort_index()
    rows = data.title_lengths(cursor)
    assert dict(zip(rows["words"], rows["n_items"], strict=True)) == words.to_dict()
    assert (
        charts.median(rows["words"], rows["n_items"])
        == items["title"].str.split().map(len).sort_values().iloc[N // 2 - 1]
    )
    top = items["category"].str.split(" > ").str[0].value_counts()
    rows = data.departments(cursor)
    assert dict(zip(rows["department"], rows["n_items"], strict=True)) == top.to_dict()
    assert list(data.depths(cursor)["depth"]) == [2]
    judgments = cursor.execute("SELECT * FROM judgments").df()
    rows = data.grades(cursor)
    assert dict(zip(rows["grade"], rows["n_pairs"], strict=True)) == judgments["grade"].value_counts().to_dict()
    assert rows["n_relevant"].sum() == (judgments["grade"] >= 2).sum()
    rows = data.pairs_per_query(cursor)
    assert list(rows["n_pairs"]) == [6]
    by_query = judgments.groupby("query_id")["grade"].agg(lambda g: (g >= 2).mean())
    assert rows["n_one_sided"].sum() == by_query.isin([0, 1]).sum()
    assert data.judged(cursor)["n_pairs"].sum() == len(judgments)


def test_traffic(cursor: duckdb.DuckDBPyConnection) -> None:
    asked = cursor.execute("SELECT frequency FROM queries ORDER BY 1 DESC").df()["frequency"]
    tiers, curve = data.traffic(cursor), data.traffic_curve(cursor)
    assert tiers["n_queries"].sum() == Q
    assert tiers["share"].sum() == pytest.approx(1)
    assert list(curve["share_of_traffic"]) == pytest.approx(list(asked.cumsum() / asked.sum()))
    places = data.log_sums(cursor, "position")
    assert list(places["value"]) == ["1", "2"]
    assert places["click_rate"].tolist() == [0.1, 0.1]
    assert data.log_sums(cursor, "all")["n_rows"].tolist() == [10]  # without synthetic rows
    assert data.log_sums(cursor, "day").empty


@pytest.mark.parametrize(
    ("table", "find", "where"),
    [
        ("items", "", "SELECT count(*) FROM items"),
        ("items", "I007", "SELECT 1"),
        ("items", "LAMP", "SELECT count(*) FROM items WHERE contains(lower(title || category), 'lamp')"),
        ("queries", "hose", "SELECT count(*) FROM queries WHERE contains(text, 'hose')"),
        ("judgments", "q01", "SELECT count(*) FROM judgments WHERE query_id = 'q01'"),
        ("items", "no such words", "SELECT 0"),
        ("items", "' OR 1=1 --", "SELECT 0"),
        ("items", "%", "SELECT 0"),
    ],
)
def test_rows_hold_the_words_or_have_the_id(
    cursor: duckdb.DuckDBPyConnection, table: str, find: str, where: str
) -> None:
    (n,) = cursor.execute(where).fetchone() or (0,)
    assert data.count_rows(cursor, table, find) == n
    assert len(data.rows(cursor, table, find, 1_000, 0)) == n


def test_pages_of_rows_are_all_rows(cursor: duckdb.DuckDBPyConnection) -> None:
    whole = data.rows(cursor, "judgments", "", 1_000, 0)
    parts = [data.rows(cursor, "judgments", "", 50, start) for start in range(0, len(whole), 50)]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)


def test_where_an_item_leads(cursor: duckdb.DuckDBPyConnection) -> None:
    rows = cursor.execute("SELECT item_id, query_id FROM scores WHERE rank = 1 LIMIT 1").fetchone()
    assert rows
    assert data.best_query(cursor, RUN, rows[0])
    assert data.sid_of(cursor, RUN, rows[0])
    assert data.best_query(cursor, RUN, HOSTILE) is None


def test_nothing_is_not_an_error(bare_cursor: duckdb.DuckDBPyConnection) -> None:
    for query in (data.title_lengths, data.departments, data.depths, data.grades, data.judged, data.pairs_per_query, data.traffic,
                  data.traffic_curve, data.query_sources, data.columns):  # fmt: skip
        assert query(bare_cursor).empty
    assert data.files(bare_cursor, RUN).empty
    assert data.notes(bare_cursor, RUN) == []


def test_many_grades_are_counted_in_steps() -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE snapshot AS SELECT 3.0 AS max_grade, 2.0 AS relevant_grade")
        connection.execute("CREATE TABLE judgments AS SELECT i / 100.0 AS grade FROM range(301) t(i)")
        rows = data.grades(connection)
        assert rows["n_pairs"].sum() == 301
        assert len(rows) == 20
        assert rows["n_relevant"].sum() == 101
        figure = charts.grades(rows, 2.0, 3.0)
        assert sum(sum(bar.y) for bar in figure.data) == 301


def test_an_ingested_folder_tells_how_it_came_in(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    bad = "".join(f"X{i};;3,00\n" for i in range(KEPT + 5))
    good = "".join(f"A{i};lamp {i};{i},50\n" for i in range(40))
    (tmp_path / "in" / "items.csv").write_text("item_id;title;price\n" + good + bad + "A1;again;1,00\n;;\n")
    (tmp_path / "in" / "interactions.csv").write_text(
        "query,item_id,position,clicks\nlamp,A1,1,1\nlamp,A2,2,0\nlamp,A3,,1\n"
    )
    done = ingest(tmp_path / "in", tmp_path / "ws", max_reject_share=1.0)
    tables = intake_tables(done.catalogue, [])
    files = tables["data_files"].set_index("file")
    assert files.loc["items.csv", ["n_read", "n_accepted", "n_rejected", "n_skipped"]].tolist() == [
        KEPT + 47,
        40,
        KEPT + 6,
        1,
    ]
    assert tables["data_skipped"]["why"].tolist() == ["empty"]
    rejects = tables["rejects"].groupby("rules")
    assert rejects.size().max() == KEPT
    assert tables["rejects"]["n_alike"].max() == KEPT + 5
    found = tables["data_decisions"].set_index("what")["notable"]
    assert not found["format"].any()
    assert found["price"]
    columns = tables["data_columns"].set_index(["table", "column"])
    assert columns.loc[("interactions", "position"), "n_missing"] >= 1
    assert columns.loc[("items", "brand"), "n_missing"] == 40
    sums = tables["log_sums"][tables["log_sums"]["source"] == "log"]
    assert sums[sums["kind"] == "position"]["value"].fillna("").tolist() == ["1", "2", ""]
    assert sums.loc[sums["kind"] == "all", ["n_rows", "clicks"]].to_numpy().tolist() == [[3, 2.0]]
