"""Gradient-boosted trees on the ranker's own rows: the ceiling check of a no-SID baseline (LightGBM)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np

from engine.relevance.folds import CrossFitted, ServedRows


@dataclass(frozen=True)
class BoostedRanker:
    """Trees over dense columns and, where `use_sid`, the match level; `text` is LightGBM's own model format."""

    columns: tuple[str, ...]
    use_sid: bool
    text: str

    def score(self, dense: np.ndarray, match_level: np.ndarray | None = None) -> np.ndarray:
        """(M,) float64 predicted grade of `dense` (M, F), columns as `columns`, and `match_level` (M,)."""
        booster = lgb.Booster(model_str=self.text)
        return np.asarray(booster.predict(_table(dense, match_level if self.use_sid else None), num_threads=1))


def train_boosted(
    rows: CrossFitted,
    grades: np.ndarray,
    *,
    seed: int,
    use_sid: bool = False,
    columns: Sequence[str] | None = None,
    valid: ServedRows | None = None,
    valid_grades: np.ndarray | None = None,
    rounds: int = 500,
    threads: int = 1,
) -> BoostedRanker:
    """Least squares on grades; the same rows, columns and validation queries as `train_ranker`.

    Without validation rows 100 trees are grown; with them up to `rounds`, until 30 bring nothing.
    """
    if not isinstance(rows, CrossFitted):
        raise TypeError(f"a ranker trains on CrossFitted rows only, not on {type(rows).__name__}")
    names = rows.columns if columns is None else tuple(columns)
    chosen = [rows.columns.index(name) for name in names]
    settings = {
        "objective": "regression",
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_data_in_leaf": 40,
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "seed": seed,
        "verbosity": -1,
    }
    table = _table(rows.dense[:, chosen], rows.match_level if use_sid else None)
    data = lgb.Dataset(table, label=np.asarray(grades, dtype=np.float64))
    if valid is None or not len(valid.query):
        booster = lgb.train(settings, data, num_boost_round=min(rounds, 100))
        return BoostedRanker(names, use_sid, booster.model_to_string())
    held = _table(valid.dense[:, chosen], valid.match_level if use_sid else None)
    booster = lgb.train(
        settings,
        data,
        num_boost_round=rounds,
        valid_sets=[lgb.Dataset(held, label=valid_grades, reference=data)],
        callbacks=[lgb.early_stopping(30, verbose=False)],
    )
    return BoostedRanker(names, use_sid, booster.model_to_string(num_iteration=booster.best_iteration))


def _table(dense: np.ndarray, match_level: np.ndarray | None) -> np.ndarray:
    dense = np.asarray(dense, dtype=np.float64)
    return dense if match_level is None else np.column_stack([dense, match_level])
