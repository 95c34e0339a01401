"""Training of the ranker: a 3-layer MLP with a proportional-odds head over grades (METHOD section 3).

The dense block, standardised, and the embedded match level enter two hidden layers and one logit; ordered thresholds
turn the logit into P(grade >= g_k) (McCullagh, 1980). Members differ by seed alone and are trained side by side;
what leaves is a `Scorer`, float64 numpy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from engine.config import RankerConfig
from engine.errors import DataError
from engine.relevance.folds import CrossFitted, ServedRows
from engine.relevance.scorer import MISSING, VALUE, Member, Scorer

_PATIENCE = 6
"""Epochs without a better validation loss before a member counts as settled."""
_GAP = 1e-3
"""Least distance between thresholds."""
_EDGE = 1e4
"""Stands for the infinite bounds of the first and the last grade."""


class RankerFit(NamedTuple):
    """`history` (step = epoch, name 'loss' | 'valid_loss', value: mean negative log-likelihood over members)."""

    scorer: Scorer
    history: pd.DataFrame


def grade_levels(grades: np.ndarray, *, limit: int = 8) -> np.ndarray:
    """(G,) ascending grades that the head tells apart: the distinct ones, or `limit` quantiles of many (rater means)."""
    distinct = np.unique(np.asarray(grades, dtype=np.float64))
    if len(distinct) <= limit:
        return distinct
    return np.unique(np.quantile(distinct, np.linspace(0, 1, limit), method="nearest"))


def train_ranker(
    rows: CrossFitted,
    grades: np.ndarray,
    *,
    config: RankerConfig,
    grade_values: np.ndarray,
    seed: int,
    levels: int | None = None,
    valid: ServedRows | None = None,
) -> RankerFit:
    """Train on `rows` (M) with `grades` (M,); `valid` rows, served features with the columns of `rows`, stop it early.

    `levels` is L of the SIDs whose match level is read; None leaves it out (the baselines). Without validation rows:
    exactly `config.epochs` passes.
    Raises DataError where the judgments hold fewer than two grades or no row, TypeError for rows without provenance.
    """
    if not isinstance(rows, CrossFitted):
        raise TypeError(f"a ranker trains on CrossFitted rows only, not on {type(rows).__name__}")
    grade_values = np.asarray(grade_values, dtype=np.float64)
    if len(rows.query) == 0 or len(grade_values) < 2:
        raise DataError(
            f"a ranker needs judged training queries and two grades or more; given {len(rows.query)} pairs "
            f"and {len(grade_values)} grades"
        )
    assert len(grades) == len(rows.query)
    if levels is not None:
        assert rows.match_level is not None
        assert rows.match_level.max() <= levels
    mean, scale = _statistics(
        np.asfortranarray(rows.dense), rows.columns
    )  # columns are summed pairwise, each for itself
    untrained = Scorer(rows.columns, mean, scale, grade_values, ())
    train = _Rows.of(untrained, rows.dense, rows.match_level, grades, levels)
    held = None
    if valid is not None and len(valid.grade):
        held = _Rows.of(untrained, valid.dense, valid.match_level, valid.grade, levels)
    model = _Ensemble(untrained, levels, train.target, config, seed)
    history = _fit(model, train, held, config, seed)
    return RankerFit(model.export(), pd.DataFrame(history, columns=["step", "name", "value"]))


def _statistics(dense: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale (F,) of training columns; those of `mm_dm` over the rows that have it; scale 1 if constant."""
    mean, scale = dense.mean(axis=0), dense.std(axis=0)
    if VALUE in names and MISSING in names:
        value = names.index(VALUE)
        present = dense[dense[:, names.index(MISSING)] == 0, value]
        mean[value], scale[value] = (present.mean(), present.std()) if len(present) else (0.0, 1.0)
    return mean, np.where(scale > 1e-9, scale, 1.0)


class _Rows(NamedTuple):
    """`x` (M, F + 1 + L + 1): standardised columns, missing flag of `mm_dm`, one-hot match level (absent without
    SIDs); `target` (M, G): one-hot grade. One-hot products, because the gradient of indexing is slow on CPU."""

    x: torch.Tensor
    target: torch.Tensor

    @staticmethod
    def of(
        scorer: Scorer, dense: np.ndarray, level: np.ndarray | None, grades: np.ndarray, levels: int | None
    ) -> _Rows:
        both = VALUE in scorer.columns and MISSING in scorer.columns
        missing = dense[:, scorer.columns.index(MISSING)] if both else np.zeros(len(dense))
        parts = [scorer.standardise(dense), missing[:, None]]
        if levels is not None:
            assert level is not None
            parts.append(np.eye(levels + 1)[level])
        grade = np.searchsorted(scorer.grade_values, np.asarray(grades, dtype=np.float64), side="right") - 1
        target = np.eye(len(scorer.grade_values))[np.maximum(grade, 0)]
        return _Rows(*(torch.from_numpy(a.astype(np.float32)) for a in (np.concatenate(parts, axis=1), target)))

    def take(self, index_KB: torch.Tensor) -> _Rows:
        return _Rows(self.x[index_KB], self.target[index_KB])


class _Ensemble(nn.Module):
    """K members at once: parameters carry a leading member axis, rows are (K, B, ...)."""

    def __init__(
        self, scorer: Scorer, levels: int | None, target: torch.Tensor, config: RankerConfig, seed: int
    ) -> None:
        super().__init__()
        self.scorer = scorer
        k, f, (h1, h2), e = config.members, len(scorer.columns), config.hidden, config.match_embedding
        rngs = [np.random.default_rng([seed, member]) for member in range(k)]

        def drawn(*shape: int, bound: float) -> nn.Parameter:
            values = np.stack([rng.uniform(-bound, bound, shape) for rng in rngs])
            return nn.Parameter(torch.from_numpy(values.astype(np.float32)))

        fan_in = f + (0 if levels is None else e)
        self.dense = drawn(f, h1, bound=(3 / fan_in) ** 0.5)
        # A deeper level is a step away from the one above, so that a level never met in training acts like its parent.
        self.steps = None if levels is None else nn.Parameter(torch.zeros(k, levels + 1, e))
        self.match = None if levels is None else drawn(e, h1, bound=(3 / fan_in) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(k, h1))
        self.hidden = drawn(h1, h2, bound=(6 / h1) ** 0.5)
        self.hidden_bias = nn.Parameter(torch.zeros(k, h2))
        self.output = drawn(h2, bound=(3 / h2) ** 0.5)
        self.replacement = nn.Parameter(torch.zeros(k))
        self.value = scorer.columns.index(VALUE) if VALUE in scorer.columns else 0
        reached = target.double().sum(dim=0).flip(0).cumsum(0).flip(0)[1:]
        share = (reached + 1) / (len(target) + 2)
        theta = torch.log1p(-share) - torch.log(share)
        first, gaps = theta[:1], torch.clamp(torch.diff(theta) - _GAP, min=1e-2)
        self.first = nn.Parameter(first.float().repeat(k, 1))
        self.gaps = nn.Parameter(torch.log(torch.expm1(gaps)).float().repeat(k, 1))  # inverse softplus

    def thresholds(self) -> torch.Tensor:
        """(K, G-1), ascending."""
        return torch.cumsum(torch.cat([self.first, F.softplus(self.gaps) + _GAP], dim=1), dim=1)

    def embedding(self) -> torch.Tensor:
        """(K, L+1, H1): the match embedding times its first-layer weights."""
        assert self.steps is not None
        assert self.match is not None
        return torch.cumsum(self.steps, dim=1) @ self.match

    def forward(self, rows: _Rows) -> torch.Tensor:
        """(K, B) logits of rows (K, B, ...)."""
        learned = self.replacement[:, None] * self.dense[:, self.value]
        weights = [self.dense, learned[:, None]]
        if self.steps is not None:
            weights.append(self.embedding())
        first = rows.x @ torch.cat(weights, dim=1) + self.bias[:, None]
        hidden = F.relu(first) @ self.hidden + self.hidden_bias[:, None]
        return (F.relu(hidden) @ self.output[..., None]).squeeze(-1)

    def loss(self, rows: _Rows) -> torch.Tensor:
        """(K,) mean negative log-likelihood of the grades under proportional odds.

        log(sigmoid(a) - sigmoid(b)) = logsigmoid(a) + logsigmoid(-b) + log(1 - exp(b - a)), a > b, never underflows.
        """
        logit, theta = self(rows), self.thresholds()
        edge = torch.full((len(theta), 1), _EDGE)
        low = (rows.target @ torch.cat([-edge, theta], dim=1)[..., None]).squeeze(-1)
        high = (rows.target @ torch.cat([theta, edge], dim=1)[..., None]).squeeze(-1)
        between = torch.log(-torch.expm1(low - high))
        return -(F.logsigmoid(logit - low) + F.logsigmoid(high - logit) + between).mean(dim=1)

    def export(self) -> Scorer:
        """The trained members in float64."""
        p = {name: value.detach().double().numpy() for name, value in self.named_parameters()}
        theta = self.thresholds().detach().double().numpy()
        match = None
        if self.steps is not None:
            match = np.cumsum(p["steps"], axis=1) @ p["match"]
        members = tuple(
            Member(
                dense=p["dense"][k],
                match=None if match is None else match[k],
                bias=p["bias"][k],
                hidden=p["hidden"][k],
                hidden_bias=p["hidden_bias"][k],
                output=p["output"][k],
                thresholds=theta[k],
                replacement=float(p["replacement"][k]),
            )
            for k in range(len(theta))
        )
        s = self.scorer
        return Scorer(s.columns, s.mean, s.scale, s.grade_values, members)


def _fit(
    model: _Ensemble, train: _Rows, valid: _Rows | None, config: RankerConfig, seed: int
) -> list[tuple[int, str, float]]:
    """Train in place; each member ends at its epoch of least validation loss (the last epoch without validation)."""
    members, n = config.members, len(train.x)
    decayed = [p for p in model.parameters() if p.dim() >= 3]
    plain = [p for p in model.parameters() if p.dim() < 3]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, fused=True)
    steps = -(-n // config.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.epochs * steps)
    rngs = [np.random.default_rng([seed, member, 1]) for member in range(members)]
    everyone = None if valid is None else valid.take(torch.arange(len(valid.x)).repeat(members, 1))
    best = torch.full((members,), float("inf"))
    best_epoch = torch.zeros(members, dtype=torch.long)
    kept = {name: value.detach().clone() for name, value in model.named_parameters()}
    history: list[tuple[int, str, float]] = []
    for epoch in range(1, config.epochs + 1):
        order = torch.from_numpy(np.stack([rng.permutation(n) for rng in rngs]))
        total = 0.0
        for batch in order.split(config.batch, dim=1):
            optimizer.zero_grad()
            losses = model.loss(train.take(batch))
            losses.sum().backward()
            optimizer.step()
            schedule.step()
            total += float(losses.detach().mean()) * batch.shape[1]
        history.append((epoch, "loss", total / n))
        if everyone is None:
            continue
        with torch.no_grad():
            losses = model.loss(everyone)
        history.append((epoch, "valid_loss", float(losses.mean())))
        better = losses < best
        best[better], best_epoch[better] = losses[better], epoch
        for name, value in model.named_parameters():
            kept[name][better] = value.detach()[better]
        if epoch - int(best_epoch.max()) >= _PATIENCE:
            break
    if everyone is not None:
        with torch.no_grad():
            for name, value in model.named_parameters():
                value.copy_(kept[name])
    return history
