"""Beam search over the SIDs that exist, and the probability of given SIDs under the same rule.

Constrained decoding renormalises: the probability of a code is a softmax over the *existing* children of its
prefix, so every level sums to one over the trie, the SIDs' probabilities sum to one over the catalogue, and a
prefix with one child passes its whole probability on. Unconstrained decoding takes the softmax over all codes of
the level. Log-probabilities are natural and add up over levels.

The search knows of the model only what `Decoder` says, so any causal language model fits behind it.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from engine.generator.trie import Children, SidTrie
from engine.progress import Progress, silent


class Decoder(Protocol):
    """A model that spells SIDs level by level."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        ...

    def prefill(self, queries: Any) -> tuple[np.ndarray, Any]:
        """Logits (Q, K_1) for level 1 and a cache, from a slice of the queries (embeddings, or texts)."""
        ...

    def step(self, cache: Any, codes: np.ndarray, parents: np.ndarray) -> np.ndarray:
        """Feed `codes` (Q, W), row w extending row `parents[q, w]` of the last step; logits (Q, W, K_next)."""
        ...


class Beams(NamedTuple):
    """The K best SIDs of each query, best first."""

    codes: np.ndarray
    """(Q, K, L) int64; -1 where fewer than K SIDs exist."""
    log_prob: np.ndarray
    """(Q, K) float32, of the whole SID; -inf where absent."""
    level_log_prob: np.ndarray
    """(Q, K, L) float32, of each code given its prefix; sums to `log_prob`; -inf where absent."""


class BeamNodes(NamedTuple):
    """The best prefixes the search weighed at each level, kept or pruned; M rows by query, level, rank."""

    query: np.ndarray
    """(M,) int64 position of the query."""
    level: np.ndarray
    """(M,) int64, 1-based."""
    prefix: np.ndarray
    """(M, L) int64; -1 beyond the level."""
    parent: np.ndarray
    """(M,) int64 rank of the parent at the level above; 0 at level 1."""
    log_prob: np.ndarray
    """(M,) float32, of the whole prefix."""
    step_log_prob: np.ndarray
    """(M,) float32, of the last code given the parent."""
    rank: np.ndarray
    """(M,) int64, 1-based, among all children of the beams kept above."""
    kept: np.ndarray
    """(M,) bool: among the K that the search went on with (rank <= K)."""


class BeamSearch(NamedTuple):
    """What a search found, and where it looked."""

    beams: Beams
    nodes: BeamNodes | None
    """None where none were asked for."""


def beam_search(
    model: Decoder,
    query_x: Any,
    trie: SidTrie,
    *,
    width: int = 5,
    kept_nodes: int = 0,
    constrained: bool = True,
    batch: int = 64,
    progress: Progress = silent,
) -> BeamSearch:
    """The `width` most probable SIDs of every query, by beam search with `width` beams a level.

    Args:
        model: the generator.
        query_x: (Q, D) float32 query embeddings, or whatever sequence `model.prefill` takes slices of.
        trie: the SIDs that exist; constrained beams are always among them, all different.
        width: K. At or above the number of SIDs the search is exhaustive.
        kept_nodes: best prefixes reported a level, pruned ones included; 0 for none.
        constrained: False decodes over all codes of each level, for comparison.
        batch: queries decoded together.
        progress: called as (done, total) in queries.
    """
    assert tuple(model.sizes) == trie.sizes, f"model spells {model.sizes}, trie {trie.sizes}"
    found: list[Beams] = []
    nodes: list[BeamNodes] = []
    for start in range(0, len(query_x), batch):
        beams, seen = _search(model, query_x[start : start + batch], trie, width, kept_nodes, constrained)
        found.append(beams)
        nodes.extend(level._replace(query=level.query + start) for level in seen)
        progress(min(start + batch, len(query_x)), len(query_x))
    if not found:
        found.append(_no_beams(0, width, trie.levels))
    beams = Beams(*(np.concatenate(column) for column in zip(*found, strict=True)))
    return BeamSearch(beams, _ordered(nodes, trie.levels) if kept_nodes else None)


def sequence_log_probs(
    model: Decoder,
    query_x: Any,
    trie: SidTrie,
    pair_query: np.ndarray,
    pair_item_codes: np.ndarray,
    *,
    batch: int = 32,
    progress: Progress = silent,
) -> np.ndarray:
    """log p(code | prefix, query) of given SIDs, teacher-forced and renormalised over the trie as beams are.

    Each distinct (query, prefix) runs through the model once, however many pairs share it.

    Args:
        model: the generator.
        query_x: (Q, D) float32 query embeddings; an array, so that rows can be picked.
        trie: the SIDs that exist.
        pair_query: (P,) int64 rows of `query_x`.
        pair_item_codes: (P, L) int64.
        batch: queries decoded together.
        progress: called as (done, total) in queries.

    Returns:
        (P, L) float32; -inf from the first level whose prefix no item has.
    """
    assert tuple(model.sizes) == trie.sizes, f"model spells {model.sizes}, trie {trie.sizes}"
    n_pairs, levels = pair_item_codes.shape
    result = np.full((n_pairs, levels), -np.inf, dtype=np.float32)
    path = np.zeros((n_pairs, levels + 1), dtype=np.int64)  # the nodes each SID passes through; -1 once off the trie
    for level in range(1, levels + 1):
        path[:, level] = trie.descend(level, path[:, level - 1], pair_item_codes[:, level - 1])

    queries, counts = np.unique(pair_query, return_counts=True)
    queries = queries[np.argsort(counts, kind="stable")]  # batches of like size waste few padded rows
    place = np.zeros(int(queries.max(initial=-1)) + 1, dtype=np.int64)
    place[queries] = np.arange(len(queries))
    by_place = np.argsort(place[pair_query], kind="stable")
    bounds = np.searchsorted(place[pair_query][by_place], np.arange(0, len(queries) + batch, batch))
    for index, start in enumerate(range(0, len(queries), batch)):
        pairs = by_place[bounds[index] : bounds[index + 1]]
        result[pairs] = _teacher_forced(
            model,
            query_x[queries[start : start + batch]],
            trie,
            place[pair_query[pairs]] - start,
            path[pairs],
        )
        progress(min(start + batch, len(queries)), len(queries))
    return result


def _teacher_forced(model: Decoder, queries: Any, trie: SidTrie, query: np.ndarray, path: np.ndarray) -> np.ndarray:
    """(P, L) log-probabilities of one batch: pair p belongs to `queries[query[p]]` and passes nodes path[p]."""
    n_queries = len(queries)
    result = np.full((len(path), trie.levels), -np.inf, dtype=np.float32)
    first, cache = model.prefill(queries)
    logits = first[:, None]
    column = np.zeros(len(path), dtype=np.int64)  # of each pair's prefix among the rows of its query
    nodes = np.zeros((n_queries, 1), dtype=np.int64)
    for level in range(1, trie.levels + 1):
        if level > 1:
            rows = _rows(query, path[:, level - 1], column, n_queries)
            nodes, column = rows.node, rows.column
            if nodes.shape[1] == 0:
                break
            codes = np.where(nodes < 0, 0, trie.code[level - 2][nodes])
            logits = model.step(cache, codes, rows.parent)
        children = trie.children(level, nodes.ravel())
        normaliser = _log_normaliser(_child_logits(logits, children), children.first).reshape(nodes.shape)
        known = np.flatnonzero(path[:, level] >= 0)
        q, w, code = query[known], column[known], trie.code[level - 1][path[known, level]]
        result[known, level - 1] = logits[q, w, code] - normaliser[q, w]
    return result


class _Rows(NamedTuple):
    """The distinct prefixes of each query, as the rows of one decoding step."""

    node: np.ndarray
    """(Q, W) trie nodes; -1 pads."""
    parent: np.ndarray
    """(Q, W) row of the step before that each extends."""
    column: np.ndarray
    """(P,) the row of each pair's prefix (0 for a pair off the trie)."""


def _rows(query: np.ndarray, node: np.ndarray, parent: np.ndarray, n_queries: int) -> _Rows:
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
    return _Rows(nodes, parents, column)


def _search(
    model: Decoder, queries: Any, trie: SidTrie, width: int, kept_nodes: int, constrained: bool
) -> tuple[Beams, list[BeamNodes]]:
    """One batch; the nodes come level by level."""
    first, cache = model.prefill(queries)
    n = len(first)
    logits = first[:, None]
    node = np.zeros((n, 1), dtype=np.int64)  # -1 marks a beam that does not exist
    log_prob = np.zeros((n, 1), dtype=np.float32)
    codes = np.zeros((n, 1, 0), dtype=np.int64)
    step_log_probs = np.zeros((n, 1, 0), dtype=np.float32)
    parent = np.zeros((n, 1), dtype=np.int64)
    seen: list[BeamNodes] = []
    for level in range(1, trie.levels + 1):
        if level > 1:
            logits = model.step(cache, codes[..., -1], parent)
        children = trie.children(level, node.ravel()) if constrained else _all_codes(trie.sizes[level - 1], node)
        scores = _child_logits(logits, children)
        step = scores - _log_normaliser(scores, children.first)[children.row]
        total = log_prob.ravel()[children.row] + step
        best = _top(total, children.first[:: node.shape[1]], max(width, kept_nodes))
        ranked = np.where(best >= 0, total[best], np.float32(-np.inf))
        step_ranked = step[best]
        code = children.code[best]
        origin = children.row[best] % node.shape[1]
        if kept_nodes:
            seen.append(_level_nodes(level, trie.levels, codes, origin, code, ranked, step_ranked, width, kept_nodes))
        parent, log_prob = origin[:, :width], ranked[:, :width]
        node = np.where(log_prob > -np.inf, children.node[best[:, :width]], -1)
        codes = _extend(codes, parent, code[:, :width])
        step_log_probs = _extend(step_log_probs, parent, step_ranked[:, :width])

    beams = _no_beams(n, width, trie.levels)
    n_beams = node.shape[1]
    beams.codes[:, :n_beams] = np.where(node[..., None] >= 0, codes, -1)
    beams.log_prob[:, :n_beams] = log_prob
    beams.level_log_prob[:, :n_beams] = np.where(node[..., None] >= 0, step_log_probs, -np.inf)
    return beams, seen


def _child_logits(logits: np.ndarray, children: Children) -> np.ndarray:
    """(C,): the logits (Q, W, K) of the children of Q x W prefixes."""
    return logits.ravel()[children.row * logits.shape[-1] + children.code]


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
    out = np.full((rows, width), -np.inf, dtype=np.float32)
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


def _extend(history: np.ndarray, parent: np.ndarray, newest: np.ndarray) -> np.ndarray:
    """(Q, W, l + 1): the rows (Q, W', l) that `parent` (Q, W) names, with one more column."""
    rows = np.arange(len(parent))[:, None]
    return np.concatenate([history[rows, parent], newest[..., None]], axis=-1)


def _no_beams(n: int, width: int, levels: int) -> Beams:
    return Beams(
        np.full((n, width, levels), -1, dtype=np.int64),
        np.full((n, width), -np.inf, dtype=np.float32),
        np.full((n, width, levels), -np.inf, dtype=np.float32),
    )


def _level_nodes(
    level: int,
    levels: int,
    codes: np.ndarray,
    origin: np.ndarray,
    code: np.ndarray,
    log_prob: np.ndarray,
    step_log_prob: np.ndarray,
    width: int,
    kept_nodes: int,
) -> BeamNodes:
    """The ranked children (Q, T) of the beams `codes` (Q, W, level - 1), those that exist, as rows."""
    query, column = np.nonzero(log_prob[:, :kept_nodes] > -np.inf)
    above = origin[query, column]
    prefix = np.full((len(query), levels), -1, dtype=np.int64)
    prefix[:, : level - 1] = codes[query, above]
    prefix[:, level - 1] = code[query, column]
    return BeamNodes(
        query=query,
        level=np.full(len(query), level),
        prefix=prefix,
        parent=above + 1 if level > 1 else np.zeros_like(above),
        log_prob=log_prob[query, column],
        step_log_prob=step_log_prob[query, column],
        rank=column + 1,
        kept=column < width,
    )


def _ordered(nodes: list[BeamNodes], levels: int) -> BeamNodes:
    """All batches' and levels' nodes in one table, by query, level and rank."""
    if not nodes:
        whole = np.zeros(0, dtype=np.int64)
        real = np.zeros(0, dtype=np.float32)
        return BeamNodes(whole, whole, whole.reshape(0, levels), whole, real, real, whole, np.zeros(0, dtype=bool))
    joined = BeamNodes(*(np.concatenate(column) for column in zip(*nodes, strict=True)))
    order = np.lexsort((joined.rank, joined.level, joined.query))
    return BeamNodes(*(column[order] for column in joined))
