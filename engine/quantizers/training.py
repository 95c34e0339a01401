"""A training by steps, whatever it learns: learning rate, codebook averages and restarts, history, checkpoints."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch

from engine.checkpoint import EVERY, name_of_inputs, read_checkpoint, write_checkpoint
from engine.config import QuantizerConfig
from engine.progress import Progress
from engine.quantizers.history import Row, use_of_codes
from engine.quantizers.residual import Residuals
from engine.quantizers.storage import StoredModule

_LOG_EVERY = 10
_WARM_UP = 20
_FINAL_LR = 0.1
_WEIGHT_DECAY = 0.01
_VERSION = 3
"""Raise it when a checkpoint of this code could not be continued by the next."""


class Training(ABC):
    """The state of one training: model, optimizer, members of each code since the last restart, history.

    Random draws are functions of (seed, step), so the sampler's state is the number of steps done.
    """

    checkpoint_every = EVERY
    first_restarted = 0
    """The first level (0-based) whose unused codes are moved."""

    def __init__(self, model: StoredModule, config: QuantizerConfig, steps: int, seed: int) -> None:
        self.config, self.steps, self.seed = config, steps, seed
        self.restart_every = config.restart_every
        self.codebooks = model.codebooks
        self.stored = model
        self.hits = [torch.zeros(size, dtype=torch.int64) for size in model.codebooks.sizes]
        self.history: list[Row] = []
        self.optimizer: torch.optim.Optimizer

    def learn(self, weights: dict[float, list[torch.Tensor]]) -> None:
        """AdamW over weights by their highest learning rate."""
        groups = [{"params": params, "lr": lr, "highest_lr": lr} for lr, params in weights.items()]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=_WEIGHT_DECAY)

    def run(self, progress: Progress, checkpoint: Path | None) -> None:
        """All steps, from where `checkpoint` stopped, and on the way new ones."""
        done = self.resume(checkpoint) if checkpoint is not None else 0
        for step in range(done, self.steps):
            self.step(step)
            progress(step + 1, self.steps)
            if checkpoint is not None and (step + 1) % self.checkpoint_every == 0:
                self.save(checkpoint, step + 1)

    @abstractmethod
    def step(self, step: int) -> None:
        """One step of the loss, then the codebooks'."""

    @abstractmethod
    def inputs(self) -> tuple[object, list[np.ndarray]]:
        """Settings and arrays that this training depends on."""

    def descend(self, step: int, loss: torch.Tensor, terms: dict[str, torch.Tensor]) -> None:
        """One optimizer step, and its row in the history."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["highest_lr"] * _schedule(step, self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if (step + 1) % _LOG_EVERY == 0 or step + 1 == self.steps:
            self.history += [(step + 1, name, value.item()) for name, value in {"loss": loss, **terms}.items()]

    def follow(self, step: int, items: Residuals, rng: np.random.Generator) -> None:
        """Moves the codebooks' averages by a batch of items and, when due, codes never drawn onto badly served ones."""
        self.codebooks.update(items, self.config.ema_decay)
        for level, hits in enumerate(self.hits):
            hits += torch.bincount(items.codes[:, level], minlength=len(hits))
        done = step + 1
        if done % self.restart_every != 0 or done == self.steps:
            return
        for level, hits in enumerate(self.hits):
            self.history += use_of_codes(done, level, hits.numpy())
            if level >= self.first_restarted:
                moved = self.codebooks.restart(level, hits == 0, items.residuals[level].detach(), rng)
                self.history.append((done, f"restarts_{level + 1}", float(moved)))
            hits.zero_()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything that learns, by name."""
        return self.stored.tensors()

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """The inverse of `tensors`."""
        self.stored.load_tensors(tensors)

    def save(self, path: Path, steps_done: int) -> None:
        """Writes the whole state to `path`, replacing it at once."""
        state = {
            "steps_done": steps_done,
            "tensors": self.tensors(),
            "optimizer": self.optimizer.state_dict(),
            "hits": self.hits,
            "history": self.history,
        }
        write_checkpoint(path, self._name(), state)

    def resume(self, path: Path) -> int:
        """Takes up the state in `path`; the steps it had done, 0 when there is none of these inputs."""
        state = read_checkpoint(path, self._name())
        if state is None:
            return 0
        self.load_tensors(state["tensors"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.hits = state["hits"]
        self.history = state["history"]
        return int(state["steps_done"])

    def _name(self) -> str:
        settings, arrays = self.inputs()
        own = (type(self).__name__, _VERSION, self.config, self.codebooks.sizes, self.seed, settings)
        return name_of_inputs(own, arrays)


def _schedule(step: int, steps: int) -> float:
    """Share of the learning rate: linear warm-up, then a cosine down to a tenth."""
    warm = min(1.0, (step + 1) / _WARM_UP)
    return warm * (_FINAL_LR + (1 - _FINAL_LR) * 0.5 * (1 + math.cos(math.pi * step / steps)))
