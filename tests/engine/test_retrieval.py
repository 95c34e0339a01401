"""First-stage retrieval: words, BM25 against bm25s itself, fusion worked by hand, ties, odd texts."""

from __future__ import annotations

import string

import bm25s
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.relevance.lexical import LexicalIndex, tokenize
from engine.relevance.retrieval import _best, _fuse, retrieve

TITLES = ["Dell XPS-13 laptop", "Dell Latitude laptop bag", "red chair", "", "\0 😀 ***", "chaise rouge é"]


def _unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Dell XPS-13", ["dell", "xps", "13", "xps13"]),
        ("16GB ram", ["16", "gb", "16gb", "ram"]),
        ("Men's CAFÉ", ["men", "café"]),
        ("a\0b 😀 c_d", ["a", "b", "c", "d"]),
        ("冷蔵庫", ["冷", "蔵", "庫"]),
        ("हिन्दी", ["हिन्दी"]),
        ("ＷＩＤＥ①", ["wide", "1", "wide1"]),
        ("", []),
        ("— !? —", []),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


@given(st.text())
def test_tokens_of_any_text_hold_no_separator(text: str) -> None:
    assert all(token and not set(token) & set(" \0-./_") for token in tokenize(text))


@given(st.text(alphabet=string.printable))
def test_case_never_counts(text: str) -> None:
    assert tokenize(text.upper()) == tokenize(text)


def test_bm25_equals_bm25s() -> None:
    rng = np.random.default_rng(0)
    titles = [" ".join(rng.choice(list("abcdefghij"), rng.integers(1, 8))) for _ in range(50)]
    other = bm25s.BM25(method="lucene")
    other.index([tokenize(title) for title in titles], show_progress=False)
    scores = LexicalIndex(titles).scores(["a c j", "e", "a unknown"])
    for query, row in zip((["a", "c", "j"], ["e"], ["a"]), scores, strict=True):
        np.testing.assert_allclose(row, other.get_scores(query), rtol=1e-5)


def test_fusion_worked_by_hand() -> None:
    # dense: 7, 3, 5; words: 5, 7, nothing. 7: 1/61 + 1/62, 5: 1/63 + 1/61, 3: 1/62.
    fused = _fuse(np.array([[7, 3, 5]]), np.array([[5, 7, -1]]), 3)
    assert fused.tolist() == [[7, 5, 3]]
    # Equal sums go by position: 4 and 2 both hold ranks 1 and 2.
    assert _fuse(np.array([[4, 2]]), np.array([[2, 4]]), 2).tolist() == [[2, 4]]


@given(st.lists(st.sampled_from([-1.5, -0.25, -0.0, 0.0, 0.25, 3.0]), min_size=1, max_size=12), st.integers(1, 12))
def test_best_sorts_by_score_then_position(scores: list[float], depth: int) -> None:
    depth = min(depth, len(scores))
    row = np.array([scores], dtype=np.float32)
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:depth]
    assert _best(row, depth)[0].tolist() == expected
    positive = [i if scores[i] > 0 else -1 for i in expected]
    assert _best(row, depth, positive_only=True)[0].tolist() == positive


def test_candidates_are_complete_sorted_and_unaffected_by_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    words = np.array(["lamp", "desk", "red", "blue", "oak", "xl-5"])
    titles = [" ".join(rng.choice(words, 3)) for _ in range(40)]
    queries = [" ".join(rng.choice(words, 2)) for _ in range(9)]
    item_x, query_x = _unit(rng.standard_normal((40, 16))), _unit(rng.standard_normal((9, 16)))
    seen: list[tuple[int, int]] = []
    whole = retrieve(item_x, query_x, titles, queries, top=10, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (9, 9)
    assert np.array_equal(whole.query, np.repeat(np.arange(9), 10))
    assert np.array_equal(whole.rank, np.tile(np.arange(1, 11), 9))
    for q in range(9):
        assert len(set(whole.item[whole.query == q].tolist())) == 10
    monkeypatch.setattr("engine.relevance.retrieval._CHUNK_CELLS", 80)
    assert np.array_equal(retrieve(item_x, query_x, titles, queries, top=10).item, whole.item)


def test_both_lists_are_heard_and_odd_titles_are_harmless() -> None:
    item_x = _unit(np.eye(6))
    query_x = item_x[[2]]  # dense says: red chair
    found = retrieve(item_x, query_x, TITLES, ["xps 13"], top=6)
    assert set(found.item[:2].tolist()) == {0, 2}
    assert sorted(found.item.tolist()) == list(range(6))


def test_no_word_matches_and_fewer_items_than_asked() -> None:
    item_x = _unit(np.eye(6))
    found = retrieve(item_x, item_x[[5]], TITLES, ["zzz"], top=200)
    assert len(found.item) == 6
    assert found.item[0] == 5
    assert found.item[1:].tolist() == [0, 1, 2, 3, 4]  # all cosines 0: by position


def test_titles_without_any_word() -> None:
    item_x = _unit(np.eye(2))
    assert retrieve(item_x, item_x, ["", "\0"], ["a", "b"], top=1).item.tolist() == [0, 1]
    assert len(retrieve(item_x, item_x[:0], ["", ""], [], top=1).item) == 0
