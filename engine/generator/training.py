"""Train the compact generator: titles -> SIDs first, then queries -> SIDs of the items they led to, titles among them.

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

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pandas import DataFrame
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from engine.checkpoint import name_of_inputs, read_checkpoint, write_checkpoint
from engine.config import GeneratorConfig
from engine.generator.examples import Stage, draw, schedule, stage_of
from engine.generator.full import FullGenerator
from engine.generator.model import CompactGenerator
from engine.progress import Progress, silent

CHECKPOINT_EVERY = 100
"""Steps between checkpoints."""
REPORT_EVERY = 20
"""Steps between history rows and between progress calls."""
WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0


class GeneratorFit(NamedTuple):
    """A trained generator."""

    model: CompactGenerator | FullGenerator
    """Ready to decode."""
    history: DataFrame
    """step, name, value: `alignment.loss`, `query.loss` (nats a SID, as trained: of the whole mixed batch and with
    smoothed labels), their levels `.loss_1` .., and `lr`."""


def train_generator(
    item_x: np.ndarray,
    item_codes: np.ndarray,
    query_x: np.ndarray,
    pair_query: np.ndarray,
    pair_item: np.ndarray,
    pair_weight: np.ndarray,
    sizes: tuple[int, ...],
    config: GeneratorConfig,
    *,
    seed: int,
    progress: Progress = silent,
    checkpoint: Path | None = None,
) -> GeneratorFit:
    """Train a generator from scratch, or from `checkpoint` where that file holds a part of this very training.

    Args:
        item_x: (N, D) float32 frozen embeddings of item titles.
        item_codes: (N, L) int64 SIDs.
        query_x: (Q, D) float32 frozen embeddings of queries.
        pair_query: (P,) int64 query of each interaction; may be empty (titles alone then).
        pair_item: (P,) int64 its item.
        pair_weight: (P,) float32 its strength; pairs of strength 0 are left out.
        sizes: codes per level.
        config: shapes, epochs and learning rate.
        seed: fixes weights, order and draws.
        progress: called as (done, total) in steps; an exception it raises ends the training, resumable.
        checkpoint: file written every 100 steps and at the end; one of other inputs or settings is ignored.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    items = np.arange(len(item_x))
    every = np.ones(len(items), dtype=np.float32)
    stages = [
        stage_of("alignment", item_x, item_codes, (items, items, every), config.alignment_epochs, config.batch),
        stage_of("query", query_x, item_codes, (pair_query, pair_item, pair_weight), config.query_epochs, config.batch),
    ]
    total = sum(stage.steps for stage in stages)
    model = CompactGenerator.initialise(sizes, item_x.shape[1], config, seed=seed).to(device).train()
    training = _Training(model, config, checkpoint, inputs_of(stages, sizes, config, seed))
    done = training.resume()
    progress(done, total)
    before = 0
    for number, stage in enumerate(stages):
        for step in range(max(done - before, 0), stage.steps):
            x, codes = draw(stages, number, step, config, seed=seed)
            lr = config.lr * schedule(step, stage.steps)
            training.step(stage.name, torch.from_numpy(x).to(device), torch.from_numpy(codes).to(device), lr)
            done += 1
            if done % CHECKPOINT_EVERY == 0 or done == total:
                training.save()
            if done % REPORT_EVERY == 0 or done == total:
                progress(done, total)
        before += stage.steps
    return GeneratorFit(model.eval(), DataFrame(training.history, columns=["step", "name", "value"]))


class _Training:
    """Model, optimizer and history between steps, and their checkpoint."""

    def __init__(self, model: CompactGenerator, config: GeneratorConfig, checkpoint: Path | None, inputs: str) -> None:
        self.model = model
        self.label_smoothing = config.label_smoothing
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=WEIGHT_DECAY, fused=True)
        self.checkpoint = checkpoint
        self.inputs = inputs
        self.done = 0
        self.history: list[tuple[int, str, float]] = []

    def step(self, stage: str, x: Tensor, codes: Tensor, lr: float) -> None:
        """One update on a batch of embeddings (B, D) and SIDs (B, L)."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        logits = self.model(x, codes)
        smoothing = self.label_smoothing
        losses = torch.stack(
            [F.cross_entropy(level, codes[:, i], label_smoothing=smoothing) for i, level in enumerate(logits)]
        )
        self.optimizer.zero_grad()
        losses.sum().backward()
        clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self.optimizer.step()
        self.done += 1
        if self.done == 1 or self.done % REPORT_EVERY == 0:
            values = losses.detach().tolist()
            self.history.append((self.done, f"{stage}.loss", sum(values)))
            self.history.extend((self.done, f"{stage}.loss_{i}", value) for i, value in enumerate(values, start=1))
            self.history.append((self.done, "lr", lr))

    def save(self) -> None:
        """Write the checkpoint, if one is wanted."""
        if self.checkpoint is None:
            return
        state = {
            "done": self.done,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
        }
        write_checkpoint(self.checkpoint, self.inputs, state)

    def resume(self) -> int:
        """Take up the checkpoint where it belongs to this training; the steps already done."""
        state = None if self.checkpoint is None else read_checkpoint(self.checkpoint, self.inputs)
        if state is None:
            return 0
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done = state["done"]
        self.history = [tuple(row) for row in state["history"]]
        return self.done


def inputs_of(stages: list[Stage], *settings: object, arrays: Iterable[np.ndarray] = ()) -> str:
    """Names a training, for its checkpoint, by its data, `settings` and other `arrays`."""
    data = [array for stage in stages for array in (stage.x, stage.codes, stage.first, stage.cumulative)]
    return name_of_inputs(settings, [*data, *arrays])
