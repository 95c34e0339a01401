"""Words and model codes of queries and titles, and their lexical scores (`qs`).

BM25 weights come from bm25s (Lucene's variant, k1 = 1.5, b = 0.75); they and the two coverages are kept as sparse
item-by-term matrices, so that a batch of queries or of pairs is one sparse product.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from itertools import pairwise

import bm25s
import numpy as np
from scipy import sparse

LEXICAL = ("qs", "qs_coverage", "qs_numbers")
"""Columns of `LexicalIndex.features`."""

# Letters of any script, with the combining marks that `\w` leaves out (Devanagari, Thai vowels), and digits.
_LETTERS = r"(?:[^\W\d_]|[\u0300-\u036f\u0900-\u0903\u093a-\u094f\u0e31-\u0e4e])+"
_PART = re.compile(rf"{_LETTERS}|\d+")
_WORD = re.compile(rf"[\u3040-\u30ff\u3400-\u9fff]|(?:{_LETTERS}|\d+)+(?:[-./](?:{_LETTERS}|\d+)+)*")
_APOSTROPHE = re.compile("['\u2019\u02bc](?:s\\b)?")
_CHUNK = 65_536


def _words(text: str) -> list[list[str]]:
    """The parts of every word: 'Dell XPS-13' -> [['dell'], ['xps', '13']]; '16GB' and '16-gb' -> [['16', 'gb']].

    Chinese and Japanese characters, written without spaces, are words of their own. Anything else (NUL, emoji,
    punctuation) separates words.
    """
    folded = _APOSTROPHE.sub("", unicodedata.normalize("NFKC", text).casefold())
    return [_PART.findall(word) or [word] for word in _WORD.findall(folded)]


def _tokens(words: list[list[str]]) -> list[str]:
    return [token for parts in words for token in (parts if len(parts) == 1 else [*parts, "".join(parts)])]


def tokenize(text: str) -> list[str]:
    """Lower-case tokens: every word's parts and, of a joined word or model code, the whole without joints.

    'Dell XPS-13' -> ['dell', 'xps', '13', 'xps13'].
    """
    return _tokens(_words(text))


def _has_digit(token: str) -> bool:
    return any(character.isdigit() for character in token)


def _title_codes(words: list[list[str]]) -> list[str]:
    """Numbers and model codes that a title holds; neighbours also joined, so that '16 GB' holds '16gb'."""
    whole = ["".join(parts) for parts in words]
    neighbours = [a + b for a, b in pairwise(whole)]
    return [token for token in {*_tokens(words), *neighbours} if _has_digit(token)]


def _binary(rows: Sequence[Collection[str]], vocabulary: dict[str, int], *, grow: bool = False) -> sparse.csr_matrix:
    """(rows, vocabulary) 1 where a row holds a token; unknown tokens join the vocabulary only if it may `grow`."""
    at: list[tuple[int, int]] = []
    for r, tokens in enumerate(rows):
        for token in dict.fromkeys(tokens):
            column = vocabulary.setdefault(token, len(vocabulary)) if grow else vocabulary.get(token, -1)
            if column >= 0:
                at.append((r, column))
    index = np.array(at, dtype=np.int64).reshape(-1, 2)
    ones = np.ones(len(index), dtype=np.float32)
    return sparse.csr_matrix((ones, (index[:, 0], index[:, 1])), shape=(len(rows), len(vocabulary)))


class LexicalIndex:
    """BM25 and exact coverage of queries over `titles` (N)."""

    def __init__(self, titles: Sequence[str]) -> None:
        words = [_words(title) for title in titles]
        self.n_items = len(words)
        self._terms: dict[str, int] = {}
        self._codes: dict[str, int] = {}
        tokens = [_tokens(title) for title in words]
        self._has_term = _binary(tokens, self._terms, grow=True)
        self._has_code = _binary([sorted(_title_codes(title)) for title in words], self._codes, grow=True)
        self._bm25 = sparse.csr_matrix(self._has_term.shape, dtype=np.float32)
        if self._terms:
            index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
            documents = [[self._terms[token] for token in title] for title in tokens]
            index.index((documents, dict(self._terms)), create_empty_token=False, show_progress=False)
            stored = index.scores
            weights = (stored["data"], stored["indices"], stored["indptr"])
            self._bm25 = sparse.csc_matrix(weights, shape=self._has_term.shape).tocsr()
        self._bm25.sort_indices()
        self._bm25_by_term = self._bm25.T.tocsr()

    def scores(self, query_texts: Sequence[str]) -> np.ndarray:
        """(Q, N) float32 BM25 of every title over the query's distinct tokens; 0 where none matches."""
        queries = _binary([tokenize(text) for text in query_texts], self._terms)
        return (queries @ self._bm25_by_term).toarray()

    def features(self, query_texts: Sequence[str], pair_query: np.ndarray, pair_item: np.ndarray) -> np.ndarray:
        """(M, 3) float32 of pairs: `qs` BM25; `qs_coverage` share of the query's distinct terms in the title;
        `qs_numbers` share of its distinct numbers and model codes in the title, joints and spaces ignored ('xps-13'
        is in 'XPS13' and in 'XPS 13'). A query that asks for nothing of a kind has coverage 1.
        """
        words = [_words(text) for text in query_texts]
        parts = [{part for word in query for part in word} for query in words]
        codes = [{whole for whole in map("".join, query) if _has_digit(whole)} for query in words]
        bm25 = _binary([_tokens(query) for query in words], self._terms)
        terms, numbers = (
            _binary([sorted(p) for p in parts], self._terms),
            _binary([sorted(c) for c in codes], self._codes),
        )
        n_terms, n_codes = np.array([len(p) for p in parts]), np.array([len(c) for c in codes])
        out = np.empty((len(pair_query), len(LEXICAL)), dtype=np.float32)
        for start in range(0, len(pair_query), _CHUNK):
            part = slice(start, start + _CHUNK)
            q, i = pair_query[part], pair_item[part]
            out[part, 0] = _row_products(bm25[q], self._bm25[i])
            out[part, 1] = _share(_row_products(terms[q], self._has_term[i]), n_terms[q])
            out[part, 2] = _share(_row_products(numbers[q], self._has_code[i]), n_codes[q])
        return out


def _row_products(a: sparse.csr_matrix, b: sparse.csr_matrix) -> np.ndarray:
    return np.asarray(a.multiply(b).sum(axis=1), dtype=np.float32).ravel()


def _share(found: np.ndarray, asked: np.ndarray) -> np.ndarray:
    return np.where(asked > 0, found / np.maximum(asked, 1), 1.0)
