"""The codebook as tables: one row per item's SID, per prefix, and per SID that several items share."""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.audit.labels import TermMatrix, category_labels, label_prefixes
from engine.audit.prefixes import Level, crosstab, numbered, sid_texts
from engine.audit.shelf import Shelf

UNDER_USED = 0.25
"""A prefix is under-used below this part of the even share of its parent."""
PRICE_RANGE = (0.1, 0.9)
"""Quantiles shown as the low and the high price of a prefix."""


def _cell_distances(level: Level, latent: np.ndarray) -> np.ndarray:
    """(N,) Euclidean distance of each item to the mean of its prefix cell; NaN without one."""
    centre = level.mean(latent)
    distance = np.full(len(level.member), np.nan)
    inside = level.member >= 0
    distance[inside] = np.linalg.norm(latent[inside] - centre[level.member[inside]], axis=1)
    return distance


def sids_table(shelf: Shelf) -> pd.DataFrame:
    """The `sids` table, one row per item that has a SID."""
    codes = np.asarray(shelf.codes, dtype=np.int64)
    has = np.flatnonzero(codes[:, 0] >= 0)
    whole = shelf.tree[-1]
    table = pd.DataFrame({"item_id": shelf.items["item_id"].to_numpy(dtype=object)[has], "sid": sid_texts(codes[has])})
    table["codes"] = list(codes[has].astype(np.int32))
    for level in range(1, 4):
        known = level <= codes.shape[1]
        table[f"code_{level}"] = pd.array(codes[has, level - 1] if known else [None] * len(has), dtype="Int32")
    table["forced"] = False if shelf.forced is None else np.asarray(shelf.forced, dtype=bool)[has]
    norms = shelf.residual_norms
    table["residual_norms"] = None if norms is None else list(np.asarray(norms, dtype=np.float32)[has])
    if shelf.latent is None:
        table["distance"] = None
    else:
        distance = np.column_stack([_cell_distances(level, shelf.latent) for level in shelf.tree])
        table["distance"] = list(distance[has].astype(np.float32))
    table["n_sharing"] = whole.size[whole.member[has]].astype(np.int32)
    return table


def _category_mix(level: Level, category: pd.Series) -> pd.DataFrame:
    """Purity, entropy (bits), commonest and number of leaf categories of each prefix."""
    code, names = numbered(category)
    table = crosstab(level.member, code, len(level), len(names))
    known = np.asarray(table.sum(axis=1)).ravel().astype(np.float64)
    row = np.repeat(np.arange(len(level)), np.diff(table.indptr))
    share = table.data / known[row]
    entropy = np.bincount(row, weights=-share * np.log2(share), minlength=len(level))
    order = np.lexsort((table.indices, -table.data, row))
    first = np.unique(row[order], return_index=True)
    purity = np.full(len(level), np.nan)
    top = np.full(len(level), None, dtype=object)
    purity[first[0]] = share[order][first[1]]
    top[first[0]] = names[table.indices[order][first[1]]]
    return pd.DataFrame(
        {
            "purity": purity,
            "category_entropy": np.where(known > 0, np.maximum(entropy, 0.0), np.nan),
            "top_category": top,
            "n_categories": np.diff(table.indptr),
        }
    )


def _distinct(level: Level, values: pd.Series) -> np.ndarray:
    """(G,) number of distinct known values under each prefix."""
    code, names = numbered(values)
    return np.diff(crosstab(level.member, code, len(level), len(names)).indptr)


def _prices(level: Level, price: pd.Series) -> pd.DataFrame:
    """Low, median and high price of each prefix."""
    inside = level.member >= 0
    groups = pd.Series(price.to_numpy(dtype=np.float64)[inside]).groupby(level.member[inside])
    quantiles = groups.quantile(np.array([PRICE_RANGE[0], 0.5, PRICE_RANGE[1]])).unstack()
    quantiles.columns = ["price_low", "price_median", "price_high"]
    return quantiles.reindex(range(len(level))).reset_index(drop=True)


def _beam_reach(level: Level, reach: pd.DataFrame | None) -> pd.DataFrame:
    """Queries with a beam through each prefix and their share of all traffic; unknown where `reach` is None."""
    if reach is None:
        return pd.DataFrame({"n_queries": pd.array([None] * len(level), dtype="Int64"), "query_weight": np.nan})
    found = reach.set_index("prefix").reindex(level.texts())
    return pd.DataFrame(
        {
            "n_queries": found["n_queries"].fillna(0).to_numpy(dtype=np.int64),
            "query_weight": found["query_weight"].fillna(0.0).to_numpy(dtype=np.float64),
        }
    )


def codes_table(shelf: Shelf, *, exposure: np.ndarray | None = None, reach: pd.DataFrame | None = None) -> pd.DataFrame:
    """The `codes` table: every prefix that exists, of every level, and the unused codes of level 1.

    Args:
        shelf: of the items title, category, seller, brand, price are read; codes of level 1 that came from categories
            are labelled by their names.
        exposure: (2, N) items' shares of exposure with and without SIDs, discount 'log2'; None, or NaN, is unknown.
        reach: prefix, n_queries, query_weight of the prefixes that some beam goes through: queries, and their share of
            all traffic. None where nothing was generated.
    """
    names = shelf.items["category"].map(lambda path: path.split(shelf.separator)[-1].strip(), na_action="ignore")
    matrix = TermMatrix(shelf.items["title"], names)
    parts: list[Level | None] = [None, *shelf.tree]
    tables = []
    for depth, level in enumerate(shelf.tree):
        table = _named_prefixes(depth, level, parts[depth], matrix)
        if depth == 0 and shelf.forced is not None:
            by_category = category_labels(level, names, np.asarray(shelf.forced, dtype=bool))
            table["label"] = pd.Series(
                [name or label for name, label in zip(by_category, table["label"], strict=True)], dtype=object
            )
        table = pd.concat([table, _held(level, shelf), _exposure(level, exposure), _beam_reach(level, reach)], axis=1)
        tables.append(pd.concat([table, _cells(level, shelf.latent)], axis=1))
    tables.insert(1, _unused(shelf, tables[0].columns))
    return pd.concat([table for table in tables if len(table)], ignore_index=True)


def _named_prefixes(depth: int, level: Level, parent: Level | None, matrix: TermMatrix) -> pd.DataFrame:
    """What a prefix is called."""
    labels, terms = label_prefixes(matrix, level)
    table = pd.DataFrame({"level": depth + 1, "prefix": level.texts()})
    table["parent"] = None if parent is None else parent.texts()[level.parent]
    table["code"] = level.codes[:, -1]
    table["label"] = pd.Series(labels, dtype=object)
    table["terms"] = terms
    return table


def _held(level: Level, shelf: Shelf) -> pd.DataFrame:
    """Items, SIDs, categories, sellers, brands and prices under each prefix."""
    whole = shelf.tree[-1].member
    table = pd.DataFrame({"n_items": level.size})
    table["n_sids"] = _distinct(level, pd.Series(np.where(whole >= 0, whole, np.nan)))
    table = pd.concat([table, _category_mix(level, shelf.items["category"])], axis=1)
    table["n_sellers"] = _distinct(level, shelf.items["seller"])
    table["n_brands"] = _distinct(level, shelf.items["brand"])
    return pd.concat([table, _prices(level, shelf.items["price"])], axis=1)


def _exposure(level: Level, exposure: np.ndarray | None) -> pd.DataFrame:
    inside = level.member >= 0
    shares = np.full((2, len(level.member)), np.nan) if exposure is None else exposure
    summed = [np.bincount(level.member[inside], weights=share[inside], minlength=len(level)) for share in shares]
    return pd.DataFrame(dict(zip(("exposure", "exposure_without"), summed, strict=True)))


def _cells(level: Level, latent: np.ndarray | None) -> pd.DataFrame:
    """How far items lie from their prefix cell's mean, that mean, and whether the prefix holds far fewer than siblings."""
    size = level.size
    siblings = np.bincount(level.parent, weights=size) / np.maximum(np.bincount(level.parent), 1)
    table = pd.DataFrame({"mean_distance": np.full(len(level), np.nan), "centroid": None})
    if latent is not None:
        inside = level.member >= 0
        distance = _cell_distances(level, latent)
        table["mean_distance"] = np.bincount(level.member[inside], weights=distance[inside]) / size
        table["centroid"] = list(level.mean(latent).astype(np.float32))
    table["dead"] = False
    table["under_used"] = size < UNDER_USED * siblings[level.parent]
    return table


def _unused(shelf: Shelf, columns: pd.Index) -> pd.DataFrame:
    """Rows of the level-1 codes that no item holds."""
    names = dict(zip(shelf.owners["code_1"], shelf.owners["code_name"], strict=True))
    missing = np.setdiff1d(np.arange(shelf.sizes[0]), shelf.tree[0].codes[:, 0])
    table = pd.DataFrame({"level": 1, "prefix": missing.astype(str).astype(object), "code": missing})
    table["label"] = pd.Series([names.get(int(code)) for code in missing], dtype=object)
    table["terms"] = "[]"
    for count in ("n_items", "n_sids", "n_categories", "n_sellers", "n_brands", "n_queries"):
        table[count] = 0
    for share in ("exposure", "exposure_without", "query_weight"):
        table[share] = 0.0
    table["dead"], table["under_used"] = True, True
    return table.reindex(columns=columns)


def sid_sharing_table(shelf: Shelf, judgments: pd.DataFrame, *, relevant_grade: float) -> pd.DataFrame:
    """The `sid_sharing` table: SIDs held by two items or more, most items first.

    A sharing is harmful where the items lie in different categories ('categories'), or where for one query some of them
    are relevant (grade at or above `relevant_grade`) and others not ('grades'; `n_conflicts` counts such queries).
    Otherwise it is benign: 'alike' where some query judged two of the items, else 'unjudged'.
    """
    whole = shelf.tree[-1]
    size = whole.size
    position = pd.Index(shelf.items["item_id"]).get_indexer(pd.Index(judgments["item_id"]))
    judged = pd.DataFrame(
        {
            "sid": np.where(position >= 0, whole.member[position], -1),
            "query": judgments["query_id"].to_numpy(dtype=object),
            "relevant": (judgments["grade"].to_numpy(dtype=np.float64) >= relevant_grade),
        }
    )
    judged = judged[judged["sid"] >= 0]
    pools = judged.groupby(["sid", "query"])["relevant"].agg(["size", "sum"])
    pools = pools[pools["size"] >= 2]
    pool_sid = pools.index.get_level_values("sid").to_numpy(dtype=np.int64)
    split = ((pools["sum"] > 0) & (pools["sum"] < pools["size"])).to_numpy()
    conflicts = np.bincount(pool_sid[split], minlength=len(whole))
    compared = np.bincount(pool_sid, minlength=len(whole)) > 0
    n_categories = _distinct(whole, shelf.items["category"])

    shared = np.flatnonzero(size >= 2)
    across, conflicting = n_categories[shared] > 1, conflicts[shared] > 0
    table = pd.DataFrame(
        {
            "sid": whole.texts()[shared],
            "n_items": size[shared],
            "n_categories": n_categories[shared],
            "n_conflicts": conflicts[shared],
            "harmful": across | conflicting,
            "reason": np.select(
                [across, conflicting, compared[shared]], ["categories", "grades", "alike"], default="unjudged"
            ).astype(object),
        }
    )
    return table.sort_values(["n_items", "sid"], ascending=[False, True], ignore_index=True)
