"""Quantizers on disk: a folder with the weights (safetensors) and, beside them, the settings (JSON) that name the kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from engine.errors import ModelError
from engine.quantizers.residual import ResidualCodebooks

Q = TypeVar("Q")

FORMAT = 1
_CHUNK = 8192
_WEIGHTS = "quantizer.safetensors"
_SETTINGS = "quantizer.json"


class StoredModule(nn.Module):
    """Weights with residual codebooks among them."""

    codebooks: ResidualCodebooks

    def tensors(self) -> dict[str, torch.Tensor]:
        """Weights and codebooks by name."""
        return {**self.state_dict(), **{f"codebooks.{name}": t for name, t in self.codebooks.state().items()}}

    def project(self, side: nn.Module, x: np.ndarray) -> torch.Tensor:
        """Latents (N, d) of embeddings (N, D), N >= 0, by one of its modules; without gradient."""
        with torch.inference_mode():
            parts = [side(torch.from_numpy(x[at : at + _CHUNK])) for at in range(0, max(len(x), 1), _CHUNK)]
        # Out of inference mode: the codebooks keep views of these rows.
        return torch.cat(parts).clone()

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """The inverse of `tensors`. Raises KeyError, ValueError or RuntimeError where they do not fit."""
        prefix = "codebooks."
        self.load_state_dict({name: t for name, t in tensors.items() if not name.startswith(prefix)})
        self.codebooks.load_state(
            {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        )


def write(path: Path, kind: str, settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Writes weights and settings of a quantizer of that kind into the folder `path`."""
    path.mkdir(parents=True, exist_ok=True)
    save_file({name: t.contiguous() for name, t in tensors.items()}, path / _WEIGHTS)
    text = json.dumps({"format": FORMAT, "kind": kind, **settings}, indent=1, sort_keys=True)
    (path / _SETTINGS).write_text(text, encoding="utf-8")


Build = Callable[[dict[str, Any], dict[str, torch.Tensor]], Q]
"""Makes a quantizer of settings and tensors."""


def read(path: Path, builders: Mapping[str, Build[Q]]) -> Q:
    """The quantizer that `write` wrote into the folder `path`, by the builder of its kind.

    Raises ModelError when files are missing, damaged, of another format or unknown kind, or do not fit each other.
    """
    try:
        settings = json.loads((path / _SETTINGS).read_text(encoding="utf-8"))
        kind = str(settings["kind"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"no quantizer in {path} ({error!r}); train the run again") from error
    if kind not in builders:
        raise ModelError(f"quantizer of kind '{kind}' in {path}; known: {', '.join(builders)}")
    try:
        if settings["format"] != FORMAT:
            raise ValueError(f"format {settings['format']}")
        return builders[kind](settings, load_file(path / _WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"no {kind} quantizer of format {FORMAT} in {path} ({error}); train the run again") from error
