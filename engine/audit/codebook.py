"""The codebook as tables: one row per item's SID, per prefix, and per SID that several items share."""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.audit.health import health_table
from engine.audit.labels import TermMatrix, category_labels, label_prefixes
from engine.audit.prefixes import Level, crosstab, find_prefixes, levels, numbered, sid_texts, stack_codes
from engine.audit.traffic import traffic_weights

__all__ = ["codes_table", "health_table", "sid_sharing_table", "sids_table"]

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


def sids_table(
    item_ids: np.ndarray | pd.Series,
    codes: np.ndarray,
    forced: np.ndarray | None = None,
    residual_norms: np.ndarray | None = None,
    latent: np.ndarray | None = None,
) -> pd.DataFrame:
    """The `sids` table, one row per item that has a SID.

    Args:
        item_ids: (N,) ids.
        codes: (N, L) codes from 0; a first code of -1 means no SID.
        forced: (N,) whether level 1 came from the item's category; None where no level is forced.
        residual_norms: (N, L+1) norms before level 1 and after each level; None for SIDs made elsewhere.
        latent: (N, d) vectors that were quantized; None for SIDs made elsewhere (no distances then).
    """
    codes = np.asarray(codes, dtype=np.int64)
    tree = levels(codes)
    has = np.flatnonzero(codes[:, 0] >= 0)
    whole = tree[-1]
    table = pd.DataFrame({"item_id": np.asarray(item_ids, dtype=object)[has], "sid": sid_texts(codes[has])})
    table["codes"] = list(codes[has].astype(np.int32))
    for level in range(1, 4):
        known = level <= codes.shape[1]
        table[f"code_{level}"] = pd.array(codes[has, level - 1] if known else [None] * len(has), dtype="Int32")
    table["forced"] = False if forced is None else np.asarray(forced, dtype=bool)[has]
    norms = residual_norms
    table["residual_norms"] = None if norms is None else list(np.asarray(norms, dtype=np.float32)[has])
    if latent is None:
        table["distance"] = None
    else:
        distance = np.column_stack([_cell_distances(level, latent) for level in tree])
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


def _beam_reach(tree: list[Level], beams: pd.DataFrame, queries: pd.DataFrame) -> list[pd.DataFrame]:
    """For each level, how many queries have a beam through each prefix and their share of all queries' frequency."""
    frequency = queries["frequency"].to_numpy(dtype=np.float64)
    weight = traffic_weights(frequency)
    query = pd.Index(queries["query_id"]).get_indexer(pd.Index(beams["query_id"]))
    codes = stack_codes(beams["codes"])
    found = np.zeros(len(beams), dtype=np.int64)
    out = []
    for depth, level in enumerate(tree):
        code = codes[:, depth] if depth < codes.shape[1] else np.full(len(beams), -1)
        found = find_prefixes(level, found, code)
        reached = crosstab(found, query, len(level), len(queries))
        reached.data[:] = 1
        out.append(
            pd.DataFrame({"n_queries": np.diff(reached.indptr), "query_weight": reached @ weight / weight.sum()})
        )
    return out


def codes_table(
    items: pd.DataFrame,
    codes: np.ndarray,
    sizes: tuple[int, ...],
    latent: np.ndarray | None = None,
    *,
    forced: np.ndarray | None = None,
    exposure: np.ndarray | None = None,
    exposure_without: np.ndarray | None = None,
    beams: pd.DataFrame | None = None,
    queries: pd.DataFrame | None = None,
    code_names: dict[int, str] | None = None,
    separator: str = " > ",
) -> pd.DataFrame:
    """The `codes` table: every prefix that exists, of every level, and the unused codes of level 1.

    Args:
        items: the catalogue's items in the order of `codes`; title, category, seller, brand, price are read.
        codes: (N, L) codes from 0; a first code of -1 means no SID.
        sizes: codes per level.
        latent: (N, d) vectors that were quantized; None leaves distances and centroids unknown.
        forced: (N,) whether level 1 came from the item's category: such codes are labelled by their categories' names.
        exposure, exposure_without: (N,) items' shares of exposure with and without SIDs, discount 'log2'
            (`engine.audit.exposure.item_exposure`); None leaves them unknown.
        beams: the `beams` table (query_id, codes); None leaves the queries of a prefix unknown. Needs `queries`.
        queries: query_id, frequency.
        code_names: names of level-1 codes, for the unused ones.
        separator: between the parts of a category path.
    """
    tree = levels(codes)
    names = items["category"].map(lambda path: path.split(separator)[-1].strip(), na_action="ignore")
    matrix = TermMatrix(items["title"], names)
    reach = None if beams is None or queries is None else _beam_reach(tree, beams, queries)
    whole = tree[-1]
    tables = []
    for depth, level in enumerate(tree):
        inside = level.member >= 0
        labels, terms = label_prefixes(matrix, level)
        if depth == 0 and forced is not None:
            by_category = category_labels(level, names, np.asarray(forced, dtype=bool))
            labels = [name or label for name, label in zip(by_category, labels, strict=True)]
        size = level.size
        siblings = np.bincount(level.parent, weights=size) / np.maximum(np.bincount(level.parent), 1)
        table = pd.DataFrame({"level": depth + 1, "prefix": level.texts()})
        table["parent"] = None if depth == 0 else tree[depth - 1].texts()[level.parent]
        table["code"] = level.codes[:, -1]
        table["label"] = pd.Series(labels, dtype=object)
        table["terms"] = terms
        table["n_items"] = size
        table["n_sids"] = _distinct(level, pd.Series(np.where(whole.member >= 0, whole.member, np.nan)))
        table = pd.concat([table, _category_mix(level, items["category"])], axis=1)
        table["n_sellers"] = _distinct(level, items["seller"])
        table["n_brands"] = _distinct(level, items["brand"])
        table = pd.concat([table, _prices(level, items["price"])], axis=1)
        for name, values in (("exposure", exposure), ("exposure_without", exposure_without)):
            table[name] = (
                np.nan
                if values is None
                else np.bincount(level.member[inside], weights=values[inside], minlength=len(level))
            )
        if reach is None:
            table["n_queries"], table["query_weight"] = pd.array([None] * len(level), dtype="Int64"), np.nan
        else:
            table = pd.concat([table, reach[depth]], axis=1)
        if latent is None:
            table["mean_distance"], table["centroid"] = np.nan, None
        else:
            distance = _cell_distances(level, latent)
            table["mean_distance"] = np.bincount(level.member[inside], weights=distance[inside]) / size
            table["centroid"] = list(level.mean(latent).astype(np.float32))
        table["dead"] = False
        table["under_used"] = size < UNDER_USED * siblings[level.parent]
        tables.append(table)
    tables.insert(1, _unused(tree[0], sizes[0], code_names or {}, tables[0].columns))
    return pd.concat([table for table in tables if len(table)], ignore_index=True)


def _unused(level: Level, size: int, names: dict[int, str], columns: pd.Index) -> pd.DataFrame:
    """Rows of the level-1 codes that no item holds."""
    missing = np.setdiff1d(np.arange(size), level.codes[:, 0])
    table = pd.DataFrame({"level": 1, "prefix": missing.astype(str).astype(object), "code": missing})
    table["label"] = pd.Series([names.get(int(code)) for code in missing], dtype=object)
    table["terms"] = "[]"
    for count in ("n_items", "n_sids", "n_categories", "n_sellers", "n_brands", "n_queries"):
        table[count] = 0
    for share in ("exposure", "exposure_without", "query_weight"):
        table[share] = 0.0
    table["dead"], table["under_used"] = True, True
    return table.reindex(columns=columns)


def sid_sharing_table(
    items: pd.DataFrame, codes: np.ndarray, judgments: pd.DataFrame, *, relevant_grade: float
) -> pd.DataFrame:
    """The `sid_sharing` table: SIDs held by two items or more, most items first.

    A sharing is harmful where the items lie in different categories ('categories'), or where for one query some of them
    are relevant (grade at or above `relevant_grade`) and others not ('grades'; `n_conflicts` counts such queries).
    Otherwise it is benign: 'alike' where some query judged two of the items, else 'unjudged'.
    """
    whole = levels(codes)[-1]
    size = whole.size
    position = pd.Index(items["item_id"]).get_indexer(pd.Index(judgments["item_id"]))
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
    n_categories = _distinct(whole, items["category"])

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
