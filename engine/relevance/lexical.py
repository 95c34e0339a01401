"""Lexical scores of queries and titles: BM25 over stems.

Weights come from bm25s (Lucene's variant, k1 = 1.5, b = 0.75) and are kept as sparse item-by-term matrices, so that a
batch of queries or of pairs is one sparse product. What else words tell of a pair is measured by `overlap.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice

import bm25s
import numpy as np
from scipy import sparse

from engine.relevance.overlap import BESIDE, LEXICAL, WHOLE, Overlap, Titles
from engine.relevance.words import Lexicon, Reader, codes, counts, has_digit, tokens

MOST_BESIDE = 64
"""Tokens that are read beside a title: its brand, category and attributes, and how a description begins."""
_CHUNK = 65_536


class LexicalIndex:
    """BM25 and overlap of queries over the titles of N items and what is written beside them."""

    def __init__(self, titles: Sequence[str], language: str | None = None, beside: Sequence[str] | None = None) -> None:
        """`titles` (N,); `language`: of the stems, None for none; `beside` (N,): other text of the items, of which
        `MOST_BESIDE` tokens are read."""
        reader = Reader(language)
        terms: dict[str, int] = {}
        numbers: dict[str, int] = {}
        written: list[list[int]] = []
        held: list[list[int]] = []
        places: list[list[int]] = []
        for title in titles:
            words = reader.words(title)
            written.append([terms.setdefault(token, len(terms)) for token in tokens(words)])
            places.append(_places(words))
            held.append([numbers.setdefault(code, len(numbers)) for code in codes(words)])
        # Read after all titles, so that the words of titles come first.
        more = [
            [terms.setdefault(token, len(terms)) for token in reader.tokens(text)[:MOST_BESIDE]]
            for text in beside or [""] * len(titles)
        ]
        every = [[*own, *other] for own, other in zip(written, more, strict=True)]
        ends = np.concatenate([[0], np.cumsum([len(row) for row in every])]).astype(np.int64)
        token = np.fromiter(chain.from_iterable(every), dtype=np.int32, count=int(ends[-1]))
        read = (place for own, other in zip(places, more, strict=True) for place in (*own, *[BESIDE] * len(other)))
        place, coded = np.fromiter(read, dtype=np.uint16, count=len(token)), counts(held, len(numbers))
        weight = np.zeros((2, len(token)), dtype=np.float32)
        weight[0, place < BESIDE] = _bm25(written, terms, token[place < BESIDE])
        weight[1] = _bm25(every, terms, token) if beside is not None else weight[0]
        kept = (place < BESIDE) | (weight[1] > 0)  # a token beside the title counts once
        self._prepare(
            {
                "language": np.frombuffer((language or "").encode(), dtype=np.uint8), "terms": _packed(terms),
                "token": token[kept], "ends": np.concatenate([[0], np.cumsum(kept)])[ends], "place": place[kept],
                "weight": weight[:, kept].copy(), "codes": _packed(numbers), "code": coded.indices,
                "code_ends": coded.indptr,
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
        token, place, weight, ends = (arrays[name] for name in ("token", "place", "weight", "ends"))
        self.n_items = len(ends) - 1
        reader = Reader(arrays["language"].tobytes().decode() or None)
        self._every, self._codes = Lexicon(reader, _unpacked(arrays["terms"])), _unpacked(arrays["codes"])
        width, titled = len(self._every.column), int(token[place < BESIDE].max(initial=-1)) + 1
        self.lexicon = Lexicon(reader, dict(islice(self._every.column.items(), titled)))

        def matrix(data: np.ndarray, kept: np.ndarray, width: int) -> sparse.csr_matrix:
            rows = np.concatenate([[0], np.cumsum(kept)])[ends]
            return sparse.csr_matrix((data[kept], token[kept], rows), shape=(self.n_items, width))

        self._bm25_by_term = matrix(weight[1], weight[1] > 0, width).T.tocsr()
        self.words = matrix(np.ones(len(token), dtype=np.float32), place < BESIDE, titled)
        """(N, V) float32 counts of the titles' tokens; `lexicon` names the columns."""
        self.words.sum_duplicates()
        one = np.ones(len(arrays["code"]), dtype=np.float32)
        coded = (self.n_items, len(self._codes))
        self._has_code = sparse.csr_matrix((one, arrays["code"], arrays["code_ends"]), shape=coded)
        length = np.diff(np.concatenate([[0], np.cumsum(place < WHOLE)])[ends])
        titles = Titles(token, place, weight, ends, length)
        self._overlap = Overlap(self._every, titles, np.bincount(self.words.indices, minlength=width))

    def arrays(self) -> dict[str, np.ndarray]:
        """All that `from_arrays` needs."""
        return self._arrays

    def scores(self, query_texts: Sequence[str]) -> sparse.csr_matrix:
        """(Q, N) float32 BM25 of all text of the items, over the query's distinct tokens; nothing is stored where none
        matches."""
        asked = [self.lexicon.reader.tokens(text) for text in query_texts]
        return _held(asked, self._every.column) @ self._bm25_by_term

    def features(self, query_texts: Sequence[str], pair_query: np.ndarray, pair_item: np.ndarray) -> np.ndarray:
        """(M, len(LEXICAL)) float32 of pairs: what `Overlap` measures, and `qs_numbers`, the share of the query's
        distinct numbers and model codes in the title, joints and spaces ignored ('xps-13' is in 'XPS13' and in
        'XPS 13'), 1 where it asks for none."""
        words = [self.lexicon.reader.words(text) for text in query_texts]
        out = self._overlap.measure(words, pair_query, pair_item)
        wanted = [{whole for whole in map("".join, query) if has_digit(whole)} for query in words]
        numbers, n_codes = _held(wanted, self._codes), np.array([len(c) for c in wanted])
        coding = np.flatnonzero(n_codes[pair_query] > 0)
        for start in range(0, len(coding), _CHUNK):
            part = coding[start : start + _CHUNK]
            query = pair_query[part]
            found = numbers[query].multiply(self._has_code[pair_item[part]]).sum(axis=1)
            out[part, LEXICAL.index("qs_numbers")] = np.asarray(found).ravel() / n_codes[query]
        return out


def _held(rows: Sequence[Iterable[str]], column: Mapping[str, int]) -> sparse.csr_matrix:
    """(rows, V) 1 where a row holds a known token."""
    return counts([[column[token] for token in dict.fromkeys(row) if token in column] for row in rows], len(column))


def _places(words: list[list[str]]) -> list[int]:
    """For each of `tokens(words)` the number of its part, the whole of a joined word at its first part's plus `WHOLE`."""
    found: list[int] = []
    part = 0
    for parts in words:
        found += [min(part + at, WHOLE - 1) for at in range(len(parts))]
        if len(parts) > 1:
            found.append(min(part, WHOLE - 1) + WHOLE)
        part += len(parts)
    return found


def _bm25(documents: list[list[int]], terms: dict[str, int], token: np.ndarray) -> np.ndarray:
    """(T,) float32 weights of the `documents`' tokens, `token` (T,) in a row; 0 where one is repeated in its document."""
    if not len(token):
        return np.zeros(0, dtype=np.float32)
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index((documents, dict(terms)), create_empty_token=False, show_progress=False)
    stored = index.scores
    shape = (len(documents), len(terms))
    weights = sparse.csc_matrix((stored["data"], stored["indices"], stored["indptr"]), shape=shape).tocsr()
    weights.sort_indices()
    row = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    cell, first = np.unique(row * len(terms) + token, return_index=True)
    assert len(cell) == weights.nnz
    out = np.zeros(len(token), dtype=np.float32)
    out[first] = weights.data
    return out


def _packed(vocabulary: Iterable[str]) -> np.ndarray:
    """Tokens, which hold no white space, as bytes."""
    return np.frombuffer("\n".join(vocabulary).encode(), dtype=np.uint8)


def _unpacked(packed: np.ndarray) -> dict[str, int]:
    return {token: place for place, token in enumerate(packed.tobytes().decode().split())}
