"""Beam search against exhaustive enumeration, on a model whose every conditional is a table, and on the real one."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import GeneratorConfig
from engine.generator.beam import BeamSearch, Prompted, answers, beam_search, sequence_log_probs
from engine.generator.model import CompactGenerator
from engine.generator.tables import beam_nodes_table, beams_table, free_beams_table
from engine.generator.trie import SidTrie

CASES = settings(max_examples=60, deadline=None)


class TableDecoder:
    """Logits looked up by (query, prefix): a decoder with nothing to get wrong but the search's bookkeeping."""

    def __init__(self, sizes: tuple[int, ...], seed: int, spread: float = 2.0) -> None:
        self.sizes = sizes
        self.seed = seed
        self.spread = spread

    def logits(self, query: int, prefix: tuple[int, ...]) -> np.ndarray:
        rng = np.random.default_rng([self.seed, query, *prefix])
        return (self.spread * rng.normal(size=self.sizes[len(prefix)])).astype(np.float32)

    def prefill(self, queries: Any) -> tuple[np.ndarray, list[Any]]:
        names = [int(query[0]) for query in queries]
        return np.stack([self.logits(name, ()) for name in names]), [names, [[()] for _ in names]]

    def step(self, cache: list[Any], codes: np.ndarray, parents: np.ndarray) -> tuple[np.ndarray, list[Any]]:
        names, rows = cache
        spelled = [
            [(*above[parent], code) for parent, code in zip(parent_row, code_row, strict=True)]
            for above, parent_row, code_row in zip(rows, parents.tolist(), codes.tolist(), strict=True)
        ]
        logits = np.stack([[self.logits(n, prefix) for prefix in row] for n, row in zip(names, spelled, strict=True)])
        return logits, [names, spelled]

    def exhaustive(self, query: int, trie: SidTrie) -> dict[tuple[int, ...], list[float]]:
        """Every SID's log-probability per level, renormalised over existing children, one prefix at a time."""
        sids = [tuple(sid) for sid in trie.sids.tolist()]
        result = {}
        for sid in sids:
            levels = []
            for depth in range(len(sid)):
                allowed = sorted({other[depth] for other in sids if other[:depth] == sid[:depth]})
                logits = self.logits(query, sid[:depth]).astype(np.float64)
                levels.append(logits[sid[depth]] - np.log(np.exp(logits[allowed]).sum()))
            result[sid] = levels
        return result


@st.composite
def searches(draw: st.DrawFn) -> tuple[TableDecoder, SidTrie, int]:
    """A model, a trie and a number of queries."""
    sizes = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    n_items = draw(st.integers(1, 25))
    codes = np.stack([rng.integers(0, size, n_items) for size in sizes], axis=1)
    return TableDecoder(sizes, seed), SidTrie.build(codes, sizes), draw(st.integers(1, 5))


def _queries(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.float32)[:, None]


@CASES
@given(searches(), st.integers(0, 5), st.integers(1, 4))
def test_wide_beams_enumerate_the_catalogue(
    search: tuple[TableDecoder, SidTrie, int], surplus: int, batch: int
) -> None:
    model, trie, n_queries = search
    width = trie.n_sids + surplus
    beams = beam_search(model, _queries(n_queries), trie, width=width, batch=batch).beams
    assert beams.codes.shape == (n_queries, width, trie.levels)
    for query in range(n_queries):
        expected = model.exhaustive(query, trie)
        found = [tuple(row) for row in beams.codes[query, : trie.n_sids].tolist()]
        assert set(found) == set(expected)
        totals = [sum(expected[sid]) for sid in found]
        np.testing.assert_allclose(beams.log_prob[query, : trie.n_sids], totals, atol=1e-4)
        np.testing.assert_allclose(beams.level_log_prob[query, : trie.n_sids], [expected[s] for s in found], atol=1e-4)
        assert (np.diff(beams.log_prob[query, : trie.n_sids]) <= 0).all(), "best first"
        assert np.exp(totals).sum() == pytest.approx(1.0, abs=1e-6), "probabilities sum to one over the catalogue"
    assert (beams.codes[:, trie.n_sids :] == -1).all()
    assert (beams.log_prob[:, trie.n_sids :] == -np.inf).all()
    assert (beams.level_log_prob[:, trie.n_sids :] == -np.inf).all()


@CASES
@given(searches(), st.integers(1, 6))
def test_beams_exist_differ_and_score_as_teacher_forcing_does(
    search: tuple[TableDecoder, SidTrie, int], width: int
) -> None:
    model, trie, n_queries = search
    beams = beam_search(model, _queries(n_queries), trie, width=width).beams
    query, column = np.nonzero(beams.log_prob > -np.inf)
    codes = beams.codes[query, column]
    assert len(codes) >= n_queries, "never a query without a beam"
    assert (trie.find(codes) >= 0).all()
    assert len({(q, *c) for q, c in zip(query.tolist(), codes.tolist(), strict=True)}) == len(codes)
    np.testing.assert_allclose(beams.level_log_prob[query, column].sum(1), beams.log_prob[query, column], atol=1e-5)
    forced = sequence_log_probs(model, _queries(n_queries), trie, query, codes, batch=2)
    np.testing.assert_allclose(forced, beams.level_log_prob[query, column], atol=1e-5)


@CASES
@given(searches(), st.integers(1, 4), st.integers(1, 12))
def test_nodes_tell_what_the_search_weighed(
    search: tuple[TableDecoder, SidTrie, int], width: int, kept_nodes: int
) -> None:
    model, trie, n_queries = search
    found = beam_search(model, _queries(n_queries), trie, width=width, kept_nodes=kept_nodes, batch=2)
    nodes = found.nodes
    assert nodes is not None
    key = np.stack([nodes.query, nodes.level, nodes.rank], axis=1)
    assert (np.lexsort(key.T[::-1]) == np.arange(len(key))).all()
    assert len(np.unique(key, axis=0)) == len(key)
    assert (nodes.kept == (nodes.rank <= width)).all()
    for query in range(n_queries):
        beams_above: list[tuple[int, ...]] = [()]
        score: dict[tuple[int, ...], float] = {(): 0.0}
        for level in range(1, trie.levels + 1):
            rows = np.flatnonzero((nodes.query == query) & (nodes.level == level))
            prefixes = [tuple(row[:level]) for row in nodes.prefix[rows].tolist()]
            assert (nodes.prefix[rows, level:] == -1).all()
            candidates = [tuple(p) for p in trie.prefixes(level).tolist() if tuple(p[:-1]) in set(beams_above)]
            assert len(prefixes) == min(kept_nodes, len(candidates))
            assert set(prefixes) <= set(candidates)
            assert (np.diff(nodes.log_prob[rows]) <= 0).all()
            for row, prefix in zip(rows, prefixes, strict=True):
                if level > 1:
                    assert beams_above[nodes.parent[row] - 1] == prefix[:-1]
                else:
                    assert nodes.parent[row] == 0
                assert nodes.log_prob[row] == pytest.approx(score[prefix[:-1]] + nodes.step_log_prob[row], abs=1e-5)
                score[prefix] = float(nodes.log_prob[row])
            if kept_nodes < width:
                break  # the beams below the reported ones cannot be followed
            beams_above = prefixes[:width]
        else:
            last = [tuple(row) for row in found.beams.codes[query].tolist() if row[0] >= 0]
            assert last == beams_above[: len(last)]


@CASES
@given(searches(), st.integers(1, 6))
def test_free_decoding_ranks_all_codes(search: tuple[TableDecoder, SidTrie, int], width: int) -> None:
    model, trie, n_queries = search
    everything = SidTrie.build(np.array(list(itertools.product(*map(range, trie.sizes)))), trie.sizes)
    free = beam_search(model, _queries(n_queries), trie, width=width, constrained=False).beams
    full = beam_search(model, _queries(n_queries), everything, width=width).beams
    np.testing.assert_array_equal(free.codes, full.codes)
    np.testing.assert_allclose(free.log_prob, full.log_prob, atol=1e-6)
    table = free_beams_table(free, trie, [f"q{i}" for i in range(n_queries)])
    known = {"-".join(map(str, sid)) for sid in trie.sids.tolist()}
    assert table["valid"].tolist() == [sid in known for sid in table["sid"]]


def test_a_sid_off_the_trie_has_no_probability() -> None:
    trie = SidTrie.build(np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1]]), (2, 2, 2))
    model = TableDecoder((2, 2, 2), seed=3)
    asked = np.array([[0, 1, 0], [1, 1, 1], [1, 0, 1], [0, 0, 0]])
    forced = sequence_log_probs(model, _queries(2), trie, np.array([1, 1, 0, 1]), asked)
    assert np.isfinite(forced).tolist() == [[True, True, False], [True, False, False], [True] * 3, [True] * 3]
    np.testing.assert_allclose(forced[3], model.exhaustive(1, trie)[0, 0, 0], atol=1e-5)
    assert forced[2, 1] == 0.0, "an only child takes the whole probability"


@pytest.mark.parametrize("width", [3, 40])
def test_equally_probable_sids_come_in_their_order(width: int) -> None:
    codes = np.array(list(itertools.product(range(4), range(3))))
    found = beam_search(
        TableDecoder((4, 3), seed=0, spread=0.0), _queries(2), SidTrie.build(codes, (4, 3)), width=width
    )
    for row in found.beams.codes:
        kept = [tuple(sid) for sid in row.tolist() if sid[0] >= 0]
        assert kept == sorted(kept)


def test_a_wide_prefix_leaves_the_others_scores_alone() -> None:
    codes = np.array([[0, code] for code in range(200)] + [[1, 7], [2, 3], [2, 5]])
    trie, model = SidTrie.build(codes, (3, 200)), TableDecoder((3, 200), seed=4)
    beams = beam_search(model, _queries(3), trie, width=len(codes)).beams
    for query in range(3):
        expected = model.exhaustive(query, trie)
        found = [tuple(row) for row in beams.codes[query].tolist()]
        np.testing.assert_allclose(beams.level_log_prob[query], [expected[sid] for sid in found], atol=1e-5)
        assert beams.level_log_prob[query, found.index((1, 7)), 1] == 0.0, "an only child takes the whole probability"


def test_no_queries_and_no_pairs() -> None:
    trie = SidTrie.build(np.array([[0, 0]]), (2, 2))
    model = TableDecoder((2, 2), seed=0)
    found = beam_search(model, _queries(0), trie, width=3, kept_nodes=4)
    assert found.beams.codes.shape == (0, 3, 2)
    assert found.nodes is not None
    assert len(found.nodes.level) == 0
    assert len(beam_nodes_table(found.nodes, trie, [])) == 0
    forced = sequence_log_probs(model, _queries(1), trie, np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=np.int64))
    assert forced.shape == (0, 2)


# ------------------------------------------------------------------ the compact generator behind the same search


@pytest.fixture(scope="module")
def generator() -> CompactGenerator:
    config = GeneratorConfig(hidden=32, layers=2, heads=4, prefix_tokens=3)
    model = CompactGenerator.initialise((6, 5, 4), 16, config, seed=1)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.mul_(6.0)  # away from a uniform answer
    return model.eval()


@pytest.fixture(scope="module")
def trie() -> SidTrie:
    rng = np.random.default_rng(0)
    return SidTrie.build(np.stack([rng.integers(0, size, 50) for size in (6, 5, 4)], axis=1), (6, 5, 4))


@pytest.fixture(scope="module")
def query_x() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(9, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def search(generator: CompactGenerator, trie: SidTrie, query_x: np.ndarray) -> BeamSearch:
    return beam_search(generator, query_x, trie, width=5, kept_nodes=20)


def test_the_cache_keeps_beams_apart(
    generator: CompactGenerator, trie: SidTrie, query_x: np.ndarray, search: BeamSearch
) -> None:
    """Beams share keys and values; each must still score as if decoded alone."""
    query, column = np.nonzero(search.beams.log_prob > -np.inf)
    assert len(query) == 45
    codes = search.beams.codes[query, column]
    for i in range(0, 45, 7):
        alone = sequence_log_probs(generator, query_x[query[i]][None], trie, np.array([0]), codes[i][None])
        np.testing.assert_allclose(alone[0], search.beams.level_log_prob[query[i], column[i]], atol=1e-5)
    everything = np.tile(trie.sids, (9, 1))
    owner = np.repeat(np.arange(9), trie.n_sids)
    forced = sequence_log_probs(generator, query_x, trie, owner, everything, batch=4).sum(1).reshape(9, -1)
    np.testing.assert_allclose(np.exp(forced.astype(np.float64)).sum(1), 1.0, atol=1e-4)
    exhaustive = beam_search(generator, query_x, trie, width=trie.n_sids).beams
    np.testing.assert_allclose(exhaustive.log_prob, -np.sort(-forced, axis=1), atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_batch_size_does_not_matter(
    generator: CompactGenerator, trie: SidTrie, query_x: np.ndarray, search: BeamSearch, batch: int
) -> None:
    again = beam_search(generator, query_x, trie, width=5, batch=batch).beams
    np.testing.assert_array_equal(again.codes, search.beams.codes)
    np.testing.assert_allclose(again.log_prob, search.beams.log_prob, atol=1e-4)


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(50, 16)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 7])
def test_answers_do_not_depend_on_how_queries_are_batched(
    generator: CompactGenerator, trie: SidTrie, many: np.ndarray, batch: int
) -> None:
    """A stored answer, made in a block, and a live one, made alone, are the same."""
    rng = np.random.default_rng(3)
    pair_query, codes = rng.integers(50, size=600), trie.sids[rng.integers(trie.n_sids, size=600)]
    for constrained in (True, False):
        whole = beam_search(generator, many, trie, kept_nodes=20, constrained=constrained, batch=64)
        parts = beam_search(generator, many, trie, kept_nodes=20, constrained=constrained, batch=batch)
        for ours, theirs in ((whole.beams, parts.beams), (whole.nodes, parts.nodes)):
            assert ours is not None
            assert theirs is not None
            for name, one, other in zip(ours._fields, ours, theirs, strict=True):
                if one.dtype == np.float64:
                    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12, err_msg=name)
                else:
                    np.testing.assert_array_equal(one, other, err_msg=name)
    forced = sequence_log_probs(generator, many, trie, pair_query, codes, batch=64)
    again = sequence_log_probs(generator, many, trie, pair_query, codes, batch=batch)
    assert forced.dtype == np.float64
    np.testing.assert_allclose(forced, again, rtol=0, atol=1e-12)


def test_a_prompt_read_once_serves_every_search_and_given_sids(
    generator: CompactGenerator, trie: SidTrie, query_x: np.ndarray, search: BeamSearch
) -> None:
    prompted = Prompted.read(generator, query_x)
    rng = np.random.default_rng(4)
    owner, sids = rng.integers(9, size=300), trie.sids[rng.integers(trie.n_sids, size=300)]
    sids[::50] = 3  # some that no item has
    free = beam_search(generator, query_x, trie, constrained=False).beams
    forced = sequence_log_probs(generator, query_x, trie, owner, sids)
    answer = prompted.answer(trie, owner, sids, width=5, kept_nodes=20)
    again = prompted.search(trie, width=5, kept_nodes=20)
    assert search.nodes is not None
    for found in (answer.found, again):
        assert found.nodes is not None
        for one, other in zip((*found.beams, *found.nodes), (*search.beams, *search.nodes), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    for one, other in zip(answer.free, free, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    for log_probs in (answer.log_probs, prompted.log_probs(trie, owner, sids)):
        np.testing.assert_allclose(log_probs, forced, rtol=0, atol=1e-12)
    in_order = np.argsort(owner, kind="stable")
    many = answers(generator, query_x, trie, owner[in_order], sids[in_order], width=5, kept_nodes=20, batch=2)
    np.testing.assert_allclose(many.log_probs, forced[in_order], rtol=0, atol=1e-12)
    assert many.found.nodes is not None
    for one, other in zip((*many.found.beams, *many.found.nodes), (*search.beams, *search.nodes), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    for one, other in zip(many.free, free, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    nothing = prompted.answer(trie, owner[:0], sids[:0])
    assert nothing.log_probs.shape == (0, 3)
    np.testing.assert_array_equal(nothing.found.beams.codes, search.beams.codes)


def test_tables_have_the_schema_columns(trie: SidTrie, search: BeamSearch) -> None:
    ids = [f"q{i}" for i in range(9)]
    beams = beams_table(search.beams, trie, ids)
    assert list(beams.columns) == ["query_id", "rank", "sid", "codes", "log_prob", "level_log_probs", "n_items"]
    assert len(beams) == 45
    row = beams.iloc[7]
    assert row["query_id"] == "q1"
    assert row["rank"] == 3
    assert row["sid"] == "-".join(map(str, row["codes"].tolist()))
    assert row["codes"].tolist() == search.beams.codes[1, 2].tolist()
    assert row["level_log_probs"].sum() == pytest.approx(row["log_prob"], abs=1e-5)
    assert row["n_items"] == trie.n_items(search.beams.codes[1, 2][None])[0] > 0

    assert search.nodes is not None
    nodes = beam_nodes_table(search.nodes, trie, ids)
    assert list(nodes.columns) == [
        "query_id", "level", "prefix", "parent", "log_prob", "step_log_prob", "rank", "kept", "n_items",
    ]  # fmt: skip
    assert nodes.groupby(["query_id", "level"])["kept"].sum().eq(5).all()
    assert nodes.loc[nodes["level"] == 1, "parent"].isna().all()
    below = nodes[nodes["level"] > 1]
    assert (below["prefix"].str.rsplit("-", n=1).str[0] == below["parent"]).all()
    kept = {(q, p) for q, p in nodes.loc[nodes["kept"], ["query_id", "prefix"]].itertuples(index=False)}
    assert {(q, p) for q, p in below[["query_id", "parent"]].itertuples(index=False)} <= kept
    leaves = nodes[(nodes["level"] == 3) & nodes["kept"]]
    assert list(leaves["prefix"]) == list(beams["sid"])
    assert list(leaves["n_items"]) == list(beams["n_items"])
