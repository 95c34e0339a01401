"""Category paths as shops write them: the separator is found from all values, lists are paths, the first of several paths counts."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

SEPARATOR = " > "
"""Between the levels of a path as it is kept, where `dataset.toml` states none."""
_ARROW = re.compile(r"\s*(?:>+|»|›|→|->|=>)\s*")
_SIMPLE = {
    "' / '": re.compile(r"\s+/\s+"), "'/'": re.compile(r"\s*/\s*"), "'|'": re.compile(r"\s*\|+\s*"),
    "'::'": re.compile(r"\s*::\s*"), r"'\'": re.compile(r"\s*\\+\s*"), "','": re.compile(r",(?!\s)"), "';'": re.compile(r"\s*;\s*"),
}  # fmt: skip
_BETWEEN_PATHS = re.compile(r"\s*[|;]\s*|,\s*")
_LISTED = re.compile(r"(?:&|\band\b|\bund\b|\bet\b|\by\b|\be\b|\ben\b|\bi\b|\boch\b)", re.IGNORECASE)
ENOUGH = 0.25
"""A separator counts where so large a share of the distinct values holds it."""
REPEATED = 1.5
"""And where so many of the values that hold it share each beginning: 'TV/Audio' and 'Tea/Coffee' share none."""


class CategoryReading(NamedTuple):
    """The paths of a column of categories."""

    paths: dict[str, tuple[str, ...]]  # Value -> levels; empty where it says nothing.
    others: dict[str, list[tuple[str, ...]]]  # Value -> further paths that it holds.
    found: str | None  # For a decision; None where every value is a path as the contract has it, or one level.
    because: str


def read_categories(values: Iterable[str], separator: str | None, several: bool | None) -> CategoryReading:
    """The paths that distinct values stand for; `separator` and `several` as `dataset.toml` states them, else found."""
    values = list(values)
    lists = {v: found for v in values if (found := _listed(v)) is not None}
    texts = [v for v in values if v not in lists]
    named: str | None
    if separator is not None:
        split, named, why = (lambda v: v.split(separator)), f"'{separator}'", "dataset.toml says so"
    elif any(_ARROW.search(v) for v in texts):
        n = sum(bool(_ARROW.search(v)) for v in texts)
        split, named, why = _ARROW.split, "'>'", f"{n:,} of {len(values):,} distinct values hold it"
    else:
        named, why = _commonest(texts)
        split = _SIMPLE[named].split if named else (lambda v: [v])
    if separator is None and named not in ("'>'", None):
        split = _simple_split(split)
    roots = Counter(_clean(split(v))[0] for v in texts if len(_clean(split(v))) > 1)
    paths: dict[str, tuple[str, ...]] = {}
    others: dict[str, list[tuple[str, ...]]] = {}
    minor = 0
    divided = several is not False and separator is None and named == "'>'"
    kept_names = _names_with_commas(texts, split) if divided and several is None else set()
    for value in texts:
        parts = _paths_of(value, split, kept_names, several) if divided else [_clean(split(value))]
        parts = [p for p in parts if p]
        if separator is None and len(parts) == 1 and len(parts[0]) == 1 and roots:
            for other in _SIMPLE.values():
                levels = _clean(other.split(value))
                if len(levels) > 1 and levels[0] in roots:
                    parts, minor = [levels], minor + 1
                    break
        paths[value] = parts[0] if parts else ()
        if len(parts) > 1:
            others[value] = parts[1:]
    for value, found in lists.items():
        cleaned = [p for p in (_clean(path) for path in found) if p]
        if cleaned and all(len(p) == 1 for p in cleaned) and _ARROW.search(cleaned[0][0]):
            cleaned = [_clean(_ARROW.split(p[0])) for p in cleaned]  # a list of whole paths
        paths[value] = cleaned[0] if cleaned else ()
        if len(cleaned) > 1:
            others[value] = cleaned[1:]
    if not texts:
        why = "lists are paths"
    plain = all(SEPARATOR.join(path) == value.strip() for value, path in paths.items())
    said = [
        f"levels separated by {named}" if named and any(len(p) > 1 for p in paths.values()) else "one level" if texts else "",
        f"{len(lists):,} {'list' if len(lists) == 1 else 'lists'}" if lists else "",
        f"{minor:,} values with another separator under a known first level" if minor else "",
        f"{len(others):,} values with several paths: the first counts, the others are kept among the attributes" if others else "",
    ]  # fmt: skip
    return CategoryReading(paths, others, None if plain else "; ".join(p for p in said if p), why)


def _clean(parts: Iterable[object]) -> tuple[str, ...]:
    """Levels that have a name; ' > ' inside one would be taken for a separator later."""
    names = (re.sub(r"\s+", " ", str(part)).strip() for part in parts if part is not None)
    return tuple(name.replace(SEPARATOR, " › ") for name in names if name)


def _commonest(texts: list[str]) -> tuple[str | None, str]:
    for name, pattern in _SIMPLE.items():
        held = [v for v in texts if len(_clean(pattern.split(v))) > 1]
        if not held or len(held) < ENOUGH * len(texts):
            continue
        beginnings = {_clean(pattern.split(v))[0] for v in held}
        share = len(held) / len(beginnings)
        if share >= REPEATED or name == "' / '":
            return name, f"{len(held):,} of {len(texts):,} distinct values hold it, with {len(beginnings):,} beginnings"
    return None, "no separator is held by enough values that begin alike"


def _simple_split(split):  # type: ignore[no-untyped-def]
    return lambda value: split(value.strip().strip("/|\\"))


def _names_with_commas(texts: list[str], split) -> set[str]:  # type: ignore[no-untyped-def]
    """Levels that hold a comma and are the last or only one of some path: names, not the seam of two paths."""
    ends = (_clean(split(v)) for v in texts if "," in v)
    return {path[-1] for path in ends if path and "," in path[-1]} | {
        path[0] for path in ends if path and "," in path[0]
    }


def _paths_of(value: str, split, names: set[str], several: bool | None) -> list[tuple[str, ...]]:  # type: ignore[no-untyped-def]
    """The paths of a cell: a ',', ';' or '|' between two of them stands in a level that is no name of its own."""
    found: list[tuple[str, ...]] = []
    current: list[str] = []
    levels = _clean(split(value))
    for place, level in enumerate(levels):
        seam = _BETWEEN_PATHS.search(level)
        inner = 0 < place < len(levels) - 1
        marked = seam is not None and seam.group().strip() in ("|", ";")
        if seam is None or not (
            marked or several or (inner and level not in names and not _LISTED.search(level[seam.end() :]))
        ):
            current.append(level)
            continue
        pieces = [p for p in _BETWEEN_PATHS.split(level) if p.strip()]
        for n, piece in enumerate(pieces):
            current.append(piece.strip())
            if n < len(pieces) - 1:
                found.append(tuple(current))
                current = []
    return [*found, tuple(current)]


def _listed(value: str) -> list[list[object]] | None:
    """The paths of a value that is the text of a list (JSON or Python), of objects with names, or of {lvl0, lvl1 ...}."""
    text = value.strip()
    if text[:1] not in "[{":
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    if isinstance(found, dict):
        deepest = max((k for k in found if re.fullmatch(r"lvl\d+", str(k))), default=None)
        if deepest is None:
            return None
        found = found[deepest]
        return [_ARROW.split(str(found))] if not isinstance(found, list) else [_ARROW.split(str(p)) for p in found]
    if not isinstance(found, list | tuple):
        return None
    named = [e.get("name") or e.get("title") or e.get("label") if isinstance(e, dict) else e for e in found]
    inner = [list(e) for e in named if isinstance(e, list | tuple)]
    if inner and len(inner) == len(named):
        return inner
    whole = [e for e in named if isinstance(e, str) and _ARROW.search(e)]
    if len(named) > 1 and len(whole) == len(named):
        return [list(_ARROW.split(e)) for e in whole]
    return [named]
