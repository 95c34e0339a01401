"""A Qwen3 decoder for sequences of a few positions: its parameters, and one lean forward pass over them.

Qwen3 is RMSNorm, rotary positions, per-head query and key norms, grouped-query attention, SwiGLU and tied
embeddings (Yang et al. 2025, arXiv 2505.09388). Parameters bear the names that `transformers` gives them, so a
state dict fits both, and the tests hold the two to the same logits. The forward pass is ours because a framework's
overhead costs more than the arithmetic here: one function serves training, the prompt and every beam step, with
norm weights folded into the matrices that follow them, and any mask over shared keys and values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-6
ROPE_THETA = 10_000.0


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What fixes the shapes of a compact generator."""

    sizes: tuple[int, ...]
    """Codes per level; the vocabulary is one token per (level, code)."""
    query_dim: int
    """D of the frozen embedding."""
    hidden: int
    layers: int
    heads: int
    prefix_tokens: int
    """Soft tokens P."""

    @property
    def levels(self) -> int:
        """L."""
        return len(self.sizes)

    @property
    def positions(self) -> int:
        """Positions of the longest sequence: P soft tokens and all codes but the last."""
        return self.prefix_tokens + self.levels - 1

    @property
    def kv_heads(self) -> int:
        """Key and value heads: half the query heads, as in Qwen3-0.6B, where that is whole."""
        return self.heads // 2 if self.heads % 2 == 0 else self.heads

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.hidden // self.heads

    @property
    def intermediate(self) -> int:
        """Width of the SwiGLU layer."""
        return 2 * self.hidden

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First token of each level, then the vocabulary size."""
        return tuple(int(offset) for offset in np.cumsum([0, *self.sizes]))


class FoldedLayer(NamedTuple):
    """One decoder layer with its norms folded into the matrices and rotary tables that follow them."""

    qkv: Tensor
    """((H + 2 Hk) * head_dim, hidden)."""
    cos: Tensor
    """(positions, H + Hk, head_dim): rotary cosine x norm weight x (on queries) the softmax scale."""
    sin: Tensor
    """As `cos`, for the half-rotated part, whose sign it carries."""
    out: Tensor
    gate_up: Tensor
    down: Tensor


class Folded(NamedTuple):
    """The whole decoder, ready to run in the precision of its tensors."""

    embedding: Tensor
    """(vocabulary, hidden): input embeddings."""
    layers: list[FoldedLayer]
    heads: list[Tensor]
    """Per level, (K_l, hidden): output embeddings with the final norm folded in."""


class States(NamedTuple):
    """What a forward pass leaves."""

    hidden: Tensor
    """(Q, outputs, hidden), normalised: multiply by a head of `Folded` for logits."""
    keys: list[Tensor]
    """Per layer, (Q, Hk, S, head_dim), earlier rows included."""
    values: list[Tensor]


class Attention(nn.Module):
    """Parameters of grouped-query attention with query and key norms."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        wide, narrow = a.heads * a.head_dim, a.kv_heads * a.head_dim
        self.q_proj = nn.Linear(a.hidden, wide, bias=False)
        self.k_proj = nn.Linear(a.hidden, narrow, bias=False)
        self.v_proj = nn.Linear(a.hidden, narrow, bias=False)
        self.o_proj = nn.Linear(wide, a.hidden, bias=False)
        self.q_norm = nn.RMSNorm(a.head_dim, eps=EPSILON)
        self.k_norm = nn.RMSNorm(a.head_dim, eps=EPSILON)


class SwiGLU(nn.Module):
    """Parameters of the gated feed-forward layer."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(a.hidden, a.intermediate, bias=False)
        self.up_proj = nn.Linear(a.hidden, a.intermediate, bias=False)
        self.down_proj = nn.Linear(a.intermediate, a.hidden, bias=False)


class DecoderLayer(nn.Module):
    """Parameters of one layer."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.self_attn = Attention(a)
        self.mlp = SwiGLU(a)
        self.input_layernorm = nn.RMSNorm(a.hidden, eps=EPSILON)
        self.post_attention_layernorm = nn.RMSNorm(a.hidden, eps=EPSILON)


class Qwen3Decoder(nn.Module):
    """Parameters of the decoder, and `fold`, which readies them for `run`."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.architecture = a
        self.embed_tokens = nn.Embedding(a.offsets[-1], a.hidden)
        self.layers = nn.ModuleList(DecoderLayer(a) for _ in range(a.layers))
        self.norm = nn.RMSNorm(a.hidden, eps=EPSILON)

    def fold(self) -> Folded:
        """Multiply every norm's weight into what follows it; differentiable, so training runs on it too."""
        a = self.architecture
        cos, sin = _rotary(a.positions, a.head_dim, self.norm.weight)
        layers = [_fold_layer(a, layer, cos, sin) for layer in cast(Iterable[DecoderLayer], self.layers)]
        tokens = self.embed_tokens.weight * self.norm.weight
        return Folded(self.embed_tokens.weight, layers, list(tokens.split(list(a.sizes))))


def _fold_layer(a: Architecture, layer: DecoderLayer, cos: Tensor, sin: Tensor) -> FoldedLayer:
    attention, mlp = layer.self_attn, layer.mlp
    qkv = torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
    query_norm = attention.q_norm.weight * a.head_dim**-0.5
    norm = torch.cat([query_norm.expand(a.heads, -1), attention.k_norm.weight.expand(a.kv_heads, -1)])
    return FoldedLayer(
        qkv=qkv * layer.input_layernorm.weight,
        cos=cos * norm,
        # Rotary mixes entry i with entry i + head_dim / 2, so the half-rotated part takes its partner's norm weight.
        sin=sin * norm.roll(a.head_dim // 2, -1),
        out=attention.o_proj.weight,
        gate_up=torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]) * layer.post_attention_layernorm.weight,
        down=mlp.down_proj.weight,
    )


def _rotary(positions: int, head_dim: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Rotary tables (positions, 1, head_dim); the sine's first half is negated, to pair with a roll by half a head.

    They are float32 numbers whatever the precision: those that the weights were trained with.
    """
    frequency = ROPE_THETA ** -(torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angle = torch.arange(positions, dtype=torch.float32)[:, None, None] * frequency
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([cos, cos], dim=-1).to(like), torch.cat([-sin, sin], dim=-1).to(like)


def run(
    a: Architecture,
    layers: Sequence[FoldedLayer],
    hidden: Tensor,
    positions: slice,
    visible: Tensor,
    *,
    past: States | None = None,
    outputs: int | None = None,
) -> States:
    """Run the decoder over N rows a query.

    Args:
        a: the shapes.
        layers: the folded decoder.
        hidden: (Q, N, hidden) input embeddings.
        positions: rotary positions of the rows: N of them, or one that all rows share (the beams of a step).
        visible: (N, S) or (Q, N, S) bool: which of the S keys, earlier rows first, each row attends to.
        past: keys and values of earlier rows.
        outputs: only the last `outputs` rows are needed, and the last layer skips the others; None for all.
    """
    n_queries, n_rows, width = hidden.shape
    group, n_normed = a.heads // a.kv_heads, a.heads + a.kv_heads
    blocked = torch.zeros(visible.shape, device=hidden.device, dtype=hidden.dtype).masked_fill_(~visible, -torch.inf)
    blocked = blocked.view(-1, 1, 1, *visible.shape[-2:])  # (Q or 1, Hk, group, N, S)
    keys: list[Tensor] = []
    values: list[Tensor] = []
    for index, layer in enumerate(layers):
        qkv = F.linear(F.rms_norm(hidden, (width,), eps=EPSILON), layer.qkv)
        qkv = qkv.view(n_queries, n_rows, n_normed + a.kv_heads, a.head_dim)
        normed = F.rms_norm(qkv[:, :, :n_normed], (a.head_dim,), eps=EPSILON)
        normed = normed * layer.cos[positions] + normed.roll(a.head_dim // 2, -1) * layer.sin[positions]
        query = normed[:, :, : a.heads].unflatten(2, (a.kv_heads, group)).permute(0, 2, 3, 1, 4)
        key = normed[:, :, a.heads :].transpose(1, 2)
        value = qkv[:, :, n_normed:].transpose(1, 2)
        if past is not None:
            key = torch.cat([past.keys[index], key], dim=2)
            value = torch.cat([past.values[index], value], dim=2)
        keys.append(key)
        values.append(value)
        if outputs is not None and index == len(layers) - 1:
            query, blocked, hidden = query[..., -outputs:, :], blocked[..., -outputs:, :], hidden[:, -outputs:]
        n = query.shape[-2]
        score = query.reshape(n_queries, a.kv_heads, group * n, a.head_dim) @ key.transpose(-1, -2)
        score = score.view(n_queries, a.kv_heads, group, n, -1) + blocked
        mixed = score.softmax(-1).view(n_queries, a.kv_heads, group * n, -1) @ value
        mixed = mixed.view(n_queries, a.heads, n, a.head_dim).transpose(1, 2).reshape(n_queries, n, -1)
        hidden = hidden + F.linear(mixed, layer.out)
        gate, up = F.linear(F.rms_norm(hidden, (width,), eps=EPSILON), layer.gate_up).chunk(2, -1)
        hidden = hidden + F.linear(F.silu(gate) * up, layer.down)
    return States(F.rms_norm(hidden, (width,), eps=EPSILON), keys, values)
