"""Grades: words of known scales become numbers, and the scale follows from the grades that occur."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

_SCALES = (
    {"exact": 3, "substitute": 2, "complement": 1, "irrelevant": 0},
    {"e": 3, "s": 2, "c": 1, "i": 0},
    {"exact": 2, "partial": 1, "irrelevant": 0},
    {"perfect": 4, "excellent": 3, "good": 2, "fair": 1, "bad": 0},
    {"highly relevant": 2, "relevant": 1, "not relevant": 0},
    {"highly relevant": 3, "relevant": 2, "partially relevant": 1, "irrelevant": 0},
    {"highly relevant": 3, "relevant": 2, "marginally relevant": 1, "not relevant": 0},
    {"relevant": 2, "partially relevant": 1, "not relevant": 0},
    {"relevant": 1, "irrelevant": 0},
    {"relevant": 1, "nonrelevant": 0},
    {"relevant": 1, "not relevant": 0},
    {"yes": 1, "no": 0},
    {"true": 1, "false": 0},
    {"good": 2, "okay": 1, "bad": 0},
    {"good": 1, "bad": 0},
)
"""Word -> number, for scales that are published or that judging tools offer."""

ENOUGH = 0.8
"""Share of grades in words that a scale must have the words of."""
OUTLIERS = 0.02
"""Largest share of the grades that one far from the others may have."""
_TOPS = (1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 100.0)


class Scale(NamedTuple):
    """How grades run."""

    max_grade: float
    relevant_grade: float


def words_of(counts: Mapping[str, int], top: float | None) -> dict[str, int] | None:
    """Word -> number, of the scale that most values are words of; None where fewer than `ENOUGH` of them are of any.

    `counts`: values that are no numbers, and how often each occurs; `top`: the highest grade, where it is stated. Of scales
    that fit equally well the smallest. One word alone says nothing of a scale that is not stated.
    """
    scales = [scale for scale in _SCALES if top in (None, max(scale.values()))]
    folded = {value: " ".join(value.casefold().replace("_", " ").replace("-", " ").split()) for value in counts}
    if not scales or len(set(folded.values())) < (2 if top is None else 1):
        return None

    def told(scale: Mapping[str, int]) -> int:
        return sum(n for value, n in counts.items() if folded[value] in scale)

    best = max(scales, key=lambda scale: (told(scale), -len(scale)))
    known = {value: best[word] for value, word in folded.items() if word in best}
    enough = told(best) >= ENOUGH * sum(counts.values())
    return known if enough and len(set(known.values())) > (top is None) else None


def without_outliers(counts: dict[float, int]) -> list[float]:
    """Grades that occur, in order, less a last one that is rare and far from the others: a slip of the keyboard is no scale."""
    values = sorted(counts)
    rare = values and counts[values[-1]] <= OUTLIERS * sum(counts.values())
    return values[:-1] if len(values) > 2 and rare and values[-1] > 2 * max(values[-2], 1) else values


def scale_of(lowest: float, highest: float, *, whole: bool) -> Scale | None:
    """The scale of grades between these: its upper half is relevant. None where none is above 0.

    Scales of up to 4 begin at 0; a larger one whose lowest grade is 1, like five stars, begins there.
    """
    if highest <= 0:
        return None
    top = next((t for t in _TOPS if highest <= t), float(math.ceil(highest)))
    middle = ((1.0 if top > 4 and lowest >= 1 else 0.0) + top) / 2
    return Scale(top, min(math.floor(middle) + 1.0 if whole or top > 1 else middle, highest))
