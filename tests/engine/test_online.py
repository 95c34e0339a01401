"""The simulated online effect: the click model it learns, the replay, and whether its intervals hold a known truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from engine.audit.attractiveness import grade_cells, place_of, stated_rate
from engine.audit.click_model import STATED_DECAY, fit_examination, search_log
from engine.audit.online import ONLINE_COLUMNS, OnlineEffect, online_effect, sessions_per_arm
from tests.bench.bench_online import Rivals, build_world, coverage

NO_LOG = pd.DataFrame({name: [] for name in ("query_id", "item_id", "impressions", "clicks", "purchases", "position")})
NO_GRADES = pd.DataFrame({"query_id": [], "item_id": [], "grade": []})
BUYING = 0.2


def market(
    n_queries: int, sessions: int, *, decay: float = 0.7, shuffles: bool = True, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Queries with 12 items each, whose attractiveness is known; a log of pages in random order, or in one order."""
    rng = np.random.default_rng(seed)
    attractive = rng.beta(0.8, 2.0, (n_queries, 12))
    shape = (n_queries * sessions, 12)
    page = (rng.random(shape).argsort(axis=1) if shuffles else np.tile(np.arange(12), (shape[0], 1)))[:, :10]
    query = np.repeat(np.arange(n_queries), sessions)
    clicked = rng.random(page.shape) < np.arange(1, 11) ** -decay * attractive[query[:, None], page]
    bought = clicked & (rng.random(page.shape) < BUYING)
    log = pd.DataFrame(
        {"query_id": np.repeat([f"q{q}" for q in query], 10), "item_id": [f"i{i}" for i in page.ravel()],
         "impressions": 1.0, "clicks": clicked.ravel() * 1.0, "purchases": bought.ravel() * 1.0,
         "position": np.tile(np.arange(1.0, 11.0), len(page))}
    )  # fmt: skip
    queries = pd.DataFrame(
        {"query_id": [f"q{q}" for q in range(n_queries)], "frequency": rng.integers(1, 20, n_queries)}
    )
    return queries, log, attractive


def rankings(queries: pd.DataFrame, first: np.ndarray, second: np.ndarray) -> pd.DataFrame:
    """Scores of the items 'i0', 'i1' ... by two orders (Q, N): the higher, the earlier."""
    parts = []
    for q, name in enumerate(queries["query_id"]):
        ranks = [np.argsort(np.argsort(-order[q], kind="stable"), kind="stable") + 1 for order in (first, second)]
        parts.append(pd.DataFrame({"query_id": name, "item_id": [f"i{i}" for i in range(first.shape[1])],
                                   "rank": ranks[0], "rank_without_sid": ranks[1]}))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def truth(queries: pd.DataFrame, attractive: np.ndarray, order: np.ndarray, decay: float = 0.7) -> float:
    """UCTR of the first ten by `order`."""
    top = np.take_along_axis(attractive, np.argsort(-order, axis=1, kind="stable")[:, :10], axis=1)
    clicked = 1 - np.prod(1 - np.arange(1, 11) ** -decay * top, axis=1)
    return float(np.average(clicked, weights=queries["frequency"]))


def row(effect: OnlineEffect, metric: str = "uctr", scenario: str = "estimate") -> pd.Series:
    found = effect.online[(effect.online["metric"] == metric) & (effect.online["scenario"] == scenario)]
    return found.iloc[0]


def test_decay_is_learnt_from_pairs_that_moved() -> None:
    queries, log, _ = market(40, 60, decay=0.7)
    known = search_log(log, pd.Index(queries["query_id"]))
    fitted = fit_examination(known, len(queries))
    error = np.sqrt((fitted.influence**2).sum())
    assert fitted.source == "fitted"
    assert 0.005 < error < 0.1
    assert abs(fitted.decay - 0.7) < 3 * error
    assert fitted.at(np.array([1, 4])) == pytest.approx([1.0, 4**-fitted.decay])


def test_pages_that_never_change_say_nothing_of_examination() -> None:
    queries, log, _ = market(40, 30, shuffles=False)
    fitted = fit_examination(search_log(log, pd.Index(queries["query_id"])), len(queries))
    assert (fitted.source, fitted.decay, fitted.n_clicks) == ("stated", STATED_DECAY, 0)
    scores = rankings(queries, np.tile(np.arange(12), (40, 1)), np.tile(-np.arange(12), (40, 1)))
    effect = online_effect(scores, queries, log, NO_GRADES, max_grade=3, resamples=200)
    assert set(effect.online["decay"]) == {0.5, 1.0, 1.5}
    band = effect.online[(effect.online["metric"] == "uctr") & (effect.online["scenario"] != "estimate")]
    assert row(effect)["low"] == band["low"].min()
    assert row(effect)["high"] == band["high"].max()
    assert (effect.click_model.set_index("parameter").loc["decay", "source"]) == "stated"


def test_the_log_is_summed_over_dates_and_rows_without_a_position_left_out() -> None:
    log = pd.DataFrame(
        {"query_id": ["q", "q", "q", "q", "r"], "item_id": ["a", "a", "b", "b", "a"], "impressions": [2.0, 3, 1, 4, 9],
         "clicks": [1.0, 0, 1, 1, 1], "purchases": [1.0, np.nan, 0, 0, 0], "position": [1.0, 1, 2, np.nan, 1]}
    )  # fmt: skip
    known = search_log(log, pd.Index(["q"]))
    assert known.pairs["item_id"].tolist() == ["a", "b"]
    assert known.impressions.tolist() == [5, 1]
    assert known.clicks.tolist() == [1, 1]
    assert known.purchases.tolist() == [1, 0]


def test_a_log_that_measures_everything_gives_the_truth_under_either_reading() -> None:
    queries, log, attractive = market(60, 400)
    noisy = attractive + np.random.default_rng(1).normal(0, 0.3, attractive.shape)
    effect = online_effect(rankings(queries, attractive, noisy), queries, log, NO_GRADES, max_grade=3, resamples=500)
    real = truth(queries, attractive, attractive), truth(queries, attractive, noisy)
    for scenario in ("neutral", "alike", "beyond"):
        found = row(effect, scenario=scenario)
        assert found["value"] == pytest.approx(real[0], abs=0.02)
        assert found["difference"] == pytest.approx(real[0] - real[1], abs=0.01)
    assert row(effect)["low"] < real[0] - real[1] < row(effect)["high"]
    assert row(effect)["unmeasured"] < 0.1
    assert 0 < row(effect, "uctcvr")["value"] < row(effect)["value"]


def test_coverage_and_the_share_of_slots_changed() -> None:
    queries, log, attractive = market(20, 20)
    effect = online_effect(
        rankings(queries, attractive, attractive), queries, log, NO_GRADES, max_grade=3, resamples=50
    )
    found = row(effect)
    assert found[["judged", "shown", "unmeasured"]].sum() == pytest.approx(1)
    assert found["judged"] == 0
    assert (found["changed"], found["difference"], found["low"], found["high"]) == (0, 0, 0, 0)
    assert np.isnan(found["sessions_per_arm"])


def test_swapping_the_rankings_turns_the_sign_and_nothing_else() -> None:
    """No reading favours the ranking that is called 'with SIDs'."""
    queries, log, attractive = market(30, 6)
    rng = np.random.default_rng(2)
    orders = [attractive + rng.normal(0, s, attractive.shape) for s in (0.1, 0.5)]
    forth, back = (
        online_effect(rankings(queries, *pair), queries, log, NO_GRADES, max_grade=3, resamples=100)
        for pair in (orders, orders[::-1])
    )
    np.testing.assert_allclose(forth.online["difference"], -back.online["difference"], atol=1e-9)
    np.testing.assert_allclose(forth.online["low"], -back.online["high"], atol=1e-6)


def test_unmeasured_pairs_favour_neither_ranking_under_the_neutral_reading() -> None:
    """Five queries measured, in which the first ranking is better; one unseen query in which they disagree as much."""
    queries, log, attractive = market(30, 60)
    unseen = pd.DataFrame({"query_id": ["new"], "frequency": [500.0]})
    both = pd.concat([queries, unseen], ignore_index=True)
    first, second = np.vstack([attractive, np.arange(12.0)[None]]), np.vstack([-attractive, -np.arange(12.0)[None]])
    alone = row(
        online_effect(rankings(queries, attractive, -attractive), queries, log, NO_GRADES, max_grade=3, resamples=9)
    )
    diluted = online_effect(rankings(both, first, second), both, log, NO_GRADES, max_grade=3, resamples=9)
    share = queries["frequency"].sum() / both["frequency"].sum()
    assert row(diluted, scenario="neutral")["difference"] == pytest.approx(share * alone["difference"], rel=0.1)
    assert row(diluted, scenario="alike")["difference"] > 2 * share * alone["difference"]


def test_without_a_log_grades_speak_by_stated_rates() -> None:
    queries = pd.DataFrame({"query_id": ["q"], "frequency": [1.0]})
    scores = rankings(queries, np.array([[2.0, 1.0]]), np.array([[1.0, 2.0]]))
    judgments = pd.DataFrame({"query_id": ["q", "q"], "item_id": ["i0", "i1"], "grade": [3.0, 0.0]})
    effect = online_effect(scores, queries, NO_LOG, judgments, max_grade=3, resamples=50)
    found = row(effect)
    assert found["value"] == pytest.approx(1 - (1 - 0.5) * (1 - 0.05 / 2))
    assert found["value_without"] == pytest.approx(1 - (1 - 0.05) * (1 - 0.5 / 2))
    assert row(effect, "uctcvr")["value"] == pytest.approx(1 - (1 - 0.5 * 0.12) * (1 - 0.05 * 0.02 / 2))
    assert (found["examination"], found["attractiveness"], found["judged"]) == ("stated", "stated", 1)
    assert set(effect.click_model["source"]) == {"stated"}


def test_grades_are_read_by_how_the_log_shows_them_clicked() -> None:
    queries, log, attractive = market(60, 60)
    grade = np.digitize(attractive, [0.2, 0.4])
    judgments = pd.DataFrame(
        {"query_id": np.repeat(queries["query_id"], 12), "item_id": [f"i{i}" for i in range(12)] * 60,
         "grade": grade.ravel().astype(float)}
    )  # fmt: skip
    effect = online_effect(
        rankings(queries, attractive, -attractive), queries, log, judgments, max_grade=2, resamples=50
    )
    rates = effect.click_model[effect.click_model["parameter"] == "attractiveness"].set_index("key")
    for g in range(3):
        assert rates.loc[f"grade {g}", "source"] == "fitted"
        assert rates.loc[f"grade {g}", "value"] == pytest.approx(attractive[grade == g].mean(), abs=0.04)
    bought = effect.click_model[effect.click_model["parameter"] == "conversion"].set_index("key")
    assert bought.loc["grade 2", "low"] < BUYING < bought.loc["grade 2", "high"]
    no_purchases = online_effect(
        rankings(queries, attractive, -attractive), queries, log.assign(purchases=np.nan), judgments,
        max_grade=2, resamples=50,
    )  # fmt: skip
    stated = no_purchases.click_model[no_purchases.click_model["parameter"] == "conversion"]
    assert set(stated["source"]) == {"stated"}
    assert 0 < row(no_purchases, "uctcvr")["value"] < row(no_purchases)["value"]


def test_nothing_ranked_or_nothing_known_is_two_empty_tables() -> None:
    queries = pd.DataFrame({"query_id": ["q"], "frequency": [1.0]})
    scores = rankings(queries, np.array([[2.0, 1.0]]), np.array([[1.0, 2.0]]))
    for ranked in (scores, scores.iloc[:0]):
        effect = online_effect(ranked, queries, NO_LOG, NO_GRADES, max_grade=3)
        assert len(effect.online) == len(effect.click_model) == 0
        assert effect.online.columns.tolist() == list(ONLINE_COLUMNS)


def test_the_same_seed_gives_the_same_tables() -> None:
    queries, log, attractive = market(20, 10)
    scores = rankings(queries, attractive, -attractive)
    first, again = (online_effect(scores, queries, log, NO_GRADES, max_grade=3, resamples=80, seed=5) for _ in range(2))
    pd.testing.assert_frame_equal(first.online, again.online)
    pd.testing.assert_frame_equal(first.click_model, again.click_model)


def test_sample_size_by_hand() -> None:
    assert sessions_per_arm(0.10, 0.12) == pytest.approx(2.8016**2 * (0.09 + 0.1056) / 0.02**2, rel=1e-3)
    assert sessions_per_arm(0.10, 0.12) == sessions_per_arm(0.12, 0.10)
    assert np.isnan(sessions_per_arm(0.1, 0.1))


def test_grades_places_and_stated_rates() -> None:
    assert grade_cells(np.array([0.4, 2.5, 3.0, np.nan]), 3).tolist() == [0, 3, 3, -1]
    assert grade_cells(np.array([0.0, 100.0]), 100).tolist() == [0, 5]
    assert place_of(np.array([1, 3, 4, 10, 11, 20, 21, 50, 51]), 10).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert stated_rate((0.0, 0.7), 4) == pytest.approx([0, 0.1, 0.3, 0.7])


def test_intervals_hold_the_truth_of_a_generated_marketplace() -> None:
    """A small version of `tests.bench.bench_online`, fixed seeds: misses within the 99.9 % bound of 5 %."""
    world = build_world(500, 800, 60, seed=3)
    draws = 15
    for found in coverage(world, Rivals(0.15, 0.45), n_queries=120, draws=draws, judged_share=0.4, resamples=300):
        assert found.misses["estimate"] <= binom.ppf(0.999, draws, 0.05)
        assert found.truth > 0.5
        assert 0 < found.estimate < 1.3 * found.truth
