"""True utility and grades: how well an offer serves what a query means.

utility = affinity of the leaf x (1 - penalties of unmet wishes) + 0.04 x quality; grades by the cuts below.
"""

from __future__ import annotations

import numpy as np

from engine.datasets.marketplace.items import Items
from engine.datasets.marketplace.queries import Intents
from engine.datasets.marketplace.taxonomy import Taxonomy

SAME_DEPARTMENT = 0.15  # affinity of the leaves beside the one meant
TYPE, BRAND, FEATURE, VALUE = 0.5, 0.5, 0.5, 0.3  # penalties of unmet wishes
NEAR_VALUE = 0.5  # share of VALUE charged for the next larger or smaller size
MODEL = 0.45  # penalty of another model of the same brand and type
QUALITY = 0.04
CUTS = (0.25, 0.62, 0.84)  # utility at which grades 1, 2, 3 begin


def utility(taxonomy: Taxonomy, items: Items, intents: Intents, query: np.ndarray, item: np.ndarray) -> np.ndarray:
    """(M,) true utility of each pair of positions (query, item)."""
    leaf = items.leaf[item]
    served = np.where(intents.leaves[query] == leaf[:, None], intents.weights[query], 0.0)
    sense = served.argmax(axis=1)
    near = taxonomy.department[leaf] == taxonomy.department[intents.leaves[query, 0]]
    affinity = np.maximum(served.max(axis=1), SAME_DEPARTMENT * near)
    in_leaf = served.max(axis=1) > 0

    right_type = (intents.types[query, sense] >> items.type[item]) & 1 == 1
    penalty = TYPE * ~(right_type & in_leaf)
    brand = intents.brand[query]
    penalty += BRAND * ((brand >= 0) & (brand != items.brand[item]))
    feature = intents.feature[query]
    has_feature = (items.features[item] >> np.maximum(feature, 0)) & 1 == 1
    penalty += FEATURE * ((feature >= 0) & ~(has_feature & in_leaf))
    family = intents.family[query]
    penalty += MODEL * ((family >= 0) & (family != items.family[item]))

    attribute, wanted = intents.attribute[query], intents.value[query]
    holds = (taxonomy.attribute[leaf] == attribute[:, None]) & (attribute >= 0)[:, None]
    value = np.where(holds, items.values[item], -9).max(axis=1)
    sized = np.array([bool(a.unit) for a in taxonomy.vocabulary.attributes])[np.maximum(attribute, 0)]
    unmet = np.where(value == wanted, 0.0, np.where(sized & (np.abs(value - wanted) == 1), NEAR_VALUE, 1.0))
    penalty += VALUE * np.where(attribute >= 0, unmet, 0.0)
    return affinity * np.maximum(1.0 - penalty, 0.0) + QUALITY * items.quality[item]


def grade(value: np.ndarray) -> np.ndarray:
    """(M,) grade 0..3 of each utility."""
    return np.searchsorted(np.array(CUTS), value, side="right").astype(np.int64)
