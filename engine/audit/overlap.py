"""How alike two rankings are: shared places of their tops, and rank-biased overlap."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

PERSISTENCE = 0.9
"""Chance that a reader goes on to the next place: the first ten places then carry 86 % of the weight."""


def overlap_at(left: Sequence[Hashable], right: Sequence[Hashable], k: int) -> float:
    """Share of the first `k` places that both lists fill with the same items, whatever their order; 1.0 of two empty lists.

    A list shorter than `k` has no more places to share: the longer one's first `k` are what is shared of.
    """
    first, second = set(left[:k]), set(right[:k])
    most = max(len(first), len(second))
    return len(first & second) / most if most else 1.0


def rbo(left: Sequence[Hashable], right: Sequence[Hashable], p: float = PERSISTENCE) -> float:
    """Rank-biased overlap of two rankings without ties, extrapolated: 1.0 the same, 0.0 nothing shared.

    The mean of the overlap at every depth d, weighed by (1 - p) p^(d - 1), carried on below the shorter list as if it
    went on agreeing as it did (Webber, Moffat and Zobel 2010, "A similarity measure for indefinite rankings", eq. 32).
    """
    shorter, longer = sorted((left, right), key=len)
    short, long = len(shorter), len(longer)
    if not short:
        return 1.0 if not long else 0.0
    seen_short: set[Hashable] = set()
    seen_long: set[Hashable] = set()
    shared = [0]  # shared[d]: items that both hold among their first d
    for depth in range(1, long + 1):
        item = longer[depth - 1]
        seen_long.add(item)
        gained = int(item in seen_short)
        if depth <= short:
            other = shorter[depth - 1]
            seen_short.add(other)
            gained += int(other in seen_long)
        shared.append(shared[-1] + gained)
    agreed = sum(shared[d] / d * p**d for d in range(1, long + 1))
    carried = sum(shared[short] * (d - short) / (short * d) * p**d for d in range(short + 1, long + 1))
    rest = (shared[long] - shared[short]) / long + shared[short] / short
    return (1 - p) / p * (agreed + carried) + rest * p**long
