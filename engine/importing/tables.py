"""The tables of an imported run that follow from its files: evaluation, codebook, coverage, exposure, findings, map.

What no file tells is absent or NULL: unknown, never zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.audit.codebook import codes_table, sid_sharing_table, sids_table
from engine.audit.coverage import coverage_table
from engine.audit.exposure import EXPOSURE_COLUMNS, concentration_table, exposure_table, item_exposure, ranking
from engine.audit.findings import findings_table, stories_table
from engine.audit.health import health_table
from engine.audit.tiers import categories_table
from engine.config import Config
from engine.datasets.contract import Catalogue
from engine.evaluation.beams import beam_diversity as diversity
from engine.evaluation.beams import hit_at_k, prefix_survival, validity
from engine.evaluation.tables import evaluate, evaluate_queries
from engine.importing.given import Given
from engine.progress import Progress
from engine.projection import project
from engine.relevance.prefix import match_pairs

GIVEN, WITHOUT = "given", "given_without"
"""Names of the rankers whose scores were given, with and without SIDs."""
NEIGHBOUR_SAMPLE, NEIGHBOURS, RANDOM_PAIRS = 2_000, 10, 20_000

_EMPTY = {
    "beams": ["query_id", "rank", "codes", "log_prob"],
    "health": ["level", "metric", "value", "threshold", "verdict", "note"],
    "coverage": ["category", "tier", "protected", "auc_lift", "reason"],
    "sid_sharing": ["sid", "n_items", "n_categories", "n_conflicts", "harmful", "reason"],
    "codes": ["prefix", "label"],
    "exposure": list(EXPOSURE_COLUMNS),
}
"""What findings and stories read of tables that the files cannot fill."""

Tables = dict[str, pd.DataFrame]


class Audited(NamedTuple):
    """What every table of an imported run is made from."""

    given: Given
    catalogue: Catalogue
    items: pd.DataFrame
    """Table `items`."""
    queries: pd.DataFrame
    """Table `queries`."""
    owners: pd.DataFrame
    """Table `category_codes`."""
    sizes: tuple[int, ...] | None
    """Codes per level, where they are known."""
    config: Config


def category_codes(codes: np.ndarray | None, items: pd.DataFrame, separator: str) -> pd.DataFrame:
    """Table `category_codes` where level 1 is a function of the category, else an empty one.

    It is one if every category's items share their first code, more than one code is used, and most of those items lie
    in categories of two or more (in a category of one item nothing can be otherwise).
    """
    names = ["category", "code_1", "code_name", "merged"]
    if codes is None:
        return pd.DataFrame(columns=names)
    held = pd.DataFrame({"category": items["category"], "code_1": codes[:, 0]})
    held = held[held["category"].notna() & (held["code_1"] >= 0)]
    groups = held.groupby("category", sort=True)["code_1"].agg(["nunique", "size", "first"])
    telling = groups.loc[groups["size"] >= 2, "size"].sum()
    if not len(groups) or (groups["nunique"] > 1).any() or groups["first"].nunique() < 2 or 2 * telling <= len(held):
        return pd.DataFrame(columns=names)
    table = groups.rename(columns={"first": "code_1"}).reset_index()
    largest = table.sort_values(["size", "category"], ascending=[False, True]).drop_duplicates("code_1")
    called = largest.set_index("code_1")["category"].map(lambda path: path.split(separator)[-1].strip())
    table["code_name"] = table["code_1"].map(called)
    table["merged"] = table["code_1"].duplicated(keep=False)
    return table[names]


def evaluation_tables(audited: Audited) -> Tables:
    """Tables metrics, comparisons, query_metrics: of the given scores and beams on judged test queries."""
    given, catalogue, items, queries, _, _, config = audited
    relevant_grade = catalogue.settings.relevant_grade
    resamples, seed = config.evaluation.resamples, config.seed
    made: Tables = {}
    parts = []
    test = (queries["split"] == "test").to_numpy()
    tested = queries["query_id"][test]
    judged = catalogue.judgments[catalogue.judgments["query_id"].isin(tested)]
    segments = _segments(queries, items)
    scored = judged.merge(given.scores, on=["query_id", "item_id"], sort=False)
    rankers = {GIVEN: "score"}
    if scored["score_without_sid"].notna().any():
        # Compared on the same pairs, or not at all.
        scored = scored[scored["score_without_sid"].notna()]
        rankers[WITHOUT] = "score_without_sid"
    if len(scored):
        done = evaluate(
            {name: scored[column].to_numpy(dtype=np.float64) for name, column in rankers.items()},
            scored["grade"].to_numpy(dtype=np.float64),
            pd.Index(tested).get_indexer(scored["query_id"]),
            {name: mask[test] for name, mask in segments.items()},
            relevant_grade=relevant_grade,
            comparisons=[(GIVEN, WITHOUT)] if WITHOUT in rankers else [],
            with_without=(GIVEN, WITHOUT if WITHOUT in rankers else GIVEN),
            query_ids=tested.tolist(),
            resamples=resamples,
            seed=seed,
        )
        parts.append(done.metrics)
        made["comparisons"] = done.comparisons
        unknown = {} if WITHOUT in rankers else {"value_without": np.nan, "difference": np.nan}
        made["query_metrics"] = done.query_metrics.assign(**unknown)
    if given.beams is not None:
        relevant = judged[judged["grade"] >= relevant_grade]
        values = _beam_values(given, catalogue, relevant, queries)
        parts.append(evaluate_queries(values, segments, resamples=resamples, seed=seed))
    if parts:
        made["metrics"] = pd.concat(parts, ignore_index=True).dropna(subset=["value"])
    return made


def _segments(queries: pd.DataFrame, items: pd.DataFrame) -> dict[str, np.ndarray]:
    """(Q,) masks of test queries: all, by query tier, by the tier of the query's category. Without judgments: all."""
    test = (queries["split"] == "test").to_numpy()
    if not test.any():
        return {"all": np.ones(len(queries), dtype=bool)}
    tier = items.dropna(subset=["category"]).drop_duplicates("category").set_index("category")["tier"]
    category_tier = queries["category"].map(tier)
    masks = {"all": test}
    for name in ("head", "torso", "tail"):
        masks[f"tier={name}"] = test & (queries["tier"] == name).to_numpy()
        masks[f"category_tier={name}"] = test & (category_tier == name).to_numpy()
    return {name: mask for name, mask in masks.items() if mask.any()}


def _beam_values(
    given: Given, catalogue: Catalogue, relevant: pd.DataFrame, queries: pd.DataFrame
) -> dict[str, np.ndarray]:
    """Per-query values (Q,) of the given beams; NaN for queries without beams."""
    assert given.beams is not None
    n, width, levels = given.beams.shape
    values = {f"beam_diversity.level_{d + 1}": column for d, column in enumerate(diversity(given.beams).T)}
    if given.codes is None:
        return values
    values["validity"] = validity(given.beams, given.codes)
    query = pd.Index(queries["query_id"]).get_indexer(relevant["query_id"])
    item = pd.Index(catalogue.items["item_id"]).get_indexer(relevant["item_id"])
    asked = (given.beams[query][:, 0, 0] >= 0) & (given.codes[item, 0] >= 0)
    query, item = query[asked], item[asked]
    if len(query):
        level = match_pairs(given.codes, given.beams, query, item).level
        for name, found in (
            (f"hit@{width}", hit_at_k(level, query, n, levels)),
            ("prefix_survival", prefix_survival(level, query, n, levels)),
        ):
            values |= {f"{name}.level_{d + 1}": column for d, column in enumerate(found.T)}
    return values


def audit_tables(audited: Audited, measured: Tables, vectors: np.ndarray | None, progress: Progress) -> Tables:
    """Tables sids, codes, sid_sharing, health, coverage, exposure, exposure_concentration, findings, stories.

    `measured`: what `evaluation_tables` made; `vectors` (N, D): unit vectors of the titles for the agreement with near
    neighbours, or None.
    """
    given, catalogue, items, queries, _, _, config = audited
    seed, evaluation = config.seed, config.evaluation
    made: Tables = {}
    if given.compared:
        made["exposure"] = exposure_table(
            given.scores, items, queries, catalogue.judgments, resamples=evaluation.exposure_resamples, seed=seed
        )
        made["exposure_concentration"] = concentration_table(
            given.scores, items, queries, resamples=evaluation.resamples, seed=seed
        )
    progress(1, 3)
    if given.codes is not None:
        made |= _codebook(audited, vectors)
    progress(2, 3)
    known = {name: made.get(name, pd.DataFrame(columns=columns)) for name, columns in _EMPTY.items() if name != "beams"}
    metrics = measured.get("query_metrics", _no_query_metrics())
    made["findings"] = findings_table(
        health=known["health"], coverage=known["coverage"], exposure=known["exposure"],
        sid_sharing=known["sid_sharing"], codes=known["codes"], query_metrics=metrics, queries=queries,
    )  # fmt: skip
    likely = given.beams_table[given.beams_table["log_prob"].notna()]
    made["stories"] = stories_table(
        queries=queries, query_metrics=metrics, beams=likely, scores=given.scores, judgments=catalogue.judgments,
        codes=known["codes"], items=items, relevant_grade=catalogue.settings.relevant_grade,
    )  # fmt: skip
    return made


def _no_query_metrics() -> pd.DataFrame:
    table = pd.DataFrame(columns=["query_id", "metric", "value", "value_without", "difference"])
    return table.astype({"value": float, "value_without": float, "difference": float})


def _codebook(audited: Audited, vectors: np.ndarray | None) -> Tables:
    given, catalogue, items, queries, owners, sizes, config = audited
    codes, settings = given.codes, catalogue.settings
    assert codes is not None
    made: Tables = {}
    held = codes[:, 0] >= 0
    forced = held & items["category"].notna().to_numpy() if len(owners) else np.zeros(len(codes), dtype=bool)
    made["sids"] = sids_table(items["item_id"], codes, forced)
    beams = given.beams_table if len(given.beams_table) else None
    first = codes[held, 0]
    # Where the sizes are not known, unused codes can be told only below the largest one, and only if codes begin at 0.
    unused = sizes or ((int(first.max()) + 1 if first.min() == 0 else 0),)
    made["codes"] = codes_table(
        items,
        codes,
        unused,
        forced=forced,
        beams=beams,
        queries=None if beams is None else queries,
        code_names=dict(zip(owners["code_1"], owners["code_name"], strict=True)),
        separator=settings.category_separator,
        **_item_exposure(given, items, queries),
    )
    made["sid_sharing"] = sid_sharing_table(items, codes, catalogue.judgments, relevant_grade=settings.relevant_grade)
    rng = np.random.default_rng(config.seed)
    sampled = np.sort(rng.choice(np.flatnonzero(held), min(NEIGHBOUR_SAMPLE, int(held.sum())), replace=False))
    counted, counted_sizes = codebook_use(codes, sizes)
    made["health"] = health_table(
        items,
        counted,
        counted_sizes,
        made["sid_sharing"],
        forced=len(owners) > 0,
        sampled=None if vectors is None else sampled,
        neighbours=None if vectors is None else _neighbours(vectors, sampled),
        random_pairs=rng.integers(0, len(items), (RANDOM_PAIRS, 2)),
        resamples=config.evaluation.resamples,
        seed=config.seed,
    )
    made["coverage"] = _coverage(audited)
    return made


def codebook_use(codes: np.ndarray, sizes: tuple[int, ...] | None) -> tuple[np.ndarray, tuple[int, ...]]:
    """Codes (N, L) and sizes by which the use of a codebook is counted.

    With known sizes both as they are. Else codes count from the smallest one of their level to the largest: systems that
    number codes from 1, or go on counting from level to level, use no fewer of them for it.
    """
    if sizes is not None:
        return codes, sizes
    held = codes[codes[:, 0] >= 0]
    low, high = held.min(axis=0), held.max(axis=0)
    return np.where(codes >= 0, codes - low, -1), tuple(int(n) for n in high - low + 1)


def _item_exposure(given: Given, items: pd.DataFrame, queries: pd.DataFrame) -> dict[str, np.ndarray]:
    if given.compared:
        shares = item_exposure(ranking(given.scores, items, queries), len(items))
        return dict(zip(("exposure", "exposure_without"), shares, strict=True))
    if len(given.scores):
        alone = given.scores.assign(rank_without_sid=given.scores["rank"])
        return {"exposure": item_exposure(ranking(alone, items, queries), len(items))[0]}
    return {}


def _neighbours(x: np.ndarray, sampled: np.ndarray) -> np.ndarray:
    """(S, k) nearest items of the sampled ones by cosine (rows of `x` are unit vectors), themselves left out; -1 pads."""
    import faiss

    index = faiss.IndexFlatIP(x.shape[1])
    index.add(np.ascontiguousarray(x, dtype=np.float32))
    found = index.search(np.ascontiguousarray(x[sampled], dtype=np.float32), NEIGHBOURS + 1)[1]
    own = found == sampled[:, None]
    own[~own.any(axis=1), -1] = True  # its duplicates hid it
    return found[~own].reshape(len(sampled), NEIGHBOURS)


def _coverage(audited: Audited) -> pd.DataFrame:
    """Table `coverage`; steps of the funnel, lifts and verdicts that rest on absent files are NULL, and say so."""
    given, catalogue, items, queries, owners, _, config = audited
    test = queries["query_id"][queries["split"] == "test"]
    compared = given.scores[given.scores["score_without_sid"].notna()]
    judged = catalogue.judgments[catalogue.judgments["query_id"].isin(test)].merge(compared, on=["query_id", "item_id"])
    judged["category"] = judged["query_id"].map(queries.set_index("query_id")["category"])
    assert given.codes is not None
    table = coverage_table(
        items,
        categories_table(items, catalogue.settings.category_separator),
        given.codes,
        scores=given.scores,
        beams=given.beams_table if given.beams is not None else None,
        judged=judged if len(judged) else None,
        relevant_grade=catalogue.settings.relevant_grade,
        category_codes=owners if len(owners) else None,
        resamples=config.evaluation.resamples,
        seed=config.seed,
    )
    absent = []
    if given.beams is None:
        absent.append("beams")
        table["generated"] = pd.array([None] * len(table), "Int64")
    if given.scores.empty:
        absent.append("scores")
    elif not given.compared:
        absent.append("scores without SIDs")
    if given.beams is None or given.scores.empty:
        table["in_top_k"] = pd.array([None] * len(table), "Int64")
    if absent:
        # A verdict weighs lift and reach together: without either there is none.
        table["protected"] = None
        table["reason"] = f"not judged: {' and '.join(absent)} were not among the imported files"
    return table


def map_tables(vectors: np.ndarray, items: pd.DataFrame, config: Config, progress: Progress) -> Tables:
    """Tables projection, projection_info: UMAP of the titles' embeddings, for the space of the SIDs is not known."""
    strata = pd.factorize(items["category"])[0].astype(np.int64)
    drawn = project(vectors, strata, config.projection, seed=config.seed, progress=progress)
    x, y = drawn.xy.T
    points = pd.DataFrame({"item_id": items["item_id"], "x": x, "y": y, "landmark": drawn.landmark})
    return {"projection": points, "projection_info": pd.DataFrame([drawn.info])}
