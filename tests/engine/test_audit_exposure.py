"""Exposure shares, their intervals and their concentration."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from engine.audit import exposure
from engine.audit.exposure import benjamini_hochberg, resample_counts, verdicts
from engine.audit.groups import UNKNOWN, age_bands, item_groups, price_bands, seller_groups
from engine.audit.traffic import discount_weights, exposure_total, traffic_weights
from tests.answered import NO_JUDGMENTS, aggregates, exposures

ITEMS = pd.DataFrame(
    {
        "item_id": ["a", "b", "c", "d"],
        "seller": ["x", "x", "y", None],
        "category": ["k", "k", "k", "k"],
        "brand": [None] * 4,
        "price": [10.0, 20.0, 40.0, np.nan],
        "currency": ["EUR"] * 4,
        "created_at": pd.to_datetime(["2024-01-01", "2024-12-31", "2024-12-01", None]),
    }
)
QUERIES = pd.DataFrame({"query_id": ["q", "r", "unseen"], "frequency": [3.0, 1.0, 0.0]})
SCORES = pd.DataFrame(
    {
        "query_id": ["q", "q", "q", "r", "r", "unseen", "q"],
        "item_id": ["a", "c", "d", "b", "c", "c", "b"],
        "rank": [1, 2, 3, 1, 2, 1, np.nan],
        "rank_without_sid": [2, 1, 3, 1, 2, 1, np.nan],
    }
)
D = 1 / np.log2(1 + np.arange(1, 4))  # 1, .631, .5


def exposure_table(*tables: pd.DataFrame, **more: int) -> pd.DataFrame:
    return exposures(*tables, **more)["exposure"]


def shares(table: pd.DataFrame, discount: str = "log2", dimension: str = "seller") -> pd.DataFrame:
    return table[(table["discount"] == discount) & (table["dimension"] == dimension)].set_index("value")


def test_shares_by_hand() -> None:
    table = shares(exposure_table(SCORES, ITEMS, QUERIES, resamples=200))
    total = 3 * D.sum() + D[0] + D[1]
    assert table.loc["x", "share"] == pytest.approx((3 * D[0] + D[0]) / total)
    assert table.loc["x", "share_without"] == pytest.approx((3 * D[1] + D[0]) / total)
    assert table.loc["y", "difference"] == pytest.approx(3 * (D[1] - D[0]) / total)
    assert table.loc[UNKNOWN, "difference"] == 0
    assert table["share"].sum() == pytest.approx(1)
    assert table.loc["x", "n_queries"] == 2  # 'unseen' has no traffic
    assert table.loc["x", "effective_n"] == pytest.approx(16 / 10)
    assert table.loc["x", "catalogue_share"] == 0.5


def test_other_discounts_by_hand() -> None:
    table = exposure_table(SCORES, ITEMS, QUERIES, resamples=50)
    top10, click = shares(table, "top10"), shares(table, "click")
    assert top10.loc["x", "share"] == pytest.approx(4 / 11)
    total = 3 * (1 + 1 / 2 + 1 / 3) + 1.5
    assert click.loc["y", "share"] == pytest.approx((3 / 2 + 1 / 2) / total)
    assert discount_weights(np.array([4]), "click", click_decay=0.5)[0] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="allowed: log2, top10, click"):
        discount_weights(np.array([1]), "dcg")


def test_revenue_weighs_by_price() -> None:
    table = shares(exposure_table(SCORES, ITEMS, QUERIES, resamples=50), "top10")
    assert table.loc["x", "revenue_share"] == pytest.approx((3 * 10 + 20) / (3 * (10 + 40) + 20 + 40))


def test_merit_rests_on_judged_retrieved_pairs_only() -> None:
    judgments = pd.DataFrame(
        {"query_id": ["q", "q", "q", "r"], "item_id": ["a", "c", "b", "c"], "grade": [3.0, 1.0, 3.0, 0.0]}
    )
    table = shares(exposure_table(SCORES, ITEMS, QUERIES, judgments, resamples=50))
    assert table.loc["x", "merit"] == pytest.approx(3 / 4)  # b was judged, but not retrieved
    assert table.loc["y", "n_merit_pairs"] == 2


def test_without_traffic_every_query_counts_once() -> None:
    assert traffic_weights(np.array([np.nan, 0.0])).tolist() == [1.0, 1.0]
    assert traffic_weights(np.array([np.nan, 2.0])).tolist() == [0.0, 2.0]


def test_item_exposure_sums_to_one_and_agrees_with_the_shares() -> None:
    with aggregates(ITEMS, QUERIES, scores=SCORES) as sums:
        with_sid, without = sums.seen(NO_JUDGMENTS.assign(rank=[])).by_item[0]
    table = shares(exposure_table(SCORES, ITEMS, QUERIES, resamples=50))
    assert with_sid.sum() == pytest.approx(1)
    assert with_sid[:2].sum() == pytest.approx(table.loc["x", "share"])
    assert without[2] == pytest.approx(table.loc["y", "share_without"])


def log(n_queries: int, boost: float, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Queries that rank 20 of 60 items; SIDs boost seller s0."""
    rng = np.random.default_rng(seed)
    items = pd.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(60)],
            "seller": [f"s{i % 6}" for i in range(60)],
            "category": "k",
            "brand": None,
            "price": 1.0,
            "currency": None,
            "created_at": pd.NaT,
        }
    )
    queries = pd.DataFrame(
        {"query_id": [f"q{i}" for i in range(n_queries)], "frequency": rng.zipf(2.5, n_queries) * 1.0}
    )
    frames = []
    for query in queries["query_id"]:
        picked = rng.choice(60, 20, replace=False)
        score = rng.normal(size=20)
        moved = score + boost * (picked % 6 == 0) + rng.normal(0, 0.3, 20)
        frames.append(
            pd.DataFrame(
                {
                    "query_id": query,
                    "item_id": [f"i{i}" for i in picked],
                    "rank": np.argsort(np.argsort(-moved)) + 1,
                    "rank_without_sid": np.argsort(np.argsort(-score)) + 1,
                }
            )
        )
    return pd.concat(frames, ignore_index=True), items, queries


def test_a_boosted_seller_is_found_and_the_others_pay() -> None:
    table = shares(exposure_table(*log(200, 1.0), resamples=2_000))
    assert table.loc["s0", "low"] > 0
    assert table.loc["s0", "q_value"] < 0.01
    assert table["difference"].sum() == pytest.approx(0, abs=1e-12)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Without a boost every true change is zero: 95 % of the intervals hold it, and few p-values are small."""
    held, small = [], []
    for seed in range(40):
        table = shares(exposure_table(*log(80, 0.0, seed), resamples=1_000, seed=seed))
        held += ((table["low"] <= 0) & (table["high"] >= 0)).tolist()
        small += (table["p_value"] <= 0.05).tolist()
    assert 0.88 <= np.mean(held) <= 0.99
    assert np.mean(small) <= 0.12


@pytest.mark.parametrize(("n", "blocks"), [(50, 4_096), (3_000, 1_000)], ids=["queries", "blocks of queries"])
def test_the_interval_is_that_of_a_plain_bootstrap(n: int, blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure, "BLOCKS", blocks)
    scores, items, queries = log(n, 0.5)
    table = shares(exposure_table(scores, items, queries, resamples=4_000))
    joined = scores.merge(queries, on="query_id")
    own = joined["item_id"].str[1:].astype(int) % 6 == 0
    change = joined["frequency"] * (1 / np.log2(1 + joined["rank"]) - 1 / np.log2(1 + joined["rank_without_sid"]))
    by_query = change.where(own, 0).groupby(joined["query_id"]).sum().to_numpy()
    total = (joined["frequency"] / np.log2(1 + joined["rank"])).groupby(joined["query_id"]).sum().to_numpy()
    picks = (np.random.default_rng(seed).integers(0, n, n) for seed in range(5_000))
    drawn = np.array([by_query[pick].sum() / total[pick].sum() for pick in picks])
    low, high = np.quantile(drawn, [0.025, 0.975])
    width = high - low
    assert table.loc["s0", "low"] == pytest.approx(low, abs=0.08 * width)
    assert table.loc["s0", "high"] == pytest.approx(high, abs=0.08 * width)


def test_exposure_total_counts_every_candidate() -> None:
    d = 1 / np.log2(1 + np.arange(1, 3))
    assert exposure_total(np.array([2, 1, 0]), np.array([3.0, 1.0, 5.0])) == pytest.approx(3 * d.sum() + d[0])


def test_the_same_seed_gives_the_same_table() -> None:
    assert exposure_table(*log(30, 0.5), resamples=300).equals(exposure_table(*log(30, 0.5), resamples=300))


def test_resamples_draw_every_query_equally_often() -> None:
    counts = resample_counts(30, 1_200, 0)
    assert (counts.sum(axis=1) == 30).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(30), abs=0.15)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_benjamini_hochberg_is_scipys(p: list[float]) -> None:
    assert benjamini_hochberg(np.array(p)) == pytest.approx(false_discovery_control(p))


def test_benjamini_hochberg_leaves_the_unknown_out() -> None:
    q = benjamini_hochberg(np.array([0.01, np.nan, 0.04]))
    assert q[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(q[1])


def test_concentration_by_hand() -> None:
    table = exposures(SCORES, ITEMS, QUERIES, resamples=100)["exposure_concentration"]
    row = table[(table["discount"] == "top10") & (table["dimension"] == "seller")].set_index("metric")
    # Known sellers only: x 4 (q: a, r: b), y 4 (q: c, r: c) of 8 exposures.
    assert row.loc["hhi", "value"] == pytest.approx(0.5)
    assert row.loc["gini", "value"] == pytest.approx(0.0)
    assert row.loc["top10_share", "value"] == pytest.approx(1.0)
    log2 = table[(table["discount"] == "log2") & (table["dimension"] == "seller")].set_index("metric")
    x, y = 4 * D[0], 4 * D[1]
    assert log2.loc["hhi", "value"] == pytest.approx((x**2 + y**2) / (x + y) ** 2)
    assert set(table["dimension"]) == {"seller", "category"}


def test_price_bands_are_readable() -> None:
    bands = price_bands(pd.Series([3.0, 9.7, 10.0, 24.0, 26.0, 61.0, 900.0, np.nan]), pd.Series(["EUR"] * 8), bands=4)
    assert bands[-1] == UNKNOWN
    assert bands[0].startswith("under ")
    assert bands[0].endswith(" EUR")
    assert bands[6].endswith("and over")
    assert len(set(bands)) <= 5


def test_a_price_lies_in_the_band_it_is_labelled_with() -> None:
    price = pd.Series(np.random.default_rng(0).lognormal(3, 1, 500))
    for value, label in zip(price, price_bands(price), strict=True):
        if label.startswith("under"):
            assert value < float(label.split()[1])
        elif label.endswith("over"):
            assert value >= float(label.split()[0].replace(",", ""))
        else:
            low, high = (float(part.replace(",", "")) for part in label.split()[0].split("-"))
            assert low <= value < high


def test_currencies_have_bands_of_their_own() -> None:
    bands = price_bands(pd.Series([1.0, 2.0, 100.0, 200.0]), pd.Series(["EUR", "EUR", "JPY", "JPY"]), bands=2)
    assert [band.split()[-1] if "over" not in band else band.split()[-3] for band in bands] == ["EUR"] * 2 + ["JPY"] * 2


def test_ages_are_counted_from_the_newest_item() -> None:
    days = [0, 10, 40, 200, 800]
    bands = age_bands(pd.Series(pd.Timestamp("2025-06-01") - pd.to_timedelta(days, unit="D")), bands=4)
    assert bands[0].startswith("under ")
    assert bands[-1].endswith(" and over")
    assert len(set(bands)) >= 3
    assert set(age_bands(pd.Series([None, None]))) == {UNKNOWN}


def test_dimensions_that_no_item_has_are_left_out() -> None:
    assert set(item_groups(ITEMS)) == {"seller", "category", "price_band", "age"}


def test_nothing_retrieved_is_an_empty_table_with_its_columns() -> None:
    nothing, found = (exposures(scores, ITEMS, QUERIES, resamples=10) for scores in (SCORES.iloc[:0], SCORES))
    for name, table in nothing.items():
        assert len(table) == 0
        assert table.columns.tolist() == found[name].columns.tolist()


def test_items_that_change_places_among_themselves_change_nothing() -> None:
    """Sums of discounts in another order differ in their last bit: a group's change must be 0 all the same."""
    rng = np.random.default_rng(3)
    items = pd.concat([ITEMS.iloc[:1]] * 40, ignore_index=True).assign(item_id=[f"i{i}" for i in range(40)])
    queries = pd.DataFrame({"query_id": ["q0", "q1", "q2"], "frequency": [0.1, 0.7, 3.3]})
    scores = pd.concat(
        [
            pd.DataFrame(
                {
                    "query_id": query,
                    "item_id": items["item_id"],
                    "rank": rng.permutation(40) + 1,
                    "rank_without_sid": rng.permutation(40) + 1,
                }
            )
            for query in queries["query_id"]
        ]
    )
    table = shares(exposure_table(scores, items, queries, resamples=50))
    assert table.loc["x", ["difference", "low", "high"]].tolist() == [0, 0, 0]
    assert table.loc["x", "p_value"] == 1


def test_verdicts_weigh_size_certainty_and_n() -> None:
    difference = np.array([0.002, -0.002, 0.00005, -0.002, 0.0, -0.002])
    said = verdicts(difference, np.array([0.01, 0.01, 0.01, 0.2, 1.0, 0.01]), np.array([40, 40, 40, 40, 40, 29]))
    assert said.tolist() == [
        "gains, clear", "loses, clear", "gains, clear but tiny", "loses, could be chance", "unchanged", "n too small",
    ]  # fmt: skip


def test_small_and_new_sellers_are_groups_of_their_own() -> None:
    """Eight sellers with 1, 1, 2, 2, 3, 3, 9, 9 items: quarters of the sellers, by size and by their first item."""
    sizes = [1, 1, 2, 2, 3, 3, 9, 9]
    seller = np.repeat([f"s{i}" for i in range(8)], sizes)
    first = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.repeat(np.arange(8), sizes), unit="D")
    later = first + pd.to_timedelta(np.r_[0, np.diff(np.repeat(np.arange(8), sizes)) == 0] * 90, unit="D")
    items = pd.DataFrame({"seller": [*seller, None], "created_at": [*later, pd.Timestamp("2020-01-01")]})
    groups = seller_groups(items)
    by_size = dict(zip(seller, groups["seller_size"][:-1], strict=True))
    assert list(by_size.values()) == [
        *["smallest sellers (1 item)"] * 2, *["small sellers (2 items)"] * 2, *["large sellers (3 items)"] * 2, *["largest sellers (9 items)"] * 2,
    ]  # fmt: skip
    by_age = dict(zip(seller, groups["seller_age"][:-1], strict=True))
    assert by_age["s0"] == by_age["s1"] == "oldest sellers (first seen 2024-01-01 to 2024-01-02)"
    assert by_age["s7"] == "newest sellers (first seen 2024-01-07 to 2024-01-08)"
    assert groups["seller_size"][-1] == groups["seller_age"][-1] == UNKNOWN
    assert seller_groups(items[items["seller"].isin(["s0", "s1"])]) == {}
