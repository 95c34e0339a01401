"""Training of DSIRM's quantizer: queries bridge items that words keep apart (METHOD, section 1).

Loss = contrastive_weight * InfoNCE(quantized queries, quantized items) + commitment_weight * commitment (both sides)
+ reconstruction_weight * reconstruction (items) + repel_weight * repulsion (items that share a SID and must not);
`engine.quantizers.losses` states each reduction. Every step sees `batch` query-item pairs, drawn by
interaction strength, and `batch` items drawn evenly from the whole catalogue: the latter give commitment and
reconstruction to items without queries, and alone move the codebooks, so that a code serves the catalogue and not its
popular part.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from engine.config import QuantizerConfig
from engine.progress import Progress, silent
from engine.quantizers.history import table, use_of_levels
from engine.quantizers.local import KIND as LOCAL
from engine.quantizers.local import localise
from engine.quantizers.losses import commitment, info_nce, reconstruction, repulsion, rotate, straight_through
from engine.quantizers.model import ContrastiveQuantizer
from engine.quantizers.protocol import Known
from engine.quantizers.residual import Residuals
from engine.quantizers.sampling import ApartSampler, PairSampler, TrainingSet
from engine.quantizers.training import Training


class QuantizerFit(NamedTuple):
    """A trained quantizer and how it went."""

    quantizer: ContrastiveQuantizer
    history: pd.DataFrame
    """step, name, value: loss, contrastive, commitment, reconstruction, repel (where it has a weight); per level usage_<l>,
    perplexity_<l> (share of codes used, and 2**entropy, over items drawn since the row before; the last step: over the
    whole catalogue) and restarts_<l>."""


def train_contrastive(
    data: TrainingSet,
    config: QuantizerConfig,
    sizes: tuple[int, ...],
    *,
    seed: int,
    progress: Progress = silent,
    checkpoint: Path | None = None,
) -> QuantizerFit:
    """Trains projections and codebooks on items, queries and pairs.

    Category codes force level 1 (-1: nearest code); None, or no code at all, makes level 1 k-means cells.
    With `checkpoint`, the whole state is written there every 100 steps; a later call with equal arguments goes on
    from it and ends bitwise equal to an uninterrupted one. The file is removed at the end.
    """
    training = ContrastiveTraining(data, config, sizes, seed)
    training.run(progress, checkpoint)
    fit = training.finish()
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return fit


class ContrastiveTraining(Training):
    """DSIRM's training."""

    def __init__(self, data: TrainingSet, config: QuantizerConfig, sizes: tuple[int, ...], seed: int) -> None:
        self.item_x = np.ascontiguousarray(data.item_x, dtype=np.float32)
        self.query_x = np.ascontiguousarray(data.query_x, dtype=np.float32)
        self.pairs = PairSampler(data.pair_query, data.pair_item, data.pair_weight, n_items=len(data.item_x))
        code = data.known.category_code if config.category_level else None
        known = code is not None and bool((code >= 0).any())
        self.forced = torch.from_numpy(code.astype(np.int64)) if code is not None and known else None
        assert self.forced is None or int(self.forced.max()) < sizes[0], "a category code is beyond level 1's size"
        self.model = ContrastiveQuantizer(self.item_x.shape[1], config.dim, sizes, forced_level=known)
        repels = config.repel_weight > 0
        self.apart = ApartSampler(data.graded if repels else None)
        self.category = pd.factorize(np.array(data.known.category, dtype=object))[0] if repels else np.zeros(0)
        super().__init__(self.model, config, config.steps, seed)
        self.first_restarted = int(known)
        self.learn({config.lr: list(self.model.parameters())})

    def items(self, rows: np.ndarray) -> torch.Tensor:
        """Embeddings (B, D) of these items."""
        return torch.from_numpy(self.item_x[rows])

    def queries(self, rows: np.ndarray) -> torch.Tensor:
        """Embeddings (B, D) of these queries."""
        return torch.from_numpy(self.query_x[rows])

    def step(self, step: int) -> None:
        if step == 0:
            self.model.start(self.item_x, self.forced, seed=self.seed)
        config, model = self.config, self.model
        rng = np.random.default_rng((self.seed, step))
        query, item = self.pairs.draw(config.batch, rng)
        n_pairs = len(item)
        rows = np.concatenate([item, rng.integers(len(self.item_x), size=config.batch)])
        latent = model.item(self.items(rows))
        result = model.codebooks.quantize(latent, None if self.forced is None else self.forced[rows])
        estimate = self._estimate(latent, result)
        catalogue = result.rows(slice(n_pairs, None))
        commitments = [commitment(catalogue)]
        contrastive = torch.zeros(())
        if n_pairs:
            query_latent = model.query(self.queries(query))
            query_result = model.codebooks.quantize(query_latent)
            commitments += [commitment(result.rows(slice(n_pairs))), commitment(query_result)]
            known = torch.from_numpy(self.pairs.known(query, item))
            contrastive = info_nce(self._estimate(query_latent, query_result), estimate[:n_pairs], known, config.tau)
        terms = {
            "contrastive": contrastive,
            "commitment": torch.stack(commitments).mean(),
            "reconstruction": reconstruction(model.decoder(estimate), torch.from_numpy(self.item_x[rows])),
        }
        if config.repel_weight > 0:
            terms["repel"] = self._repulsion(latent, result, rows, rng)
        loss = torch.stack([getattr(config, f"{name}_weight") * value for name, value in terms.items()]).sum()
        self.descend(step, loss, terms)
        self.follow(step, catalogue, rng)

    def finish(self) -> QuantizerFit:
        """Fits the codebooks to the final latents of the whole catalogue and closes the history.

        Projections still move in the last steps while the averages lag. k-means from the present vectors gives each
        code its final members (measured on held-out queries: hit@5 at level 2 .67 without it, .75 with it), and
        balancing it raised perplexity / K at levels 2 and 3 from .71 to .80-.91.
        """
        if self.steps == 0:
            self.model.start(self.item_x, self.forced, seed=self.seed)
        model = self.model.eval()
        model.codebooks.fit(model.project(model.item, self.item_x), self.forced, seed=self.seed, warm=True)
        if self.config.kind == LOCAL:
            model = localise(model, self.item_x, self.forced, seed=self.seed)
        known = None if self.forced is None else Known(self.forced.numpy())
        self.history += use_of_levels(self.steps, model.encode_items(self.item_x, known).codes, model.sizes)
        return QuantizerFit(model, table(self.history))

    def inputs(self) -> tuple[object, list[np.ndarray]]:
        forced = [] if self.forced is None else [self.forced.numpy()]
        repelled = [*self.apart.arrays(), self.category] if self.config.repel_weight > 0 else []
        return None, [self.item_x, self.query_x, *self.pairs.arrays(), *forced, *repelled]

    def _repulsion(
        self, latent: torch.Tensor, result: Residuals, rows: np.ndarray, rng: np.random.Generator
    ) -> torch.Tensor:
        """Of pairs that now share a SID: of as many pairs graded apart as a step sees, and of items of different known
        categories among those of the step, `rows` (B,), whose latents and codes are at hand."""
        sid = torch.unique(result.codes, dim=0, return_inverse=True)[1]
        category = torch.from_numpy(self.category[rows] if len(self.category) else np.full(len(rows), -1))
        known = category >= 0
        clash = (sid[:, None] == sid) & (category[:, None] != category) & known[:, None] & known
        one, other = torch.nonzero(clash.triu(1), as_tuple=True)
        pairs = [(latent[one], latent[other])]
        apart = self.apart.draw(self.config.batch, rng)
        if len(apart):
            both = self.model.item(self.items(apart.T.ravel()))
            forced = None if self.forced is None else self.forced[apart.T.ravel()]
            codes = self.model.codebooks.quantize(both, forced).codes
            n = len(apart)
            same = (codes[:n] == codes[n:]).all(dim=1) & torch.from_numpy(apart[:, 0] != apart[:, 1])
            pairs.append((both[:n][same], both[n:][same]))
        return repulsion(torch.cat([first for first, _ in pairs]), torch.cat([second for _, second in pairs]))

    def _estimate(self, latent: torch.Tensor, result: Residuals) -> torch.Tensor:
        estimator = rotate if self.config.rotation_trick else straight_through
        return estimator(latent, result.quantized)
