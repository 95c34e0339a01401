"""SIDs, prefixes, labels and sharing as tables, on a catalogue of eight items worked by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.audit.codebook import codes_table, sid_sharing_table, sids_table
from engine.audit.labels import STOP_WORDS, title_terms
from engine.audit.prefixes import levels, sid_texts
from engine.audit.shelf import Shelf

ITEMS = pd.DataFrame(
    {
        "item_id": list("abcdefgh"),
        "title": [
            "Trail shoe waterproof red",
            "Trail shoes waterproof blue",
            "Road shoe light",
            "Road shoe light carbon",
            "Desk lamp brass",
            "Desk lamp steel",
            "Floor lamp steel",
            "Garden chair",
        ],
        "category": ["S > Shoes"] * 4 + ["H > Lamps"] * 3 + [None],
        "seller": ["x", "x", "y", "y", "x", None, None, "x"],
        "brand": [None] * 8,
        "price": [10.0, 20.0, 30.0, 40.0, 5.0, 5.0, np.nan, 7.0],
    }
)
CODES = np.array([[0, 0], [0, 0], [0, 1], [0, 1], [2, 0], [2, 0], [2, 1], [2, 1]])
FORCED = np.array([True] * 7 + [False])
LATENT = np.array([[0, 0], [2, 0], [4, 0], [4, 0], [10, 0], [10, 4], [12, 2], [16, 2]], dtype=np.float32)


def rows(table: pd.DataFrame) -> dict[str, dict]:
    return {row["prefix"]: row for row in table.to_dict("records")}


def shelf(codes: np.ndarray = CODES, sizes: tuple[int, ...] = (4, 2), **more) -> Shelf:
    return Shelf(**({"items": ITEMS, "codes": codes, "sizes": sizes} | more))


SHELF = shelf(latent=LATENT, forced=FORCED)


def table(**more) -> pd.DataFrame:
    return codes_table(SHELF, **more)


def test_levels_name_parents_and_members() -> None:
    first, second = levels(CODES)
    assert first.texts().tolist() == ["0", "2"]
    assert second.texts().tolist() == ["0-0", "0-1", "2-0", "2-1"]
    assert second.parent.tolist() == [0, 0, 1, 1]
    assert second.member.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_every_row_lies_under_its_own_prefixes(codes: list[tuple[int, int, int]]) -> None:
    codes_array = np.array(codes)
    tree = levels(codes_array)
    for depth, level in enumerate(tree):
        assert len(set(level.texts())) == len(level)
        for member, text in zip(level.member, sid_texts(codes_array[:, : depth + 1]), strict=True):
            assert (member == -1) == (text is None)
            assert text is None or level.texts()[member] == text


def test_sids_table_holds_distance_to_the_cell_mean_and_sharing() -> None:
    norms = np.arange(24, dtype=np.float32).reshape(8, 3)
    sids = sids_table(shelf(latent=LATENT, forced=FORCED, residual_norms=norms)).set_index("item_id")
    assert sids.loc["c", "sid"] == "0-1"
    assert sids.loc["c", "code_2"] == 1
    assert pd.isna(sids.loc["c", "code_3"])
    # Level 1: mean of x = (0 + 2 + 4 + 4) / 4 = 2.5; level 2: mean of a, b = 1.
    assert sids.loc["a", "distance"].tolist() == pytest.approx([2.5, 1.0])
    assert sids.loc["e", "n_sharing"] == 2
    assert sids.loc["b", "residual_norms"].tolist() == [3.0, 4.0, 5.0]
    assert not sids.loc["h", "forced"]


def test_an_item_without_sid_has_no_row() -> None:
    codes = CODES.copy()
    codes[3] = -1
    assert "d" not in set(sids_table(shelf(codes))["item_id"])
    assert rows(codes_table(shelf(codes)))["0"]["n_items"] == 3


def test_codes_table_counts_a_prefix() -> None:
    by_prefix = rows(table())
    lamps = by_prefix["2"]
    assert (lamps["n_items"], lamps["n_sids"], lamps["n_categories"], lamps["n_sellers"]) == (4, 2, 1, 1)
    assert lamps["purity"] == 1.0  # of the three items whose category is known
    assert lamps["category_entropy"] == 0.0
    assert lamps["price_median"] == 5.0
    assert lamps["centroid"].tolist() == pytest.approx([12.0, 2.0])
    assert by_prefix["0-1"]["mean_distance"] == 0.0
    assert by_prefix["2-1"]["parent"] == "2"


def test_unused_codes_of_level_one_are_dead() -> None:
    owners = pd.DataFrame({"category": ["Sofas"], "code_1": [3], "code_name": ["Sofas"]})
    by_prefix = rows(codes_table(shelf(owners=owners)))
    assert [by_prefix[prefix]["dead"] for prefix in ("0", "1", "2", "3")] == [False, True, False, True]
    assert by_prefix["3"]["label"] == "Sofas"
    assert by_prefix["3"]["n_items"] == 0


def test_a_prefix_far_below_its_even_share_is_under_used() -> None:
    codes = np.array([[0]] * 20 + [[1]] * 2 + [[2]] * 20)
    items = pd.concat([ITEMS] * 6, ignore_index=True).iloc[:42]
    by_prefix = rows(codes_table(shelf(codes, (3,), items=items)))  # even share 14, a quarter of it 3.5
    assert [bool(by_prefix[prefix]["under_used"]) for prefix in "012"] == [False, True, False]


def test_mixed_prefixes_have_entropy() -> None:
    codes = np.zeros((8, 1), dtype=np.int64)
    row = rows(codes_table(shelf(codes, (1,))))["0"]
    share = np.array([4, 3]) / 7
    assert row["purity"] == pytest.approx(4 / 7)
    assert row["category_entropy"] == pytest.approx(-(share * np.log2(share)).sum())
    assert row["top_category"] == "S > Shoes"


def test_exposure_and_queries_reach_a_prefix() -> None:
    reach = pd.DataFrame({"prefix": ["0", "0-0", "0-1"], "n_queries": [2, 2, 1], "query_weight": [0.5, 0.5, 6 / 16]})
    exposure = np.arange(8) / 28
    by_prefix = rows(table(exposure=np.array([exposure, exposure[::-1]]), reach=reach))
    assert by_prefix["0"]["n_queries"] == 2
    assert by_prefix["0"]["query_weight"] == pytest.approx(0.5)
    assert by_prefix["0-1"]["query_weight"] == pytest.approx(6 / 16)
    assert by_prefix["2-1"]["n_queries"] == 0
    assert by_prefix["0-1"]["exposure"] == pytest.approx(5 / 28)
    assert by_prefix["0-1"]["exposure_without"] == pytest.approx(9 / 28)


def test_labels_set_a_code_apart_from_its_siblings() -> None:
    by_prefix = rows(table())
    assert by_prefix["0"]["label"] == "Shoes"
    assert by_prefix["0-0"]["label"] == "trail · waterproof"  # 'shoe' is what both siblings say
    assert by_prefix["0-1"]["label"] == "light · road"
    terms = {term["term"]: term for term in json.loads(by_prefix["0-0"]["terms"])}
    # c-TF-IDF by hand: 0-0 holds trail 2, shoe 2, waterproof 2, red 1, blue 1, 'shoes' 2 (name; folded into shoe);
    # its words: trail 2 + shoe 2 + waterproof 2 + red + blue = 8, the sibling's: road 2 + shoe 2 + light 2 + carbon = 7.
    assert terms["trail"]["weight"] == pytest.approx(2 / 8 * np.log(1 + 7.5 / 2), abs=1e-6)
    assert terms["trail"]["support"] == 1.0


def test_labels_do_not_depend_on_the_run() -> None:
    assert table()["label"].tolist() == table()["label"].tolist()
    shuffled = np.random.default_rng(0).permutation(8)
    items = ITEMS.iloc[shuffled].reset_index(drop=True)
    again = codes_table(shelf(CODES[shuffled], items=items, forced=FORCED[shuffled]))
    assert again["label"].tolist() == table()["label"].tolist()


def test_merged_categories_are_named_largest_first() -> None:
    by_prefix = rows(codes_table(shelf(np.zeros((8, 1), dtype=np.int64), (1,), forced=FORCED)))
    assert by_prefix["0"]["label"] == "Shoes · Lamps"


def test_titles_of_any_script_and_kind_have_terms() -> None:
    assert title_terms("The BEST iPhone-15 case, 27 x 4K <b>") == ["iphone-15", "case", "4k"]
    assert title_terms("مصباح مكتبي 🔦") == ["مصباح", "مكتبي"]
    assert title_terms("Kettle 1,7L, steel") == ["kettle", "1,7l", "steel"]
    assert title_terms("") == []
    assert "the" in STOP_WORDS


def test_sharing_is_harmful_across_categories_or_grades() -> None:
    codes = np.array([[0], [0], [1], [1], [1], [2], [2], [3]])  # shoes | shoes + lamp | lamps | chair
    judgments = pd.DataFrame(
        {
            "query_id": ["q", "q", "r", "q", "q"],
            "item_id": ["a", "b", "b", "f", "g"],
            "grade": [3.0, 0.0, 3.0, 2.0, 3.0],
        }
    )
    by_sid = sid_sharing_table(shelf(codes), judgments, relevant_grade=2.0).set_index("sid")
    assert by_sid["reason"].to_dict() == {"1": "categories", "0": "grades", "2": "alike"}
    assert by_sid["harmful"].to_dict() == {"1": True, "0": True, "2": False}
    assert by_sid.loc["0", "n_conflicts"] == 1
    assert by_sid.loc["1", "n_categories"] == 2


def test_sharing_that_no_query_judged_says_so() -> None:
    empty = pd.DataFrame({"query_id": [], "item_id": [], "grade": []})
    sharing = sid_sharing_table(SHELF, empty, relevant_grade=2.0)
    assert set(sharing["reason"]) == {"unjudged"}
    assert not sharing["harmful"].any()


def test_seconds_not_minutes_at_twenty_thousand_items() -> None:
    import time

    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(2_000)])
    n = 20_000
    items = pd.DataFrame(
        {
            "item_id": [str(i) for i in range(n)],
            "title": [" ".join(row) for row in words[rng.integers(0, 2_000, (n, 9))]],
            "category": [f"d > c{i}" for i in rng.integers(0, 200, n)],
            "seller": "s",
            "brand": "b",
            "price": rng.random(n),
        }
    )
    codes = rng.integers(0, 20, (n, 3))
    begin = time.process_time()
    assert len(codes_table(shelf(codes, (20, 20, 20), items=items, latent=rng.random((n, 32))))) > 400
    assert time.process_time() - begin < 30
