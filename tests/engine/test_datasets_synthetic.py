"""Synthetic queries: made from the items' own fields, never a judged query, the same each time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pandas import DataFrame
from pandas.testing import assert_frame_equal

from engine.datasets.contract import TABLES, DatasetSettings, normalise_query
from engine.datasets.ingest import ingest
from engine.datasets.synthetic_queries import ITEMS_PER_QUERY, Synthetic, synthetic_queries

SETTINGS = DatasetSettings(name="shop")


def catalogue(*rows: dict[str, object]) -> DataFrame:
    items = DataFrame([{"item_id": f"i{n}", **row} for n, row in enumerate(rows)], columns=TABLES["items"].names)
    return items.astype(dict.fromkeys(("item_id", "title", "category", "brand", "attributes"), "str"))


def targets(made: Synthetic) -> dict[str, set[str]]:
    """text -> items it leads to"""
    joined = made.interactions.merge(made.queries, on="query_id")
    return joined.groupby("text")["item_id"].agg(set).to_dict()


KETTLES = catalogue(
    {"title": "Halden KX-200 kettle steel", "category": "Home > Kettles", "brand": "Halden", "attributes": json.dumps({"colour": "Steel", "watt": 2000, "cordless": True})},
    {"title": "Halden KX-300 kettle steel", "category": "Home > Kettles", "brand": "Halden", "attributes": json.dumps({"colour": "steel"})},
    {"title": "Tavo kettle 1.7l white", "category": "Home > Kettles", "brand": "Tavo", "attributes": json.dumps({"colour": "white"})},
    {"title": "Tavo frying pan", "category": "Home > Pans", "brand": "Tavo"},
)  # fmt: skip


def test_queries_lead_to_the_items_whose_fields_made_them() -> None:
    made = synthetic_queries(KETTLES, SETTINGS, seed=0, limit=100)
    assert targets(made) == {
        "home": {"i0", "i1", "i2", "i3"},
        "kettles": {"i0", "i1", "i2"},
        "pans": {"i3"},
        "halden": {"i0", "i1"},
        "tavo": {"i2", "i3"},
        "halden kettles": {"i0", "i1"},
        "tavo kettles": {"i2"},
        "tavo pans": {"i3"},
        "steel kettles": {"i0", "i1"},
        "kettle": {"i0", "i1", "i2"},
        "kx-200": {"i0"},
        "kx-300": {"i1"},
        "halden kx-200": {"i0"},
        "halden kx-300": {"i1"},
    }
    kinds = made.queries.set_index("text")["kind"]
    assert kinds["kettles"] == "category"
    assert kinds["steel kettles"] == "attribute_type"
    assert kinds["kettle"] == "title_phrase"
    assert kinds["kx-200"] == "model"


def test_rows_have_the_contract_s_columns_and_say_that_they_are_synthetic() -> None:
    made = synthetic_queries(KETTLES, SETTINGS, seed=0, limit=None)
    assert list(made.queries.columns) == TABLES["queries"].names
    assert list(made.interactions.columns) == TABLES["interactions"].names
    assert set(made.queries["source"]) == set(made.interactions["source"]) == {"synthetic"}
    assert made.queries["query_id"].is_unique
    assert len(made.queries) <= 2 * len(KETTLES)
    assert not made.interactions.duplicated(["query_id", "item_id"]).any()
    assert set(made.interactions["query_id"]) == set(made.queries["query_id"])


def test_without_categories_and_brands_the_titles_serve() -> None:
    items = catalogue(*[{"title": f"Wireless mouse model A{n}B-{n}"} for n in range(30)])
    made = targets(synthetic_queries(items, SETTINGS, seed=0, limit=None))
    assert len(made["wireless mouse"]) == ITEMS_PER_QUERY, "capped"
    assert made["a3b-3"] == {"i3"}


def test_nothing_to_make_queries_of() -> None:
    made = synthetic_queries(catalogue({"title": "??"}, {"title": "12"}), SETTINGS, seed=0, limit=None)
    assert made.queries.empty
    assert made.interactions.empty


def test_a_limit_is_shared_between_kinds_and_keeps_the_tail() -> None:
    rows = [{"title": f"Kettle K{n}X", "category": f"Home > C{n % 40}", "brand": f"Brand{n % 7}"} for n in range(400)]
    rows += [{"title": "Rare thing", "category": "Home > Rare", "brand": "Seldom"}]
    made = synthetic_queries(catalogue(*rows), SETTINGS, seed=1, limit=150)
    counts = made.queries["kind"].value_counts()
    assert len(made.queries) == 150
    assert counts["category"] >= 20
    assert counts.min() >= 1
    assert set(counts.index) == {"category", "brand", "brand_type", "title_phrase", "brand_model", "model"}


def test_same_seed_same_rows_other_seed_other_draw() -> None:
    items = catalogue(*[{"title": f"Kettle K{n}X", "category": "Kettles", "brand": "Halden"} for n in range(100)])
    one, again, other = (synthetic_queries(items, SETTINGS, seed=s, limit=40) for s in (0, 0, 1))
    assert_frame_equal(one.queries, again.queries)
    assert_frame_equal(one.interactions, again.interactions)
    assert not one.interactions.equals(other.interactions)


@pytest.mark.parametrize("judged", ["Halden  KETTLES", "ＫETTLES", "steel kettles"])
def test_a_judged_query_is_never_made_again(tmp_path: Path, judged: str) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    KETTLES.to_parquet(folder / "items.parquet")
    DataFrame({"query": [judged], "item_id": "i0", "grade": 3}).to_parquet(folder / "judgments.parquet")
    queries = ingest(folder, tmp_path / "ws").catalogue.queries
    synthetic = queries[queries["source"] == "synthetic"]
    assert len(synthetic) > 3
    assert normalise_query(judged) not in set(synthetic["text"].map(normalise_query))
    assert queries["query_id"].is_unique


@pytest.mark.parametrize(("logged", "made"), [(199, True), (200, False)])
def test_made_only_where_the_log_is_small(tmp_path: Path, logged: int, made: bool) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    KETTLES.to_parquet(folder / "items.parquet")
    log = DataFrame({"query": [f"kettle number {n}" for n in range(logged)], "item_id": "i0", "clicks": 1})
    log.to_csv(folder / "interactions.csv", index=False)
    done = ingest(folder, tmp_path / "ws")
    assert ("synthetic" in set(done.catalogue.queries["source"])) is made
    assert any("synthetic queries were made" in w for w in done.report.warnings) is made
