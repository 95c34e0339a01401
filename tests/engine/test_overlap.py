"""Lexical columns of pairs: against a plain Python reading of their definitions, worked examples, odd texts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.datasets.contract import LANGUAGES
from engine.relevance.lexical import LexicalIndex
from engine.relevance.overlap import LEXICAL, WORDS
from engine.relevance.words import Reader, Trigrams, account, detect, has_digit, pieces

VOCABULARY = [
    "drill",
    "drills",
    "dril",
    "cordless",
    "light",
    "bulb",
    "lightbulb",
    "xps-13",
    "16gb",
    "a",
    "in",
    "2",
    "drilling",
]


def measure(titles: list[str], query: str, *, language: str | None = None) -> dict[str, np.ndarray]:
    """Columns of one query with every title, by name."""
    n = len(titles)
    made = LexicalIndex(titles, language).features([query], np.zeros(n, dtype=np.int64), np.arange(n))
    return dict(zip(LEXICAL, made.T, strict=True))


def by_definition(titles: list[str], query: str, item: int, reader: Reader) -> dict[str, float]:
    """What the docstring of `Overlap` says of one pair, but BM25 and numbers."""
    every = [reader.words(title) for title in titles]
    held = [{p for word in words for p in word} | {"".join(word) for word in words} for words in every]
    asked = list(dict.fromkeys(p for word in reader.words(query) for p in word))[:WORDS]
    parts = [p for word in every[item] for p in word]
    n = len(titles)

    def rarity(word: str) -> float:
        df = sum(word in tokens for tokens in held)
        return math.log1p((n - df + 0.5) / (df + 0.5))

    def near(word: str) -> float:
        if word in held[item]:
            return 1.0
        own = pieces(word)
        found: set[str] = set()
        for token in held[item]:
            shared = set(pieces(token)) & set(own)
            if len(shared) >= max(2, Trigrams.LEAST * len(own)):
                found |= shared
        return len(found) / max(len(own), 1)

    def place(word: str) -> float:
        at = parts.index(word) if word in parts else None
        for start, whole in _wholes(every[item]):
            if whole == word:
                at = start if at is None else min(at, start)
        assert at is not None
        return at / max(len(parts) - 1, 1)

    there = [w in held[item] for w in asked]
    missing = [w for w in asked if w not in held[item]]
    hit = [w for w in asked if w in held[item]]
    rare = sum(map(rarity, asked))
    return {
        "qs_coverage": len(hit) / len(asked) if asked else 1.0,
        "qs_rare_coverage": sum(map(rarity, hit)) / rare if asked else 1.0,
        "qs_near": sum(map(near, asked)) / len(asked) if asked else 1.0,
        "qs_rare_near": sum(rarity(w) * near(w) for w in asked) / rare if asked else 1.0,
        "qs_missing_near": sum(map(near, missing)) / len(missing) if missing else 1.0,
        "qs_rarest_hit": max(map(rarity, hit), default=0.0),
        "qs_rarest_miss": max((rarity(w) * (1 - near(w)) for w in missing), default=0.0),
        "qs_first_place": min(map(place, hit), default=1.0),
        "qs_place": sum(map(place, hit)) / len(hit) if hit else 1.0,
        "qs_jaccard": len(hit) / (len(asked) + len(parts) - len(hit)) if asked else 1.0,
        "qs_title_share": len(hit) / len(parts) if parts else 0.0,
        "qs_title_words": math.log1p(len(parts)),
        "qs_words": math.log1p(len(asked)),
        "qs_first_word": near(asked[0]) if asked else 1.0,
        "qs_last_word": near(asked[-1]) if asked else 1.0,
        "qs_last_place": place(asked[-1]) if asked and there[-1] else 1.0,
    }


def _wholes(words: list[list[str]]) -> list[tuple[int, str]]:
    """Joined words, and the number of their first part."""
    found, part = [], 0
    for parts in words:
        if len(parts) > 1:
            found.append((part, "".join(parts)))
        part += len(parts)
    return found


TEXTS = st.lists(st.sampled_from([*VOCABULARY, "😀", "zzz"]), max_size=6).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=5), TEXTS, st.sampled_from([None, "en"]))
def test_columns_are_what_their_definitions_say(titles: list[str], query: str, language: str | None) -> None:
    made = measure(titles, query, language=language)
    for item in range(len(titles)):
        for name, value in by_definition(titles, query, item, Reader(language)).items():
            assert made[name][item] == pytest.approx(value, abs=1e-5), (name, titles[item], query)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=5), st.lists(TEXTS, min_size=1, max_size=4))
def test_a_pair_never_depends_on_the_others(titles: list[str], queries: list[str]) -> None:
    index = LexicalIndex(titles, "en", beside=[f"beside {i}" for i in range(len(titles))])
    rng = np.random.default_rng(0)
    query, item = rng.integers(0, len(queries), 40), rng.integers(0, len(titles), 40)
    together = index.features(queries, query, item)
    for row in range(40):
        alone = index.features([queries[query[row]]], np.zeros(1, dtype=np.int64), item[row : row + 1])
        np.testing.assert_array_equal(together[row], alone[0])


def test_bm25_of_titles_and_of_all_text() -> None:
    titles, beside = ["drill red", "blue saw"], ["makita 18v drill", "bosch"]
    index = LexicalIndex(titles, "en", beside)
    query, item = np.repeat(np.arange(2), 2), np.tile(np.arange(2), 2)
    made = dict(zip(LEXICAL, index.features(["drills", "bosch"], query, item).T, strict=True))
    alone = LexicalIndex(titles, "en").features(["drills", "bosch"], query, item)
    np.testing.assert_array_equal(made["qs"], alone[:, LEXICAL.index("qs")])
    np.testing.assert_allclose(made["qs_fields"], index.scores(["drills", "bosch"]).toarray().ravel(), rtol=1e-6)
    assert (made["qs"] > 0).tolist() == [True, False, False, False]
    assert (made["qs_fields"] > 0).tolist() == [True, False, False, True]
    assert made["qs_coverage"].tolist() == [1, 0, 0, 0], "only titles are covered"
    np.testing.assert_array_equal(alone[:, LEXICAL.index("qs_fields")], alone[:, LEXICAL.index("qs")])


def test_stems_typing_errors_and_compounds() -> None:
    made = measure(["Cordless Drills", "Lightbulb", "red chair"], "dril light bulb", language="en")
    # ^dr dri ril il$: 'drill' holds the first three. ^li lig igh ght ht$ and ^bu bul ulb lb$: 'lightbulb' holds 4 and 3.
    assert made["qs_first_word"].tolist() == [0.75, 0, 0]
    assert made["qs_near"].tolist() == pytest.approx([0.25, (0.8 + 0.75) / 3, 0])
    assert measure(["cordless drill"], "drills", language="en")["qs_coverage"].tolist() == [1]
    assert measure(["cordless drill"], "drills")["qs_coverage"].tolist() == [0], "no stems without a language"
    assert measure(["ssd 32gb"], "16gb")["qs_near"].tolist() == [0.5], "gb is there; 16 is not nearly 32"


def test_order_and_numbers() -> None:
    titles = ["oak dining table", "table for dining, oak", "Dell XPS13 16GB", "Dell XPS 13 16 GB"]
    assert measure(titles, "oak dining table")["qs_order"].tolist() == [1, 0, 0, 0]
    made = measure(titles, "dell xps-13 16gb")
    assert made["qs_numbers"].tolist() == [0, 0, 1, 1]
    assert made["qs_coverage"].tolist() == [0, 0, 1, 1]
    assert measure(titles, "dell xps-14")["qs_numbers"].tolist() == [0, 0, 0, 0]


def test_a_query_that_asks_for_nothing_misses_nothing() -> None:
    made = measure(["red chair"], "😀")
    assert {name for name in LEXICAL if made[name][0] == 1.0} >= {"qs_coverage", "qs_near", "qs_numbers", "qs_order"}
    assert np.isfinite([made[name][0] for name in LEXICAL]).all()
    assert measure(["", "\0"], "red")["qs_coverage"].tolist() == [0, 0]


def test_very_long_queries_and_titles() -> None:
    words = [f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(400)]
    made = measure([" ".join(words), "short"], " ".join(words[100:300]))
    assert made["qs_coverage"].tolist() == [1, 0]
    assert made["qs_words"][0] == pytest.approx(math.log1p(WORDS))


def test_english_units() -> None:
    reader = Reader("en")
    for text in ('2" pipe', "2in pipe", "2 inches pipes", "2-inch pipe"):
        assert [p for word in reader.words(text) for p in word] == ["2", "inch", "pipe"], text
    assert reader.tokens("6' table in oak") == ["6", "foot", "tabl", "in", "oak"]
    assert Reader("de").tokens("2in Rohre") == ["2", "in", "2in", "rohr"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_a_stemmer(language: str) -> None:
    assert Reader(language).tokens("test")


def test_the_language_is_detected() -> None:
    assert detect(["red chair with wooden legs", "cordless drill and case"] * 40) == "en"
    assert detect(["roter Stuhl aus Holz", "Akkuschrauber mit Koffer und Zubehör"] * 40) == "de"
    assert detect(["红色的椅子", "无线鼠标"] * 40) is None
    assert detect([]) is None


@settings(max_examples=100, deadline=None)
@given(TEXTS, TEXTS)
def test_the_account_in_words_agrees_with_the_columns(query: str, title: str) -> None:
    told = account(Reader("en"), query, title)
    made = measure([title], query, language="en")
    if told:
        assert made["qs_coverage"][0] == pytest.approx(sum(each.near == 1.0 for each in told) / len(told))
        assert made["qs_near"][0] == pytest.approx(sum(each.near for each in told) / len(told), abs=1e-6)
        assert all(each.like for each in told if each.near)


def test_the_account_names_the_words() -> None:
    told = account(Reader("en"), "drils cordless 18v", "Makita Cordless Drill 12V")
    assert [(each.word, each.like, round(each.near, 2)) for each in told] == [
        ("drils", ("drill",), 0.75),
        ("cordless", ("cordless",), 1.0),
        ("18", (), 0.0),
        ("v", ("v",), 1.0),
    ]


def test_digits_are_never_near() -> None:
    assert has_digit("16gb")
    assert pieces("16gb") == []
    assert pieces("dril") == ["^dr", "dri", "ril", "il$"]
