"""Words and model codes of queries and titles, and their lexical scores (`qs`).

BM25 weights come from bm25s (Lucene's variant, k1 = 1.5, b = 0.75); they and the two coverages are kept as sparse
item-by-term matrices, so that a batch of queries or of pairs is one sparse product.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain, pairwise

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


def counts(rows: Sequence[Sequence[int]], width: int) -> sparse.csr_matrix:
    """(rows, width) float32: how often each row names each column."""
    length = np.array([len(row) for row in rows], dtype=np.int64)
    column = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=int(length.sum()))
    ends = np.concatenate([[0], np.cumsum(length)])
    made = sparse.csr_matrix((np.ones(len(column), dtype=np.float32), column, ends), shape=(len(rows), width))
    made.sum_duplicates()
    return made


def _held(rows: Sequence[Collection[str]], vocabulary: Mapping[str, int]) -> sparse.csr_matrix:
    """(rows, vocabulary) 1 where a row holds a known token."""
    known = [[vocabulary[token] for token in dict.fromkeys(row) if token in vocabulary] for row in rows]
    return counts(known, len(vocabulary))


class LexicalIndex:
    """BM25 and exact coverage of queries over `titles` (N)."""

    def __init__(self, titles: Sequence[str]) -> None:
        terms: dict[str, int] = {}
        codes: dict[str, int] = {}
        documents: list[list[int]] = []
        numbers: list[list[int]] = []
        for title in titles:
            words = _words(title)
            documents.append([terms.setdefault(token, len(terms)) for token in _tokens(words)])
            numbers.append([codes.setdefault(code, len(codes)) for code in sorted(_title_codes(words))])
        found, held = counts(documents, len(terms)), counts(numbers, len(codes))
        del numbers
        weights = _bm25(documents, terms, found)
        self._prepare(
            {
                "terms": _packed(terms), "term": found.indices, "term_ends": found.indptr,
                "count": found.data, "bm25": weights,
                "codes": _packed(codes), "code": held.indices, "code_ends": held.indptr,
            }
        )  # fmt: skip

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> LexicalIndex:
        """What `arrays` gave, ready again without reading the titles."""
        index = cls.__new__(cls)
        index._prepare(arrays)
        return index

    def _prepare(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = dict(arrays)
        self.vocabulary, self._codes = _unpacked(arrays["terms"]), _unpacked(arrays["codes"])
        self.n_items = len(arrays["term_ends"]) - 1

        def matrix(data: np.ndarray, of: str, width: int) -> sparse.csr_matrix:
            return sparse.csr_matrix((data, arrays[of], arrays[f"{of}_ends"]), shape=(self.n_items, width))

        self.words = matrix(arrays["count"], "term", len(self.vocabulary))
        """(N, V) float32 counts of the titles' tokens; `vocabulary` names the columns."""
        self._bm25 = matrix(arrays["bm25"], "term", len(self.vocabulary))
        self._bm25_by_term = self._bm25.T.tocsr()
        self._has_term = matrix(np.ones_like(arrays["count"]), "term", len(self.vocabulary))
        self._has_code = matrix(np.ones(len(arrays["code"]), dtype=np.float32), "code", len(self._codes))

    def arrays(self) -> dict[str, np.ndarray]:
        """All that `from_arrays` needs."""
        return self._arrays

    def scores(self, query_texts: Sequence[str]) -> sparse.csr_matrix:
        """(Q, N) float32 BM25 of the titles over the query's distinct tokens; nothing is stored where none matches."""
        return _held([tokenize(text) for text in query_texts], self.vocabulary) @ self._bm25_by_term

    def features(self, query_texts: Sequence[str], pair_query: np.ndarray, pair_item: np.ndarray) -> np.ndarray:
        """(M, 3) float32 of pairs: `qs` BM25; `qs_coverage` share of the query's distinct terms in the title;
        `qs_numbers` share of its distinct numbers and model codes in the title, joints and spaces ignored ('xps-13'
        is in 'XPS13' and in 'XPS 13'). A query that asks for nothing of a kind has coverage 1.
        """
        words = [_words(text) for text in query_texts]
        parts = [{part for word in query for part in word} for query in words]
        codes = [{whole for whole in map("".join, query) if _has_digit(whole)} for query in words]
        bm25 = _held([_tokens(query) for query in words], self.vocabulary)
        terms, numbers = _held(parts, self.vocabulary), _held(codes, self._codes)
        n_terms, n_codes = np.array([len(p) for p in parts]), np.array([len(c) for c in codes])
        out = np.empty((len(pair_query), len(LEXICAL)), dtype=np.float32)
        for start in range(0, len(pair_query), _CHUNK):
            part = slice(start, start + _CHUNK)
            q, i = pair_query[part], pair_item[part]
            out[part, 0] = _row_products(bm25[q], self._bm25[i])
            out[part, 1] = _share(_row_products(terms[q], self._has_term[i]), n_terms[q])
            out[part, 2] = _share(_row_products(numbers[q], self._has_code[i]), n_codes[q])
        return out


def _bm25(documents: list[list[int]], terms: dict[str, int], found: sparse.csr_matrix) -> np.ndarray:
    """Weights of the cells of `found` (N, V), in their order."""
    if not terms:
        return np.zeros(0, dtype=np.float32)
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index((documents, dict(terms)), create_empty_token=False, show_progress=False)
    stored = index.scores
    weights = sparse.csc_matrix((stored["data"], stored["indices"], stored["indptr"]), shape=found.shape).tocsr()
    weights.sort_indices()
    assert np.array_equal(weights.indices, found.indices)
    return weights.data


def _packed(vocabulary: Iterable[str]) -> np.ndarray:
    """Tokens, which hold no white space, as bytes."""
    return np.frombuffer("\n".join(vocabulary).encode(), dtype=np.uint8)


def _unpacked(packed: np.ndarray) -> dict[str, int]:
    return {token: place for place, token in enumerate(packed.tobytes().decode().split())}


def _row_products(a: sparse.csr_matrix, b: sparse.csr_matrix) -> np.ndarray:
    return np.asarray(a.multiply(b).sum(axis=1), dtype=np.float32).ravel()


def _share(found: np.ndarray, asked: np.ndarray) -> np.ndarray:
    return np.where(asked > 0, found / np.maximum(asked, 1), 1.0)
