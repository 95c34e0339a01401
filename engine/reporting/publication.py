"""What a snapshot says of the catalogue and of the run itself, and the manifest."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from engine.audit.groups import bands_table
from engine.audit.tiers import categories_table, sellers_table
from engine.audit.wording import counted
from engine.config import Config
from engine.datasets.contract import IMPLICIT, Catalogue
from engine.datasets.storage import click_grades
from engine.generator.trie import SidTrie
from engine.problem.division import Division
from engine.problem.index import language_of, recall_note
from engine.problem.possible import Possible, possible
from engine.relevance.features import DENSE
from engine.relevance.folds import Split
from engine.relevance.signals.catalogue import served_columns
from engine.relevance.signals.own import PLAIN
from engine.reporting.catalogue import items_table, queries_table
from engine.reporting.learned import Learned
from engine.runs import Run, peak_memory_mb, write_table

CONTROL_NOTES = {
    "category-path": "SIDs are the items' category paths, then runs by popularity: a control that learns nothing.",
    "hash": "SIDs are hashes of the items' ids: a control that knows nothing of the items.",
}


def finish(run: Run, catalogue: Catalogue, division: Division, learned: Learned | None) -> None:
    """Write the run's own tables, the catalogue's as this run divides it, and last the manifest."""
    write_catalogue(run, catalogue, items_table(catalogue), queries_table(catalogue, division))
    write_table(run.folder / "tables", "training", _histories(run))
    can = possible(catalogue)
    manifest = {
        **run.describe(),
        "sizes": list(learned.sizes) if learned else None,
        "evaluation": division.split.mode if can.rank else "none",
        "n_stacks": len(division.seen),
        "given_text": catalogue.given_text and catalogue.given_text._asdict(),
        "notes": [*_notes(run, catalogue, division, learned), *can.lacks.values()],
    }
    write_run(run, manifest, _told(run, can, learned), int((division.split.split == "test").sum()))


def write_catalogue(run: Run, catalogue: Catalogue, items: pd.DataFrame, queries: pd.DataFrame) -> None:
    """The catalogue's tables in the run's folder; `items` and `queries` are the first two of them."""
    shared = run.folder / "catalogue"
    shared.mkdir(exist_ok=True)
    split = dict(zip(queries["query_id"], queries["split"], strict=True))
    for name, frame in {
        "items": items,
        "categories": categories_table(items, catalogue.settings.category_separator),
        "queries": queries,
        "judgments": _judgments(catalogue).assign(split=catalogue.judgments["query_id"].map(split)),
    }.items():
        write_table(shared, name, frame)


def groups_of_items(catalogue: Catalogue) -> dict[str, pd.DataFrame]:
    """Tables sellers and item_bands, as far as there are any: of the catalogue alone, so that they are made when it is published."""
    tables = {"sellers": sellers_table(catalogue.items), "item_bands": bands_table(catalogue.items)}
    return {name: table for name, table in tables.items() if len(table)}


def _judgments(catalogue: Catalogue) -> pd.DataFrame:
    """The judgments, in their order, with what implicit ones rest on."""
    evidence = click_grades(catalogue)
    if evidence is None:
        return catalogue.judgments
    keys, rests_on = ["query_id", "item_id"], ["attractiveness", "low", "high", "examined"]
    return catalogue.judgments.merge(evidence[[*keys, *rests_on]], "left", keys)


def snapshot_row(catalogue: Catalogue, shown: Run) -> dict[str, Any]:
    """The row of table `snapshot`, less what the store adds."""
    settings = catalogue.settings
    return {
        "engine_version": shown.manifest()["git_commit"],
        "dataset": settings.name,
        "fingerprint": catalogue.fingerprint,
        "source": settings.source,
        "license": settings.license,
        "max_grade": settings.max_grade,
        "relevant_grade": settings.relevant_grade,
        "category_separator": settings.category_separator,
        "language": language_of(catalogue),
        "derived": list(settings.derived),
        "simulated": list(settings.simulated),
        "oracle_auc": settings.oracle_auc,
        "n_items": len(catalogue.items),
        "n_queries": len(catalogue.queries),
        "n_judgments": len(catalogue.judgments),
        "n_interactions": len(catalogue.interactions),
        "n_rejected": catalogue.n_rejected,
        "default_run": shown.run_id,
    }


def write_run(run: Run, manifest: dict[str, Any], told: dict[str, Any], n_test_queries: int) -> None:
    """Tables stages and runs, the row with what is `told` of this kind of run, and last the manifest."""
    stages = pd.DataFrame(manifest["stages"])
    stages["position"] = np.arange(len(stages))
    write_table(run.folder / "tables", "stages", stages)
    row = {
        "name": run.run_id.rsplit("-", 1)[0],
        "method": run.config.method,
        "preset": run.config.preset,
        "seed": run.config.seed,
        "created_at": pd.Timestamp(manifest["created_at"]),
        "seconds": float(stages["seconds"].sum()),
        "peak_mb": peak_memory_mb(),
        "git_commit": manifest["git_commit"],
        "versions": json.dumps(manifest["versions"]),
        "sizes": manifest["sizes"],
        "evaluation": manifest["evaluation"],
        "n_test_queries": n_test_queries,
        "notes": json.dumps(manifest["notes"]),
        **told,
    }
    write_table(run.folder / "tables", "runs", pd.DataFrame([row]))
    run.finish(manifest)


def _told(run: Run, can: Possible, learned: Learned | None) -> dict[str, Any]:
    """What the row of table `runs` says of a run that was trained here."""
    config, levels = run.config, len(learned.sizes) if learned else None
    forced = learned is not None and not learned.category_codes.empty
    level1 = "category" if forced else "hash" if config.quantizer.kind == "hash" else "kmeans"
    generator = config.generator if learned and can.generate else None
    return {
        "config": config.to_json(),
        "levels": levels,
        "level1": level1 if learned else None,
        "lacks": json.dumps(can.lacks),
        "ranker": config.served_ranker if can.rank else None,
        "baseline": config.baseline_ranker if can.rank else None,
        "signal_columns": json.dumps(_signal_columns(config, levels) if can.rank else []),
        "generator": generator and generator.kind,
        "beam_width": generator and generator.beam_width,
        "trie_fingerprint": SidTrie.build(learned.codes, learned.sizes).fingerprint if learned else None,
    }


def _signal_columns(config: Config, levels: int | None) -> list[dict[str, Any]]:
    """What the list `scores.signals` holds: name, signal (None where no SID is read), level."""
    if config.ranker.kind == "mlp":
        return []
    columns = [{"name": name, "signal": None, "level": 0} for name in PLAIN[len(DENSE) :]]
    if levels is not None:
        kept = zip(*served_columns(config.signals, levels), strict=True)
        columns += [{"name": name, "signal": signal, "level": level} for name, signal, level in kept]
    return columns


def _histories(run: Run) -> pd.DataFrame:
    """Training curves of the served stack and of the rankers, in the columns of table `training`."""
    files = {
        "tokenize": run.stage_folder("tokenize") / "stack0" / "history.parquet",
        "generate": run.stage_folder("generate") / "stack0" / "history.parquet",
        "rank": run.stage_folder("rank") / "history.parquet",
    }
    curves = [pd.read_parquet(path).assign(stage=stage) for stage, path in files.items() if path.is_file()]
    return pd.concat(curves, ignore_index=True)[["stage", "step", "name", "value"]]


def _notes(run: Run, catalogue: Catalogue, division: Division, learned: Learned | None) -> list[str]:
    """What a reader of any figure of this run should know."""
    settings, split = catalogue.settings, division.split
    notes = []
    synthetic = int((catalogue.queries["source"] == "synthetic").sum())
    logged = int((catalogue.queries["source"] == "log").sum())
    if synthetic:
        log = f"The search log has {counted(logged, 'query', 'queries')} only" if logged else "There is no search log"
        notes.append(f"{log}: {synthetic:,} synthetic queries were made from item fields to train the generator.")
    if given := catalogue.given_text:
        encoded = len(catalogue.queries) - given.queries
        rest = (
            f"; {counted(encoded, 'query', 'queries')} without one encoded with {run.config.encoder.model}"
            if encoded
            else ""
        )
        notes.append(f"Text vectors of {given.width} numbers came with the data{rest}.")
    if note := recall_note(run):
        notes.append(note)
    if settings.derived:
        notes.append(f"Derived, not part of the source: {', '.join(settings.derived)}.")
    if settings.simulated:
        notes.append(f"Simulated: {', '.join(settings.simulated)}.")
    if note := _clicks_note(catalogue, split):
        notes.append(note)
    judged = int((split.split == "test").sum())
    if split.mode == "cross_validation":
        repeats, folds = len(split.cv_fold), int(split.cv_fold.max()) + 1
        notes.append(
            f"Only {judged} judged queries: {repeats} times {folds}-fold cross-validation by query, out-of-fold scores "
            "pooled. Differences of a few points of AUC cannot be told apart from chance with so few."
        )
    if learned is not None:
        merged = int(learned.category_codes["merged"].sum()) if not learned.category_codes.empty else 0
        if run.config.quantizer.kind in CONTROL_NOTES:
            notes.append(CONTROL_NOTES[run.config.quantizer.kind])
        elif learned.category_codes.empty:
            notes.append("Level 1 is k-means cells, not categories.")
        elif merged:
            notes.append(f"{merged:,} categories share a level-1 code with others (rolled up, smallest first).")
        if len(division.seen) == 1 and len(catalogue.judgments):
            notes.append(
                "No judged training query supervises the SIDs, so one stack serves training and testing alike."
            )
    return notes


def _clicks_note(catalogue: Catalogue, split: Split) -> str | None:
    """What rests on judgments that were read from clicks; None where none were."""
    implicit = catalogue.judgments["query_id"][catalogue.judgments["source"] == IMPLICIT]
    if implicit.empty:
        return None
    held = catalogue.queries["query_id"][np.isin(split.split, ["valid", "test"])]
    if not implicit.isin(held).any():
        return f"{counted(len(implicit), 'training judgment was', 'training judgments were')} read from clicks; test grades were not."
    after = catalogue.settings.grades_after
    how = (
        f"clicks after {after} grade the test queries, and nothing learns from those"
        if after
        else ("the log has too few dates to test on later clicks, so test queries supervise nothing")
    )
    return (
        f"{counted(len(implicit), 'judgment was', 'judgments were')} read from clicks: every figure that rests on grades measures "
        f"agreement with clicks, not relevance ({how})."
    )
