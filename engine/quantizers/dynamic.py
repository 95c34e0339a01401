"""Dynamic encoding: the text encoder's last layer learns along with the quantizer (an ablation; METHOD, section 1).

For `config.dynamic_steps` steps the last transformer layer, through its pooling, and DSIRM's projections learn from
the contrastive quantizer loss together. Items and queries are then encoded again, and the quantizer is trained on the
new vectors as it is on frozen ones. The layers below stay frozen; what they make of each text is computed once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch

from engine.config import QuantizerConfig
from engine.progress import Progress, silent
from engine.quantizers.contrastive import ContrastiveTraining
from engine.quantizers.history import Row
from engine.quantizers.sampling import TrainingSet

LAYER_LR = 5e-5
"""Learning rate of the encoder's layer, as is usual in fine-tuning (Devlin et al. 2019, appendix A.3)."""
STEP_COST = 20
"""What a step costs, in steps of the frozen kind (measured: .65 s to .027 s at 6k items)."""
EVERY = 20
"""Steps between checkpoints."""
PREFIX = "dynamic_"
"""Of the names in the history, lest they mix with those of the frozen training that follows."""
_CHUNK = 512


class TokenStates(Protocol):
    """What the trainable layer reads of N texts."""

    @property
    def hidden(self) -> np.ndarray:
        """(T, W) states of all tokens one after the other; may be mapped from disk."""

    @property
    def first(self) -> np.ndarray:
        """(U + 1,) int64: distinct text u owns the tokens first[u] .. first[u + 1] - 1."""

    @property
    def row(self) -> np.ndarray:
        """(N,) int64: the distinct text of each text."""


class TrainableTop(Protocol):
    """A text encoder cut below its last layer."""

    def states(self, texts: Sequence[str], progress: Progress = silent) -> TokenStates:
        """What the frozen layers make of `texts`."""

    def weights(self) -> dict[str, torch.Tensor]:
        """Copies of the last layer's published weights."""

    def embed(self, weights: dict[str, torch.Tensor], hidden: torch.Tensor, first: np.ndarray) -> torch.Tensor:
        """Unit vectors (B, D), with gradient, of the token states (T, W) of B texts under these weights."""


class Texts(NamedTuple):
    """The raw texts, and the encoder whose last layer is to learn."""

    items: Sequence[str]  # (N,) what the item embeddings are of.
    queries: Sequence[str]  # (Q,) what the query embeddings are of.
    encoder: TrainableTop


class Reencoded(NamedTuple):
    """Items and queries under the trained last layer."""

    item_x: np.ndarray  # (N, D) float32, unit vectors.
    query_x: np.ndarray  # (Q, D) float32, unit vectors.
    history: list[Row]  # dynamic_loss, dynamic_contrastive, dynamic_commitment, dynamic_reconstruction.


def train_encoder(
    data: TrainingSet,
    config: QuantizerConfig,
    sizes: tuple[int, ...],
    texts: Texts,
    *,
    seed: int,
    progress: Progress = silent,
    checkpoint: Path | None = None,
) -> Reencoded:
    """Trains the last layer for `config.dynamic_steps` steps and encodes all texts again.

    `data` holds the frozen embeddings of `texts`: projections and codebooks start from
    them, and they stay what is reconstructed, which keeps the encoder from forgetting. A step sees half of
    `config.batch` pairs and as many items. A killed training resumes from `checkpoint`, which is kept: the caller
    removes it once the quantizer itself is trained.
    """
    short = dataclasses.replace(config, steps=config.dynamic_steps, batch=max(2, config.batch // 2))
    states = texts.encoder.states([*texts.items, *texts.queries], lambda done, total: progress(0, short.steps))
    training = _Training(data, short, sizes, seed, texts.encoder, states)
    training.run(progress, checkpoint)
    if checkpoint is not None:
        training.save(checkpoint, short.steps)
    vectors = training.encode_all()
    history = [(step, f"{PREFIX}{name}", value) for step, name, value in training.history]
    return Reencoded(vectors[: len(data.item_x)], vectors[len(data.item_x) :], history)


class _Training(ContrastiveTraining):
    """DSIRM's training with embeddings that learn: the states of items come first, those of queries follow."""

    checkpoint_every = EVERY

    def __init__(
        self,
        data: TrainingSet,
        config: QuantizerConfig,
        sizes: tuple[int, ...],
        seed: int,
        encoder: TrainableTop,
        states: TokenStates,
    ) -> None:
        super().__init__(data, config, sizes, seed)
        self.encoder, self.states = encoder, states
        self.weights = {name: w.requires_grad_() for name, w in encoder.weights().items()}
        self.learn({config.lr: list(self.model.parameters()), LAYER_LR: list(self.weights.values())})

    def items(self, rows: np.ndarray) -> torch.Tensor:
        """Embeddings (B, D) of these items under the layer as it is."""
        return self._embed(self.states.row[rows])

    def queries(self, rows: np.ndarray) -> torch.Tensor:
        """Embeddings (B, D) of these queries under the layer as it is."""
        return self._embed(self.states.row[len(self.item_x) + rows])

    def encode_all(self) -> np.ndarray:
        """Unit vectors (N + Q, D) of all texts; equal texts get equal rows."""
        n_distinct = len(self.states.first) - 1
        # Chunks of like length waste no attention on padding.
        order = np.argsort(np.diff(self.states.first), kind="stable")
        vectors = np.empty((n_distinct, self.item_x.shape[1]), dtype=np.float32)
        with torch.inference_mode():
            for at in range(0, n_distinct, _CHUNK):
                chunk = order[at : at + _CHUNK]
                vectors[chunk] = self._embed(chunk).numpy()
        return vectors[self.states.row]

    def tensors(self) -> dict[str, torch.Tensor]:
        return {**super().tensors(), **{f"layer.{name}": w.detach() for name, w in self.weights.items()}}

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        super().load_tensors({name: t for name, t in tensors.items() if not name.startswith("layer.")})
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(tensors[f"layer.{name}"])

    def inputs(self) -> tuple[object, list[np.ndarray]]:
        settings, arrays = super().inputs()
        layer = [w.detach().numpy() for w in self.encoder.weights().values()]
        return settings, [*arrays, self.states.first, self.states.row, *layer]

    def _embed(self, distinct: np.ndarray) -> torch.Tensor:
        """Embeddings (B, D) of the distinct texts at these places (B,); each is computed once."""
        once, back = np.unique(distinct, return_inverse=True)
        low, high = self.states.first[once], self.states.first[once + 1]
        first = np.concatenate([[0], np.cumsum(high - low)])
        hidden = np.concatenate([self.states.hidden[a:b] for a, b in zip(low, high, strict=True)]).astype(np.float32)
        embedded = self.encoder.embed(self.weights, torch.from_numpy(hidden), first)
        return embedded[torch.from_numpy(back)]
