"""The whole method (DSIRM, arXiv 2606.04374), readable in one screen: train a run, map it, publish runs.

Learn, answer, audit, publish. Each line is a stage of METHOD: its body is the function of that name in
`engine.learning`, `engine.answering` or `engine.reporting`.
"""

from __future__ import annotations

from pathlib import Path

from engine import runs
from engine.answering.batch import answer_all
from engine.assigning import generations
from engine.config import Config
from engine.datasets.ingest import load
from engine.encoders.fingerprint import ARITHMETIC, model_fingerprint
from engine.errors import RunError
from engine.generator.beam import Beams
from engine.labeling.rated import rating_tables
from engine.learning import rankers, sids, signals
from engine.learning.judged import Judged, collect
from engine.learning.rankers import Lessons
from engine.on_ray import OnRay
from engine.problem import pose
from engine.problem.possible import possible
from engine.reporting import intake, item_map, publication
from engine.reporting.audit import audit
from engine.reporting.evaluation import evaluate
from engine.reporting.learned import Learned, Matched, Ranked
from engine.runs import Run, Watcher
from engine.store import snapshot
from engine.store.snapshot import RunTables

STAGE_VERSIONS = {
    "vectors": 1, "keywords": 1, "division": 3, "index": 2, "judged": 3, "stacks": 2, "own": 5, "tokenize": 5,
    "generate": 2, "match": 3, "signals": 4, "rank": 8, "answer": 4, "evaluate": 6, "audit": 11, "project": 2,
}  # fmt: skip
"""Raised when a stage's code changes its results: older artefacts are then never reused."""


def versions(config: Config) -> dict[str, object]:
    """What a run's results rest on besides its input and config: every stage's code, the encoder's arithmetic and weights."""
    return STAGE_VERSIONS | {"encoder": [ARITHMETIC, model_fingerprint(config.encoder.model)]}


def train(
    workspace: Path, fingerprint: str, config: Config, watcher: Watcher | None = None, on_ray: OnRay | None = None
) -> Run:
    """Train one method on one catalogue; a stopped run goes on at its first unfinished stage.

    With `on_ray`, that cluster encodes texts and answers queries, with equal results; all else is learnt here.

    What the catalogue lacks stays empty, and the run's notes say why (`possible`). Raises DataError when its judgments can
    teach no ranker, or there are none and the method trains nothing else, RunError when it is unknown.
    """
    catalogue = load(workspace, fingerprint)
    run = Run.create(workspace, catalogue.fingerprint, config, versions(config), watcher, on_ray)
    with run.lock():
        if run.finished:
            run.reopen_if_damaged()
        if run.finished:
            return run
        problem, can = pose(run, catalogue), possible(catalogue)  # frozen embeddings; who may learn from what
        learned = None

        # Learn: SIDs from items and queries; where somebody judged, rankers from judged queries and the log, by fold.
        judged = collect(run, problem) if can.rank else None  # first-stage ranks, dm, mm_dm, ct, qs
        if config.method != "none":
            stacks = sids.tokenize(run, problem)  # section 1: items to SIDs
            learned = _learned(stacks)
            beams = sids.generate(run, problem, judged, stacks) if can.generate else []  # section 2: query -> K SIDs
        if judged is not None:
            lessons, matched = Lessons(problem, judged, signals.own_item(run, problem, judged)), None
            if learned is not None:
                matches = sids.match(run, problem, judged, stacks, beams)  # section 3: deepest common prefix
                richer = signals.signal(run, problem, judged, stacks, beams)  # and what else SIDs tell
                lessons = lessons._replace(levels=stacks.levels, matches=matches, signals=richer)
                matched = _matched(learned, judged, beams[0], matches)
            scores = rankers.rank(run, lessons)  # section 3: cross-fitted rankers, with and without SIDs
            ranked = Ranked(judged.asked, judged.grade, judged.rank, scores, matched)
            del lessons

        # Answer: every query of the catalogue, block by block, with exact Shapley contributions (section 5).
        answer_all(run, problem)

        # Audit: from answers to tables. Indexes and features are not needed for it.
        item_x, division = problem.vectors.items, problem.division
        del problem
        if can.rank:
            evaluate(run, catalogue, division, ranked)  # section 4: held-out, by query
        audit(run, catalogue, item_x, division, learned)  # section 6
        publication.finish(run, catalogue, division, learned)
    return run


def _learned(stacks: sids.Sids) -> Learned:
    """The SIDs as reporting reads them."""
    stack = stacks.stack()
    return Learned(
        stack.codes, stack.residual_norms, stack.latent, stacks.sizes, stacks.forced, stacks.category_codes
    )  # fmt: skip


def _matched(learned: Learned, judged: Judged, beams: Beams, matches: sids.Matches) -> Matched:
    """The matches as reporting reads them."""
    return Matched(
        learned.codes, judged.position, beams.codes, matches.level, matches.level_fit, matches.sharing,
        matches.sharing_fit,
    )  # fmt: skip


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
    chosen = list(dict.fromkeys(run_ids or _finished_runs(workspace)))  # a run named twice would be there twice
    found = [Run.load(workspace, run_id) for run_id in chosen]
    for run in found:
        run.check_tables()
    fingerprints = {run.fingerprint for run in found}
    if len(fingerprints) > 1:
        raise RunError(
            f"The runs {', '.join(chosen)} belong to {len(fingerprints)} catalogues; a snapshot holds one. "
            "Name runs of one catalogue with --run."
        )
    catalogue = load(workspace, fingerprints.pop())
    shown = min(found, key=lambda run: {"none": 1, "imported": 2}.get(run.config.method, 0))
    more = {**rating_tables(workspace, catalogue), **publication.groups_of_items(catalogue)}
    with intake.written(catalogue, found, more) as came_in:
        return snapshot.publish(
            workspace,
            snapshot=publication.snapshot_row(catalogue, shown),
            catalogue=shown.folder / "catalogue",
            runs=[RunTables(run.run_id, run.folder / "tables", generations.folders(run)) for run in found],
            given={**came_in, **runs.ablation_tables(workspace, chosen)},
            pin=pin,
        )


def _finished_runs(workspace: Path) -> list[str]:
    """Finished runs of the catalogue that the newest finished run belongs to."""
    finished = [info for info in runs.list_runs(workspace) if info.finished]
    if not finished:
        raise RunError(f"No finished run in {workspace / 'runs'}: train one with 'python -m engine train'.")
    return [info.run_id for info in finished if info.fingerprint == finished[0].fingerprint]
