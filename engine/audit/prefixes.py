"""Prefixes of semantic identifiers as numbers: which items share the first l codes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse


class Level(NamedTuple):
    """The distinct prefixes of one level, in order of their codes."""

    codes: np.ndarray  # (G, l) the first l codes of each prefix.
    member: np.ndarray
    """(N,) the prefix of each row of codes, as a position in `codes`; -1 where the row has no such prefix."""
    parent: np.ndarray  # (G,) position of the parent prefix one level up; zeros at level 1.

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def size(self) -> np.ndarray:
        """(G,) rows under each prefix."""
        return np.bincount(self.member[self.member >= 0], minlength=len(self))

    def texts(self) -> np.ndarray:
        """(G,) the prefixes as text, '17-203'."""
        return sid_texts(self.codes)

    def mean(self, x: np.ndarray) -> np.ndarray:
        """(G, d) mean of the rows of x (N, d) under each prefix, float64."""
        inside = np.flatnonzero(self.member >= 0)
        weight = 1.0 / self.size[self.member[inside]]
        rows = sparse.csr_matrix((weight, (self.member[inside], inside)), shape=(len(self), len(x)))
        return rows @ np.asarray(x, dtype=np.float64)


def sid_texts(codes: np.ndarray) -> np.ndarray:
    """(N,) object array of '17-203-88' from codes (N, l); None where the first code is absent (-1)."""
    if not len(codes):
        return np.empty(0, dtype=object)
    text = pd.Series(codes[:, 0]).astype(str)
    for column in codes.T[1:]:
        text = text + "-" + pd.Series(column).astype(str)
    out = text.to_numpy(dtype=object)
    out[codes[:, 0] < 0] = None
    return out


def levels(codes: np.ndarray) -> list[Level]:
    """One `Level` for each column of codes (N, L); a code of -1 ends a row's prefix (an item without SID has none)."""
    codes = np.asarray(codes, dtype=np.int64)
    out: list[Level] = []
    member = np.where(codes[:, 0] >= 0, 0, -1) if codes.size else np.full(len(codes), -1)
    for level in range(codes.shape[1]):
        inside = np.flatnonzero((member >= 0) & (codes[:, level] >= 0))
        span = int(codes[:, level].max(initial=0)) + 1
        key, first, inverse = np.unique(
            member[inside] * span + codes[inside, level], return_index=True, return_inverse=True
        )
        parent = key // span
        member = np.full(len(codes), -1, dtype=np.int64)
        member[inside] = inverse
        out.append(Level(codes[inside[first], : level + 1], member, parent))
    return out


def crosstab(row: np.ndarray, column: np.ndarray, n_rows: int, n_columns: int) -> sparse.csr_matrix:
    """(n_rows, n_columns) counts of the pairs (row, column); pairs with a -1 are left out. Sorted indices."""
    inside = (row >= 0) & (column >= 0)
    ones = np.ones(int(inside.sum()), dtype=np.int64)
    table = sparse.coo_matrix((ones, (row[inside], column[inside])), shape=(n_rows, n_columns)).tocsr()
    table.sum_duplicates()
    return table


def numbered(values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """A column as numbers: (N,) positions in the sorted distinct values (-1 where missing), and those values."""
    code, value = pd.factorize(values, sort=True)
    return code.astype(np.int64), np.asarray(value, dtype=object)
