"""Grades: words of known scales become numbers, and the scale follows from the grades that occur."""

from __future__ import annotations

import math
from collections.abc import Iterable
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

OUTLIERS = 0.02
"""Largest share of the grades that one far from the others may have."""
_TOPS = (1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 100.0)


class Scale(NamedTuple):
    """How grades run."""

    max_grade: float
    relevant_grade: float


def words_of(values: Iterable[str]) -> dict[str, int] | None:
    """Value -> number where all values that are no numbers are words of one scale; the smallest scale that has them."""
    folded = {value: " ".join(value.casefold().replace("_", " ").replace("-", " ").split()) for value in values}
    fitting = [scale for scale in _SCALES if set(folded.values()) <= set(scale)]
    if len(folded) < 2 or not fitting:  # one word alone says nothing of a scale
        return None
    best = min(fitting, key=len)
    return {value: best[word] for value, word in folded.items()}


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
