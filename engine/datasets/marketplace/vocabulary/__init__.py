"""The words of the bundled marketplace: departments, leaf categories, brands, typed attributes, vernacular.

The text files beside this module are the source; each begins with the grammar of its lines. A vernacular phrase is
what shoppers say for a whole leaf, or after `>` for one of its types or features, in words that sellers do not use.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

FILES = ("home.txt", "technology.txt", "wear.txt", "life.txt")
SLOTS = 3  # attributes a leaf has at most


class Attribute(NamedTuple):
    """A typed attribute: `values` as sellers write them, `typed` as the attributes JSON holds them."""

    name: str
    unit: str
    visual: bool
    values: tuple[str, ...]
    typed: tuple[str | float, ...]


class Phrase(NamedTuple):
    """A vernacular phrase and the type or feature (positions in the leaf's lists) it means; -1 = not that."""

    text: str
    type: int
    feature: int


class Leaf(NamedTuple):
    """A leaf category; `attributes` are positions in `Vocabulary.attributes`."""

    department: int
    name: str
    path: str
    types: tuple[str, ...]
    features: tuple[str, ...]
    attributes: tuple[int, ...]
    low_price: float
    high_price: float
    vernacular: tuple[Phrase, ...]


class Vocabulary(NamedTuple):
    departments: tuple[str, ...]
    brands: tuple[str, ...]
    department_brands: tuple[tuple[int, ...], ...]  # Per department, positions in `brands`, best known first.
    attributes: tuple[Attribute, ...]
    leaves: tuple[Leaf, ...]  # Ordered by department.


def _lines(name: str) -> list[str]:
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _parts(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator)]


def _attribute(line: str) -> Attribute:
    name, unit, visual, values = _parts(line, "|")
    words = _parts(values, ",")
    if not unit:
        return Attribute(name, unit, visual == "yes", tuple(words), tuple(words))
    shown = (f"{word}-{unit}" if unit in {"pack", "cup", "inch"} else f"{word} {unit}" for word in words)
    if unit == "pack":
        shown = (f"pack of {word}" for word in words)
    return Attribute(name, unit, False, tuple(shown), tuple(float(word) for word in words))


def _phrase(text: str, leaf: str, types: list[str], features: list[str]) -> Phrase:
    phrase, _, target = (part.strip() for part in text.partition(">"))
    if target and target not in types and target not in features:
        raise ValueError(f"{leaf}: '{phrase}' means '{target}', which is neither a type nor a feature of the leaf")
    return Phrase(
        phrase,
        types.index(target) if target in types else -1,
        features.index(target) if target in features else -1,
    )


@cache
def load_vocabulary() -> Vocabulary:
    """The whole vocabulary: 24 departments x 9 leaves. ValueError names the leaf whose line is inconsistent."""
    attributes = tuple(_attribute(line) for line in _lines("attributes.txt"))
    position = {attribute.name: k for k, attribute in enumerate(attributes)}
    departments: list[str] = []
    brands: dict[str, int] = {}
    department_brands: list[tuple[int, ...]] = []
    leaves: list[Leaf] = []
    for line in (line for name in FILES for line in _lines(name)):
        if line.startswith("@"):
            department, names = _parts(line[1:], "|")
            departments.append(department)
            department_brands.append(tuple(brands.setdefault(brand, len(brands)) for brand in _parts(names, ",")))
            continue
        name, types_text, features_text, attributes_text, prices, phrases = _parts(line, "|")
        types, features = _parts(types_text, ","), _parts(features_text, ",")
        low, high = (float(price) for price in prices.split("-"))
        leaves.append(
            Leaf(
                department=len(departments) - 1,
                name=name,
                path=f"{departments[-1]} > {name}",
                types=tuple(types),
                features=tuple(features),
                attributes=tuple(position[attribute] for attribute in _parts(attributes_text, ",")),
                low_price=low,
                high_price=high,
                vernacular=tuple(_phrase(text, name, types, features) for text in _parts(phrases, ";")),
            )
        )
    return Vocabulary(tuple(departments), tuple(brands), tuple(department_brands), attributes, tuple(leaves))
