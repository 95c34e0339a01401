"""Simulated image embeddings: directions of category, type and visual attributes, plus noise. No picture exists."""

from __future__ import annotations

import numpy as np

from engine.datasets.marketplace.items import Items
from engine.datasets.marketplace.queries import ANY_TYPE, Intents
from engine.datasets.marketplace.taxonomy import Taxonomy

DIM = 64
MISSING = 0.12  # share of offers without a picture
LEAF, TYPE, VALUE = 0.8, 0.6, 0.6  # lengths of the directions
ITEM_NOISE, QUERY_NOISE = 1.0, 1.1  # expected length of the noise


class Directions:
    """Unit vectors that both sides share, as a contrastively trained image-text model would have them."""

    def __init__(self, taxonomy: Taxonomy, seed: int) -> None:
        rng = np.random.default_rng([seed, 8])

        def unit(*shape: int) -> np.ndarray:
            x = rng.normal(size=(*shape, DIM))
            return x / np.linalg.norm(x, axis=-1, keepdims=True)

        self.seed, self.taxonomy = seed, taxonomy
        self.leaf = unit(len(taxonomy.leaves))
        self.type = unit(len(taxonomy.leaves), int(taxonomy.n_types.max()))
        attributes = taxonomy.vocabulary.attributes
        self.value = unit(len(attributes), max(len(a.values) for a in attributes))
        self.visual = np.array([a.visual for a in attributes])

    def _rows(
        self, x: np.ndarray, noise: float, shown: np.ndarray, rng: np.random.Generator
    ) -> list[np.ndarray | None]:
        x = x + rng.normal(scale=noise / np.sqrt(DIM), size=x.shape)
        unit = (x / np.linalg.norm(x, axis=1, keepdims=True)).round(4).astype(np.float32)
        return [row if has else None for row, has in zip(unit, shown, strict=True)]

    def of_items(self, items: Items, rows: range) -> list[np.ndarray | None]:
        """A unit vector of DIM for each offer at `rows`, None where it has no picture."""
        rng = np.random.default_rng([self.seed, 9, rows.start])
        at = slice(rows.start, rows.stop)
        leaf, attribute = items.leaf[at], self.taxonomy.attribute[items.leaf[at]]
        x = LEAF * self.leaf[leaf] + TYPE * self.type[leaf, items.type[at]]
        for slot in range(attribute.shape[1]):
            seen = (attribute[:, slot] >= 0) & self.visual[attribute[:, slot]]
            x += VALUE * seen[:, None] * self.value[attribute[:, slot], items.values[at, slot]]
        return self._rows(x, ITEM_NOISE, rng.random(len(rows)) >= MISSING, rng)

    def of_queries(self, intents: Intents) -> list[np.ndarray | None]:
        """A unit vector of DIM for each query, None where its words name nothing one can see."""
        rng = np.random.default_rng([self.seed, 11])
        share = intents.weights / intents.weights.sum(axis=1, keepdims=True)
        leaves = np.maximum(intents.leaves, 0)
        x = LEAF * (share[:, :, None] * self.leaf[leaves]).sum(axis=1)
        for t in range(self.type.shape[1]):
            meant = (intents.types >> t & 1 == 1) & (intents.types != ANY_TYPE)
            x += TYPE * ((share * meant)[:, :, None] * self.type[leaves, t]).sum(axis=1)
        seen = (intents.attribute >= 0) & self.visual[intents.attribute]
        x += VALUE * seen[:, None] * self.value[intents.attribute, intents.value]
        return self._rows(x, QUERY_NOISE, intents.visible, rng)
