"""Cluster language model: how well the query's words fit the titles under the item's prefix; and its dense twin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from engine.relevance.signals.nearest import nearest_titles
from engine.relevance.signals.prefixes import Prefixes, at_level, by_query, prefixes
from engine.relevance.signals.protocol import Asked, Column, Learns, Measured, Shelf
from engine.relevance.signals.words import collection_model, word_shares
from engine.relevance.words import Lexicon

SMOOTHING = 10.0
"""mu: tokens of the parent prefix (or of the collection) added to those of a prefix (Dirichlet smoothing); about the
length of a title. 3 to 30 did equally well on the marketplace's development queries."""
NEIGHBOURHOODS = (5, 20, 80)
"""Nearest titles of the twin: as many resolutions as a SID has levels."""


class _Level(NamedTuple):
    """log p(w | prefix) - log p(w | parent) = `base` + `gain` (w): nothing but the words under the prefix is stored."""

    gain: sparse.csc_matrix  # (size, V) float32.
    base: np.ndarray  # (size,) float32 log(mu / (n + mu)).


class _Tree(NamedTuple):
    stack: Prefixes
    levels: list[_Level]


def _tree(stack: Prefixes, words: sparse.csr_matrix, background: np.ndarray) -> _Tree:
    """The language models of one stack; `background` (V,) is p(w | collection)."""
    levels = []
    n_items, width = words.shape
    above = sparse.csr_matrix(background[None, :])
    for number, size, parent in zip(stack.of_item, stack.size, stack.parent, strict=True):
        one = np.ones(n_items, dtype=np.float32)
        counts = sparse.csr_matrix((one, (number, np.arange(n_items))), shape=(size, n_items)) @ words
        counts.sort_indices()
        row = np.repeat(np.arange(size), np.diff(counts.indptr))
        # A word under a prefix stands under its parent, so that every look-up finds its own cell.
        stored = np.repeat(np.arange(above.shape[0]), np.diff(above.indptr)) * width + above.indices
        smooth = SMOOTHING * above.data[np.searchsorted(stored, parent[row] * width + counts.indices)]
        total = np.bincount(row, weights=counts.data, minlength=size)
        gain = sparse.csr_matrix(
            (np.log1p(counts.data / smooth).astype(np.float32), counts.indices, counts.indptr), shape=counts.shape
        )
        levels.append(_Level(gain.tocsc(), np.log(SMOOTHING / (total + SMOOTHING)).astype(np.float32)))
        above = sparse.csr_matrix(
            ((counts.data + smooth) / (total[row] + SMOOTHING), counts.indices, counts.indptr), shape=counts.shape
        )
    return _Tree(stack, levels)


class _Said(NamedTuple):
    """A word, and the pairs whose queries say it."""

    word: int
    pair: np.ndarray  # (m,) places of the pairs within their part.
    share: np.ndarray  # (m,) float32 share of the word among the query's.


def _said(share: sparse.csr_matrix, row: np.ndarray) -> list[_Said]:
    """What pairs of the queries `row` (m,), sorted, say by the words' `share` (R, V); words in descending order."""
    ends = np.searchsorted(row, np.arange(share.shape[0] + 1))
    order = np.argsort(share.indices, kind="stable")
    words, first = np.unique(share.indices[order], return_index=True)
    asking = np.repeat(np.arange(share.shape[0]), np.diff(share.indptr))[order]
    found = []
    for word, start, end in zip(words.tolist(), first, np.append(first, len(order))[1:], strict=True):
        queries, shares = asking[start:end], share.data[order[start:end]]
        pair = np.concatenate([np.arange(ends[query], ends[query + 1]) for query in queries])
        found.append(_Said(word, pair, np.repeat(shares, ends[queries + 1] - ends[queries])))
    return found[::-1]


def _fit(gain: sparse.csc_matrix, said: list[_Said], number: np.ndarray) -> np.ndarray:
    """(m,) float32 sum over the words of a pair's query of share x `gain` under its prefix `number` (m,)."""
    fit = np.zeros(len(number), dtype=np.float32)
    number = number.astype(gain.indices.dtype)  # else every search would copy its column as int64
    for word, pair, share in said:
        start, end = gain.indptr[word], gain.indptr[word + 1]
        under, wanted = gain.indices[start:end], number[pair]  # the prefixes with the word, sorted
        place = under.searchsorted(wanted)
        found = under.take(place, mode="clip") == wanted
        fit[pair] += gain.data[start:end].take(place, mode="clip") * found * share
    return fit


@dataclass(frozen=True)
class _FittedTrees:
    trees: list[_Tree]
    lexicon: Lexicon

    def measure(self, asked: Asked, pair_query: np.ndarray, pair_item: np.ndarray) -> Measured:
        stacks = [tree.stack for tree in self.trees]
        levels = len(stacks[0].size)
        having = [len(at_level(stacks, level)) for level in range(levels)]
        values = np.zeros((len(pair_query), 2 * levels), dtype=np.float32)
        mean, best = values[:, :levels], values[:, levels:]
        best[:] = -np.inf
        for part in by_query(pair_query):
            share = word_shares(self.lexicon.counts([asked.texts[q] for q in part.query]))
            asks = (np.diff(share.indptr) > 0).astype(np.float32)[part.row]
            item, said = pair_item[part.pair], _said(share, part.row)
            for stack, models in self.trees:
                so_far = np.zeros(len(item), dtype=np.float32)
                for level, model in enumerate(models[:levels]):
                    number = stack.of_item[level][item]
                    so_far = so_far + _fit(model.gain, said, number) + model.base[number] * asks
                    mean[part.pair, level] += so_far / having[level]
                    best[part.pair, level] = np.maximum(best[part.pair, level], so_far)
        return Measured(values, None)


@dataclass(frozen=True)
class ClusterLanguageModel:
    """`cluster_l`: mean over the query's words of log p(w | prefix of level l) - log p(w | collection), mean over the
    stacks; `best_l`: the highest among the stacks, since one neighbourhood that speaks the query's words says more than
    several that half do. p counts the tokens of the titles under the prefix, Dirichlet-smoothed by the prefix above, so
    that a deep prefix of few titles inherits from a broad one. Words that no title holds say nothing.
    """

    name: str = "cluster"
    twin: str | None = "cluster_titles"
    learns: Learns = "nothing"
    cost: str = "stores one weight a word and prefix; a pair is one look-up a word of the query and prefix"

    def columns(self, levels: int) -> tuple[Column, ...]:
        return tuple(Column(f"{kind}_{level}", level) for kind in ("cluster", "best") for level in range(1, levels + 1))

    def fit(self, shelf: Shelf) -> _FittedTrees:
        background = collection_model(shelf.words)
        trees = [_tree(prefixes(codes), shelf.words, background) for codes in shelf.stacks]
        return _FittedTrees(trees, shelf.lexicon)


@dataclass(frozen=True)
class _FittedTitles:
    words: sparse.csr_matrix
    background: np.ndarray
    item_x: np.ndarray
    lexicon: Lexicon

    def measure(self, asked: Asked, pair_query: np.ndarray, pair_item: np.ndarray) -> Measured:
        values = np.zeros((len(pair_query), len(NEIGHBOURHOODS)), dtype=np.float32)
        length = np.asarray(self.words.sum(axis=1), dtype=np.float64).ravel()
        item, at_item = np.unique(pair_item, return_inverse=True)
        near = nearest_titles(self.item_x, item, max(NEIGHBOURHOODS))
        for part in by_query(pair_query):
            share = word_shares(self.lexicon.counts([asked.texts[q] for q in part.query]))
            for r in range(len(part.query)):
                pair = part.pair[part.row == r]
                word = share[r].indices
                if not len(word):
                    continue
                titles = near[at_item[pair]]
                distinct, at = np.unique(titles, return_inverse=True)
                counts = self.words[distinct][:, word].toarray()[at.reshape(titles.shape)].cumsum(axis=1)
                tokens = length[titles].cumsum(axis=1)
                prior = SMOOTHING * self.background[word]
                for c, size in enumerate(NEIGHBOURHOODS):
                    last = min(size, titles.shape[1]) - 1
                    p = (counts[:, last] + prior) / (tokens[:, last, None] + SMOOTHING)
                    values[pair, c] = np.log(p / self.background[word]) @ share[r].data
        return Measured(values, None)


@dataclass(frozen=True)
class TitlesLanguageModel:
    """The same language model over the item's nearest titles, in three neighbourhoods, smoothed by the collection."""

    name: str = "cluster_titles"
    twin: str | None = None
    learns: Learns = "nothing"
    cost: str = "stores 80 neighbours an item, found by N x N cosines; a pair counts the query's words in 80 titles"

    def columns(self, levels: int) -> tuple[Column, ...]:
        return tuple(Column(f"cluster_titles_{size}", 0) for size in NEIGHBOURHOODS)

    def fit(self, shelf: Shelf) -> _FittedTitles:
        return _FittedTitles(shelf.words, collection_model(shelf.words), shelf.item_x, shelf.lexicon)
