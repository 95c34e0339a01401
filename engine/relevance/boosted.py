"""The gradient-boosted ranker: LightGBM trains it on cross-fitted rows, `TreeScorer` serves it.

Least squares on grades. Splits are plain `<=` (no missing-value branches), so that numpy evaluates the trees exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

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


class _Node(NamedTuple):
    """A split (feature >= 0) or a leaf, with the places of its children."""

    feature: Any
    threshold: Any
    left: Any
    right: Any
    value: Any


def train_boosted(
    rows: CrossFitted,
    grades: np.ndarray,
    *,
    seed: int,
    valid: ServedRows | None = None,
    rising: Sequence[str] = (),
    members: int = 3,
    rounds: int | None = None,
) -> TreeScorer:
    """Fit `grades` (M,) on all columns of `rows.dense` (`rows.match_level` is not read: give levels as columns).

    The score never falls where a column in `rising` rises. `members` boosters of different bagging and column draws
    are averaged; they grow side by side, each on one thread, which changes no bit of them. With validation rows (columns as `rows.dense`) each grows up to `rounds` (1000) trees, until 30 bring
    nothing; without, `rounds` (100).
    """
    if not isinstance(rows, CrossFitted):
        raise TypeError(f"a ranker trains on CrossFitted rows only, not on {type(rows).__name__}")
    unknown = set(rising) - set(rows.columns)
    assert not unknown, f"no columns {', '.join(sorted(unknown))} to rise with"
    grades = np.asarray(grades, dtype=np.float64)
    fewest = max(1, min(SETTINGS["min_data_in_leaf"], len(grades) // LEAVES))
    settings = {**SETTINGS, "min_data_in_leaf": fewest, "num_threads": 1, "data_random_seed": seed}
    if rising:
        settings["monotone_constraints"] = [int(name in rising) for name in rows.columns]
    # Binned before the threads share them.
    data = lgb.Dataset(rows.dense, label=grades, params=settings, free_raw_data=False).construct()
    more: dict[str, Any] = {"num_boost_round": rounds or 100}
    if valid is not None and len(valid.grade):
        held = lgb.Dataset(
            valid.dense, label=valid.grade, reference=data, params=settings, free_raw_data=False
        ).construct()
        more = {"num_boost_round": rounds or 1000, "valid_sets": [held]}

    def grow(member: int) -> lgb.Booster:
        draw = {"bagging_seed": seed * members + member, "feature_fraction_seed": seed * members + member}
        stop = [lgb.early_stopping(PATIENCE, verbose=False)] if "valid_sets" in more else []
        return lgb.train(settings | draw, data, callbacks=stop, **more)

    with ThreadPoolExecutor(members) as pool:  # LightGBM lets go of the interpreter while it trains
        boosters = list(pool.map(grow, range(members)))
    return forest(boosters, rows.columns, low=float(grades.min()), high=float(grades.max()))


def forest(boosters: Sequence[lgb.Booster], columns: Sequence[str], *, low: float, high: float) -> TreeScorer:
    """The mean of LightGBM models of numeric `<=` splits, each up to its best iteration."""
    nodes: list[_Node] = []

    def grow(node: dict) -> int:
        at = len(nodes)
        if "split_feature" not in node:
            nodes.append(_Node(-1, 0.0, -1, -1, node["leaf_value"] / len(boosters)))
            return at
        assert node["decision_type"] == "<="
        assert node["missing_type"] == "None"
        nodes.append(_Node(node["split_feature"], node["threshold"], -1, -1, 0.0))
        nodes[at] = nodes[at]._replace(left=grow(node["left_child"]), right=grow(node["right_child"]))
        return at

    # Dumped up to the best iteration, as `predict` reads them.
    root = [grow(tree["tree_structure"]) for booster in boosters for tree in booster.dump_model()["tree_info"]]
    kinds = _Node(np.int64, np.float64, np.int64, np.int64, np.float64)
    arrays = [np.array(column, dtype=kind) for column, kind in zip(zip(*nodes, strict=True), kinds, strict=True)]
    whole = dict(zip(_Node._fields, arrays, strict=True))
    return TreeScorer(tuple(columns), root=np.array(root, dtype=np.int64), low=low, high=high, **whole)
