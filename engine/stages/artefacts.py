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
