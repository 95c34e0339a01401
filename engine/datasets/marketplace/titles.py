"""Titles as sellers write them: templates, abbreviations, stuffing, misspellings, missing attributes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from engine.datasets.marketplace.items import Items, code_letters
from engine.datasets.marketplace.taxonomy import Taxonomy
from engine.progress import Progress, silent

BLOCK = 50_000  # offers written at a time
STUFFING = (
    "Free Shipping", "Best Quality", "Hot Sale", "New Arrival", "Great Gift Idea", "Top Rated", "Limited Stock",
    "for Men Women Kids", "Home Kitchen Office", "Premium", "100% Satisfaction", "Fast Dispatch",
)  # fmt: skip
ABBREVIATIONS = {
    "stainless steel": "SS", "black": "blk", "white": "wht", "pack of": "pk", "waterproof": "wtrprf",
    "rechargeable": "rechrg", "adjustable": "adj", "inch": "in", "professional": "pro", "wireless": "wless",
    "large": "lg", "portable": "port.", "with": "w/", "polyester": "poly", "aluminum": "alu",
    "sterling silver": "925", "gold plated": "GP", "months": "mo", "cordless": "c/less",
}  # fmt: skip
FIRST_WORDS = [
    "Harbor", "North", "Urban", "Golden", "Blue", "Maple", "Summit", "Prairie", "Corner", "Union", "Bright",
    "Silver", "Cedar", "Coastal", "Grand", "Little", "Metro", "Royal", "Sunny", "Velvet", "Willow", "Iron",
    "Bargain", "Daily", "Prime", "Everyday", "Family", "Clever", "Honest", "Happy",
]  # fmt: skip
SECOND_WORDS = [
    "Trading", "Outlet", "Goods", "Market", "Supply Co", "Direct", "Emporium", "Warehouse", "Store", "Depot",
    "Merchants", "Bazaar", "Shop", "Wholesale", "& Sons", "Collective", "Imports", "Retail", "Deals", "House",
]  # fmt: skip


class Styles(NamedTuple):
    """Per seller: the habits of its listing staff."""

    template: np.ndarray
    abbreviates: np.ndarray
    stuffs: np.ndarray
    misspells: np.ndarray
    omits: np.ndarray
    shouts: np.ndarray


def seller_styles(n_sellers: int, rng: np.random.Generator) -> Styles:
    """Chances per title part; beta-distributed, so that few sellers have most of a bad habit."""
    return Styles(
        template=rng.integers(0, 6, n_sellers),
        abbreviates=rng.beta(0.5, 2.0, n_sellers),
        stuffs=rng.beta(0.5, 2.0, n_sellers),
        misspells=rng.beta(0.5, 6.0, n_sellers),
        omits=rng.beta(2.0, 5.0, n_sellers),
        shouts=rng.random(n_sellers),
    )


def seller_names(n_sellers: int, rng: np.random.Generator) -> list[str]:
    """Unlike names; a number follows once the combinations are used up."""
    pairs = [f"{first} {second}" for first in FIRST_WORDS for second in SECOND_WORDS]
    order = rng.permutation(len(pairs))
    names = [pairs[order[k % len(pairs)]] for k in range(n_sellers)]
    return [name if k < len(pairs) else f"{name} {k // len(pairs) + 1}" for k, name in enumerate(names)]


def misspell(word: str, place: float, how: float) -> str:
    """The word with one slip of the keyboard inside it; `place` and `how` are draws from [0, 1)."""
    if len(word) < 4:
        return word
    at = 1 + int(place * (len(word) - 2))
    if how < 0.35:
        return word[:at] + word[at + 1 :]
    if how < 0.7:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at] + word[at:]


ACRONYMS = {
    "tv", "led", "usb", "uv", "gps", "rgb", "ssd", "dslr", "oled", "qled", "hdmi", "bpa", "spf", "rfid", "tsa",
    "aa", "rc",
}  # fmt: skip
UNITS = {"cm", "ml", "mm", "kg", "m", "inch", "months", "sheets", "of", "with", "and", "by", "for"}


def _capital(word: str) -> str:
    if word.rstrip(",") in UNITS or any(c.isupper() or c.isdigit() for c in word):
        return word
    return word.upper() if word.rstrip(",") in ACRONYMS else word.capitalize()


def _cased(text: str, shouts: float) -> str:
    if shouts < 0.1:
        return text.lower()
    words = text.split(" ")
    if shouts > 0.93 and len(words) > 2:
        return " ".join([words[0].upper(), words[1].upper(), *words[2:]])
    return " ".join(_capital(word) for word in words)


def _arranged(template: int, brand: str, model: str, noun: str, features: list[str], values: list[str]) -> str:
    """One of six ways to order the parts; empty parts leave no trace."""
    lead = features[:1]
    if template == 0:
        head = " ".join(filter(None, [brand, noun, model]))
        return ", ".join([head, *features, *values])
    if template == 1:
        head = " ".join(filter(None, [brand, model, *lead, noun]))
        return " - ".join(filter(None, [head, ", ".join([*features[1:], *values])]))
    if template == 2:
        tail = f"by {brand}" if brand else ""
        return " ".join(filter(None, [*values[:1], *lead, noun, *values[1:], *features[1:], tail, model]))
    if template == 3:
        return " | ".join(
            filter(None, [" ".join([*lead, noun]), " ".join(filter(None, [brand, model])), *features[1:], *values])
        )
    if template == 4:
        return " ".join(filter(None, [brand, *values[:1], *features, noun, *values[1:], model]))
    tail = f"({brand} {model})".replace(" )", ")") if brand else model
    return " ".join(filter(None, [", ".join([noun, *values, *features]), tail]))


class Texts(NamedTuple):
    """The columns a shopper reads, of the offers at `rows`."""

    rows: range
    title: list[str]
    brand: list[str | None]
    description: list[str]
    attributes: list[str]


def model_code(taxonomy: Taxonomy, items: Items, row: int) -> str:
    """The model code of an offer, e.g. `BR-214K`; one per family."""
    number = int(items.model_number[row])
    return f"{code_letters(taxonomy.vocabulary.brands[items.brand[row]])}-{number}{'KSXEPLT'[number % 7]}"


def _listing(
    taxonomy: Taxonomy, items: Items, styles: Styles, row: int, draw: list[float]
) -> tuple[str, str | None, str, str]:
    """Title, brand, description and attributes JSON of one offer; `draw` holds 24 draws from [0, 1)."""
    vocabulary, leaf, seller = taxonomy.vocabulary, taxonomy.leaves[items.leaf[row]], items.seller[row]
    noun, brand = leaf.types[items.type[row]], vocabulary.brands[items.brand[row]]
    features = [name for k, name in enumerate(leaf.features) if items.features[row] >> k & 1]
    slots = [(vocabulary.attributes[a], v) for a, v in zip(leaf.attributes, items.values[row].tolist(), strict=False)]
    values = [attribute.values[value] for attribute, value in slots]

    omits = styles.omits[seller]
    shown_features = [name for name, d in zip(features, draw, strict=False) if d > omits]
    shown_values = [value for value, d in zip(values, draw[5:], strict=False) if d > omits]
    template = int(styles.template[seller]) if draw[9] < 0.7 else int(draw[10] * 6)
    title = _arranged(
        template,
        brand if draw[8] > 0.35 * omits else "",
        model_code(taxonomy, items, row) if draw[11] < 0.6 else "",
        noun,
        shown_features,
        shown_values,
    )
    if draw[12] < styles.abbreviates[seller]:
        for word, short in ABBREVIATIONS.items():
            title = title.replace(word, short)
    if draw[13] < styles.misspells[seller] * 2:
        words = title.split(" ")
        at = int(draw[14] * len(words))
        if words[at].isalpha():
            words[at] = misspell(words[at], draw[15], draw[16])
        title = " ".join(words)
    title = _cased(title, float(styles.shouts[seller]))
    if draw[17] < styles.stuffs[seller]:
        title = f"{title} {STUFFING[int(draw[18] * len(STUFFING))]}"

    known: dict[str, object] = {"type": noun}
    for k, (attribute, value) in enumerate(slots):
        if draw[20 + k] > 0.22:
            known[attribute.name] = attribute.typed[value]
    if draw[23] > 0.2:
        known["features"] = features
    shown = ", ".join(values)
    description = f"{brand} {noun}, {' and '.join(features[:2])}. {shown[:1].upper()}{shown[1:]}."
    return title, brand if draw[19] > 0.06 else None, description, json.dumps(known, ensure_ascii=False)


def write_texts(taxonomy: Taxonomy, items: Items, seed: int, progress: Progress = silent) -> Iterator[Texts]:
    """The texts of all offers, BLOCK offers at a time; missing attributes are missing on purpose."""
    rng = np.random.default_rng([seed, 3])
    styles = seller_styles(items.n_sellers, rng)
    for start in range(0, len(items), BLOCK):
        rows = range(start, min(start + BLOCK, len(items)))
        draws = rng.random((len(rows), 24)).tolist()
        listings = [_listing(taxonomy, items, styles, row, draw) for row, draw in zip(rows, draws, strict=True)]
        yield Texts(rows, *(list(column) for column in zip(*listings, strict=True)))
        progress(rows.stop, len(items))
