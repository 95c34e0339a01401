"""Codebook health: how well the codes are used, what they share, and what they mean.

Every bar that a verdict is measured against stands in `BARS`, once; `docs/metrics.md` prints the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from engine.audit.inequality import gini
from engine.audit.intervals import wilson
from engine.audit.prefixes import Level, crosstab, numbered
from engine.audit.shelf import Shelf

GOOD, WARN, BAD, INFO = "good", "warn", "bad", "info"


class Bar(NamedTuple):
    """When a measure is good, and when it is merely a warning."""

    good: float
    warn: float
    higher_is_better: bool

    def verdict(self, value: float) -> str:
        """'good', 'warn' or 'bad'; 'info' for an unknown value."""
        if np.isnan(value):
            return INFO
        sign = 1 if self.higher_is_better else -1
        if sign * value >= sign * self.good:
            return GOOD
        return WARN if sign * value >= sign * self.warn else BAD


BARS = {
    "utilisation": Bar(0.95, 0.80, True),
    "dead_code_share": Bar(0.05, 0.20, False),
    "perplexity_ratio": Bar(0.70, 0.40, True),
    "hourglass": Bar(0.05, 0.15, False),
    "aliasing": Bar(0.50, 0.80, False),
    "largest_bucket_share": Bar(0.005, 0.02, False),
    "same_sid_others": Bar(5.0, 20.0, False),
    "harmful_share": Bar(0.02, 0.10, False),
    "category_purity": Bar(0.80, 0.60, True),
    "neighbour_lift": Bar(3.0, 1.5, True),
}
"""Bars by measure. `dead_codes` is judged by its share of K, `largest_bucket` by its share of the items, and
`neighbour_agreement` by its ratio to that of random pairs."""

SMALL_BUCKET = 10
"""A SID with so few items is never a crowded one, however small the catalogue."""

Row = dict[str, object]


def entropy_bits(count: np.ndarray) -> float:
    """Shannon entropy of a distribution given by counts, in bits."""
    share = count[count > 0] / count.sum()
    return float(max(-(share * np.log2(share)).sum(), 0.0))


def normalised_mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """NMI of two labellings (N,), rows with a -1 left out; 2 I(a;b) / (H(a) + H(b)) (arithmetic mean).

    1 where both have one class alone, NaN without rows.
    """
    table = crosstab(a, b, int(a.max(initial=-1)) + 1, int(b.max(initial=-1)) + 1)
    n = table.sum()
    if not n:
        return float("nan")
    row, column = np.asarray(table.sum(axis=1)).ravel(), np.asarray(table.sum(axis=0)).ravel()
    h_row, h_column = entropy_bits(row), entropy_bits(column)
    if h_row + h_column == 0:
        return 1.0
    mutual = h_row + h_column - entropy_bits(table.data)
    return float(np.clip(2 * mutual / (h_row + h_column), 0.0, 1.0))


def purity(member: np.ndarray, label: np.ndarray) -> float:
    """Share of the rows (N,) that carry the commonest label of their cell; rows with a -1 are left out."""
    table: sparse.csr_matrix = crosstab(member, label, int(member.max(initial=-1)) + 1, int(label.max(initial=-1)) + 1)
    n = table.sum()
    return float(table.max(axis=1).sum() / n) if n else float("nan")


def neighbour_agreement(
    member: np.ndarray, sampled: np.ndarray, neighbours: np.ndarray, *, resamples: int = 2_000, seed: int = 0
) -> tuple[float, float, float]:
    """Share of true nearest neighbours that have the same prefix, with its 95 % interval over sampled items.

    Args:
        member: (N,) prefix of each item.
        sampled: (S,) items asked about.
        neighbours: (S, k) their nearest neighbours in the embedding space, themselves left out; -1 for none.
        resamples: bootstrap resamples of the sampled items.
    """
    agree = np.where(neighbours >= 0, member[neighbours] == member[sampled][:, None], False).sum(axis=1)
    known = (neighbours >= 0).sum(axis=1)
    if not known.sum():
        return float("nan"), float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    pick = rng.integers(0, len(sampled), (resamples, len(sampled)))
    share = agree[pick].sum(axis=1) / np.maximum(known[pick].sum(axis=1), 1)
    low, high = np.quantile(share, [0.025, 0.975])
    return float(agree.sum() / known.sum()), float(low), float(high)


class Neighbourhood(NamedTuple):
    """Items that are near each other in the embedding space, and pairs that need not be."""

    sampled: np.ndarray  # (S,) items asked about.
    neighbours: np.ndarray  # (S, k) their true nearest neighbours, themselves left out; -1 for none.
    random_pairs: np.ndarray  # (R, 2) pairs of items drawn at random, to compare with; an item with itself is no pair.


def _usage(shelf: Shelf) -> list[Row]:
    """Use of each level's codes, whatever the parent."""
    rows: list[Row] = []
    spread: list[float] = []
    codes = np.asarray(shelf.codes, dtype=np.int64)
    for depth, size in enumerate(shelf.sizes):
        column = codes[:, depth]
        count = np.bincount(column[column >= 0], minlength=size)
        used, n = int((count > 0).sum()), int(count.sum())
        entropy = entropy_bits(count) if n else float("nan")
        spread.append(entropy / np.log2(size) if size > 1 else 1.0)
        dead = BARS["dead_code_share"]
        own = [
            _judged(depth + 1, "utilisation", used / size, n),
            health_row(depth + 1, "dead_codes", size - used, n, threshold=dead.good * size,
                 verdict=dead.verdict((size - used) / size)),
            health_row(depth + 1, "perplexity", 2**entropy, n),
            _judged(depth + 1, "perplexity_ratio", 2**entropy / size, n),
            health_row(depth + 1, "entropy", entropy, n),
            health_row(depth + 1, "gini", gini(count), n),
            health_row(depth + 1, "prefixes", len(shelf.tree[depth]), n),
        ]  # fmt: skip
        if shelf.by_category and depth == 0:
            own = [row | constructed("follows the sizes of the categories") for row in own]
        rows += own
    for depth in range(1, len(shelf.sizes) - 1):
        around = [spread[place] for place in (depth - 1, depth + 1) if not (shelf.by_category and place == 0)]
        deeper = "against the deeper level alone: level 1 follows the categories"
        row = _judged(depth + 1, "hourglass", float(np.mean(around)) - spread[depth], len(codes))
        rows.append(row | {"note": deeper if shelf.by_category and depth == 1 else None})
    return rows


def _whole(tree: list[Level], sharing: pd.DataFrame) -> list[Row]:
    """How many items share a whole SID, and how many of them to their harm."""
    size = tree[-1].size
    n = int(size.sum())
    if not n:
        return []
    harmful = sharing.loc[sharing["harmful"].astype(bool), "n_items"].sum() / n
    unjudged = sharing.loc[sharing["reason"] == "unjudged", "n_items"].sum() / n
    largest = BARS["largest_bucket_share"]
    bucket = GOOD if size.max() <= SMALL_BUCKET else largest.verdict(size.max() / n)
    unknown = f"a lower bound: a further {100 * unjudged:.1f} % of the items share a SID that no judgment compares"
    return [
        _judged(None, "aliasing", size[size > 1].sum() / n, n),
        health_row(None, "unique_share", len(size) / n, n),
        health_row(
            None, "largest_bucket", size.max(), n, threshold=max(largest.good * n, SMALL_BUCKET), verdict=bucket
        ),
        _judged(None, "same_sid_others", (size * (size - 1)).sum() / n, n),
        _judged(None, "harmful_share", harmful, n) | {"note": unknown},
    ]


def _meaning(shelf: Shelf) -> list[Row]:
    """Agreement of the prefixes with category and brand."""
    rows: list[Row] = []
    for column in ("category", "brand"):
        label, _ = numbered(shelf.items[column])
        n = int((label >= 0).sum())
        for depth, level in enumerate(shelf.tree if n else []):
            value = purity(level.member, label)
            named = f"{column}_purity"
            own = _judged(depth + 1, named, value, n) if named in BARS else health_row(depth + 1, named, value, n)
            shared = health_row(depth + 1, f"{column}_nmi", normalised_mutual_information(level.member, label), n)
            built = constructed("level 1 was given the category") if shelf.by_category and column == "category" else {}
            rows += [own | built, shared | built]
    return rows


def _neighbours(shelf: Shelf, near: Neighbourhood, resamples: int, seed: int) -> list[Row]:
    """Prefix agreement of true nearest neighbours, beside that of random pairs."""
    rows: list[Row] = []
    first, second = near.random_pairs.T
    for depth, level in enumerate(shelf.tree):
        value, low, high = neighbour_agreement(
            level.member, near.sampled, near.neighbours, resamples=resamples, seed=seed
        )
        a, b = level.member[first], level.member[second]
        # An item paired with itself would agree always, and outweigh true pairs at deep levels.
        pair = (a >= 0) & (b >= 0) & (first != second)
        both, same = int(pair.sum()), int((pair & (a == b)).sum())
        chance, chance_low, chance_high, both = wilson(same, both)
        bar = BARS["neighbour_lift"]
        # A random pair agrees too rarely at deep levels to be counted: the upper end of its interval is the safe ratio.
        verdict = bar.verdict(low / chance_high if chance_high else float("nan"))
        row = health_row(
            depth + 1, "neighbour_agreement", value, len(near.sampled), threshold=bar.good * chance, verdict=verdict
        )
        built = constructed("level 1 was given the category") if shelf.by_category and depth == 0 else {}
        random = health_row(depth + 1, "neighbour_agreement_random", chance, both)
        rows += [row | {"low": low, "high": high} | built, random | {"low": chance_low, "high": chance_high}]
    return rows


def health_row(
    level: int | None, metric: str, value: float, n: int, *, threshold: float | None = None, verdict: str = INFO
) -> Row:
    """A row of table `health`; level None is the whole SID."""
    return {
        "level": level, "metric": metric, "value": float(value), "low": None, "high": None, "n": n,
        "threshold": threshold, "verdict": verdict, "by_construction": False, "note": None,
    }  # fmt: skip


def _judged(level: int | None, metric: str, value: float, n: int) -> Row:
    """A row whose verdict is its own bar's."""
    return health_row(level, metric, value, n, threshold=BARS[metric].good, verdict=BARS[metric].verdict(float(value)))


def constructed(note: str) -> Row:
    """What follows from the forced level is marked and not judged."""
    return {"verdict": INFO, "by_construction": True, "note": note}


def health_table(
    shelf: Shelf,
    sharing: pd.DataFrame,
    near: Neighbourhood | None = None,
    more: Sequence[Row] = (),
    *,
    resamples: int = 2_000,
    seed: int = 0,
) -> pd.DataFrame:
    """The `health` table.

    Args:
        shelf: of the items category and brand are read.
        sharing: the `sid_sharing` table.
        near: None leaves the agreement of neighbours out.
        more: rows that were measured elsewhere.
        resamples, seed: of the bootstrap over sampled items.
    """
    rows = _usage(shelf) + _whole(shelf.tree, sharing) + _meaning(shelf)
    if near is not None:
        rows += _neighbours(shelf, near, resamples, seed)
    table = pd.DataFrame([*rows, *more])
    table["level"] = table["level"].astype("Int64")
    for column in ("low", "high", "threshold"):
        table[column] = table[column].astype(float)
    return table
