"""TIGER's tokenizer: an unsupervised residual-quantized autoencoder (Rajput et al. 2023, arXiv 2305.05065, 3.1).

Encoder MLP -> residual codebooks -> decoder MLP; loss = reconstruction + 0.25 x commitment, both as
`engine.quantizers.losses` reduces them. The codebooks are the ones DSIRM uses: moving averages in place of the
codebook loss (equal in what they tend to), k-means of the whole catalogue's latents in place of one batch's, restarts
of dead codes. Items alone train it: no queries, no categories.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from engine.config import QuantizerConfig
from engine.progress import Progress, silent
from engine.quantizers import storage
from engine.quantizers.history import Row, use_of_levels
from engine.quantizers.losses import commitment, reconstruction, rotate, straight_through
from engine.quantizers.protocol import Quantized, Unsupervised
from engine.quantizers.residual import ResidualCodebooks
from engine.quantizers.training import Training

KIND = "rqvae"
COMMITMENT = 0.25
"""beta of the paper."""
STEPS = 2
"""Steps for each of `config.steps`: of `config.batch` items each, so that as many items are seen as by DSIRM. Measured
on 6k titles: squared reconstruction error .52 with as many steps of twice the items, .49 with twice the steps."""
LR = 2e-3
"""Learning rate at its highest; an MLP from random weights needs more than DSIRM's linear maps from principal axes.
Measured at equal steps: squared reconstruction error .577 with 3e-4, .538 with 1e-3, .523 with 3e-3, .543 with 1e-2."""
_HIDDEN_LAYERS = 2
_PLAIN_SHARE = 0.1
"""Of the steps, before the codebooks exist: k-means of what an untrained encoder says is soon out of date (measured:
squared reconstruction error .561 without, .538 with)."""


class RqVae(storage.StoredModule, Unsupervised):
    """Encoder and decoder MLPs (ReLU, widths in geometric steps) around residual codebooks."""

    def __init__(self, in_dim: int, dim: int, sizes: tuple[int, ...], *, seed: int = 0) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.dim = dim
        self.sizes = sizes
        widths = np.geomspace(in_dim, dim, _HIDDEN_LAYERS + 2).round().astype(int).tolist()
        generator = torch.Generator().manual_seed(seed)
        self.encoder = _mlp(widths, generator)
        self.decoder = _mlp(widths[::-1], generator)
        self.codebooks = ResidualCodebooks(sizes, dim)

    def encode_queries(self, x: np.ndarray) -> Quantized:
        """Quantizes query embeddings (N, D): nearest code at every level."""
        return self.codebooks.encode(self.project(self.encoder, np.ascontiguousarray(x, dtype=np.float32)))

    def save(self, path: Path) -> None:
        """Writes weights and settings into the folder `path`."""
        settings = {"in_dim": self.in_dim, "dim": self.dim, "sizes": list(self.sizes)}
        storage.write(path, KIND, settings, self.tensors())

    @staticmethod
    def restore(settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> RqVae:
        """The inverse of `save`, from what it wrote."""
        quantizer = RqVae(settings["in_dim"], settings["dim"], tuple(settings["sizes"]))
        quantizer.load_tensors(tensors)
        return quantizer.eval()


def train_rqvae(
    item_x: np.ndarray,
    config: QuantizerConfig,
    sizes: tuple[int, ...],
    *,
    seed: int,
    progress: Progress = silent,
    checkpoint: Path | None = None,
) -> tuple[RqVae, list[Row]]:
    """Trains on item embeddings (N, D); the model and its history rows.

    Of the config it reads dim, steps (see `STEPS`), batch, ema_decay, restart_every and rotation_trick. With
    `checkpoint`, a killed training resumes as `train_contrastive` does.
    """
    training = _Training(item_x, config, sizes, seed)
    training.run(progress, checkpoint)
    training.finish()
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return training.model, training.history


class _Training(Training):
    def __init__(self, item_x: np.ndarray, config: QuantizerConfig, sizes: tuple[int, ...], seed: int) -> None:
        self.item_x = np.ascontiguousarray(item_x, dtype=np.float32)
        self.model = RqVae(item_x.shape[1], config.dim, sizes, seed=seed)
        super().__init__(self.model, config, STEPS * config.steps, seed)
        self.restart_every = STEPS * config.restart_every
        self.plain_steps = round(_PLAIN_SHARE * self.steps)
        self.learn({LR: list(self.model.parameters())})

    def step(self, step: int) -> None:
        config, model = self.config, self.model
        if step == self.plain_steps:
            model.codebooks.fit(model.project(model.encoder, self.item_x), None, seed=self.seed)
        rng = np.random.default_rng((self.seed, step))
        x = torch.from_numpy(self.item_x[rng.integers(len(self.item_x), size=config.batch)])
        latent = model.encoder(x)
        if step < self.plain_steps:
            loss = reconstruction(model.decoder(latent), x)
            self.descend(step, loss, {"reconstruction": loss})
            return
        result = model.codebooks.quantize(latent)
        estimate = (rotate if config.rotation_trick else straight_through)(latent, result.quantized)
        terms = {"reconstruction": reconstruction(model.decoder(estimate), x), "commitment": commitment(result)}
        self.descend(step, terms["reconstruction"] + COMMITMENT * terms["commitment"], terms)
        self.follow(step, result, rng)

    def finish(self) -> None:
        """Fits the codebooks to the final latents of the whole catalogue, as DSIRM's are, and closes the history."""
        model = self.model.eval()
        warm = self.steps > self.plain_steps
        model.codebooks.fit(model.project(model.encoder, self.item_x), None, seed=self.seed, warm=warm)
        self.history += use_of_levels(self.steps, model.encode_items(self.item_x, None).codes, model.sizes)

    def inputs(self) -> tuple[object, list[np.ndarray]]:
        return KIND, [self.item_x]


def _mlp(widths: list[int], generator: torch.Generator) -> nn.Sequential:
    """Linear layers with ReLU between; weights drawn from `generator` (He et al. 2015), biases nil."""
    layers: list[nn.Module] = []
    for at, (wide, narrow) in enumerate(itertools.pairwise(widths)):
        linear = nn.Linear(wide, narrow)
        last = at == len(widths) - 2
        with torch.no_grad():
            linear.weight.normal_(0, ((1 if last else 2) / wide) ** 0.5, generator=generator)
            linear.bias.zero_()
        layers += [linear] if last else [linear, nn.ReLU()]
    return nn.Sequential(*layers)
