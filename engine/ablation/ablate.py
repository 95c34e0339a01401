"""An ablation from its plan to its table: shared stages, the runs, the ladder. Run again, it goes on where it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from engine import pipeline
from engine.ablation import report
from engine.ablation.ladder import Tables, ladder_tables
from engine.ablation.plan import WHOLE, Plan
from engine.ablation.workers import Outcome
from engine.config import override, preset
from engine.datasets.contract import IMPLICIT
from engine.datasets.ingest import load
from engine.errors import DataError, RunError
from engine.problem.possible import possible
from engine.problem.requirements import require
from engine.problem.vectors import encode
from engine.progress import Progress, silent
from engine.runs import Run, Watcher


class Ladder(NamedTuple):
    """What an ablation ends with; also in its folder."""

    tables: Tables
    run_ids: list[str]  # The finished runs that the tables rest on.


class Chosen(NamedTuple):
    """Methods that the catalogue allows."""

    methods: tuple[str, ...]
    skipped: tuple[str, ...]  # Why each other one is left out.


def trainable(
    workspace: Path, fingerprint: str, preset_name: str, methods: Sequence[str], settings: Sequence[str] = ()
) -> Chosen:
    """Of `methods`, those that have on this catalogue what they need. Raises DataError where nothing can be compared."""
    catalogue = load(workspace, fingerprint)
    if not (can := possible(catalogue)).rank:
        raise DataError(f"An ablation compares rankings on judged queries. {can.lacks['judgments']}")
    kept, skipped = [], []
    for method in methods:
        try:
            require(catalogue, override(preset(preset_name, method=method), settings))
            kept.append(method)
        except DataError as error:
            skipped.append(f"{method} is left out: {error}")
    return Chosen(tuple(kept), tuple(skipped))


def encode_once(plan: Plan, watcher: Watcher | None = None) -> None:
    """Compute the embeddings of the catalogue, on every core, before workers of one core each would; nothing where all
    runs are finished."""
    if plan.todo:
        first = plan.todo[0]
        config = override(preset(plan.preset, method=first.method, seed=first.seed), (WHOLE, *plan.settings))
        run = Run.create(plan.workspace, plan.fingerprint, config, pipeline.versions(config), watcher)
        encode(run, load(plan.workspace, plan.fingerprint))


def conclude(plan: Plan, outcomes: Sequence[Outcome], progress: Progress = silent) -> Ladder:
    """Measure every run of the plan that is finished and write the ablation's tables.

    Raises RunError where no run is finished.
    """
    finished = [job for job in plan.jobs if (plan.workspace / "runs" / job.run_id / "run.json").is_file()]
    if not finished:
        reasons = "; ".join(f"{o.job.run_id}: {o.reason}" for o in outcomes)
        raise RunError(f"No run of the ablation is finished ({reasons}); the logs are in {plan.folder / 'logs'}.")
    order = {method: place for place, method in enumerate(plan.methods)}
    ids = [job.run_id for job in sorted(finished, key=lambda job: (order[job.method], job.seed))]
    runs = [Run.load(plan.workspace, run_id) for run_id in ids]
    settings = load(plan.workspace, plan.fingerprint).settings
    tables = ladder_tables(runs, relevant_grade=settings.relevant_grade, progress=progress)
    judged = pd.read_parquet(runs[0].folder / "catalogue" / "judgments.parquet", columns=["source", "split"])
    about = {
        "dataset": settings.name,
        "relevant_grade": settings.relevant_grade,
        "resamples": runs[0].config.evaluation.resamples,
        "evaluation": runs[0].manifest()["evaluation"],
        "graded_by_clicks": bool(((judged["source"] == IMPLICIT) & (judged["split"] == "test")).any()),
        "skipped": list(plan.skipped),
    }
    report.save(plan, tables, ids, outcomes, about)
    return Ladder(tables, ids)
