"""What is said of a run: held-out metrics, codebook health, coverage, exposure, findings, and the map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from engine.audit.codebook import codes_table, sid_sharing_table, sids_table
from engine.audit.coverage import coverage_table
from engine.audit.exposure import concentration_table, exposure_table, item_exposure, ranking
from engine.audit.findings import findings_table, stories_table
from engine.audit.health import health_table
from engine.audit.online import online_effect
from engine.audit.tiers import categories_table
from engine.config import SIGNALS
from engine.datasets.contract import Catalogue
from engine.evaluation.beams import beam_diversity, hit_at_k, prefix_survival, validity
from engine.evaluation.pairs import operating_point, retrieval_recall
from engine.evaluation.significance import detectable_difference
from engine.evaluation.tables import evaluate as evaluate_rankers
from engine.evaluation.tables import evaluate_queries
from engine.generator.beam import Beams
from engine.progress import Progress
from engine.projection import project as project_items
from engine.runs import Run, write_table
from engine.stages.artefacts import load_arrays
from engine.stages.catalogue import items_table, queries_table
from engine.stages.identifiers import Identifiers, Matches
from engine.stages.inputs import Division, Pairs, Vectors
from engine.stages.ranking import Rankers, baseline_ranker, main_ranker

SCORE_COLUMNS = [
    "query_id", "item_id", "score", "score_without_sid", "score_sid_off", "expected_grade",
    "expected_grade_without_sid", "rank", "rank_without_sid", "first_stage_rank", "retrieved", "judged", "match_level",
    "beam_rank", "matched_prefix",
]  # fmt: skip
"""What the audit reads of table `scores`."""
NEIGHBOUR_SAMPLE = 2_000
NEIGHBOURS = 10
COMPARISONS = (
    ("sid", "strong"), ("sid", "weak"), ("sid", "cosine"), ("sid", "control"), ("sid", "strong_gbm"),
    ("control", "strong"), ("placebo", "strong"), ("naive", "strong"), ("sid", "naive"),
    ("strong", "weak"), ("strong", "cosine"), ("plain_gbm", "strong"), ("strong_gbm", "strong"),
    ("strong_gbm", "plain_gbm"), ("rich", "plain_gbm"), ("rich", "strong_gbm"), ("rich", "strong"), ("rich", "sid"), ("rich", "twins"), ("twins", "strong_gbm"),
    ("rich_twins", "twins"), ("rich_twins", "strong_gbm"), ("rich_placebo", "strong_gbm"),
    ("rich_naive", "strong_gbm"), ("rich", "rich_naive"),
    *((f"{name}_{kind}", "strong_gbm") for name in SIGNALS for kind in ("gbm", "twin")),
    *((f"{name}_gbm", f"{name}_twin") for name in SIGNALS),
)  # fmt: skip
"""Paired tests (ranker, baseline) that every run prints."""


def evaluate(
    run: Run,
    catalogue: Catalogue,
    division: Division,
    pairs: Pairs,
    identifiers: Identifiers | None,
    beams: list[Beams] | None,
    matches: Matches | None,
    rankers: Rankers,
) -> None:
    """Tables metrics, comparisons, query_metrics: test queries, unless a segment names another split."""
    relevant_grade = catalogue.settings.relevant_grade
    settings = {"resamples": run.config.evaluation.resamples, "seed": run.config.seed}

    def body(folder: Path, progress: Progress) -> None:
        progress(0, 2)
        rows = np.flatnonzero(pairs.judged)
        query, grade = pairs.query[rows], pairs.grade[rows]
        split = division.split.split
        segments = _segments(catalogue, division)
        tested = np.flatnonzero(split == "test")
        held = split[query] == "test"
        ladder = [(a, b) for a, b in COMPARISONS if a in rankers.judged and b in rankers.judged]
        valid = split[query] == "valid"
        points = {
            name: operating_point(scores[valid], grade[valid] >= relevant_grade)
            for name, scores in rankers.judged.items()
            if valid.any()
        }
        done = evaluate_rankers(
            {name: scores[held] for name, scores in rankers.judged.items()},
            grade[held],
            np.searchsorted(tested, query[held]),
            {name: mask[tested] for name, mask in segments.items()},
            relevant_grade=relevant_grade,
            comparisons=ladder,
            with_without=(main_ranker(run.config), baseline_ranker(run.config)),
            query_ids=catalogue.queries["query_id"].iloc[tested].tolist(),
            operating_points=points,
            **settings,
        )
        progress(1, 2)
        relevant = rows[grade >= relevant_grade]
        reach = {
            f"recall@{run.config.retrieval.top}": retrieval_recall(
                pairs.rank[relevant] > 0, pairs.query[relevant], len(split)
            )
        }
        train = {"split=train": split == "train"}
        extra = [_power(done.comparisons)]
        if matches is not None and identifiers is not None and beams is not None:
            reach |= _beam_metrics(matches.level[relevant], pairs.query[relevant], len(split), identifiers, beams[0])
            if train["split=train"].any():
                fit = _hits(matches.level_fit[relevant], pairs.query[relevant], len(split), identifiers, beams[0])
                extra.append(evaluate_queries(fit, {"split=train, out of fold": split == "train"}, **settings))
                hits = {name: value for name, value in reach.items() if name.startswith("hit")}
                extra.append(evaluate_queries(hits, train, **settings))
        reached = evaluate_queries(reach, segments, **settings)
        write_table(folder, "metrics", pd.concat([done.metrics, reached, *extra], ignore_index=True))
        write_table(folder, "comparisons", done.comparisons)
        write_table(folder, "query_metrics", done.query_metrics)

    folder = run.stage("evaluate", "Evaluating on held-out queries", body)
    run.offer_tables(folder)


def _power(comparisons: pd.DataFrame) -> pd.DataFrame:
    """`metrics` rows that say how large a difference in AUC these queries could have shown."""
    rows = comparisons[(comparisons["metric"] == "auc") & (comparisons["segment"] == "all")]
    named = "detectable_difference." + rows["ranker"] + "-" + rows["baseline"]
    value = detectable_difference(rows["low"].to_numpy(), rows["high"].to_numpy())
    return pd.DataFrame({"metric": named, "segment": "all", "value": value, "n": rows["n"]})


def _segments(catalogue: Catalogue, division: Division) -> dict[str, np.ndarray]:
    """(Q,) masks of test queries: all, seen and new, by query tier, by the tier of the query's category."""
    queries = queries_table(catalogue, division)
    items = items_table(catalogue)
    tier = items.dropna(subset=["category"]).drop_duplicates("category").set_index("category")["tier"]
    category_tier = queries["category"].map(tier)
    test = (queries["split"] == "test").to_numpy()
    seen = queries["seen"].to_numpy(dtype=bool)
    masks = {"all": test, "seen": test & seen, "new": test & ~seen}
    for name in ("head", "torso", "tail"):
        masks[f"tier={name}"] = test & (queries["tier"] == name).to_numpy()
        masks[f"category_tier={name}"] = test & (category_tier == name).to_numpy()
    return {name: mask for name, mask in masks.items() if mask.any()}


def _hits(
    level: np.ndarray, query: np.ndarray, n_queries: int, identifiers: Identifiers, beams: Beams
) -> dict[str, np.ndarray]:
    hit = hit_at_k(level, query, n_queries, identifiers.levels)
    return {f"hit@{beams.codes.shape[1]}.level_{depth + 1}": hit[:, depth] for depth in range(identifiers.levels)}


def _beam_metrics(
    level: np.ndarray, query: np.ndarray, n_queries: int, identifiers: Identifiers, beams: Beams
) -> dict[str, np.ndarray]:
    """Per-query values (Q,) of the served beams; `level` and `query` are of the relevant judged pairs."""
    survival = prefix_survival(level, query, n_queries, identifiers.levels)
    diversity = beam_diversity(beams.codes)
    values = _hits(level, query, n_queries, identifiers, beams)
    values |= {f"prefix_survival.level_{d + 1}": survival[:, d] for d in range(identifiers.levels)}
    values |= {f"beam_diversity.level_{d + 1}": diversity[:, d] for d in range(identifiers.levels)}
    return values | {"validity": validity(beams.codes, identifiers.stacks[0].codes)}


def audit(
    run: Run, catalogue: Catalogue, vectors: Vectors, division: Division, pairs: Pairs, identifiers: Identifiers | None
) -> None:
    """Tables sids, codes, sid_sharing, health, coverage, exposure, exposure_concentration, findings, stories."""
    if identifiers is None:
        return
    settings, evaluation = catalogue.settings, run.config.evaluation

    def body(folder: Path, progress: Progress) -> None:
        tables = run.folder / "tables"
        stack = identifiers.stacks[0]
        items, queries = items_table(catalogue), queries_table(catalogue, division)
        scores = pd.read_parquet(tables / "scores.parquet", columns=SCORE_COLUMNS)
        beams = pd.read_parquet(tables / "beams.parquet")
        made: dict[str, pd.DataFrame] = {}
        made["sids"] = sids_table(items["item_id"], stack.codes, identifiers.forced, stack.residual_norms, stack.latent)
        with_sid, without = item_exposure(ranking(scores, items, queries), len(items))
        progress(1, 10)
        owners = identifiers.category_codes.drop_duplicates("code_1")
        names = dict(zip(owners["code_1"].tolist(), owners["code_name"].tolist(), strict=True))
        made["codes"] = codes_table(
            items,
            stack.codes,
            identifiers.sizes,
            stack.latent,
            forced=identifiers.forced,
            exposure=with_sid,
            exposure_without=without,
            beams=beams,
            queries=queries,
            code_names=names,
            separator=settings.category_separator,
        )
        progress(2, 10)
        judgments = catalogue.judgments
        made["sid_sharing"] = sid_sharing_table(items, stack.codes, judgments, relevant_grade=settings.relevant_grade)
        rng = np.random.default_rng(run.config.seed)
        sampled = np.sort(rng.choice(len(items), min(NEIGHBOUR_SAMPLE, len(items)), replace=False))
        made["health"] = health_table(
            items,
            stack.codes,
            identifiers.sizes,
            made["sid_sharing"],
            forced=not identifiers.category_codes.empty,
            sampled=sampled,
            neighbours=_neighbours(vectors.items, sampled),
            random_pairs=rng.integers(0, len(items), (20_000, 2)),
            resamples=evaluation.resamples,
            seed=run.config.seed,
        )
        progress(3, 10)
        test = queries["query_id"][queries["split"] == "test"]
        judged = judgments[judgments["query_id"].isin(test)].merge(scores, on=["query_id", "item_id"])
        judged["category"] = judged["query_id"].map(queries.set_index("query_id")["category"])
        categories = categories_table(items, settings.category_separator)
        made["coverage"] = coverage_table(
            items,
            categories,
            stack.codes,
            scores=scores,
            beams=beams,
            judged=judged,
            relevant_grade=settings.relevant_grade,
            category_codes=identifiers.category_codes,
            resamples=evaluation.resamples,
            seed=run.config.seed,
        )
        progress(4, 10)
        made["exposure"] = exposure_table(
            scores, items, queries, judgments, resamples=evaluation.exposure_resamples, seed=run.config.seed
        )
        progress(7, 10)
        made["exposure_concentration"] = concentration_table(
            scores, items, queries, resamples=evaluation.resamples, seed=run.config.seed
        )
        progress(8, 10)
        query_metrics = pd.read_parquet(tables / "query_metrics.parquet")
        made["findings"] = findings_table(
            health=made["health"],
            coverage=made["coverage"],
            exposure=made["exposure"],
            sid_sharing=made["sid_sharing"],
            codes=made["codes"],
            query_metrics=query_metrics,
            queries=queries,
        )
        made["stories"] = stories_table(
            queries=queries,
            query_metrics=query_metrics,
            beams=beams,
            scores=scores,
            judgments=judgments,
            codes=made["codes"],
            items=items,
            relevant_grade=settings.relevant_grade,
        )
        progress(9, 10)
        log = catalogue.interactions
        if run.config.split.until is not None:  # only what the run has not learnt from
            log = log[log["date"] >= pd.Timestamp(run.config.split.until) + pd.Timedelta(days=1)]
        made["online"], made["click_model"] = online_effect(
            scores,
            queries,
            log,
            judgments,
            max_grade=settings.max_grade,
            resamples=evaluation.resamples,
            seed=run.config.seed,
        )
        for name, frame in made.items():
            write_table(folder, name, frame)

    folder = run.stage("audit", "Auditing codebook, coverage, exposure", body)
    run.offer_tables(folder)


def project(run: Run, catalogue: Catalogue) -> None:
    """Tables projection, projection_info: UMAP of the items in the space that was quantized."""

    def body(folder: Path, progress: Progress) -> None:
        latent = load_arrays(run.stage_folder("tokenize") / "stack0" / "codes.safetensors")["latent"]
        strata = pd.factorize(catalogue.items["category"])[0].astype(np.int64)
        drawn = project_items(latent, strata, run.config.projection, seed=run.config.seed, progress=progress)
        x, y = drawn.xy.T
        points = {"item_id": catalogue.items["item_id"], "x": x, "y": y, "landmark": drawn.landmark}
        write_table(folder, "projection", pd.DataFrame(points))
        write_table(folder, "projection_info", pd.DataFrame([drawn.info]))

    folder = run.stage("project", "Drawing the map (UMAP)", body)
    run.offer_tables(folder)


def _neighbours(x: np.ndarray, sampled: np.ndarray) -> np.ndarray:
    """(S, k) nearest items of the sampled ones by cosine (`x` rows are unit vectors), themselves left out."""
    k = min(NEIGHBOURS, len(x) - 1)
    found = np.empty((len(sampled), k), dtype=np.int64)
    for start in range(0, len(sampled), 256):
        own = sampled[start : start + 256]
        near = x[own] @ x.T
        near[np.arange(len(own)), own] = -np.inf
        top = np.argpartition(-near, k - 1, axis=1)[:, :k]
        found[start : start + 256] = top
    return found
