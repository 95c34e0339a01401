"""What shoppers ask and what they mean: texts of seven kinds, each with its hidden intent.

category, brand_type, attribute_type, model_number, vernacular (words that no title of the leaf holds), ambiguous (one
word, several leaves; traffic prefers one of them), misspelt (a slip in a text of another kind).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine.datasets.marketplace.items import Items
from engine.datasets.marketplace.taxonomy import Taxonomy
from engine.datasets.marketplace.titles import misspell, model_code

KINDS = ("category", "brand_type", "attribute_type", "model_number", "vernacular", "ambiguous", "misspelt")
SHARES = (0.14, 0.16, 0.25, 0.07, 0.19, 0.08, 0.11)
SENSES = 3  # leaves an ambiguous query may mean
ANY_TYPE = 0xFF
ATTEMPTS = 12  # draws per wanted query; texts must be unlike

OPENERS = ("", "", "", "", "best ", "cheap ", "good ", "affordable ")
CLOSERS = ("", "", "", "", " for sale", " online", " deals", " reviews")
VERNACULAR_OPENERS = ("", "", "", "", "best ", "cheap ")
VERNACULAR_CLOSERS = ("", "", "", " ideas", " recommendations", " on a budget", " please", " asap", " what to buy",
                      " help")  # fmt: skip


@dataclass(frozen=True)
class Intents:
    """Q queries; -1 = not constrained."""

    text: list[str]
    kind: np.ndarray  # (Q,) position in KINDS.
    leaves: np.ndarray  # (Q, SENSES) leaves meant, the preferred first.
    weights: np.ndarray  # (Q, SENSES) how well each leaf serves the query: 1 for the preferred, 0 where there is none.
    types: np.ndarray  # (Q, SENSES) bit t set = type t of that leaf is what is meant.
    brand: np.ndarray
    feature: np.ndarray
    attribute: np.ndarray  # (Q,) attribute constrained (position in the vocabulary) and its value.
    value: np.ndarray
    family: np.ndarray
    visible: np.ndarray
    """(Q,) whether the words describe something one can see: such queries get an image-space embedding."""

    def __len__(self) -> int:
        return len(self.text)

    def take(self, rows: np.ndarray) -> Intents:
        """The queries at those rows."""
        columns = {f.name: getattr(self, f.name)[rows] for f in dataclasses.fields(self) if f.name != "text"}
        return Intents(text=[self.text[row] for row in rows], **columns)


class _Draft(NamedTuple):
    text: str
    leaves: tuple[int, ...]
    weights: tuple[float, ...]
    types: tuple[int, ...]
    brand: int = -1
    feature: int = -1
    attribute: int = -1
    value: int = -1
    family: int = -1
    visible: bool = True


class _Writer:
    """Writes one query of a kind about a seed item; the item makes sure that something answers it."""

    def __init__(self, taxonomy: Taxonomy, items: Items, rng: np.random.Generator) -> None:
        self.taxonomy, self.items, self.rng = taxonomy, items, rng
        self.senses = self._ambiguous_words()

    def _ambiguous_words(self) -> dict[str, list[tuple[int, int]]]:
        """Head nouns of types of two or more leaves -> [(leaf, bits of those types)]."""
        found: dict[str, dict[int, int]] = {}
        for k, leaf in enumerate(self.taxonomy.leaves):
            for t, name in enumerate(leaf.types):
                words = [word for word in name.split() if word not in {"set", "kit"}]
                bits = found.setdefault(words[-1], {})
                bits[k] = bits.get(k, 0) | 1 << t
        return {word: sorted(bits.items()) for word, bits in sorted(found.items()) if len(bits) > 1}

    def _pick(self, options: tuple[str, ...]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def _wrapped(self, text: str) -> str:
        return f"{self._pick(OPENERS)}{text}{self._pick(CLOSERS) if self.rng.random() < 0.3 else ''}"

    def category(self, row: int) -> _Draft:
        leaf, type_ = int(self.items.leaf[row]), int(self.items.type[row])
        spec = self.taxonomy.leaves[leaf]
        if self.rng.random() < 0.35:
            return _Draft(self._wrapped(spec.name.lower().replace("&", "and")), (leaf,), (1.0,), (ANY_TYPE,))
        return _Draft(self._wrapped(spec.types[type_]), (leaf,), (1.0,), (1 << type_,))

    def brand_type(self, row: int) -> _Draft:
        leaf, type_, brand = (int(column[row]) for column in (self.items.leaf, self.items.type, self.items.brand))
        spec, name = self.taxonomy.leaves[leaf], self.taxonomy.vocabulary.brands[brand].lower()
        noun, bits = spec.types[type_], 1 << type_
        if self.rng.random() < 0.25:
            noun, bits = spec.name.lower().replace("&", "and"), ANY_TYPE
        text = f"{name} {noun}" if self.rng.random() < 0.8 else f"{noun} {name}"
        return _Draft(text, (leaf,), (1.0,), (bits,), brand=brand)

    def _attribute(self, row: int) -> tuple[int, int, str]:
        """An attribute the item has, its value, and the words for it; -1 where the leaf has none."""
        leaf = int(self.items.leaf[row])
        slots = [s for s in range(self.items.values.shape[1]) if self.items.values[row, s] >= 0]
        if not slots:
            return -1, -1, ""
        slot = slots[int(self.rng.integers(len(slots)))]
        attribute, value = int(self.taxonomy.attribute[leaf, slot]), int(self.items.values[row, slot])
        return attribute, value, self.taxonomy.vocabulary.attributes[attribute].values[value]

    def attribute_type(self, row: int) -> _Draft:
        leaf, type_ = int(self.items.leaf[row]), int(self.items.type[row])
        spec, vocabulary = self.taxonomy.leaves[leaf], self.taxonomy.vocabulary
        own = [k for k in range(len(spec.features)) if self.items.features[row] >> k & 1]
        feature = own[int(self.rng.integers(len(own)))] if self.rng.random() < 0.65 else -1
        attribute, value, words = self._attribute(row) if feature < 0 or self.rng.random() < 0.3 else (-1, -1, "")
        parts = [words if attribute >= 0 and not vocabulary.attributes[attribute].unit else "", spec.types[type_]]
        if feature >= 0:
            parts.insert(1 if self.rng.random() < 0.7 else 2, spec.features[feature])
        if attribute >= 0 and vocabulary.attributes[attribute].unit:
            parts.append(words)
        return _Draft(
            " ".join(filter(None, parts)),
            (leaf,),
            (1.0,),
            (1 << type_,),
            feature=feature,
            attribute=attribute,
            value=value,
        )

    def model_number(self, row: int) -> _Draft:
        leaf, type_, brand = (int(column[row]) for column in (self.items.leaf, self.items.type, self.items.brand))
        code, name = model_code(self.taxonomy, self.items, row).lower(), self.taxonomy.vocabulary.brands[brand].lower()
        noun = self.taxonomy.leaves[leaf].types[type_]
        text = self._pick((code, f"{name} {code}", f"{code} {noun}", code.replace("-", "")))
        family = int(self.items.family[row])
        return _Draft(text, (leaf,), (1.0,), (1 << type_,), brand=brand, family=family, visible=False)

    def vernacular(self, row: int) -> _Draft:
        leaf = int(self.items.leaf[row])
        phrases = self.taxonomy.leaves[leaf].vernacular
        phrase = phrases[int(self.rng.integers(len(phrases)))]
        text = f"{self._pick(VERNACULAR_OPENERS)}{phrase.text}{self._pick(VERNACULAR_CLOSERS)}"
        bits = 1 << phrase.type if phrase.type >= 0 else ANY_TYPE
        return _Draft(text, (leaf,), (1.0,), (bits,), feature=phrase.feature, visible=False)

    def ambiguous(self, row: int) -> _Draft:
        words = [w for w, senses in self.senses.items() if any(leaf == self.items.leaf[row] for leaf, _ in senses)]
        words = words or list(self.senses)
        if not words:
            return self.category(row)
        word = words[int(self.rng.integers(len(words)))]
        senses = self.senses[word]
        # One preference a word, whoever asks: shoppers of a marketplace share its habits.
        habit = np.random.default_rng([len(word), *word.encode()]).gamma(0.7, size=len(senses))
        share = habit * np.sqrt(self.taxonomy.sizes[[leaf for leaf, _ in senses]])
        order = np.argsort(-share, kind="stable")[:SENSES]
        weights = tuple(float(w) for w in share[order] / share[order[0]])
        leaves, bits = zip(*[senses[k] for k in order], strict=True)
        attribute, value, text = -1, -1, word
        if self.rng.random() < 0.6:
            attribute, value, said = self._attribute(row)
            if attribute >= 0 and self.taxonomy.vocabulary.attributes[attribute].visual:
                text = f"{said} {word}"
            else:
                attribute, value = -1, -1
        return _Draft(self._wrapped(text), leaves, weights, bits, attribute=attribute, value=value)

    def misspelt(self, row: int) -> _Draft:
        draft = (self.category, self.brand_type, self.attribute_type)[int(self.rng.integers(3))](row)
        words = draft.text.split()
        at = int(np.argmax([len(word) + self.rng.random() for word in words]))
        words[at] = misspell(words[at], float(self.rng.random()), float(self.rng.random()))
        return draft._replace(text=" ".join(words))


def _padded(rows: list[tuple[int, ...]] | list[tuple[float, ...]], fill: float, kind: type) -> np.ndarray:
    out: np.ndarray = np.full((len(rows), SENSES), fill, dtype=kind)
    for k, row in enumerate(rows):
        out[k, : len(row)] = row
    return out


def write_queries(taxonomy: Taxonomy, items: Items, n_queries: int, seed: int) -> Intents:
    """At most n_queries unlike queries, kinds in fixed shares, half spread evenly over leaves, half as the catalogue."""
    rng = np.random.default_rng([seed, 4])
    writer = _Writer(taxonomy, items, rng)
    order = np.argsort(items.leaf, kind="stable")
    start = np.searchsorted(items.leaf[order], np.arange(len(taxonomy.leaves)))
    drafts: dict[str, tuple[int, _Draft]] = {}
    for kind, (name, share) in enumerate(zip(KINDS, SHARES, strict=True)):
        write = getattr(writer, name)
        wanted, known = round(share * n_queries), len(drafts)
        for _ in range(wanted * ATTEMPTS):
            if len(drafts) - known >= wanted:
                break
            if rng.random() < 0.5:
                row = int(rng.integers(len(items)))
            else:
                leaf = int(rng.integers(len(taxonomy.leaves)))
                row = int(order[start[leaf] + int(rng.integers(taxonomy.sizes[leaf]))])
            draft = write(row)
            drafts.setdefault(draft.text, (kind, draft))
    kinds = np.array([kind for kind, _ in drafts.values()], dtype=np.int64)
    rows = [draft for _, draft in drafts.values()]
    column = {
        name: np.array([getattr(draft, name) for draft in rows], dtype=np.int64)
        for name in ("brand", "feature", "attribute", "value", "family")
    }
    intents = Intents(
        text=[draft.text for draft in rows],
        kind=kinds,
        leaves=_padded([draft.leaves for draft in rows], -1, np.int64),
        weights=_padded([draft.weights for draft in rows], 0.0, np.float64),
        types=_padded([draft.types for draft in rows], 0, np.int64),
        visible=np.array([draft.visible for draft in rows], dtype=bool),
        **column,
    )
    return intents.take(rng.permutation(len(intents)))
