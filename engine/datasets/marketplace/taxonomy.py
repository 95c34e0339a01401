"""Which leaf categories a catalogue of a given size has, and how many items each (Zipf)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.datasets.marketplace.vocabulary import SLOTS, Leaf, Vocabulary, load_vocabulary

ZIPF = 0.9  # exponent of leaf sizes: the smallest of 216 leaves has 4-8 of 6,000 items
FLOOR = 4  # items the smallest leaf has at least


class Taxonomy(NamedTuple):
    """The active leaves; codes of departments, brands and attributes are positions in `vocabulary`."""

    vocabulary: Vocabulary
    leaves: tuple[Leaf, ...]
    sizes: np.ndarray  # (C,) items a leaf.
    department: np.ndarray  # (C,) ascending.
    n_types: np.ndarray
    n_features: np.ndarray
    attribute: np.ndarray  # (C, SLOTS) attribute of each slot, -1 where the leaf has fewer.
    n_values: np.ndarray  # (C, SLOTS) values of that attribute, 0 where absent.


def leaf_sizes(n_items: int, n_leaves: int, rng: np.random.Generator) -> np.ndarray:
    """(n_leaves,) Zipf sizes in random order, each at least FLOOR, summing to n_items."""
    weight = np.arange(1, n_leaves + 1, dtype=np.float64) ** -ZIPF
    sizes = np.maximum(np.floor(n_items * weight / weight.sum()), FLOOR).astype(np.int64)
    sizes[0] += n_items - sizes.sum()
    return rng.permutation(sizes)


def build_taxonomy(n_items: int, seed: int) -> Taxonomy:
    """All 24 x 9 leaves from about 4,300 items on; below that fewer leaves a department, then fewer departments."""
    vocabulary = load_vocabulary()
    wanted = min(len(vocabulary.leaves), max(6, n_items // 20))
    n_departments = min(len(vocabulary.departments), max(3, wanted // 3))
    each = max(1, wanted // n_departments)
    leaves: list[Leaf] = []
    for department in range(n_departments):
        own = [leaf for leaf in vocabulary.leaves if leaf.department == department]
        leaves += own[:each]
    attribute = np.full((len(leaves), SLOTS), -1, dtype=np.int64)
    for k, leaf in enumerate(leaves):
        attribute[k, : len(leaf.attributes)] = leaf.attributes
    counts = np.array([len(a.values) for a in vocabulary.attributes], dtype=np.int64)
    return Taxonomy(
        vocabulary=vocabulary,
        leaves=tuple(leaves),
        sizes=leaf_sizes(n_items, len(leaves), np.random.default_rng([seed, 1])),
        department=np.array([leaf.department for leaf in leaves], dtype=np.int64),
        n_types=np.array([len(leaf.types) for leaf in leaves], dtype=np.int64),
        n_features=np.array([len(leaf.features) for leaf in leaves], dtype=np.int64),
        attribute=attribute,
        n_values=np.where(attribute >= 0, counts[attribute], 0),
    )
