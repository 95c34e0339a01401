"""The causes of a change: told by part, by code and by query, all add up to the audited change."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from exact_ranker import only_snapshot

from app.queries import sellers

RUN = "SELECT run_id FROM runs WHERE method = 'dsirm' ORDER BY run_id LIMIT 1"


@pytest.fixture
def exact(workspace: Path):  # type: ignore[no-untyped-def]
    with duckdb.connect(str(only_snapshot(workspace)), read_only=True) as connection:
        yield connection


@pytest.mark.parametrize("discount", sellers.DISCOUNTS)
@pytest.mark.parametrize("dimension", sellers.DIMENSIONS[:5])
def test_causes_add_up_to_the_audited_change(exact: duckdb.DuckDBPyConnection, dimension: str, discount: str) -> None:
    run_id = str(exact.execute(RUN).fetchone()[0])  # type: ignore[index]
    audited = sellers.exposure(exact, run_id, discount, dimension)
    assert len(audited) > 0
    for row in [audited.iloc[0], audited.iloc[-1]]:
        change = sellers.change(exact, run_id, dimension, row["value"], discount)
        told = sellers.causes(exact, run_id, dimension, row["value"], discount).groupby("told")["net"].sum()
        assert set(told.index) == {"signal", "prefix"}
        assert [*told, change.by_query["net"].sum()] == pytest.approx([row["difference"]] * 3, abs=1e-12)


def test_moved_items_belong_to_the_seller_and_the_largest_come_first(exact: duckdb.DuckDBPyConnection) -> None:
    run_id = str(exact.execute(RUN).fetchone()[0])  # type: ignore[index]
    value = sellers.exposure(exact, run_id, "log2", "seller")["value"].iloc[0]
    items = sellers.change(exact, run_id, "seller", value, "log2").items
    assert items["change"].abs().is_monotonic_decreasing
    owners = exact.execute(
        "SELECT DISTINCT seller FROM items WHERE item_id IN (SELECT unnest(?::VARCHAR[]))", [items["item_id"].tolist()]
    )
    assert owners.fetchall() == [(value,)]


def test_a_value_without_items_has_no_causes(exact: duckdb.DuckDBPyConnection) -> None:
    run_id = str(exact.execute(RUN).fetchone()[0])  # type: ignore[index]
    change = sellers.change(exact, run_id, "seller", "nobody", "log2")
    assert change.by_query.empty
    assert change.items.empty
    assert sellers.causes(exact, run_id, "seller", "nobody", "log2").empty
