"""DSIRM with codes of their own for every parent: level 1 as DSIRM has it, below it a tree over the trained latents.

Residual codes are shared by all cells above, so one vector must serve unlike cells and they fill unevenly. Here each cell
is clustered anew, balanced as codebooks are (OneSearch balances its deeper codes too, by a cap: Chen et al. 2025, arXiv
2509.03236). Code 3 under 17 and code 3 under 18 are unlike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.quantizers import storage
from engine.quantizers.model import ContrastiveQuantizer, Projection
from engine.quantizers.protocol import Quantized
from engine.quantizers.residual import ResidualCodebooks
from engine.quantizers.tree import ClusterTree, grow

KIND = "local"


class LocalQuantizer(ContrastiveQuantizer):
    """DSIRM's trained projections and its level 1; deeper, the nearest child of the cluster a row is in.

    `codebooks` holds level 1 alone.
    """

    def __init__(
        self, in_dim: int, dim: int, sizes: tuple[int, ...], *, forced_level: bool, tree: ClusterTree | None = None
    ) -> None:
        super().__init__(in_dim, dim, sizes, forced_level=forced_level)
        self.codebooks = ResidualCodebooks(sizes[:1], dim)
        self.tree = tree or ClusterTree([])

    def _encode(self, side: Projection, x: np.ndarray, forced: torch.Tensor | None) -> Quantized:
        latent = self.project(side, np.ascontiguousarray(x, dtype=np.float32))
        first = self.codebooks.encode(latent, forced)
        way = self.tree.descend(first.latent, first.codes[:, 0], first.quantized)
        return Quantized(
            np.concatenate([first.codes, way.codes], axis=1),
            np.concatenate([first.residual_norms, way.distances], axis=1),
            first.latent,
            way.last,
        )

    def save(self, path: Path) -> None:
        """Writes weights, tree and settings into the folder `path`."""
        tree = {f"tree.{name}": tensor for name, tensor in self.tree.tensors().items()}
        storage.write(path, KIND, self.settings(), {**self.tensors(), **tree})

    @staticmethod
    def restore(settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> LocalQuantizer:
        """The inverse of `save`, from what it wrote."""
        sizes, forced = tuple(settings["sizes"]), settings["forced_level"]
        own = {name.removeprefix("tree."): t for name, t in tensors.items() if name.startswith("tree.")}
        tree = ClusterTree.restore(own, len(sizes) - 1)
        made = LocalQuantizer(settings["in_dim"], settings["dim"], sizes, forced_level=forced, tree=tree)
        made.load_tensors({name: t for name, t in tensors.items() if not name.startswith("tree.")})
        return made.eval()


def localise(
    model: ContrastiveQuantizer, item_x: np.ndarray, forced: torch.Tensor | None, *, seed: int
) -> LocalQuantizer:
    """Keeps a trained model's projections and level 1, and clusters the items (N, D) within each of its codes; at most K_l
    children a cluster at level l."""
    latent = model.project(model.item, item_x)
    made = LocalQuantizer(model.in_dim, model.dim, model.sizes, forced_level=model.forced_level)
    made.load_state_dict(model.state_dict())
    made.codebooks.load_state(model.codebooks.state())
    first = made.codebooks.assign(latent, forced)[:, 0].numpy()
    made.tree = grow(latent.numpy(), first, made.codebooks.vectors[0].numpy(), model.sizes[1:], seed=seed)
    return made.eval()
