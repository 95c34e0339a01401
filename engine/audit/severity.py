"""How urgent a harm is. Decided here and nowhere else, by how large it is and how sure; docs/metrics.md prints the bars."""

from __future__ import annotations

from typing import NamedTuple

ACT, WATCH, NOTE, UNKNOWN, GOOD = "act", "watch", "note", "unknown", "good"
SEVERITIES = (ACT, WATCH, NOTE, UNKNOWN, GOOD)
"""Most urgent first. 'note': small, or large but not sure. 'unknown': n too small to tell. 'good': looked for and not found."""

SURE = 0.05
"""A change is sure at or below this q-value (p corrected for looking at many), or where its 95 % interval excludes 0 ..."""
LEAST_QUERIES = 30
"""... and where it rests on so many equally frequent queries (effective n)."""


class Bar(NamedTuple):
    """What a harm must reach, both."""

    relative: float
    """Of what the one concerned has without SIDs: a seller's own exposure, a query's own nDCG@10."""
    absolute: float
    """Weighed by traffic: of all exposure there is, of mean nDCG@10 over all searches, of all searches."""


BARS = {ACT: Bar(0.10, 0.001), WATCH: Bar(0.05, 0.0001)}


class Harm(NamedTuple):
    """A loss to be weighed."""

    absolute: float
    relative: float | None
    """None where everybody is concerned alike (a mean), or where a verdict has no size: the absolute bar decides alone."""
    sure: bool


def severity(harm: Harm) -> str:
    """'act', 'watch' or 'note': the highest bars that the harm reaches; one step less where it is not sure."""
    reached = [
        harm.absolute >= bar.absolute and (harm.relative is None or harm.relative >= bar.relative)
        for bar in BARS.values()
    ]
    step = reached.index(True) if any(reached) else len(reached)
    return SEVERITIES[min(step + (not harm.sure), len(BARS))]


def worst(severities: list[str]) -> str:
    """The most urgent of them; 'good' of none."""
    return min(severities, key=SEVERITIES.index, default=GOOD)
