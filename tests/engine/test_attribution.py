"""Exact Shapley values against every ordering of the players, and the axioms that make them what they are."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ModelError
from engine.relevance.attribution import GROUPS, minimal_swap, query_reference, shapley
from engine.relevance.features import DENSE
from engine.relevance.scorer import Member, Scorer


def _scorer(
    rng: np.random.Generator, *, levels: int | None = 3, columns: tuple[str, ...] = DENSE, members: int = 2
) -> Scorer:
    f = len(columns)
    return Scorer(
        columns,
        rng.standard_normal(f),
        rng.uniform(0.5, 2, f),
        np.arange(4.0),
        tuple(
            Member(
                dense=rng.standard_normal((f, 6)),
                match=None if levels is None else rng.standard_normal((levels + 1, 6)),
                bias=rng.standard_normal(6),
                hidden=rng.standard_normal((6, 5)),
                hidden_bias=rng.standard_normal(5),
                output=rng.standard_normal(5),
                thresholds=np.array([-1.0, 0.0, 1.0]),
                replacement=float(rng.standard_normal()),
            )
            for _ in range(members)
        ),
    )


def _pairs(rng: np.random.Generator, n: int, f: int = len(DENSE)) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((n, f)), rng.standard_normal((n, f))


def _by_orderings(scorer: Scorer, own: np.ndarray, other: np.ndarray, level: int, levels: int) -> np.ndarray:
    """Shapley by definition: the mean marginal change over all 120 orders; the SID enters level by level."""
    names = [*GROUPS, "sid"]
    total = np.zeros(len(GROUPS) + levels)
    orders = list(permutations(names))
    for order in orders:
        x, revealed = other.copy(), 0
        value = scorer.logit(x[None], np.array([revealed]))[0]
        for player in order:
            if player == "sid":
                for step in range(1, levels + 1):
                    revealed = min(step, level)
                    now = scorer.logit(x[None], np.array([revealed]))[0]
                    total[len(GROUPS) + step - 1] += now - value
                    value = now
            else:
                columns = [DENSE.index(column) for column in GROUPS[player]]
                x[columns] = own[columns]
                now = scorer.logit(x[None], np.array([revealed]))[0]
                total[names.index(player)] += now - value
                value = now
    return total / len(orders)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_values_are_the_mean_over_all_orders_of_the_players(levels: int) -> None:
    rng = np.random.default_rng(levels)
    scorer = _scorer(rng, levels=levels)
    own, other = _pairs(rng, levels + 1)
    level = np.arange(levels + 1)
    made = shapley(scorer, own, level, other)
    assert made.features == ("dm", "mm_dm", "ct", "qs", *(f"sid_{k + 1}" for k in range(levels)))
    for i in range(levels + 1):
        np.testing.assert_allclose(made.values[i], _by_orderings(scorer, own[i], other[i], i, levels), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_contributions_sum_to_score_minus_reference(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    scorer = _scorer(rng, levels=levels)
    own, other = _pairs(rng, 300)
    own[:, 4] *= 50  # BM25 is unbounded
    level = rng.integers(0, levels + 1, 300)
    made = shapley(scorer, own, level, other)
    np.testing.assert_allclose(made.values.sum(axis=1), made.score - made.reference_score, atol=1e-10)
    np.testing.assert_allclose(made.score, scorer.logit(own, level), atol=1e-10)
    np.testing.assert_allclose(made.reference_score, scorer.logit(other, np.zeros(300, dtype=int)), atol=1e-10)
    for i, deepest in enumerate(level):
        assert (made.values[i, 4 + deepest :] == 0).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(list(GROUPS)))
def test_a_player_at_its_reference_or_without_weight_gets_nothing(seed: int, player: str) -> None:
    rng = np.random.default_rng(seed)
    scorer = _scorer(rng)
    own, other = _pairs(rng, 20)
    level = rng.integers(0, 4, 20)
    columns = [DENSE.index(column) for column in GROUPS[player]]
    at = list(GROUPS).index(player)
    equal = own.copy()
    equal[:, columns] = other[:, columns]
    np.testing.assert_allclose(shapley(scorer, equal, level, other).values[:, at], 0, atol=1e-12)
    for member in scorer.members:
        member.dense[columns] = 0
    np.testing.assert_allclose(shapley(scorer, own, level, other).values[:, at], 0, atol=1e-12)


def test_players_that_do_the_same_get_the_same() -> None:
    rng = np.random.default_rng(3)
    scorer = _scorer(rng)
    dm, ct = DENSE.index("dm"), DENSE.index("ct")
    for member in scorer.members:
        member.dense[ct] = member.dense[dm]
    scorer.mean[ct], scorer.scale[ct] = scorer.mean[dm], scorer.scale[dm]
    own, other = _pairs(rng, 30)
    own[:, ct], other[:, ct] = own[:, dm], other[:, dm]
    values = shapley(scorer, own, rng.integers(0, 4, 30), other).values
    np.testing.assert_allclose(values[:, 0], values[:, 2], atol=1e-12)


def test_a_linear_ranker_gives_each_player_its_own_difference() -> None:
    rng = np.random.default_rng(4)
    scorer = _scorer(rng, members=1)
    member = scorer.members[0]
    member.bias[:] = 1e3  # every unit stays active
    member.hidden[:] = np.abs(member.hidden)
    own, other = _pairs(rng, 10)
    level = rng.integers(0, 4, 10)
    made = shapley(scorer, own, level, other)
    slope = member.hidden @ member.output
    np.testing.assert_allclose(
        made.values[:, 0], (own - other)[:, 0] / scorer.scale[0] * (member.dense[0] @ slope), rtol=1e-8, atol=1e-8
    )
    steps = np.diff(member.match @ slope)  # type: ignore[operator]
    expected = np.where(np.arange(1, 4) <= level[:, None], steps, 0)
    np.testing.assert_allclose(made.values[:, 4:], expected, atol=1e-8)


def test_an_absent_image_moves_with_its_flag() -> None:
    rng = np.random.default_rng(5)
    scorer = _scorer(rng)
    own, other = _pairs(rng, 6)
    own[:, 1:3], other[:, 1:3] = (0.0, 1.0), (0.4, 0.0)
    made = shapley(scorer, own, np.zeros(6, dtype=int), other)
    for i in range(6):
        np.testing.assert_allclose(made.values[i], _by_orderings(scorer, own[i], other[i], 0, 3), atol=1e-12)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    scorer = _scorer(rng)
    own, other = _pairs(rng, 40)
    level = rng.integers(0, 4, 40)
    whole = shapley(scorer, own, level, other)
    monkeypatch.setattr("engine.relevance.attribution._CHUNK", 3)
    parts = shapley(scorer, own, level, other)
    np.testing.assert_allclose(parts.values, whole.values, atol=1e-12)


def test_rankers_without_sids_and_with_fewer_columns() -> None:
    rng = np.random.default_rng(7)
    own, other = _pairs(rng, 5)
    strong = _scorer(rng, levels=None)
    made = shapley(strong, own, None, other)
    assert made.features == tuple(GROUPS)
    np.testing.assert_allclose(made.values.sum(axis=1), strong.logit(own) - strong.logit(other), atol=1e-10)
    weak = _scorer(rng, levels=None, columns=("dm",))
    made = shapley(weak, own[:, :1], None, other[:, :1])
    np.testing.assert_allclose(made.values[:, 0], weak.logit(own[:, :1]) - weak.logit(other[:, :1]), atol=1e-10)
    assert (made.values[:, 1:] == 0).all()
    with pytest.raises(ModelError, match="contrastive_cosine"):
        shapley(_scorer(rng, columns=("dm", "contrastive_cosine")), own[:, :2], np.zeros(5, dtype=int), other[:, :2])
    with pytest.raises(ModelError, match="match level"):
        shapley(strong, own, np.zeros(5, dtype=int), other)


def test_the_reference_is_the_querys_mean_candidate() -> None:
    dense = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    reference = query_reference(dense, np.array([0, 0, 2]), 3)
    np.testing.assert_array_equal(reference, [[2, 3], [np.nan, np.nan], [5, 6]])


def test_minimal_swap_names_the_fewest_features_that_explain_the_gap() -> None:
    features = ("dm", "qs", "sid_1", "sid_2")
    swap = minimal_swap(np.array([0.10, 0.02, 0.0, 0.30]), np.array([0.08, 0.0, 0.0, 0.03]), features)
    assert swap.gap == pytest.approx(0.31)
    assert [name for name, _ in swap.reasons] == ["sid_2"]
    assert swap.reasons[0][1] == pytest.approx(0.27)
    assert swap.rest == pytest.approx(0.04)


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=8),
    st.floats(0.1, 1.0),
)
def test_a_swap_always_accounts_for_the_whole_gap(pairs: list[tuple[float, float]], share: float) -> None:
    above, below = np.array(pairs).T
    features = [f"f{i}" for i in range(len(pairs))]
    swap = minimal_swap(above, below, features, share=share)
    explained = sum(value for _, value in swap.reasons)
    assert explained + swap.rest == pytest.approx(swap.gap, abs=1e-9)
    assert abs(explained) >= share * abs(swap.gap) - 1e-9
    back = minimal_swap(below, above, features, share=share)
    assert back.gap == pytest.approx(-swap.gap)
    if abs(swap.gap) > 1e-9:
        assert all(value * swap.gap > 0 for _, value in swap.reasons)
