"""Words that nobody should have written, and what goes wrong with words: for names, notes, links, settings, SQL, answers."""

from __future__ import annotations

import json
import random
import re

HOSTILE = (
    "", " ", "\t\n", "\0", "a\0b", "\x1b]0;pwn\x07", "\x1b[2J\x1b[31mred", "\x9b2J", "\u202eabc\u2066", "[bold]x[/]", "[/]", "[link=http://x]",
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "![x](http://x)", "$x^2$", ":red[x]", "=1+1", "-1+cmd|' /C calc'!A0", "\ud83d",
    "\ufeff", "\u2028", "\u2060", "🫖", "ΑΒΓ", "غلاية", "e\u0301\u0301\u0301", "ﬁ", "İ", "ß", "../../etc/passwd", "/etc/passwd", "..", ".", "~", "a/b\\c", "CON",
    "%s%n", "%2e%2e%2f", "${HOME}", "{line}", "{0}", "'", '"', "';--", "' OR 1=1 --", '"; DROP TABLE items; --', "\\", "\\x", "`", "$run", "$1", "?", "NULL",
    "None", "nan", "NaN", "inf", "-inf", "1e999", "-0", "0", "-1", "1", "3", "9" * 400, "0x10", "1_000", "１２", "½", "²", "1,2", "1,5", "true", "[]", "{}", "[1, 2", "null",
    "17-203-88", "0-0-0", "-", "--", "17-", "-1-2", "99999999999999999999-1", "a=b", "=", "a==b", "a,b", ",", ";", "|", "seller=", "x" * 500, "x" * 20_000,
    "[" * 2_000, '{"a":' * 2_000, "( " * 3_000, "2025-13-45", "9999-12-31", "0000-00-00", "SELECT 1", "http://x", "javascript:1", "data:text/html,x", "a&b=c#d", "snap-000000000000",
)  # fmt: skip
"""Empty, unprintable, turned, markup of every kind, paths, numbers that are none or too large, quotes, nesting."""


def word(rng: random.Random) -> str:
    """One of them, or two put together."""
    return rng.choice(HOSTILE) + (rng.choice(HOSTILE) if rng.random() < 0.2 else "")


def changed(rng: random.Random, text: str) -> str:
    """A text with one to three things gone wrong."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        at, end = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        how = rng.randrange(8)
        if how == 0:
            text = text[:at] + rng.choice(HOSTILE) + text[at:]
        elif how == 1:
            text = text[:at] + text[end:]
        elif how == 2:
            text = text[:at]
        elif how == 3:
            text = text[:end] + text[at:end] * rng.choice((1, 3, 30)) + text[end:]
        elif how == 4:
            text = (
                text[:at]
                + chr(rng.choice((rng.randrange(256), rng.randrange(0x3000), rng.randrange(0x110000))))
                + text[at + 1 :]
            )
        elif how == 5 and (numbers := list(re.finditer(r"-?\d+(\.\d+)?", text))):
            found = rng.choice(numbers)
            text = text[: found.start()] + rng.choice(("", "-1", "0", "1e400", "nan", "99999999999999999999", "1.5", "true", '"1"', "[1]")) + text[found.end() :]  # fmt: skip
        elif how == 6:
            text = text.swapcase()
        else:
            a, b = rng.choice(
                (("{", "["), ('"', "'"), (":", "="), (",", ";"), ("}", ""), ("\n", " "), ("=", "=="), ("(", ""))
            )
            text = text.replace(a, b, rng.choice((1, -1)))
    return text


def value(rng: random.Random, depth: int = 0) -> object:
    """A value of JSON, of any kind."""
    kinds = (
        None,
        True,
        False,
        0,
        1,
        -1,
        3,
        10**30,
        1.5,
        -0.0,
        1e308,
        float("nan"),
        float("inf"),
        [],
        {},
        [None],
        "",
        "1",
    )
    if depth < 2 and rng.random() < 0.2:
        inner = value(rng, depth + 1)
        return [inner, word(rng)] if rng.random() < 0.5 else {word(rng): inner}
    return rng.choice(kinds) if rng.random() < 0.5 else word(rng)


def document(rng: random.Random, whole: object) -> object:
    """A JSON document in which one thing became another: a value, a name, or it is gone."""
    if not isinstance(whole, dict | list) or not whole or rng.random() < 0.1:
        return value(rng)
    if isinstance(whole, list):
        at = rng.randrange(len(whole))
        if rng.random() < 0.1:
            return whole[:at] + whole[at + 1 :]
        return [document(rng, each) if n == at else each for n, each in enumerate(whole)]
    key = rng.choice(list(whole))
    how = rng.random()
    if how < 0.1:
        return {name: each for name, each in whole.items() if name != key}
    if how < 0.2:
        return {(word(rng) if name == key else name): each for name, each in whole.items()}
    return {name: document(rng, each) if name == key else each for name, each in whole.items()}


def written(rng: random.Random, whole: object) -> bytes:
    """A JSON document as it lies on a disk or comes from a server: one thing in it became another, or its letters did."""
    if rng.random() < 0.6:
        return json.dumps(document(rng, whole), ensure_ascii=rng.random() < 0.7).encode("utf-8", "surrogatepass")
    text = changed(rng, json.dumps(whole)).encode("utf-8", "surrogatepass")
    return (
        text
        if rng.random() < 0.8
        else bytes(letter ^ (1 << rng.randrange(8)) if rng.random() < 0.02 else letter for letter in text)
    )
