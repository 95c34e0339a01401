"""Spellings of a SID: every one comes back, and no text yields fewer codes than numbers that stand in it."""

from __future__ import annotations

import contextlib
import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.datasets.sid_text import BadSid, parse_sid, read_sid

CODES = st.lists(st.integers(0, 1_000_000), min_size=1, max_size=16)


def spellings(codes: list[int]) -> list[str]:
    letters = [f"{chr(97 + level)}_{code}" for level, code in enumerate(codes)]
    tokens = [f"<{letter}>" for letter in letters]
    texts = [str(code) for code in codes]
    plain = [between.join(texts) for between in ("-", "_", " ", ",", ", ", ";", "/", "|", ":", " - ")]
    row = "".join(f"<s_{letter}>" for letter in letters)
    made = [
        *plain, *(f"{before}{text}" for text in plain[:2] for before in ("sid_", "SID:", "sid-", "sid=", "semantic_id_", "SID ")),
        *(f"<sid_{text}>" for text in plain[:2]), "sid_" + texts[0] + "".join(f"_{t}" for t in texts[1:]),
        json.dumps(codes), json.dumps(texts), json.dumps([codes]), json.dumps([[code] for code in codes]),
        str(tuple(codes)), f"[{' '.join(texts)}]", f"[ {'  '.join(texts)}\n]", f"array({codes})", f"tensor({codes})",
        "[" + ", ".join(f"np.int64({code})" for code in codes) + "]", "[" + " ".join(f"{code}." for code in codes) + "]",
        "-".join(f"{code}.0" for code in codes),
        json.dumps(tokens), str(tokens), "".join(tokens), " ".join(tokens), ",".join(tokens), "".join(reversed(tokens)),
        " ".join(letters), "_".join(letters), "-".join(letters), "".join(f"[{letter}]" for letter in letters),
        "".join(f"C{code}" for code in codes), "".join(f"<sid_{code}>" for code in codes),
        row, f"<|sid_begin|>{row}<|sid_end|>", f"<s>{row}</s>", json.dumps(["<|sid_begin|>", *tokens, "<|sid_end|>"]),
        "<|sid_start|>" + "".join(f"<|sid_{code}|>" for code in codes) + "<|sid_end|>",
    ]  # fmt: skip
    if len(codes) > 1:
        made += ["".join(f"<|sid_{level + first}_{code}|>" for level, code in enumerate(codes)) for first in (0, 1)]
    if len(codes) > 2:
        made.append(".".join(texts))
    return [text for text in made if len(text) <= 1_000]


@given(CODES)
@settings(max_examples=60, deadline=None)
def test_every_spelling_comes_back(codes: list[int]) -> None:
    for text in spellings(codes):
        assert parse_sid(text) == tuple(codes), text


NUMBER, DOTTED = re.compile(r"[0-9]+(?:\.0*(?![.0-9]))?"), re.compile(r"[0-9]\.[0-9]+\.[0-9]")


def check_all_accounted_for(text: str) -> None:
    """Each number of an accepted text is a code, or all others count the levels from 0 or 1."""
    number = re.compile("[0-9]+") if DOTTED.search(text) else NUMBER
    numbers = [int(found.partition(".")[0]) for found in number.findall(text)]
    codes = list(parse_sid(text))
    assert len(codes) in (len(numbers), len(numbers) / 2), text
    left = list(numbers)
    for code in codes:
        left.remove(code)
    assert not left or sorted(left) in (list(range(len(codes))), list(range(1, len(codes) + 1))), text


@given(st.one_of(
    st.text("0123456789 ,;-_/|:.<>[]()'\"abSid\n", max_size=30),
    st.text("0123 _-<>|a", max_size=20),
    st.lists(st.sampled_from(["<a_", "<b_", "sid_", "C", ">", "|>", "_", "-", " ", ",", "1", "20", "3.0", "[", "]"]), max_size=14)
    .map("".join),
))  # fmt: skip
@example("sid_8_31_26")
@example("sid_8-31_26")
@example("<a_1><b_2_3>")
@settings(max_examples=1_500, deadline=None)
def test_no_number_is_passed_over(text: str) -> None:
    with contextlib.suppress(BadSid):
        check_all_accounted_for(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "kettle", "17--88", "-1-2", "1 -2", "[3, -1]", "[3 -1]", "sid_-1_2", "1.5-2", "1e3", "1-2, 3-4",
        "sid_8-31_26", "[[1, 2], [3, 4]]", "['1-2', '3-4']", "[1,,2]", "1-2-", "[]", "[[]]", "<>", "<a_1><a_2><b_3>",
        "<a_1><5>", "<a_1_2><b_3_4>", "<a_1><pad>", "<|sid_begin|><a_1><|sid_end|><|sid_begin|><a_2><|sid_end|>",
        "<sid_begin_1><a_2>", "<a_1>kettle", "99999999-1", "-".join("1" * 17), "1-" * 999, "[1, " * 240 + "1" + "]" * 240,
        "\u0663-1", "1\u00b2",
    ],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(BadSid):
        parse_sid(text)


@pytest.mark.parametrize(
    ("text", "names"),
    [("17-203", ()), ("<c_3><a_1>", ("a", "c")), ("<s_a_1><s_b_2>", ("s_a", "s_b")), ("<sid_1><sid_2>", ()),
     ("<first_1><second_2><third_3>", ("first", "second", "third")), ("sid_8_31_26", ())],
)  # fmt: skip
def test_names_of_levels(text: str, names: tuple[str, ...]) -> None:
    assert read_sid(text).names == names
