"""Metrics against numbers worked by hand and scikit-learn; the bootstrap against doing it the slow way."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, precision_score, recall_score, roc_auc_score

from engine.evaluation.beams import beam_diversity, hit_at_k, item_hit_at_k, items_under, prefix_survival, validity
from engine.evaluation.bootstrap import bootstrap_auc, bootstrap_metric, paired_difference, resample_queries
from engine.evaluation.pairs import auc, ndcg, operating_point, retrieval_recall, within_query_auc
from engine.evaluation.significance import detectable_difference
from engine.evaluation.tables import Judged, evaluate, evaluate_queries
from tests.conftest import ROOT

SCHEMA = ROOT / "engine" / "store" / "schema.sql"


def _judged(n_queries: int, seed: int, *, per_query: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """score, grade, query; queries differ in difficulty, scores tie."""
    rng = np.random.default_rng(seed)
    query = np.repeat(np.arange(n_queries), per_query)
    grade = rng.integers(0, 4, len(query)).astype(np.float64)
    score = grade + rng.normal(0, 2, len(query)) + rng.normal(0, 1, n_queries)[query]
    return np.round(score, 1), grade, query


# ---------------------------------------------------------------- measures


def test_auc_by_hand() -> None:
    # positives .9 .4, negatives .4 .1: wins 1 + 1 + 1/2 + 1 of 4.
    assert auc(np.array([0.9, 0.4, 0.4, 0.1]), np.array([1, 1, 0, 0])) == 0.875
    assert np.isnan(auc(np.array([1.0, 2.0]), np.array([True, True])))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auc_is_scikit_learns_and_ignores_order_and_scale(pairs: list[tuple[int, bool]]) -> None:
    score, positive = np.array([s for s, _ in pairs], dtype=float), np.array([p for _, p in pairs])
    if positive.all() or not positive.any():
        assert np.isnan(auc(score, positive))
        return
    value = auc(score, positive)
    assert value == pytest.approx(roc_auc_score(positive, score))
    assert auc(score[::-1], positive[::-1]) == pytest.approx(value)
    assert auc(np.exp(score), positive) == pytest.approx(value)
    assert auc(-score, positive) == pytest.approx(1 - value)


def test_within_query_auc_compares_only_inside_a_query() -> None:
    score = np.array([2.0, 1.0, 11.0, 12.0, 5.0])
    positive = np.array([True, False, True, False, True])
    made = within_query_auc(score, positive, np.array([0, 0, 1, 1, 3]), 4)
    np.testing.assert_array_equal(made, [1, 0, np.nan, np.nan])


def test_ndcg_by_hand() -> None:
    # Order of grades 0, 3, 1 at ranks 1, 2, 3: gains 0, 7, 1.
    dcg = 7 / np.log2(3) + 1 / np.log2(4)
    ideal = 7 + 1 / np.log2(3)
    made = ndcg(np.array([3.0, 2.0, 1.0]), np.array([0, 3, 1]), np.zeros(3, dtype=int), 2)
    assert made[0] == pytest.approx(dcg / ideal)
    assert np.isnan(made[1])
    assert np.isnan(ndcg(np.ones(2), np.zeros(2), np.zeros(2, dtype=int), 1)[0])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=25), st.integers(1, 12))
def test_ndcg_is_scikit_learns_ties_included(pairs: list[tuple[int, int]], k: int) -> None:
    score, grade = np.array(pairs, dtype=float).T
    made = ndcg(score, grade, np.zeros(len(score), dtype=int), 1, k=k)[0]
    if grade.any():
        assert made == pytest.approx(ndcg_score([2**grade - 1], [score], k=k))
    else:
        assert np.isnan(made)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=25))
def test_the_operating_point_has_the_best_f1(pairs: list[tuple[int, bool]]) -> None:
    score, positive = np.array([s for s, _ in pairs], dtype=float), np.array([p for _, p in pairs])
    point = operating_point(score, positive)
    if not positive.any():
        assert np.isnan(point)
        return

    def f1(threshold: float) -> float:
        called = score >= threshold
        return 2 * (called & positive).sum() / (called.sum() + positive.sum())

    assert f1(point) == pytest.approx(max(f1(t) for t in score))


def test_hits_and_survival_by_hand() -> None:
    level, query = np.array([0, 2, 1, 3]), np.array([0, 0, 0, 2])
    hit = hit_at_k(level, query, 3, 3)
    np.testing.assert_array_equal(hit, [[1, 1, 0], [np.nan] * 3, [1, 1, 1]])
    sharing = np.array([[9, 9, 9], [8, 4, 2], [5, 5, 1], [4, 2, 1]])  # 5: a second item hit at level 1 counts more
    by_item = item_hit_at_k(level, sharing, query, 3, 3)
    np.testing.assert_allclose(by_item, [[1 / 5, 1 / 4, 0], [np.nan] * 3, [1 / 4, 1 / 2, 1]])
    assert (by_item[[0, 2]] <= hit[[0, 2]]).all()
    survival = prefix_survival(level, query, 3, 3)
    np.testing.assert_allclose(survival, [[2 / 3, 1 / 3, 0], [np.nan] * 3, [1, 1, 1]])


def test_items_under_every_prefix_by_hand() -> None:
    codes = np.array([[0, 1, 0], [0, 1, 0], [0, 1, 1], [0, 2, 0], [-1, -1, -1], [3, 1, 0]])
    expected = [[4, 3, 2], [4, 3, 2], [4, 3, 1], [4, 1, 1], [0, 0, 0], [1, 1, 1]]
    np.testing.assert_array_equal(items_under(codes), expected)


def test_collapse_pays_by_sid_and_not_by_item() -> None:
    """Everything under one SID: every query hits, and no item is told apart."""
    n = 20
    level, query = np.full(n, 2), np.arange(n)
    sharing = items_under(np.zeros((n, 2), dtype=np.int64))
    assert hit_at_k(level, query, n, 2).mean() == 1
    assert item_hit_at_k(level, sharing, query, n, 2).mean() == pytest.approx(1 / n)


def test_diversity_and_validity_by_hand() -> None:
    beams = np.array([[[1, 1], [1, 2], [2, 1], [-1, -1]], [[-1, -1]] * 4])
    np.testing.assert_allclose(beam_diversity(beams), [[2 / 3, 1], [np.nan, np.nan]])
    np.testing.assert_allclose(validity(beams, np.array([[1, 1], [2, 1], [9, 9]])), [2 / 3, np.nan])


def test_retrieval_recall_by_hand() -> None:
    made = retrieval_recall(np.array([True, False, True]), np.array([0, 0, 2]), 3)
    np.testing.assert_array_equal(made, [0.5, np.nan, 1])


# ---------------------------------------------------------------- bootstrap


def test_resamples_draw_every_query_once_on_average() -> None:
    weights = resample_queries(50, 400, seed=0)
    assert (weights.sum(axis=1) == 50).all()
    assert np.abs(weights.mean(axis=0) - 1).max() < 0.25
    assert np.array_equal(weights, resample_queries(50, 400, seed=0))


@pytest.mark.parametrize("block", [2, 512])
def test_auc_draws_equal_the_auc_of_the_repeated_rows(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.evaluation.bootstrap._CHUNK_QUERIES", block)
    score, grade, query = _judged(9, 0)
    positive = grade >= 2
    weights = resample_queries(9, 15, seed=1)
    masks = {"all": np.ones(9, dtype=bool), "odd": np.arange(9) % 2 == 1}
    made = bootstrap_auc(score, positive, query, weights, masks)
    for name, mask in masks.items():
        assert made[name].value == pytest.approx(roc_auc_score(positive[mask[query]], score[mask[query]]))
        for r, row in enumerate(weights):
            times = (row * mask)[query].astype(int)
            expected = roc_auc_score(np.repeat(positive, times), np.repeat(score, times))
            assert made[name].draws[r] == pytest.approx(expected, abs=1e-6)


def test_ratio_draws_equal_the_slow_way_and_skip_unusable_queries() -> None:
    rng = np.random.default_rng(0)
    top, bottom = rng.integers(0, 5, 20).astype(float), rng.integers(1, 9, 20).astype(float)
    top[3] = np.nan
    weights = resample_queries(20, 30, seed=2)
    masks = {"all": np.ones(20, dtype=bool), "half": np.arange(20) < 10}
    made = bootstrap_metric(top, bottom, weights, masks)
    for name, mask in masks.items():
        ok = mask & np.isfinite(top)
        assert made[name].n == ok.sum()
        assert made[name].value == pytest.approx(top[ok].sum() / bottom[ok].sum())
        expected = [(w[ok] @ top[ok]) / (w[ok] @ bottom[ok]) for w in weights]
        np.testing.assert_allclose(made[name].draws, expected, rtol=1e-5)
        assert made[name].low <= made[name].value <= made[name].high


def test_too_few_queries_are_unknown_not_a_number() -> None:
    score, grade, query = _judged(4, 0)
    weights = resample_queries(4, 50, seed=0)
    masks = {"one": np.arange(4) == 0, "none": np.zeros(4, dtype=bool)}
    for made in (
        bootstrap_auc(score, grade >= 2, query, weights, masks),
        bootstrap_metric(np.ones(4), np.ones(4), weights, masks),
    ):
        assert [made[name].n for name in masks] == [1, 0]
        assert all(np.isnan([e.value, e.low, e.high]).all() for e in made.values())
    gap = paired_difference(made["one"], made["one"])
    assert np.isnan(gap.p_value)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    weights = resample_queries(80, 400, seed=0)
    everyone = {"all": np.ones(80, dtype=bool)}
    covered = 0
    for _ in range(200):
        values = rng.random(80) < 0.3
        e = bootstrap_metric(values.astype(float), np.ones(80), weights, everyone)["all"]
        covered += e.low <= 0.3 <= e.high
    assert 0.88 <= covered / 200 <= 0.99


def test_pairing_cancels_what_two_rankers_share() -> None:
    score, grade, query = _judged(150, 0)
    positive, weights = grade >= 2, resample_queries(150, 500, seed=0)
    everyone = {"all": np.ones(150, dtype=bool)}
    rng = np.random.default_rng(1)
    better = score + 0.3 * grade + rng.normal(0, 0.1, len(score))
    first, second = (bootstrap_auc(s, positive, query, weights, everyone)["all"] for s in (better, score))
    gap = paired_difference(first, second)
    assert gap.difference == pytest.approx(first.value - second.value)
    assert 0 < gap.low < gap.difference < gap.high
    assert gap.p_value == pytest.approx(2 / 501)
    assert gap.high - gap.low < (first.high - first.low) / 2
    assert detectable_difference(gap.low, gap.high) == pytest.approx(2.80 * np.std(first.draws - second.draws), rel=0.1)
    back = paired_difference(second, first)
    assert (back.difference, back.low, back.high) == pytest.approx((-gap.difference, -gap.high, -gap.low))
    same = paired_difference(first, first)
    assert (same.difference, same.p_value) == (0, 1)


def test_p_values_of_equal_rankers_are_uniform_enough() -> None:
    rejected = 0
    weights = resample_queries(60, 300, seed=0)
    everyone = {"all": np.ones(60, dtype=bool)}
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = (bootstrap_metric(rng.random(60), np.ones(60), weights, everyone)["all"] for _ in range(2))
        rejected += paired_difference(a, b).p_value < 0.05
    assert rejected / 200 < 0.11


# ---------------------------------------------------------------- tables


def _columns(table: str) -> list[str]:
    body = re.search(rf"CREATE TABLE {table} \((.*?)\n?\);", SCHEMA.read_text(), re.S)
    assert body is not None
    text = re.sub(r"--.*", "", body.group(1))
    return [column.split()[0] for column in text.replace("\n", " ").split(",") if column.strip()][1:]


def test_tables_have_the_columns_of_the_schema_and_the_right_numbers() -> None:
    score, grade, query = _judged(40, 0)
    noisy = score + np.random.default_rng(1).normal(0, 2, len(score))
    segments = {"all": np.ones(40, dtype=bool), "seen": np.arange(40) < 15}
    made = evaluate(
        Judged({"dsirm": score, "strong": noisy}, grade, query, 2, [f"q{i}" for i in range(40)]),
        segments,
        comparisons=[("dsirm", "strong"), ("dsirm", "absent")],
        with_without=("dsirm", "strong"),
        operating_points={"dsirm": 1.0},
        resamples=200,
    )
    assert list(made.metrics) == _columns("metrics")
    assert list(made.comparisons) == _columns("comparisons")
    assert list(made.query_metrics) == _columns("query_metrics")
    value = made.metrics.set_index(["metric", "segment"])["value"]
    positive = grade >= 2
    assert value["dsirm.auc", "all"] == pytest.approx(roc_auc_score(positive, score))
    assert value["dsirm.precision", "all"] == pytest.approx(precision_score(positive, score >= 1))
    assert value["dsirm.recall", "all"] == pytest.approx(recall_score(positive, score >= 1))
    inside = query < 15
    assert value["strong.auc", "seen"] == pytest.approx(roc_auc_score(positive[inside], noisy[inside]))
    assert ("strong.precision", "all") not in value.index
    gap = made.comparisons.set_index(["metric", "segment"])["difference"]
    assert gap["ndcg@10", "all"] == pytest.approx(value["dsirm.ndcg@10", "all"] - value["strong.ndcg@10", "all"])
    assert set(made.comparisons["baseline"]) == {"strong"}
    per_query = made.query_metrics.query("metric == 'ndcg@10'")
    assert per_query["value"].mean() == pytest.approx(value["dsirm.ndcg@10", "all"])
    assert (per_query["value"] - per_query["value_without"] - per_query["difference"]).abs().max() < 1e-12


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1_000))
def test_the_order_of_rows_and_a_monotone_change_of_scores_change_nothing(seed: int) -> None:
    score, grade, query = _judged(15, seed)
    segments = {"all": np.ones(15, dtype=bool)}
    order = np.random.default_rng(seed).permutation(len(score))
    tables = [
        evaluate(Judged({"r": s}, g, q, 2), segments, resamples=50).metrics
        for s, g, q in ((score, grade, query), (score[order], grade[order], query[order]), (score**3, grade, query))
    ]
    for other in tables[1:]:
        np.testing.assert_allclose(other[["value", "low", "high"]], tables[0][["value", "low", "high"]], rtol=1e-6)


def test_per_query_values_by_segment() -> None:
    values = {"hit@5.level_1": np.array([1.0, 0.0, np.nan, 1.0])}
    made = evaluate_queries(values, {"all": np.ones(4, dtype=bool), "new": np.arange(4) > 2}, resamples=100)
    assert list(made) == _columns("metrics")
    assert made["n"].tolist() == [3, 1]
    assert made["value"][0] == pytest.approx(2 / 3)
    assert np.isnan(made["value"][1])
