"""The trie against plain sets and dictionaries of tuples."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.generator.trie import SidTrie

CASES = settings(deadline=None)


@st.composite
def catalogues(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...]]:
    """Codes (N, L) and the sizes they stay below, for 1 to 4 levels."""
    sizes = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    shape = (draw(st.integers(1, 30)), len(sizes))
    codes = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 4)))
    return codes % np.array(sizes), sizes


@CASES
@given(catalogues())
def test_holds_exactly_the_prefixes_of_the_catalogue(catalogue: tuple[np.ndarray, tuple[int, ...]]) -> None:
    codes, sizes = catalogue
    trie = SidTrie.build(codes, sizes)
    rows = [tuple(row) for row in codes.tolist()]
    assert [tuple(row) for row in trie.sids.tolist()] == sorted(set(rows))
    for level in range(1, len(sizes) + 1):
        counts = Counter(row[:level] for row in rows)
        prefixes = trie.prefixes(level)
        assert [tuple(row) for row in prefixes.tolist()] == sorted(counts)
        assert trie.n_items(prefixes).tolist() == [counts[row] for row in sorted(counts)]
        assert trie.items[level].sum() == len(rows)
        assert trie.find(prefixes).tolist() == list(range(len(prefixes)))


@CASES
@given(catalogues())
def test_children_are_the_codes_that_follow_a_prefix(catalogue: tuple[np.ndarray, tuple[int, ...]]) -> None:
    codes, sizes = catalogue
    trie = SidTrie.build(codes, sizes)
    rows = {tuple(row) for row in codes.tolist()}
    for level in range(1, len(sizes) + 1):
        parents = [()] if level == 1 else [tuple(row) for row in trie.prefixes(level - 1).tolist()]
        nodes = np.append(np.arange(len(parents)), -1)
        children = trie.children(level, nodes)
        assert children.first[-2] == children.first[-1], "a beam that does not exist has no children"
        for r, parent in enumerate(parents):
            own = slice(children.first[r], children.first[r + 1])
            expected = sorted({row[level - 1] for row in rows if row[: level - 1] == parent})
            assert children.code[own].tolist() == expected
            assert trie.find(np.array([[*parent, c] for c in expected])).tolist() == children.node[own].tolist()
            assert set(children.row[own].tolist()) == {r}


@CASES
@given(catalogues(), st.data())
def test_a_prefix_no_item_has_is_not_found(catalogue: tuple[np.ndarray, tuple[int, ...]], data: st.DataObject) -> None:
    codes, sizes = catalogue
    trie = SidTrie.build(codes, sizes)
    asked = tuple(data.draw(st.lists(st.integers(-1, 7), min_size=len(sizes), max_size=len(sizes))))
    exists = asked in {tuple(row) for row in codes.tolist()}
    assert (trie.find(np.array([asked]))[0] >= 0) == exists
    assert (trie.n_items(np.array([asked]))[0] > 0) == exists


def test_fingerprint_names_the_accepted_sids() -> None:
    codes = np.array([[0, 1], [1, 0], [0, 1]])
    trie = SidTrie.build(codes, (2, 2))
    assert trie.fingerprint == SidTrie.build(codes[[1, 0]], (2, 2)).fingerprint, "order and repeats do not matter"
    assert trie.fingerprint != SidTrie.build(codes, (2, 3)).fingerprint, "sizes do"
    assert trie.fingerprint != SidTrie.build(codes[:1], (2, 2)).fingerprint, "a lost SID does"
    assert len(trie.fingerprint) == 64


def test_equal_sids_share_a_leaf_that_counts_them() -> None:
    trie = SidTrie.build(np.array([[3, 1], [3, 1], [3, 0], [0, 2]]), (4, 3))
    assert trie.n_sids == 3
    assert trie.n_items(np.array([[3, 1], [3, 0], [0, 2], [0, 1]])).tolist() == [2, 1, 1, 0]
    assert trie.n_items(np.array([[3], [0], [1]])).tolist() == [3, 1, 0]


@pytest.mark.parametrize("codes", [[[0, 2]], [[-1, 0]], [[0]], np.zeros((0, 2))])
def test_codes_that_do_not_fit_are_refused(codes: object) -> None:
    with pytest.raises(AssertionError):
        SidTrie.build(np.asarray(codes), (2, 2))
