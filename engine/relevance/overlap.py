"""What a query's words tell of a title: BM25, and which are there, which nearly, which are missing, in what order.

The titles of the pairs are walked through token by token (compiled by numba): each is looked up among the words of its
pair's query and their neighbours by trigrams.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import NamedTuple

import numba
import numpy as np

from engine.relevance.attribution import GROUPS
from engine.relevance.words import Lexicon, Trigrams, pieces, tokens

LEXICAL = GROUPS["qs"]
"""Columns of `Overlap.measure`, in order: the walk writes them by number."""
WORDS = 32
"""Distinct words of a query that count."""
WHOLE = 32_768
"""Added to the place of a token that is a joined word as a whole."""
BESIDE = 65_535
"""Place of a token that is not in the title but beside it, which BM25 alone reads."""
_ALL = np.uint64(2**64 - 1)


class Titles(NamedTuple):
    """N titles as they are read, T tokens in all."""

    token: np.ndarray  # (T,) int32 column of the lexicon.
    place: np.ndarray
    """(T,) uint16 number of the part in its title; of a joined word: plus `WHOLE`; `BESIDE` the title."""
    weight: np.ndarray  # (2, T) float32 BM25's over titles, and over all text; 0 where a token is repeated.
    ends: np.ndarray  # (N + 1,) int64.
    length: np.ndarray  # (N,) int64 parts.


class _Asked(NamedTuple):
    """Queries (Q): their first `WORDS` distinct words (parts), R in all, of which U differ, and the tokens like these."""

    ends: np.ndarray  # (Q + 1,) int64: words of query q are ends[q]:ends[q + 1] of ...
    word: np.ndarray  # (R,) int64 row below.
    column: np.ndarray  # (U,) int64 in the lexicon, -1: in no title ...
    rarity: np.ndarray  # (U,) float64 inverse document frequency ...
    pieces: np.ndarray  # (U,) int64 trigrams; 0 for a word with digits ...
    near_ends: np.ndarray  # (U + 1,) int64 ... and its neighbours:
    near: np.ndarray  # (E,) columns of the lexicon ...
    held: np.ndarray  # (E,) uint64 ... and the word's trigrams that they hold, as bits.
    more_ends: np.ndarray  # (Q + 1,) int64: what BM25 alone reads of a query is more_ends[q]:more_ends[q + 1] of ...
    more: np.ndarray  # (X,) int64 columns: joined words, and words beyond `WORDS`.


class Overlap:
    """Measures pairs of queries and titles.

    With a query's distinct words w (stems, at most `WORDS`), rarity(w) = log(1 + (N - n + .5) / (n + .5)) for a word in
    n titles, near(w) = share of the trigrams of w that tokens of the title hold together (each token at least
    `Trigrams.LEAST` of them), 1 for a word that is there: `qs` BM25 over titles, `qs_fields` over all text of the items;
    `qs_coverage` share of words that are there; `qs_near` mean near; `qs_rare_coverage`, `qs_rare_near` the same weighted
    by rarity; `qs_missing_near` mean near of the words that are not there (1 if all are); `qs_rarest_hit`,
    `qs_rarest_miss` highest rarity among those there, highest rarity (1 - near) among those not; `qs_order` share of
    neighbouring words that are neighbours in the title too; `qs_first_place`, `qs_place` first and mean place of words in
    the title, 0 its beginning, 1 its end (1 if none is there); `qs_jaccard` words in both / words in either;
    `qs_title_share` share of the title's words; `qs_title_words`, `qs_words` log(1 + number of words); `qs_first_word`,
    `qs_last_word` near of the query's first and last; `qs_last_place` the last word's place. A query without words covers
    everything.
    """

    def __init__(self, lexicon: Lexicon, titles: Titles, holding: np.ndarray) -> None:
        """`lexicon` (V): tokens of titles, then those beside them alone; `holding` (V,): titles that hold each token."""
        self._column, self._titles = lexicon.column, titles
        # The last one is of a word that the lexicon lacks, whose column is -1.
        self._rarity = np.log1p((len(titles.length) - np.append(holding, 0) + 0.5) / (np.append(holding, 0) + 0.5))
        self._trigrams = Trigrams(islice(lexicon.column, int((holding > 0).sum())))

    def measure(self, queries: Sequence[list[list[str]]], pair_query: np.ndarray, pair_item: np.ndarray) -> np.ndarray:
        """(M, len(LEXICAL)) float32 of pairs of `queries`, each read by `Reader.words`, and items; `qs_numbers` is 1."""
        out = np.ones((len(pair_query), len(LEXICAL)), dtype=np.float32)
        asked = self._asked(queries)
        _walk(self._titles, asked, len(self._column), (pair_query, pair_item), out)
        out[:, LEXICAL.index("qs_title_words")] = np.log1p(self._titles.length[pair_item])
        out[:, LEXICAL.index("qs_words")] = np.log1p(np.diff(asked.ends)[pair_query])
        return out

    def _asked(self, queries: Sequence[list[list[str]]]) -> _Asked:
        column = self._column
        rows = [list(dict.fromkeys(chain.from_iterable(query)))[:WORDS] for query in queries]
        more = [
            [column[t] for t in dict.fromkeys(tokens(query)) if t in column and t not in set(row)]
            for query, row in zip(queries, rows, strict=True)
        ]
        number: dict[str, int] = {}
        word = [[number.setdefault(w, len(number)) for w in row] for row in rows]
        at = np.array([column.get(w, -1) for w in number], dtype=np.int64)
        near = self._trigrams.near(list(number))
        return _Asked(
            _ends(rows),
            np.array(list(chain.from_iterable(word)), dtype=np.int64),
            at,
            self._rarity[at],
            np.array([len(pieces(w)) for w in number], dtype=np.int64),
            near.indptr.astype(np.int64),
            near.indices,
            near.data,
            _ends(more),
            np.array(list(chain.from_iterable(more)), dtype=np.int64),
        )


def _ends(rows: Sequence[Sequence[object]]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)


@numba.njit(nogil=True, cache=True)
def _walk(titles, asked, n_tokens, pairs, out):  # type: ignore[no-untyped-def]
    """Write the columns of `pairs` (query, item) into `out` (M, C)."""
    last = -1
    # For each token the first of its entries, which are chained: what the query asks that is like it; -1: nothing.
    heads = np.full(max(n_tokens, 1), -1, dtype=np.int32)
    token = word = after = np.empty(0, dtype=np.int32)
    bits = np.empty(0, dtype=np.uint64)
    state = np.zeros(WORDS, dtype=np.uint64), np.zeros(WORDS, dtype=np.int64), np.zeros(WORDS, dtype=np.bool_)
    for m in range(len(out)):
        query, item = pairs[0][m], pairs[1][m]
        if query != last:
            for e in range(len(token)):
                heads[token[e]] = -1
            token, word, after, bits = _entries(asked, query, heads)
            last = query
        words = asked.word[asked.ends[query] : asked.ends[query + 1]]
        out[m, 0], out[m, 19] = _read(titles, item, (heads, word, after, bits), state, len(words))
        _sum_up(asked, words, state, titles.length[item], out, m)


@numba.njit(nogil=True, cache=True)
def _entries(asked, query, heads):  # type: ignore[no-untyped-def]
    """Chain what a query asks to the tokens that are like it: (token, word, after, bits), each (E,)."""
    low, high = asked.ends[query], asked.ends[query + 1]
    n = high - low + asked.more_ends[query + 1] - asked.more_ends[query]
    for u in asked.word[low:high]:
        n += asked.near_ends[u + 1] - asked.near_ends[u]
    token, word, after = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32)
    bits = np.empty(n, dtype=np.uint64)
    e = 0
    for w in range(high - low):
        u = asked.word[low + w]
        for at in range(asked.near_ends[u], asked.near_ends[u + 1]):
            if asked.near[at] != asked.column[u]:
                token[e], word[e], bits[e] = asked.near[at], w, asked.held[at]
                e += 1
        if asked.column[u] >= 0:
            token[e], word[e], bits[e] = asked.column[u], w, _ALL
            e += 1
    for at in range(asked.more_ends[query], asked.more_ends[query + 1]):
        token[e], word[e], bits[e] = asked.more[at], -1, _ALL
        e += 1
    for at in range(e):
        after[at] = heads[token[at]]
        heads[token[at]] = at
    return token[:e], word[:e], after[:e], bits[:e]


@numba.njit(nogil=True, cache=True)
def _read(titles, item, entries, state, n):  # type: ignore[no-untyped-def]
    """Walk through a title for a query of `n` words: BM25 over titles and over all text. `state`, (WORDS,) each: the
    trigrams of each word that were held, where it first stands (-1: nowhere), whether it follows the word before."""
    heads, word, after, bits = entries
    held, place, follows = state
    held[:n], place[:n], follows[:n] = 0, -1, False
    score = everywhere = 0.0
    before, part_before = -2, -2  # the word that the part before is, and which part that is
    for t in range(titles.ends[item], titles.ends[item + 1]):
        e = heads[titles.token[t]]
        if e < 0:
            continue
        part = np.int64(titles.place[t])
        while e >= 0:
            w, here = word[e], bits[e] == _ALL
            if here:
                score += titles.weight[0, t]
                everywhere += titles.weight[1, t]
            if w >= 0 and part < BESIDE:
                held[w] |= bits[e]
                if here:
                    if place[w] < 0:
                        place[w] = part % WHOLE
                    if part < WHOLE:
                        if part_before == part - 1 and before == w - 1:
                            follows[w] = True
                        before, part_before = w, part
            e = after[e]
    return score, everywhere


@numba.njit(nogil=True, cache=True)
def _sum_up(asked, words, state, length, out, m):  # type: ignore[no-untyped-def]
    """Write what was read of a title of `length` words for a query of these `words` into row `m`, by the numbers of
    `LEXICAL`; the lengths are written by `Overlap.measure`, `qs_numbers` by the index."""
    held, place, follows = state
    n = len(words)
    hits = missing = ordered = 0
    rare = rare_hit = rare_near = near_sum = missing_near = rarest_hit = rarest_miss = places = 0.0
    first_place = near = near_first = last_place = 1.0
    span = max(length - 1, 1)
    for w in range(n):
        u = words[w]
        rarity = asked.rarity[u]
        rare += rarity
        near = 1.0
        last_place = 1.0
        if held[w] == _ALL:
            hits += 1
            rare_hit += rarity
            rarest_hit = max(rarest_hit, rarity)
            last_place = place[w] / span
            places += last_place
            first_place = min(first_place, last_place)
            ordered += follows[w]
        else:
            near = _count(held[w]) / max(asked.pieces[u], 1)
            missing += 1
            missing_near += near
            rarest_miss = max(rarest_miss, rarity * (1.0 - near))
        if w == 0:
            near_first = near
        near_sum += near
        rare_near += rarity * near
    out[m, 2] = hits / n if n else 1.0
    out[m, 3] = rare_hit / rare if n else 1.0
    out[m, 4] = near_sum / n if n else 1.0
    out[m, 5] = rare_near / rare if n else 1.0
    out[m, 6] = missing_near / missing if missing else 1.0
    out[m, 7], out[m, 8] = rarest_hit, rarest_miss
    out[m, 9] = ordered / (n - 1) if n > 1 else 1.0
    out[m, 10] = first_place
    out[m, 11] = places / hits if hits else 1.0
    out[m, 12] = hits / (n + length - hits) if n else 1.0
    out[m, 13] = hits / length if length else 0.0
    out[m, 16], out[m, 17], out[m, 18] = near_first, near, last_place


@numba.njit(nogil=True, cache=True)
def _count(bits):  # type: ignore[no-untyped-def]
    """Bits that are set."""
    n = 0
    while bits:
        bits &= bits - np.uint64(1)
        n += 1
    return n
