"""Forests in numpy, and their exact attribution: by definition over all coalitions, against LightGBM, by the axioms."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from math import factorial

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ModelError
from engine.relevance import tree_attribution
from engine.relevance.boosted import forest
from engine.relevance.tree_attribution import tree_shapley
from engine.relevance.trees import TreeScorer

COLUMNS = ("a", "a_flag", "b", "c", "d", "d_twin", "e")
GROUPS = {"a": ("a", "a_flag"), "b": ("b",), "c": ("c",), "d": ("d", "d_twin"), "e": ("e",)}


def _forest(
    rng: np.random.Generator, *, trees: int = 6, splits: int = 9, columns: tuple[str, ...] = COLUMNS
) -> TreeScorer:
    """Random trees of any shape; thresholds on a coarse grid, so that values meet them exactly."""
    feature: list[int] = []
    threshold: list[float] = []
    value: list[float] = []
    children: list[list[int]] = []

    def grow(left_to_split: int) -> int:
        node = len(feature)
        feature.append(int(rng.integers(len(columns))) if left_to_split else -1)
        threshold.append(round(float(rng.standard_normal()), 1) if left_to_split else 0.0)
        value.append(0.0 if left_to_split else float(rng.standard_normal()))
        children.append([-1, -1])
        if left_to_split:
            below = int(rng.integers(left_to_split))
            children[node] = [grow(below), grow(left_to_split - 1 - below)]
        return node

    root = [grow(splits) for _ in range(trees)]
    left, right = np.array(children).T
    return TreeScorer(
        columns, np.array(feature), np.array(threshold), left, right, np.array(value), np.array(root),
        slope=np.zeros(len(columns)), low=0.0, high=3.0,
    )  # fmt: skip


def _rows(rng: np.random.Generator, n: int, f: int = len(COLUMNS)) -> np.ndarray:
    return np.round(rng.standard_normal((n, f)), 1)


def _walk(scorer: TreeScorer, row: np.ndarray) -> float:
    total = 0.0
    for node in scorer.root:
        while scorer.feature[node] >= 0:
            goes_left = row[scorer.feature[node]] <= scorer.threshold[node]
            node = scorer.left[node] if goes_left else scorer.right[node]
        total += scorer.value[node]
    return total


def _by_definition(scorer: TreeScorer, own: np.ndarray, other: np.ndarray, groups: dict) -> np.ndarray:
    """Shapley (1953) over all coalitions, every game value from a walk down the trees."""
    names = list(groups)
    n = len(names)

    def v(coalition: tuple[str, ...]) -> float:
        row = other.copy()
        for name in coalition:
            columns = [scorer.columns.index(c) for c in groups[name] if c in scorer.columns]
            row[columns] = own[columns]
        return _walk(scorer, row)

    out = np.zeros(n)
    for p, name in enumerate(names):
        rest = [other_name for other_name in names if other_name != name]
        for size in range(n):
            weight = factorial(size) * factorial(n - size - 1) / factorial(n)
            out[p] += weight * sum(v((*s, name)) - v(s) for s in combinations(rest, size))
    return out


@pytest.fixture(scope="module")
def booster() -> lgb.Booster:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((4_000, 5))
    y = np.clip(np.round(1.5 + x[:, 0] + x[:, 1] * x[:, 2]), 0, 3)
    options = {"num_leaves": 15, "verbosity": -1, "use_missing": False, "num_threads": 1, "seed": 1}
    return lgb.train(options, lgb.Dataset(x, label=y), num_boost_round=40)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 40))
def test_scores_are_what_walking_down_the_trees_gives(seed: int, splits: int) -> None:
    rng = np.random.default_rng(seed)
    scorer, dense = _forest(rng, splits=splits), _rows(rng, 30)
    np.testing.assert_allclose(scorer.score(dense), [_walk(scorer, row) for row in dense], rtol=0, atol=1e-13)


def test_scores_equal_lightgbm(booster: lgb.Booster) -> None:
    rng = np.random.default_rng(6)
    x = np.concatenate([rng.standard_normal((70_000, 5)), 1e6 * rng.standard_normal((10, 5)), np.zeros((1, 5))])
    scorer = forest([booster], tuple("abcde"), low=0, high=3)
    on_threshold = np.full((len(scorer.threshold), 5), 0.1)
    splits = np.flatnonzero(scorer.feature >= 0)
    on_threshold[splits, scorer.feature[splits]] = scorer.threshold[splits]
    x = np.concatenate([x, on_threshold])
    assert np.array_equal(scorer.score(x), booster.predict(x))
    assert np.array_equal(scorer.score(x[-100:]), booster.predict(x[-100:]))


def test_a_score_does_not_depend_on_how_many_rows_are_scored_with_it() -> None:
    rng = np.random.default_rng(17)
    scorer, dense = _forest(rng, trees=50), _rows(rng, 1_000)
    together = scorer.score(dense)
    assert np.array_equal(
        together, np.concatenate([scorer.score(dense[:1]), scorer.score(dense[1:300]), scorer.score(dense[300:])])
    )


def test_a_mean_of_models(booster: lgb.Booster) -> None:
    x = np.random.default_rng(7).standard_normal((500, 5))
    short = lgb.Booster(model_str=booster.model_to_string(num_iteration=10))
    scorer = forest([booster, short], tuple("abcde"), low=0, high=3)
    np.testing.assert_allclose(scorer.score(x), (booster.predict(x) + short.predict(x)) / 2, rtol=0, atol=1e-12)


def test_arrays_restore_the_scorer() -> None:
    rng = np.random.default_rng(8)
    scorer, dense = _forest(rng), _rows(rng, 100)
    arrays = scorer.arrays()
    assert {a.dtype for a in arrays.values()} == {np.dtype(np.float64)}
    again = TreeScorer.from_arrays(arrays, COLUMNS)
    assert np.array_equal(again.score(dense), scorer.score(dense))
    assert (again.columns, again.low, again.high) == (COLUMNS, 0.0, 3.0)
    del arrays["threshold"]
    with pytest.raises(ModelError, match="threshold"):
        TreeScorer.from_arrays(arrays, COLUMNS)
    with pytest.raises(ModelError, match="other columns than a, b"):
        TreeScorer.from_arrays(scorer.arrays(), ("a", "b"))


def test_the_expected_grade_stays_within_the_grades() -> None:
    scorer = _forest(np.random.default_rng(9))
    assert scorer.expected_grade(np.array([-0.2, 1.3, 3.4])).tolist() == [0.0, 1.3, 3.0]


def test_a_table_of_other_columns_is_refused() -> None:
    scorer = _forest(np.random.default_rng(10))
    with pytest.raises(ModelError, match="shape"):
        scorer.score(np.zeros((2, 3)))


def test_absent_values_give_no_score_and_no_explanation() -> None:
    rng = np.random.default_rng(11)
    scorer, dense, other = _forest(rng), _rows(rng, 3), _rows(rng, 3)
    dense[0, 2] = other[1, 4] = np.nan
    made = tree_shapley(scorer, dense, other, GROUPS)
    assert np.isnan(made.score).tolist() == [True, False, False]
    assert np.isnan(made.reference_score).tolist() == [False, True, False]
    assert np.isnan(made.values).all(axis=1).tolist() == [True, True, False]
    assert np.isfinite(made.values[2]).all()


def test_no_rows() -> None:
    scorer = _forest(np.random.default_rng(12))
    assert scorer.score(np.zeros((0, 7))).shape == (0,)
    assert tree_shapley(scorer, np.zeros((0, 7)), np.zeros((0, 7)), GROUPS).values.shape == (0, 5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 12), st.integers(1, 8))
def test_values_are_the_definition_over_all_coalitions(seed: int, splits: int, n_players: int) -> None:
    rng = np.random.default_rng(seed)
    columns = tuple(f"c{i}" for i in range(10))
    player = rng.integers(n_players, size=10)
    groups = {f"p{p}": tuple(c for c, q in zip(columns, player, strict=True) if q == p) for p in range(n_players)}
    scorer = _forest(rng, trees=3, splits=splits, columns=columns)
    own, other = _rows(rng, 3, 10), _rows(rng, 3, 10)
    made = tree_shapley(scorer, own, other, groups)
    assert made.features == tuple(groups)
    expected = [_by_definition(scorer, a, b, groups) for a, b in zip(own, other, strict=True)]
    np.testing.assert_allclose(made.values, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("splits", [9, 30, 70])
def test_many_pairs_are_grouped_by_game_without_a_trace(splits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees of more splits than one key holds, references that repeat by query, several chunks of pairs."""
    rng = np.random.default_rng(splits)
    scorer = _forest(rng, splits=splits)
    own, other = _rows(rng, 700), np.repeat(_rows(rng, 70), 10, axis=0)
    plain = tree_shapley(scorer, own, other, GROUPS)
    monkeypatch.setattr(tree_attribution, "_BLOCK", 0)
    monkeypatch.setattr(tree_attribution, "_CHUNK", 300)
    grouped = tree_shapley(scorer, own, other, GROUPS)
    np.testing.assert_allclose(grouped.values, plain.values, rtol=0, atol=1e-12)
    sample = rng.choice(700, size=12, replace=False)
    expected = [_by_definition(scorer, own[i], other[i], GROUPS) for i in sample]
    np.testing.assert_allclose(grouped.values[sample], expected, rtol=0, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_contributions_sum_to_score_minus_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scorer = _forest(rng, trees=30, splits=14)
    made = tree_shapley(scorer, _rows(rng, 200), _rows(rng, 200), GROUPS)
    np.testing.assert_allclose(made.values.sum(axis=1), made.score - made.reference_score, rtol=0, atol=1e-11)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_player_at_its_reference_or_never_asked_gets_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scorer = _forest(rng, columns=COLUMNS[:6])
    own, other = _rows(rng, 50, 6), _rows(rng, 50, 6)
    own[:, 2] = other[:, 2]
    made = tree_shapley(scorer, own, other, GROUPS)
    assert not made.values[:, [1, 4]].any()  # b stands at its reference; e is no column of this ranker


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_players_that_the_trees_treat_alike_get_the_same(seed: int) -> None:
    """Each tree has a mirror image in which b and c are exchanged; pairs and references hold equal values in both."""
    rng = np.random.default_rng(seed)
    one = _forest(rng)
    swap = np.array([0, 1, 3, 2, 4, 5, 6, -1])
    n = len(one.feature)
    shift = [np.where(child >= 0, child + n, -1) for child in (one.left, one.right)]
    both = TreeScorer(
        COLUMNS,
        np.r_[one.feature, swap[one.feature]],
        np.r_[one.threshold, one.threshold],
        np.r_[one.left, shift[0]],
        np.r_[one.right, shift[1]],
        np.r_[one.value, one.value],
        np.r_[one.root, one.root + n],
        slope=np.zeros(len(COLUMNS)),
        low=0.0,
        high=3.0,
    )
    own, other = _rows(rng, 40), _rows(rng, 40)
    own[:, 3], other[:, 3] = own[:, 2], other[:, 2]
    made = tree_shapley(both, own, other, GROUPS)
    np.testing.assert_allclose(made.values[:, 1], made.values[:, 2], rtol=0, atol=1e-12)


def test_one_column_a_tree_is_what_lightgbm_calls_a_contribution() -> None:
    """Stumps add up without interaction: differences of LightGBM's own (path-dependent) contributions agree then."""
    rng = np.random.default_rng(13)
    x = rng.standard_normal((3_000, 5))
    y = x[:, 0] + np.abs(x[:, 1]) + (x[:, 2] > 0)
    options = {"num_leaves": 2, "verbosity": -1, "use_missing": False, "num_threads": 1}
    stumps = lgb.train(options, lgb.Dataset(x, label=y), num_boost_round=60)
    names = tuple("abcde")
    made = tree_shapley(forest([stumps], names, low=0, high=3), x[:100], x[100:200], {name: (name,) for name in names})
    parts = np.asarray(stumps.predict(x[:200], pred_contrib=True))[:, :5]
    np.testing.assert_allclose(made.values, parts[:100] - parts[100:], rtol=0, atol=1e-9)


def test_per_query_references_of_a_trained_model(booster: lgb.Booster) -> None:
    rng = np.random.default_rng(14)
    x = rng.standard_normal((600, 5))
    reference = np.repeat(x.reshape(30, 20, 5).mean(axis=1), 20, axis=0)
    scorer = forest([booster], tuple("abcde"), low=0, high=3)
    groups = {"ab": ("a", "b"), "c": ("c",), "de": ("d", "e")}
    made = tree_shapley(scorer, x, reference, groups)
    np.testing.assert_allclose(made.score - made.reference_score, made.values.sum(axis=1), rtol=0, atol=1e-9)
    for i in (0, 19, 20, 599):
        expected = _by_definition(scorer, x[i], reference[i], groups)
        np.testing.assert_allclose(made.values[i], expected, rtol=0, atol=1e-9)


def test_every_column_needs_one_player() -> None:
    rng = np.random.default_rng(15)
    scorer, dense = _forest(rng), _rows(rng, 2)
    with pytest.raises(ModelError, match="no player of the attribution holds the ranker's columns d, d_twin"):
        tree_shapley(scorer, dense, dense, {name: columns for name, columns in GROUPS.items() if name != "d"})
    with pytest.raises(ModelError, match="players b and again both hold the column b"):
        tree_shapley(scorer, dense, dense, {**GROUPS, "again": ("b",)})


def test_a_line_gives_each_column_its_own_difference() -> None:
    """The trees' contributions stay; a player's columns add slope x (own - reference); one row scores as it does beside
    others."""
    rng = np.random.default_rng(21)
    trees, own, other = _forest(rng), _rows(rng, 600), _rows(rng, 600)
    slope = np.array([1.0, 0.0, -2.0, 0.5, 0.0, 3.0, 0.25])
    both = replace(trees, slope=slope)
    made, bare = tree_shapley(both, own, other, GROUPS), tree_shapley(trees, own, other, GROUPS)
    line = slope * (own - other)
    expected = np.column_stack([line[:, [COLUMNS.index(c) for c in group]].sum(axis=1) for group in GROUPS.values()])
    np.testing.assert_allclose(made.values - bare.values, expected, atol=1e-12)
    np.testing.assert_allclose(made.score - made.reference_score, made.values.sum(axis=1), atol=1e-9)
    np.testing.assert_allclose(both.score(own) - trees.score(own), own @ slope, atol=1e-12)
    assert both.score(own)[:5].tolist() == [both.score(row[None])[0] for row in own[:5]]
    again = TreeScorer.from_arrays(both.arrays(), COLUMNS)
    np.testing.assert_array_equal(again.score(own), both.score(own))
    with pytest.raises(ModelError, match="its line"):
        TreeScorer.from_arrays({**both.arrays(), "slope": slope[:3]}, COLUMNS)


def test_up_to_64_players() -> None:
    """One stump a column: nothing interacts, a player gets the difference of its own stump."""
    rng = np.random.default_rng(18)
    n = 64
    columns = tuple(f"c{i}" for i in range(n))
    root, nothing = 3 * np.arange(n), np.full(n, -1)
    scorer = TreeScorer(
        columns,
        np.column_stack([np.arange(n), nothing, nothing]).ravel(),
        np.zeros(3 * n),
        np.column_stack([root + 1, nothing, nothing]).ravel(),
        np.column_stack([root + 2, nothing, nothing]).ravel(),
        np.column_stack([np.zeros(n), -np.arange(n), np.arange(n)]).ravel().astype(float),
        root,
        slope=np.zeros(n),
        low=0.0,
        high=3.0,
    )
    own, other = _rows(rng, 20, n), _rows(rng, 20, n)
    made = tree_shapley(scorer, own, other, {c: (c,) for c in columns})
    np.testing.assert_allclose(made.values, 2 * np.arange(n) * ((own > 0).astype(float) - (other > 0)), atol=1e-12)
    with pytest.raises(ModelError, match="at most 64"):
        tree_shapley(scorer, own, other, {**{c: (c,) for c in columns}, "one more": ()})
