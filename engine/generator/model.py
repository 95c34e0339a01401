"""The compact generator: a small Qwen3 decoder that spells semantic identifiers, prompted by an embedding.

The prompt is a few soft tokens projected from the frozen text embedding of a query (or of a title); the vocabulary
is one token per (level, code), so position P + l of [soft_1 .. soft_P, c_1 .. c_{L-1}] (1-based) predicts c_{l+1},
over the codes of that level alone. The decoder itself is in `qwen3.py`.

Weights learn and are kept in float32. Decoding runs in float64: how queries are batched then moves a log-probability by
less than 1e-12, so that a stored answer and a live one are the same. Where the framework's overhead costs more than
the arithmetic, as for a single query, float64 costs next to nothing.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from engine.config import GeneratorConfig
from engine.errors import ModelError
from engine.generator.qwen3 import Architecture, Folded, Qwen3Decoder, States, extend, read
from engine.generator.trie import SidTrie
from engine.leftovers import replacing

INIT_STD = 0.02
"""Standard deviation of random weights, as in Qwen3."""


class _Decoding(NamedTuple):
    """The weights in float64, as decoding needs them."""

    prefix: nn.Linear
    folded: Folded


class CompactGenerator(nn.Module):
    """p(SID | embedding), level by level. `eval()` folds the weights in float64 and readies `prefill` and `step`."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.prefix = nn.Linear(architecture.query_dim, architecture.prefix_tokens * architecture.hidden)
        self.model = Qwen3Decoder(architecture)
        self._decoding: _Decoding | None = None

    @staticmethod
    def initialise(sizes: Sequence[int], query_dim: int, config: GeneratorConfig, *, seed: int) -> CompactGenerator:
        """A generator with random weights drawn from `seed` alone, for embeddings of width `query_dim`."""
        model = CompactGenerator(
            Architecture(
                sizes=tuple(int(size) for size in sizes),
                query_dim=query_dim,
                hidden=config.hidden,
                layers=config.layers,
                heads=config.heads,
                prefix_tokens=config.prefix_tokens,
            )
        )
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim == 2:
                    parameter.normal_(0.0, INIT_STD, generator=generator)
                else:
                    parameter.fill_(0.0 if name.endswith("bias") else 1.0)
        return model

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        return self.architecture.sizes

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.prefix.weight.device

    def train(self, mode: bool = True) -> CompactGenerator:
        """Training mode, or (`mode=False`) the weights that decoding needs."""
        super().train(mode)
        self._decoding = None
        if not mode:
            with torch.no_grad():
                self._decoding = _Decoding(
                    copy.deepcopy(self.prefix).double(), copy.deepcopy(self.model).double().fold()
                )
        return self

    def forward(self, query_x: Tensor, codes: Tensor) -> list[Tensor]:
        """Teacher-forced logits, L tensors (B, K_l), from embeddings (B, D) and codes (B, L); the last is unread."""
        a = self.architecture
        folded = self.model.fold()
        offsets = torch.tensor(a.offsets[: a.levels - 1], dtype=torch.int64, device=codes.device)
        spelled = F.embedding(codes[:, :-1] + offsets, folded.embedding)
        hidden = torch.cat([self._soft_tokens(self.prefix, query_x), spelled], dim=1)
        states = read(a, folded, hidden, outputs=a.levels)
        return [F.linear(states.hidden[:, level], head) for level, head in enumerate(folded.heads)]

    @torch.inference_mode()
    def prefill(self, queries: np.ndarray) -> tuple[np.ndarray, States]:
        """Logits (Q, K_1) float64 for level 1 and the cache, from query embeddings (Q, D)."""
        prefix, folded = self._ready()
        hidden = self._soft_tokens(prefix, torch.as_tensor(queries, dtype=torch.float64, device=self.device))
        states = read(self.architecture, folded, hidden, outputs=1)
        return F.linear(states.hidden[:, 0], folded.heads[0]).cpu().numpy(), states

    @torch.inference_mode()
    def step(self, cache: States, codes: np.ndarray, parents: np.ndarray) -> tuple[np.ndarray, States]:
        """Logits (Q, W, K_next) float64 after each beam's newest code, and the cache of one step more.

        Args:
            cache: from `prefill` or an earlier step; left as it is.
            codes: (Q, W) int64, the beams' codes at the next level.
            parents: (Q, W) int64, the row of the previous step that each beam extends; 0 after `prefill`.
        """
        folded = self._ready().folded
        level = cache.paths[0].shape[3]
        tokens = torch.as_tensor(codes, device=self.device) + self.architecture.offsets[level]
        hidden = F.embedding(tokens, folded.embedding)
        states = extend(self.architecture, folded, hidden, cache, torch.as_tensor(parents, device=self.device))
        return F.linear(states.hidden, folded.heads[level + 1]).cpu().numpy(), states

    def save(self, path: Path, trie_fingerprint: str) -> None:
        """Write the weights as safetensors, with the architecture and the trie they belong to as metadata."""
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        metadata = {"architecture": json.dumps(asdict(self.architecture)), "trie_fingerprint": trie_fingerprint}
        with replacing(path) as writing:
            save_file(state, writing, metadata=metadata)

    def _soft_tokens(self, prefix: nn.Linear, query_x: Tensor) -> Tensor:
        return prefix(query_x).view(len(query_x), self.architecture.prefix_tokens, self.architecture.hidden)

    def _ready(self) -> _Decoding:
        assert self._decoding is not None, "call eval() before decoding"
        return self._decoding


def load_generator(path: Path, trie: SidTrie) -> CompactGenerator:
    """The generator saved at `path`, ready to decode.

    Raises ModelError when the file is missing or damaged, or was trained for SIDs other than those of `trie`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        trained_for = metadata["trie_fingerprint"]
        fields = json.loads(metadata["architecture"])
        model = CompactGenerator(Architecture(**fields | {"sizes": tuple(fields["sizes"])}))
        model.load_state_dict(state)
    except FileNotFoundError as error:
        raise ModelError(f"no generator at {path}; train the run again") from error
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} is damaged or not a generator ({error}); train the run again") from error
    if trained_for != trie.fingerprint:
        raise ModelError(
            f"{path} was trained for other SIDs: trie {trained_for[:12]}, the run's is {trie.fingerprint[:12]}; "
            "train the run again"
        )
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
