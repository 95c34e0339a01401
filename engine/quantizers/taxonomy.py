"""From category paths to level-1 codes: one code per category, the smallest rolled up where there are too many."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.errors import ConfigError

_ROOT = ""


class CategoryMap(NamedTuple):
    """Level-1 codes of categories."""

    code: np.ndarray  # (N,) int64 per item; -1 where the category is unknown.
    names: list[str]  # Name of each code: a category path, or '<parent> (rolled up)'.
    table: pd.DataFrame
    """One row per category: category, code_1, code_name, merged (it shares its code with other categories)."""


class _Unit(NamedTuple):
    """What holds one code: a category, or the bucket of the categories rolled up under `path`."""

    path: str
    bucket: bool


def roll_up(categories: Sequence[str | None], *, max_codes: int, separator: str) -> CategoryMap:
    """Assigns one level-1 code per category, at most `max_codes` in all.

    Where there are more, the cheapest merger is made until they fit: two units (categories or buckets) beneath one
    parent join the bucket '<parent> (rolled up)', which costs the levels of taxonomy that their items lose, counted
    per item. So the smallest siblings go first, and small categories meet at a common ancestor before large ones are
    touched. A bucket never takes the code of a category that kept its own: a tail category is not merged into a head
    one silently, and every merger is marked in `table`.
    Raises ConfigError when `max_codes` is below 1.
    """
    if max_codes < 1:
        raise ConfigError(f"max_codes={max_codes}; at least 1")
    paths = [category.strip() if isinstance(category, str) else "" for category in categories]
    counts = Counter(path for path in paths if path)
    merges = _Merges(counts, separator)
    while len(merges.members) > max_codes:
        merges.merge_cheapest()
    units = merges.members
    ordered = sorted(units)
    names = [_name(unit) for unit in ordered]
    rows = [
        (category, code, names[code], len(units[unit]) > 1)
        for code, unit in enumerate(ordered)
        for category in sorted(units[unit])
    ]
    table = pd.DataFrame(rows, columns=["category", "code_1", "code_name", "merged"])
    code_of = {category: code for category, code, _, _ in rows}
    code = np.array([code_of.get(path, -1) for path in paths], dtype=np.int64)
    return CategoryMap(code=code, names=names, table=table.sort_values("category", ignore_index=True))


class _Merges:
    """Units and, per ancestor, a heap of the units beneath it by the cost of lifting them there.

    Heaps keep outdated entries, told by their size, until they come up.
    """

    def __init__(self, counts: Counter[str], separator: str) -> None:
        self.separator = separator
        self.members: dict[_Unit, list[str]] = {}
        self.size: dict[_Unit, int] = {}
        self.beneath: defaultdict[str, list[tuple[int, int, _Unit]]] = defaultdict(list)
        self.queue: list[tuple[int, str]] = []
        for path in sorted(counts):
            self._place(_Unit(path, False), [path], counts[path])
        for ancestor in sorted(self.beneath):
            self._offer(ancestor)

    def merge_cheapest(self) -> None:
        """Merges the two units whose merger costs the fewest item-levels; one unit fewer is left."""
        while True:
            cost, ancestor = heapq.heappop(self.queue)
            pair = self._pair(ancestor)
            if pair is None:
                continue
            if pair[0] != cost:
                heapq.heappush(self.queue, (pair[0], ancestor))
                continue
            bucket = _Unit(ancestor, True)
            inside, n_items = [], 0
            for unit in pair[1:]:
                inside += self.members.pop(unit)
                n_items += self.size.pop(unit)
            self._place(bucket, inside, n_items)
            for above in (ancestor, *self._ancestors(ancestor)):
                self._offer(above)
            return

    def _place(self, unit: _Unit, inside: list[str], n_items: int) -> None:
        self.members[unit] = inside
        self.size[unit] = n_items
        ancestors = self._ancestors(unit.path)
        # A bucket already stands at its path: joining it there costs its own items nothing.
        for levels, ancestor in enumerate([unit.path, *ancestors] if unit.bucket else ancestors, start=not unit.bucket):
            heapq.heappush(self.beneath[ancestor], (n_items * levels, n_items, unit))

    def _offer(self, ancestor: str) -> None:
        pair = self._pair(ancestor)
        if pair is not None:
            heapq.heappush(self.queue, (pair[0], ancestor))

    def _pair(self, ancestor: str) -> tuple[int, _Unit, _Unit] | None:
        """The two units cheapest to merge at `ancestor`, and what that costs; None with fewer than two beneath it."""
        heap = self.beneath[ancestor]
        first = self._cheapest(heap)
        if first is None:
            return None
        heapq.heappop(heap)
        second = self._cheapest(heap)
        heapq.heappush(heap, first)
        return None if second is None else (first[0] + second[0], first[2], second[2])

    def _cheapest(self, heap: list[tuple[int, int, _Unit]]) -> tuple[int, int, _Unit] | None:
        while heap and self.size.get(heap[0][2]) != heap[0][1]:
            heapq.heappop(heap)
        return heap[0] if heap else None

    def _ancestors(self, path: str) -> list[str]:
        """Parent, its parent, ... and the root."""
        above = []
        while path != _ROOT:
            path = path.rpartition(self.separator)[0].strip()
            above.append(path)
        return above


def _name(unit: _Unit) -> str:
    if not unit.bucket:
        return unit.path
    return f"{unit.path or 'all categories'} (rolled up)"
