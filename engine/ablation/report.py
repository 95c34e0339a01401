"""An ablation in words and tables: the plan before, the standing during, the ladder after, as text and Markdown."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from engine.ablation.ladder import LIFTS, Tables
from engine.ablation.plan import Costs, Plan, time_left
from engine.ablation.workers import Outcome, Standing
from engine.runs import write_table, write_text

DAGGER = "†"
SEED_INTERVALS = (
    "A cell is the mean over seeds, its 95 % interval over test queries in brackets (bootstrap by query; one matrix of "
    "resamples for all methods and seeds, the mean over seeds taken within a resample), and after ± the standard "
    "deviation of the seeds."
)
NOTES = {
    "Relevance": SEED_INTERVALS + " The served ranker is the one whose score the dashboard shows; `sid` is the paper's "
    "scalar match level.",
    "Lift": "Points of AUC, ranker minus baseline of the same learner on the same queries and seeds. Control: a cosine "
    "from the quantizer before it quantizes. Twins: every signal's idea without SIDs. Shuffled SIDs (placebo) must show "
    "no lift.",
    "Lift by kind of query": "Points of AUC. New: the query itself supervised nothing. Tail: its category is of the tail.",
    "Item hits": "Hits counted by item: a query's best relevant item whose prefix is among the beams counts 1 / the items "
    "under that prefix. Methods are compared by the deepest level.",
    "SID hits": "Share of queries with a relevant item whose prefix is among the beams. They reward collapse: the more items "
    "share a prefix, the easier it is to hit; compare methods by item hits.",
    "Codebook": f"{DAGGER} true by construction (level 1 belongs to categories): compared with nothing.",
    "Meaning": "Item hits stand first, to be read beside the rest. Attribute gain: how much more often an item's attribute "
    "(mean over attributes) is guessed from the other items of its prefix than from those of its category. Co-clicked: of "
    "items clicked for one query, the share under one prefix; × chance: against random pairs; the category path's own share "
    "at that depth is the same for all methods. Label score: chance that an item is nearer to its code's label than to a "
    "sibling's (chance: 0.5). None of these is known to predict a generator's quality.",
    "Robustness": "Flips: share of items whose first codes change when the title has a typo, another order, or three stuffed "
    "words. Stability: adjusted Rand index of the prefixes of every two seeds (1: the same division; 0: chance). None of these "
    "is known to predict a generator's quality.",
    "Cost": "Own stages of a run, without those that runs share; peak memory of its process. Runs trained side by side "
    "take longer each.",
    "Methods": "Differences in points of AUC on the same test queries and seeds, two-sided p; corrected p: Holm over all "
    "rows of a segment. First over queries, the seeds taken as they are; then over queries and seeds, for what new "
    "seeds would show (few seeds make that interval rough).",
}


class Section(NamedTuple):
    """A table of text."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""


# ---------------------------------------------------------------- before and during


def duration(seconds: float | None) -> str:
    """'45 s', '12 min', '1 h 05 min'; 'unknown'."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def plan_section(plan: Plan, costs: Costs) -> Section:
    """A row a method: runs to do, runs that are finished, seconds to expect of one and where that number is from."""
    rows = []
    for method in plan.methods:
        jobs = [job for job in plan.jobs if job.method == method]
        done, seconds, measured = (
            sum(job.finished for job in jobs),
            costs.seconds(method),
            len(costs.known.get(method, [])),
        )
        source = f"of {measured} finished" if measured else "like the other methods" if seconds else "not measured yet"
        rows.append([method, str(len(jobs) - done), str(done), duration(seconds), source])
    return Section("Plan", ["method", "runs to do", "finished", "time a run", "from"], rows)


def plan_sentence(plan: Plan, costs: Costs, workers: int) -> str:
    """How much is to do, and how long that should take."""
    todo = len(plan.todo)
    if not todo:
        return f"All {len(plan.jobs)} runs are finished: only the table is made."
    left = time_left([], [costs.seconds(job.method) for job in plan.todo], workers)
    side = f"{workers} workers" if workers > 1 else "one worker"
    when = "unknown until a run of each kind is finished" if left is None else f"about {duration(left)}"
    return f"{todo} of {len(plan.jobs)} runs to do, {len(plan.jobs) - todo} finished already; time with {side}: {when}."


def standing_lines(standing: Standing) -> list[str]:
    """How far it is, then what each worker is at."""
    finished = sum(outcome.ok for outcome in standing.outcomes)
    failed = len(standing.outcomes) - finished
    total = len(standing.outcomes) + len(standing.running) + standing.waiting
    head = f"{finished} of {total} runs finished" + (f", {failed} failed" if failed else "")
    if standing.left is not None:
        head += f"; about {duration(standing.left)} left" if standing.left > 0 else "; longer than expected"
    return [head] + [
        f"  {w.job.method}, seed {w.job.seed}: {w.doing} ({w.stages_done} stages done, {duration(w.seconds)})"
        for w in standing.running
    ]


def failure_lines(outcome: Outcome) -> list[str]:
    """What a failed worker said last, and where the rest is."""
    job = outcome.job
    head = f"{job.method}, seed {job.seed} failed: {outcome.reason}. Its last lines (all of them in {outcome.log}):"
    return [head, *(f"    {line}" for line in outcome.tail)]


# ---------------------------------------------------------------- after


def save(
    plan: Plan, tables: Tables, run_ids: Sequence[str], outcomes: Sequence[Outcome], about: Mapping[str, Any]
) -> None:
    """Write ladder.parquet, comparisons.parquet and ladder.md by rename, and last ablation.json, which names the runs."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    manifest = {
        **about,
        "fingerprint": plan.fingerprint,
        "preset": plan.preset,
        "methods": list(plan.methods),
        "seeds": list(plan.seeds),
        "n_queries": tables.n_queries,
        "n_pairs": tables.n_pairs,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()),
        "runs": list(run_ids),
        "failed": [{"run_id": o.job.run_id, "reason": o.reason, "log": str(o.log)} for o in outcomes if not o.ok],
    }
    write_table(plan.folder, "ladder", tables.ladder)
    write_table(plan.folder, "comparisons", tables.comparisons)
    write_text(plan.folder / "ladder.md", markdown(manifest, tables.ladder, tables.comparisons))
    write_text(plan.folder / "ablation.json", json.dumps(manifest, indent=1))


def heading(manifest: Mapping[str, Any]) -> str:
    """What the ladder rests on."""
    text = (
        f"{manifest['dataset']} ({manifest['fingerprint'][:12]}), preset {manifest['preset']}, "
        f"seeds {', '.join(map(str, manifest['seeds']))}; {manifest['n_queries']:,} test queries with "
        f"{manifest['n_pairs']:,} judged pairs, relevant at grade {manifest['relevant_grade']:g}; "
        f"{manifest['resamples']:,} resamples"
    )
    if manifest["evaluation"] == "cross_validation":
        text += "; cross-validated by query: every judged query is a test query, scored out of fold"
    if manifest.get("graded_by_clicks"):
        text += "; grades were read from clicks: every figure measures agreement with clicks, not relevance"
    missing = "".join(f" Missing: {f['run_id']} ({f['reason']})." for f in manifest["failed"])
    return " ".join([f"{text}.{missing}", *manifest.get("skipped", ())])


def sections(ladder: pd.DataFrame, comparisons: pd.DataFrame) -> list[Section]:
    """The tables a reader wants, each with its note."""
    made = [_baselines(ladder), _relevance(ladder), _lift(ladder), _lift_by_query(ladder)]
    made += [_hits(ladder, "Item hits", "item_hit@"), _hits(ladder, "SID hits", "hit@")]
    made += [_codebook(ladder), _by_level(ladder, "Meaning", MEANING), _by_level(ladder, "Robustness", ROBUSTNESS)]
    made += [_cost(ladder), _methods(comparisons)]
    return [section for section in made if section.rows]


def markdown(manifest: Mapping[str, Any], ladder: pd.DataFrame, comparisons: pd.DataFrame) -> str:
    """The whole ladder as Markdown."""
    lines = [heading(manifest), ""]
    for section in sections(ladder, comparisons):
        lines += [f"### {section.title}", "", "| " + " | ".join(section.columns) + " |"]
        lines += ["|" + "---|" * len(section.columns), *("| " + " | ".join(row) + " |" for row in section.rows), ""]
        lines += [section.note, ""] if section.note else []
    return "\n".join(lines)


Cell = Callable[[pd.Series], str]


def _plain(digits: int) -> Cell:
    def cell(row: pd.Series) -> str:
        if pd.isna(row["value"]):
            return "–"
        text = f"{row['value']:.{digits}f}"
        if pd.notna(row["low"]):
            text += f" [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
        if pd.notna(row["seed_sd"]):
            text += f" ±{row['seed_sd']:.{digits}f}"
        return text + (DAGGER if row["by_construction"] else "")

    return cell


def _points(row: pd.Series) -> str:
    text = f"{100 * row['value']:+.2f} [{100 * row['low']:+.2f}, {100 * row['high']:+.2f}]"
    return text + (f" ±{100 * row['seed_sd']:.2f}" if pd.notna(row["seed_sd"]) else "")


def _table(ladder: pd.DataFrame, title: str, columns: Mapping[str, Mapping[str, object]], cell: Cell) -> Section:
    """A row a method; a column shows the row of `ladder` that its conditions choose, or a dash. Columns and methods
    without any cell are left out."""
    texts = {}
    for name, conditions in columns.items():
        chosen = ladder
        for column, value in conditions.items():
            chosen = chosen[chosen[column].isna() if value is None else (chosen[column] == value).fillna(False)]
        texts[name] = {row["method"]: cell(row) for _, row in chosen.iterrows() if pd.notna(row["value"])}
    shown = [name for name, found in texts.items() if found]
    rows = [
        [method, *(texts[name].get(method, "–") for name in shown)]
        for method in ladder["method"].drop_duplicates()
        if any(method in texts[name] for name in shown)
    ]
    return Section(title, ["method", *shown], rows, NOTES.get(title, ""))


def _baselines(ladder: pd.DataFrame) -> Section:
    """Rankers without SIDs: the same in every method, so shown once."""
    first = ladder[ladder["method"] == ladder["method"].iloc[0]]
    rows = []
    for ranker in ("weak", "strong", "strong_gbm"):
        own = first[(first["ranker"] == ranker) & first["baseline"].isna()]
        cells = {(row["measure"], row["segment"]): _plain(3)(row) for _, row in own.iterrows()}
        keys = [("auc", "all"), ("auc", "new"), ("auc", "category_tier=tail"), ("ndcg@10", "all")]
        if cells:
            rows.append([ranker, *(cells.get(key, "–") for key in keys)])
    columns = ["ranker", "AUC", "AUC, new", "AUC, tail", "nDCG@10"]
    return Section(
        "Without SIDs",
        columns,
        rows,
        "The same rankers for every method: " + SEED_INTERVALS.lower()[:1] + SEED_INTERVALS[1:],
    )


def _relevance(ladder: pd.DataFrame) -> Section:
    every = {"segment": "all", "baseline": None}
    columns: dict[str, dict[str, object]] = {
        "AUC, served": {"measure": "auc", "served": True, **every},
        "AUC, sid": {"measure": "auc", "ranker": "sid", **every},
        "nDCG@10, served": {"measure": "ndcg@10", "served": True, **every},
        "nDCG@10, sid": {"measure": "ndcg@10", "ranker": "sid", **every},
    }
    return _table(ladder, "Relevance", columns, _plain(3))


def _lift(ladder: pd.DataFrame) -> Section:
    columns = {
        f"{ranker} − {baseline}": {"measure": "auc_lift", "ranker": ranker, "baseline": baseline, "segment": "all"}
        for ranker, baseline in LIFTS
    }
    return _table(ladder, "Lift", columns, _points)


def _lift_by_query(ladder: pd.DataFrame) -> Section:
    columns = {
        f"{name}: {ranker} − {baseline}": {
            "measure": "auc_lift",
            "ranker": ranker,
            "baseline": baseline,
            "segment": segment,
        }
        for name, segment in (("new", "new"), ("seen", "seen"), ("tail", "category_tier=tail"))
        for ranker, baseline in (("sid", "strong"), ("rich", "strong_gbm"))
    }
    return _table(ladder, "Lift by kind of query", columns, _points)


def _hits(ladder: pd.DataFrame, title: str, measure_start: str) -> Section:
    measured = ladder.loc[ladder["measure"].str.startswith(measure_start), ["measure", "level"]].drop_duplicates()
    columns = {
        f"{measure}, level {level}, {segment}": {"measure": measure, "level": level, "segment": segment}
        for segment in ("new", "seen")
        for measure, level in sorted(measured.itertuples(index=False, name=None))
    }
    return _table(ladder, title, columns, _plain(3))


def _codebook(ladder: pd.DataFrame) -> Section:
    levels = sorted(ladder.loc[ladder["measure"] == "utilisation", "level"].dropna().unique())
    columns: dict[str, dict[str, object]] = {
        f"{title}, level {level}": {"measure": measure, "level": level}
        for measure, title in (("utilisation", "utilisation"), ("perplexity_ratio", "perplexity / K"))
        for level in levels
    }
    columns |= {"aliasing": {"measure": "aliasing"}, "harmful share": {"measure": "harmful_share"}}
    return _table(ladder, "Codebook", columns, _plain(3))


MEANING = {
    "attribute gain": "attribute_gain",
    "co-clicked": "coclick_alignment",
    "co-clicked × chance": "coclick_lift",
    "category path co-clicked": "coclick_alignment_category",
    "label score": "label_score",
}
ROBUSTNESS = {
    "typo flips": "flip_rate.typo",
    "reorder flips": "flip_rate.reorder",
    "stuffing flips": "flip_rate.stuffing",
    "stability": "stability",
}
"""Measures of a section by their words."""


def _by_level(ladder: pd.DataFrame, title: str, measures: Mapping[str, str]) -> Section:
    """The deepest level's item hits on all test queries, then `measures` at every level."""
    hits = ladder[ladder["measure"].str.startswith("item_hit@")]
    columns: dict[str, dict[str, object]] = {
        f"{measure}, level {level}": {"measure": measure, "level": level, "segment": "all"}
        for measure, level in hits.groupby("measure")["level"].max().items()
    }
    known = ladder[ladder["measure"].isin(measures.values())]
    for words, measure in measures.items():
        levels = sorted(known.loc[known["measure"] == measure, "level"].unique())
        columns |= {f"{words}, level {level}": {"measure": measure, "level": level} for level in levels}
    return _table(ladder if len(known) else ladder[:0], title, columns, _plain(3))


def _cost(ladder: pd.DataFrame) -> Section:
    columns: dict[str, dict[str, object]] = {"seconds": {"measure": "seconds"}, "peak MB": {"measure": "peak_mb"}}
    made = _table(ladder, "Cost", columns, _plain(0))
    counts = ladder[ladder["measure"] == "seconds"].set_index("method")["n_seeds"]
    rows = [[row[0], str(counts[row[0]]), *row[1:]] for row in made.rows]
    return made._replace(columns=[made.columns[0], "seeds", *made.columns[1:]], rows=rows)


def _methods(comparisons: pd.DataFrame) -> Section:
    def points(row: pd.Series, low: str, high: str) -> str:
        return f"[{100 * row[low]:+.2f}, {100 * row[high]:+.2f}]"

    rows = []
    for _, row in comparisons.iterrows():
        own = [
            f"{100 * row['difference']:+.2f} {points(row, 'low', 'high')}",
            *(f"{row[p]:.3f}" for p in ("p_value", "p_holm")),
        ]
        wide = ["–"] * 3
        if pd.notna(row["p_seeds"]):
            wide = [points(row, "low_seeds", "high_seeds"), *(f"{row[p]:.3f}" for p in ("p_seeds", "p_seeds_holm"))]
        rows.append([f"{row['method']} − {row['baseline_method']}", row["ranker"], row["segment"], *own, *wide])
    columns = [
        "methods",
        "ranker",
        "queries",
        "difference",
        "p",
        "corrected p",
        "over seeds too",
        "p, seeds too",
        "corrected p, seeds too",
    ]
    return Section("Methods", columns, rows, NOTES["Methods"])
