"""What became of codes between two codebooks of the same items: which code of one is which of the other, and who moved.

Codes are names: retraining renames them all, though items may stay together. So codes are matched first, level by level
inside matched parents, by the assignment that keeps most items (Kuhn 1955); an item has moved at a level if its code is
not its old code's match.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Drift(NamedTuple):
    """Of N groups of items and L levels that both codebooks have."""

    kept: np.ndarray
    """(N, L) bool: the group's prefix down to the level is the match of its old one."""
    matches: list[dict[tuple[int, ...], tuple[int, ...]]]
    """By level, the new prefix of each old one that has a match."""
    rand: list[float]
    """By level, the adjusted Rand index of the two divisions (Hubert and Arabie 1985): 1 = the same whatever codes are
    called, 0 = as alike as by chance."""


def drift(old: np.ndarray, new: np.ndarray, n: np.ndarray) -> Drift:
    """Match the codes of `old` (N, L) with those of `new` (N, M); `n` (N,) is how many items each row stands for.

    Levels beyond the shallower codebook's are left out.
    """
    levels = min(old.shape[1], new.shape[1])
    kept = np.zeros((len(n), levels), dtype=bool)
    matches: list[dict[tuple[int, ...], tuple[int, ...]]] = []
    within = np.zeros(len(n), dtype=np.int64)  # the matched pair of parents that a row lies in; -1: it moved above
    rand = []
    for level in range(levels):
        rand.append(adjusted_rand(_numbered(old[:, : level + 1]), _numbered(new[:, : level + 1]), n))
        found: dict[tuple[int, ...], tuple[int, ...]] = {}
        parents, within = within, np.full(len(n), -1, dtype=np.int64)
        for parent in np.unique(parents[parents >= 0]):
            rows = np.flatnonzero(parents == parent)
            for before, after in _assigned(old[rows, level], new[rows, level], n[rows]):
                here = rows[(old[rows, level] == before) & (new[rows, level] == after)]
                within[here] = len(found)
                found[tuple(map(int, old[here[0], : level + 1]))] = tuple(map(int, new[here[0], : level + 1]))
        kept[:, level] = within >= 0
        matches.append(found)
    return Drift(kept, matches, rand)


def _assigned(old: np.ndarray, new: np.ndarray, n: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (old code, new code) that keep most items, each code in one pair; none that keeps nobody."""
    from scipy.optimize import linear_sum_assignment  # the dashboard imports this package, and is not to wait for it

    befores, before = np.unique(old, return_inverse=True)
    afters, after = np.unique(new, return_inverse=True)
    held = np.zeros((len(befores), len(afters)))
    np.add.at(held, (before, after), n)
    rows, columns = linear_sum_assignment(held, maximize=True)
    return [(int(befores[r]), int(afters[c])) for r, c in zip(rows, columns, strict=True) if held[r, c]]


def _numbered(prefixes: np.ndarray) -> np.ndarray:
    """A number (N,) for each distinct row."""
    return np.unique(prefixes, axis=0, return_inverse=True)[1].ravel()


def adjusted_rand(first: np.ndarray, second: np.ndarray, n: np.ndarray) -> float:
    """The adjusted Rand index of two divisions, given by numbers (N,), where row i stands for n[i] items; NaN below two items."""
    total = float(n.sum())
    if total < 2:
        return float("nan")

    def pairs(groups: np.ndarray) -> float:
        sizes = np.bincount(groups, weights=n)
        return float((sizes * (sizes - 1) / 2).sum())

    together = pairs(_numbered(np.stack([first, second], axis=1)))
    one, other, all_pairs = pairs(first), pairs(second), total * (total - 1) / 2
    by_chance, most = one * other / all_pairs, (one + other) / 2
    return 1.0 if most == by_chance else (together - by_chance) / (most - by_chance)
