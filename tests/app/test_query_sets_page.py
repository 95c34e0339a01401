"""Query sets on the page: made by pasting and from a query, measured in every run, changed, removed; kept beside snapshots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from exact_ranker import only_snapshot
from streamlit.testing.v1 import AppTest
from told import find, told

from app.charts import ledger as ledger_charts
from app.charts import query_sets as charts
from app.charts import signed
from app.queries import query_sets as queries
from engine.errors import DataError
from engine.store.query_sets import QuerySet, QuerySets

Open = Callable[..., AppTest]
SETS = "Query sets"
NAME = "Mine <b>*x*</b>"


def button(page: AppTest, label: str) -> AppTest:
    (found,) = [b for b in page.button if b.label == label]
    return found.click().run()


def test_a_set_grows_by_pasting_and_survives_a_new_snapshot(open_page: Open, own_workspace: Path) -> None:
    QuerySets(own_workspace).add(NAME, ["something nobody asked"])
    page = open_page("query", own_workspace, part=SETS)
    assert not page.exception
    find(page, "There is 1 set of yours")
    next(t for t in page.text_area if "one a line" in t.label).input("red lamp\nRED  lamp\n\nsomething Nobody asked")
    next(s for s in page.selectbox if s.placeholder == "choose, or type a new name").set_value(NAME)
    page = button(page, "Add them")
    assert not page.exception
    assert QuerySets(own_workspace).all() == [QuerySet(NAME, (), ("something nobody asked", "red lamp"))]
    snapshot = only_snapshot(own_workspace)
    snapshot.rename(snapshot.with_name("snap-another.duckdb"))
    (own_workspace / "CURRENT").write_text("snapshots/snap-another.duckdb\n")
    page = open_page("query", own_workspace, part=SETS, set=NAME)
    assert not page.exception
    find(page, "There is 1 set of yours")
    rows = page.dataframe[0].value.set_index("name")
    assert (rows.loc[NAME, "queries"], rows.loc[NAME, "known"]) == (2, 1)
    listed = page.dataframe[-1].value.set_index("text")
    assert listed.loc["something nobody asked", "state"] == "not in this snapshot"
    assert listed.loc["red lamp", "state"] != "not in this snapshot"


def test_a_paste_without_a_name_is_said(open_page: Open, own_workspace: Path) -> None:
    page = open_page("query", own_workspace, part=SETS)
    next(t for t in page.text_area if "one a line" in t.label).input("red lamp")
    page = button(page, "Add them")
    assert any("needs a name" in w.value for w in page.warning)
    assert QuerySets(own_workspace).all() == []


def test_the_query_in_view_is_put_into_a_set_and_says_so(open_page: Open, own_workspace: Path) -> None:
    QuerySets(own_workspace).add("Season", ["small rug"])
    page = button(open_page("query", own_workspace, q="q00"), "Add this query")
    assert not page.exception
    find(page, "In your set Season")
    assert QuerySets(own_workspace).all()[0].texts == ("small rug", "red lamp")


def test_a_set_is_changed_and_removed(open_page: Open, own_workspace: Path) -> None:
    QuerySets(own_workspace).add(NAME, ["one", "two"], ["mine"])
    page = open_page("query", own_workspace, part=SETS, set=NAME)
    gone = next(m for m in page.multiselect if m.label == "Take out")
    tags = [m for m in page.multiselect if m.label == "Tags"][-1]
    gone.set_value(["one"])
    tags.set_value(["brand"])
    page = button(page, "Save")
    assert QuerySets(own_workspace).all() == [QuerySet(NAME, ("brand",), ("two",))]
    page = button(page, "Remove the whole set")
    assert not page.exception
    assert QuerySets(own_workspace).all() == []
    find(page, "There are 0 sets of yours")


def test_a_set_that_cannot_be_removed_says_so_and_stays(
    open_page: Open, own_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    QuerySets(own_workspace).add(NAME, ["one"])
    page = open_page("query", own_workspace, part=SETS, set=NAME)

    def full(store: QuerySets, name: str) -> None:
        raise DataError("no space left on the device")

    monkeypatch.setattr(QuerySets, "remove", full)
    page = button(page, "Remove the whole set")
    assert not page.exception
    assert [e.value for e in page.error] == ["The set was not removed\\: no space left on the device"]
    assert QuerySets(own_workspace).all() == [QuerySet(NAME, (), ("one",))]


def test_a_damaged_file_of_sets_is_said_and_the_page_stays(open_page: Open, own_workspace: Path) -> None:
    (own_workspace / "kept").mkdir()
    (own_workspace / "kept" / "query_sets.json").write_text("{")
    page = open_page("query", own_workspace, part=SETS)
    assert not page.exception
    assert any("query_sets.json" in e.value.replace("\\", "") for e in page.error)
    page = open_page("query", own_workspace, q="q00")
    assert not page.exception
    assert any("query_sets.json" in line for line in told(page))
    assert any("From the snapshot" in line for line in told(page))


def test_an_unknown_set_is_said(open_page: Open, own_workspace: Path) -> None:
    QuerySets(own_workspace).add("a", ["one"])
    page = open_page("query", own_workspace, part=SETS, set="gone")
    assert not page.exception
    assert any("gone" in w.value for w in page.warning)


def test_sets_are_measured_in_every_run(open_page: Open, two_runs_workspace: Path, tmp_path: Path) -> None:
    page = open_page("query", two_runs_workspace, part=SETS)
    assert not page.exception
    assert not page.error


def test_texts_count_once_and_the_measured_query_stands_for_them(cursor: duckdb.DuckDBPyConnection) -> None:
    [(run,)] = cursor.execute("SELECT run_id FROM runs WHERE method = 'dsirm'").fetchall()
    [(text, n, frequency)] = cursor.execute(
        "SELECT text, count(*), sum(frequency) FROM queries GROUP BY text HAVING count(*) > 1 AND bool_or(n_judged > 0) ORDER BY 1 LIMIT 1"
    ).fetchall()
    assert n > 1
    found = queries.texts(cursor, run, (text, text.upper(), f" {text} ", "nobody asks this"))
    assert found["normal"].tolist() == sorted([text, "nobody asks this"])
    row = found.set_index("normal").loc[text]
    assert row["frequency"] == frequency
    best = cursor.execute(
        "SELECT query_id, difference FROM query_metrics JOIN queries USING (query_id) WHERE run_id = ? AND metric = 'ndcg@10' AND text = ? "
        "ORDER BY frequency DESC, query_id LIMIT 1",
        [run, text],
    ).fetchone()
    assert (row["query_id"], row["difference"]) == best
    assert pd.isna(found.set_index("normal").loc["nobody asks this", "query_id"])


def test_no_relevant_item_of_such_queries_is_retrieved(cursor: duckdb.DuckDBPyConnection) -> None:
    [(run,)] = cursor.execute("SELECT run_id FROM runs WHERE method = 'dsirm'").fetchall()
    for text in queries.nothing_relevant(cursor, run, 50):
        rows = cursor.execute(
            "SELECT q.query_id, bool_or(s.retrieved) FROM queries q JOIN judgments j USING (query_id) LEFT JOIN scores s "
            "ON s.query_id = q.query_id AND s.item_id = j.item_id WHERE q.text = ? AND j.grade >= 2 GROUP BY 1",
            [text],
        ).fetchall()
        assert any(not retrieved for _, retrieved in rows)


def test_a_bar_goes_left_or_right_of_the_middle() -> None:
    assert signed.bar(None, 1.0) is None
    assert signed.bar(float("nan"), 1.0) is None
    right, left, none = (signed.bar(v, 2.0) or "" for v in (2.0, -1.0, 0.0))
    assert ("x%3D%2750.0%27" in right, "width%3D%2749.0%27" in right) == (True, True)
    assert ("x%3D%2725.5%27" in left, "width%3D%2724.5%27" in left) == (True, True)
    assert "width%3D%270.0%27" in none
    assert signed.bar(0.0, 0.0)


@pytest.fixture
def cells() -> pd.DataFrame:
    return pd.DataFrame(
        {"name": ["<b>a", "<b>a", "b"], "column": ["x", "y", "x"], "value": [0.1, -0.2, float("nan")], "said": ["+0.100", "-0.200", "n too small"]}
    )  # fmt: skip


def test_the_heatmap_has_a_point_to_click_for_every_cell(cells: pd.DataFrame) -> None:
    figure = charts.heatmap(cells, signed=True, unit="difference")
    heat, points = figure.data
    assert heat.zmid == 0
    assert list(points.customdata) == ["<b>a", "<b>a", "b"]
    assert [t for t in points.text] == ["<b>+0.100</b>", "<b>-0.200</b>", "<b>n too small</b>"]
    assert not any("<b>a" in str(t) for t in figure.layout.yaxis.ticktext)


def test_changes_mark_what_is_clear_of_zero() -> None:
    rows = pd.DataFrame(
        {"name": ["a", "b", "c"], "value": [0.1, 0.1, float("nan")], "low": [0.05, -0.1, 0], "high": [0.2, 0.3, 0]}
    )
    (points,) = charts.changes(rows).data
    assert list(points.customdata) == ["a", "b"]
    assert list(points.marker.symbol) == ["circle", "circle-open"]


def test_the_ledger_s_bars_are_told_apart_and_clicked() -> None:
    counts = pd.DataFrame(
        {
            "value": ["head", "head", "<i>tail"],
            "verdict": ["found", "outranked", "found"],
            "n_pairs": [3, 1, 2],
            "share": [0.75, 0.25, 1.0],
        }
    )
    figure = ledger_charts.bars(counts)
    assert [trace.name for trace in figure.data] == ["found", "outranked"]
    assert [list(c) for c in figure.data[0].customdata] == [["found", "head"], ["found", "<i>tail"]]
    assert list(figure.layout.yaxis.ticktext) == ["head (n = 4)", "&lt;i>tail (n = 2)"]
