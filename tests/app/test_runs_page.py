"""Two runs against each other: what is matched with what, every count by hand, and the page over two real runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from filled_snapshot import OTHER_RUN, RUN
from streamlit.testing.v1 import AppTest

from app.components.comparing import LOWER_IS_BETTER, NEITHER_IS_BETTER
from app.components.health import known_as
from app.queries import comparison
from app.queries import runs as queries
from app.queries.comparison import Tally, tally
from engine.audit.intervals import mean_interval
from engine.store import snapshot

Open = Callable[..., AppTest]
SCHEMA = Path(snapshot.__file__).with_name("schema.sql").read_text(encoding="utf-8")
OTHER = "snap-b"


def _database(path: Path, rows: dict[str, list[dict[str, object]]]) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute(SCHEMA)
        for table, found in rows.items():
            for row in found:
                names = ", ".join(f'"{name}"' for name in row)
                connection.execute(
                    f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values())
                )


@pytest.fixture
def both(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Two snapshots of two exports of one shop: the second numbers its queries otherwise, lacks an item and has another."""
    sids = [("i1", [0, 0]), ("i2", [0, 1]), ("i3", [1, 0])]
    old_sids = [("i1", [7, 0]), ("i2", [7, 1]), ("gone", [7, 0])]
    _database(
        tmp_path / "snap-a.duckdb",
        {
            "queries": [
                {"query_id": "q1", "text": "red shoe", "frequency": 10.0, "tier": "head"},
                {"query_id": "q2", "text": "lamp", "frequency": 5.0, "tier": "tail"},
                {"query_id": "q3", "text": "only here", "frequency": 1.0, "tier": "tail"},
            ],
            "items": [{"item_id": i, "title": i.upper(), "category": "c"} for i in ("i1", "i2", "i3")],
            "sids": [
                {
                    "run_id": "A",
                    "item_id": i,
                    "sid": "-".join(map(str, c)),
                    "codes": c,
                }
                for i, c in sids
            ],
            "query_metrics": [
                {"run_id": "A", "query_id": q, "metric": "ndcg@10", "value": v}
                for q, v in (("q1", 0.9), ("q2", 0.4), ("q3", 1.0))
            ],
            "beams": [
                {"run_id": "A", "query_id": "q1", "rank": 1, "sid": "0-0", "codes": [0, 0]},
                {"run_id": "A", "query_id": "q1", "rank": 2, "sid": "1-0", "codes": [1, 0]},
                {"run_id": "A", "query_id": "q2", "rank": 1, "sid": "0-1", "codes": [0, 1]},
            ],
        },
    )
    _database(
        tmp_path / f"{OTHER}.duckdb",
        {
            "queries": [
                {"query_id": "q2", "text": "red shoe", "frequency": 8.0},
                {"query_id": "x9", "text": "lamp", "frequency": 4.0},
            ],
            "sids": [
                {
                    "run_id": "B",
                    "item_id": i,
                    "sid": "-".join(map(str, c)),
                    "codes": c,
                }
                for i, c in old_sids
            ],
            "query_metrics": [
                {"run_id": "B", "query_id": q, "metric": "ndcg@10", "value": v} for q, v in (("q2", 0.7), ("x9", 0.6))
            ],
            "beams": [
                {"run_id": "B", "query_id": "q2", "rank": 1, "sid": "7-0", "codes": [7, 0]},
                {"run_id": "B", "query_id": "x9", "rank": 1, "sid": "7-0", "codes": [7, 0]},
            ],
        },
    )
    with duckdb.connect(str(tmp_path / "snap-a.duckdb"), read_only=True) as connection:
        connection.execute(f"ATTACH '{tmp_path}/{OTHER}.duckdb' AS \"{OTHER}\" (READ_ONLY)")
        yield connection


def test_queries_are_matched_by_their_words(both: duckdb.DuckDBPyConnection) -> None:
    rows = comparison.by_query(both, OTHER, "A", "B", "ndcg@10")
    assert rows[["query_id", "text", "base_value", "value"]].to_numpy().tolist() == [
        ["q2", "lamp", 0.6, 0.4], ["q1", "red shoe", 0.7, 0.9],
    ]  # fmt: skip
    assert rows["difference"].tolist() == pytest.approx([-0.2, 0.2])
    assert tally(rows) == Tally(won=1, tied=0, lost=1)
    assert comparison.judged(both, OTHER, "A", "B", "ndcg@10") == (3, 2)


def test_items_come_go_and_stay(both: duckdb.DuckDBPyConnection) -> None:
    assert comparison.held(both, OTHER, "A", "B") == (2, 1, 1)
    rows = comparison.codes(both, OTHER, "A", "B")
    assert sorted((tuple(r["codes"]), tuple(r["base_codes"]), r["n"]) for r in rows.to_dict("records")) == [
        ((0, 0), (7, 0), 1), ((0, 1), (7, 1), 1),
    ]  # fmt: skip


def test_beams_are_compared_by_what_they_reach(both: duckdb.DuckDBPyConnection) -> None:
    rows = comparison.beams(both, OTHER, "A", "B").set_index("text")
    # red shoe: i1 under 0-0 (i3 is not in the other run) against i1 under 7-0; lamp: i2 against i1
    assert rows.loc["red shoe", ["n", "base_n", "common", "alike"]].tolist() == [1, 1, 1, 1.0]
    assert rows.loc["lamp", ["n", "base_n", "common", "alike"]].tolist() == [1, 1, 0, 0.0]
    assert "only here" not in rows.index


def test_every_direction_is_of_a_measure_that_is_shown() -> None:
    assert not LOWER_IS_BETTER & NEITHER_IS_BETTER
    assert all(known_as(name) for name in LOWER_IS_BETTER | NEITHER_IS_BETTER)


def _words(page: AppTest) -> str:
    return " ".join(str(e.value).replace("\\", "") for e in [*page.main.markdown, *page.main.caption, *page.main.info])


PARTS = ("Measures", "Query by query", "Codes", "Settings", "While learning", "Cost", "Methods")


@pytest.mark.parametrize("part", PARTS)
def test_two_runs_part_by_part(open_page: Open, two_runs_workspace: Path, part: str) -> None:
    page = open_page("runs", two_runs_workspace, run=RUN, base=OTHER_RUN, part=part)
    assert not page.exception
    assert not page.error
    assert "matched on the query" in _words(page)


def test_the_verdict_is_the_mean_of_paired_differences(open_page: Open, two_runs_workspace: Path) -> None:
    page = open_page("runs", two_runs_workspace, run=RUN, base=OTHER_RUN)
    (path,) = (two_runs_workspace / "snapshots").glob("*.duckdb")
    with duckdb.connect(str(path), read_only=True) as cursor:
        change = np.array(
            [
                a - b
                for a, b in cursor.execute(
                    """SELECT a.value, b.value FROM query_metrics a JOIN query_metrics b USING (query_id, metric)
                       WHERE a.run_id = ? AND b.run_id = ? AND metric = 'ndcg@10'""",
                    [RUN, OTHER_RUN],
                ).fetchall()
            ]
        )
    found = mean_interval(change)
    cards = {m.label.replace("\\", ""): m.value for m in page.main.metric}
    assert (
        cards["Queries better / same / worse"]
        == f"{(change > 0).sum():,} / {(change == 0).sum():,} / {(change < 0).sum():,}"
    )
    assert f"n = {found.n:,} queries" in _words(page)


@pytest.mark.parametrize(
    "page_name", ["overview", "codebook", "coverage", "query", "explain", "sellers", "data", "what_if"]
)
def test_every_page_opens_with_a_second_run(open_page: Open, two_runs_workspace: Path, page_name: str) -> None:
    page = open_page(page_name, two_runs_workspace, run=RUN, base=OTHER_RUN)
    assert not page.exception
    assert not page.error
    assert page.sidebar.selectbox(key="base_menu").value == OTHER_RUN


def test_a_run_without_sids_stands_beside_on_every_page(
    true_page: Callable[..., AppTest], sql: Callable[..., list[tuple[object, ...]]]
) -> None:
    [(base,)] = sql("SELECT run_id FROM runs WHERE method = 'none' ORDER BY run_id LIMIT 1")
    [(query, item)] = sql(
        "SELECT query_id, item_id FROM scores s JOIN snapshot ON s.run_id = default_run WHERE rank = 1 AND judged ORDER BY 1 LIMIT 1"
    )
    [(rank,)] = sql("SELECT rank FROM scores WHERE run_id = ? AND query_id = ? AND item_id = ?", base, query, item)
    page = true_page("explain", q=str(query), item=str(item), base=str(base))
    assert not page.error
    assert f"rank {rank}" in _words(page).partition("In the other run")[2]
    page = true_page("query", q=str(query), view="Ranking", base=str(base))
    assert not page.error
    here, there = (
        {i for (i,) in sql("SELECT item_id FROM scores WHERE run_id = ? AND query_id = ? AND rank <= 10", run, query)}
        for run in (page.sidebar.selectbox(key="run_menu").value, base)
    )
    assert f"{len(here & there)} of the first ten are the same items in both runs" in _words(page)


def test_one_run_alone_can_be_compared_with_nothing(open_page: Open, workspace: Path) -> None:
    page = open_page("runs", workspace)
    assert page.sidebar.selectbox(key="run_menu").value == RUN
    assert "Choose a run under Compare with" in _words(page).replace("*", "")


def test_an_unknown_second_run_is_said(open_page: Open, two_runs_workspace: Path) -> None:
    page = open_page("runs", two_runs_workspace, base="nobody")
    assert "There is no run to compare with “nobody” here" in str(page.warning[0].value).replace("\\", "")


def test_settings_are_flat_and_complete(cursor: duckdb.DuckDBPyConnection) -> None:
    told = queries.settings(cursor, RUN)
    assert {"method", "preset", "seed", "git commit"} <= set(told)
    assert all(isinstance(v, str) for v in told.values())


def test_every_run_is_listed_with_its_own_ranker(cursor: duckdb.DuckDBPyConnection) -> None:
    rows: pd.DataFrame = queries.table(cursor)
    for row in rows.to_dict("records"):
        found = cursor.execute(
            "SELECT value FROM metrics WHERE run_id = ? AND segment = 'all' AND metric = ?",
            [row["run_id"], f"{row['ranker']}.auc"],
        ).fetchone()
        assert (found is None and row["auc"] != row["auc"]) or (found is not None and row["auc"] == found[0])
