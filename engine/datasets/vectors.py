"""Vectors that came with the data, as arrays: never by way of Python lists, which cost gigabytes at a million items."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

BLOCK = 65_536
"""Rows of a group of a stored table, which are read at once."""


class GivenVectors(NamedTuple):
    """Vectors of items and queries in one space, rows L2-normalised."""

    items: np.ndarray | None  # (N, D) float32, NaN rows where an item has none; None where no item has one.
    queries: np.ndarray | None  # (Q, D) float32 likewise.


def read_vectors(path: Path, column: str) -> np.ndarray | None:
    """(rows, D) float32 of a stored table's column of embeddings, L2-normalised, NaN rows where absent.

    None where all are, and where the table has no such column (it was stored before there was one).
    """
    matrix, at = None, 0
    with pq.ParquetFile(path, pre_buffer=False) as file:
        if column not in file.schema_arrow.names:
            return None
        for batch in file.iter_batches(BLOCK, columns=[column]):
            lists = batch.column(0)
            rows = at + np.flatnonzero(lists.is_valid().to_numpy(zero_copy_only=False))
            at += len(lists)
            if len(rows):
                values = lists.flatten().to_numpy().reshape(len(rows), -1)
                if matrix is None:
                    matrix = np.full((file.metadata.num_rows, values.shape[1]), np.nan, dtype=np.float32)
                matrix[rows] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return matrix
