"""Log probability and pointwise mutual information of the item's prefixes, averaged over all SID stacks.

A generator a stack would cost as many trainings. Here one trunk maps the query's embedding for all stacks, every prefix
has a vector of its own, and p(prefix | parent, query) is a softmax among the prefixes below one parent (hierarchical
softmax; Morin & Bengio 2005). Vectors start as the mean of their items' embeddings: before training the model is a
softmax over cosines, which little feedback bends. As the generator, it learns from queries the items that they led to,
and from titles their own item.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from engine.relevance.signals.logp import log_prior
from engine.relevance.signals.prefixes import Prefixes, at_level, by_query, prefixes
from engine.relevance.signals.protocol import Asked, Column, Feedback, Learns, Measured, Shelf
from engine.relevance.vectors import mapped, products

if TYPE_CHECKING:
    import torch

DIM = 128
"""Width of the trunk's output and of a prefix's vector."""
HIDDEN = 256
SCALE = 20.0
"""Logit of a cosine of 1 before training."""
TITLE_EPOCHS = 1.0
QUERY_EPOCHS = 6.0
"""Passes over titles, then over queries; half of every batch of the second part are titles."""
LEAST_STEPS = 100
"""Of the second part, however few the queries."""
BATCH = 256
RATE = 2e-3
"""Peak of AdamW's learning rate, with half a cosine down in each part."""
SMOOTHING = 0.1
"""Share of every target spread evenly over the siblings."""


class _Level(NamedTuple):
    """The prefixes of one level of one stack, among those of all stacks."""

    start: int  # Number of its first prefix among those of all levels and stacks.
    of_item: np.ndarray  # (N,) number of each item's prefix within the level.
    parent: np.ndarray  # (size,) number of its parent within the level above; siblings follow each other.
    first: np.ndarray  # (parents + 1,) where each parent's children begin, and their end.


def _levels(stacks: list[Prefixes]) -> list[list[_Level]]:
    made, start = [], 0
    for stack in stacks:
        levels = []
        for of_item, size, parent in zip(stack.of_item, stack.size, stack.parent, strict=True):
            first = np.searchsorted(parent, np.arange(int(parent.max()) + 2))
            levels.append(_Level(start, of_item, parent, first))
            start += size
        made.append(levels)
    return made


@dataclass(frozen=True)
class _Fitted:
    weights: dict[str, np.ndarray]
    stacks: list[Prefixes]
    log_prior: list[list[np.ndarray]]  # By stack and level: log share of the feedback, smoothed (`logp.log_prior`).

    def measure(self, asked: Asked, pair_query: np.ndarray, pair_item: np.ndarray) -> Measured:
        depth = len(self.stacks[0].size)
        having = [len(at_level(self.stacks, level)) for level in range(depth)]
        values = np.zeros((len(pair_query), 2 * depth), dtype=np.float32)
        stacks = _levels(self.stacks)
        for part in by_query(pair_query):
            query = _trunk(self.weights, asked.x[part.query])
            item = pair_item[part.pair]
            for levels, priors in zip(stacks, self.log_prior, strict=True):
                so_far = np.zeros(len(item))
                for depth_at, (level, prior) in enumerate(zip(levels[:depth], priors, strict=False)):
                    number = level.of_item[item]
                    so_far = so_far + self._log_prob(query, level, part.row, number)
                    values[part.pair, depth_at] += so_far / having[depth_at]
                    values[part.pair, depth + depth_at] += (so_far - prior[number]) / having[depth_at]
        return Measured(values, None)

    def _log_prob(self, query: np.ndarray, level: _Level, row: np.ndarray, number: np.ndarray) -> np.ndarray:
        """(m,) log p(prefix | parent, query) of the prefixes `number` (m,) for the rows `row` (m,) of `query`."""
        n_parents, parent = len(level.first) - 1, level.parent[number]
        families, at = np.unique(row * n_parents + parent, return_inverse=True)
        asked, above = np.divmod(families, n_parents)
        length = level.first[above + 1] - level.first[above]
        begin = np.cumsum(length) - length
        child = level.start + np.repeat(level.first[above] - begin, length) + np.arange(int(length.sum()))
        logit = products(query, self.weights["vector"], np.repeat(asked, length), child) + self.weights["bias"][child]
        logit -= np.repeat(np.maximum.reduceat(logit, begin), length)
        total = np.add.reduceat(np.exp(logit), begin)
        return logit[begin[at] + number - level.first[parent]] - np.log(total[at])

    def arrays(self) -> dict[str, np.ndarray]:
        return self.weights


@dataclass(frozen=True)
class AveragedLogProbability:
    """`mean_logp_l`: log p(prefix of level l | query), mean over the stacks that have the level; `mean_pmi_l`: the same
    less the prefix's log prior."""

    name: str = "mean_logp"
    twin: str | None = "tower_dense"
    learns: Learns = "fold"
    cost: str = (
        "stores L codes an item and stack, and d + 1 float32 a prefix; a pair is a product of d numbers for every sibling "
        "of its prefixes, once for all pairs of the query under one parent"
    )

    def columns(self, levels: int) -> tuple[Column, ...]:
        kinds = ("mean_logp", "mean_pmi")
        return tuple(Column(f"{kind}_{level}", level) for kind in kinds for level in range(1, levels + 1))

    def fit(self, shelf: Shelf, *, seed: int, arrays: Mapping[str, np.ndarray] | None = None) -> _Fitted:
        stacks = [prefixes(codes) for codes in shelf.stacks]
        weights = dict(arrays) if arrays is not None else _train(shelf, _levels(stacks), seed)
        return _Fitted(weights, stacks, [log_prior(stack, shelf.feedback) for stack in stacks])


def _trunk(weights: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """(R, d) of query embeddings (R, D): a linear map and what a hidden layer adds to it."""
    inner = mapped(x, weights["hidden"]) + weights["hidden_bias"]
    return SCALE * (mapped(x, weights["linear"]) + mapped(inner / (1.0 + np.exp(-inner)), weights["added"]))


def _start(item_x: np.ndarray, stacks: list[list[_Level]], seed: int) -> dict[str, np.ndarray]:
    x = item_x.astype(np.float64)
    axes = np.linalg.eigh(x.T @ x)[1][:, ::-1][:, :DIM]
    left, n = x @ axes, len(x)
    vectors, sizes = [], []
    for level in (level for levels in stacks for level in levels):
        size = np.bincount(level.of_item, minlength=len(level.parent))
        member = sparse.csr_matrix((np.ones(n), (level.of_item, np.arange(n))), shape=(len(size), n))
        vectors.append((member @ left) / size[:, None])
        sizes.append(size)
    rng = np.random.default_rng(seed)
    started = {
        "linear": axes,
        "hidden": rng.normal(size=(x.shape[1], HIDDEN)) / math.sqrt(x.shape[1]),
        "hidden_bias": np.zeros(HIDDEN),
        "added": np.zeros((HIDDEN, axes.shape[1])),
        "vector": np.concatenate(vectors),
        "bias": 0.5 * np.log(np.concatenate(sizes)),
    }
    return {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in started.items()}


def _train(shelf: Shelf, stacks: list[list[_Level]], seed: int) -> dict[str, np.ndarray]:
    """Weights after learning the titles, and what is known of queries."""
    import torch
    from torch.nn import functional

    weights = {
        name: torch.from_numpy(value).requires_grad_() for name, value in _start(shelf.item_x, stacks, seed).items()
    }
    optimizer = torch.optim.AdamW(weights.values(), lr=RATE, fused=True)
    loss = _Loss(stacks)
    for x, item, rate in _batches(shelf, seed):
        inner = functional.silu(torch.from_numpy(x) @ weights["hidden"] + weights["hidden_bias"])
        query = SCALE * (torch.from_numpy(x) @ weights["linear"] + inner @ weights["added"])
        for group in optimizer.param_groups:
            group["lr"] = RATE * rate
        optimizer.zero_grad(set_to_none=False)  # keeps the large gradient's memory
        loss(query, weights["vector"], weights["bias"], torch.from_numpy(item)).backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
    return {name: weight.detach().numpy().copy() for name, weight in weights.items()}


def _batches(shelf: Shelf, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Embeddings (B, D), the items (B,) that they should lead to, and the share of the learning rate, step by step.

    A query's item is drawn by strength: its share of the query's interactions, or the grade beyond the mean grade; every
    query that led somewhere counts alike.
    """
    rng = np.random.default_rng([seed, 1])
    n = len(shelf.item_x)
    steps = math.ceil(TITLE_EPOCHS * n / BATCH)
    for step in range(steps):
        item = rng.integers(0, n, BATCH)
        yield shelf.item_x[item], item, _cosine(step, steps)
    query, led_to, share = _strength(shelf.feedback)
    if not len(query):
        return
    steps = max(LEAST_STEPS, math.ceil(QUERY_EPOCHS * len(np.unique(query)) / BATCH))
    until = np.cumsum(share)
    for step in range(steps):
        drawn = np.minimum(np.searchsorted(until, rng.random(BATCH // 2) * until[-1], side="right"), len(until) - 1)
        title = rng.integers(0, n, BATCH - BATCH // 2)
        x = np.concatenate([shelf.feedback.query_x[query[drawn]], shelf.item_x[title]])
        yield x, np.concatenate([led_to[drawn], title]), _cosine(step, steps)


def _cosine(step: int, steps: int) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * step / steps))


def _strength(feedback: Feedback) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Query row, item and share of its query of every piece of positive feedback."""
    value, n = feedback.value.astype(np.float64), len(feedback.position)
    clicked = np.where(feedback.graded, 0.0, value)
    strength = clicked / np.maximum(np.bincount(feedback.query, weights=clicked, minlength=n), 1e-9)[feedback.query]
    if feedback.graded.any():
        liked = np.maximum(value - value[feedback.graded].mean(), 0.0)
        strength = np.where(feedback.graded, liked, strength)
    kept = np.flatnonzero(strength > 0)
    query, strength = feedback.query[kept], strength[kept]
    return query, feedback.item[kept], strength / np.bincount(query, weights=strength, minlength=n)[query]


class _Loss:
    """Cross-entropy among siblings, level by level, mean over the stacks."""

    def __init__(self, stacks: list[list[_Level]]) -> None:
        import torch

        self.n = len(stacks)
        self.roots = [(levels[0].start, len(levels[0].parent)) for levels in stacks]
        self.root_of = torch.from_numpy(np.stack([levels[0].of_item for levels in stacks], axis=1))
        deeper = [pair for levels in stacks for pair in itertools.pairwise(levels)]
        width = max((int(np.diff(level.first).max()) for _, level in deeper), default=0)
        at = np.arange(width)
        self.child, self.exists = [], []
        """By deeper level: (parents, width) numbers of the children among all prefixes, and which of them exist."""
        above, place = [], []
        for upper, level in deeper:
            begin, count = level.first[:-1, None], np.diff(level.first)[:, None]
            self.child.append(torch.from_numpy(level.start + begin + np.minimum(at, count - 1)))
            self.exists.append(torch.from_numpy(at < count))
            above.append(upper.of_item)
            place.append(level.of_item - level.first[upper.of_item])
        if deeper:
            self.above = torch.from_numpy(np.stack(above, axis=1))
            self.place = torch.from_numpy(np.stack(place, axis=1))

    def __call__(
        self, query: torch.Tensor, vector: torch.Tensor, bias: torch.Tensor, item: torch.Tensor
    ) -> torch.Tensor:
        import torch
        from torch.nn import functional

        losses = []
        for stack, (start, size) in enumerate(self.roots):
            logit = query @ vector[start : start + size].T + bias[start : start + size]
            losses.append(functional.cross_entropy(logit, self.root_of[item, stack], label_smoothing=SMOOTHING))
        if self.child:
            above = self.above[item]
            child = torch.stack([table[above[:, g]] for g, table in enumerate(self.child)], dim=1)
            exists = torch.stack([table[above[:, g]] for g, table in enumerate(self.exists)], dim=1)
            shape = child.shape
            near = functional.embedding(child.flatten(1), vector)  # its gradient is far faster than an index's
            logit = (near @ query[:, :, None])[..., 0].view(shape) + functional.embedding(child, bias[:, None])[..., 0]
            log_prob = logit.masked_fill(~exists, -1e9).log_softmax(dim=-1)
            right = log_prob.gather(2, self.place[item][..., None])[..., 0]
            even = (log_prob * exists).sum(dim=-1) / exists.sum(dim=-1)
            losses.extend((-(1 - SMOOTHING) * right - SMOOTHING * even).mean(dim=0).unbind())
        return torch.stack(losses).sum() / self.n
