"""Roll-up of category paths into level-1 codes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.quantizers.taxonomy import roll_up

SEPARATOR = " > "


def items(**counts: int) -> list[str | None]:
    return [name.replace("__", SEPARATOR) for name, count in counts.items() for _ in range(count)]


def test_every_category_has_its_own_code_where_codes_suffice() -> None:
    result = roll_up(["b", None, "a > x", "b", ""], max_codes=2, separator=SEPARATOR)
    assert result.names == ["a > x", "b"]
    assert result.code.tolist() == [1, -1, 0, 1, -1]
    assert result.code.dtype == np.int64
    assert result.table.columns.tolist() == ["category", "code_1", "code_name", "merged"]
    assert not result.table.merged.any()


def test_smallest_categories_join_a_bucket_apart_from_their_head_sibling() -> None:
    # Five leaves, four codes: the two smallest leaves of 'home' share a bucket; 'home > big' keeps its own code.
    result = roll_up(
        items(home__big=50, home__mid=9, home__a=3, home__b=2, toys__x=20), max_codes=4, separator=SEPARATOR
    )
    assert result.names == ["home (rolled up)", "home > big", "home > mid", "toys > x"]
    merged = result.table[result.table.merged]
    assert merged.category.tolist() == ["home > a", "home > b"]
    assert set(merged.code_name) == {"home (rolled up)"}
    head = result.table.set_index("category").code_1["home > big"]
    assert head not in set(merged.code_1)


def test_a_bucket_is_not_the_code_of_the_parent_as_a_category() -> None:
    result = roll_up(items(home=40, home__a=2, home__b=1), max_codes=2, separator=SEPARATOR)
    assert result.names == ["home", "home (rolled up)"]
    assert result.table.set_index("category").code_name.to_dict() == {
        "home": "home",
        "home > a": "home (rolled up)",
        "home > b": "home (rolled up)",
    }


def test_a_small_only_child_is_not_merged_with_strangers() -> None:
    # Merging the siblings costs 2 + 2 item-levels; meeting at the root would cost 1 x 2 + 2 x 2.
    result = roll_up(items(x__only=1, y__a=2, y__b=2, y__c=9), max_codes=3, separator=SEPARATOR)
    assert "x > only" in result.names
    assert result.table.set_index("category").merged.to_dict() == {
        "x > only": False,
        "y > a": True,
        "y > b": True,
        "y > c": False,
    }


def test_buckets_roll_up_to_their_own_parent() -> None:
    counts = items(r__s__a=1, r__s__b=1, r__t__a=1, r__t__b=1, q__big=30, q__huge=40)
    assert roll_up(counts, max_codes=3, separator=SEPARATOR).names == ["q > big", "q > huge", "r (rolled up)"]
    assert roll_up(counts, max_codes=1, separator=SEPARATOR).names == ["all categories (rolled up)"]


def test_no_categories_give_no_codes() -> None:
    result = roll_up([None, None], max_codes=8, separator=SEPARATOR)
    assert result.code.tolist() == [-1, -1]
    assert result.names == []
    assert len(result.table) == 0


def test_too_few_codes_is_an_error() -> None:
    with pytest.raises(ConfigError, match="max_codes=0"):
        roll_up(["a"], max_codes=0, separator=SEPARATOR)


paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(SEPARATOR.join)


@given(st.lists(st.one_of(st.none(), paths), min_size=1, max_size=60), st.integers(1, 12))
def test_roll_up_properties(categories: list[str | None], max_codes: int) -> None:
    result = roll_up(categories, max_codes=max_codes, separator=SEPARATOR)
    used = {c for c in categories if c is not None}
    assert len(result.names) == min(len(used), max_codes)
    assert len(result.names) == len(set(result.names))
    assert set(result.table.category) == used
    code_of = result.table.set_index("category").code_1
    for category, code in zip(categories, result.code.tolist(), strict=True):
        assert code == (-1 if category is None else code_of[category])
    assert sorted(set(code_of)) == list(range(len(result.names)))
    sharing = Counter(code_of)
    for row in result.table.itertuples():
        assert row.merged == (sharing[row.code_1] > 1)
        assert row.code_name == result.names[row.code_1]
        assert row.merged == row.code_name.endswith("(rolled up)")
    assert roll_up(categories, max_codes=max_codes, separator=SEPARATOR).code.tolist() == result.code.tolist()
