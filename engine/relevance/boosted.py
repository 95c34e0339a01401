"""The gradient-boosted ranker: LightGBM trains it on cross-fitted rows, `TreeScorer` serves it.

Least squares on grades; of few judged queries from a line that starts at the cosine (`few.py`). Splits are plain `<=` (no
missing-value branches), so that numpy evaluates the trees exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import lightgbm as lgb
import numpy as np

from engine.relevance.few import FEW, PENALTIES, SIMPLEST, fit_lines, inner_folds, simplest_good
from engine.relevance.folds import CrossFitted, ServedRows
from engine.relevance.trees import TreeScorer

LEAVES = 20
"""A leaf needs no more than 1 / 20 of the training pairs: on fewer than 800, the 40 below would forbid every split."""
ROUNDS, MOST_ROUNDS = 100, 1_000
"""Trees of a member without validation queries, and at most with them."""
TREES = (0, 10, 20, 35, 50, 75, 100)
"""How many trees of a member few queries choose among."""
FEW_COLUMNS = 0.3
"""Share of the columns that a tree of few queries may split: it varies more and trusts none of them much."""
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


class _Start(NamedTuple):
    """What trees start from, how many there are a member, and whether as many members that start from nothing join."""

    slope: np.ndarray
    constant: float
    trees: int
    joined: bool


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
) -> TreeScorer:
    """Fit `grades` (M,) on all columns of `rows.dense` (`rows.match_level` is not read: give levels as columns).

    The score never falls where a column in `rising` rises. `members` boosters of different bagging and column draws
    are averaged. With validation rows (columns as `rows.dense`) each grows up to 1000 trees, until 30 bring nothing;
    without, 100. Of fewer than `FEW` queries the trees start from a line, and inner cross-validation over the training
    queries, not the validation rows, says how many there are (`few.py`): 100 at most, none at least; and whether as many
    members of 100 trees without a line are averaged with them.
    """
    if not isinstance(rows, CrossFitted):
        raise TypeError(f"a ranker trains on CrossFitted rows only, not on {type(rows).__name__}")
    unknown = set(rising) - set(rows.columns)
    assert not unknown, f"no columns {', '.join(sorted(unknown))} to rise with"
    grades = np.asarray(grades, dtype=np.float64)
    growth = _Growth(rows.columns, tuple(rising), seed, members)
    low, high = float(grades.min()), float(grades.max())
    queries = len(np.unique(rows.query))
    if queries >= FEW or SIMPLEST not in rows.columns:
        return forest(growth.many(rows.dense, grades, valid), rows.columns, low=low, high=high)
    start = _start(rows, grades, growth) if queries > 1 else _cosine(rows, grades, growth)
    left_over = grades - rows.dense @ start.slope - start.constant
    boosters = growth.few(rows.dense, left_over, start.trees, members) if start.trees else []
    boosters += growth.few(rows.dense, grades, ROUNDS, members) if start.joined else []
    share = 0.5 if start.joined else 1.0
    line = (share * start.slope, share * start.constant)
    return forest(boosters, rows.columns, low=low, high=high, share=share / members, line=line)


class _Growth(NamedTuple):
    """How boosters grow side by side, each on one thread, which changes no bit of them."""

    columns: tuple[str, ...]
    rising: tuple[str, ...]
    seed: int
    members: int

    def many(self, x: np.ndarray, grades: np.ndarray, valid: ServedRows | None) -> list[lgb.Booster]:
        """The members, stopped by validation rows where there are some."""
        settings = self._settings(len(grades))
        data = _binned(x, grades, settings)
        if valid is None or not len(valid.grade):
            return self._grow(settings, data, ROUNDS, self.members)
        held = lgb.Dataset(
            valid.dense, label=valid.grade, reference=data, params=settings, free_raw_data=False
        ).construct()
        return self._grow(settings, data, MOST_ROUNDS, self.members, held)

    def few(self, x: np.ndarray, target: np.ndarray, rounds: int, members: int) -> list[lgb.Booster]:
        """Members of `rounds` trees each, fewer columns a tree, for the grades or what a line leaves of them."""
        settings = self._settings(len(target)) | {"feature_fraction": FEW_COLUMNS}
        return self._grow(settings, _binned(x, target, settings), rounds, members)

    def _settings(self, n: int) -> dict[str, Any]:
        fewest = max(1, min(SETTINGS["min_data_in_leaf"], n // LEAVES))
        settings = {**SETTINGS, "min_data_in_leaf": fewest, "num_threads": 1, "data_random_seed": self.seed}
        settings["bagging_freq"] = int(n > 1)  # of a single pair a bag would hold none
        if self.rising:
            settings["monotone_constraints"] = [int(name in self.rising) for name in self.columns]
        return settings

    def _grow(
        self, settings: dict[str, Any], data: lgb.Dataset, rounds: int, members: int, held: lgb.Dataset | None = None
    ) -> list[lgb.Booster]:
        more: dict[str, Any] = {} if held is None else {"valid_sets": [held]}

        def grow(member: int) -> lgb.Booster:
            draw = self.seed * self.members + member
            stop = [lgb.early_stopping(PATIENCE, verbose=False)] if more else []
            drawn = {"bagging_seed": draw, "feature_fraction_seed": draw}
            return lgb.train(settings | drawn, data, num_boost_round=rounds, callbacks=stop, **more)

        with ThreadPoolExecutor(members) as pool:  # LightGBM lets go of the interpreter while it trains
            return list(pool.map(grow, range(members)))


def _binned(x: np.ndarray, label: np.ndarray, settings: dict[str, Any]) -> lgb.Dataset:
    """Binned before the threads share them."""
    return lgb.Dataset(x, label=label, params=settings, free_raw_data=False).construct()


def _start(rows: CrossFitted, grades: np.ndarray, growth: _Growth) -> _Start:
    """What two or more queries bear, by inner cross-validation: the line, the number of trees, others beside them."""
    x, fold = rows.dense, inner_folds(rows.query, seed=growth.seed)
    inner = [fit_lines(x[fold != k], grades[fold != k], rows.columns, growth.rising) for k in range(fold.max() + 1)]
    by_line = np.empty((len(PENALTIES), len(grades)))
    for k, lines in enumerate(inner):
        by_line[:, fold == k] = lines.score(x[fold == k])
    chosen = simplest_good(by_line, grades, rows.query)
    scores, alone = np.repeat(by_line[chosen][None], len(TREES), axis=0), np.empty(len(grades))
    for k, lines in enumerate(inner):
        left_over = (grades - lines.score(x)[chosen])[fold != k]
        booster = growth.few(x[fold != k], left_over, TREES[-1], 1)[0]
        for more, trees in zip(scores[1:], TREES[1:], strict=True):
            more[fold == k] += booster.predict(x[fold == k], num_iteration=trees, num_threads=1)
        booster = growth.few(x[fold != k], grades[fold != k], ROUNDS, 1)[0]
        alone[fold == k] = booster.predict(x[fold == k], num_threads=1)
    lines = fit_lines(x, grades, rows.columns, growth.rising)
    trees = simplest_good(scores, grades, rows.query)
    joined = simplest_good(np.stack([scores[trees], (scores[trees] + alone) / 2]), grades, rows.query) > 0
    return _Start(lines.slope[chosen], float(lines.constant[chosen]), TREES[trees], joined)


def _cosine(rows: CrossFitted, grades: np.ndarray, growth: _Growth) -> _Start:
    """The start of a single query, which nothing can be tested on."""
    lines = fit_lines(rows.dense, grades, rows.columns, growth.rising)
    return _Start(lines.slope[0], float(lines.constant[0]), 0, False)


def forest(
    boosters: Sequence[lgb.Booster],
    columns: Sequence[str],
    *,
    low: float,
    high: float,
    share: float | None = None,
    line: tuple[np.ndarray, float] | None = None,
) -> TreeScorer:
    """The mean of LightGBM models of numeric `<=` splits, each up to its best iteration (or their sum, each times
    `share`), and of a `line` slope (F,) and constant, which is one more leaf."""
    share = 1.0 / len(boosters) if share is None else share
    slope, constant = (np.zeros(len(columns)), None) if line is None else line
    nodes: list[_Node] = [] if constant is None else [_Node(-1, 0.0, -1, -1, constant)]

    def grow(node: dict) -> int:
        at = len(nodes)
        if "split_feature" not in node:
            nodes.append(_Node(-1, 0.0, -1, -1, node["leaf_value"] * share))
            return at
        assert node["decision_type"] == "<="
        assert node["missing_type"] == "None"
        nodes.append(_Node(node["split_feature"], node["threshold"], -1, -1, 0.0))
        nodes[at] = nodes[at]._replace(left=grow(node["left_child"]), right=grow(node["right_child"]))
        return at

    # Dumped up to the best iteration, as `predict` reads them.
    root = [0] * len(nodes)
    root += [grow(tree["tree_structure"]) for booster in boosters for tree in booster.dump_model()["tree_info"]]
    kinds = _Node(np.int64, np.float64, np.int64, np.int64, np.float64)
    arrays = [np.array(column, dtype=kind) for column, kind in zip(zip(*nodes, strict=True), kinds, strict=True)]
    whole = dict(zip(_Node._fields, arrays, strict=True))
    return TreeScorer(tuple(columns), root=np.array(root, dtype=np.int64), slope=slope, low=low, high=high, **whole)
