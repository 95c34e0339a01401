"""What keeps pages quick on a large snapshot: what they read, how much they send; and that such a snapshot holds together."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
from filled_snapshot import RUN
from streamlit.testing.v1 import AppTest

from tests.bench.clicks import Deck, clicks, every_query
from tests.browser.grown import grow

WHOLE = {"scores", "contributions", "projection"}
"""What grows with pairs, or is in no order of the map."""
QUICK = (
    *("agreement.counts", "agreement.disputed", "coverage.counted", "coverage.items", "coverage.slipped", "coverage.relevant_moves"),
    *("explain.strongest", "groups.attribute", "groups.crossing", "map.amounts", "map.density", "map.marked_values", "map.points"),
    *("map_parts.carried", "map_parts.held_by", "map_parts.kept", "map_parts.places", "map_parts.rows", "map_parts.size"),
    *("map_parts.surroundings", "sellers.ledger", "data.title_lengths", "item_filter.bands", "item_filter.attribute_keys"),
)  # fmt: skip
"""They read what was counted when the snapshot was built. `coverage` and `there` ask whether there are scores at all."""
ASKED = {"coverage.counted": {"scores"}, "coverage.items": {"scores"}}


class Recorder:
    """A cursor that notes what every statement reads."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor
        self.tables: set[str] = set()

    def execute(self, sql: str, *values: Any) -> duckdb.DuckDBPyConnection:
        self.tables |= set(re.findall(r"\b(?:FROM|JOIN)\s+(\w+)", sql))
        return self._cursor.execute(sql, *values)


@pytest.fixture(scope="module")
def grown(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The full snapshot sixteen times over."""
    (path,) = (workspace / "snapshots").glob("*.duckdb")
    copied = Path(shutil.copy(path, tmp_path_factory.mktemp("grown") / path.name))
    grow(copied, 16 * 120, 4 * 400)
    return copied


def test_every_query_can_be_clicked(grown: Path) -> None:
    with duckdb.connect(str(grown), read_only=True) as connection:
        cursor, asked = connection.cursor(), set()
        for click in clicks(Deck(cursor), 1):
            click.query(cursor, *click.args)
            asked.add(click.name)
    assert asked == set(every_query())


@pytest.mark.parametrize("name", QUICK)
def test_named_queries_read_no_table_of_all_pairs(grown: Path, name: str) -> None:
    with duckdb.connect(str(grown), read_only=True) as connection:
        recorder = Recorder(connection.cursor())
        for click in clicks(Deck(connection.cursor()), 6):
            if click.name == name:
                click.query(recorder, *click.args)
    assert recorder.tables, name
    assert not recorder.tables & WHOLE - ASKED.get(name, set()), recorder.tables


def test_a_grown_snapshot_joins(grown: Path, workspace: Path) -> None:
    (path,) = (workspace / "snapshots").glob("*.duckdb")
    with duckdb.connect(str(grown), read_only=True) as large, duckdb.connect(str(path), read_only=True) as small:

        def count(sql: str, of: duckdb.DuckDBPyConnection = large) -> int:
            row = of.execute(sql).fetchone()
            assert row is not None
            return int(row[0])

        items, pairs = "SELECT count(*) FROM items", f"SELECT count(*) FROM scores WHERE run_id = '{RUN}'"
        assert count(items) == 16 * count(items, small)
        assert count(pairs) >= 4 * 400
        for table, key, of in (
            ("scores", "item_id", "items"), ("scores", "query_id", "queries"), ("judgments", "item_id", "items"),
            ("items", "seller", "sellers"), ("items", "category", "categories"), ("coverage", "category", "categories"),
        ):  # fmt: skip
            assert count(f"SELECT count(*) FROM {table} ANTI JOIN {of} USING ({key}) WHERE {key} IS NOT NULL") == 0, (
                table,
                key,
            )
        for table in ("sids", "beams"):
            orphans = f"SELECT count(*) FROM {table} t ANTI JOIN codes c ON c.run_id = t.run_id AND c.prefix = t.sid"
            assert count(orphans) == count(orphans, small), table
        assert (
            count("SELECT count(*) FROM (SELECT 1 FROM scores GROUP BY run_id, query_id, item_id HAVING count(*) > 1)")
            == 0
        )


def test_a_table_sends_a_page() -> None:
    def page() -> None:
        import pandas as pd
        import streamlit as st

        from app.components.figure import chosen_row, table
        from app.fetch import Current

        st.session_state["_current"] = Current(None, "snap-0", "run")  # type: ignore[arg-type]
        rows = pd.DataFrame({"n": range(12_001)})
        table(rows, title="Rows", key="many", full=lambda: rows)
        st.session_state["table-many"] = {"selection": {"rows": [7], "cells": []}}
        st.write(f"chosen {chosen_row('many', rows)['n']}")

    app = AppTest.from_function(page).run()
    assert not app.exception
    assert app.dataframe[0].value["n"].tolist() == list(range(5_000))
    app.number_input("page-many").set_value(3).run()
    assert app.dataframe[0].value["n"].tolist() == list(range(10_000, 12_001))
    assert any("10,001-12,001 of 12,001" in caption.value.replace("\\", "") for caption in app.caption)
    assert any(words.value == "chosen 10007" for words in app.markdown)
