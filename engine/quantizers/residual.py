"""The residual codebooks that items and queries share: assignment, moving averages, dead-code restarts.

Vectors are learned by exponential moving averages of the items assigned to them, never by gradient
(van den Oord et al. 2017, arXiv 1711.00937, appendix A; level by level as in Lee et al. 2022, arXiv 2203.01941).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from engine.quantizers.kmeans import balance, kmeans
from engine.quantizers.nearest import CHUNK, best, half_squares, nearest
from engine.quantizers.protocol import Quantized


class Residuals(NamedTuple):
    """One pass through the levels."""

    codes: torch.Tensor  # (B, L) int64.
    residuals: torch.Tensor
    """(L + 1, B, d): before level 1, after level 1, ... after level L; carries the latent's gradient."""
    chosen: torch.Tensor  # (L, B, d): the code vectors; no gradient.

    @property
    def quantized(self) -> torch.Tensor:
        """(B, d): the sum of the chosen code vectors."""
        return self.chosen.sum(dim=0)

    def rows(self, part: slice) -> Residuals:
        """The same of some rows."""
        return Residuals(self.codes[part], self.residuals[:, part], self.chosen[:, part])


class ResidualCodebooks:
    """L codebooks of `sizes` vectors of width d.

    Level 1 may be forced from outside. `owned` (K1,) bool marks the level-1 codes that exist: with categories, only a
    code that owns one can be chosen, so codes to spare stay unused instead of drifting.
    """

    def __init__(self, sizes: tuple[int, ...], dim: int) -> None:
        self.sizes = sizes
        self.dim = dim
        self.vectors = [torch.zeros(size, dim) for size in sizes]
        self.mass = [torch.zeros(size) for size in sizes]
        self.sums = [torch.zeros(size, dim) for size in sizes]
        self.owned = torch.ones(sizes[0], dtype=torch.bool)

    def nearest(self, level: int, residual: torch.Tensor) -> torch.Tensor:
        """Nearest code (B,) of `residual` (B, d) at the 0-based `level`, by squared distance."""
        return nearest(residual, self.vectors[level], self._offset(level))

    def quantize(self, latent: torch.Tensor, forced: torch.Tensor | None = None) -> Residuals:
        """Quantizes `latent` (B, d); `forced` (B,) int64 gives level 1 where it is not -1."""
        residual = latent
        codes, residuals, chosen = [], [latent], []
        for level in range(len(self.sizes)):
            code = self.nearest(level, residual.detach())
            if level == 0 and forced is not None:
                code = torch.where(forced >= 0, forced, code)
            vector = self.vectors[level][code]
            residual = residual - vector
            codes.append(code)
            chosen.append(vector)
            residuals.append(residual)
        return Residuals(torch.stack(codes, dim=1), torch.stack(residuals), torch.stack(chosen))

    @torch.inference_mode()
    def assign(self, latent: torch.Tensor, forced: torch.Tensor | None = None) -> torch.Tensor:
        """The codes (N, L) int64 of all of `latent` (N, d), as `quantize` gives them, a part at a time."""
        n, levels = len(latent), len(self.sizes)
        codes = torch.empty(n, levels, dtype=torch.int64)
        offsets = [self._offset(level) for level in range(levels)]
        scores = [torch.empty(min(n, CHUNK), size) for size in self.sizes]
        for at in range(0, n, CHUNK):
            part = slice(at, at + CHUNK)
            residual = latent[part]
            for level, vectors in enumerate(self.vectors):
                code = best(residual, vectors, offsets[level], scores[level])
                if level == 0 and forced is not None:
                    code = torch.where(forced[part] >= 0, forced[part], code)
                codes[part, level] = code
                if level < levels - 1:
                    residual = residual - vectors.index_select(0, code)
        return codes

    @torch.inference_mode()
    def encode(self, latent: torch.Tensor, forced: torch.Tensor | None = None) -> Quantized:
        """Quantizes all of `latent` (N, d): codes, norms on the way, and the sum of the chosen vectors."""
        codes = self.assign(latent, forced)
        norms = torch.empty(len(latent), len(self.sizes) + 1)
        quantized = torch.empty(len(latent), self.dim)
        for at in range(0, len(latent), CHUNK):
            part = slice(at, at + CHUNK)
            residual = latent[part].clone()
            torch.linalg.vector_norm(residual, dim=1, out=norms[part, 0])
            for level, vectors in enumerate(self.vectors):
                residual -= vectors.index_select(0, codes[part, level])
                torch.linalg.vector_norm(residual, dim=1, out=norms[part, level + 1])
            torch.sub(latent[part], residual, out=quantized[part])
        return Quantized(codes.numpy(), norms.numpy(), latent.numpy(), quantized.numpy())

    def fit(self, latent: torch.Tensor, forced: torch.Tensor | None, *, seed: int, warm: bool = False) -> None:
        """Sets every level from the whole catalogue's latents (N, d): balanced k-means on the residuals of the level above.

        Forced level-1 codes become the mean of their members (what their moving average tends to). `warm` starts
        k-means from the present vectors, which keeps the meaning of the codes.
        """
        residual = latent
        for level, size in enumerate(self.sizes):
            if level == 0 and forced is not None:
                self._fit_categories(latent, forced)
            else:
                start = self.vectors[level].numpy() if warm else None
                rows = residual.numpy()
                found = balance(rows, kmeans(rows, size, seed=seed + level, start=start), seed=seed + level)
                self.vectors[level] = torch.from_numpy(found)
            code = self._assign(level, residual, forced)
            share = torch.bincount(code, minlength=size).float() / len(code)
            self.mass[level] = share
            self.sums[level] = self.vectors[level] * share[:, None]
            residual = residual - self.vectors[level][code]

    def update(self, result: Residuals, decay: float) -> None:
        """Moves every level's averages by one batch of items: mass and sum of members, then vector = sum / mass."""
        n_rows = len(result.codes)
        for level, size in enumerate(self.sizes):
            code = result.codes[:, level]
            members = result.residuals[level].detach()
            count = torch.bincount(code, minlength=size).float() / n_rows
            total = torch.zeros(size, self.dim).index_add_(0, code, members) / n_rows
            self.mass[level].mul_(decay).add_(count, alpha=1 - decay)
            self.sums[level].mul_(decay).add_(total, alpha=1 - decay)
            alive = self.mass[level] > 1e-8
            self.vectors[level] = torch.where(
                alive[:, None], self.sums[level] / self.mass[level].clamp_min(1e-8)[:, None], self.vectors[level]
            )

    def restart(self, level: int, dead: torch.Tensor, residual: torch.Tensor, rng: np.random.Generator) -> int:
        """Moves `dead` codes (K,) bool onto rows of `residual` (B, d) drawn by squared distance to their code.

        Far rows are what the codebook serves worst (k-means++ seeding). Returns how many codes moved.
        """
        codes = torch.nonzero(dead).flatten()
        if len(codes) == 0:
            return 0
        error = (residual - self.vectors[level][self.nearest(level, residual)]).square().sum(dim=1).double().numpy()
        spread = float(error.sum())
        odds = error / spread if spread > 0 else np.full(len(error), 1 / len(error))
        enough = int((odds > 0).sum()) >= len(codes)
        rows = torch.from_numpy(rng.choice(len(residual), size=len(codes), replace=not enough, p=odds))
        even = 1.0 / self.sizes[level]
        self.vectors[level][codes] = residual[rows]
        self.mass[level][codes] = even
        self.sums[level][codes] = residual[rows] * even
        return len(codes)

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that changes, by name."""
        state = {"owned": self.owned}
        for level in range(len(self.sizes)):
            state |= {
                f"vectors.{level}": self.vectors[level],
                f"mass.{level}": self.mass[level],
                f"sums.{level}": self.sums[level],
            }
        return state

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """The inverse of `state`. Raises KeyError or ValueError when it is of other sizes."""
        for level, size in enumerate(self.sizes):
            if tuple(state[f"vectors.{level}"].shape) != (size, self.dim):
                raise ValueError(f"level {level + 1} has shape {tuple(state[f'vectors.{level}'].shape)}")
            self.vectors[level] = state[f"vectors.{level}"].clone()
            self.mass[level] = state[f"mass.{level}"].clone()
            self.sums[level] = state[f"sums.{level}"].clone()
        self.owned = state["owned"].clone()

    def _fit_categories(self, latent: torch.Tensor, forced: torch.Tensor) -> None:
        known = forced >= 0
        size = self.sizes[0]
        count = torch.bincount(forced[known], minlength=size)
        total = torch.zeros(size, self.dim).index_add_(0, forced[known], latent[known])
        self.owned = count > 0
        self.vectors[0] = total / count.clamp_min(1)[:, None]

    def _offset(self, level: int) -> torch.Tensor:
        """What `nearest` adds to each code's product; a level-1 code that does not exist is out of reach."""
        offset = half_squares(self.vectors[level])
        return offset.masked_fill_(~self.owned, -torch.inf) if level == 0 else offset

    def _assign(self, level: int, residual: torch.Tensor, forced: torch.Tensor | None) -> torch.Tensor:
        code = self.nearest(level, residual)
        return torch.where(forced >= 0, forced, code) if level == 0 and forced is not None else code
