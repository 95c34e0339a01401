"""Splits by query, the folds of cross-fitting, and training rows that prove they are free of leakage.

Stack 0 (quantizer, generator, classifiers) learns from every supervising query and serves; stack f = 1..F learns
from all but fold f. A ranker's training row must come from a stack that never saw the row's query: `CrossFitted`
cannot be built otherwise, and `train_ranker` takes nothing else.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from engine.config import SplitConfig


class LeakageError(ValueError):
    """A ranker's training row was made by a stack that learnt from the row's own query: a bug, never the user's."""


class Split(NamedTuple):
    """Per query (Q,): `split` 'train' | 'valid' | 'test' | 'log' (not judged), and `fold` 1..F (int64).

    `mode` is 'holdout', or 'cross_validation' where `cv_fold` (repeats, Q) holds the 0-based test fold of every
    judged query in each repeat (-1 for the others) and every judged query is 'test'; `cv_fold` is (0, Q) in 'holdout'.
    """

    mode: str
    split: np.ndarray
    fold: np.ndarray
    cv_fold: np.ndarray

    @property
    def n_folds(self) -> int:
        """F, the folds of cross-fitting; stacks are 0..F."""
        return int(self.fold.max(initial=1))

    def supervision(self, supervising: np.ndarray) -> np.ndarray:
        """(F+1, Q) bool: which of the `supervising` (Q,) queries each stack learns from; row 0 is the served stack.

        This table both selects a stack's training pairs and, as `seen`, proves the rows of `CrossFitted`.
        """
        stacks = np.arange(self.n_folds + 1)[:, None]
        return np.asarray(supervising, dtype=bool)[None, :] & (self.fold[None, :] != stacks)


def split_queries(
    query_ids: Sequence[str],
    judged: np.ndarray,
    given: Sequence[str | None] | None,
    config: SplitConfig,
    *,
    seed: int,
    groups: Sequence[str] | None = None,
) -> Split:
    """Divide queries; independent of their order.

    `judged` (Q,) bool; `given` (Q,): the split that the judgments carry. A given split that has test queries is kept
    as it is, only missing parts are drawn: judged queries without one, and validation queries, from train, where none
    are given. Otherwise fewer than `config.cross_validate_below` judged queries means cross-validation, more means
    shares of `config` drawn by seeded hash of the query id. Queries that share a `groups` (Q,) value (e.g. equal
    normalised text) fall on the same side of every drawn division.
    """
    keys = np.array(list(groups if groups is not None else query_ids), dtype=object)
    judged = np.asarray(judged, dtype=bool)
    assert len(keys) == len(judged) == len(query_ids)
    split = np.where(judged, "train", "log").astype(object)
    wanted = np.array([None] * len(keys) if given is None else list(given), dtype=object)
    known = judged & np.isin(wanted, ["train", "valid", "test"])
    fold = 1 + _deal(keys, config.folds, seed, "fold")

    if not (known & (wanted == "test")).any() and judged.sum() < config.cross_validate_below:
        parts = max(2, min(config.cv_folds, len(set(keys[judged]))))
        cv_fold = np.full((config.cv_repeats, len(keys)), -1, dtype=np.int64)
        for repeat in range(config.cv_repeats):
            cv_fold[repeat, judged] = _deal(keys[judged], parts, seed, f"cv{repeat}")
        split[judged] = "test"
        return Split("cross_validation", split, fold, cv_fold)

    split[known] = wanted[known]
    missing = judged & ~known
    if not (known & (wanted == "test")).any():
        missing = judged & (split == "train")
    drawn = _position(keys, missing, seed, "split")
    split[missing & (drawn < config.test_share)] = "test"
    split[missing & (drawn >= config.test_share) & (drawn < config.test_share + config.valid_share)] = "valid"
    if judged.any() and not (split == "valid").any():
        train = split == "train"
        split[train & (_position(keys, train, seed, "valid") < config.valid_share)] = "valid"
    return Split("holdout", split, fold, np.full((0, len(keys)), -1, dtype=np.int64))


def _hash(key: str, seed: int, purpose: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{purpose}\0{key}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _order(keys: np.ndarray, seed: int, purpose: str) -> dict[str, int]:
    """Rank of every distinct key under a seeded hash: exact shares, whatever the order of the rows."""
    return {key: rank for rank, key in enumerate(sorted(set(keys), key=lambda k: (_hash(k, seed, purpose), k)))}


def _deal(keys: np.ndarray, parts: int, seed: int, purpose: str) -> np.ndarray:
    """(len,) int64 in 0..parts-1, equal shares of the distinct keys."""
    order = _order(keys, seed, purpose)
    return np.array([order[key] % parts for key in keys], dtype=np.int64)


def _position(keys: np.ndarray, among: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    """(len,) in [0, 1): where a key stands among the keys of rows `among`; 1 for the other rows."""
    order = _order(keys[among], seed, purpose)
    position = np.ones(len(keys))
    position[among] = [(order[key] + 0.5) / len(order) for key in keys[among]]
    return position


class ServedRows(NamedTuple):
    """Rows as they are served (stack 0): for validation and scoring, never for training a ranker.

    `dense` (M, F), `match_level` (M,) int64 or None, `grade` (M,).
    """

    dense: np.ndarray
    match_level: np.ndarray | None
    grade: np.ndarray


def _frozen(value: np.ndarray, kind: type[np.generic]) -> np.ndarray:
    copy: np.ndarray = np.array(value, dtype=kind)
    copy.setflags(write=False)
    return copy


@dataclass(frozen=True)
class CrossFitted:
    """A ranker's training rows with their provenance; the only thing that `train_ranker` trains on.

    dense: (M, F) float64, columns named by `columns`; match_level: (M,) int64 0..L, None without SIDs;
    query: (M,) int64; producer: (M,) int64, the stack that made the row; seen: (stacks, Q) bool, the queries that
    each stack learnt from; reads: for features that leave a query's own feedback out when they are measured, (Q, k)
    int64 positions of the queries whose feedback they rest on, -1 pads. Raises LeakageError when a producer had seen
    its row's query, or a row rests on its own query's feedback. Arrays are copied and frozen, so that a proven row
    stays proven.
    """

    columns: tuple[str, ...]
    dense: np.ndarray
    match_level: np.ndarray | None
    query: np.ndarray
    producer: np.ndarray
    seen: np.ndarray
    reads: tuple[np.ndarray, ...] = ()
    naive: bool = field(default=False, init=False)
    """Made by `naive_for_comparison_only`: rows may leak; such a ranker is never served."""

    def __post_init__(self) -> None:
        self._freeze()
        leaks = self.leaks
        if leaks.any():
            first = int(np.flatnonzero(leaks)[0])
            raise LeakageError(
                f"{int(leaks.sum())} of {len(leaks)} training rows come from a stack that learnt from their own query; "
                f"the first is row {first}: query {self.query[first]}, stack {self.producer[first]}"
            )

    @property
    def leaks(self) -> np.ndarray:
        """(M,) bool: rows that rest on their own query's feedback; all False unless `naive`."""
        leaks = self.seen[self.producer, self.query]
        for read in self.reads:
            leaks = leaks | (read[self.query] == self.query[:, None]).any(axis=1)
        return leaks

    def _freeze(self) -> None:
        kinds: dict[str, type[np.generic]] = {"dense": np.float64, "match_level": np.int64, "query": np.int64}
        kinds |= {"producer": np.int64, "seen": np.bool_}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _frozen(value, kind))
        object.__setattr__(self, "reads", tuple(_frozen(read, np.int64) for read in self.reads))
        rows = len(self.query)
        assert self.dense.shape == (rows, len(self.columns))
        assert self.producer.shape == (rows,)
        assert self.match_level is None or self.match_level.shape == (rows,)
        assert self.seen.ndim == 2
        assert np.isfinite(self.dense).all()

    @classmethod
    def naive_for_comparison_only(
        cls,
        columns: Sequence[str],
        dense: np.ndarray,
        match_level: np.ndarray | None,
        query: np.ndarray,
        producer: np.ndarray,
        seen: np.ndarray,
        reads: tuple[np.ndarray, ...] = (),
    ) -> CrossFitted:
        """Rows that may leak, for the benchmark that shows what leaking costs; nothing trained on them is served."""
        rows = object.__new__(cls)
        values = (tuple(columns), dense, match_level, query, producer, seen, reads, True)
        for each, value in zip(dataclasses.fields(cls), values, strict=True):
            object.__setattr__(rows, each.name, value)
        rows._freeze()
        return rows

    def select(self, rows: np.ndarray) -> CrossFitted:
        """The rows of a mask or of positions, e.g. the training side of a cross-validation fold."""
        level = None if self.match_level is None else self.match_level[rows]
        build = CrossFitted.naive_for_comparison_only if self.naive else CrossFitted
        return build(
            self.columns, self.dense[rows], level, self.query[rows], self.producer[rows], self.seen, self.reads
        )
