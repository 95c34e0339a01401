"""The gradient-boosted ranker: what it learns, its promises, and the list-centring that baselines get too."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from engine.relevance.boosted import train_boosted
from engine.relevance.features import CENTRED, DENSE, centre
from engine.relevance.few import PENALTIES, fit_lines, inner_folds, simplest_good
from engine.relevance.folds import CrossFitted, ServedRows
from engine.relevance.trees import TreeScorer

COLUMNS = ("dm", "qs", "match_1", "match_2")


class Data(NamedTuple):
    dense: np.ndarray
    grade: np.ndarray
    query: np.ndarray

    def rows(self, columns: tuple[str, ...] = COLUMNS) -> CrossFitted:
        seen = np.zeros((2, int(self.query.max()) + 1), dtype=bool)
        taken = self.dense[:, [COLUMNS.index(name) for name in columns]]
        return CrossFitted(columns, taken, None, self.query, np.ones(len(self.query)), seen)

    @property
    def served(self) -> ServedRows:
        return ServedRows(self.dense, None, self.grade)


def _draw(n: int, seed: int) -> Data:
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(n)
    match = np.clip(np.round(truth + rng.standard_normal(n)), 0, 2)
    dense = np.column_stack(
        [truth + rng.standard_normal(n), truth + 2 * rng.standard_normal(n), match >= 1, match >= 2]
    )
    return Data(dense, np.clip(np.round(1 + truth + 0.5 * rng.standard_normal(n)), 0, 3), np.arange(n) // 5)


@pytest.fixture(scope="module")
def data() -> Data:
    return _draw(4_000, 0)


@pytest.fixture(scope="module")
def trees(data: Data) -> TreeScorer:
    held = _draw(1_000, 1)
    return train_boosted(data.rows(), data.grade, seed=3, rising=("dm", "match_1", "match_2"), valid=held.served)


def test_it_ranks_and_more_columns_help(data: Data, trees: TreeScorer) -> None:
    test = _draw(4_000, 2)
    alone = train_boosted(data.rows(("dm", "qs")), data.grade, seed=3).score(test.dense[:, :2])
    assert roc_auc_score(test.grade >= 2, trees.score(test.dense)) > roc_auc_score(test.grade >= 2, alone) + 0.01
    assert roc_auc_score(test.grade >= 2, alone) > 0.8
    assert (trees.low, trees.high) == (0.0, 3.0)
    assert abs(trees.score(test.dense).mean() - test.grade.mean()) < 0.1


def test_equal_seeds_give_equal_trees_and_other_seeds_others(data: Data) -> None:
    first, again, other = (train_boosted(data.rows(), data.grade, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first.arrays().values(), again.arrays().values(), strict=True))
    assert not np.array_equal(first.score(data.dense), other.score(data.dense))


def test_members_differ_and_are_averaged(data: Data) -> None:
    three = train_boosted(data.rows(), data.grade, seed=0, members=3)
    assert len(three.root) == 300
    first = np.flatnonzero(three.feature >= 0)
    own = [np.sort(three.threshold[first[(first >= three.root[100 * k]) & (first < end)]]) for k, end in
           enumerate([*three.root[[100, 200]], len(three.feature)])]  # fmt: skip
    assert not np.array_equal(own[0], own[1])
    assert abs(three.score(data.dense).mean() - data.grade.mean()) < 0.05


def test_validation_queries_stop_the_growth(data: Data) -> None:
    noise = data._replace(grade=np.random.default_rng(0).permutation(data.grade))
    held = _draw(1_000, 1)
    made = train_boosted(data.rows(), noise.grade, seed=0, members=1, valid=held.served)
    assert len(made.root) < 100
    assert len(train_boosted(data.rows(), noise.grade, seed=0, members=1).root) == 100


def test_the_score_never_falls_where_a_rising_column_rises(data: Data, trees: TreeScorer) -> None:
    low = _draw(2_000, 4).dense
    for column in (0, 2, 3):
        high = low.copy()
        high[:, column] += np.random.default_rng(column).exponential(size=len(low))
        assert (trees.score(high) >= trees.score(low) - 1e-12).all()
        assert (trees.score(high) > trees.score(low)).any()


def test_constant_grades_give_a_constant_score(data: Data) -> None:
    made = train_boosted(data.rows(), np.full(len(data.grade), 2.0), seed=0)
    np.testing.assert_allclose(made.score(data.dense), 2.0)


def test_small_data_is_learnt_from() -> None:
    few, new = _draw(80, 5), _draw(400, 6)
    found = train_boosted(few.rows(), few.grade, seed=0).score(new.dense)
    assert np.corrcoef(found, new.grade)[0, 1] > 0.4
    two = _draw(2, 7)
    assert np.isfinite(train_boosted(two.rows(), two.grade, seed=0).score(new.dense)).all()


def _few(n_queries: int, noise_columns: int, *, seed: int, help_: float = 0.0) -> tuple[CrossFitted, np.ndarray]:
    """Queries of 15 pairs: `dm` tells the grade but for noise of its size, `qs` by `help_`, the other columns nothing."""
    rng = np.random.default_rng(seed)
    n = 15 * n_queries
    grade = rng.integers(0, 4, n).astype(float)
    dm, qs = grade + rng.standard_normal(n), help_ * np.sin(2 * grade) + 0.3 * rng.standard_normal(n)
    columns = ("dm", "qs", *(f"noise{i}" for i in range(noise_columns)))
    x = np.column_stack([dm, qs, rng.standard_normal((n, noise_columns))])
    query, seen = np.arange(n) // 15, np.zeros((1, n_queries), dtype=bool)
    return CrossFitted(columns, x, None, query, np.zeros(n), seen), grade


def _auc(made: TreeScorer, test: tuple[CrossFitted, np.ndarray]) -> float:
    return float(roc_auc_score(test[1] >= 2, made.score(test[0].dense)))


@pytest.mark.parametrize("n_queries", [8, 20, 60])
def test_few_queries_and_many_idle_columns_leave_the_cosine(n_queries: int) -> None:
    test = _few(400, 90, seed=1)
    cosine = roc_auc_score(test[1] >= 2, test[0].dense[:, 0])
    for seed in range(3):
        rows, grade = _few(n_queries, 90, seed=10 + seed)
        assert _auc(train_boosted(rows, grade, seed=seed), test) > cosine - 0.01


def test_few_queries_still_teach_what_is_there() -> None:
    test, (rows, grade) = _few(400, 30, seed=1, help_=1.0), _few(60, 30, seed=2, help_=1.0)
    cosine = roc_auc_score(test[1] >= 2, test[0].dense[:, 0])
    made = train_boosted(rows, grade, seed=0)
    assert _auc(made, test) > cosine + 0.02
    assert len(made.root) > 1
    again = train_boosted(rows, grade, seed=0)
    assert all(np.array_equal(a, b) for a, b in zip(made.arrays().values(), again.arrays().values(), strict=True))


def test_few_queries_keep_the_promise_of_rising_columns() -> None:
    rows, grade = _few(30, 5, seed=3)
    falling = rows.dense.copy()
    falling[:, 1] = -grade
    made = train_boosted(replace(rows, dense=falling), grade, seed=0, rising=("qs",))
    assert made.slope[1] == 0
    higher = falling.copy()
    higher[:, 1] += 1.0
    assert (made.score(higher) >= made.score(falling) - 1e-12).all()


def test_one_query_is_ranked_by_cosine_and_two_can_be_learnt_from() -> None:
    rows, grade = _few(1, 3, seed=4)
    made = train_boosted(rows, grade, seed=0)
    assert np.flatnonzero(made.slope).tolist() == [0]
    x = rows.dense[:, 0]
    by_hand = grade.mean() + np.cov(x, grade, bias=True)[0, 1] / x.var() * (x - x.mean())
    np.testing.assert_allclose(made.score(rows.dense), by_hand)
    two, grade = _few(2, 3, seed=5)
    pairs = [0, 20]  # one pair of each query
    assert np.isfinite(train_boosted(two.select(np.array(pairs)), grade[pairs], seed=0).score(two.dense)).all()


def test_lines_by_hand_and_by_another_library() -> None:
    rows, grade = _few(20, 3, seed=6, help_=1.0)
    x = rows.dense
    lines = fit_lines(x, grade, rows.columns, ())
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    by_cosine = z[:, 0] @ grade / len(z)
    for penalty, line in zip(PENALTIES[1:], lines.score(x)[1:], strict=True):
        ridge = Ridge(alpha=penalty * len(z), fit_intercept=False).fit(z, grade - grade.mean() - by_cosine * z[:, 0])
        np.testing.assert_allclose(line, grade.mean() + by_cosine * z[:, 0] + ridge.predict(z), atol=1e-9)


def test_the_simplest_within_half_a_standard_error_is_taken() -> None:
    grade, query = np.zeros(4), np.arange(4)
    # mean errors 1.25, 1.1, 1: differences from the last (0, 0, 1, 0) and (.1, .1, .1, .1); half of SE .125 and 0
    scores = np.sqrt(np.array([[1, 1, 2, 1], [1.1, 1.1, 1.1, 1.1], [1, 1, 1, 1]], dtype=float))
    assert simplest_good(scores, grade, query) == 2
    scores[0] = np.sqrt([2.4, 1, 0.7, 1])  # differences 1.4, 0, -.3, 0: mean .275, half of SE .195
    assert simplest_good(scores, grade, query) == 2
    scores[0] = np.sqrt([2.0, 1, 0.2, 1])  # 1, 0, -.8, 0: mean .05, half of SE .184
    assert simplest_good(scores, grade, query) == 0


def test_inner_folds_hold_whole_queries_in_equal_shares() -> None:
    query = np.repeat([7, 3, 9, 1, 4, 8, 2], 3)
    fold = inner_folds(query, seed=0)
    assert all(len(set(fold[query == q])) == 1 for q in set(query))
    assert sorted(np.bincount(fold) // 3) == [1, 1, 1, 2, 2]
    assert inner_folds(np.array([5, 6]), seed=0).max() == 1


def test_unknown_rising_columns_are_a_bug(data: Data) -> None:
    with pytest.raises(AssertionError, match="sid"):
        train_boosted(data.rows(), data.grade, seed=0, rising=("sid",))


def test_centring_by_hand() -> None:
    dense = np.zeros((6, len(DENSE)))
    dense[:, DENSE.index("dm")] = [1, 3, 8, 5, 7, 9]
    dense[:, DENSE.index("mm_dm")] = [0.2, 0.4, 0.0, 0.9, 0.0, 0.5]
    dense[:, DENSE.index("mm_missing")] = [0, 0, 1, 0, 1, 0]
    query = np.array([0, 0, 0, 0, 1, 2])
    listed = np.array([True, True, True, False, True, False])
    made = dict(zip(CENTRED, centre(dense, query, listed, 3).T, strict=True))
    np.testing.assert_allclose(made["dm_centred"], [-3, -1, 4, 1, 0, 0])  # query 0 lists 1, 3, 8; query 2 lists nothing
    np.testing.assert_allclose(made["mm_dm_centred"], [-0.1, 0.1, 0, 0.6, 0, 0])  # over those that have one
    assert "mm_missing_centred" not in made
    assert not made["ct_centred"].any()


def test_centring_takes_away_what_all_candidates_of_a_query_share() -> None:
    rng = np.random.default_rng(0)
    dense, query = rng.standard_normal((200, len(DENSE))), np.repeat(np.arange(10), 20)
    dense[:, DENSE.index("mm_missing")] = rng.random(200) < 0.3
    listed = rng.random(200) < 0.8
    shifted = dense + 5 * rng.standard_normal((10, len(DENSE)))[query]
    shifted[:, DENSE.index("mm_missing")] = dense[:, DENSE.index("mm_missing")]
    np.testing.assert_allclose(centre(dense, query, listed, 10), centre(shifted, query, listed, 10), atol=1e-12)
