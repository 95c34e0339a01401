"""First-stage retrieval: words, BM25 against bm25s itself, fusion worked by hand, ties, odd texts."""

from __future__ import annotations

import string
from pathlib import Path

import bm25s
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from engine.relevance import vectors
from engine.relevance.lexical import LexicalIndex
from engine.relevance.retrieval import Candidates, FirstStage, _best, _fuse
from engine.relevance.vectors import VectorIndex, products
from engine.relevance.words import Reader

TITLES = ["Dell XPS-13 laptop", "Dell Latitude laptop bag", "red chair", "", "\0 😀 ***", "chaise rouge é"]


def _unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def retrieve(item_x: np.ndarray, query_x: np.ndarray, titles: list[str], texts: list[str], top: int) -> Candidates:
    return FirstStage(VectorIndex(item_x), LexicalIndex(titles), top=top).candidates(query_x, texts)


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
    assert Reader().tokens(text) == tokens


@given(st.text())
def test_tokens_of_any_text_hold_no_separator(text: str) -> None:
    assert all(token and not set(token) & set(" \0-./_") for token in Reader().tokens(text))


@given(st.text(alphabet=string.printable))
def test_case_never_counts(text: str) -> None:
    assert Reader().tokens(text.upper()) == Reader().tokens(text)


def test_bm25_equals_bm25s() -> None:
    rng = np.random.default_rng(0)
    titles = [" ".join(rng.choice(list("abcdefghij"), rng.integers(1, 8))) for _ in range(50)]
    other = bm25s.BM25(method="lucene")
    other.index([Reader().tokens(title) for title in titles], show_progress=False)
    scores = LexicalIndex(titles).scores(["a c j", "e", "a unknown"]).toarray()
    for query, row in zip((["a", "c", "j"], ["e"], ["a"]), scores, strict=True):
        np.testing.assert_allclose(row, other.get_scores(query), rtol=1e-5)


def test_fusion_worked_by_hand() -> None:
    # dense: 7, 3, 5; words: 5, 7, nothing. 7: 1/61 + 1/62, 5: 1/63 + 1/61, 3: 1/62.
    fused = _fuse(np.array([[7, 3, 5]]), np.array([[5, 7, -1]]), 3)
    assert fused.tolist() == [[7, 5, 3]]
    # Equal sums go by position: 4 and 2 both hold ranks 1 and 2.
    assert _fuse(np.array([[4, 2]]), np.array([[2, 4]]), 2).tolist() == [[2, 4]]


SCORES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 3.0]), min_size=1, max_size=12)


@given(SCORES, st.integers(1, 12))
def test_words_are_sorted_by_score_then_position_and_padded(scores: list[float], depth: int) -> None:
    expected = [i for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)) if scores[i] > 0][:depth]
    found = _best(sparse.csr_matrix(np.array([scores], dtype=np.float32)), depth)[0].tolist()
    assert found == expected + [-1] * (depth - len(expected))


@given(SCORES, st.integers(1, 12))
def test_vectors_are_sorted_by_cosine_then_position(scores: list[float], depth: int) -> None:
    x = np.array([[np.cos(score), np.sin(score)] for score in scores], dtype=np.float32)
    noise = 1e-7 * (np.arange(len(x))[:, None] % 2)  # below the grain: equal titles encoded in other batches
    found = VectorIndex((x + noise).astype(np.float32)).nearest(np.array([[0, 1]], dtype=np.float32), depth)
    expected = sorted(range(len(x)), key=lambda i: (-round(np.sin(scores[i]), 3), i))[:depth]
    assert found.row[0].tolist() == expected


@pytest.mark.parametrize("dim", [3, 64, 130])
def test_an_exact_search_finds_what_float64_finds_whatever_the_batch(dim: int) -> None:
    rng = np.random.default_rng(dim)
    x = _unit(rng.standard_normal((3_000, dim)))
    x[1_000:1_200] = x[:200]
    query_x = _unit(rng.standard_normal((70, dim)))
    index = VectorIndex(x)
    found = index.nearest(query_x, 50)
    grains = np.rint(query_x.astype(np.float64) @ x.T.astype(np.float64) * 1e6)
    for q in range(len(query_x)):
        assert found.row[q].tolist() == np.lexsort((np.arange(len(x)), -grains[q]))[:50].tolist()
    for step in (1, 7, 64):
        parts = [index.nearest(query_x[start : start + step], 50) for start in range(0, len(query_x), step)]
        for whole, part in zip(found, zip(*parts, strict=True), strict=True):
            np.testing.assert_array_equal(whole, np.concatenate(part))


@pytest.mark.parametrize("dim", [1, 5, 8, 64, 384])
def test_a_product_does_not_depend_on_the_others(dim: int) -> None:
    rng = np.random.default_rng(dim)
    a, b = (rng.standard_normal((n, dim)).astype(np.float32) for n in (40, 9_000))
    pair_a, pair_b = rng.integers(0, 40, 20_000), rng.integers(0, 9_000, 20_000)
    whole = products(a, b, pair_a, pair_b)
    np.testing.assert_allclose(whole, (a[pair_a].astype(float) * b[pair_b]).sum(axis=1), atol=1e-12)
    for rows in (slice(7, 8), slice(19_000, 19_003), slice(11, 110)):
        np.testing.assert_array_equal(products(a, b, pair_a[rows], pair_b[rows]), whole[rows])


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """6,000 clustered items and 50 queries, with inverted lists from 1,000 items on."""
    monkeypatch.setattr(vectors, "EXACT", 1_000)
    monkeypatch.setattr(vectors, "_PER_LIST", 10)
    monkeypatch.setattr(vectors, "_PROBED", 1 / 32)
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((60, 16))
    x = _unit(centres[rng.integers(0, 60, 6_050)] + 0.4 * rng.standard_normal((6_050, 16)))
    return x[:6_000], x[6_000:]


def test_inverted_lists_find_most_neighbours_and_the_same_for_every_batch(
    clusters: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    x, query_x = clusters
    index = VectorIndex(x)
    found = index.nearest(query_x, 20)
    assert 0.8 < index.recall(query_x, 20) < 1.0
    exact = np.argsort(-(query_x @ x.T), axis=1)[:, :20]
    hits = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(found.row, exact, strict=True)])
    assert hits == pytest.approx(index.recall(query_x, 20), abs=1e-3)
    assert index.settings == "IVF-Flat: 10 of 309 lists read, trained on 3,090 vectors, seed 0"
    for step in (1, 7):
        parts = [index.nearest(query_x[start : start + step], 20) for start in range(0, 50, step)]
        np.testing.assert_array_equal(found.row, np.concatenate([part.row for part in parts]))
        np.testing.assert_array_equal(found.cosine, np.concatenate([part.cosine for part in parts]))
    index.save(tmp_path / "x.faiss")
    again = VectorIndex(x, saved=tmp_path / "x.faiss")
    assert again.settings == index.settings
    np.testing.assert_array_equal(again.nearest(query_x, 20).row, found.row)


def test_lists_that_hold_too_few_give_fewer_candidates(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    x, query_x = clusters
    stage = FirstStage(VectorIndex(x), LexicalIndex([""] * len(x)), top=5_000)
    found = stage.candidates(query_x[:2], ["", ""])
    assert (found.item >= 0).all()
    assert 0 < np.bincount(found.query).min() < 5_000
    assert 0 < stage.vectors.recall(query_x[:2], stage.top) < 1


def test_a_small_index_is_exact_and_saves_nothing(tmp_path: Path) -> None:
    index = VectorIndex(_unit(np.eye(4)))
    index.save(tmp_path / "x.faiss")
    assert not (tmp_path / "x.faiss").exists()
    assert index.settings == "exact"
    assert index.recall(_unit(np.eye(4)), 2) == 1.0
    assert VectorIndex(index.x, saved=tmp_path / "x.faiss").nearest(index.x, 1).row.ravel().tolist() == [0, 1, 2, 3]


@given(st.lists(st.text(alphabet="ab1 é冷\n", max_size=12), max_size=6))
def test_a_lexical_index_is_restored_from_its_arrays(titles: list[str]) -> None:
    index = LexicalIndex(titles)
    again = LexicalIndex.from_arrays({name: np.array(value) for name, value in index.arrays().items()})
    assert again.lexicon == index.lexicon
    assert (again.words != index.words).nnz == 0
    assert (index.words != index.lexicon.counts(titles)).nnz == 0
    pairs = np.arange(len(titles)), np.arange(len(titles))
    np.testing.assert_array_equal(again.features(titles, *pairs), index.features(titles, *pairs))
    np.testing.assert_array_equal(again.scores(["a 1", "冷"]).toarray(), index.scores(["a 1", "冷"]).toarray())


def test_candidates_are_complete_sorted_and_unaffected_by_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    words = np.array(["lamp", "desk", "red", "blue", "oak", "xl-5"])
    titles = [" ".join(rng.choice(words, 3)) for _ in range(40)]
    queries = [" ".join(rng.choice(words, 2)) for _ in range(9)]
    item_x, query_x = _unit(rng.standard_normal((40, 16))), _unit(rng.standard_normal((9, 16)))
    seen: list[tuple[int, int]] = []
    stage = FirstStage(VectorIndex(item_x), LexicalIndex(titles), top=10)
    whole = stage.candidates(query_x, queries, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (9, 9)
    assert np.array_equal(whole.query, np.repeat(np.arange(9), 10))
    assert np.array_equal(whole.rank, np.tile(np.arange(1, 11), 9))
    for q in range(9):
        assert len(set(whole.item[whole.query == q].tolist())) == 10
    monkeypatch.setattr("engine.relevance.retrieval.CELLS", 80)
    assert np.array_equal(stage.candidates(query_x, queries).item, whole.item)
    alone = [stage.candidates(query_x[q : q + 1], queries[q : q + 1]).item for q in range(9)]
    assert np.array_equal(np.concatenate(alone), whole.item)


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
