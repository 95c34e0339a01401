"""How titles and queries are read: words, their stems, units and model codes."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import Stemmer  # type: ignore[import-not-found]
from scipy import sparse

# Letters of any script, with the combining marks that `\w` leaves out (Devanagari, Thai vowels), and digits.
_LETTERS = r"(?:[^\W\d_]|[\u0300-\u036f\u0900-\u0903\u093a-\u094f\u0e31-\u0e4e])+"
_PART = re.compile(rf"{_LETTERS}|\d+")
_WORD = re.compile(rf"[\u3040-\u30ff\u3400-\u9fff]|(?:{_LETTERS}|\d+)+(?:[-./](?:{_LETTERS}|\d+)+)*")
_APOSTROPHE = re.compile("['\u2019\u02bc](?:s\\b)?")
_INCH = re.compile("(?<=\\d)\\s?(?:[\"\u2033\u201d]|'')")
_FOOT = re.compile("(?<=\\d)\\s?['\u2032\u2019](?![\\w'])")
_UNITS = {
    "en": {
        alias: unit
        for unit, aliases in {
            "inch": "in inch inches", "foot": "ft foot feet", "yard": "yd yds yard yards", "ounce": "oz ounce ounces",
            "pound": "lb lbs pound pounds", "gallon": "gal gals gallon gallons", "quart": "qt qts quart quarts",
            "pint": "pt pts pint pints", "watt": "w watt watts", "volt": "v volt volts", "amp": "a amp amps ampere amperes",
            "litre": "l ltr litre litres liter liters", "gram": "g gr gram grams gramme grammes",
            "metre": "m metre metres meter meters", "piece": "pc pcs piece pieces", "pack": "pk pack packs",
        }.items()
        for alias in aliases.split()
    }
}  # fmt: skip
"""What a word means straight after a number; symbols and metric abbreviations that everybody writes alike need no row."""
_LOCK = threading.Lock()


@cache
def _stemmer(language: str) -> Stemmer.Stemmer:
    return Stemmer.Stemmer(language)


@lru_cache(maxsize=1 << 18)
def _stem(language: str, part: str) -> str:
    with _LOCK:  # a stemmer serves one thread at a time
        return _stemmer(language).stemWord(part)


def detect(titles: Sequence[str]) -> str | None:
    """ISO 639-1 code of the language of most of the catalogue, if it has a stemmer; None where no language prevails.

    At most 2,000 titles, evenly spread, are read twenty at a time: one alone is too short to tell.
    """
    if not titles:
        return None
    import py3langid  # type: ignore[import-untyped]  # loads a model

    some = titles[:: max(len(titles) // 2_000, 1)][:2_000]
    found = Counter(py3langid.classify(" ".join(some[at : at + 20]).lower())[0] for at in range(0, len(some), 20))
    (language, n), total = found.most_common(1)[0], found.total()
    try:
        _stemmer(language)
    except KeyError:
        return None
    return language if n >= 0.6 * total else None


def has_digit(token: str) -> bool:
    """Whether a token is a number or a model code."""
    return any(character.isdigit() for character in token)


class Reader(NamedTuple):
    """Reads texts of a language: lower case, stems (Snowball's), units after numbers told alike; with None, words as
    they are written."""

    language: str | None = None

    def words(self, text: str) -> list[list[str]]:
        """The parts of every word: 'Dell XPS-13' -> [['dell'], ['xps', '13']]; '16GB' and '16-gb' -> [['16', 'gb']].

        Chinese and Japanese characters, written without spaces, are words of their own. Anything else (NUL, emoji,
        punctuation) separates words. In English 'drills' -> 'drill', and 2", 2in. and '2 inches' -> '2', 'inch'.
        """
        return self._stemmed(self.written(text))

    def written(self, text: str) -> list[list[str]]:
        """The same parts before they are stemmed."""
        folded = unicodedata.normalize("NFKC", text).casefold()
        if self.language in _UNITS:
            folded = _FOOT.sub(" foot ", _INCH.sub(" inch ", folded))
        return [_PART.findall(word) or [word] for word in _WORD.findall(_APOSTROPHE.sub("", folded))]

    def _stemmed(self, words: list[list[str]]) -> list[list[str]]:
        if self.language is None:
            return words
        units = _UNITS.get(self.language, {})
        before = ""
        stems: list[list[str]] = []
        for parts in words:
            stems.append([])
            for part in parts:
                unit = units.get(part) if before.isdigit() else None
                stems[-1].append(unit or (part if part.isdigit() else _stem(self.language, part)))
                before = part
        return stems

    def tokens(self, text: str) -> list[str]:
        """Every word's parts and, of a joined word or model code, the whole without joints.

        'Dell XPS-13' -> ['dell', 'xps', '13', 'xps13'].
        """
        return tokens(self.words(text))


def tokens(words: list[list[str]]) -> list[str]:
    """Parts and wholes, as `Reader.tokens`."""
    return [token for parts in words for token in (parts if len(parts) == 1 else [*parts, "".join(parts)])]


def codes(words: list[list[str]]) -> list[str]:
    """Numbers and model codes that a title holds; neighbours also joined, so that '16 GB' holds '16gb'."""
    whole = ["".join(parts) for parts in words]
    neighbours = [a + b for a, b in pairwise(whole)]
    return sorted(token for token in {*tokens(words), *neighbours} if has_digit(token))


class Lexicon(NamedTuple):
    """The tokens that some title holds, and how texts are read into them."""

    reader: Reader
    column: Mapping[str, int]  # Token -> column.

    def counts(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """(texts, V) float32: how often each text holds each known token."""
        rows = [[self.column[t] for t in self.reader.tokens(text) if t in self.column] for text in texts]
        return counts(rows, len(self.column))


def counts(rows: Sequence[Sequence[int]], width: int) -> sparse.csr_matrix:
    """(rows, width) float32: how often each row names each column."""
    length = np.array([len(row) for row in rows], dtype=np.int64)
    column = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=int(length.sum()))
    ends = np.concatenate([[0], np.cumsum(length)])
    made = sparse.csr_matrix((np.ones(len(column), dtype=np.float32), column, ends), shape=(len(rows), width))
    made.sum_duplicates()
    return made


class Trigrams:
    """Which words hold the three-letter pieces of another: typing errors, plurals and compounds that no stem joins.

    A word is framed, 'dril' -> '^dr', 'dri', 'ril', 'il$'. Words with digits have no neighbours: '16gb' is not nearly
    '32gb'.
    """

    LEAST = 0.34
    """Share of a word's pieces that a neighbour must hold."""
    SHORTEST = 4
    """Letters of a word that has neighbours."""
    MOST = 52
    """Pieces of a word that count: as many as a float64 holds exactly as bits."""

    def __init__(self, vocabulary: Iterable[str]) -> None:
        """`vocabulary`: the words among which neighbours are looked for, in the order of their numbers."""
        self._number: dict[str, int] = {}
        rows = [[self._number.setdefault(g, len(self._number)) for g in sorted(pieces(w))] for w in vocabulary]
        self._holders = counts(rows, len(self._number)).T.tocsr().astype(np.float64)

    def near(self, words: Sequence[str]) -> sparse.csr_matrix:
        """(words, V) uint64: bit b is set where the vocabulary's word holds piece b of `pieces` (word)."""
        rows, bits = [], []
        for word in words:
            at = [(self._number[g], 1 << b) for b, g in enumerate(pieces(word)) if g in self._number]
            rows.append([column for column, _ in at])
            bits += [float(bit) for _, bit in at]
        asked = sparse.csr_matrix(
            (np.array(bits), np.array(list(chain.from_iterable(rows)), dtype=np.int64),
             np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)),
            shape=(len(words), len(self._number)),
        )  # fmt: skip
        found = (asked @ self._holders).tocsr()
        held = found.data.astype(np.uint64)
        least = np.array([max(2.0, self.LEAST * len(pieces(word))) for word in words])
        kept = np.bitwise_count(held) >= np.repeat(least, np.diff(found.indptr))
        ends = np.concatenate([[0], np.cumsum(kept)])[found.indptr]
        return sparse.csr_matrix((held[kept], found.indices[kept], ends), shape=found.shape)


def pieces(word: str) -> list[str]:
    """The distinct three-letter pieces of a framed word, at most `Trigrams.MOST`; none where it holds a digit, or has
    fewer than `Trigrams.SHORTEST` letters: "and" is not nearly "trailhand"."""
    if has_digit(word) or len(word) < Trigrams.SHORTEST:
        return []
    framed = f"^{word}$"
    return list(dict.fromkeys(framed[i : i + 3] for i in range(len(framed) - 2)))[: Trigrams.MOST]


class WordFound(NamedTuple):
    """What became of one word of a query in a title."""

    word: str  # As it is written in the query, lower case.
    like: tuple[str, ...]  # Words of the title, as written there: its own, else those that hold its pieces, most first.
    near: (
        float  # 1: there, as written or by its stem; below: share of its three-letter pieces that `like` hold together.
    )


def account(reader: Reader, query: str, title: str) -> list[WordFound]:
    """What `qs_coverage` and `qs_near` say of a pair, word by word, in the order of the query's distinct words."""
    written = list(chain.from_iterable(reader.written(title)))
    stems = list(chain.from_iterable(reader.words(title)))
    shown = dict(zip(reversed(stems), reversed(written), strict=True))  # as it is first written
    wholes = {"".join(parts) for parts in reader.words(title)}
    found: dict[str, WordFound] = {}
    asked = chain.from_iterable(reader.words(query))
    for stem, word in zip(asked, chain.from_iterable(reader.written(query)), strict=True):
        if stem in found:
            continue
        if stem in shown or stem in wholes:
            found[stem] = WordFound(word, (shown.get(stem, stem),), 1.0)
            continue
        own = pieces(stem)
        held = {other: [own.index(p) for p in pieces(other) if p in own] for other in shown}
        near = {other: h for other, h in held.items() if len(h) >= max(2.0, Trigrams.LEAST * len(own))}
        like = sorted(near, key=lambda other: (-len(near[other]), stems.index(other)))
        share = len({p for h in near.values() for p in h}) / max(len(own), 1)
        found[stem] = WordFound(word, tuple(shown[other] for other in like), share)
    return list(found.values())
