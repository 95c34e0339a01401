"""Head, torso and tail, against shares worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from engine.audit.tiers import categories_table, category_tiers, query_tiers, sellers_table


def test_categories_fall_into_tiers_by_the_share_before_them() -> None:
    n_items = pd.Series([50, 20, 15, 10, 5], index=list("abcde"))  # shares before: 0, .5, .7, .85, .95
    assert category_tiers(n_items).to_dict() == {"a": "head", "b": "torso", "c": "torso", "d": "tail", "e": "tail"}


def test_thresholds_can_be_moved() -> None:
    n_items = pd.Series([50, 20, 15, 10, 5], index=list("abcde"))
    assert list(category_tiers(n_items, head=0.6, torso=0.2)) == ["head", "head", "torso", "tail", "tail"]


def test_queries_are_thirds_of_traffic() -> None:
    frequency = np.array([1, 40, 30, 1, 20, 8])  # descending 40 30 20 8 1 1, shares before 0 .4 .7 .9 .98 .99
    assert list(query_tiers(frequency)) == ["tail", "head", "torso", "tail", "tail", "tail"]


def test_without_traffic_every_query_counts_once() -> None:
    assert set(query_tiers(np.array([np.nan, np.nan, np.nan]))) == {"torso"}


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.randoms())
def test_tiers_depend_on_the_weight_and_not_on_the_order(weights: list[int], random) -> None:
    tiers = query_tiers(np.array(weights))
    order = list(range(len(weights)))
    random.shuffle(order)
    assert list(query_tiers(np.array(weights)[order])) == list(tiers[order])
    rank = {"head": 0, "torso": 1, "tail": 2}
    for weight, tier in zip(weights, tiers, strict=True):
        assert all(rank[tier] <= rank[other] for w, other in zip(weights, tiers, strict=True) if w < weight)


def test_categories_table_reads_the_path() -> None:
    items = pd.DataFrame({"category": ["Home > Lamps"] * 3 + ["Toys"] + [None]})
    rows = categories_table(items, " > ").to_dict("records")
    assert rows[0] == {
        "category": "Home > Lamps",
        "name": "Lamps",
        "parent": "Home",
        "department": "Home",
        "depth": 2,
        "n_items": 3,
        "tier": "head",
    }
    assert pd.isna(rows[1]["parent"])
    assert rows[1]["depth"] == 1
    assert len(rows) == 2


def test_sellers_table_counts_and_leaves_the_unnamed_out() -> None:
    items = pd.DataFrame(
        {
            "seller": ["s", "s", "t", None],
            "category": ["a", "b", "a", "a"],
            "brand": ["x", None, "x", "x"],
            "price": [1.0, 3.0, np.nan, 9.0],
        }
    )
    table = sellers_table(items)
    assert table["seller"].tolist() == ["s", "t"]
    assert table.loc[0, ["n_items", "n_categories", "n_brands", "price_median"]].tolist() == [2, 2, 1, 2.0]
    assert np.isnan(table.loc[1, "price_median"])


def test_a_catalogue_without_sellers_has_an_empty_table() -> None:
    items = pd.DataFrame({"seller": [None, None], "category": ["a", "a"], "brand": [None, None], "price": [1.0, 2.0]})
    assert len(sellers_table(items)) == 0
