"""Every tokenizer by its setting: DSIRM's contrastive quantizer, TIGER, DSI, RK-means, controls; training and loading.

All are trained with the same arguments and offer the same `Quantizer`, so that between methods only the SIDs differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.config import QuantizerConfig
from engine.progress import Progress, silent
from engine.quantizers import storage
from engine.quantizers.clustering import KMeansQuantizer, fit_kmeans
from engine.quantizers.contrastive import train_contrastive
from engine.quantizers.controls import HashQuantizer, PathQuantizer, fit_hash, fit_paths
from engine.quantizers.dynamic import STEP_COST, Texts, train_encoder
from engine.quantizers.hierarchical import HierarchicalQuantizer, fit_hierarchical
from engine.quantizers.history import Row, table, use_of_levels
from engine.quantizers.local import LocalQuantizer
from engine.quantizers.model import ContrastiveQuantizer
from engine.quantizers.protocol import Quantizer
from engine.quantizers.rqvae import RqVae, train_rqvae
from engine.quantizers.sampling import TrainingSet


class TokenizerFit(NamedTuple):
    """A trained tokenizer and how it went."""

    quantizer: Quantizer
    history: pd.DataFrame
    """step, name, value; `QuantizerFit.history` names them, and `Reencoded.history` those of dynamic encoding. A
    tokenizer without steps has its use of codes at step 0."""
    item_x: np.ndarray
    """(N, D) the item embeddings that the quantizer reads: the given ones, or with dynamic encoding the new ones."""
    query_x: np.ndarray  # (Q, D) the same of the queries.


def train_tokenizer(
    data: TrainingSet,
    config: QuantizerConfig,
    sizes: tuple[int, ...],
    *,
    seed: int,
    texts: Texts | None = None,
    progress: Progress = silent,
    checkpoint: Path | None = None,
) -> TokenizerFit:
    """Trains the tokenizer of `config.kind`.

    Only `contrastive` and `local` look at queries and pairs, and at categories beside `category-path`: the others are what
    their papers made them, unsupervised and without a category level. `texts` are what the embeddings are of; dynamic
    encoding (`config.dynamic_steps`, those two only) needs them. `checkpoint` resumes what trains by steps.
    """
    quantizer: Quantizer
    rows: list[Row] = []
    if taught_by_queries(config):
        first = None if checkpoint is None else checkpoint.with_name(f"{checkpoint.name}-encoder")
        ahead = STEP_COST * config.dynamic_steps
        whole = ahead + config.steps
        if config.dynamic_steps:
            assert texts is not None, "dynamic encoding reads the texts"
            made = train_encoder(
                data, config, sizes, texts, seed=seed, checkpoint=first,
                progress=lambda done, total: progress(STEP_COST * done, whole),
            )  # fmt: skip
            data = data._replace(item_x=made.item_x, query_x=made.query_x)
            rows = made.history
        fit = train_contrastive(
            data, config, sizes, seed=seed, checkpoint=checkpoint,
            progress=lambda done, total: progress(ahead + done, whole),
        )  # fmt: skip
        if first is not None:
            first.unlink(missing_ok=True)
        history = pd.concat([table(rows), fit.history], ignore_index=True) if rows else fit.history
        return TokenizerFit(fit.quantizer, history, data.item_x, data.query_x)
    if config.kind == "rqvae":
        quantizer, rows = train_rqvae(data.item_x, config, sizes, seed=seed, progress=progress, checkpoint=checkpoint)
    else:
        if config.kind == "category-path":
            quantizer = fit_paths(data.item_x, data.known, sizes)
        elif config.kind == "hash":
            quantizer = fit_hash(data.item_x, data.known, sizes)
        else:
            fit_clusters = fit_hierarchical if config.kind == "hierarchical" else fit_kmeans
            quantizer = fit_clusters(data.item_x, sizes, seed=seed, progress=progress)
        rows = use_of_levels(0, quantizer.encode_items(data.item_x, data.known).codes, quantizer.sizes)
    return TokenizerFit(quantizer, table(rows), data.item_x, data.query_x)


_KINDS: dict[str, type[Quantizer]] = {
    "contrastive": ContrastiveQuantizer,
    "local": LocalQuantizer,
    "rqvae": RqVae,
    "hierarchical": HierarchicalQuantizer,
    "kmeans": KMeansQuantizer,
    "category-path": PathQuantizer,
    "hash": HashQuantizer,
}


def taught_by_queries(config: QuantizerConfig) -> bool:
    """Whether the tokenizer of `config.kind` learns from queries: if so, each fold needs its own."""
    return _KINDS[config.kind].taught_by_queries


def load_quantizer(path: Path) -> Quantizer:
    """The quantizer, of whatever kind, in the folder `path`. Raises ModelError when it is missing, damaged or unknown."""
    return storage.read(path, {kind: made.restore for kind, made in _KINDS.items()})
