"""How well a prefix tells an item's attributes (colour, size, material ...), against its category alone.

The paper's claim is that SIDs carry fine-grained attributes. An attribute's value is guessed from the other items under
the same prefix (their commonest value: leave-one-out, so no item votes for itself), and from the other items of the
same category; the difference is what the prefix knows beyond the category.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.audit.health import Row, constructed, health_row
from engine.audit.intervals import mean_interval
from engine.audit.prefixes import crosstab, numbered
from engine.audit.shelf import Shelf

LEAST_ITEMS = 100
"""Items that must have the attribute."""
MOST_ATTRIBUTES = 8
"""Attributes measured besides the brand: the commonest."""
REPEATS = 5
"""Items a value, on average: what is more various (a model number) can be told from no other item."""
COMMONEST = 0.9
"""An attribute whose commonest value is more common than this tells items apart too rarely."""


class Attribute(NamedTuple):
    """One attribute of the items (N,)."""

    name: str
    value: np.ndarray  # (N,) int64 number of the value; -1 where it is unknown.


def attributes_of(items: pd.DataFrame) -> list[Attribute]:
    """The brand and the commonest attributes that can be measured; a value is text, compared without case."""
    found: dict[str, dict[int, str]] = {}
    for position, text in enumerate(items["attributes"].tolist()):
        given = json.loads(text) if isinstance(text, str) and text else {}
        for name, value in given.items() if isinstance(given, dict) else ():
            if isinstance(value, str | int | float | bool) and str(value).strip():
                found.setdefault(name, {})[position] = str(value).strip().casefold()
    columns = {"brand": items["brand"]}
    for name in sorted(found, key=lambda name: (-len(found[name]), name)):
        if len(found[name]) >= LEAST_ITEMS and name.casefold() != "brand":
            columns[name] = pd.Series(found[name], dtype=object).reindex(range(len(items)))
    made = [Attribute(name, numbered(column)[0]) for name, column in columns.items()]
    fit = [attribute for attribute in made if _measurable(attribute.value)]
    brand = [attribute for attribute in fit if attribute.name == "brand"]
    return brand + [attribute for attribute in fit if attribute.name != "brand"][:MOST_ATTRIBUTES]


def _measurable(value: np.ndarray) -> bool:
    count = np.bincount(value[value >= 0])
    n = count.sum()
    return bool(n >= LEAST_ITEMS and n >= REPEATS * (count > 0).sum() and count.max() <= COMMONEST * n)


def left_out_credit(group: np.ndarray, value: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """(N,) chance that the commonest value among the *other* items of the same group is the item's own; equally common
    values share the guess. Items without a group or alone in it count `otherwise` (N,); those without a value are NaN.

    Args:
        group: (N,) from 0; -1 for none.
        value: (N,) from 0; -1 for unknown.
        otherwise: (N,) the credit of a coarser guess.
    """
    credit = np.where(value >= 0, otherwise, np.nan)
    inside = np.flatnonzero((group >= 0) & (value >= 0))
    if not len(inside):
        return credit
    table = crosstab(group, value, int(group.max(initial=-1)) + 1, int(value.max(initial=-1)) + 1)
    size = np.diff(table.indptr)
    row_of = np.repeat(np.arange(len(size)), size)
    first, second = (np.zeros(len(size), dtype=np.int64) for _ in range(2))
    np.maximum.at(first, row_of, table.data)
    lower = table.data < first[row_of]
    np.maximum.at(second, row_of[lower], table.data[lower])
    firsts = np.bincount(row_of[table.data == first[row_of]], minlength=len(size))
    seconds = np.bincount(row_of[table.data == second[row_of]], minlength=len(size))
    total = np.bincount(row_of, weights=table.data, minlength=len(size))

    g = group[inside]
    own = np.asarray(table[g, value[inside]]).ravel()
    # Without the item its value counts one less: it still leads only if it led alone.
    leads = (own == first[g]) & (firsts[g] == 1)
    share = np.where(own - 1 > second[g], 1.0, 1.0 / (seconds[g] + 1))
    credit[inside] = np.where(total[g] > 1, np.where(leads, share, 0.0), credit[inside])
    return credit


def attribute_rows(shelf: Shelf, *, resamples: int = 2_000, seed: int = 0) -> list[Row]:
    """Rows of `health`: attribute_predictability, attribute_by_category, attribute_gain of every attribute and level, and
    their means over attributes (the names without an attribute). A prefix without another item falls back to its parent."""
    held = np.asarray(shelf.codes)[:, 0] >= 0
    category, _ = numbered(shelf.items["category"])
    attributes = attributes_of(shelf.items)
    rows: list[Row] = []
    means: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in shelf.tree]
    for name, given in attributes:
        value = np.where(held, given, -1)
        known = value >= 0
        anywhere = left_out_credit(np.zeros_like(value), value, np.zeros(len(value)))
        alone = left_out_credit(category, value, anywhere)
        told = anywhere
        for depth, level in enumerate(shelf.tree):
            told = left_out_credit(level.member, value, told)
            rows += _compared(depth, f".{name}", told[known], alone[known], resamples, seed)
            means[depth].append((told, alone))
    for depth, pairs in enumerate(means if attributes else []):
        # Every attribute weighs the same, whatever the number of its items.
        weighted = [np.nansum([side[i] / np.isfinite(side[i]).sum() for side in pairs], axis=0) for i in (0, 1)]
        scale = int(held.sum()) / len(pairs)
        rows += _compared(depth, "", weighted[0][held] * scale, weighted[1][held] * scale, resamples, seed)
    note = "level 1 was given the category"
    return [r | constructed(note) if shelf.by_category and r["level"] == 1 else r for r in rows]


def _compared(depth: int, name: str, told: np.ndarray, alone: np.ndarray, resamples: int, seed: int) -> list[Row]:
    gain = mean_interval(np.round(told - alone, 9), resamples=resamples, seed=seed)
    return [
        health_row(depth + 1, f"attribute_predictability{name}", float(told.mean()), len(told)),
        health_row(depth + 1, f"attribute_by_category{name}", float(alone.mean()), len(alone)),
        health_row(depth + 1, f"attribute_gain{name}", gain.value, gain.n) | {"low": gain.low, "high": gain.high},
    ]
