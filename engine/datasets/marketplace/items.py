"""The hidden truth of the catalogue: families of products, their attributes, and the offers that sellers list.

A family is one model of one brand (type, features and first values shared). Offers of a family differ in one
attribute, or only in the seller: the near-duplicates of a real marketplace.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from engine.datasets.marketplace.taxonomy import Taxonomy
from engine.datasets.marketplace.vocabulary import SLOTS

NEW_FAMILY = 0.62  # chance that the next offer of a leaf opens a new family
VARIANT = 0.8  # chance that an offer of an old family changes one attribute (else only the seller differs)
DAYS_LISTED = 1095  # offers were listed over three years
GENERALIST, NICHE = 0.08, 0.6  # shares of sellers present everywhere, and in one or two leaves


@dataclass(frozen=True)
class Items:
    """One row an offer, N rows in leaf order of a random permutation; -1 = absent."""

    leaf: np.ndarray
    type: np.ndarray
    brand: np.ndarray
    features: np.ndarray  # (N,) bit f set = has feature f of its leaf.
    values: np.ndarray  # (N, SLOTS) value of each attribute slot of its leaf.
    family: np.ndarray
    model_number: np.ndarray  # (N,) digits of the model code; unique within the brand's code letters.
    seller: np.ndarray
    price: np.ndarray
    age_days: np.ndarray
    popularity: np.ndarray  # (N,) demand weight, log-normal.
    quality: np.ndarray  # (N,) standard normal; part of true utility that no text shows.
    n_sellers: int

    def __len__(self) -> int:
        return len(self.leaf)


def zipf_draw(counts: np.ndarray, rng: np.random.Generator, exponent: float = 0.7) -> np.ndarray:
    """One position below each count, Zipf-weighted; 0 where the count is 0."""
    widest = int(counts.max(initial=1))
    weight = np.arange(1, widest + 1, dtype=np.float64) ** -exponent
    cumulative = np.cumsum(weight)
    limit = cumulative[np.maximum(counts, 1) - 1]
    return np.searchsorted(cumulative, rng.random(len(counts)) * limit, side="right").astype(np.int64)


def uniform_draw(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One position below each count, uniform; -1 where the count is 0."""
    drawn = np.floor(rng.random(counts.shape) * counts).astype(np.int64)
    return np.where(counts > 0, drawn, -1)


def count_before(group: np.ndarray) -> np.ndarray:
    """Per row, how many earlier rows are of the same group."""
    order = np.argsort(group, kind="stable")
    start = np.r_[0, np.flatnonzero(np.diff(group[order])) + 1]
    sizes = np.diff(np.r_[start, len(group)])
    before = np.empty(len(group), dtype=np.int64)
    before[order] = np.arange(len(group)) - np.repeat(start, sizes)
    return before


def code_letters(brand: str) -> str:
    """The two letters that begin a brand's model codes: `Marrow & Pine` -> `MP`, `Brewhaven` -> `BR`."""
    words = [word for word in brand.upper().replace("&", " ").split() if word[0].isalpha()]
    letters = words[0][0] + words[1][0] if len(words) > 1 else words[0][:2]
    return letters.encode("ascii", "replace").decode().replace("?", "X")


def _sellers(taxonomy: Taxonomy, leaf: np.ndarray, n_items: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """(N,) seller of each offer: Zipf over sellers, some in every leaf, most in one or two, the rest in a department."""
    n_leaves = len(taxonomy.leaves)
    count = max(40, round(400 * (n_items / 6000) ** 0.5))
    size = np.arange(1, count + 1, dtype=np.float64) ** -0.9
    kind = rng.random(count)
    home = rng.choice(n_leaves, size=count, p=taxonomy.sizes / taxonomy.sizes.sum())
    second = rng.integers(0, n_leaves, size=count)
    everywhere = kind < GENERALIST
    niche = kind > 1 - NICHE
    seller = np.empty(n_items, dtype=np.int64)
    for k in range(n_leaves):
        same = taxonomy.department[home] == taxonomy.department[k]
        affinity = np.where(everywhere, 1.0, np.where(niche, ((home == k) | (second == k)) * 12.0, same * 4.0))
        weight = size * (affinity + 1e-4)
        rows = slice(*np.searchsorted(leaf, [k, k + 1]))  # leaf is ascending here
        drawn = rng.choice(count, size=int(taxonomy.sizes[k]), p=weight / weight.sum())
        seller[rows] = drawn
    return seller, count


def generate_items(taxonomy: Taxonomy, seed: int) -> Items:
    """The offers of the catalogue; N = taxonomy.sizes.sum()."""
    rng = np.random.default_rng([seed, 2])
    leaf = np.repeat(np.arange(len(taxonomy.leaves)), taxonomy.sizes)
    n = len(leaf)
    first = np.r_[True, np.diff(leaf) > 0]
    opens = first | (rng.random(n) < NEW_FAMILY)
    family = np.cumsum(opens) - 1
    family_leaf = leaf[opens]
    n_families = len(family_leaf)

    family_type = zipf_draw(taxonomy.n_types[family_leaf], rng, 0.5)
    house = np.array(taxonomy.vocabulary.department_brands, dtype=np.int64)
    rank = zipf_draw(np.full(n_families, house.shape[1]), rng)
    family_brand = house[taxonomy.department[family_leaf], rank]
    n_features = taxonomy.n_features[family_leaf]
    masks = np.zeros(n_families, dtype=np.int64)
    for chance in (1.0, 0.6, 0.2):
        bit = uniform_draw(n_features, rng)
        masks |= np.where(rng.random(n_families) < chance, 1 << bit, 0)
    family_values = uniform_draw(taxonomy.n_values[family_leaf], rng)
    letters = np.array([code_letters(brand) for brand in taxonomy.vocabulary.brands])
    letter_code = np.unique(letters, return_inverse=True)[1]
    # Stride 7 plus a draw below 7: unlike numbers within the same letters, without looking sequential.
    family_model = 103 + 7 * count_before(letter_code[family_brand]) + rng.integers(0, 7, n_families)

    values = family_values[family]
    fresh = uniform_draw(taxonomy.n_values[leaf], rng)
    slot = uniform_draw(np.maximum((taxonomy.attribute[leaf] >= 0).sum(axis=1), 1), rng)
    changes = ~opens & (rng.random(n) < VARIANT)
    values = np.where(changes[:, None] & (np.arange(SLOTS) == slot[:, None]), fresh, values)

    low = np.array([spec.low_price for spec in taxonomy.leaves])[family_leaf]
    high = np.array([spec.high_price for spec in taxonomy.leaves])[family_leaf]
    tier = np.clip(rng.normal(0.42 + 0.1 * (rank < 3) + 0.05 * (family_type == 1), 0.18, n_families), 0.02, 1.0)
    family_price = low * (high / low) ** tier
    price = family_price[family] * np.exp(rng.normal(0.0, 0.09, n))
    price = np.maximum(np.floor(price) + rng.choice([0.99, 0.95, 0.5, 0.0], size=n, p=[0.6, 0.15, 0.1, 0.15]), 1.99)

    seller, n_sellers = _sellers(taxonomy, leaf, n, rng)
    shuffled = rng.permutation(n)
    items = Items(
        leaf=leaf,
        type=family_type[family],
        brand=family_brand[family],
        features=masks[family],
        values=values,
        family=family,
        model_number=family_model[family],
        seller=seller,
        price=price,
        age_days=rng.integers(0, DAYS_LISTED, n),
        popularity=np.exp(rng.normal(0.0, 1.0, n)),
        quality=rng.normal(0.0, 1.0, n),
        n_sellers=n_sellers,
    )
    columns = {f.name: getattr(items, f.name)[shuffled] for f in dataclasses.fields(Items) if f.name != "n_sellers"}
    return dataclasses.replace(items, **columns)
