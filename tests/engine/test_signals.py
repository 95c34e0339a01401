"""SID signals and their dense twins: worked examples, whose feedback is read, what must not change a value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import SIGNALS as NAMES
from engine.config import SignalsConfig
from engine.relevance.lexical import LexicalIndex
from engine.relevance.signals import prefixes as prefixes_module
from engine.relevance.signals.catalogue import signals, twins
from engine.relevance.signals.cluster import SMOOTHING, ClusterLanguageModel, TitlesLanguageModel
from engine.relevance.signals.contrastive import ContrastiveCosine
from engine.relevance.signals.feedback import SHARPNESS, Feedback, Past
from engine.relevance.signals.listed import KERNEL, ListCosine, ListShare
from engine.relevance.signals.logp import FLOOR, LogProbability
from engine.relevance.signals.match import Match
from engine.relevance.signals.memory import BANDWIDTHS, PSEUDO_COUNT, KernelMemory, Memory
from engine.relevance.signals.nearest import nearest_titles
from engine.relevance.signals.own import OwnItem
from engine.relevance.signals.prefixes import by_query, prefixes, summed
from engine.relevance.signals.protocol import Asked, Shelf, Signal

CODES = np.array([[0, 0], [0, 1], [1, 0], [1, 0]])
TITLES = ["red mug", "red red cup", "blue sofa", "blue sofa bed"]
SIGNALS, TWINS = signals(SignalsConfig()), twins(SignalsConfig())
ALL = sorted({signal.name: signal for signal in (*SIGNALS.values(), *TWINS.values())}.items())
READERS = [Memory(), KernelMemory()]


def unit(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, dtype=np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def no_feedback(dim: int = 2) -> Feedback:
    none = np.zeros(0, dtype=np.int64)
    empty = np.zeros((0, dim), dtype=np.float32)
    return Feedback(empty, none, none, none, none, np.zeros(0, dtype=np.float32), np.zeros(0, dtype=bool))


def small_shelf(feedback: Feedback | None = None, stacks: list[np.ndarray] | None = None) -> Shelf:
    index = LexicalIndex(TITLES)
    item_x = unit(np.array([[1, 0], [1, 1], [0, 1], [-1, 1]]))
    return Shelf(
        item_x, index.words, index.lexicon, [CODES] if stacks is None else stacks, item_x, feedback or no_feedback()
    )


def ask(
    texts: list[str],
    x: np.ndarray | None = None,
    feedback: Feedback | None = None,
    neighbours: int = 5,
    **changes: object,
) -> Asked:
    n = len(texts)
    x = unit(np.ones((n, 2)) if x is None else x)
    group = np.full(n, -1)
    near = Past(feedback or no_feedback(), neighbours).near(x, group)
    asked = Asked(x, texts, group, np.full((n, 0), -1), x, None, np.full((n, 0, 2), -1), near)
    return asked._replace(**changes)  # type: ignore[arg-type]


def hear(asked: Asked, feedback: Feedback, neighbours: int = 5) -> Asked:
    return asked._replace(near=Past(feedback, neighbours).near(asked.x, asked.group))


PAIRS = np.zeros(4, dtype=np.int64), np.arange(4)


def world(
    seed: int = 0, *, n_items: int = 60, n_queries: int = 12, dim: int = 6, graded: bool = True, clicks: bool = True
):
    """A random shelf with two stacks of different L, queries that gave feedback and asked ones, and pairs."""
    rng = np.random.default_rng(seed)
    item_x = unit(rng.normal(size=(n_items, dim)))
    query_x = unit(rng.normal(size=(n_queries, dim)))
    stacks = [rng.integers(0, 3, size=(n_items, 3)), rng.integers(0, 4, size=(n_items, 2))]
    titles = [" ".join(rng.choice(["red", "blue", "mug", "sofa", "cup", "bed"], size=3)) for _ in range(n_items)]
    index = LexicalIndex(titles)
    kinds = ([True] if graded else []) + ([False] if clicks else [])
    n = 8 * n_queries
    query = rng.integers(0, n_queries, size=n * len(kinds))
    is_graded = np.repeat(np.array(kinds, dtype=bool), n)
    value = np.where(is_graded, rng.integers(0, 4, size=len(query)) / 3, rng.integers(1, 9, size=len(query)))
    feedback = Feedback(
        query_x,
        np.arange(n_queries) // 2,
        np.arange(n_queries),
        query,
        rng.integers(0, n_items, size=len(query)),
        value.astype(np.float32),
        is_graded,
    )
    shelf = Shelf(item_x, index.words, index.lexicon, stacks, item_x, feedback)
    asked = Asked(
        query_x,
        [" ".join(rng.choice(["red", "sofa", "bed", "zebra"], size=2)) for _ in range(n_queries)],
        np.arange(n_queries) // 2,
        np.stack([rng.permutation(n_items)[:10] for _ in range(n_queries)]),
        query_x,
        lambda rows, codes: np.log(0.2) - 0.1 * codes - 0.01 * rows[:, None],
        rng.integers(0, 3, size=(n_queries, 4, 3)),
        Past(feedback, 5).near(query_x, np.arange(n_queries) // 2),
    )
    pair_query = rng.permutation(np.repeat(np.arange(n_queries), 15))
    return shelf, asked, pair_query, rng.integers(0, n_items, size=len(pair_query))


# What every signal keeps


def test_catalogue_names_every_signal_of_the_configuration_and_a_twin_for_each():
    assert set(SIGNALS) == set(TWINS) == set(NAMES)
    for name, signal in SIGNALS.items():
        assert signal.name == name
        assert TWINS[name].name == signal.twin
        assert all(column.level == 0 for column in TWINS[name].columns(3))
        assert {column.level for column in signal.columns(3)} == {1, 2, 3}
    columns = [column.name for _, signal in ALL for column in signal.columns(3)]
    assert len(columns) == len(set(columns))


def test_settings_reach_the_signals():
    config = SignalsConfig(list_depth=3)
    assert signals(config)["list"] == ListShare(depth=3)
    assert twins(config)["list"] == ListCosine(depth=3)


@pytest.mark.parametrize(("graded", "clicks"), [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize(("name", "signal"), ALL)
def test_values_are_finite_float32_columns_whatever_feedback_there_is(
    name: str, signal: Signal, graded: bool, clicks: bool
):
    shelf, asked, pair_query, pair_item = world(graded=graded, clicks=clicks)
    measured = signal.fit(shelf).measure(asked, pair_query, pair_item)
    assert measured.values.dtype == np.float32
    assert measured.values.shape == (len(pair_query), len(signal.columns(3)))
    assert np.isfinite(measured.values).all()
    assert (measured.read is not None) == (signal.learns == "others")


@pytest.mark.parametrize(("name", "signal"), ALL)
def test_no_pairs_give_no_rows(name: str, signal: Signal):
    shelf, asked, _, _ = world()
    none = np.zeros(0, dtype=np.int64)
    assert signal.fit(shelf).measure(asked, none, none).values.shape == (0, len(signal.columns(3)))


@pytest.mark.parametrize(("name", "signal"), ALL)
def test_renamed_codes_and_permuted_items_change_nothing(name: str, signal: Signal):
    shelf, asked, pair_query, pair_item = world()
    before = signal.fit(shelf).measure(asked, pair_query, pair_item).values
    rng = np.random.default_rng(3)
    order = rng.permutation(len(shelf.item_x))
    new = np.argsort(order)
    names = [rng.permutation(50) for _ in range(3)]
    stacks = [np.stack([names[i][code] for i, code in enumerate(stack[order].T)], axis=1) for stack in shelf.stacks]
    renamed = shelf._replace(
        item_x=shelf.item_x[order],
        words=shelf.words[order],
        stacks=stacks,
        item_latent=shelf.item_latent[order],
        feedback=shelf.feedback._replace(item=new[shelf.feedback.item]),
    )
    back = [np.argsort(n) for n in names]
    log_prob = asked.log_prob
    assert log_prob is not None
    same = asked._replace(
        listed=new[asked.listed],
        beams=np.stack([names[i][asked.beams[..., i]] for i in range(3)], axis=-1),
        log_prob=lambda rows, codes: log_prob(rows, np.stack([back[i][codes[:, i]] for i in range(3)], axis=1)),
    )
    same = hear(same, renamed.feedback)
    after = signal.fit(renamed).measure(same, pair_query, new[pair_item]).values
    np.testing.assert_allclose(after, before, atol=2e-5)


SERVED = [*SIGNALS.items(), ("own", OwnItem())]


def company(asked: Asked, feedback: Feedback, rows: np.ndarray) -> Asked:
    """The asked queries `rows` alone."""
    log_prob = asked.log_prob
    assert log_prob is not None
    alone = asked._replace(
        x=asked.x[rows], texts=[asked.texts[row] for row in rows], group=asked.group[rows], listed=asked.listed[rows],
        latent=asked.latent[rows], beams=asked.beams[rows], log_prob=lambda at, codes: log_prob(rows[at], codes),
    )  # fmt: skip
    return hear(alone, feedback)


@pytest.mark.parametrize("dim", [6, 70])
@pytest.mark.parametrize(("name", "signal"), SERVED)
def test_a_query_has_the_same_values_alone_and_among_any_others(name: str, signal: Signal, dim: int):
    shelf, asked, pair_query, pair_item = world(n_items=150, n_queries=70, dim=dim)
    fitted = signal.fit(shelf)
    whole = fitted.measure(asked, pair_query, pair_item)
    for step in (7, 1):
        for start in range(0, 70, step):
            rows = np.arange(start, start + step)
            pairs = np.flatnonzero(pair_query // step == start // step)
            part = fitted.measure(company(asked, shelf.feedback, rows), pair_query[pairs] - start, pair_item[pairs])
            np.testing.assert_array_equal(part.values, whole.values[pairs])
            if whole.read is not None:
                assert part.read is not None
                np.testing.assert_array_equal(part.read, whole.read[rows])


@pytest.mark.parametrize("signal", [Memory(), ClusterLanguageModel(), ListShare(50)])
def test_stacks_are_averaged_over_those_that_have_the_level(signal: Signal):
    shelf, asked, pair_query, pair_item = world()
    both = signal.fit(shelf).measure(asked, pair_query, pair_item).values
    one, other = (
        signal.fit(shelf._replace(stacks=[stack])).measure(asked, pair_query, pair_item).values
        for stack in shelf.stacks
    )
    for at, column in enumerate(signal.columns(3)):
        if column.name.startswith("best"):
            continue
        kind = column.name.removesuffix(f"_{column.level}")
        short = [c.name for c in signal.columns(2)]
        expected = one[:, at]
        if column.level < 3:
            expected = (expected + other[:, short.index(f"{kind}_{column.level}")]) / 2
        np.testing.assert_allclose(both[:, at], expected, atol=1e-5)


# Whose feedback is read


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), group=st.integers(0, 5))
@pytest.mark.parametrize("signal", READERS)
def test_no_query_reads_its_own_group(signal: Signal, seed: int, group: int):
    shelf, asked, pair_query, pair_item = world(seed)
    before = signal.fit(shelf).measure(asked, pair_query, pair_item)
    own = shelf.feedback.group[shelf.feedback.query] == group
    value = np.where(own & shelf.feedback.graded, 1 - shelf.feedback.value, shelf.feedback.value)
    value = np.where(own & ~shelf.feedback.graded, shelf.feedback.value + 5, value).astype(np.float32)
    item = np.where(own, (shelf.feedback.item + 1) % len(shelf.item_x), shelf.feedback.item)
    altered = shelf._replace(feedback=shelf.feedback._replace(value=value, item=item))
    after = signal.fit(altered).measure(hear(asked, altered.feedback), pair_query, pair_item)
    mine = asked.group[pair_query] == group
    np.testing.assert_array_equal(after.values[mine], before.values[mine])
    assert not np.array_equal(after.values[~mine], before.values[~mine])
    assert before.read is not None
    for read, g in zip(before.read, asked.group, strict=True):
        assert (read >= 0).any()
        assert not np.isin(read, np.flatnonzero(shelf.feedback.group == g)).any()


@pytest.mark.parametrize("signal", READERS)
def test_a_query_never_seen_reads_everyone(signal: Signal):
    shelf, asked, pair_query, pair_item = world()
    new = asked._replace(group=np.full(len(asked.group), -1))
    read = signal.fit(shelf).measure(hear(new, shelf.feedback, 100), pair_query, pair_item).read
    assert read is not None
    assert all(set(row[row >= 0]) == set(range(12)) for row in read)


# Worked examples


def test_prefixes_are_numbered_with_their_parents():
    found = prefixes(np.array([[5, 1], [5, 0], [2, 1], [5, 1]]))
    assert found.size == [2, 3]
    assert found.of_item[0].tolist() == [1, 1, 0, 1]
    assert found.of_item[1].tolist() == [2, 1, 0, 2]
    assert found.parent[0].tolist() == [0, 0]
    assert found.parent[1].tolist() == [0, 1, 1]


def test_pairs_come_in_parts_of_whole_queries(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prefixes_module, "QUERIES", 2)
    pair_query = np.array([7, 3, 7, 0, 3])
    parts = list(by_query(pair_query))
    assert [part.query.tolist() for part in parts] == [[0, 3], [7]]
    assert [part.pair.tolist() for part in parts] == [[3, 1, 4], [0, 2]]
    assert [part.row.tolist() for part in parts] == [[0, 1, 1], [0, 0]]


def test_sums_are_read_at_any_key():
    found = summed(np.array([5, 2, 5]), (np.array([1.0, 2.0, 3.0]), np.ones(3)), np.array([5, 3, 2, 9]))
    assert [sums.tolist() for sums in found] == [[4, 0, 2, 0], [2, 0, 1, 0]]
    none = np.zeros(0, dtype=np.int64)
    assert summed(none, (none,), np.array([0, 1]))[0].tolist() == [0, 0]


def test_words_are_counted_with_the_lexical_tokenizer():
    index = LexicalIndex(["Red red mug", "XPS-13", ""], beside=["zebra", "", "mug"])
    assert list(index.lexicon.column) == ["red", "mug", "xps", "13", "xps13"]
    assert index.words.toarray().tolist() == [[2, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]]
    assert index.lexicon.counts(["mug zebra mug"]).toarray().tolist() == [[0, 2, 0, 0, 0]]


def test_match_marks_every_level_that_a_beam_reaches():
    asked = ask(["x"], beams=np.array([[[0, 7], [1, 0]]]))
    values = Match().fit(small_shelf()).measure(asked, *PAIRS).values
    assert values.tolist() == [[1, 0], [1, 0], [1, 1], [1, 1]]


def test_log_probability_is_cumulative_and_pmi_compares_it_with_the_prior():
    feedback = no_feedback()._replace(
        query_x=np.ones((1, 2), dtype=np.float32), group=np.zeros(1, int), position=np.zeros(1, int),
        query=np.zeros(2, int), item=np.array([0, 0]), value=np.array([1.0, 2.0], np.float32), graded=np.zeros(2, bool),
    )  # fmt: skip
    with np.errstate(divide="ignore"):
        steps = np.log(np.array([[0.5, 0.25], [0.5, 0.0], [0.0, 0.0], [0.1, 1.0]]))
    asked = ask(["x"], log_prob=lambda rows, codes: steps)
    values = LogProbability().fit(small_shelf(feedback)).measure(asked, *PAIRS).values
    logs = np.array([[np.log(0.5), np.log(0.125)], [np.log(0.5), FLOOR], [FLOOR, FLOOR], [np.log(0.1), np.log(0.1)]])
    np.testing.assert_allclose(values[:, :2], logs, rtol=1e-6)
    # Level 1: 2 prefixes, 3 of feedback on the first, 2 spread as the items (half each): 4/5 and 1/5.
    # Level 2: 3 prefixes of 1, 1, 2 items: (3 + .75)/6, .75/6, 1.5/6.
    prior = np.log([[4 / 5, 3.75 / 6], [4 / 5, 0.75 / 6], [1 / 5, 1.5 / 6], [1 / 5, 1.5 / 6]])
    np.testing.assert_allclose(values[:, 2:], logs - prior, rtol=1e-5)


def test_contrastive_cosine_is_the_product_of_latents():
    asked = ask(["x"], np.array([[1, 0]]))
    values = ContrastiveCosine().fit(small_shelf()).measure(asked, *PAIRS).values
    np.testing.assert_allclose(values[:, 0], [1, 0.5**0.5, 0, -(0.5**0.5)], atol=1e-6)


def past(items: list[int], values: list[float], graded: bool, cosines: tuple[float, float] = (1.0, 1.0)) -> Feedback:
    """Two past queries, the first of which said `items[:-1]`, the second the last."""
    x = np.array([[c, np.sqrt(1 - c * c)] for c in cosines], dtype=np.float32)
    query = np.array([0] * (len(items) - 1) + [1])
    return Feedback(
        x, np.array([10, 11]), np.array([100, 200]), query, np.array(items), np.array(values, dtype=np.float32),
        np.full(len(items), graded),
    )  # fmt: skip


def test_memory_pools_grades_by_prefix_and_shrinks_to_the_prefix_above():
    # Neighbour A (weight 1) graded item 0 with 1 and item 2 with 0; B, one sharpness less similar, item 3 with 1.
    feedback = past([0, 2, 3], [1.0, 0.0, 1.0], True, (1.0, 1.0 - SHARPNESS))
    asked = ask(["x"], np.array([[1, 0]]), feedback)
    measured = Memory().fit(small_shelf()).measure(asked, *PAIRS)
    b, m = np.exp(-1.0), PSEUDO_COUNT
    mean = (1 + b) / (2 + b)
    first, second = (1 + m * mean) / (1 + m), (b + m * mean) / (1 + b + m)
    memory = [
        [first, (1 + m * first) / (1 + m)],
        [first, first],  # nothing is known under 0-1: the value of 0
        [second, (b + m * second) / (1 + b + m)],
        [second, (b + m * second) / (1 + b + m)],
    ]
    evidence = np.log1p([[1, 1], [1, 0], [1 + b, 1 + b], [1 + b, 1 + b]])
    np.testing.assert_allclose(measured.values[:, :2], memory, rtol=1e-4)
    np.testing.assert_allclose(measured.values[:, 2:4], evidence, rtol=1e-4)
    assert (measured.values[:, 4:] == 0).all()
    assert measured.read is not None
    assert measured.read.tolist() == [[100, 200]]


def test_memory_shares_interactions_out_and_every_neighbour_counts_as_a_whole():
    feedback = past([0, 2, 3], [3.0, 1.0, 50.0], False)
    asked = ask(["x"], np.array([[1, 0]]), feedback)
    measured = Memory().fit(small_shelf()).measure(asked, *PAIRS)
    clicks = [[0.375, 0.375], [0.375, 0], [0.625, 0.625], [0.625, 0.625]]
    np.testing.assert_allclose(measured.values[:, 4:], clicks, rtol=1e-5)
    np.testing.assert_allclose(measured.values[:, :2], 0.5)  # nobody graded: one half, no evidence
    assert (measured.values[:, 2:4] == 0).all()


def test_grades_and_interactions_have_neighbours_of_their_own():
    feedback = past([0, 3], [1.0, 4.0], True)._replace(graded=np.array([True, False]))
    read = Memory().fit(small_shelf()).measure(ask(["x"], None, feedback, 1), *PAIRS).read
    assert read is not None
    assert read.tolist() == [[100, 200]]


def test_kernel_memory_weighs_feedback_by_the_cosine_of_titles():
    feedback = past([0, 2], [1.0, 0.0], True)
    asked = ask(["x"], np.array([[1, 0]]), feedback)
    values = KernelMemory().fit(small_shelf()).measure(asked, *PAIRS).values
    x = small_shelf().item_x.astype(float)
    for at, bandwidth in enumerate(BANDWIDTHS):
        k = np.exp((x @ x[[0, 2]].T - 1) / bandwidth)
        expected = (k[:, 0] + PSEUDO_COUNT * 0.5) / (k.sum(axis=1) + PSEUDO_COUNT)
        np.testing.assert_allclose(values[:, at], expected, rtol=1e-4)
        np.testing.assert_allclose(values[:, 3 + at], np.log1p(k.sum(axis=1)), rtol=1e-4)


def test_cluster_language_model_by_hand():
    # 10 tokens: red 3, mug 1, cup 1, blue 2, sofa 2, bed 1; five under each level-1 code.
    mu = SMOOTHING
    p_red, p_bed = 3 / 10, 1 / 10
    red_0, red_1 = (3 + mu * p_red) / (5 + mu), mu * p_red / (5 + mu)
    red_00, red_01 = (1 + mu * red_0) / (2 + mu), (2 + mu * red_0) / (3 + mu)
    bed_1, bed_0 = (1 + mu * p_bed) / (5 + mu), mu * p_bed / (5 + mu)
    fitted = ClusterLanguageModel().fit(small_shelf())
    values = fitted.measure(ask(["red zebra", "red bed"]), np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 2])).values
    red_10 = mu * red_1 / (5 + mu)  # both blue titles again: the level above counts once more
    red = np.log([[red_0, red_00], [red_0, red_01], [red_1, red_10]]) - np.log(p_red)
    np.testing.assert_allclose(values[:3, :2], red, rtol=1e-4)
    both = [(np.log(red_0 / p_red) + np.log(bed_0 / p_bed)) / 2, (np.log(red_1 / p_red) + np.log(bed_1 / p_bed)) / 2]
    np.testing.assert_allclose(values[3:, 0], both, rtol=1e-4)
    np.testing.assert_allclose(values[:, 2:], values[:, :2], rtol=1e-6)  # one stack: its best is its mean


def test_cluster_takes_the_best_stack_too():
    values = [
        ClusterLanguageModel().fit(small_shelf(stacks=stacks)).measure(ask(["red cup"]), *PAIRS).values
        for stacks in ([CODES, CODES[::-1]], [CODES], [CODES[::-1]])
    ]
    np.testing.assert_allclose(values[0][:, 2:], np.maximum(values[1], values[2])[:, :2], rtol=1e-5)


def test_a_query_of_unknown_words_says_nothing():
    for signal in (ClusterLanguageModel(), TitlesLanguageModel()):
        assert (signal.fit(small_shelf()).measure(ask(["zebra", ""]), *PAIRS).values == 0).all()


def test_own_columns_tell_the_rarity_of_the_querys_words():
    fitted = OwnItem().fit(small_shelf())
    texts = ["red red bed zebra", "", "zebra", "sofa"]
    measured = fitted.measure(ask(texts), np.repeat(np.arange(4), 2), np.tile([0, 3], 4)).values
    assert type(measured) is np.ndarray
    values = measured[:, 4:]
    red, bed, sofa = -np.log([0.3, 0.1, 0.2])  # of ten tokens in all titles
    rows = [[3, (2 * red + bed) / 3, bed, red], [0] * 4, [0] * 4, [1, sofa, sofa, sofa]]
    np.testing.assert_allclose(values, np.repeat(rows, 2, axis=0), rtol=1e-6)


def test_titles_language_model_counts_the_nearest_titles():
    fitted = TitlesLanguageModel().fit(small_shelf())
    values = fitted.measure(ask(["red"]), *PAIRS).values
    everything = np.log((3 + SMOOTHING * 0.3) / (10 + SMOOTHING) / 0.3)  # only four titles: all are near
    np.testing.assert_allclose(values, everything, rtol=1e-5)
    near = nearest_titles(small_shelf().item_x, np.array([0, 3]), 2)
    assert near[:, 0].tolist() == [0, 3]
    assert near[1].tolist() == [3, 2]


def test_nearest_titles_are_the_nearest_and_each_title_is_its_own_first():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 8))
    x = unit(centres[rng.integers(0, 40, size=2_000)] + 0.3 * rng.normal(size=(2_000, 8)))
    x[7] = x[3]
    rows = np.arange(0, len(x), 7)
    found = nearest_titles(x, rows, 10)
    assert (found[:, 0] == rows).all()
    exact = np.argsort(-(x[rows] @ x.T), axis=1, kind="stable")[:, :10]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact, strict=True)]) > 0.999


def test_list_share_leaves_the_item_itself_out():
    # Candidates by rank: item 0 (weight 1), item 2 (1 / log2 3), item 3 (1 / 2).
    asked = ask(["x"], listed=np.array([[0, 2, 3, -1]]))
    values = ListShare(depth=4).fit(small_shelf()).measure(asked, *PAIRS).values
    w = 1 / np.log2(3)
    total = 1 + w + 0.5
    expected = [[0, 0], [1 / total, 0], [0.5 / (1.5), 0.5 / 1.5], [w / (1 + w), w / (1 + w)]]
    np.testing.assert_allclose(values, expected, atol=1e-6)
    shallow = ListShare(depth=1).fit(small_shelf()).measure(asked, *PAIRS).values
    np.testing.assert_allclose(shallow, [[0, 0], [1, 0], [0, 0], [0, 0]], atol=1e-6)


def test_list_cosine_leaves_the_item_itself_out():
    asked = ask(["x"], listed=np.array([[0, 2]]))
    values = ListCosine(depth=2).fit(small_shelf()).measure(asked, *PAIRS).values
    w, root = 1 / np.log2(3), 0.5**0.5
    mean = [0, root, 0, (-root + w * root) / (1 + w)]
    np.testing.assert_allclose(values[:, 0], mean, atol=1e-6)
    kernel = [np.exp(-1 / KERNEL), np.exp((root - 1) / KERNEL), np.exp(-1 / KERNEL)]
    np.testing.assert_allclose(values[:3, 1], kernel, atol=1e-6)
    np.testing.assert_allclose(values[:, 2], [0, root, 0, 0], atol=1e-6)


def test_no_list_and_no_generator_are_neutral():
    asked = ask(["x"])
    assert (ListShare(5).fit(small_shelf()).measure(asked, *PAIRS).values == 0).all()
    assert (ListCosine(5).fit(small_shelf()).measure(asked, *PAIRS).values == 0).all()
    values = LogProbability().fit(small_shelf()).measure(asked, *PAIRS).values
    np.testing.assert_allclose(values[:, 2:], 0, atol=1e-6)  # all that is known is the prior
    assert (Match().fit(small_shelf()).measure(asked, *PAIRS).values == 0).all()


# SIDs that mean something, and SIDs shuffled among the items


def planted(*, graded: bool = True) -> tuple[Shelf, Asked, np.ndarray, np.ndarray]:
    """Four kinds of items with words of their own; queries want one kind; embeddings of queries tell it, items' do not."""
    rng = np.random.default_rng(5)
    n_items, n_queries = 200, 40
    kind, want = rng.integers(0, 4, n_items), np.arange(n_queries) % 4
    vocabulary = np.array(["red mug", "blue sofa", "green lamp", "tall chair"])
    index = LexicalIndex([f"{vocabulary[k]} {rng.integers(0, 9)}" for k in kind])
    item_x = unit(rng.normal(size=(n_items, 6)))
    query_x = unit(3 * np.eye(6)[want] + 0.3 * rng.normal(size=(n_queries, 6)))
    query = np.repeat(np.arange(n_queries), 20)
    item = rng.integers(0, n_items, len(query))
    good = kind[item] == want[query]
    keep = np.ones(len(query), dtype=bool) if graded else good
    value = np.where(good, 1.0, 0.0 if graded else 1.0).astype(np.float32)
    numbers = np.arange(n_queries)
    feedback = Feedback(
        query_x, numbers, numbers, query[keep], item[keep], value[keep], np.full(int(keep.sum()), graded)
    )
    shelf = Shelf(item_x, index.words, index.lexicon, [kind[:, None]], item_x, feedback)
    listed = np.stack([rng.choice(np.flatnonzero(kind == w), 10, replace=False) for w in want])
    near = Past(feedback, 10).near(query_x, numbers)
    asked = Asked(
        query_x, vocabulary[want].tolist(), numbers, listed, query_x, None, np.full((n_queries, 0, 1), -1), near
    )
    pair_query = np.repeat(numbers, 50)
    return shelf, asked, pair_query, rng.integers(0, n_items, len(pair_query))


def wanted(asked: Asked, pair_query: np.ndarray) -> np.ndarray:
    return (np.arange(len(asked.x)) % 4)[pair_query]


@pytest.mark.parametrize("signal", [Memory(), ClusterLanguageModel(), ListShare(10)])
def test_shuffled_sids_lose_the_signal(signal: Signal):
    shelf, asked, pair_query, pair_item = planted()
    relevant = wanted(asked, pair_query) == shelf.stacks[0][pair_item, 0]
    shuffled = shelf._replace(stacks=[np.random.default_rng(0).permutation(shelf.stacks[0])])
    auc = [
        np.mean(values[relevant, 0][:, None] > values[~relevant, 0])
        + np.mean(values[relevant, 0][:, None] == values[~relevant, 0]) / 2
        for values in (signal.fit(s).measure(asked, pair_query, pair_item).values for s in (shelf, shuffled))
    ]
    assert auc[0] > 0.99
    assert abs(auc[1] - 0.5) < 0.06
