"""The gradient-boosted ranker: what it learns, its promises, and the list-centring that baselines get too."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from engine.relevance.boosted import train_boosted
from engine.relevance.features import CENTRED, DENSE, centre
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
    return Data(dense, np.clip(np.round(1 + truth + 0.5 * rng.standard_normal(n)), 0, 3), np.arange(n) // 20)


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
    first, again, other = (train_boosted(data.rows(), data.grade, seed=seed, rounds=20) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first.arrays().values(), again.arrays().values(), strict=True))
    assert not np.array_equal(first.score(data.dense), other.score(data.dense))


def test_members_differ_and_are_averaged(data: Data) -> None:
    three = train_boosted(data.rows(), data.grade, seed=0, rounds=10, members=3)
    assert len(three.root) == 30
    first = np.flatnonzero(three.feature >= 0)
    own = [np.sort(three.threshold[first[(first >= three.root[10 * k]) & (first < end)]]) for k, end in
           enumerate([*three.root[[10, 20]], len(three.feature)])]  # fmt: skip
    assert not np.array_equal(own[0], own[1])
    assert abs(three.score(data.dense).mean() - data.grade.mean()) < 0.05


def test_validation_queries_stop_the_growth(data: Data) -> None:
    noise = data._replace(grade=np.random.default_rng(0).permutation(data.grade))
    held = _draw(1_000, 1)
    made = train_boosted(data.rows(), noise.grade, seed=0, members=1, valid=held.served)
    assert len(made.root) < 100
    assert len(train_boosted(data.rows(), noise.grade, seed=0, members=1, rounds=120).root) == 120


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
