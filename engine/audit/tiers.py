"""Head, torso and tail: of categories by their share of items, of queries by their share of traffic."""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.audit.groups import seller_groups

HEAD, TORSO, TAIL = "head", "torso", "tail"


def _tiers(weight: np.ndarray, head: float, torso: float) -> np.ndarray:
    """Tier of each entry by the share of the total that comes before it, largest first.

    Entries of equal weight share a tier: each takes the mean of the shares before them, so that no tier depends on
    the order of the input. The largest entry is always head.
    """
    weight = np.nan_to_num(np.asarray(weight, dtype=np.float64))
    if not weight.size:
        return np.empty(0, dtype=object)
    if weight.sum() <= 0:
        weight = np.ones_like(weight)
    value, group, count = np.unique(-weight, return_inverse=True, return_counts=True)
    mass = -value * count
    before = np.concatenate([[0.0], np.cumsum(mass)[:-1]]) - value * (count - 1) / 2
    share = before / weight.sum()
    return np.where(share < head, HEAD, np.where(share < head + torso, TORSO, TAIL)).astype(object)[group]


def category_tiers(n_items: pd.Series, *, head: float = 0.5, torso: float = 0.3) -> pd.Series:
    """Tier of each category: head holds the first `head` of all items, torso the next `torso`, tail the rest.

    `n_items` is indexed by category (items of each); the result has the same index.
    """
    return pd.Series(_tiers(n_items.to_numpy(), head, torso), index=n_items.index, name="tier")


def query_tiers(frequency: np.ndarray, *, head: float = 1 / 3, torso: float = 1 / 3) -> np.ndarray:
    """Tier of each query (Q,): thirds of the traffic, most frequent first. No traffic at all counts each query once."""
    return _tiers(np.asarray(frequency, dtype=np.float64), head, torso)


def categories_table(items: pd.DataFrame, separator: str = " > ") -> pd.DataFrame:
    """The `categories` table: one row per leaf category that has items, largest first."""
    count = items["category"].dropna().value_counts()
    count = count.sort_index(kind="stable").sort_values(ascending=False, kind="stable")
    paths = [str(category).split(separator) for category in count.index]
    return pd.DataFrame(
        {
            "category": count.index.astype(object),
            "name": [path[-1].strip() for path in paths],
            "parent": [separator.join(path[:-1]) or None for path in paths],
            "department": [path[0].strip() for path in paths],
            "depth": [len(path) for path in paths],
            "n_items": count.to_numpy(dtype=np.int64),
            "tier": category_tiers(count).to_numpy(),
        }
    )


def sellers_table(items: pd.DataFrame) -> pd.DataFrame:
    """The `sellers` table: one row per seller with the groups it is of, largest first; empty where the catalogue names none."""
    groups = items.loc[items["seller"].notna()].groupby("seller", sort=True)
    table = pd.DataFrame(
        {
            "n_items": groups.size().astype(np.int64),
            "n_categories": groups["category"].nunique(),
            "n_brands": groups["brand"].nunique(),
            "price_median": groups["price"].median(),
        }
    )
    for name, label in seller_groups(items).items():
        table[f"{name.removeprefix('seller_')}_group"] = (
            pd.Series(label, index=items.index).groupby(items["seller"]).first()
        )
    table = table.reindex(columns=[*table.columns[:4], "size_group", "age_group"]).rename_axis("seller").reset_index()
    return table.sort_values(["n_items", "seller"], ascending=[False, True], ignore_index=True)
