"""Training of DSIRM's quantizer: queries bridge items that words keep apart (METHOD, section 1).

Loss = contrastive_weight * InfoNCE(quantized queries, quantized items) + commitment_weight * commitment (both sides)
+ reconstruction_weight * reconstruction (items); `engine.quantizers.losses` states each reduction. Every step sees
`batch` query-item pairs, drawn by interaction strength, and `batch` items drawn evenly from the whole catalogue: the
latter give commitment and reconstruction to items without queries, and alone move the codebooks, so that a code
serves the catalogue and not its popular part.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from engine.checkpoint import EVERY, name_of_inputs, read_checkpoint, write_checkpoint
from engine.config import QuantizerConfig
from engine.progress import Progress, silent
from engine.quantizers.history import Row, table, use_of_codes, use_of_levels
from engine.quantizers.losses import commitment, info_nce, reconstruction, rotate, straight_through
from engine.quantizers.model import ContrastiveQuantizer, load_contrastive
from engine.quantizers.residual import Residuals
from engine.quantizers.sampling import PairSampler

__all__ = ["ContrastiveQuantizer", "QuantizerFit", "load_contrastive", "train_contrastive"]

_LOG_EVERY = 10
_WARM_UP = 20
_FINAL_LR = 0.1
_WEIGHT_DECAY = 0.01
_VERSION = 2
"""Raise it when a checkpoint of this code could not be continued by the next."""


class QuantizerFit(NamedTuple):
    """A trained quantizer and how it went."""

    quantizer: ContrastiveQuantizer
    history: pd.DataFrame
    """step, name, value: loss, contrastive, commitment, reconstruction; per level usage_<l>, perplexity_<l> (share of
    codes used, and 2**entropy, over items drawn since the row before; the last step: over the whole catalogue) and
    restarts_<l>."""


def train_contrastive(
    item_x: np.ndarray,
    query_x: np.ndarray,
    pair_query: np.ndarray,
    pair_item: np.ndarray,
    pair_weight: np.ndarray,
    category_code: np.ndarray | None,
    config: QuantizerConfig,
    sizes: tuple[int, ...],
    *,
    seed: int,
    progress: Progress = silent,
    checkpoint: Path | None = None,
) -> QuantizerFit:
    """Trains projections and codebooks on items (N, D), queries (Q, D) and pairs (P,) of positions with weights.

    `category_code` (N,) int64 forces level 1 (-1: nearest code); None, or no code at all, makes level 1 k-means cells.
    With `checkpoint`, the whole state is written there every 100 steps; a later call with equal arguments goes on
    from it and ends bitwise equal to an uninterrupted one. The file is removed at the end.
    """
    training = Training(item_x, query_x, pair_query, pair_item, pair_weight, category_code, config, sizes, seed)
    training.run(progress, checkpoint, every=EVERY)
    fit = training.finish()
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return fit


class Training:
    """The state of one training: model, optimizer, counts since the last restart, history.

    Random draws are functions of (seed, step), so the sampler's state is the number of steps done.
    """

    def __init__(
        self,
        item_x: np.ndarray,
        query_x: np.ndarray,
        pair_query: np.ndarray,
        pair_item: np.ndarray,
        pair_weight: np.ndarray,
        category_code: np.ndarray | None,
        config: QuantizerConfig,
        sizes: tuple[int, ...],
        seed: int,
    ) -> None:
        assert len(pair_query) == len(pair_item) == len(pair_weight)
        self.config = config
        self.seed = seed
        self.item_x = np.ascontiguousarray(item_x, dtype=np.float32)
        self.query_x = np.ascontiguousarray(query_x, dtype=np.float32)
        self.pairs = PairSampler(pair_query, pair_item, pair_weight, n_items=len(item_x))
        known = config.category_level and category_code is not None and bool((category_code >= 0).any())
        self.forced = torch.from_numpy(category_code.astype(np.int64)) if known and category_code is not None else None
        assert self.forced is None or int(self.forced.max()) < sizes[0], "a category code is beyond level 1's size"
        self.model = ContrastiveQuantizer(item_x.shape[1], config.dim, sizes, forced_level=known)
        self.optimizer = self.optimizer_of({config.lr: list(self.model.parameters())})
        self.hits = [torch.zeros(size, dtype=torch.int64) for size in sizes]
        self.history: list[Row] = []

    @staticmethod
    def optimizer_of(weights: dict[float, list[torch.Tensor]]) -> torch.optim.AdamW:
        """AdamW over weights by their highest learning rate."""
        groups = [{"params": params, "lr": lr, "highest_lr": lr} for lr, params in weights.items()]
        return torch.optim.AdamW(groups, weight_decay=_WEIGHT_DECAY)

    def items(self, rows: np.ndarray) -> torch.Tensor:
        """Embeddings (B, D) of these items."""
        return torch.from_numpy(self.item_x[rows])

    def queries(self, rows: np.ndarray) -> torch.Tensor:
        """Embeddings (B, D) of these queries."""
        return torch.from_numpy(self.query_x[rows])

    def run(self, progress: Progress, checkpoint: Path | None, *, every: int) -> None:
        """All steps, from where `checkpoint` stopped, with a checkpoint each `every` steps."""
        done = self.resume(checkpoint) if checkpoint is not None else 0
        for step in range(done, self.config.steps):
            self.step(step)
            progress(step + 1, self.config.steps)
            if checkpoint is not None and (step + 1) % every == 0:
                self.save(checkpoint, step + 1)

    def step(self, step: int) -> None:
        """One optimizer step, then the codebooks' averages and, when due, restarts."""
        if step == 0:
            self.model.start(self.item_x, self.forced, seed=self.seed)
        config, model = self.config, self.model
        rng = np.random.default_rng((self.seed, step))
        query, item = self.pairs.draw(config.batch, rng)
        n_pairs = len(item)
        rows = np.concatenate([item, rng.integers(len(self.item_x), size=config.batch)])
        latent = model.item(self.items(rows))
        result = model.codebooks.quantize(latent, None if self.forced is None else self.forced[rows])
        estimate = self._estimate(latent, result)
        catalogue = result.rows(slice(n_pairs, None))
        commitments = [commitment(catalogue)]
        contrastive = torch.zeros(())
        if n_pairs:
            query_latent = model.query(self.queries(query))
            query_result = model.codebooks.quantize(query_latent)
            commitments += [commitment(result.rows(slice(n_pairs))), commitment(query_result)]
            known = torch.from_numpy(self.pairs.known(query, item))
            contrastive = info_nce(self._estimate(query_latent, query_result), estimate[:n_pairs], known, config.tau)
        terms = {
            "contrastive": contrastive,
            "commitment": torch.stack(commitments).mean(),
            "reconstruction": reconstruction(model.decoder(estimate), torch.from_numpy(self.item_x[rows])),
        }
        loss = torch.stack([getattr(config, f"{name}_weight") * value for name, value in terms.items()]).sum()
        for group in self.optimizer.param_groups:
            group["lr"] = group["highest_lr"] * schedule(step, config.steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        model.codebooks.update(catalogue, config.ema_decay)
        for level, hits in enumerate(self.hits):
            hits += torch.bincount(catalogue.codes[:, level], minlength=len(hits))
        if (step + 1) % _LOG_EVERY == 0 or step + 1 == config.steps:
            self.history += [(step + 1, name, value.item()) for name, value in {"loss": loss, **terms}.items()]
        if (step + 1) % config.restart_every == 0 and step + 1 < config.steps:
            self._restart(step + 1, catalogue, rng)

    def finish(self) -> QuantizerFit:
        """Fits the codebooks to the final latents of the whole catalogue and closes the history.

        Projections still move in the last steps while the averages lag. k-means from the present vectors gives each
        code its final members (measured on held-out queries: hit@5 at level 2 .67 without it, .75 with it), and
        balancing it raised perplexity / K at levels 2 and 3 from .71 to .80-.91.
        """
        if self.config.steps == 0:
            self.model.start(self.item_x, self.forced, seed=self.seed)
        model = self.model.eval()
        model.codebooks.fit(model.project(model.item, self.item_x), self.forced, seed=self.seed, warm=True)
        codes = model.encode_items(self.item_x, None if self.forced is None else self.forced.numpy()).codes
        self.history += use_of_levels(self.config.steps, codes, model.sizes)
        return QuantizerFit(model, table(self.history))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything that learns, by name."""
        return self.model.tensors()

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """The inverse of `tensors`."""
        self.model.load_tensors(tensors)

    def save(self, path: Path, steps_done: int) -> None:
        """Writes the whole state to `path`, replacing it at once."""
        state = {
            "steps_done": steps_done,
            "tensors": self.tensors(),
            "optimizer": self.optimizer.state_dict(),
            "hits": self.hits,
            "history": self.history,
        }
        write_checkpoint(path, self.inputs(), state)

    def resume(self, path: Path) -> int:
        """Takes up the state in `path`; the steps it had done, 0 when there is none of these inputs."""
        state = read_checkpoint(path, self.inputs())
        if state is None:
            return 0
        self.load_tensors(state["tensors"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.hits = state["hits"]
        self.history = state["history"]
        return int(state["steps_done"])

    def inputs(self) -> str:
        """Names everything this training depends on."""
        forced = [] if self.forced is None else [self.forced.numpy()]
        settings = (type(self).__name__, _VERSION, self.config, self.model.sizes, self.seed)
        return name_of_inputs(settings, [self.item_x, self.query_x, *self.pairs.arrays(), *forced])

    def _estimate(self, latent: torch.Tensor, result: Residuals) -> torch.Tensor:
        estimator = rotate if self.config.rotation_trick else straight_through
        return estimator(latent, result.quantized)

    def _restart(self, steps_done: int, catalogue: Residuals, rng: np.random.Generator) -> None:
        """Logs the use of every code since the last restart, and moves those never drawn onto badly served items."""
        for level, hits in enumerate(self.hits):
            self.history += use_of_codes(steps_done, level, hits.numpy())
            if level > 0 or self.forced is None:
                moved = self.model.codebooks.restart(level, hits == 0, catalogue.residuals[level].detach(), rng)
                self.history.append((steps_done, f"restarts_{level + 1}", float(moved)))
            hits.zero_()


def schedule(step: int, steps: int) -> float:
    """Share of the learning rate: linear warm-up, then a cosine down to a tenth."""
    warm = min(1.0, (step + 1) / _WARM_UP)
    return warm * (_FINAL_LR + (1 - _FINAL_LR) * 0.5 * (1 + math.cos(math.pi * step / steps)))
