"""The coverage of categories: funnel, ownership, lift and verdict, worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from engine.audit.coverage import Lift, Reached, auc_lift, coverage_table, tier_verdict
from engine.audit.shelf import Shelf
from engine.audit.tiers import categories_table

ITEMS = pd.DataFrame(
    {
        "item_id": list("abcdefgh"),
        "category": ["S > Shoes"] * 4 + ["H > Lamps"] * 3 + [None],
    }
)
#                 a       b       c       d       e       f       g       h
CODES = np.array([[0, 0], [0, 0], [0, 1], [1, 0], [1, 0], [1, 1], [1, 2], [1, 3]])
BEST = np.array([np.inf, np.inf, 10, 2, np.inf, np.inf, 11, np.inf])
BEAMS = ["0", "1", "0-1", "1-1", "0-0"]
NOTHING = pd.DataFrame({name: [] for name in ("query_id", "category", "score", "score_without_sid", "relevant")})


def judged(n_queries: int, shift: float, seed: int = 0, category: str = "S > Shoes") -> pd.DataFrame:
    """n queries of ten pairs, whose relevant items SIDs move up by `shift`."""
    rng = np.random.default_rng(seed)
    grade = np.tile([3.0, 3.0, 3.0, 0, 0, 0, 0, 0, 0, 0], n_queries)
    without = rng.normal(size=len(grade)) + (grade > 0)
    return pd.DataFrame(
        {
            "query_id": np.repeat([f"{category}{i}" for i in range(n_queries)], 10),
            "category": category,
            "relevant": grade > 0,
            "score_without_sid": without,
            "score": without + shift * (grade > 0),
        }
    )


def coverage(
    pairs: pd.DataFrame = NOTHING,
    *,
    beams: list[str] = BEAMS,
    best: np.ndarray = BEST,
    items: pd.DataFrame = ITEMS,
    codes: np.ndarray = CODES,
    owners: pd.DataFrame | None = None,
) -> pd.DataFrame:
    shelf = Shelf(items, codes, (4, 4), **({} if owners is None else {"owners": owners}))
    reached = Reached(np.array(beams, dtype=object), best)
    return coverage_table(shelf, categories_table(items), reached, pairs, resamples=300).set_index("category")


def test_the_funnel_narrows_step_by_step_and_sharing_is_no_loss() -> None:
    steps = ["has_sid", "in_beam", "in_top_k"]
    table = coverage()
    # Shoes: a, b (0-0) and c (0-1) are in a beam, d (1-0) in none; of the three c alone came to rank 10.
    assert table.loc["S > Shoes", steps].tolist() == [4, 3, 1]
    # d came to rank 2 without a beam; c alone holds its SID alone.
    assert table.loc["S > Shoes", ["shown", "unshared"]].tolist() == [2, 1]
    # Lamps: f (1-1) is in a beam and was never retrieved; f and g hold their SIDs alone.
    assert table.loc["H > Lamps", [*steps, "shown", "unshared"]].tolist() == [3, 1, 0, 0, 2]


def test_the_last_step_ends_at_rank_ten() -> None:
    assert coverage(best=BEST + 1).loc["S > Shoes", ["in_top_k", "shown"]].tolist() == [0, 1]


def test_codes_are_owned_or_shared_between_categories() -> None:
    table = coverage()
    assert table.loc["S > Shoes", ["codes_owned", "codes_shared"]].tolist() == [2, 1]  # 0-0, 0-1 | 1-0
    assert table.loc["H > Lamps", ["codes_owned", "codes_shared"]].tolist() == [2, 1]
    assert table.loc["S > Shoes", "utilisation"] == 0.75
    assert table.loc["S > Shoes", "aliasing"] == 0.75
    # Level 2 here is the whole SID: a, b, c in pure prefixes, d in one that is half lamps.
    assert table.loc["S > Shoes", "purity"] == pytest.approx((1 + 1 + 1 + 0.5) / 4)


def test_own_level_one_by_items_or_by_the_recorded_mapping() -> None:
    assert coverage()["own_level1"].to_dict() == {"S > Shoes": True, "H > Lamps": False}
    mapping = pd.DataFrame({"category": ["S > Shoes", "H > Lamps"], "code_1": [0, 0]})
    assert not coverage(owners=mapping)["own_level1"].any()
    mapping["code_1"] = [0, 1]
    assert coverage(owners=mapping)["own_level1"].all()


def test_few_queries_are_not_judged() -> None:
    row = coverage(judged(7, 1.0)).loc["S > Shoes"]
    assert row["protected"] == "n too small"
    assert np.isnan(row["auc_lift"])
    assert row["n_queries"] == 7
    assert row["judged_by"] is None
    assert "7 test queries, 8 needed" in row["reason"]


def test_a_harmed_category_is_not_protected() -> None:
    row = coverage(judged(40, -2.0)).loc["S > Shoes"]
    assert row["protected"] == "no"
    assert row["high"] < 0
    assert "below 0" in row["reason"]


def test_a_helped_category_is_protected() -> None:
    row = coverage(judged(40, 1.0)).loc["S > Shoes"]
    assert row["protected"] == "yes"
    assert row["low"] > 0
    assert row["n_queries"] == row["pooled_n"] == 40
    assert row["judged_by"] == "category"


def test_a_category_that_is_never_generated_is_not_protected() -> None:
    pairs = judged(40, 1.0, category="H > Lamps")
    row = coverage(pairs, beams=["0", "0-0", "0-1"]).loc["H > Lamps"]
    assert row["protected"] == "no"
    assert "few of its items are generated" in row["reason"]


def test_a_small_category_is_pooled_with_its_department_and_says_so() -> None:
    row = coverage(pd.concat([judged(3, 1.0), judged(20, 1.0, seed=1, category="S > Boots")])).loc["S > Shoes"]
    assert row["protected"] == "n too small"  # Boots hold no items here, so that their department is unknown
    items = pd.concat([ITEMS, pd.DataFrame({"item_id": ["z"], "category": ["S > Boots"]})], ignore_index=True)
    pairs = pd.concat([judged(3, 1.0), judged(20, 1.0, seed=1, category="S > Boots")])
    table = coverage(pairs, items=items, codes=np.vstack([CODES, [3, 0]]), best=np.append(BEST, np.inf))
    row = table.loc["S > Shoes"]
    # The department's lift never stands as the category's own.
    assert row[["auc_lift", "low", "high"]].isna().all()
    assert row["n_queries"] == 3
    assert row["pooled_n"] == 23
    assert row["pooled_lift"] > 0
    assert row["judged_by"] == "department"
    assert row["reason"].startswith("lift pooled over department 'S' (23 test queries, 3 of its own)")


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 6), st.booleans())
def test_the_lift_is_the_difference_of_two_aucs(seed: int, n_queries: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    query = rng.integers(0, n_queries, 40)
    score, without = rng.normal(size=(2, 40))
    if ties:
        score, without = score.round(), without.round()
    relevant = rng.random(40) < 0.4
    lift = auc_lift(query, score, without, relevant, resamples=50)
    if relevant.all() or not relevant.any():
        assert np.isnan(lift.value)
    else:
        expected = roc_auc_score(relevant, score) - roc_auc_score(relevant, without)
        assert lift.value == pytest.approx(expected, abs=1e-12)


def test_a_resample_is_the_lift_of_the_queries_drawn() -> None:
    """Of two queries a resample holds one twice, the other twice, or both: no other lift can come out."""
    pairs = judged(2, 0.5)
    columns = [pairs[name].to_numpy() for name in ("query_id", "score", "score_without_sid")]
    relevant = pairs["relevant"].to_numpy()
    first = (pairs["query_id"] == pairs["query_id"].iloc[0]).to_numpy()
    lift = auc_lift(*columns, relevant, resamples=400)
    drawn = [auc_lift(*(column[m] for column in columns), relevant[m]).value for m in (first, ~first)] + [lift.value]
    assert (lift.low, lift.high) == pytest.approx((min(drawn), max(drawn)))
    assert min(drawn) < max(drawn)


def test_the_interval_is_that_of_ranking_every_resample_anew() -> None:
    """Slow and plain: each resample's pairs, repeated as often as their query was drawn, ranked by scikit-learn."""
    rng = np.random.default_rng(1)
    query = rng.integers(0, 9, 120)
    score, without = rng.normal(size=(2, 120)).round(1)
    relevant = rng.random(120) < 0.3
    lift = auc_lift(query, score, without, relevant, resamples=60, seed=4)
    weight = np.random.default_rng(4).multinomial(9, np.full(9, 1 / 9), size=60)
    drawn = []
    for row in weight:
        rows = np.repeat(np.arange(120), row[query])
        drawn.append(roc_auc_score(relevant[rows], score[rows]) - roc_auc_score(relevant[rows], without[rows]))
    assert (lift.low, lift.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=1e-12)


def test_blocks_of_resamples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = judged(12, 0.3)
    columns = [pairs[name].to_numpy() for name in ("query_id", "score", "score_without_sid", "relevant")]
    whole = auc_lift(*columns, resamples=50)
    monkeypatch.setattr("engine.audit.coverage._BLOCK", 7 * len(pairs))
    assert auc_lift(*columns, resamples=50) == whole


def test_the_same_seed_gives_the_same_interval() -> None:
    assert coverage(judged(20, 0.1)).equals(coverage(judged(20, 0.1)))


def test_a_tier_is_judged_by_the_rules_of_a_category_without_level_one() -> None:
    verdict, reason = tier_verdict(Lift(0.01, -0.01, 0.03, 50), 0.9, 0.8)
    assert verdict == "yes"
    assert "level-1" not in reason
    assert tier_verdict(Lift(-0.02, -0.03, -0.01, 50), 0.9, 0.8)[0] == "no"
    assert tier_verdict(Lift(0.01, -0.01, 0.03, 50), 0.3, 0.8)[0] == "no"
    assert tier_verdict(Lift(-0.01, -0.05, 0.03, 50), 0.9, 0.8)[0] == "n too small"
