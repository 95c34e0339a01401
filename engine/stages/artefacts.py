"""Arrays on disk: one safetensors file a group, written by rename."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays to one file."""
    temporary = path.with_name(f"{path.name}.tmp")
    save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, str(temporary))
    os.replace(temporary, path)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read them back."""
    return load_file(str(path))


def image_matrix(column: list | np.ndarray) -> np.ndarray | None:
    """A column of embeddings as (N, M) float32, L2-normalised, NaN rows where absent; None where all are."""
    present = [value for value in column if value is not None]
    if not present:
        return None
    matrix = np.full((len(column), len(present[0])), np.nan, dtype=np.float32)
    for position, value in enumerate(column):
        if value is not None:
            matrix[position] = value
    return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
