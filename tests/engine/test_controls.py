"""SIDs by rule: category paths and hashed ids, worked by hand; what they are made of, and where they cannot be."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine import pipeline
from engine.ablation.ablate import trainable
from engine.config import METHODS, preset
from engine.datasets.ingest import ingest
from engine.errors import DataError
from engine.problem.requirements import require
from engine.quantizers.controls import CELL, fit_hash, fit_paths, hash_codes, path_parts
from engine.quantizers.protocol import Known
from engine.quantizers.tokenizer import load_quantizer, taught_by_queries

ITEMS = pd.DataFrame(
    [
        ("a", "Home > Kitchen > Mugs", 5.0),
        ("b", "Home > Kitchen > Mugs > Red", 4.0),
        ("c", "Home > Kitchen > Mugs > Red", 9.0),
        ("d", "Home > Kitchen", 1.0),
        ("e", "Garden", None),
        ("f", None, 3.0),
    ],
    columns=["item_id", "category", "popularity"],
)
X = np.arange(12, dtype=np.float32).reshape(6, 2)


def known(items: pd.DataFrame = ITEMS) -> Known:
    return Known.of(items, None, " > ")


def item(category: str | None, popularity: float | None = None, item_id: str = "new") -> Known:
    return known(pd.DataFrame([(item_id, category, popularity)], columns=ITEMS.columns))


# ---------------------------------------------------------------- category paths


def test_level_l_is_the_lth_part_and_the_last_level_the_paths_rest() -> None:
    assert path_parts("A > B > C > D", " > ", 3) == ["A", "B", "C > D"]
    assert path_parts("A > B", " > ", 3) == ["A", "B"]
    assert path_parts("A", " > ", 1) == ["A"]
    assert path_parts(None, " > ", 3) == []
    quantizer = fit_paths(X, known(), (4, 4, 4))
    result = quantizer.encode_items(X, known())
    # Garden 0, Home 1, and after the parts the run of those without a category, 2. Under Home > Kitchen: Mugs 0,
    # Mugs > Red 1, then the run of what is of the kitchen alone, 2.
    assert result.codes.tolist() == [[1, 0, 0], [1, 0, 1], [1, 0, 1], [1, 0, 2], [0, 0, 0], [2, 0, 0]]
    assert quantizer.sizes == (3, 2, 3)
    np.testing.assert_array_equal(result.latent, X)
    # The mean of b and c, and of all four of Home.
    np.testing.assert_allclose(result.quantized[1], [3, 4])
    np.testing.assert_allclose(result.residual_norms[1, 1], np.linalg.norm(X[1] - X[:4].mean(axis=0)))
    np.testing.assert_allclose(result.residual_norms[1, 3], np.sqrt(2))


def test_where_a_path_ends_items_are_cut_into_even_runs_by_popularity(tmp_path: Path) -> None:
    n = 3 * CELL
    items = pd.DataFrame(
        {"item_id": [f"{i:02d}" for i in range(n + 1)], "category": ["A"] * n + ["B"], "popularity": 0.0}
    )
    items.loc[:4, "popularity"] = [1.0, 3.0, 2.0, 3.0, np.nan]
    x = np.random.default_rng(0).normal(size=(n + 1, 3)).astype(np.float32)
    quantizer = fit_paths(x, known(items), (2, 8, 2))
    codes = quantizer.encode_items(x, known(items)).codes
    order = [1, 3, 2, 0, 4, *range(5, n)]  # most popular first, equal ones by id; unknown is 0
    # Three runs of seven at level 2; each holds no more than a cell, so level 3 does not split it.
    assert [codes[row, 1] for row in order] == [0] * CELL + [1] * CELL + [2] * CELL
    assert set(codes[:, 2]) == {0}
    # Where the sizes leave two runs, the next level goes on.
    small = fit_paths(x, known(items), (2, 2, 2)).encode_items(x, known(items)).codes
    assert [tuple(small[row, 1:]) for row in order] == [(0, 0)] * 5 + [(0, 1)] * 5 + [(1, 0)] * 5 + [(1, 1)] * 6
    quantizer.save(tmp_path)
    again = load_quantizer(tmp_path)
    np.testing.assert_array_equal(again.encode_items(x, known(items)).codes, codes)
    np.testing.assert_array_equal(again.encode_queries(x).codes, quantizer.encode_queries(x).codes)


def test_later_items_follow_their_path_and_then_the_nearest_child() -> None:
    quantizer = fit_paths(X, known(), (4, 4, 4))

    def sid(category: str | None, x: list[float], popularity: float | None = None) -> list[int]:
        row = np.array([x], dtype=np.float32)
        return quantizer.encode_items(row, item(category, popularity)).codes[0].tolist()

    assert sid("Home > Kitchen > Mugs > Red", [99, 99]) == [1, 0, 1]
    assert sid("Home > Kitchen", [99, 99], 0.0) == [1, 0, 2]  # less popular than all: the last run
    assert sid("Home > Kitchen > Pots", X[0].tolist()) == [1, 0, 0]  # new below a known prefix
    assert sid("Toys", X[4].tolist()) == [0, 0, 0]  # new at the top
    assert sid(None, [99, 99]) == [2, 0, 0]


@pytest.mark.parametrize("category", [None, "A"])
def test_without_two_categories_there_are_no_paths(category: str | None) -> None:
    with pytest.raises(DataError, match="two categories or more"):
        fit_paths(X, known(ITEMS.assign(category=category)), (4, 4, 4))


# ---------------------------------------------------------------- hash


def test_a_hash_is_blake2b_of_the_id_level_by_level() -> None:
    sizes = (7, 5)
    raw = hashlib.blake2b("é1".encode(), digest_size=16).digest()
    expected = [int.from_bytes(raw[:8], "big") % 7, int.from_bytes(raw[8:], "big") % 5]
    assert hash_codes(["é1"], sizes).tolist() == [expected]
    many = hash_codes([f"item {i}" for i in range(7000)], sizes)
    assert abs(np.bincount(many[:, 0]) - 1000).max() < 150
    assert len(np.unique(many, axis=0)) == 35


def test_hashed_items_under_a_new_prefix_are_as_far_as_from_the_longest_known_one() -> None:
    ids = [f"i{i}" for i in range(40)]
    x = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    quantizer = fit_hash(x[:6], Known(item_id=ids[:6]), (4, 50))
    held = {tuple(row) for row in hash_codes(ids[:6], (4, 50)).tolist()}
    result = quantizer.encode_items(x, Known(item_id=ids))
    first = hash_codes(ids[:6], (4, 50))[:, 0]
    new = [row for row in range(40) if tuple(result.codes[row]) not in held and result.codes[row, 0] in first]
    for row in new:
        mean = x[:6][first == result.codes[row, 0]].mean(axis=0)
        np.testing.assert_allclose(result.residual_norms[row, 1:], np.linalg.norm(x[row] - mean), rtol=1e-5)
    assert len(new) > 5


# ---------------------------------------------------------------- what a method needs


def test_only_what_queries_teach_is_trained_anew_for_every_fold() -> None:
    taught = {method for method in METHODS if taught_by_queries(METHODS[method](preset("tiny")).quantizer)}
    assert taught == {method for method in METHODS if method.startswith("dsirm") or method == "none"}


def test_a_catalogue_without_categories_says_so_and_an_ablation_goes_on(tmp_path: Path) -> None:
    items = pd.DataFrame({"item_id": list("abcd"), "title": ["mug", "red mug", "sofa", "bed"]})
    judged = pd.DataFrame({"query": ["mug", "mug", "sofa", "sofa"], "item_id": list("acca"), "grade": [3, 0, 3, 0]})
    (tmp_path / "shop").mkdir()
    items.to_csv(tmp_path / "shop" / "items.csv", index=False)
    judged.to_csv(tmp_path / "shop" / "judgments.csv", index=False)
    catalogue = ingest(tmp_path / "shop", tmp_path / "ws").catalogue
    config = preset("tiny", method="category-path")
    with pytest.raises(DataError, match=r"'category-path' .* names 0 categories; fill the items' column category"):
        require(catalogue, config)
    with pytest.raises(DataError, match="names 0 categories"):
        pipeline.train(tmp_path / "ws", catalogue.fingerprint, config)
    chosen = trainable(tmp_path / "ws", catalogue.fingerprint, "tiny", ("none", "category-path", "hash"))
    assert chosen.methods == ("none", "hash")
    assert len(chosen.skipped) == 1
    assert chosen.skipped[0].startswith("category-path is left out: ")
