"""Variants of a query: each says what was done to it, and none is what was asked already."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.audit.variants import Variant, variants


def test_a_query_is_written_otherwise() -> None:
    assert variants("nordvel desk lamp", brands=("Nordvel",)) == [
        Variant("as asked", "nordvel desk lamp"),
        Variant("letters exchanged", "nodrvel desk lamp"),
        Variant("letter left out", "norvel desk lamp"),
        Variant("last word with an s", "nordvel desk lamps"),
        Variant("brand left out", "desk lamp"),
        Variant("last word first", "lamp nordvel desk"),
        Variant("words backwards", "lamp desk nordvel"),
    ]


@pytest.mark.parametrize(
    ("text", "more", "expected"),
    [
        ("lamps", {}, Variant("last word without its s", "lamp")),
        ("glass", {}, Variant("last word with an s", "glasss")),
        ("desk lamp", {"usual_brand": "Nord Vel"}, Variant("brand added", "Nord Vel desk lamp")),
        ("lamp L-200 by A+B", {"brands": ("a+b",)}, Variant("brand left out", "lamp L-200 by")),
        ("лампа стол", {}, Variant("last word first", "стол лампа")),
    ],
)
def test_single_variants(text: str, more: dict[str, str], expected: Variant) -> None:
    assert expected in variants(text, **more)  # type: ignore[arg-type]


def test_no_letter_is_exchanged_for_itself_and_no_number_is_misspelt() -> None:
    assert "letters exchanged" not in {v.kind for v in variants("aaaa")}
    assert {v.kind for v in variants("xph12 4000")} == {"as asked", "last word first"}
    assert variants("") == []
    assert variants("lamp", brands=("Lamp",))[-1].kind != "brand left out"  # nothing would be left


@given(st.text(max_size=60), st.tuples(st.text(min_size=1, max_size=8)))
def test_every_variant_is_another_text_on_one_line(text: str, brands: tuple[str]) -> None:
    made = variants(text, brands=brands)
    assert len({v.text.casefold() for v in made}) == len(made)
    assert all(v.text == " ".join(v.text.split()) and v.text for v in made)
    assert made == variants(text, brands=brands)
