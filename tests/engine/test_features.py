"""Dense features: cosine, absent images, lexical coverage, the category classifier."""

from __future__ import annotations

import numpy as np
import pytest

from engine.relevance.attribution import GROUPS
from engine.relevance.features import DENSE, CategoryClassifier, cosine, multimodal


def test_groups_cover_the_dense_block() -> None:
    assert [column for columns in GROUPS.values() for column in columns] == list(DENSE)


def test_cosine_by_hand_and_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[4.0, 3.0], [0.0, 2.0]])
    pair_a, pair_b = np.array([0, 0, 1]), np.array([0, 1, 0])
    np.testing.assert_allclose(cosine(a, b, pair_a, pair_b), [0.96, 0.8, 0.0], atol=1e-6)
    monkeypatch.setattr("engine.relevance.features._CHUNK", 2)
    np.testing.assert_allclose(cosine(a, b, pair_a, pair_b), [0.96, 0.8, 0.0], atol=1e-6)


def test_an_absent_image_is_flagged_never_a_similarity() -> None:
    query = np.array([[1.0, 0.0], [np.nan, np.nan]])
    item = np.array([[1.0, 1.0], [np.nan, np.nan]])
    made = multimodal(query, item, np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    np.testing.assert_allclose(made[:, 0], [2**-0.5, 0, 0, 0], atol=1e-6)
    assert made[:, 1].tolist() == [0, 1, 1, 1]
    assert multimodal(None, item, np.array([0]), np.array([0])).tolist() == [[0, 1]]


# ---------------------------------------------------------------- the category classifier


def _examples(n: int, *, seed: int = 0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((5, 16))
    category = rng.choice(5, n, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    x = centres[category] + spread * rng.standard_normal((n, 16))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), category


def _cross_entropy(p: np.ndarray, category: np.ndarray) -> float:
    return float(-np.log(p[np.arange(len(p)), category]).mean())


def test_the_classifier_is_a_distribution_better_than_the_prior_and_calibrated() -> None:
    x, category = _examples(1_500, spread=2.0)
    fit = CategoryClassifier.fit(x, np.arange(1_500), category, np.ones(1_500), 5, seed=0)
    new_x, new_category = _examples(4_000, seed=1, spread=2.0)
    p = fit.probabilities(new_x)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    assert _cross_entropy(p, new_category) < 0.8 * _cross_entropy(np.tile(fit.prior, (4_000, 1)), new_category)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == new_category
    for low, high in ((0.3, 0.5), (0.5, 0.7), (0.7, 0.9)):
        inside = (confidence >= low) & (confidence < high)
        assert abs(right[inside].mean() - confidence[inside].mean()) < 0.08


def test_agreement_reads_the_items_category_and_falls_back_on_the_prior() -> None:
    x, category = _examples(400)
    fit = CategoryClassifier.fit(
        x, np.arange(400), category, np.ones(400), 7, seed=0
    )  # categories 5 and 6 were never seen
    item_category = np.array([0, 4, 6, -1])
    query, item = np.array([3, 3, 3, 3, 0]), np.array([0, 1, 2, 3, 0])
    made = fit.agreement(x, query, item, item_category)
    p = fit.probabilities(x)
    np.testing.assert_allclose(made, [p[3, 0], p[3, 4], fit.prior[6], p[3] @ fit.prior, p[0, 0]], rtol=1e-5)
    assert fit.prior[5] == fit.prior[6] == pytest.approx(1 / 407)


def test_examples_of_one_query_are_pooled() -> None:
    x, category = _examples(300)
    query = np.repeat(np.arange(300), 2)
    pooled = CategoryClassifier.fit(x, query, np.repeat(category, 2), np.ones(600), 5, seed=0)
    single = CategoryClassifier.fit(x, np.arange(300), category, np.full(300, 2.0), 5, seed=0)
    np.testing.assert_allclose(pooled.probabilities(x), single.probabilities(x), atol=0.02)


def test_fit_is_deterministic_and_round_trips() -> None:
    x, category = _examples(200)
    first, second = (CategoryClassifier.fit(x, np.arange(200), category, np.ones(200), 5, seed=3) for _ in range(2))
    assert np.array_equal(first.weight, second.weight)
    back = CategoryClassifier.from_arrays(first.arrays())
    assert np.array_equal(back.probabilities(x), first.probabilities(x))


def test_nothing_to_learn_from_gives_the_prior() -> None:
    x, _ = _examples(4)
    blind = CategoryClassifier.fit(x, np.arange(4), np.full(4, -1), np.ones(4), 3, seed=0)
    np.testing.assert_allclose(blind.probabilities(x), 1 / 3, rtol=1e-6)
    single = CategoryClassifier.fit(x, np.arange(4), np.full(4, 1), np.ones(4), 3, seed=0)
    np.testing.assert_allclose(single.probabilities(x), np.tile(single.prior, (4, 1)), rtol=1e-6)
