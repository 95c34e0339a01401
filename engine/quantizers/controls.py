"""Controls: SIDs by a rule that no embedding and no query moves. They go through the same generator and rankers.

What such SIDs gain is not the quantizer's. `category-path` asks what the taxonomy alone gives, `hash` what SIDs give that
know nothing of the items. The latent is the frozen embedding itself, of items and of queries; a level's residual norm is
the distance to the mean embedding of the items under that prefix (for an item that came later under a new prefix, of its
longest prefix that has items).
"""

from __future__ import annotations

import bisect
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from engine.errors import DataError
from engine.quantizers import storage
from engine.quantizers.protocol import Known, Quantized
from engine.quantizers.tree import ClusterTree, of_codes

CELL = 7
"""Items of a run that popularity splits off, about: what the sizes of the other methods aim at."""


class Control:
    """SIDs from outside, and the tree of the means of what stands under their prefixes."""

    kind: str
    taught_by_queries = False
    forced_level = False

    def __init__(self, sizes: tuple[int, ...], tree: ClusterTree) -> None:
        self.sizes = sizes
        self.tree = tree

    def rule(self, x: np.ndarray, known: Known) -> np.ndarray:
        """The SIDs (N, L) int64 of items."""
        raise NotImplementedError

    def about(self) -> dict[str, Any]:
        """What the rule reads, as JSON."""
        return {}

    def encode_items(self, x: np.ndarray, known: Known | None) -> Quantized:
        """The SIDs of items (N, D) by the rule; it needs to know them."""
        assert known is not None, f"'{self.kind}' reads what is known of the items"
        x = np.ascontiguousarray(x, dtype=np.float32)
        return self.tree.follow(x, self.rule(x, known)).of(x)

    def encode_queries(self, x: np.ndarray) -> Quantized:
        """Query embeddings (N, D) down the tree of means: nearest child at every level."""
        return self.tree.encode(x)

    def save(self, path: Path) -> None:
        """Writes the means and the rule into the folder `path`."""
        storage.write(path, self.kind, {"sizes": list(self.sizes), **self.about()}, self.tree.tensors())


# ---------------------------------------------------------------- hash


class HashQuantizer(Control):
    """A SID is a hash of the item's id."""

    kind = "hash"

    def rule(self, x: np.ndarray, known: Known) -> np.ndarray:
        return hash_codes(known.item_id, self.sizes)

    @staticmethod
    def restore(settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> HashQuantizer:
        """The inverse of `save`, from what it wrote."""
        sizes = tuple(settings["sizes"])
        return HashQuantizer(sizes, ClusterTree.restore(tensors, len(sizes)))


def hash_codes(item_ids: Sequence[str], sizes: tuple[int, ...]) -> np.ndarray:
    """(N, L) int64: level l is the l-th 8 bytes (big-endian) of BLAKE2b of the id's UTF-8, modulo K_l. For ids alone, so
    the same in every run, process and version."""
    found = np.empty((len(item_ids), len(sizes)), dtype=np.int64)
    for row, item_id in enumerate(item_ids):
        raw = hashlib.blake2b(item_id.encode("utf-8", "surrogatepass"), digest_size=8 * len(sizes)).digest()
        found[row] = [int.from_bytes(raw[8 * at : 8 * at + 8]) % size for at, size in enumerate(sizes)]
    return found


def fit_hash(item_x: np.ndarray, known: Known, sizes: tuple[int, ...]) -> HashQuantizer:
    """Hashes of the items' ids over `sizes`."""
    x = np.ascontiguousarray(item_x, dtype=np.float32)
    return HashQuantizer(sizes, of_codes(x, hash_codes(known.item_id, sizes)))


# ---------------------------------------------------------------- category path


class Runs(NamedTuple):
    """The items of one prefix whose category path ends at it, split by popularity."""

    first: int  # Code of the first run.
    last: list[tuple[float, str]]  # The key (`_order`) of each run's last item.


class Taxonomy(NamedTuple):
    """The rule of `category-path`; a prefix is a SID's codes, () at the top."""

    separator: str
    named: dict[tuple[int, ...], dict[str, int]]  # prefix -> part of the path -> code.
    runs: dict[tuple[int, ...], Runs]

    def step(self, prefix: tuple[int, ...], part: str | None, order: tuple[float, str]) -> int | None:
        """The code below `prefix` of an item with that `part` of a path (None: its path has ended), by its key; None where
        neither the part nor a run is there."""
        if part is not None:
            return self.named.get(prefix, {}).get(part)
        runs = self.runs.get(prefix)
        return None if runs is None else runs.first + min(bisect.bisect_left(runs.last, order), len(runs.last) - 1)


class PathQuantizer(Control):
    """A SID is the item's path in the taxonomy."""

    kind = "category-path"
    forced_level = True

    def __init__(self, sizes: tuple[int, ...], tree: ClusterTree, taxonomy: Taxonomy) -> None:
        super().__init__(sizes, tree)
        self.taxonomy = taxonomy

    def rule(self, x: np.ndarray, known: Known) -> np.ndarray:
        """As training placed them. A later item whose category is new below a known prefix goes to the nearest child of that
        prefix, by mean embedding, from there on."""
        levels = len(self.sizes)
        codes = np.empty((len(x), levels), dtype=np.int64)
        for row, (category, order) in enumerate(zip(known.category, _order(known), strict=True)):
            parts = path_parts(category, self.taxonomy.separator, levels)
            prefix: tuple[int, ...] = ()
            for part in [*parts, *[None] * (levels - len(parts))]:
                code = self.taxonomy.step(prefix, part, order)
                if code is None:
                    break
                prefix += (code,)
            codes[row] = prefix if len(prefix) == levels else prefix + self._nearest(x[row], prefix)
        return codes

    def _nearest(self, x: np.ndarray, prefix: tuple[int, ...]) -> tuple[int, ...]:
        """The rest of the SID of an item that the taxonomy leaves at `prefix`."""
        at = np.zeros(1, dtype=np.int64)
        for level, code in zip(self.tree.levels, prefix, strict=False):
            at = level.child(at, np.array([code]))
        below = ClusterTree(self.tree.levels[len(prefix) :])
        return tuple(below.descend(x[None], at).codes[0].tolist())

    def about(self) -> dict[str, Any]:
        """The taxonomy; JSON has no tuples for keys."""
        named, runs = self.taxonomy.named.items(), self.taxonomy.runs.items()
        return {
            "separator": self.taxonomy.separator,
            "named": [[list(prefix), codes] for prefix, codes in named],
            "runs": [[list(prefix), *run] for prefix, run in runs],
        }

    @staticmethod
    def restore(settings: dict[str, Any], tensors: dict[str, torch.Tensor]) -> PathQuantizer:
        """The inverse of `save`, from what it wrote."""
        sizes = tuple(settings["sizes"])
        taxonomy = Taxonomy(
            settings["separator"],
            {tuple(prefix): codes for prefix, codes in settings["named"]},
            {tuple(prefix): Runs(first, [tuple(key) for key in last]) for prefix, first, last in settings["runs"]},
        )
        return PathQuantizer(sizes, ClusterTree.restore(tensors, len(sizes)), taxonomy)


def path_parts(category: str | None, separator: str, levels: int) -> list[str]:
    """At most `levels` parts of a category path; the last holds the path's rest. [] without a category."""
    parts = [part.strip() for part in category.split(separator)] if category else []
    return parts if len(parts) <= levels else [*parts[: levels - 1], separator.join(parts[levels - 1 :])]


def fit_paths(item_x: np.ndarray, known: Known, sizes: tuple[int, ...]) -> PathQuantizer:
    """SIDs of items (N, D) by their category paths.

    Level l is the l-th part of the path: parts below one prefix are numbered in their sorted order. The last level
    takes what is left of a longer path as one part. Where a path ends before the last level, the items of that prefix are
    ordered by popularity (unknown counts as 0; equal ones by id) and cut into even runs, numbered after the prefix's parts:
    as many as hold `CELL` items, but no more than the level's size in `sizes` leaves; so again at the next level. An item
    without a category is one whose path ends at the top. The tokenizer's sizes are those of its own codes: a level with
    more parts below one prefix than `sizes` says is larger. Raises DataError with fewer than two categories.
    """
    if len({category for category in known.category if category}) < 2:
        raise DataError("SIDs by category path need two categories or more; the column category names fewer.")
    levels, separator = len(sizes), known.separator
    x = np.ascontiguousarray(item_x, dtype=np.float32)
    parts = [path_parts(category, separator, levels) for category in known.category]
    order = _order(known)
    ranked = sorted(range(len(parts)), key=order.__getitem__)
    taxonomy = Taxonomy(separator, {}, {})
    groups: dict[tuple[int, ...], list[int]] = {(): ranked}
    for depth, size in enumerate(sizes):
        below: dict[tuple[int, ...], list[int]] = {}
        for prefix, rows in groups.items():
            ended = [row for row in rows if len(parts[row]) <= depth]
            names = sorted({parts[row][depth] for row in rows if len(parts[row]) > depth})
            if names:
                taxonomy.named[prefix] = {name: code for code, name in enumerate(names)}
            n_runs = max(1, min(size - len(names), math.ceil(len(ended) / CELL)))
            if ended:
                cuts = [len(ended) * run // n_runs for run in range(n_runs + 1)]
                taxonomy.runs[prefix] = Runs(len(names), [order[ended[cut - 1]] for cut in cuts[1:]])
                for run in range(n_runs):
                    below[(*prefix, len(names) + run)] = ended[cuts[run] : cuts[run + 1]]
            for row in rows:
                if len(parts[row]) > depth:
                    below.setdefault((*prefix, taxonomy.named[prefix][parts[row][depth]]), []).append(row)
        groups = below
    codes = np.empty((len(x), levels), dtype=np.int64)
    for prefix, rows in groups.items():
        codes[rows] = prefix
    own = tuple(max(2, int(most) + 1) for most in codes.max(axis=0))
    return PathQuantizer(own, of_codes(x, codes), taxonomy)


def _order(known: Known) -> list[tuple[float, str]]:
    """What items are ordered by where paths have ended: popularity from the highest, unknown as 0; then the id."""
    popularity = np.zeros(len(known.item_id)) if known.popularity is None else np.nan_to_num(known.popularity)
    return list(zip((-popularity).tolist(), known.item_id, strict=True))
