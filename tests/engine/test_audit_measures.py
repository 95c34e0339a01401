"""Attributes, co-clicks, labels and rewritten titles: numbers worked by hand, planted structure, and a direct count."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.audit.attributes import attribute_rows, attributes_of, left_out_credit
from engine.audit.coclicks import Clicked, alignment, coclick_rows
from engine.audit.health import Row
from engine.audit.intervals import mean_interval
from engine.audit.labels import label_score_rows, label_scores
from engine.audit.robustness import Placed, flip_rows, reordered, rewrite, stuffed, with_typo
from engine.audit.shelf import Shelf
from engine.quantizers.clustering import KMeansQuantizer, fit_kmeans
from engine.quantizers.hierarchical import fit_hierarchical
from engine.quantizers.margins import margins
from engine.quantizers.protocol import Quantizer


def shelf_of(codes: list[list[int]] | np.ndarray, *, forced: bool = False, **columns: list[object]) -> Shelf:
    n = len(codes)
    blank: dict[str, list[object]] = {name: [None] * n for name in ("title", "category", "brand", "attributes")}
    return Shelf(pd.DataFrame(blank | columns), np.asarray(codes), (9, 9), np.full(n, forced))


def found(rows: list[Row], metric: str, level: int) -> Row:
    (one,) = [row for row in rows if (row["metric"], row["level"]) == (metric, level)]
    return one


# ---------------------------------------------------------------- intervals


def test_the_mean_of_few_distinct_values_is_resampled_as_any_other() -> None:
    values = np.array([0.0] * 70 + [1.0] * 30)
    made = mean_interval(values, resamples=4_000)
    drawn = values[np.random.default_rng(1).integers(100, size=(4_000, 100))].mean(axis=1)
    assert (made.value, made.n) == (0.3, 100)
    assert (made.low, made.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.011)
    assert np.isnan(mean_interval(np.empty(0)).value)


# ---------------------------------------------------------------- attributes


def test_leaving_an_item_out_by_hand() -> None:
    # Group 0 holds values 0 0 0 1: an item of value 0 sees 0 0 1 and is right, that of value 1 sees 0 0 0.
    # Group 1 holds 0 0 1: an item of value 0 sees one of each (a half), that of value 1 sees 0 0.
    # Group 2 holds 2 alone, and an item without a value: the coarser guess stands. The last item has no group.
    group = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, -1])
    value = np.array([0, 0, 0, 1, 0, 0, 1, 2, -1, 0])
    made = left_out_credit(group, value, np.full(10, 0.25))
    np.testing.assert_allclose(made, [1, 1, 1, 0, 0.5, 0.5, 0, 0.25, np.nan, 0.25])


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 3)), min_size=1, max_size=40))
def test_leaving_an_item_out_is_counting_the_others(pairs: list[tuple[int, int]]) -> None:
    group, value = np.array(pairs).T
    made = left_out_credit(group, value, np.full(len(pairs), 0.125))
    for i, (g, v) in enumerate(pairs):
        others = [w for j, (h, w) in enumerate(pairs) if j != i and h == g and w >= 0]
        counts = {w: others.count(w) for w in others}
        best = [w for w in counts if counts[w] == max(counts.values())]
        expected = np.nan if v < 0 else 0.125 if g < 0 or not others else (v in best) / len(best)
        assert made[i] == pytest.approx(expected, nan_ok=True)


def test_only_attributes_that_can_be_told_are_measured() -> None:
    n = 200
    attributes = [
        json.dumps({"colour": "Red " if i % 2 else "blue", "model": f"m{i}", "new": True, "none": None, "Brand": "x"})
        for i in range(n - 60)
    ]
    rare = [json.dumps({"voltage": i % 2}) for i in range(60)]
    items = shelf_of(np.zeros((n, 2), int), attributes=attributes + rare, brand=["a", "b"] * 100).items
    made = attributes_of(items)
    assert [a.name for a in made] == ["brand", "colour"], "rare, unique, constant and twice-told ones are left out"
    assert (made[1].value >= 0).sum() == n - 60
    assert made[1].value[0] == made[1].value[2] != made[1].value[1]


def test_a_prefix_that_knows_the_colour_gains_on_the_category() -> None:
    n = 240
    colour = np.arange(n) % 2
    category = np.arange(n) // 2 % 3
    shelf = shelf_of(
        np.column_stack([category, colour]),
        forced=True,
        category=[f"c{c}" for c in category],
        attributes=[json.dumps({"colour": ["red", "blue"][c]}) for c in colour],
    )
    rows = attribute_rows(shelf, resamples=200)
    assert found(rows, "attribute_predictability.colour", 2)["value"] == 1
    # 40 red and 40 blue items a category: without the item its colour has one less, so the guess is the other.
    assert found(rows, "attribute_by_category.colour", 2)["value"] == 0
    gain = found(rows, "attribute_gain", 2)
    assert (gain["value"], gain["low"], gain["high"], gain["n"]) == (1, 1, 1, n)
    forced = found(rows, "attribute_gain.colour", 1)
    assert (forced["value"], forced["by_construction"]) == (0, True)
    assert not gain["by_construction"]


def test_the_mean_weighs_attributes_alike() -> None:
    n = 300
    colour = np.arange(n) % 3
    given = [{"colour": f"c{c}"} | ({"size": f"s{i % 4}"} if i < 120 else {}) for i, c in enumerate(colour)]
    shelf = shelf_of(np.column_stack([colour, colour]), attributes=[json.dumps(g) for g in given], category=["x"] * n)
    rows = attribute_rows(shelf, resamples=100)
    for measure in ("attribute_predictability", "attribute_by_category", "attribute_gain"):
        single = [float(str(found(rows, f"{measure}.{name}", 2)["value"])) for name in ("colour", "size")]
        assert found(rows, measure, 2)["value"] == pytest.approx(np.mean(single))


# ---------------------------------------------------------------- co-clicks


def test_alignment_by_hand() -> None:
    # Query 0 clicks items 0 1 2 (groups a a b): one pair of three. Query 1 clicks 3 and 4 (both b). Query 2 has one item.
    clicked = Clicked(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 3, 4, 0]), "")
    made = alignment(np.array([0, 0, 1, 1, 1]), clicked)
    assert made is not None
    assert (made.share.value, made.share.n) == (pytest.approx((1 / 3 + 1) / 2), 2)
    # Items weigh 1/6 1/6 1/6 1/4 1/4; groups 1/3 and 2/3.
    same = 3 / 36 + 2 / 16
    assert made.chance == pytest.approx(((1 / 9 + 4 / 9) - same) / (1 - same))
    assert alignment(np.zeros(5, int), clicked._replace(query=np.arange(6)), resamples=10) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 7)), unique=True, max_size=25), st.integers(0, 5))
def test_alignment_is_counting_pairs(pairs: list[tuple[int, int]], seed: int) -> None:
    member = np.random.default_rng(seed).integers(-1, 3, 8)
    made = alignment(member, Clicked(*np.array(pairs, dtype=np.int64).reshape(-1, 2).T, ""), resamples=10)
    shares, weight = [], dict[int, float]()
    own = {q: [i for p, i in pairs if p == q and member[i] >= 0] for q in range(4)}
    usable = {q: items for q, items in own.items() if len(items) > 1}
    for items in usable.values():
        shares.append(np.mean([member[a] == member[b] for a, b in itertools.combinations(items, 2)]))
        for i in items:
            weight[i] = weight.get(i, 0) + 1 / len(items) / len(usable)
    if not shares:
        assert made is None
        return
    assert made is not None
    assert made.share.value == pytest.approx(np.mean(shares))
    drawn = [(weight[a] * weight[b], member[a] == member[b]) for a in weight for b in weight if a != b]
    assert made.chance == pytest.approx(sum(w for w, same in drawn if same) / sum(w for w, _ in drawn))


def test_coclicks_stand_beside_chance_and_the_categorys_path() -> None:
    category = ["a > x", "a > x", "a > y", "b > z", "b > z", None]
    shelf = shelf_of([[0, 0], [0, 1], [0, 1], [1, 0], [1, 0], [1, 1]], forced=True, category=category)
    clicked = Clicked(np.array([0, 0, 0, 1, 1, 1]), np.arange(6), "the whole log")
    rows = coclick_rows(shelf, clicked, resamples=50)
    assert found(rows, "coclick_alignment", 1)["by_construction"]
    value = found(rows, "coclick_alignment", 2)
    assert value["value"] == pytest.approx(1 / 3)
    assert value["note"] == "the whole log"
    assert found(rows, "coclick_alignment_category", 1)["value"] == pytest.approx((1 + 1 / 3) / 2)
    assert found(rows, "coclick_alignment_category", 2)["value"] == pytest.approx(1 / 3), "an unknown category is alone"
    chance = found(rows, "coclick_alignment_random", 2)["value"]
    assert found(rows, "coclick_lift", 2)["value"] == pytest.approx((1 / 3) / float(str(chance)))


# ---------------------------------------------------------------- rewritten titles


def test_titles_are_rewritten_by_rule() -> None:
    rng = np.random.default_rng(0)
    assert with_typo("aaaa 12 abc", rng) == "aaaa 12 abc", "no word of four letters has two that differ"
    typo = with_typo("Halden kettle", rng)
    assert sorted(typo) == sorted("Halden kettle")
    assert sum(a != b for a, b in zip(typo, "Halden kettle", strict=True)) == 2
    words = reordered(["a", "b", "c", "d", "e"], rng)
    assert set(words[:2]) == {"d", "e"}, "what stands last comes first"
    assert set(words[2:]) == {"a", "b", "c"}
    assert (
        stuffed("Steel kettle", ["kettle", "glass", "whistle", "travel", "blue"]) == "Steel kettle glass whistle travel"
    )


def test_rewriting_is_the_same_for_the_same_items_and_names_what_it_could_not_change() -> None:
    titles: list[object] = ["Steel kettle Halden", "Glass kettle Halden", "x", None]
    shelf = shelf_of([[0, 0], [0, 1], [1, 0], [-1, -1]], title=titles, category=["k", "k", "o", None])
    made, again = rewrite(shelf), rewrite(shelf)
    assert made.item.tolist() == [0, 1, 2]
    assert made.titles == again.titles
    assert made.changed["typo"].tolist() == made.changed["reorder"].tolist() == [True, True, False]
    assert made.titles["stuffing"][0] == "Steel kettle Halden glass", "words of its category, not of others"


def test_flips_and_their_margins_by_hand() -> None:
    shelf = shelf_of([[0, 0]] * 3, title=["abcd efgh", "ijkl mnop", "x"], category=["k"] * 3)
    made = rewrite(shelf)
    before = Placed(np.array([[0, 0], [0, 1], [1, 1]]), np.array([[0.5, 0.1], [0.4, 0.6], [0.9, 0.9]]))
    after = {
        "typo": np.array([[0, 1], [0, 1], [0, 0]]),  # the first flips at level 2; the third could not be changed
        "reorder": np.array([[1, 0], [0, 1], [1, 1]]),  # a flip at level 1 is one at level 2, whatever its code there
        "stuffing": before.codes,
    }
    rows = flip_rows(shelf, made, before, after, resamples=50)
    typo = found(rows, "flip_rate.typo", 2)
    assert (typo["value"], typo["n"]) == (0.5, 2)
    assert found(rows, "flip_rate.typo", 1)["value"] == 0
    assert found(rows, "flip_rate.reorder", 2)["value"] == 0.5
    assert found(rows, "margin_flipped.typo", 2)["value"] == pytest.approx(0.1)
    assert found(rows, "margin_kept.typo", 2)["value"] == pytest.approx(0.4), "the smallest down to the level"
    forced = flip_rows(shelf_of([[0, 0]] * 3, forced=True), made, before, after, resamples=50)
    assert found(forced, "flip_rate.typo", 1)["by_construction"]
    assert not found(forced, "flip_rate.typo", 2)["by_construction"]


@pytest.mark.parametrize("kind", ["kmeans", "hierarchical"])
def test_margins_are_distances_to_the_chosen_and_the_next_code(kind: str) -> None:
    x = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    quantizer: Quantizer = (fit_kmeans if kind == "kmeans" else fit_hierarchical)(x, (4, 3), seed=0)
    made = quantizer.encode_items(x, None)
    margin = margins(quantizer, made)
    assert (margin >= -1e-5).all()
    assert (margin <= 1).all()
    vectors = quantizer.codebooks.vectors[0].numpy() if isinstance(quantizer, KMeansQuantizer) else None
    if vectors is not None:
        near, next_ = np.sort(np.linalg.norm(x[7] - vectors, axis=1))[:2]
        assert margin[7, 0] == pytest.approx((next_ - near) / next_, abs=1e-5)
    border = quantizer.encode_items((x + 0.3 * x[::-1]).astype(np.float32), None)
    flipped = (border.codes[:, 0] != made.codes[:, 0]).astype(bool)
    assert margin[flipped, 0].mean() < margin[~flipped, 0].mean(), "what stands near the border goes over it"


# ---------------------------------------------------------------- labels


def test_labels_that_name_their_items_find_them_and_others_do_not() -> None:
    codes = [[i % 2, i // 2 % 2] for i in range(40)]
    shelf = shelf_of(codes)
    direction = {"a": [1, 0, 0, 0], "b": [0, 1, 0, 0], "a one": [0, 0, 1, 0], "two b": [0, 0, 0, 1]}
    item_x = np.array([np.add(direction["ab"[i]], direction[["a one", "two b"][j]]) for i, j in codes]) / np.sqrt(2)

    def encode(texts: list[str] | tuple[str, ...]) -> np.ndarray:
        return np.array([direction[text] for text in texts], dtype=np.float64)

    labels = [["a", "b"], ["a · one", "two · b", "a · one", "two · b"]]
    rows = label_score_rows(shelf, labels, item_x, encode, resamples=50)  # type: ignore[arg-type]
    assert [found(rows, "label_score", level)["value"] for level in (1, 2)] == [1, 1]
    swapped = [["b", "a"], ["a · one", "a · one", None, "two · b"]]
    rows = label_score_rows(shelf, swapped, item_x, encode, resamples=50)  # type: ignore[arg-type]
    assert found(rows, "label_score", 1)["value"] == 0
    second = found(rows, "label_score", 2)
    assert (second["value"], second["n"]) == (0.5, 20), (
        "equal labels share; a prefix without a labelled sibling is left out"
    )


def test_every_label_has_a_score_of_its_own() -> None:
    codes = [[i % 2, i // 2 % 2] for i in range(40)]
    shelf = shelf_of(codes)
    direction = {"a": [1.0, 0.0], "b": [0.0, 1.0], "both": [0.7, 0.7]}
    item_x = np.array([direction["ab"[i]] for i, _ in codes])

    def encode(texts: Sequence[str]) -> np.ndarray:
        return np.array([direction[text] for text in texts])

    first, second = label_scores(shelf, [["a", "both"], [None, "a", "a", "b"]], item_x, encode)
    assert first.score.tolist() == [1, 1], "b's items are nearer to 'both' than to 'a'"
    assert first.n_items.tolist() == [20, 20]
    assert np.isnan(second.score[:2]).all(), "no sibling has a label"
    assert second.score[2:].tolist() == [0, 1], "items of b are named 'a' in one code and 'b' in the other"
    assert second.n_items.tolist() == [0, 0, 10, 10]
    only = label_scores(shelf, [["a", "both"], [None, "a", "a", "b"]], item_x, encode, most=2)
    assert only[0].score.tolist() == [1, 1]
    assert np.isnan(only[1].score).all(), "the largest codes are asked first"
