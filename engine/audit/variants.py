"""A query written otherwise: what a searcher who means the same might type. Always the same variants of the same text."""

from __future__ import annotations

import re
from typing import NamedTuple

TYPO_LETTERS = 4
"""A shorter word is not misspelt here: too little of it would be left."""


class Variant(NamedTuple):
    """One way to write it."""

    kind: str  # 'as asked' | 'letters exchanged' | 'letter left out' | 'plural' | ... in words
    text: str


def variants(text: str, *, brands: tuple[str, ...] = (), usual_brand: str | None = None) -> list[Variant]:
    """The query as asked, then its variants: each differs from all before it.

    `brands` are names of brands that the catalogue knows and the query holds: one variant is without each. Where it holds
    none, one variant names `usual_brand`. Words are what white space parts; letters are those of any script.
    """
    words = text.split()
    made = [Variant("as asked", " ".join(words))]
    longest = max((w for w in words if w.isalpha()), key=len, default="")
    if len(longest) >= TYPO_LETTERS:
        at = words.index(longest)
        made += [
            Variant("letters exchanged", _with(words, at, _exchanged(longest))),
            Variant("letter left out", _with(words, at, longest[: len(longest) // 2] + longest[len(longest) // 2 + 1 :])),
        ]  # fmt: skip
    if words and words[-1].isalpha() and words[-1].isascii() and len(words[-1]) >= TYPO_LETTERS:
        one_s = words[-1].casefold().endswith("s") and not words[-1].casefold().endswith("ss")
        made.append(
            Variant("last word without its s", _with(words, -1, words[-1][:-1]))
            if one_s
            else Variant("last word with an s", _with(words, -1, words[-1] + "s"))
        )
    for brand in brands:
        made.append(Variant("brand left out", " ".join(_without(text, brand).split())))
    if usual_brand and not brands:
        made.append(Variant("brand added", " ".join([*usual_brand.split(), *words])))
    if len(words) > 1:
        made.append(Variant("last word first", " ".join([words[-1], *words[:-1]])))
        made.append(Variant("words backwards", " ".join(words[::-1])))
    return list({v.text.casefold(): v for v in reversed(made) if v.text}.values())[::-1]


def _with(words: list[str], at: int, word: str) -> str:
    changed = list(words)
    changed[at] = word
    return " ".join(changed)


def _exchanged(word: str) -> str:
    """The two unequal neighbours nearest to the middle exchanged; the word itself where all letters are the same."""
    middle = len(word) // 2
    places = sorted(range(len(word) - 1), key=lambda i: (abs(i + 1 - middle), i))
    at = next((i for i in places if word[i] != word[i + 1]), None)
    return word if at is None else word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _without(text: str, brand: str) -> str:
    return re.sub(rf"(?<!\w){re.escape(brand)}(?!\w)", " ", text, flags=re.IGNORECASE)
