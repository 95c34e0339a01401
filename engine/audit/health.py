"""Codebook health: how well the codes are used, what they share, and what they mean.

Every bar that a verdict is measured against stands in `BARS`, once; `docs/metrics.md` prints the same numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from engine.audit.inequality import gini
from engine.audit.prefixes import Level, crosstab, levels, numbered

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
    "expected_overlap": Bar(5.0, 20.0, False),
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


def _usage(tree: list[Level], codes: np.ndarray, sizes: tuple[int, ...], forced: bool) -> list[Row]:
    """Use of each level's codes, whatever the parent."""
    rows: list[Row] = []
    spread: list[float] = []
    for depth, size in enumerate(sizes):
        column = codes[:, depth]
        count = np.bincount(column[column >= 0], minlength=size)
        used, n = int((count > 0).sum()), int(count.sum())
        entropy = entropy_bits(count) if n else float("nan")
        spread.append(entropy / np.log2(size) if size > 1 else 1.0)
        built = forced and depth == 0
        note = "follows the sizes of the categories" if built else None
        dead = BARS["dead_code_share"]
        ratio = 2**entropy / size
        for metric, value, threshold, verdict in (
            ("utilisation", used / size, BARS["utilisation"].good, BARS["utilisation"].verdict(used / size)),
            ("dead_codes", size - used, dead.good * size, dead.verdict((size - used) / size)),
            ("perplexity", 2**entropy, None, INFO),
            ("perplexity_ratio", ratio, BARS["perplexity_ratio"].good, BARS["perplexity_ratio"].verdict(ratio)),
            ("entropy", entropy, None, INFO),
            ("gini", gini(count), None, INFO),
        ):
            rows.append(
                _row(
                    depth + 1, metric, value, n, threshold, INFO if built else verdict, by_construction=built, note=note
                )
            )
        rows.append(_row(depth + 1, "prefixes", len(tree[depth]), n, None, INFO, by_construction=built, note=note))
    for depth in range(1, len(sizes) - 1):
        around = [spread[place] for place in (depth - 1, depth + 1) if not (forced and place == 0)]
        value = float(np.mean(around)) - spread[depth]
        note = "against the deeper level alone: level 1 follows the categories" if forced and depth == 1 else None
        bar = BARS["hourglass"]
        rows.append(_row(depth + 1, "hourglass", value, len(codes), bar.good, bar.verdict(value), note=note))
    return rows


def _whole(tree: list[Level], sharing: pd.DataFrame) -> list[Row]:
    """How many items share a whole SID, and how many of them to their harm."""
    size = tree[-1].size
    n = int(size.sum())
    if not n:
        return []
    harmful = sharing.loc[sharing["harmful"].astype(bool), "n_items"].sum() / n
    unjudged = sharing.loc[sharing["reason"] == "unjudged", "n_items"].sum() / n
    aliasing = size[size > 1].sum() / n
    overlap = (size * (size - 1)).sum() / n
    largest = BARS["largest_bucket_share"]
    bucket = GOOD if size.max() <= SMALL_BUCKET else largest.verdict(size.max() / n)
    unknown = f"a lower bound: a further {unjudged:.1%} of the items share a SID that no judgment compares"
    return [
        _judged(None, "aliasing", aliasing, n),
        _row(None, "unique_share", len(size) / n, n, None, INFO),
        _row(None, "largest_bucket", size.max(), n, max(largest.good * n, SMALL_BUCKET), bucket),
        _judged(None, "expected_overlap", overlap, n),
        _judged(None, "harmful_share", harmful, n) | {"note": unknown},
    ]


def _meaning(tree: list[Level], items: pd.DataFrame, forced: bool) -> list[Row]:
    """Agreement of the prefixes with category and brand."""
    rows: list[Row] = []
    for column in ("category", "brand"):
        label, _ = numbered(items[column])
        n = int((label >= 0).sum())
        if not n:
            continue
        built = forced and column == "category"
        note = "level 1 was given the category" if built else None
        for depth, level in enumerate(tree):
            value = purity(level.member, label)
            bar = BARS["category_purity"]
            judged = column == "category" and not built
            rows.append(
                _row(
                    depth + 1,
                    f"{column}_purity",
                    value,
                    n,
                    bar.good if column == "category" else None,
                    bar.verdict(value) if judged else INFO,
                    by_construction=built,
                    note=note,
                )
            )
            shared = normalised_mutual_information(level.member, label)
            rows.append(_row(depth + 1, f"{column}_nmi", shared, n, None, INFO, by_construction=built, note=note))
    return rows


def _neighbours(
    tree: list[Level],
    sampled: np.ndarray,
    neighbours: np.ndarray,
    random_pairs: np.ndarray,
    forced: bool,
    resamples: int,
    seed: int,
) -> list[Row]:
    """Prefix agreement of true nearest neighbours, beside that of random pairs."""
    rows: list[Row] = []
    for depth, level in enumerate(tree):
        value, low, high = neighbour_agreement(level.member, sampled, neighbours, resamples=resamples, seed=seed)
        a, b = level.member[random_pairs[:, 0]], level.member[random_pairs[:, 1]]
        # An item paired with itself would agree always, and outweigh true pairs at deep levels.
        pair = (a >= 0) & (b >= 0) & (random_pairs[:, 0] != random_pairs[:, 1])
        both, same = int(pair.sum()), int((pair & (a == b)).sum())
        chance, chance_low, chance_high = wilson(same, both)
        bar = BARS["neighbour_lift"]
        # A random pair agrees too rarely at deep levels to be counted: the upper end of its interval is the safe ratio.
        verdict = bar.verdict(low / chance_high if chance_high else float("nan"))
        built = forced and depth == 0
        note = "level 1 was given the category" if built else None
        rows.append(
            _row(
                depth + 1,
                "neighbour_agreement",
                value,
                len(sampled),
                bar.good * chance,
                INFO if built else verdict,
                low=low,
                high=high,
                by_construction=built,
                note=note,
            )
        )
        rows.append(
            _row(depth + 1, "neighbour_agreement_random", chance, both, None, INFO, low=chance_low, high=chance_high)
        )
    return rows


def wilson(successes: int, n: int) -> tuple[float, float, float]:
    """A share with its 95 % score interval (Wilson 1927); NaN without trials."""
    if not n:
        return float("nan"), float("nan"), float("nan")
    z = 1.959963984540054
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return share, float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def _row(
    level: int | None,
    metric: str,
    value: float,
    n: int,
    threshold: float | None,
    verdict: str,
    *,
    low: float | None = None,
    high: float | None = None,
    by_construction: bool = False,
    note: str | None = None,
) -> Row:
    return {
        "level": level,
        "metric": metric,
        "value": float(value),
        "low": low,
        "high": high,
        "n": n,
        "threshold": threshold,
        "verdict": verdict,
        "by_construction": by_construction,
        "note": note,
    }


def _judged(level: int | None, metric: str, value: float, n: int) -> Row:
    """A row whose verdict is its own bar's."""
    return _row(level, metric, value, n, BARS[metric].good, BARS[metric].verdict(float(value)))


def health_table(
    items: pd.DataFrame,
    codes: np.ndarray,
    sizes: tuple[int, ...],
    sharing: pd.DataFrame,
    *,
    forced: bool,
    sampled: np.ndarray | None = None,
    neighbours: np.ndarray | None = None,
    random_pairs: np.ndarray | None = None,
    resamples: int = 2_000,
    seed: int = 0,
) -> pd.DataFrame:
    """The `health` table.

    Args:
        items: the catalogue's items in the order of `codes`; category and brand are read.
        codes: (N, L) codes from 0; a first code of -1 means no SID.
        sizes: codes per level.
        sharing: the `sid_sharing` table.
        forced: level 1 is given by the category: what follows from that is marked `by_construction`, and not judged.
        sampled, neighbours: (S,) items and (S, k) their true nearest neighbours; None leaves the agreement out.
        random_pairs: (R, 2) pairs of items drawn at random, to compare with; an item with itself is no pair.
        resamples, seed: of the bootstrap over sampled items.
    """
    codes = np.asarray(codes, dtype=np.int64)
    tree = levels(codes)
    rows = _usage(tree, codes, sizes, forced) + _whole(tree, sharing) + _meaning(tree, items, forced)
    if sampled is not None and neighbours is not None and random_pairs is not None:
        rows += _neighbours(tree, sampled, neighbours, random_pairs, forced, resamples, seed)
    table = pd.DataFrame(rows)
    table["level"] = table["level"].astype("Int64")
    for column in ("low", "high", "threshold"):
        table[column] = table[column].astype(float)
    return table
