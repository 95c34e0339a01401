"""A Qwen3 decoder for sequences of a few positions: its parameters, and one lean forward pass over them.

Qwen3 is RMSNorm, rotary positions, per-head query and key norms, grouped-query attention, SwiGLU and tied
embeddings (Yang et al. 2025, arXiv 2505.09388). Parameters bear the names that `transformers` gives them, so a
state dict fits both, and the tests hold the two to the same logits. The forward pass is ours because a framework's
overhead costs more than the arithmetic here: norm weights are folded into the matrices that follow them, `read` serves
training and the prompt, `extend` the beams, which share the prompt's keys and values.
"""

from __future__ import annotations

from collections.abc import Iterable
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

    sizes: tuple[int, ...]  # Codes per level; the vocabulary is one token per (level, code).
    query_dim: int  # D of the frozen embedding.
    hidden: int
    layers: int
    heads: int
    prefix_tokens: int  # Soft tokens P.

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

    qkv: Tensor  # ((H + 2 Hk) * head_dim, hidden).
    cos: Tensor  # (positions, H + Hk, head_dim): rotary cosine x norm weight x (on queries) the softmax scale.
    sin: Tensor  # As `cos`, for the half-rotated part, whose sign it carries.
    out: Tensor
    gate_up: Tensor
    down: Tensor


class Folded(NamedTuple):
    """The whole decoder, ready to run in the precision of its tensors."""

    embedding: Tensor  # (vocabulary, hidden): input embeddings.
    layers: list[FoldedLayer]
    heads: list[Tensor]  # Per level, (K_l, hidden): output embeddings with the final norm folded in.


class States(NamedTuple):
    """What a forward pass leaves."""

    hidden: Tensor  # (Q, outputs, hidden), normalised: multiply by a head of `Folded` for logits.
    keys: list[Tensor]  # Per layer, (Q, Hk, N, head_dim): of the N rows of the sequence.
    values: list[Tensor]
    paths: list[Tensor]
    """Per layer, (2, Q, W, l, Hk, head_dim): keys and values of the l codes that each of W beams has spelled."""


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


def read(a: Architecture, folded: Folded, hidden: Tensor, outputs: int) -> States:
    """Run the decoder over the first N positions of Q sequences, each row seeing itself and those before it.

    Args:
        a: the shapes.
        folded: the decoder.
        hidden: (Q, N, hidden) input embeddings.
        outputs: only the last `outputs` rows are needed, and the last layer skips the others.
    """
    n_queries, n_rows, _ = hidden.shape
    later = torch.ones(n_rows, n_rows, dtype=torch.bool, device=hidden.device).triu(1)
    blocked = torch.zeros(n_rows, n_rows, device=hidden.device, dtype=hidden.dtype).masked_fill_(later, -torch.inf)
    keys: list[Tensor] = []
    values: list[Tensor] = []
    for index, layer in enumerate(folded.layers):
        normed, value = _project(a, layer, hidden, slice(0, n_rows))
        query = normed[:, :, : a.heads].unflatten(2, (a.kv_heads, -1)).permute(0, 2, 3, 1, 4)
        key, value = normed[:, :, a.heads :].transpose(1, 2), value.transpose(1, 2)
        keys.append(key)
        values.append(value)
        if index == len(folded.layers) - 1:
            query, blocked, hidden = query[..., -outputs:, :], blocked[-outputs:], hidden[:, -outputs:]
        group, n = query.shape[2:4]
        score = query.reshape(n_queries, a.kv_heads, group * n, a.head_dim) @ key.transpose(-1, -2)
        score = score.view(n_queries, a.kv_heads, group, n, -1) + blocked
        mixed = score.softmax(-1).view(n_queries, a.kv_heads, group * n, -1) @ value
        mixed = mixed.view(n_queries, a.heads, n, a.head_dim).transpose(1, 2).reshape(n_queries, n, -1)
        hidden = _finish(layer, hidden, mixed)
    nothing = hidden.new_zeros(2, n_queries, 1, 0, a.kv_heads, a.head_dim)
    return States(_normed(hidden), keys, values, [nothing] * len(keys))


def extend(a: Architecture, folded: Folded, hidden: Tensor, past: States, parents: Tensor) -> States:
    """Run the decoder over the next code of W beams a query: each sees the prompt, its own path and itself.

    Siblings stay apart without a mask, because keys of a path are kept a beam: a path has few codes, the prompt's keys
    are shared, and a wide step costs what its own rows cost.

    Args:
        a: the shapes.
        folded: the decoder.
        hidden: (Q, W, hidden) input embeddings.
        past: what `read` or the step before left.
        parents: (Q, W) int64: the row of the step before that each beam extends.
    """
    n_queries, width, _ = hidden.shape
    n_prompt, depth = past.keys[0].shape[2], past.paths[0].shape[3]
    position = slice(n_prompt + depth, n_prompt + depth + 1)
    rows = torch.arange(n_queries, device=hidden.device)[:, None]
    paths: list[Tensor] = []
    for layer, key, value, path in zip(folded.layers, past.keys, past.values, past.paths, strict=True):
        normed, own_value = _project(a, layer, hidden, position)
        query = normed[:, :, : a.heads].unflatten(2, (a.kv_heads, -1))  # (Q, W, Hk, group, head_dim)
        own = torch.stack([normed[:, :, a.heads :], own_value])[:, :, :, None]
        paths.append(torch.cat([path[:, rows, parents], own], dim=3))
        path_key, path_value = paths[-1]
        shared = query.transpose(1, 2).reshape(n_queries, a.kv_heads, -1, a.head_dim) @ key.transpose(-1, -2)
        shared = shared.view(n_queries, a.kv_heads, width, -1, n_prompt).transpose(1, 2)
        share = torch.cat([shared, torch.einsum("qwkgd,qwlkd->qwkgl", query, path_key)], dim=-1).softmax(-1)
        mixed = share[..., :n_prompt].transpose(1, 2).reshape(n_queries, a.kv_heads, -1, n_prompt) @ value
        mixed = mixed.view(n_queries, a.kv_heads, width, -1, a.head_dim).transpose(1, 2)
        mixed = mixed + torch.einsum("qwkgl,qwlkd->qwkgd", share[..., n_prompt:], path_value)
        hidden = _finish(layer, hidden, mixed.flatten(2))
    return States(_normed(hidden), past.keys, past.values, paths)


def _normed(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], eps=EPSILON)


def _project(a: Architecture, layer: FoldedLayer, hidden: Tensor, positions: slice) -> tuple[Tensor, Tensor]:
    """Queries above keys (Q, N, H + Hk, head_dim), normed and turned to their positions, and values (Q, N, Hk, head_dim).

    `positions`: N of them, or one that all rows share (the beams of a step).
    """
    qkv = F.linear(_normed(hidden), layer.qkv).unflatten(2, (-1, a.head_dim))
    normed = _normed(qkv[:, :, : a.heads + a.kv_heads])
    turned = normed * layer.cos[positions] + normed.roll(a.head_dim // 2, -1) * layer.sin[positions]
    return turned, qkv[:, :, a.heads + a.kv_heads :]


def _finish(layer: FoldedLayer, hidden: Tensor, mixed: Tensor) -> Tensor:
    """A layer's output (Q, N, hidden) from its input and what attention mixed (Q, N, H * head_dim)."""
    hidden = hidden + F.linear(mixed, layer.out)
    gate, up = F.linear(_normed(hidden), layer.gate_up).chunk(2, -1)
    return hidden + F.linear(F.silu(gate) * up, layer.down)
