"""Names like one that was written: what a page or a command offers where nothing is called so."""

from __future__ import annotations

from collections.abc import Iterable

from rapidfuzz import fuzz, process, utils

LIKE = 70
"""How like a name must be to be offered, of 100: below it, names share little more than a few letters."""


def alike(value: str, names: Iterable[str], most: int = 3) -> list[str]:
    """The names most like what was written, whatever its case, best first; none where none is near."""
    found = process.extract(
        value, list(names), scorer=fuzz.WRatio, processor=utils.default_process, limit=most, score_cutoff=LIKE
    )
    return [str(name) for name, _, _ in found]
