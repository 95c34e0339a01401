"""A SID as text -> its codes. No number is passed over: each that stands there is a code or counts a level, else BadSid.

| spelling | codes |
|---|---|
| `17-203-88`, `17 203 88`, `17,203,88`, `17_203_88`, `17.203.88`, `17.0-203.0-88.0` | numbers with one separator |
| `[17, 203, 88]`, `(17, 203, 88)`, `[17 203 88]`, `[[17, 203, 88]]`, `array([17, 203, 88])`, `[np.int64(17), ...]` | lists |
| `sid_17_203_88`, `sid_17-203-88`, `SID:17_203_88`, `<sid_17_203_88>` | one name, then all codes |
| `<a_17><b_203><c_88>`, `["<a_17>", "<b_203>", "<c_88>"]`, `a17 b203 c88`, `[a_17][b_203][c_88]` | a name a level |
| `<sid_17><sid_203><sid_88>`, `C17C203C88` | one name for all levels: the order tells them |
| `<|sid_0_17|><|sid_1_203|><|sid_2_88|>` | tokens of a level, counted from 0 or 1, and its code |
| `<|sid_begin|><s_a_17><s_b_203><s_c_88><|sid_end|>` | marks of begin and end around any of them |

Names that differ in one letter are ordered by it, others as they are written. Codes are kept as given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from engine.datasets.contract import MAX_ID_CHARACTERS

MAX_LEVELS = 16
MAX_CODE = 1_000_000

_NAME = r"[A-Za-z]+(?:[_-]+[A-Za-z]+)*"
_NUMBER = r"[0-9]+(?:\.0*)?(?![.0-9])"
# A minus needs the same on both sides: in `3 -1` it is a sign, and no code is negative.
_NUMBERS = re.compile(rf"[0-9]+(?:\.[0-9]+){{2,}}(?![.0-9])|{_NUMBER}(?:(?:\s*[,;|/:]\s*|_|-|\s+-\s+|\s+){_NUMBER})*")
_TOKEN = re.compile(rf"(?:(?P<name>{_NAME})(?:\s*[:=#]\s*|_+|-|\s*))?(?P<numbers>{_NUMBERS.pattern})")
_BETWEEN = re.compile(r"[\s,;|/_-]*")
_ANGLE = re.compile(r"<\|?\s*([^<>|]*?)\s*\|?>")
_SQUARE = re.compile(r"\s*\[([^\[\],\s]+)\]\s*")
_ARRAY = re.compile(r"(?:(?:np|numpy|torch)\.)?(?:array|tensor)\((.*)\)", re.DOTALL)
_NUMPY_NUMBER = re.compile(r"\bnp\.u?int(?:8|16|32|64)\(([0-9]+)\)")
_MARK = re.compile(r"/?(?:(?:sid|item|semantic|id|begin|start|end|bos|eos|s)(?:[_-]|$))+", re.IGNORECASE)
_NO_LEVEL = re.compile(r"(?:^|[_-])(?:begin|start|end|bos|eos|pad|unk)$", re.IGNORECASE)
_NEGATIVE = re.compile(r"(?:^|[\s,;])-[0-9]")
_CLOSES = {"[": "]", "(": ")"}
_HOW = "write it as 17-203-88, [17, 203, 88] or <a_17><b_203><c_88>"


class BadSid(ValueError):
    """A SID that cannot be understood; the message says why."""


class Spelled(NamedTuple):
    """A SID as it was read."""

    codes: tuple[int, ...]
    names: tuple[str, ...]  # Of the levels, in their order; empty where they have none of their own.


class _Token(NamedTuple):
    name: str  # In lower case; '' where there is none.
    numbers: tuple[int, ...]


def parse_sid(text: str) -> tuple[int, ...]:
    """The codes of a SID in any of the spellings above. Raises BadSid."""
    return read_sid(text).codes


@lru_cache(4096)
def read_sid(text: str) -> Spelled:
    """The codes of a SID and what its levels are called. Raises BadSid."""
    if len(text) > MAX_ID_CHARACTERS:
        raise BadSid(f"at most {MAX_ID_CHARACTERS:,} characters")
    try:
        parts = _parts(_NUMPY_NUMBER.sub(r"\1", text))
    except RecursionError:
        raise BadSid("it is nested too deeply") from None
    while parts and _MARK.fullmatch(parts[0]):
        parts = parts[1:]
    while parts and _MARK.fullmatch(parts[-1]):
        parts = parts[:-1]
    found = _levels([_token(part) for part in parts])
    if len(found.codes) > MAX_LEVELS:
        raise BadSid(f"it has {len(found.codes)} levels; at most {MAX_LEVELS}")
    if max(found.codes) > MAX_CODE:
        raise BadSid(f"a code is above {MAX_CODE:,}")
    return found


def _parts(text: str) -> list[str]:
    """The tokens of a text, or its numbers where it has no names; brackets, quotes and what separates tokens are gone."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    if array := _ARRAY.fullmatch(text):
        text = array[1].strip()
    if len(squares := _SQUARE.findall(text)) > 1 and not _SQUARE.sub("", text):
        return [_one(square) for square in squares]
    if text[:1] in _CLOSES and text[-1:] == _CLOSES[text[0]]:
        elements = _texts_of(text) or _elements(text[1:-1])
        return _parts(elements[0]) if len(elements) == 1 else [_one(each) for each in elements]
    if "<" in text:
        if re.sub(r"[\s,;|-]", "", _ANGLE.sub("", text)):
            raise BadSid(_HOW)
        return _ANGLE.findall(text)
    return _row(text)


@lru_cache(1 << 16)
def _one(text: str) -> str:
    """The token or number that an element of a list is."""
    parts = _parts(text)
    if len(parts) == 1 and (_MARK.fullmatch(parts[0]) or (token := _token(parts[0])).name or len(token.numbers) == 1):
        return parts[0]
    raise BadSid("it holds lists or SIDs in a list; an item has one SID")


def _texts_of(text: str) -> list[str]:
    """The elements of a JSON list of texts, which most indexes hold; none where it is none."""
    try:
        found = json.loads(text) if text.startswith('["') else []
    except ValueError:
        return []
    return found if all(isinstance(each, str) for each in found) else []


def _elements(inner: str) -> list[str]:
    """What a list holds, separated by commas or, as numpy prints them, by white space."""
    commas, spaces, depth, quote = [0], [0], 0, ""
    for place, character in enumerate(inner):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[(":
            depth += 1
        elif character in "])":
            depth -= 1
        elif depth == 0 and character == ",":
            commas.append(place + 1)
        elif depth == 0 and character.isspace():
            spaces.append(place + 1)
    if len(commas) > 1:
        ends = [*(place - 1 for place in commas[1:]), len(inner)]
        cut = [inner[begin:end].strip() for begin, end in zip(commas, ends, strict=True)]
        cut = cut if cut[-1] else cut[:-1]  # `(17,)`
        if not all(cut):
            raise BadSid("a code is missing")
        return cut
    cut = [inner[begin:end].strip() for begin, end in zip(spaces, [*spaces[1:], len(inner)], strict=True)]
    return [each for each in cut if each] or [""]


def _row(text: str) -> list[str]:
    """The tokens of a text without brackets: `a_1 b_2`, `C0C8192C16384`, or the numbers alone."""
    parts: list[str] = []
    place = 0
    while place < len(text) or not parts:
        token = _TOKEN.match(text, place)
        if token is None or (token["name"] is None and token.end() - token.start() < len(text)):
            raise BadSid("a code is negative" if _NEGATIVE.search(text) else _HOW)
        parts.append(token[0])
        between = _BETWEEN.match(text, token.end())
        assert between is not None
        place = between.end()
        if between[0] and place == len(text):
            raise BadSid("a code is missing")
    return parts


@lru_cache(1 << 16)
def _token(text: str) -> _Token:
    found = _TOKEN.fullmatch(text)
    if found is None:
        raise BadSid(_HOW)
    name, numbers = (found["name"] or "").casefold(), found["numbers"]
    if _NO_LEVEL.search(name):
        raise BadSid(_HOW)
    if numbers.count(".") > 1 and re.fullmatch(r"[0-9.]+", numbers):
        return _Token(name, tuple(int(number) for number in numbers.split(".")))
    pieces = re.split(rf"({_NUMBER})", numbers)
    if len({between.strip() for between in pieces[2:-1:2]}) > 1:
        raise BadSid("its codes are separated in two ways; " + _HOW)
    return _Token(name, tuple(int(number.partition(".")[0]) for number in pieces[1::2]))


def _levels(tokens: Sequence[_Token]) -> Spelled:
    if not tokens:
        raise BadSid(_HOW)
    if len(tokens) == 1:
        return Spelled(tokens[0].numbers, ())
    names, lengths = [token.name for token in tokens], {len(token.numbers) for token in tokens}
    distinct = len(set(names))
    if "" in names and distinct > 1:
        raise BadSid("some of its codes have a name and others none")
    if 1 < distinct < len(names):
        raise BadSid("it gives a level twice")
    ordered = sorted(tokens) if distinct > 1 and len({name[:-1] for name in names}) == 1 else list(tokens)
    if lengths == {1}:
        return Spelled(
            tuple(token.numbers[0] for token in ordered),
            tuple(token.name for token in ordered) if distinct > 1 else (),
        )
    if lengths == {2}:
        ordered = sorted(tokens, key=lambda token: token.numbers) if distinct == 1 else ordered
        first = ordered[0].numbers[0]
        if first < 2 and [token.numbers[0] for token in ordered] == list(range(first, first + len(ordered))):
            return Spelled(tuple(token.numbers[1] for token in ordered), ())
    raise BadSid("its numbers cannot be told apart into levels and codes; " + _HOW)
