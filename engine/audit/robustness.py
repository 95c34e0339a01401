"""How often an item's SID changes when its title is written otherwise: a typo, another order, stuffed words."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.audit.health import Row, constructed, health_row
from engine.audit.intervals import mean_interval, wilson
from engine.audit.labels import title_terms
from engine.audit.shelf import Shelf

SAMPLE = 300
"""Items whose titles are rewritten."""
STUFFED = 3
"""Words appended."""
_READ = 500
"""Titles of a category that its frequent words are counted in, at most."""
KINDS = ("typo", "reorder", "stuffing")


class Rewritten(NamedTuple):
    """Titles of sampled items, written otherwise."""

    item: np.ndarray  # (S,) positions of the items, ascending.
    titles: dict[str, list[str]]  # By kind, (S,).
    changed: dict[str, np.ndarray]  # By kind, (S,) bool: the title could be changed.


def rewrite(shelf: Shelf) -> Rewritten:
    """Rewrite the titles of at most SAMPLE items that hold a SID; always the same for the same items, whatever the method."""
    rng = np.random.default_rng(0)
    held = np.flatnonzero(np.asarray(shelf.codes)[:, 0] >= 0)
    item = np.sort(rng.choice(held, min(SAMPLE, len(held)), replace=False))
    return rewrite_titles(shelf.items, item, rng)


def rewrite_titles(items: pd.DataFrame, item: np.ndarray, rng: np.random.Generator) -> Rewritten:
    """Rewrite the titles of the items at the positions `item` (S,)."""
    given = [title if isinstance(title, str) else "" for title in items["title"].iloc[item]]
    common = _frequent_words(items, item)
    titles = {
        "typo": [with_typo(title, rng) for title in given],
        "reorder": [" ".join(reordered(title.split(), rng)) for title in given],
        "stuffing": [stuffed(title, words) for title, words in zip(given, common, strict=True)],
    }
    changed = {
        kind: np.array([new.split() != old.split() for new, old in zip(made, given, strict=True)], dtype=bool)
        for kind, made in titles.items()
    }
    return Rewritten(item, titles, changed)


def with_typo(title: str, rng: np.random.Generator) -> str:
    """Two neighbouring letters that differ change places, in one word; as it is where no word of four letters has such."""
    places = []
    start = 0
    for word in title.split(" "):
        if len(word) >= 4:
            places += [start + i for i in range(len(word) - 1) if word[i] != word[i + 1] and word[i : i + 2].isalpha()]
        start += len(word) + 1
    if not places:
        return title
    at = places[rng.integers(len(places))]
    return title[:at] + title[at + 1] + title[at] + title[at + 2 :]


def reordered(words: list[str], rng: np.random.Generator) -> list[str]:
    """The second half of the words first (attributes stand last), each half shuffled."""
    half = (len(words) + 1) // 2
    return [words[i] for i in (*rng.permutation(np.arange(half, len(words))), *rng.permutation(half))]


def stuffed(title: str, words: list[str]) -> str:
    """STUFFED of `words`, the first ones that the title lacks, appended."""
    own = set(title_terms(title))
    return " ".join([title, *[word for word in words if word not in own][:STUFFED]])


def _frequent_words(items: pd.DataFrame, item: np.ndarray) -> list[list[str]]:
    """For every item of `item`, the frequent words of its category's titles (of all titles, without one), most first."""
    category = items["category"].where(items["category"].notna(), "")
    wanted = set(category.iloc[item])
    of = items["title"][category.isin(wanted)].groupby(category, sort=False)
    words: dict[str, list[str]] = {}
    for name, titles in [*of, ("", items["title"])] if "" in wanted else of:
        count = Counter(term for title in titles.head(_READ) if isinstance(title, str) for term in title_terms(title))
        words[str(name)] = sorted(count, key=lambda term: (-count[term], term))[: 10 * STUFFED]
    return [words[name] for name in category.iloc[item]]


class Placed(NamedTuple):
    """Titles under the codebook."""

    codes: np.ndarray  # (S, L).
    margin: np.ndarray
    """(S, L) relative distance to the next code: 0 on the border, NaN where there is none or it is not known."""


def flip_rows(
    shelf: Shelf, made: Rewritten, before: Placed, after: dict[str, np.ndarray], *, resamples: int = 2_000
) -> list[Row]:
    """Rows of `health`: flip_rate.<kind> of every level (the first l codes change), and the mean margin of the items that
    flip and of those that keep them (the smallest margin down to that level).

    Args:
        before: the titles as they are.
        after: by kind, (S, L) codes of the rewritten titles.
    """
    margin = np.fmin.accumulate(before.margin, axis=1)
    rows: list[Row] = []
    for kind in KINDS:
        changed = made.changed[kind]
        flipped = np.logical_or.accumulate(before.codes != after[kind], axis=1)
        for depth in range(before.codes.shape[1]):
            flips = flipped[changed, depth]
            value, low, high, n = wilson(int(flips.sum()), len(flips))
            rate = health_row(depth + 1, f"flip_rate.{kind}", value, n) | {"low": low, "high": high}
            if depth == 0 and shelf.by_category:
                rate |= constructed("level 1 is given by the category, whatever the title says")
            rows.append(rate)
            for name, which in (("flipped", flips), ("kept", ~flips)):
                own = margin[changed, depth][which]
                own = own[np.isfinite(own)]
                if len(own):
                    value, low, high, n = mean_interval(own, resamples=resamples)
                    rows.append(health_row(depth + 1, f"margin_{name}.{kind}", value, n) | {"low": low, "high": high})
    return rows
