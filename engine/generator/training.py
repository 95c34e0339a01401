"""Train a generator: titles -> SIDs first, then queries -> SIDs of the items they led to, titles among them.

Cross-entropy over each level's own codes with smoothed labels, levels weighted alike. The softmax of a level runs
over all K_l codes of that level and not over the children that exist: the trie restricts decoding, so unconstrained
decoding stays meaningful. Part of every batch of the query stage are titles: without them the model
forgets the titles, learns the training queries by heart and finds fewer items for new ones. AdamW, gradient norm
clipped at 1, and one warm-up and cosine decay a stage.

Every order and draw derives from (seed, stage, epoch) and nothing else is random, so the step is the whole state
of sampler and random numbers; checkpoints hold it with the weights, the optimizer and the history, and a resumed
training equals an uninterrupted one bit for bit (same machine, library versions and thread count).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from pandas import DataFrame
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from engine.checkpoint import name_of_inputs, read_checkpoint, write_checkpoint
from engine.config import GeneratorConfig
from engine.generator.examples import Lessons, Stage, draw, schedule, stages_of
from engine.generator.full import FullGenerator
from engine.generator.model import CompactGenerator
from engine.progress import Progress, silent

CHECKPOINT_EVERY = 100
"""Steps between checkpoints."""
REPORT_EVERY = 20
"""Steps between history rows."""
WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0


class GeneratorFit(NamedTuple):
    """A trained generator."""

    model: CompactGenerator | FullGenerator  # Ready to decode.
    history: DataFrame
    """step, name, value: `alignment.loss`, `query.loss` (nats a SID, as trained: of the whole mixed batch and with
    smoothed labels), their levels `.loss_1` .., and `lr`."""


def train_generator(
    lessons: Lessons,
    config: GeneratorConfig,
    *,
    seed: int,
    progress: Progress = silent,
    checkpoint: Path | None = None,
) -> GeneratorFit:
    """Train a compact generator from scratch, or from `checkpoint` where that file holds a part of this very training.

    Args:
        lessons: embeddings of titles and queries, SIDs, interactions.
        config: shapes, epochs and learning rate.
        seed: fixes weights, order and draws.
        progress: called as (done, total) in steps; an exception it raises ends the training, resumable.
        checkpoint: file written every 100 steps and at the end; one of other inputs or settings is ignored.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    query_dim = cast(np.ndarray, lessons.items).shape[1]
    model = CompactGenerator.initialise(lessons.sizes, query_dim, config, seed=seed).to(device).train()
    stages = stages_of(lessons, config)
    training = _CompactTraining(model, stages, config, seed)
    training.keep(checkpoint, inputs_of(stages, lessons.sizes, config, seed))
    training.run(progress)
    return GeneratorFit(model.eval(), training.table())


class Training(ABC):
    """Weights, optimizer and history between steps, and their checkpoint; how a gradient is found is a subclass's."""

    report_every = REPORT_EVERY

    def __init__(self, stages: list[Stage], config: GeneratorConfig, seed: int, lr: float) -> None:
        self.stages, self.config, self.seed, self.lr = stages, config, seed, lr
        self.optimizer = torch.optim.AdamW(self.learning().values(), lr=lr, weight_decay=WEIGHT_DECAY, fused=True)
        self.done = 0
        self.history: list[tuple[int, str, float]] = []
        self.checkpoint: Path | None = None
        self.inputs = ""

    @abstractmethod
    def learning(self) -> dict[str, nn.Parameter]:
        """The weights that learn; tied ones once."""

    @abstractmethod
    def gradient(self, x: np.ndarray, codes: np.ndarray) -> Tensor:
        """Add the gradient of the loss of a batch, inputs (B, ...) and SIDs (B, L); the mean loss of each level (L,)."""

    @property
    def overdue(self) -> bool:
        """It is time for a checkpoint."""
        return self.done % CHECKPOINT_EVERY == 0

    def run(self, progress: Progress) -> None:
        """All steps that are left."""
        total = sum(stage.steps for stage in self.stages)
        self.resume()
        progress(self.done, total)
        before = 0
        for number, stage in enumerate(self.stages):
            for step in range(max(self.done - before, 0), stage.steps):
                x, codes = draw(self.stages, number, step, self.config, seed=self.seed)
                self.step(stage.name, x, codes, self.lr * schedule(step, stage.steps))
                if self.overdue or self.done == total:
                    self.save()
                progress(self.done, total)
            before += stage.steps

    def step(self, stage: str, x: np.ndarray, codes: np.ndarray, lr: float) -> None:
        """One update on a batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        losses = self.gradient(x, codes)
        self.clip()
        self.optimizer.step()
        self.done += 1
        if self.done == 1 or self.done % self.report_every == 0:
            values = losses.tolist()
            self.history.append((self.done, f"{stage}.loss", sum(values)))
            self.history.extend((self.done, f"{stage}.loss_{i}", value) for i, value in enumerate(values, start=1))
            self.history.append((self.done, "lr", lr))

    def clip(self) -> None:
        """Bound the gradient's norm."""
        clip_grad_norm_(self.learning().values(), CLIP_NORM)

    def table(self) -> DataFrame:
        """`GeneratorFit.history`."""
        return DataFrame(self.history, columns=["step", "name", "value"])

    def keep(self, checkpoint: Path | None, inputs: str) -> None:
        """Keep the state in that file, under the name of what the training depends on."""
        self.checkpoint, self.inputs = checkpoint, inputs

    def save(self) -> None:
        """Write the checkpoint, if one is wanted."""
        if self.checkpoint is not None:
            state = {
                "done": self.done,
                "weights": {name: weight.detach() for name, weight in self.learning().items()},
                "optimizer": self.optimizer.state_dict(),
                "history": self.history,
            }
            write_checkpoint(self.checkpoint, self.inputs, state)

    def resume(self) -> None:
        """Take up the checkpoint where it belongs to this training."""
        state = None if self.checkpoint is None else read_checkpoint(self.checkpoint, self.inputs)
        if state is None:
            return
        with torch.no_grad():
            for name, weight in self.learning().items():
                weight.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done = state["done"]
        self.history = [tuple(row) for row in state["history"]]


class _CompactTraining(Training):
    def __init__(self, model: CompactGenerator, stages: list[Stage], config: GeneratorConfig, seed: int) -> None:
        self.model = model
        super().__init__(stages, config, seed, config.lr)

    def learning(self) -> dict[str, nn.Parameter]:
        return dict(self.model.named_parameters())

    def gradient(self, x: np.ndarray, codes: np.ndarray) -> Tensor:
        device = self.model.device
        target = torch.from_numpy(codes).to(device)
        logits = self.model(torch.from_numpy(x).to(device), target)
        smoothing = self.config.label_smoothing
        losses = torch.stack(
            [F.cross_entropy(level, target[:, i], label_smoothing=smoothing) for i, level in enumerate(logits)]
        )
        losses.sum().backward()
        return losses.detach()


def inputs_of(stages: list[Stage], *settings: object, arrays: Iterable[np.ndarray] = ()) -> str:
    """Names a training, for its checkpoint, by its data, `settings` and other `arrays`."""
    data = [array for stage in stages for array in (stage.x, stage.codes, stage.first, stage.cumulative)]
    return name_of_inputs(("v2", *settings), [*data, *arrays])
