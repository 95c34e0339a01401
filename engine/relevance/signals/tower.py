"""Tower: query embedding against learned embeddings of SID prefixes; and its dense twin.

Both map the query's frozen embedding linearly. The item is the mean of the embeddings of its prefixes over the stacks,
level by level (a sum over levels: prefix n-grams), or, in the twin, a linear map of its title's embedding. Both start
as the cosine of the frozen embeddings (their principal axes; prefixes at the mean of what their items leave over), so
that little feedback bends a sound measure in place of growing one. Training is pointwise where feedback is graded
(logistic loss with the grade as a soft target) and by softmax among the batch's items where it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from engine.relevance.signals.prefixes import Prefixes, at_level, prefixes
from engine.relevance.signals.protocol import Asked, Column, Learns, Measured, Shelf
from engine.relevance.vectors import mapped

DIM = 64
"""Width of both towers."""
EPOCHS = 6
BATCH = 512
RATE = 1e-2
"""Adam learning rate; 3e-3 did less well on the marketplace's development queries, more than 6 epochs no better."""
DECAY = 0.1
"""Pull back to the start at each step, times the learning rate: most prefixes have little feedback of their own."""
PIECES = 50_000
"""Pieces of feedback an epoch at most, so that a long log costs no more than a day of it."""
SCALE = 4.0
"""Logit of a cosine of 1 before training."""
_CHUNK = 65_536


@dataclass(frozen=True)
class _Fitted:
    weights: dict[str, np.ndarray]  # `query` (D, d), and what makes the item side.
    item: list[np.ndarray]  # For every column the (N, d + 1) float32 item side: vectors, then the bias.

    def measure(self, asked: Asked, pair_query: np.ndarray, pair_item: np.ndarray) -> Measured:
        query = mapped(asked.x, self.weights["query"])
        values = np.empty((len(pair_query), len(self.item)), dtype=np.float32)
        for start in range(0, len(pair_query), _CHUNK):
            part = slice(start, start + _CHUNK)
            q = query[pair_query[part]]
            for column, side in enumerate(self.item):
                item = side[pair_item[part]]
                values[part, column] = np.einsum("md,md->m", q, item[:, :-1]) + item[:, -1] + self.weights["offset"]
        return Measured(values, None)

    def arrays(self) -> dict[str, np.ndarray]:
        return self.weights


@dataclass(frozen=True)
class Tower:
    """`tower_l`: logit of query times item, the item read down to its prefixes of level l."""

    name: str = "tower"
    twin: str | None = "tower_dense"
    learns: Learns = "fold"
    cost: str = "stores d + 1 float32 a prefix; a query is one D x d map, a pair L products of d numbers"

    def columns(self, levels: int) -> tuple[Column, ...]:
        return tuple(Column(f"tower_{level}", level) for level in range(1, levels + 1))

    def fit(self, shelf: Shelf, *, seed: int, arrays: Mapping[str, np.ndarray] | None = None) -> _Fitted:
        grams = _grams([prefixes(codes) for codes in shelf.stacks])
        weights = dict(arrays) if arrays is not None else _train(shelf, grams, seed)
        levels = shelf.stacks[0].shape[1]
        side = np.zeros((len(shelf.item_x), weights["item"].shape[1]), dtype=np.float32)
        sides = []
        for level in range(levels):
            for gram in np.flatnonzero(grams.level == level):
                side = side + grams.share[gram] * weights["item"][grams.of_item[:, gram]]
            sides.append(side)
        return _Fitted(weights, sides)


@dataclass(frozen=True)
class DenseTower:
    """The same two-tower with a linear map of the item's embedding."""

    name: str = "tower_dense"
    twin: str | None = None
    learns: Learns = "fold"
    cost: str = "stores d + 1 float32 an item; a query is one D x d map, a pair one product of d numbers"

    def columns(self, levels: int) -> tuple[Column, ...]:
        return (Column("tower_dense", 0),)

    def fit(self, shelf: Shelf, *, seed: int, arrays: Mapping[str, np.ndarray] | None = None) -> _Fitted:
        weights = dict(arrays) if arrays is not None else _train(shelf, None, seed)
        return _Fitted(weights, [(shelf.item_x @ weights["item"]).astype(np.float32)])


class _Grams(NamedTuple):
    """The G prefixes that an item has, over all stacks and levels."""

    of_item: np.ndarray  # (N, G) int64, numbered through.
    level: np.ndarray  # (G,) 0-based level.
    share: np.ndarray  # (G,) float32: 1 / the stacks that have the level.
    size: int


def _grams(stacks: list[Prefixes]) -> _Grams:
    columns, levels, shares, first = [], [], [], 0
    for level in range(max(len(stack.size) for stack in stacks)):
        having = at_level(stacks, level)
        for stack in having:
            columns.append(stack.of_item[level] + first)
            levels.append(level)
            shares.append(1.0 / len(having))
            first += stack.size[level]
    return _Grams(np.stack(columns, axis=1), np.array(levels), np.array(shares, dtype=np.float32), first)


def _start(shelf: Shelf, grams: _Grams | None) -> dict[str, np.ndarray]:
    """Weights under which a logit is `SCALE` x cosine + the log odds of the mean grade."""
    x = shelf.item_x.astype(np.float64)
    _, axes = np.linalg.eigh(x.T @ x)
    axes = axes[:, ::-1][:, :DIM] * np.sqrt(SCALE)
    feedback = shelf.feedback
    mean = float(np.clip(feedback.value[feedback.graded].mean(), 0.01, 0.99)) if feedback.graded.any() else 0.5
    bias = np.log(mean / (1 - mean))
    if grams is None:
        item = np.zeros((x.shape[1], axes.shape[1] + 1))
        item[:, :-1] = axes
    else:
        item = np.zeros((grams.size, axes.shape[1] + 1))
        left = x @ axes
        for level in np.unique(grams.level):
            explained = np.zeros_like(left)
            for gram in np.flatnonzero(grams.level == level):
                number = grams.of_item[:, gram]
                member = sparse.csr_matrix((np.ones(len(x)), (number, np.arange(len(x)))), shape=(grams.size, len(x)))
                total = member @ left
                used = np.unique(number)
                item[used, :-1] = total[used] / np.bincount(number)[used, None]
                explained += grams.share[gram] * item[number, :-1]
            left = left - explained
    return {"query": axes.astype(np.float32), "item": item.astype(np.float32), "offset": np.array([bias], np.float32)}


def _train(shelf: Shelf, grams: _Grams | None, seed: int) -> dict[str, np.ndarray]:
    """Weights after `EPOCHS` passes over the shelf's feedback; as they start, where there is none."""
    import torch
    from torch.nn import functional

    start = _start(shelf, grams)
    feedback = shelf.feedback
    if not len(feedback.item):
        return start
    generator = torch.Generator().manual_seed(seed)
    weights = {name: torch.nn.Parameter(torch.from_numpy(value.copy())) for name, value in start.items()}
    optimizer = torch.optim.Adam(weights.values(), lr=RATE, fused=True)
    anchor = {name: torch.from_numpy(value) for name, value in start.items()}
    x = torch.from_numpy(np.ascontiguousarray(feedback.query_x, dtype=np.float32))
    query, item = torch.from_numpy(feedback.query), torch.from_numpy(feedback.item)
    graded = torch.from_numpy(feedback.graded)
    strength = np.where(feedback.graded, feedback.value, np.log1p(feedback.value))
    value = torch.from_numpy(strength.astype(np.float32))
    if grams is None:
        inputs = torch.from_numpy(np.ascontiguousarray(shelf.item_x, dtype=np.float32))
    else:
        inputs, share = torch.from_numpy(grams.of_item), torch.from_numpy(grams.share)

    def item_side(rows: torch.Tensor) -> torch.Tensor:
        if grams is None:
            return inputs[rows] @ weights["item"]
        return (functional.embedding(inputs[rows], weights["item"]) * share[:, None]).sum(dim=1)

    for _ in range(EPOCHS):
        order = torch.randperm(len(item), generator=generator)[:PIECES]
        for batch in order.split(BATCH):
            q = x[query[batch]] @ weights["query"]
            side = item_side(item[batch])
            rated = graded[batch]
            logit = (q * side[:, :-1]).sum(dim=1) + side[:, -1] + weights["offset"]
            losses = []
            if rated.any():
                losses.append(functional.binary_cross_entropy_with_logits(logit[rated], value[batch][rated]))
            if (~rated).sum() > 1:
                led_to = ~rated
                scores = q[led_to] @ side[led_to, :-1].T + side[led_to, -1]
                rows, items = query[batch][led_to], item[batch][led_to]
                known = (rows[:, None] == rows) | (items[:, None] == items)
                known.fill_diagonal_(False)
                each = functional.cross_entropy(
                    scores.masked_fill(known, -torch.inf), torch.arange(len(rows)), reduction="none"
                )
                weight = value[batch][led_to]
                losses.append((each * weight).sum() / weight.sum())
            if not losses:  # one interaction alone: nothing to tell it from
                continue
            optimizer.zero_grad(set_to_none=False)  # keeps the large gradient's memory
            torch.stack(losses).sum().backward()
            optimizer.step()
            with torch.no_grad():  # decoupled decay towards the start, not towards nothing
                for name, weight in weights.items():
                    weight.lerp_(anchor[name], RATE * DECAY)
    return {name: weight.detach().numpy().copy() for name, weight in weights.items()}
