"""Checkpoints of a training by steps: one file, replaced at once, taken up only by a training of equal inputs."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.leftovers import replacing

EVERY = 100
"""Steps between checkpoints."""


def name_of_inputs(settings: object, arrays: Iterable[np.ndarray]) -> str:
    """Names everything a training depends on, so that no checkpoint of another one is taken up."""
    digest = hashlib.sha256(repr(settings).encode())
    for array in arrays:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write_checkpoint(path: Path, inputs: str, state: dict[str, Any]) -> None:
    """Writes `state` to `path`, replacing it at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as writing, writing.open("wb") as file:  # given a path, torch does not say why a disk refused
        torch.save({"inputs": inputs, **state}, file)


def read_checkpoint(path: Path, inputs: str) -> dict[str, Any] | None:
    """The state in `path`; None when there is none, or none of these inputs."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, RuntimeError, EOFError, pickle.UnpicklingError):
        return None
    return state if state.get("inputs") == inputs else None
