"""TIGER's tokenizer: an unsupervised residual-quantized autoencoder (Rajput et al. 2023, arXiv 2305.05065, 3.1).

Encoder MLP -> residual codebooks -> decoder MLP; loss = reconstruction + 0.25 x commitment, both as
`engine.quantizers.losses` reduces them. The codebooks are the ones DSIRM uses: moving averages in place of the
codebook loss (equal in what they tend to), k-means of the whole catalogue's latents in place of one batch's, restarts
of dead codes. Items alone train it: no queries, no categories.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from torch import nn

from engine.checkpoint import EVERY, name_of_inputs, read_checkpoint, write_checkpoint
from engine.config import QuantizerConfig
from engine.progress import Progress, silent
from engine.quantizers import storage
from engine.quantizers.contrastive import schedule
from engine.quantizers.history import Row, use_of_codes, use_of_levels
from engine.quantizers.losses import commitment, reconstruction, rotate, straight_through
from engine.quantizers.protocol import Quantized
from engine.quantizers.residual import ResidualCodebooks

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
_LOG_EVERY = 10
_CHUNK = 8192
_VERSION = 1
"""Raise it when a checkpoint of this code could not be continued by the next."""


class RqVae(storage.StoredModule):
    """Encoder and decoder MLPs (ReLU, widths in geometric steps) around residual codebooks.

    No level belongs to categories.
    """

    forced_level = False

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

    def project(self, x: np.ndarray) -> torch.Tensor:
        """Latents (N, d) of embeddings (N, D), without gradient."""
        with torch.inference_mode():
            parts = [self.encoder(torch.from_numpy(x[at : at + _CHUNK])) for at in range(0, len(x), _CHUNK)]
        # Out of inference mode: the codebooks keep views of these rows.
        return torch.cat(parts).clone() if parts else torch.empty(0, self.dim)

    def encode_items(self, x: np.ndarray, category_code: np.ndarray | None) -> Quantized:
        """Quantizes item embeddings (N, D): nearest code at every level; `category_code` is not looked at."""
        return self.encode_queries(x)

    def encode_queries(self, x: np.ndarray) -> Quantized:
        """Quantizes query embeddings (N, D): nearest code at every level."""
        return self.codebooks.encode(self.project(np.ascontiguousarray(x, dtype=np.float32)))

    def save(self, path: Path) -> None:
        """Writes weights and settings into the folder `path`."""
        settings = {"in_dim": self.in_dim, "dim": self.dim, "sizes": list(self.sizes)}
        storage.write(path, KIND, settings, self.tensors())


def load_rqvae(path: Path) -> RqVae:
    """The quantizer that `RqVae.save` wrote. Raises ModelError when it is missing or damaged."""
    try:
        settings, tensors = storage.read(path, KIND)
        quantizer = RqVae(settings["in_dim"], settings["dim"], tuple(settings["sizes"]))
        quantizer.load_tensors(tensors)
    except storage.UNREADABLE as error:
        raise storage.unreadable(path, KIND, error) from error
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
    done = training.resume(checkpoint) if checkpoint is not None else 0
    for step in range(done, training.steps):
        training.step(step)
        progress(step + 1, training.steps)
        if checkpoint is not None and (step + 1) % EVERY == 0:
            training.save(checkpoint, step + 1)
    training.finish()
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return training.model, training.history


class _Training:
    """The state of one training: model, optimizer, counts since the last restart, history."""

    def __init__(self, item_x: np.ndarray, config: QuantizerConfig, sizes: tuple[int, ...], seed: int) -> None:
        self.config = config
        self.seed = seed
        self.item_x = np.ascontiguousarray(item_x, dtype=np.float32)
        self.model = RqVae(item_x.shape[1], config.dim, sizes, seed=seed)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LR)
        self.steps = STEPS * config.steps
        self.plain_steps = round(_PLAIN_SHARE * self.steps)
        self.hits = [torch.zeros(size, dtype=torch.int64) for size in sizes]
        self.history: list[Row] = []

    def step(self, step: int) -> None:
        """One optimizer step, then the codebooks' averages and, when due, restarts."""
        config, model = self.config, self.model
        if step == self.plain_steps:
            model.codebooks.fit(model.project(self.item_x), None, seed=self.seed)
        rng = np.random.default_rng((self.seed, step))
        x = torch.from_numpy(self.item_x[rng.integers(len(self.item_x), size=config.batch)])
        latent = model.encoder(x)
        terms = {}
        result = None
        if step < self.plain_steps:
            terms["reconstruction"] = reconstruction(model.decoder(latent), x)
            loss = terms["reconstruction"]
        else:
            result = model.codebooks.quantize(latent)
            estimate = (rotate if config.rotation_trick else straight_through)(latent, result.quantized)
            terms["reconstruction"] = reconstruction(model.decoder(estimate), x)
            terms["commitment"] = commitment(result)
            loss = terms["reconstruction"] + COMMITMENT * terms["commitment"]
        for group in self.optimizer.param_groups:
            group["lr"] = LR * schedule(step, self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if (step + 1) % _LOG_EVERY == 0 or step + 1 == self.steps:
            self.history += [(step + 1, name, value.item()) for name, value in {"loss": loss, **terms}.items()]
        if result is None:
            return
        model.codebooks.update(result, config.ema_decay)
        for level, hits in enumerate(self.hits):
            hits += torch.bincount(result.codes[:, level], minlength=len(hits))
        if (step + 1) % (STEPS * config.restart_every) == 0 and step + 1 < self.steps:
            for level, hits in enumerate(self.hits):
                self.history += use_of_codes(step + 1, level, hits.numpy())
                moved = model.codebooks.restart(level, hits == 0, result.residuals[level].detach(), rng)
                self.history.append((step + 1, f"restarts_{level + 1}", float(moved)))
                hits.zero_()

    def finish(self) -> None:
        """Fits the codebooks to the final latents of the whole catalogue, as DSIRM's are, and closes the history."""
        model = self.model.eval()
        warm = self.steps > self.plain_steps
        model.codebooks.fit(model.project(self.item_x), None, seed=self.seed, warm=warm)
        self.history += use_of_levels(self.steps, model.encode_items(self.item_x, None).codes, model.sizes)

    def save(self, path: Path, steps_done: int) -> None:
        """Writes the whole state to `path`, replacing it at once."""
        state = {
            "steps_done": steps_done,
            "model": self.model.tensors(),
            "optimizer": self.optimizer.state_dict(),
            "hits": self.hits,
            "history": self.history,
        }
        write_checkpoint(path, self._inputs(), state)

    def resume(self, path: Path) -> int:
        """Takes up the state in `path`; the steps it had done, 0 when there is none of these inputs."""
        state = read_checkpoint(path, self._inputs())
        if state is None:
            return 0
        self.model.load_tensors(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.hits = state["hits"]
        self.history = state["history"]
        return int(state["steps_done"])

    def _inputs(self) -> str:
        return name_of_inputs((KIND, _VERSION, self.config, self.model.sizes, self.seed), [self.item_x])


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
