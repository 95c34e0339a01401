"""Codebook health against numbers worked by hand and scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import normalized_mutual_info_score

from engine.ablation.report import MEANING, ROBUSTNESS
from engine.audit.codebook import sid_sharing_table
from engine.audit.health import (
    BARS,
    Neighbourhood,
    health_table,
    neighbour_agreement,
    normalised_mutual_information,
    purity,
)
from engine.audit.inequality import gini, lorenz
from engine.audit.intervals import wilson
from engine.audit.shelf import Shelf

METRICS = Path(__file__).parents[2] / "docs" / "metrics.md"
NO_JUDGMENTS = pd.DataFrame({"query_id": [], "item_id": [], "grade": []})


def items(categories: list[str | None]) -> pd.DataFrame:
    return pd.DataFrame(
        {"item_id": [str(i) for i in range(len(categories))], "category": categories, "brand": [None] * len(categories)}
    )


def health(
    codes: np.ndarray,
    sizes: tuple[int, ...],
    categories: list[str | None],
    *,
    forced: bool = False,
    near: Neighbourhood | None = None,
) -> pd.DataFrame:
    shelf = Shelf(items(categories), codes, sizes, np.full(len(categories), forced))
    return health_table(shelf, sid_sharing_table(shelf, NO_JUDGMENTS, relevant_grade=2.0), near)


def value(table: pd.DataFrame, metric: str, level: int | None = None) -> pd.Series:
    rows = table[(table["metric"] == metric) & (table["level"].isna() if level is None else table["level"] == level)]
    assert len(rows) == 1
    return rows.iloc[0]


CODES = np.array([[0, 0, 0], [0, 0, 0], [0, 1, 0], [1, 0, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1], [2, 0, 0]])
CATEGORIES: list[str | None] = ["a", "a", "a", "b", "b", "b", "c", None]


def test_usage_of_a_level_by_hand() -> None:
    table = health(CODES, (4, 2, 2), CATEGORIES)
    assert value(table, "utilisation", 1)["value"] == 0.75
    assert value(table, "dead_codes", 1)["value"] == 1
    share = np.array([3, 4, 1]) / 8
    entropy = -(share * np.log2(share)).sum()
    assert value(table, "entropy", 1)["value"] == pytest.approx(entropy)
    assert value(table, "perplexity", 1)["value"] == pytest.approx(2**entropy)
    assert value(table, "perplexity_ratio", 1)["value"] == pytest.approx(2**entropy / 4)
    # counts 0 1 3 4 ascending: 2 (1*0 + 2*1 + 3*3 + 4*4) / (4 * 8) - 5/4 = 0.4375
    assert value(table, "gini", 1)["value"] == pytest.approx(0.4375)
    assert value(table, "perplexity_ratio", 2)["value"] == pytest.approx(1.0)


def test_the_middle_level_is_compared_with_its_neighbours() -> None:
    even = np.array([[i % 4, 0 if i < 15 else 1, i % 2] for i in range(16)])
    entropy = -(15 / 16 * np.log2(15 / 16) + 1 / 16 * np.log2(1 / 16))
    row = value(health(even, (4, 2, 2), ["a"] * 16), "hourglass", 2)
    assert row["value"] == pytest.approx(1 - entropy)
    assert row["verdict"] == "bad"


def test_whole_sids_by_hand() -> None:
    table = health(CODES, (4, 2, 2), CATEGORIES)  # sids: 2 + 1 + 1 + 3 + 1 items
    assert value(table, "aliasing")["value"] == pytest.approx(5 / 8)
    assert value(table, "unique_share")["value"] == pytest.approx(5 / 8)
    assert value(table, "largest_bucket")["value"] == 3
    assert value(table, "same_sid_others")["value"] == pytest.approx((2 * 1 + 3 * 2) / 8)
    assert value(table, "harmful_share")["value"] == pytest.approx(3 / 8)  # 1-1-1 holds categories b and c


def test_what_the_forced_level_implies_is_marked_and_not_judged() -> None:
    table = health(CODES, (4, 2, 2), CATEGORIES, forced=True)
    built = table[table["by_construction"]]
    assert set(built["verdict"]) == {"info"}
    assert set(built.loc[built["metric"] == "category_purity", "level"]) == {1, 2, 3}
    assert not table.loc[table["metric"] == "aliasing", "by_construction"].any()
    assert not table.loc[(table["metric"] == "utilisation") & (table["level"] == 2), "by_construction"].any()
    assert not health(CODES, (4, 2, 2), CATEGORIES)["by_construction"].any()


def test_meaning_by_hand() -> None:
    table = health(CODES, (4, 2, 2), CATEGORIES)
    assert value(table, "category_purity", 1)["value"] == pytest.approx(6 / 7)
    assert "brand_purity" not in set(table["metric"])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_nmi_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs).T
    assert normalised_mutual_information(a, b) == pytest.approx(normalized_mutual_info_score(a, b), abs=1e-9)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.lists(st.integers(0, 5), min_size=40, max_size=40))
def test_finer_prefixes_are_never_less_pure(first: list[int], more: list[int]) -> None:
    member = np.array(first)
    label = np.array(more[: len(first)]) % 3
    finer = member * 10 + np.array(more[: len(first)])
    assert purity(finer, label) >= purity(member, label) - 1e-12


@given(st.lists(st.floats(0, 100), min_size=2, max_size=40))
def test_gini_is_twice_the_area_above_the_lorenz_curve(values: list[float]) -> None:
    curve = lorenz(np.array(values))
    assert curve.population[[0, -1]].tolist() == [0.0, 1.0]
    assert curve.share[[0, -1]].tolist() == pytest.approx([0.0, 1.0])
    assert (np.diff(curve.share) >= -1e-12).all()
    if sum(values) > 1e-6:
        assert gini(np.array(values)) == pytest.approx(1 - 2 * np.trapezoid(curve.share, curve.population), abs=1e-6)


def test_neighbour_agreement_counts_shared_prefixes() -> None:
    member = np.array([0, 0, 1, 1, 1])
    share, low, high = neighbour_agreement(member, np.array([0, 2]), np.array([[1, 2], [3, -1]]), resamples=500)
    assert share == pytest.approx(2 / 3)
    assert low == 0.5
    assert high == 1.0


def test_true_neighbours_are_set_against_random_pairs() -> None:
    codes = np.repeat(np.arange(10), 20)[:, None]
    sampled = np.arange(200)
    neighbours = ((sampled // 20) * 20 + (sampled + 1) % 20)[:, None]
    pairs = np.random.default_rng(0).integers(0, 200, (4_000, 2))
    table = health(codes, (10,), ["a"] * 200, near=Neighbourhood(sampled, neighbours, pairs))
    agreement, chance = value(table, "neighbour_agreement", 1), value(table, "neighbour_agreement_random", 1)
    assert agreement["value"] == 1.0
    assert agreement["verdict"] == "good"
    assert chance["low"] < 19 / 199 < chance["high"]
    shuffled = np.random.default_rng(1).permutation(neighbours)
    worse = health(codes, (10,), ["a"] * 200, near=Neighbourhood(sampled, shuffled, pairs))
    assert value(worse, "neighbour_agreement", 1)["verdict"] == "bad"


def test_an_item_with_itself_is_no_random_pair() -> None:
    pairs = np.array([[0, 0], [1, 1], [0, 1], [0, 7]])  # items 0 and 1 share 0-0-0, item 7 does not
    table = health(CODES, (4, 2, 2), CATEGORIES, near=Neighbourhood(np.array([0]), np.array([[1]]), pairs))
    row = value(table, "neighbour_agreement_random", 3)
    assert (row["value"], row["n"]) == (0.5, 2)


def test_a_small_bucket_is_never_crowded() -> None:
    for n, verdict in ((10, "good"), (12, "bad")):
        row = value(health(np.zeros((n, 1), dtype=np.int64), (2,), ["a"] * n), "largest_bucket")
        assert (row["value"], row["verdict"]) == (n, verdict)


def test_wilson_by_hand() -> None:
    share, low, high, _ = wilson(8, 10)
    assert (share, low, high) == pytest.approx((0.8, 0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 20)[1] == 0.0
    assert np.isnan(wilson(0, 0)[0])


@pytest.mark.parametrize("metric", sorted(BARS))
def test_a_bar_separates_good_warn_and_bad(metric: str) -> None:
    bar = BARS[metric]
    worse = -1 if bar.higher_is_better else 1
    step = abs(bar.good - bar.warn)
    assert bar.verdict(bar.good) == "good"
    assert bar.verdict(bar.good + worse * step / 2) == "warn"
    assert bar.verdict(bar.warn + worse * step / 2) == "bad"
    assert bar.verdict(float("nan")) == "info"


def test_the_documentation_has_every_measure_and_every_bar() -> None:
    text = METRICS.read_text()
    table = health(
        CODES,
        (4, 2, 2),
        CATEGORIES,
        near=Neighbourhood(np.array([0]), np.array([[1]]), np.array([[0, 1], [2, 3]])),
    )
    for metric in set(table["metric"]) | set(MEANING.values()) | set(ROBUSTNESS.values()):
        name, _, kind = metric.partition(".")
        assert f"`{metric}`" in text or (f"`{name}." in text and f"`.{kind}`" in text), metric
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| bar `")}
    for metric, bar in BARS.items():
        cells = [cell.strip() for cell in rows[metric].split("|")[2:4]]
        assert [float(cell.rstrip("%")) / (100 if cell.endswith("%") else 1) for cell in cells] == pytest.approx(
            [bar.good, bar.warn]
        )


def test_a_catalogue_without_sids_has_no_whole_sid_rows() -> None:
    table = health(np.full((3, 2), -1), (2, 2), ["a", "b", None])
    assert not table["level"].isna().any()
    assert value(table, "utilisation", 1)["value"] == 0.0
