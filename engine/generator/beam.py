"""Beam search over the SIDs that exist, and the probability of given SIDs under the same rule.

Constrained decoding renormalises: the probability of a code is a softmax over the *existing* children of its
prefix, so every level sums to one over the trie, the SIDs' probabilities sum to one over the catalogue, and a
prefix with one child passes its whole probability on. Unconstrained decoding takes the softmax over all codes of
the level. Log-probabilities are natural, add up over levels, and are float64 whatever the model's logits are.

The search knows of the model only what `Decoder` says, so any causal language model fits behind it. A prompt is read
once: `Prompted` holds what the model made of it, and every search and every given SID starts from there.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from engine.generator.trie import Children, SidTrie

T = TypeVar("T", bound=tuple[np.ndarray, ...])


class Decoder(Protocol):
    """A model that spells SIDs level by level."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        ...

    def prefill(self, queries: Any) -> tuple[np.ndarray, Any]:
        """Logits (Q, K_1) for level 1 and a cache, from a slice of the queries (embeddings, or texts)."""
        ...

    def step(self, cache: Any, codes: np.ndarray, parents: np.ndarray) -> tuple[np.ndarray, Any]:
        """Feed `codes` (Q, W), row w extending row `parents[q, w]` of the last step; logits (Q, W, K_next) and the
        cache after it. The given cache stays as it was."""
        ...


class Beams(NamedTuple):
    """The K best SIDs of each query, best first."""

    codes: np.ndarray  # (Q, K, L) int64; -1 where fewer than K SIDs exist.
    log_prob: np.ndarray  # (Q, K) float64, of the whole SID; -inf where absent.
    level_log_prob: np.ndarray
    """(Q, K, L) float64, of each code given its prefix; sums to `log_prob`; -inf where absent."""


class BeamNodes(NamedTuple):
    """The best prefixes the search weighed at each level, kept or pruned; M rows by query, level, rank."""

    query: np.ndarray  # (M,) int64 position of the query.
    level: np.ndarray  # (M,) int64, 1-based.
    prefix: np.ndarray  # (M, L) int64; -1 beyond the level.
    parent: np.ndarray  # (M,) int64 rank of the parent at the level above; 0 at level 1.
    log_prob: np.ndarray  # (M,) float64, of the whole prefix.
    step_log_prob: np.ndarray  # (M,) float64, of the last code given the parent.
    rank: np.ndarray  # (M,) int64, 1-based, among all children of the beams kept above.
    kept: np.ndarray  # (M,) bool: among the K that the search went on with (rank <= K).


class BeamSearch(NamedTuple):
    """What a search found, and where it looked."""

    beams: Beams
    nodes: BeamNodes | None  # None where none were asked for.


def beam_search(
    model: Decoder,
    queries: Any,
    trie: SidTrie,
    *,
    width: int = 5,
    kept_nodes: int = 0,
    constrained: bool = True,
    batch: int = 64,
) -> BeamSearch:
    """`Prompted.search` for any number of queries (embeddings (Q, D), or texts (Q,)), `batch` of them together."""
    found: list[Beams] = []
    nodes: list[BeamNodes] = []
    for start in range(0, len(queries), batch):
        prompted = Prompted.read(model, queries[start : start + batch])
        beams, seen = prompted.search(trie, width=width, kept_nodes=kept_nodes, constrained=constrained)
        found.append(beams)
        nodes += [] if seen is None else [seen._replace(query=seen.query + start)]
    if not found:
        found, nodes = [_no_beams(0, width, trie.levels)], [_nodes(_root(0), _NO_CHILDREN, width, trie.levels)]
    return BeamSearch(_joined(found), _joined(nodes) if kept_nodes else None)


def sequence_log_probs(
    model: Decoder, queries: Any, trie: SidTrie, pair_query: np.ndarray, pair_codes: np.ndarray, *, batch: int = 32
) -> np.ndarray:
    """`Prompted.log_probs` for any number of queries: (P, L) float64 of the SIDs `pair_codes` (P, L).

    `pair_query` (P,) are rows of `queries`, an array; those without a pair are not read.
    """
    result = np.full(pair_codes.shape, -np.inf)
    asked, row, counts = np.unique(pair_query, return_inverse=True, return_counts=True)
    order = np.argsort(counts, kind="stable")  # batches of like size waste few padded rows
    place = np.empty(len(asked), dtype=np.int64)
    place[order] = np.arange(len(asked))
    place = place[row]
    by_place = np.argsort(place, kind="stable")
    bounds = np.searchsorted(place[by_place], np.arange(0, len(asked) + batch, batch))
    for index, start in enumerate(range(0, len(asked), batch)):
        pairs = by_place[bounds[index] : bounds[index + 1]]
        prompted = Prompted.read(model, queries[asked[order[start : start + batch]]])
        result[pairs] = prompted.log_probs(trie, place[pairs] - start, pair_codes[pairs])
    return result


class Answer(NamedTuple):
    """All that a generator is asked about some queries."""

    found: BeamSearch
    free: Beams  # Of the search over all codes.
    log_probs: np.ndarray  # (P, L) float64, as `Prompted.log_probs`.


def answers(
    model: Decoder,
    queries: Any,
    trie: SidTrie,
    pair_query: np.ndarray,
    pair_codes: np.ndarray,
    *,
    width: int = 5,
    kept_nodes: int = 0,
    batch: int = 32,
) -> Answer:
    """`Prompted.answer` for any number of queries (Q >= 1), `batch` of them together: of each some hundred SIDs are
    scored, whose logits take memory. `pair_query` (P,) rows of `queries`, sorted."""
    made = []
    for start in range(0, len(queries), batch):
        part = slice(*np.searchsorted(pair_query, [start, start + batch]))
        prompted = Prompted.read(model, queries[start : start + batch])
        one = prompted.answer(trie, pair_query[part] - start, pair_codes[part], width=width, kept_nodes=kept_nodes)
        made.append((start, one))
    nodes = [
        a.found.nodes._replace(query=a.found.nodes.query + start) for start, a in made if a.found.nodes is not None
    ]
    return Answer(
        BeamSearch(_joined([a.found.beams for _, a in made]), _joined(nodes) if nodes else None),
        _joined([a.free for _, a in made]),
        np.concatenate([a.log_probs for _, a in made]),
    )


@dataclass(frozen=True)
class Prompted:
    """Q queries that a model has read once, for any number of searches and given SIDs."""

    model: Decoder
    logits: np.ndarray  # (Q, K_1), of level 1.
    cache: Any

    @staticmethod
    def read(model: Decoder, queries: Any) -> Prompted:
        """Query embeddings (Q, D), or whatever sequence `model.prefill` takes, decoded together."""
        return Prompted(model, *model.prefill(queries))

    def search(self, trie: SidTrie, *, width: int = 5, kept_nodes: int = 0, constrained: bool = True) -> BeamSearch:
        """The `width` most probable SIDs of every query, by beam search with `width` beams a level.

        Args:
            trie: the SIDs that exist; constrained beams are always among them, all different.
            width: K. At or above the number of SIDs the search is exhaustive.
            kept_nodes: best prefixes reported a level, pruned ones included; 0 for none.
            constrained: False decodes over all codes of each level, for comparison.
        """
        return self._decode(trie, [self._search(trie, width, kept_nodes, constrained)])[0]

    def log_probs(self, trie: SidTrie, pair_query: np.ndarray, pair_codes: np.ndarray) -> np.ndarray:
        """log p(code | prefix, query) of given SIDs, teacher-forced and renormalised over the trie as beams are.

        Each distinct (query, prefix) runs through the model once, however many pairs share it.

        Args:
            trie: the SIDs that exist.
            pair_query: (P,) int64 rows of these queries.
            pair_codes: (P, L) int64.

        Returns:
            (P, L) float64; -inf from the first level whose prefix no item has.
        """
        return self._decode(trie, [self._log_probs(trie, pair_query, pair_codes)])[0]

    def answer(
        self, trie: SidTrie, pair_query: np.ndarray, pair_codes: np.ndarray, *, width: int = 5, kept_nodes: int = 0
    ) -> Answer:
        """Both searches and the given SIDs, in one pass a level: for few queries, a pass costs more than its rows."""
        found, free, log_probs = self._decode(
            trie,
            [
                self._search(trie, width, kept_nodes, True),
                self._search(trie, width, 0, False),
                self._log_probs(trie, pair_query, pair_codes),
            ],
        )
        return Answer(found, free.beams, log_probs)

    def _decode(self, trie: SidTrie, tasks: list[Steps]) -> list[Any]:
        """What each task returns; the rows that they ask for at one level go through the model side by side."""
        assert tuple(self.model.sizes) == trie.sizes, f"model spells {self.model.sizes}, trie {trie.sizes}"
        results: dict[int, Any] = {}
        # Of each task among the rows of the last step; they all set out from the one row of the prompt.
        columns = [slice(0, 1)] * len(tasks)
        logits, cache = self.logits[:, None], self.cache
        while True:
            asked: dict[int, Rows] = {}
            for number, task in enumerate(tasks):
                if number not in results:
                    try:
                        asked[number] = task.send(logits[:, columns[number]]) if cache is not self.cache else next(task)
                    except StopIteration as end:
                        results[number] = end.value
            if not asked:
                return [results[number] for number in range(len(tasks))]
            codes = np.concatenate([rows.code for rows in asked.values()], axis=1)
            parents = np.concatenate([rows.parent + columns[at].start for at, rows in asked.items()], axis=1)
            width = 0
            for number, rows in asked.items():
                columns[number] = slice(width, width + rows.code.shape[1])
                width += rows.code.shape[1]
            logits, cache = self.model.step(cache, codes, parents)

    def _search(self, trie: SidTrie, width: int, kept_nodes: int, constrained: bool) -> Steps:
        logits, front = self.logits[:, None], _root(len(self.logits))
        nodes: list[BeamNodes] = []
        for level, size in enumerate(trie.sizes, start=1):
            if level > 1:
                logits = yield Rows(front.codes[..., -1], front.parent)
            children = trie.children(level, front.node.ravel()) if constrained else _all_codes(size, front.node)
            ranked = front.rank(logits, children, max(width, kept_nodes))
            if kept_nodes:
                nodes.append(_nodes(front, ranked.first(kept_nodes), width, trie.levels))
            front = front.extend(ranked.first(width))
        return BeamSearch(front.beams(width), _by_query(nodes) if nodes else None)

    def _log_probs(self, trie: SidTrie, pair_query: np.ndarray, pair_codes: np.ndarray) -> Steps:
        n_queries, logits = len(self.logits), self.logits[:, None]
        result = np.full(pair_codes.shape, -np.inf)
        above = np.zeros(len(pair_query), dtype=np.int64)  # the node of each pair's prefix; -1 once off the trie
        column = np.zeros(len(pair_query), dtype=np.int64)  # of each pair's prefix among the rows of its query
        nodes = np.zeros((n_queries, 1), dtype=np.int64)
        for level in range(1, trie.levels + 1):
            if level > 1:
                prefixes = _distinct(pair_query, above, column, n_queries)
                nodes, column = prefixes.node, prefixes.column
                if nodes.shape[1] == 0:
                    break
                logits = yield Rows(np.where(nodes < 0, 0, trie.code[level - 2][nodes]), prefixes.parent)
            children = trie.children(level, nodes.ravel())
            normaliser = _log_normaliser(_child_logits(logits, children), children.first).reshape(nodes.shape)
            below = trie.descend(level, above, pair_codes[:, level - 1])
            known = np.flatnonzero(below >= 0)
            q, w = pair_query[known], column[known]
            result[known, level - 1] = logits[q, w, pair_codes[known, level - 1]] - normaliser[q, w]
            above = below
        return result


class Rows(NamedTuple):
    """What a task asks of a model at a level."""

    code: np.ndarray  # (Q, W) int64 codes of the level above.
    parent: np.ndarray  # (Q, W) int64: which of the task's rows of the step before each extends.


Steps = Generator[Rows, np.ndarray, Any]
"""A task: yields rows and is sent their logits (Q, W, K); what it returns is its result."""


class _Prefixes(NamedTuple):
    """The distinct prefixes of each query, as the rows of one decoding step."""

    node: np.ndarray  # (Q, W) trie nodes; -1 pads.
    parent: np.ndarray  # (Q, W) row of the step before that each extends.
    column: np.ndarray  # (P,) the row of each pair's prefix (0 for a pair off the trie).


def _distinct(query: np.ndarray, node: np.ndarray, parent: np.ndarray, n_queries: int) -> _Prefixes:
    known = np.flatnonzero(node >= 0)
    span = int(node.max(initial=0)) + 1
    key, at, inverse = np.unique(query[known] * span + node[known], return_index=True, return_inverse=True)
    owner = key // span
    rank = np.arange(len(key)) - np.searchsorted(owner, owner)
    width = int(rank.max(initial=-1)) + 1
    nodes = np.full((n_queries, width), -1, dtype=np.int64)
    parents = np.zeros((n_queries, width), dtype=np.int64)
    nodes[owner, rank] = node[known][at]
    parents[owner, rank] = parent[known][at]
    column = np.zeros(len(query), dtype=np.int64)
    column[known] = rank[inverse]
    return _Prefixes(nodes, parents, column)


class _Ranked(NamedTuple):
    """The best children (Q, T) of each query's beams, best first."""

    parent: np.ndarray  # Row of the beam that each extends.
    code: np.ndarray
    node: np.ndarray  # In the trie; 0 of an unconstrained search, -1 where there are fewer than T children.
    log_prob: np.ndarray  # Of the whole prefix; -inf where there are fewer.
    step_log_prob: np.ndarray  # Of the code given the parent.

    def first(self, count: int) -> _Ranked:
        """The `count` best."""
        return _Ranked(*(column[:, :count] for column in self))


_NO_CHILDREN = _Ranked(*np.zeros((3, 0, 0), dtype=np.int64), *np.zeros((2, 0, 0)))


class _Front(NamedTuple):
    """The W beams of each query after `level` levels."""

    codes: np.ndarray  # (Q, W, level) int64.
    level_log_prob: np.ndarray  # (Q, W, level) float64.
    log_prob: np.ndarray  # (Q, W) float64.
    node: np.ndarray  # (Q, W) int64; -1 marks a beam that does not exist.
    parent: np.ndarray  # (Q, W) int64 row of the front above.

    def rank(self, logits: np.ndarray, children: Children, count: int) -> _Ranked:
        """The `count` best children, by the logits (Q, W, K) of their codes."""
        width = self.node.shape[1]
        scores = _child_logits(logits, children)
        step = scores - _log_normaliser(scores, children.first)[children.row]
        total = self.log_prob.ravel()[children.row] + step
        best = _top(total, children.first[::width], count)
        return _Ranked(
            children.row[best] % width,
            children.code[best],
            np.where(best >= 0, children.node[best], -1),
            np.where(best >= 0, total[best], -np.inf),
            step[best],
        )

    def extend(self, ranked: _Ranked) -> _Front:
        """The front of these children."""
        rows = np.arange(len(self.node))[:, None]

        def grown(history: np.ndarray, newest: np.ndarray) -> np.ndarray:
            return np.concatenate([history[rows, ranked.parent], newest[..., None]], axis=-1)

        return _Front(
            grown(self.codes, ranked.code),
            grown(self.level_log_prob, ranked.step_log_prob),
            ranked.log_prob,
            ranked.node,
            ranked.parent,
        )

    def beams(self, width: int) -> Beams:
        """The beams of a finished search, filled up to `width`."""
        n, found, levels = self.codes.shape
        beams = _no_beams(n, width, levels)
        there = (self.node >= 0)[..., None]
        beams.codes[:, :found] = np.where(there, self.codes, -1)
        beams.log_prob[:, :found] = self.log_prob
        beams.level_log_prob[:, :found] = np.where(there, self.level_log_prob, -np.inf)
        return beams


def _no_beams(n: int, width: int, levels: int) -> Beams:
    wide = (n, width, levels)
    return Beams(np.full(wide, -1, dtype=np.int64), np.full(wide[:2], -np.inf), np.full(wide, -np.inf))


def _root(n: int) -> _Front:
    """The one beam of each of n queries before level 1: no code yet."""
    zero = np.zeros((n, 1), dtype=np.int64)
    return _Front(np.zeros((n, 1, 0), dtype=np.int64), np.zeros((n, 1, 0)), np.zeros((n, 1)), zero, zero)


def _child_logits(logits: np.ndarray, children: Children) -> np.ndarray:
    """(C,) float64: the logits (Q, W, K) of the children of Q x W prefixes."""
    return logits.ravel()[children.row * logits.shape[-1] + children.code].astype(np.float64, copy=False)


def _log_normaliser(scores: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(R,): log of the softmax denominator over each run of the logits `scores` (C,); 0 for an empty run."""
    padded = _padded(scores, first)
    top = padded.max(axis=1, initial=-np.inf)
    top[top == -np.inf] = 0.0
    share = padded - top[:, None]
    total = np.exp(share, out=share).sum(axis=1)
    total[total == 0.0] = 1.0
    return top + np.log(total)


def _padded(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(R, F): the runs first[r] .. first[r + 1] - 1 of `values` (C,) as rows; -inf pads."""
    length = np.diff(first)
    rows, width = len(length), int(length.max(initial=0))
    if len(values) == rows * width:
        return values.reshape(rows, width)
    out = np.full((rows, width), -np.inf)
    out.ravel()[np.arange(len(values)) + np.repeat(np.arange(rows) * width - first[:-1], length)] = values
    return out


def _all_codes(size: int, node: np.ndarray) -> Children:
    """Every code of a level as a child of every beam that exists."""
    alive = node.ravel() >= 0
    row = np.repeat(np.flatnonzero(alive), size)
    code = np.tile(np.arange(size), len(row) // size)
    return Children(np.append(0, np.cumsum(alive * size)), row, code, np.zeros_like(code))


def _top(values: np.ndarray, first: np.ndarray, count: int) -> np.ndarray:
    """(Q, T) positions of the `count` greatest of each run of `values` (C,), greatest first; -1 where it has fewer.

    Run q is first[q] .. first[q + 1] - 1; T is `count`, or the length of the longest run.
    """
    wide = -_padded(values, first)
    rows = np.arange(len(wide))[:, None]
    if count < wide.shape[1]:
        best = np.sort(np.argpartition(wide, count - 1, axis=1)[:, :count], axis=1)  # equal values: the first first
        best = best[rows, np.argsort(wide[rows, best], axis=1, kind="stable")]
    else:
        best = np.argsort(wide, axis=1, kind="stable")
    return np.where(wide[rows, best] < np.inf, first[:-1, None] + best, -1)


def _nodes(front: _Front, ranked: _Ranked, width: int, levels: int) -> BeamNodes:
    """The ranked children of a front, those that exist, as rows."""
    query, column = np.nonzero(ranked.node >= 0)
    above, level = ranked.parent[query, column], front.codes.shape[-1] + 1
    prefix = np.full((len(query), levels), -1, dtype=np.int64)
    prefix[:, : level - 1] = front.codes[query, above]
    prefix[:, level - 1] = ranked.code[query, column]
    return BeamNodes(
        query=query,
        level=np.full(len(query), level),
        prefix=prefix,
        parent=above + 1 if level > 1 else np.zeros_like(above),
        log_prob=ranked.log_prob[query, column],
        step_log_prob=ranked.step_log_prob[query, column],
        rank=column + 1,
        kept=column < width,
    )


def _by_query(levels: list[BeamNodes]) -> BeamNodes:
    """One level's nodes after the other's, in the order of queries."""
    joined = _joined(levels)
    order = np.argsort(joined.query, kind="stable")
    return BeamNodes(*(column[order] for column in joined))


def _joined(parts: list[T]) -> T:
    """Named tuples of arrays as one, row under row."""
    return type(parts[0])(*(np.concatenate(column) for column in zip(*parts, strict=True)))
