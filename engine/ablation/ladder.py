"""What the runs of an ablation show: one row a method and measure, and tests of the methods against each other.

All methods and seeds meet the same test queries (`config.split.seed` is apart from the run's seed) and one matrix of
resample counts, so a difference is paired by query in every resample. A value is the mean over seeds; [low, high] is
its 95 % interval over queries, and `seed_sd` is how far the seeds stand apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.ablation.plan import REFERENCE, run_cost
from engine.ablation.stability import stability
from engine.errors import RunError
from engine.evaluation.beams import hit_at_k, item_hit_at_k
from engine.evaluation.bootstrap import (
    Estimate,
    bootstrap_auc,
    bootstrap_metric,
    mean_estimate,
    mean_over_redrawn_runs,
    paired_difference,
    resample_queries,
)
from engine.evaluation.pairs import ndcg
from engine.evaluation.significance import holm
from engine.progress import Progress, silent
from engine.runs import Run, load_arrays

RANKERS = (
    "weak", "strong", "strong_gbm", "control", "sid", "rich", "twins", "rich_twins", "placebo", "rich_placebo",
)  # fmt: skip
"""Whose AUC is measured."""
LIFTS = (
    ("sid", "weak"), ("sid", "strong"), ("control", "strong"), ("placebo", "strong"),
    ("rich", "strong_gbm"), ("twins", "strong_gbm"), ("rich_twins", "twins"), ("rich_placebo", "strong_gbm"),
)  # fmt: skip
"""(ranker, baseline) of the same learner: the paper's scalar, the dense cosine before quantization, shuffled SIDs; the
served signals, their dense twins, SIDs beside all twins, shuffled SIDs."""
TESTED = ("sid", "rich")
"""Rankers by which methods are tested against each other."""
SEGMENTS = ("all", "new", "seen", "category_tier=tail")
LEVEL_HEALTH = (
    "utilisation", "perplexity_ratio", "attribute_gain", "coclick_alignment", "coclick_lift", "coclick_alignment_category",
    "coclick_lift_category", "label_score", "flip_rate.typo", "flip_rate.reorder", "flip_rate.stuffing",
)  # fmt: skip
WHOLE_HEALTH = ("aliasing", "harmful_share")

LADDER_COLUMNS = [
    "method", "measure", "ranker", "baseline", "segment", "level", "value", "low", "high", "seed_sd", "n_seeds", "n",
    "by_construction", "served",
]  # fmt: skip
COMPARISON_COLUMNS = [
    "method", "baseline_method", "ranker", "segment", "difference", "low", "high", "p_value", "p_holm", "low_seeds",
    "high_seeds", "p_seeds", "p_seeds_holm", "n_seeds", "n",
]  # fmt: skip


class Exam(NamedTuple):
    """The test queries (Q,) and their judged pairs (M,), the same for every run of an ablation."""

    query_id: np.ndarray  # (Q,) in the catalogue's order.
    masks: dict[str, np.ndarray]  # (Q,) bool by segment; those without queries are left out.
    rows: np.ndarray  # (J,) bool: the judged pairs that belong to test queries, M of them.
    query: np.ndarray  # (M,) position of each pair's query among the test queries.
    grade: np.ndarray  # (M,).
    relevant: np.ndarray  # (M,) bool.
    weights: np.ndarray  # (R, Q) resample counts.


class Tables(NamedTuple):
    """Tables `ladder` and `method_comparisons` of the schema, and the size of the exam."""

    ladder: pd.DataFrame
    comparisons: pd.DataFrame
    n_queries: int
    n_pairs: int


class _Measured(NamedTuple):
    """What one run shows."""

    run: Run
    served: str
    auc: dict[tuple[str, str], Estimate]  # By (ranker, segment).
    by_query: dict[tuple[str, str | None, int | None], dict[str, Estimate]]
    """By (measure, ranker, level), then segment."""


def ladder_tables(runs: Sequence[Run], *, relevant_grade: float, progress: Progress = silent) -> Tables:
    """Measure finished runs of one catalogue and preset; methods keep the order in which they come.

    Raises RunError where two runs do not have the same test queries.
    """
    exam = read_exam(runs[0], relevant_grade)
    known: dict[str, dict[str, Estimate]] = {}
    measured: dict[str, list[_Measured]] = {}
    for done, run in enumerate(runs):
        progress(done, len(runs))
        measured.setdefault(run.config.method, []).append(_measure(run, exam, known, relevant_grade))
    progress(len(runs), len(runs))
    rows = [row for method, group in measured.items() for row in _ladder_rows(method, group, exam)]
    ladder = pd.DataFrame(rows, columns=LADDER_COLUMNS).astype({"level": "Int64"})
    return Tables(ladder, _comparisons(measured, exam), len(exam.query_id), len(exam.query))


def read_exam(run: Run, relevant_grade: float) -> Exam:
    """The exam as this run divides the catalogue; under cross-validation every judged query is a test query."""
    queries = pd.read_parquet(run.folder / "catalogue" / "queries.parquet")
    items = pd.read_parquet(run.folder / "catalogue" / "items.parquet", columns=["category", "tier"])
    tier = items.dropna().drop_duplicates("category").set_index("category")["tier"]
    tested = (queries["split"] == "test").to_numpy()
    if tested.sum() < 2:
        raise RunError(f"Run '{run.run_id}' has {int(tested.sum())} test queries; a table needs two.")
    test = queries[tested]
    seen = test["seen"].to_numpy(dtype=bool)
    masks = {
        "all": np.ones(len(test), dtype=bool),
        "new": ~seen,
        "seen": seen,
        "category_tier=tail": (test["category"].map(tier) == "tail").to_numpy(),
    }
    judged = load_arrays(run.shared_folder("judged") / "judged.safetensors")
    query, grade = judged["position"][judged["query"]], judged["grade"]
    rows = tested[query]
    settings = run.config.evaluation
    return Exam(
        test["query_id"].to_numpy(),
        {name: mask for name, mask in masks.items() if mask.any()},
        rows,
        np.searchsorted(np.flatnonzero(tested), query[rows]),
        grade[rows],
        grade[rows] >= relevant_grade,
        resample_queries(len(test), settings.resamples, seed=0),
    )


# ---------------------------------------------------------------- one run


def _measure(run: Run, exam: Exam, known: dict[str, dict[str, Estimate]], relevant_grade: float) -> _Measured:
    """`known` holds the AUC of scores met before: baselines without SIDs are the same in every method of a seed."""
    own = read_exam(run, relevant_grade)._replace(weights=exam.weights)
    same = [
        np.array_equal(a, b)
        for a, b in ((own.query_id, exam.query_id), (own.query, exam.query), (own.grade, exam.grade))
    ]
    if not all(same):
        raise RunError(f"Run '{run.run_id}' was tested on other queries than the rest of the ladder; train it again.")
    served = str(pd.read_parquet(run.folder / "tables" / "runs.parquet", columns=["ranker"])["ranker"].iloc[0])
    scores = load_arrays(run.stage_folder("rank") / "judged.safetensors")
    n_queries = len(exam.query_id)
    auc: dict[tuple[str, str], Estimate] = {}
    by_query: dict[tuple[str, str | None, int | None], dict[str, Estimate]] = {}
    for name in [name for name in RANKERS if name in scores]:
        score = scores[name][exam.rows].astype(np.float64)
        content = hashlib.sha256(score.tobytes()).hexdigest()
        if content not in known:
            known[content] = _auc(score, exam)
        auc.update({(name, segment): estimate for segment, estimate in known[content].items()})
        if name in {served, "sid", "strong", "strong_gbm"}:
            by_query["ndcg@10", name, None] = _mean(ndcg(score, exam.grade, exam.query, n_queries), exam)
    for measure, hits in _hits(run, exam).items():
        by_query |= {(measure, None, depth + 1): _mean(hits[:, depth], exam) for depth in range(hits.shape[1])}
    return _Measured(run, served, auc, by_query)


def _auc(score: np.ndarray, exam: Exam) -> dict[str, Estimate]:
    """Pooled AUC by segment; segments of the same queries (all of them new, say) are computed once."""
    distinct = {mask.tobytes(): name for name, mask in exam.masks.items()}
    masks = {name: exam.masks[name] for name in distinct.values()}
    found = bootstrap_auc(score, exam.relevant, exam.query, exam.weights, masks)
    return {name: found[distinct[mask.tobytes()]] for name, mask in exam.masks.items()}


def _mean(values: np.ndarray, exam: Exam) -> dict[str, Estimate]:
    return bootstrap_metric(values, np.ones(len(values)), exam.weights, exam.masks)


def _hits(run: Run, exam: Exam) -> dict[str, np.ndarray]:
    """(Q, L) by measure: hits of a relevant item's prefix among the query's beams, by item and by SID; {} without SIDs."""
    if not run.stage_folder("match").is_dir():
        return {}
    matches = load_arrays(run.stage_folder("match") / "matches.safetensors")
    level, sharing = (matches[name][exam.rows][exam.relevant] for name in ("level", "sharing"))
    query, n, levels = exam.query[exam.relevant], len(exam.query_id), sharing.shape[1]
    width = run.config.generator.beam_width
    return {
        f"item_hit@{width}": item_hit_at_k(level, sharing, query, n, levels),
        f"hit@{width}": hit_at_k(level, query, n, levels),
    }


# ---------------------------------------------------------------- table `ladder`


def _ladder_rows(method: str, group: Sequence[_Measured], exam: Exam) -> list[dict[str, object]]:
    served = group[0].served
    rows: list[dict[str, object]] = []

    def add(measure: str, value: float, seeds: Sequence[float], **more: object) -> None:
        blank = dict.fromkeys(LADDER_COLUMNS) | {"by_construction": False}
        sd = float(np.std(seeds, ddof=1)) if len(seeds) > 1 else float("nan")
        row = {"method": method, "measure": measure, "value": value, "seed_sd": sd, "n_seeds": len(seeds)}
        rows.append({**blank, "low": np.nan, "high": np.nan, **row, **more})

    def add_estimates(measure: str, estimates: Sequence[Estimate], **more: object) -> None:
        mean = mean_estimate(estimates)
        add(measure, mean.value, [e.value for e in estimates], low=mean.low, high=mean.high, n=mean.n, **more)

    for segment in [name for name in SEGMENTS if name in exam.masks]:
        for ranker in [name for name in RANKERS if all((name, segment) in m.auc for m in group)]:
            found = [m.auc[ranker, segment] for m in group]
            add_estimates("auc", found, ranker=ranker, segment=segment, served=ranker == served)
        for ranker, baseline in LIFTS:
            if all({(ranker, segment), (baseline, segment)} <= m.auc.keys() for m in group):
                first, second = ([m.auc[name, segment] for m in group] for name in (ranker, baseline))
                d = paired_difference(mean_estimate(first), mean_estimate(second))
                seeds = [a.value - b.value for a, b in zip(first, second, strict=True)]
                add(
                    "auc_lift", d.difference, seeds, low=d.low, high=d.high, n=d.n, ranker=ranker, baseline=baseline,
                    segment=segment, served=ranker == served,
                )  # fmt: skip
        for measure, name, level in group[0].by_query:
            found = [m.by_query[measure, name, level][segment] for m in group]
            more = {"ranker": name, "level": level, "segment": segment}
            add_estimates(measure, found, **more, served=name == served if name else None)
    for (measure, depth), (values, built) in _health([m.run for m in group]).items():
        add(measure, float(np.mean(values)), values, level=depth, by_construction=built)
    if len(group) > 1 and all((m.run.folder / "tables" / "sids.parquet").is_file() for m in group):
        by_level, n = stability([m.run for m in group])
        for level, values in enumerate(by_level, start=1):
            built = level == 1 and all(_level1(m.run) == "category" for m in group)
            add(
                "stability", float(np.mean(values)), values, level=level, n=n, n_seeds=len(group), by_construction=built
            )
    costs = [run_cost(m.run.folder) for m in group]
    add("seconds", float(np.mean([c.seconds for c in costs])), [c.seconds for c in costs])
    add("peak_mb", float(np.mean([c.peak_mb for c in costs])), [c.peak_mb for c in costs])
    return rows


def _level1(run: Run) -> object:
    """'category' where level 1 belongs to categories."""
    return pd.read_parquet(run.folder / "tables" / "runs.parquet", columns=["level1"])["level1"].iloc[0]


def _health(runs: Sequence[Run]) -> dict[tuple[str, int | None], tuple[list[float], bool]]:
    """Codebook health by (measure, level): the seeds' values, and whether they are true by construction."""
    found: dict[tuple[str, int | None], tuple[list[float], bool]] = {}
    for run in runs:
        path = run.folder / "tables" / "health.parquet"
        if not path.is_file():
            continue
        for row in pd.read_parquet(path).to_dict("records"):
            level = None if pd.isna(row["level"]) else int(row["level"])
            if row["metric"] in (LEVEL_HEALTH if level else WHOLE_HEALTH):
                values, _ = found.setdefault((row["metric"], level), ([], bool(row["by_construction"])))
                values.append(float(row["value"]))
    return dict(sorted(found.items(), key=lambda entry: (entry[0][1] or 99, entry[0][0])))


# ---------------------------------------------------------------- table `method_comparisons`


def _comparisons(measured: Mapping[str, Sequence[_Measured]], exam: Exam) -> pd.DataFrame:
    """The reference method against each other one; Holm over all methods and rankers of a segment.

    Seeds are paired too (equal seeds share the draws of everything but the SIDs). `low`, `high`, `p_value`: over
    queries, these seeds taken as they are; `..._seeds`: over queries and seeds.
    """
    with_sids = [name for name in measured if name != "none"]
    rows = []
    if with_sids:
        reference = REFERENCE if REFERENCE in with_sids else with_sids[0]
        for segment in [name for name in SEGMENTS if name in exam.masks]:
            tests = [
                _compare(measured, reference, other, ranker, segment)
                for other in with_sids
                if other != reference
                for ranker in TESTED
            ]
            family = [test for test in tests if test is not None]
            for column in ("p_value", "p_seeds"):
                corrected = holm(np.array([row[column] for row in family], dtype=np.float64))
                for row, p in zip(family, corrected, strict=True):
                    row[column.replace("p_value", "p") + "_holm"] = p
            rows += family
    return pd.DataFrame(rows, columns=COMPARISON_COLUMNS)


def _compare(
    measured: Mapping[str, Sequence[_Measured]], method: str, other: str, ranker: str, segment: str
) -> dict[str, object] | None:
    first, second = ({m.run.config.seed: m.auc.get((ranker, segment)) for m in measured[n]} for n in (method, other))
    seeds = [seed for seed in first if first[seed] is not None and second.get(seed) is not None]
    if not seeds:
        return None
    pair = [[estimate for seed in seeds if (estimate := side[seed])] for side in (first, second)]
    fixed = paired_difference(*(mean_estimate(side) for side in pair))
    redrawn = fixed._replace(low=np.nan, high=np.nan, p_value=np.nan)
    if len(seeds) > 1:
        picks = np.random.default_rng(0).integers(len(seeds), size=(len(pair[0][0].draws), len(seeds)))
        redrawn = paired_difference(*(mean_over_redrawn_runs(side, picks) for side in pair))
    return {
        "method": method, "baseline_method": other, "ranker": ranker, "segment": segment,
        "difference": fixed.difference, "low": fixed.low, "high": fixed.high, "p_value": fixed.p_value,
        "low_seeds": redrawn.low, "high_seeds": redrawn.high, "p_seeds": redrawn.p_value,
        "n_seeds": len(seeds), "n": fixed.n,
    }  # fmt: skip
