"""The gradient-boosted ranker: LightGBM trains it on cross-fitted rows, `TreeScorer` serves it.

Least squares on grades. Splits are plain `<=` (no missing-value branches), so that numpy evaluates the trees exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightgbm as lgb
import numpy as np

from engine.relevance.folds import CrossFitted, ServedRows
from engine.relevance.trees import TreeScorer

LEAVES = 20
"""A leaf needs no more than 1 / 20 of the training pairs: on fewer than 800, the 40 below would forbid every split."""
PATIENCE = 30
"""Rounds without gain on the validation queries after which a member stops."""
SETTINGS: dict[str, Any] = {
    "objective": "regression",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "monotone_constraints_method": "intermediate",
    "use_missing": False,
    "feature_pre_filter": False,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


def train_boosted(
    rows: CrossFitted,
    grades: np.ndarray,
    *,
    seed: int,
    valid: ServedRows | None = None,
    valid_grades: np.ndarray | None = None,
    rising: Sequence[str] = (),
    members: int = 3,
    rounds: int | None = None,
    threads: int = 1,
) -> TreeScorer:
    """Fit `grades` (M,) on all columns of `rows.dense` (`rows.match_level` is not read: give levels as columns).

    The score never falls where a column in `rising` rises. `members` boosters of different bagging and column draws
    are averaged. With validation rows (columns as `rows.dense`) each grows up to `rounds` (1000) trees, until 30 bring
    nothing; without, `rounds` (100).
    """
    if not isinstance(rows, CrossFitted):
        raise TypeError(f"a ranker trains on CrossFitted rows only, not on {type(rows).__name__}")
    unknown = set(rising) - set(rows.columns)
    assert not unknown, f"no columns {', '.join(sorted(unknown))} to rise with"
    grades = np.asarray(grades, dtype=np.float64)
    fewest = max(1, min(SETTINGS["min_data_in_leaf"], len(grades) // LEAVES))
    settings = {**SETTINGS, "min_data_in_leaf": fewest, "num_threads": threads, "data_random_seed": seed}
    if rising:
        settings["monotone_constraints"] = [int(name in rising) for name in rows.columns]
    data = lgb.Dataset(rows.dense, label=grades, params=settings, free_raw_data=False)
    held = None
    if valid is not None and len(valid.query):
        held = lgb.Dataset(valid.dense, label=valid_grades, reference=data, free_raw_data=False)
    boosters = []
    for member in range(members):
        draw = {"bagging_seed": seed * members + member, "feature_fraction_seed": seed * members + member}
        if held is None:
            boosters.append(lgb.train(settings | draw, data, num_boost_round=rounds or 100))
        else:
            stop = lgb.early_stopping(PATIENCE, verbose=False)
            boosters.append(
                lgb.train(settings | draw, data, num_boost_round=rounds or 1000, valid_sets=[held], callbacks=[stop])
            )
    return forest(boosters, rows.columns, low=float(grades.min()), high=float(grades.max()))


def forest(boosters: Sequence[lgb.Booster], columns: Sequence[str], *, low: float, high: float) -> TreeScorer:
    """The mean of LightGBM models of numeric `<=` splits, each up to its best iteration."""
    feature: list[int] = []
    threshold: list[float] = []
    left: list[int] = []
    right: list[int] = []
    value: list[float] = []
    root: list[int] = []

    def grow(node: dict) -> int:
        position = len(feature)
        splits = "split_feature" in node
        assert not splits or (node["decision_type"] == "<=" and node["missing_type"] == "None")
        feature.append(node["split_feature"] if splits else -1)
        threshold.append(node["threshold"] if splits else 0.0)
        value.append(0.0 if splits else node["leaf_value"] / len(boosters))
        left.append(-1)
        right.append(-1)
        if splits:
            left[position] = grow(node["left_child"])
            right[position] = grow(node["right_child"])
        return position

    for booster in boosters:
        for tree in booster.dump_model()["tree_info"]:  # up to the best iteration, as `predict`
            root.append(grow(tree["tree_structure"]))
    whole = [np.array(part, dtype=np.int64) for part in (feature, left, right, root)]
    return TreeScorer(
        tuple(columns),
        feature=whole[0],
        threshold=np.array(threshold, dtype=np.float64),
        left=whole[1],
        right=whole[2],
        value=np.array(value, dtype=np.float64),
        root=whole[3],
        low=low,
        high=high,
    )
