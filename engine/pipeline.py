"""The whole method (DSIRM, arXiv 2606.04374), readable in one screen: train a run, map it, publish runs.

Each line is a stage of METHOD: its body is the function of that name in `engine.stages` or `engine.reporting`.
"""

from __future__ import annotations

from pathlib import Path

from engine import runs
from engine.config import Config
from engine.datasets.ingest import load
from engine.encoders.fingerprint import ARITHMETIC, model_fingerprint
from engine.errors import RunError
from engine.reporting import item_map, publication
from engine.reporting.audit import audit
from engine.reporting.evaluation import Served, evaluate
from engine.runs import Run, Watcher
from engine.stages import identifiers, inputs, ranking, scoring, signals
from engine.store import snapshot
from engine.store.snapshot import RunTables

STAGE_VERSIONS = {
    "vectors": 1, "division": 3, "pairs": 1, "dense": 1, "category": 1, "stacks": 2, "own": 2, "tokenize": 4, "generate": 1,
    "match": 1, "signals": 1, "rank": 4, "score": 2, "evaluate": 3, "audit": 4, "project": 1,
}  # fmt: skip
"""Raised when a stage's code changes its results: older artefacts are then never reused."""


def versions(config: Config) -> dict[str, object]:
    """What a run's results rest on besides its input and config: every stage's code, the encoder's arithmetic and weights."""
    return STAGE_VERSIONS | {"encoder": [ARITHMETIC, model_fingerprint(config.encoder.model)]}


def train(workspace: Path, fingerprint: str, config: Config, watcher: Watcher | None = None) -> Run:
    """Train one method on one catalogue; a stopped run goes on at its first unfinished stage.

    Raises DataError when no ranker can learn from the catalogue's judgments, RunError when it is unknown.
    """
    catalogue = load(workspace, fingerprint)
    run = Run.create(workspace, catalogue.fingerprint, config, versions(config), watcher)
    with run.lock():
        if run.finished:
            return run
        division = inputs.divide(run, catalogue)  # who may learn from what: splits, folds, supervision
        inputs.require_lessons(catalogue, division.split)
        vectors = inputs.encode(run, catalogue)  # frozen text embeddings, once for every run
        pairs = inputs.collect(run, catalogue, vectors)  # BM25 + dense candidates, and the judged pairs
        features = inputs.measure(run, catalogue, vectors, pairs, division)  # dm, mm_dm, ct, qs
        own = signals.own_item(
            run, catalogue, vectors, division, pairs
        )  # what needs no SID: the item's own feedback and words
        sids = beams = matches = richer = served = None
        if config.method != "none":
            sids = identifiers.tokenize(run, catalogue, vectors, division)  # section 1: items to SIDs
            beams = identifiers.generate(run, catalogue, vectors, division, sids)  # section 2: query -> K SIDs
            matches = identifiers.match(run, division, pairs, sids, beams)  # section 3: deepest common prefix
            richer = signals.signal(run, catalogue, vectors, division, pairs, sids, beams)  # and what else SIDs tell
            served = Served(sids.stacks[0].codes, beams[0].codes, matches.level, matches.level_fit)
        rankers = ranking.rank(run, division, pairs, features, own, sids, matches, richer)  # cross-fitted ladder
        scoring.score(
            run, catalogue, division, pairs, features, own, sids, matches, richer, rankers
        )  # section 5: exact Shapley
        evaluate(run, catalogue, division, pairs, rankers, served)  # section 4: held-out, by query
        audit(run, catalogue, vectors.items, division, sids)  # section 6: codebook, coverage, exposure
        publication.finish(run, catalogue, division, sids, richer)
    return run


def project(workspace: Path, run_id: str, watcher: Watcher | None = None) -> None:
    """Draw the map of a finished run (UMAP); apart from training, so that nobody waits for it."""
    run = Run.load(workspace, run_id)
    run.watcher = watcher or Watcher()
    with run.lock():
        item_map.project(run, load(workspace, run.fingerprint))


def publish(workspace: Path, run_ids: list[str] | None = None, *, pin: bool = False) -> str:
    """Build a snapshot from finished runs of one catalogue (the newest one's, by default) and make it current.

    Raises RunError when there is none, one is unknown or unfinished, or they belong to several catalogues.
    """
    chosen = run_ids or _finished_runs(workspace)
    found = [Run.load(workspace, run_id) for run_id in chosen]
    fingerprints = {run.fingerprint for run in found}
    if len(fingerprints) > 1:
        raise RunError(
            f"The runs {', '.join(chosen)} belong to {len(fingerprints)} catalogues; a snapshot holds one. "
            "Name runs of one catalogue with --run."
        )
    catalogue = load(workspace, fingerprints.pop())
    shown = min(found, key=lambda run: {"none": 1, "imported": 2}.get(run.config.method, 0))
    return snapshot.publish(
        workspace,
        snapshot=publication.snapshot_row(catalogue, shown),
        catalogue=shown.folder / "catalogue",
        runs=[RunTables(run.run_id, run.folder / "tables") for run in found],
        ablation=runs.ablation_tables(workspace, chosen),
        pin=pin,
    )


def _finished_runs(workspace: Path) -> list[str]:
    """Finished runs of the catalogue that the newest finished run belongs to."""
    finished = [info for info in runs.list_runs(workspace) if info.finished]
    if not finished:
        raise RunError(f"No finished run in {workspace / 'runs'}: train one with 'python -m engine train'.")
    return [info.run_id for info in finished if info.fingerprint == finished[0].fingerprint]
