"""What the lexical columns cost a pair, against the three columns of before: BM25, coverage and numbers by sparse products.

    python -m tests.bench.bench_lexical FOLDER [--queries 5000] [--top 200]

FOLDER: a dataset (items.parquet, queries.parquet), such as `tests.bench.exam_shaped` or `engine demo` write. The pairs are
each query's best titles by BM25, in blocks of 512 queries as they are answered. Both read the same tokens, with stems, and
the titles alone. Times are of one thread's work; the ratio is the median over the blocks.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from engine.relevance.lexical import LexicalIndex
from engine.relevance.retrieval import _best
from engine.relevance.words import Reader, codes, counts, has_digit, tokens

BLOCK = 512


class Three:
    """`qs`, `qs_coverage`, `qs_numbers` as three sparse products over rows of pairs."""

    def __init__(self, titles: list[str], reader: Reader, bm25: sparse.csr_matrix) -> None:
        self.reader, self.bm25 = reader, bm25
        self.terms: dict[str, int] = {}
        self.numbers: dict[str, int] = {}
        read = [reader.words(title) for title in titles]
        held = counts(
            [[self.terms.setdefault(t, len(self.terms)) for t in tokens(words)] for words in read], len(self.terms)
        )
        coded = counts(
            [[self.numbers.setdefault(c, len(self.numbers)) for c in codes(w)] for w in read], len(self.numbers)
        )
        held.data[:] = 1.0
        self.held, self.coded = held, coded

    def features(self, texts: list[str], query: np.ndarray, item: np.ndarray) -> np.ndarray:
        """(M, 3) of pairs."""
        words = [self.reader.words(text) for text in texts]
        parts = [{part for word in row for part in word} for row in words]
        wanted = [{whole for whole in map("".join, row) if has_digit(whole)} for row in words]
        asked = self._rows([dict.fromkeys(tokens(row)) for row in words], self.terms)
        single, numbers = self._rows(parts, self.terms), self._rows(wanted, self.numbers)
        n_parts, n_codes = (np.array([len(row) for row in rows]) for rows in (parts, wanted))
        found = [
            np.asarray(a[query].multiply(b[item]).sum(axis=1)).ravel()
            for a, b in ((asked, self.bm25), (single, self.held), (numbers, self.coded))
        ]
        return np.column_stack(
            [found[0], found[1] / np.maximum(n_parts[query], 1), found[2] / np.maximum(n_codes[query], 1)]
        )

    @staticmethod
    def _rows(rows: list, column: dict[str, int]) -> sparse.csr_matrix:
        return counts([[column[t] for t in row if t in column] for row in rows], len(column))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--queries", type=int, default=5_000)
    parser.add_argument("--top", type=int, default=200)
    given = parser.parse_args()
    titles = pd.read_parquet(given.folder / "items.parquet", columns=["title"])["title"].tolist()
    texts = pd.read_parquet(given.folder / "queries.parquet", columns=["text"])["text"].tolist()[: given.queries]
    index = LexicalIndex(titles, "en")
    three = Three(titles, index.lexicon.reader, index._bm25_by_term.T.tocsr())
    index.features(texts[:1], np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))  # compiles
    rows = []
    for start in range(0, len(texts), BLOCK):
        block = texts[start : start + BLOCK]
        found = _best(index.scores(block), given.top)
        query, place = np.nonzero(found >= 0)
        item = found[query, place]
        before, began = time.process_time(), None
        old = three.features(block, query, item)
        began = time.process_time()
        new = index.features(block, query, item)
        ended = time.process_time()
        np.testing.assert_allclose(old[:, 0], new[:, 0], rtol=1e-4)
        rows.append((len(item), began - before, ended - began))
    n, old_s, new_s = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    print(f"{int(n.sum()):,} pairs of {len(texts):,} queries and {len(titles):,} titles")
    print(f"three columns  {1e6 * np.median(old_s / n):.2f} us a pair")
    print(f"all columns    {1e6 * np.median(new_s / n):.2f} us a pair, {np.median(new_s / old_s):.2f} times as much")


if __name__ == "__main__":
    main()
