"""The ordinal ranker: the numpy scorer is the torch model, grades are ordered, training is honest and repeatable."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from engine.config import RankerConfig
from engine.errors import DataError, ModelError
from engine.relevance.folds import CrossFitted, ServedRows
from engine.relevance.ranker import RankerFit, _Ensemble, _Rows, grade_levels, train_ranker
from engine.relevance.scorer import Scorer

CONFIG = RankerConfig(hidden=(16, 8), match_embedding=4, epochs=12, batch=128, lr=5e-3, members=2)
GRADES = np.arange(4.0)
DENSE = ("dm", "mm_dm", "mm_missing", "ct", "qs", "qs_coverage", "qs_numbers")


class Data(NamedTuple):
    dense: np.ndarray
    level: np.ndarray
    grade: np.ndarray
    query: np.ndarray

    @property
    def rows(self) -> CrossFitted:
        seen = np.zeros((2, int(self.query.max()) + 1), dtype=bool)
        return CrossFitted(DENSE, self.dense, self.level, self.query, np.ones(len(self.query)), seen)

    @property
    def served(self) -> ServedRows:
        return ServedRows(self.dense, self.level, self.grade)


def _draw(n: int, seed: int, *, deepest: int = 3) -> Data:
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(n)
    dense = np.column_stack([
        0.5 + 0.1 * (truth + rng.standard_normal(n)),
        0.3 + 0.1 * (truth + rng.standard_normal(n)),
        rng.random(n) < 0.3,
        rng.random(n),
        np.exp(truth + rng.standard_normal(n)),
        rng.random(n),
        np.ones(n),
    ])  # fmt: skip
    dense[dense[:, 2] == 1, 1] = 0.0
    level = np.clip(np.round(truth + rng.standard_normal(n)), 0, deepest).astype(np.int64)
    grade = np.clip(np.round(1 + truth + 0.5 * rng.standard_normal(n)), 0, 3)
    return Data(dense, level, grade, np.arange(n) // 10)


def _train(data: Data, **changed: object) -> RankerFit:
    settings = {"config": CONFIG, "grade_values": GRADES, "seed": 0, "levels": 3} | changed
    return train_ranker(data.rows, data.grade, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def data() -> Data:
    return _draw(2_000, 0)


@pytest.fixture(scope="module")
def fitted(data: Data) -> RankerFit:
    held = _draw(500, 1)
    return _train(data, valid=held.served)


def test_scorer_is_the_torch_model(data: Data) -> None:
    torch.manual_seed(0)
    mean, scale = data.dense.mean(axis=0), np.maximum(data.dense.std(axis=0), 0.1)
    empty = Scorer(DENSE, mean, scale, GRADES, ())
    rows = _Rows.of(empty, data.dense, data.level, data.grade, 3)
    model = _Ensemble(empty, 3, rows.target, CONFIG, seed=5).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        wide = _Rows(rows.x.double(), rows.target.double()).take(torch.arange(len(rows.x)).repeat(2, 1))
        expected = model(wide).mean(dim=0).numpy()
    scorer = model.export()
    np.testing.assert_allclose(scorer.logit(data.dense, data.level), expected, rtol=1e-5, atol=1e-5)
    assert (np.diff([member.thresholds for member in scorer.members], axis=1) > 0).all()


def test_the_loss_is_the_likelihood_of_proportional_odds(data: Data) -> None:
    empty = Scorer(DENSE, data.dense.mean(axis=0), np.ones(len(DENSE)), GRADES, ())
    rows = _Rows.of(empty, data.dense, data.level, data.grade, 3)
    model = _Ensemble(empty, 3, rows.target, CONFIG, seed=5).double()
    wide = _Rows(rows.x.double(), rows.target.double()).take(torch.arange(len(rows.x)).repeat(2, 1))
    with torch.no_grad():
        loss, logit, theta = model.loss(wide).numpy(), model(wide).numpy(), model.thresholds().numpy()
    for k in range(2):
        at_least = 1 / (1 + np.exp(-(logit[k][:, None] - theta[k])))
        p = -np.diff(np.column_stack([np.ones(len(logit[k])), at_least, np.zeros(len(logit[k]))]), axis=1)
        np.testing.assert_allclose(p.sum(axis=1), 1)
        own = p[np.arange(len(p)), data.grade.astype(int)]
        assert loss[k] == pytest.approx(-np.log(own).mean(), rel=1e-6)


def test_it_learns_and_the_match_level_helps(data: Data, fitted: RankerFit) -> None:
    test = _draw(3_000, 2)
    strong = _train(data, levels=None).scorer
    alone = dataclasses.replace(data.rows, columns=("dm",), dense=data.dense[:, :1])
    weak = train_ranker(alone, data.grade, config=CONFIG, grade_values=GRADES, seed=0).scorer
    relevant = test.grade >= 2
    with_sid = roc_auc_score(relevant, fitted.scorer.logit(test.dense, test.level))
    without = roc_auc_score(relevant, strong.logit(test.dense))
    assert with_sid > without + 0.005
    assert without > roc_auc_score(relevant, weak.logit(test.dense[:, :1])) + 0.02
    assert strong.levels is None
    assert weak.columns == ("dm",)


def test_expected_grades_are_calibrated(fitted: RankerFit) -> None:
    test = _draw(4_000, 3)
    expected = fitted.scorer.expected_grade(fitted.scorer.logit(test.dense, test.level))
    for low, high in ((0, 0.75), (0.75, 1.5), (1.5, 3)):
        inside = (expected >= low) & (expected < high)
        assert abs(expected[inside].mean() - test.grade[inside].mean()) < 0.15


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=20))
def test_expected_grade_rises_with_the_logit(fitted: RankerFit, logits: list[float]) -> None:
    expected = fitted.scorer.expected_grade(np.sort(logits))
    assert (np.diff(expected) >= 0).all()
    assert expected.min() >= 0
    assert expected.max() <= 3


def test_rows_are_scored_one_by_one(fitted: RankerFit, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted.scorer.logit(data.dense, data.level)
    order = np.random.default_rng(0).permutation(len(whole))
    np.testing.assert_allclose(fitted.scorer.logit(data.dense[order], data.level[order]), whole[order], rtol=1e-12)
    monkeypatch.setattr("engine.relevance.scorer._CHUNK", 7)
    np.testing.assert_allclose(fitted.scorer.logit(data.dense[:50], data.level[:50]), whole[:50], rtol=1e-12)


def test_an_ensemble_is_the_mean_of_its_members(fitted: RankerFit, data: Data) -> None:
    single = [dataclasses.replace(fitted.scorer, members=(member,)) for member in fitted.scorer.members]
    logits = [scorer.logit(data.dense, data.level) for scorer in single]
    assert not np.allclose(*logits)
    np.testing.assert_allclose(fitted.scorer.logit(data.dense, data.level), np.mean(logits, axis=0), rtol=1e-10)


def test_arrays_round_trip(fitted: RankerFit, data: Data) -> None:
    arrays = fitted.scorer.arrays()
    assert {value.dtype for value in arrays.values()} == {np.dtype(np.float64)}
    back = Scorer.from_arrays(arrays, fitted.scorer.columns)
    assert np.array_equal(back.logit(data.dense, data.level), fitted.scorer.logit(data.dense, data.level))
    assert back.levels == 3
    with pytest.raises(ModelError, match="columns dm"):
        Scorer.from_arrays(arrays, ("dm",))
    with pytest.raises(ModelError, match="thresholds"):
        Scorer.from_arrays({k: v for k, v in arrays.items() if k != "member1.thresholds"}, DENSE)


def test_a_missing_value_is_learned_and_the_mean_candidate_mixes_it(fitted: RankerFit) -> None:
    scorer = fitted.scorer
    pair = np.array([[0.5, 0.4, 0, 0.5, 1.0, 0.5, 1.0], [0.5, 0.0, 1, 0.5, 1.0, 0.5, 1.0]])
    first = scorer.first_layer(pair)
    np.testing.assert_allclose(scorer.first_layer(pair.mean(axis=0, keepdims=True))[0], first.mean(axis=0), rtol=1e-9)
    assert any(member.replacement != 0 for member in scorer.members)
    np.testing.assert_allclose(scorer.standardise(pair)[1, 1], 0.0, atol=1e-12)  # the learned value stands in for it


def test_a_level_never_trained_on_acts_like_its_parent() -> None:
    scorer = _train(_draw(1_000, 4, deepest=2)).scorer
    test = _draw(50, 5)
    at = [scorer.logit(test.dense, np.full(50, level)) for level in range(4)]
    assert np.array_equal(at[2], at[3])
    assert np.abs(at[1] - at[2]).max() > 1e-3


def test_equal_seeds_give_equal_bits_and_other_seeds_do_not(data: Data) -> None:
    short = dataclasses.replace(CONFIG, epochs=2)
    first, second, other = (_train(data, config=short, seed=seed).scorer.arrays() for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["member0.layer1.weight"], other["member0.layer1.weight"])


def test_validation_stops_training_and_the_best_epoch_is_kept() -> None:
    train, held = _draw(60, 6), _draw(400, 7)
    config = dataclasses.replace(CONFIG, epochs=200, batch=32, lr=2e-2, members=1)
    fit = _train(train, config=config, valid=held.served)
    valid = fit.history[fit.history["name"] == "valid_loss"]
    assert valid["step"].max() < 200
    logit = fit.scorer.logit(held.dense, held.level)
    at_least = np.column_stack([np.ones(400), fit.scorer.grade_probabilities(logit), np.zeros(400)])
    own = -np.diff(at_least, axis=1)[np.arange(400), held.grade.astype(int)]
    assert -np.log(own).mean() == pytest.approx(valid["value"].min(), rel=1e-4)


def test_without_validation_all_epochs_are_run(data: Data) -> None:
    fit = _train(data, config=dataclasses.replace(CONFIG, epochs=3))
    assert fit.history["step"].tolist() == [1, 2, 3]


def test_grades_between_levels_and_binary_grades() -> None:
    assert grade_levels(np.array([3, 1, 1, 0])).tolist() == [0, 1, 3]
    many = grade_levels(np.linspace(0, 3, 100))
    assert len(many) == 8
    assert many[[0, -1]].tolist() == [0, 3]
    data = _draw(600, 8)
    binary = data._replace(grade=(data.grade >= 2).astype(np.float64))
    fit = _train(binary, grade_values=np.array([0.0, 1.0]))
    expected = fit.scorer.expected_grade(fit.scorer.logit(data.dense, data.level))
    assert abs(expected.mean() - binary.grade.mean()) < 0.05


def test_what_cannot_be_trained_or_scored_is_said(data: Data, fitted: RankerFit) -> None:
    with pytest.raises(DataError, match="two grades"):
        _train(data, grade_values=np.array([1.0]))
    with pytest.raises(ModelError, match="match level"):
        fitted.scorer.logit(data.dense)
    with pytest.raises(ModelError, match="takes columns dm"):
        fitted.scorer.logit(data.dense[:, :2], data.level)
