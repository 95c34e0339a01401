"""The audit of a run: codebook, coverage, exposure, findings, stories and the simulated online effect (section 6)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.audit.codebook import codes_table, sid_sharing_table, sids_table
from engine.audit.coverage import Reached, coverage_table
from engine.audit.exposure import (
    CONCENTRATION_COLUMNS,
    CONCENTRATION_DIMENSIONS,
    EXPOSURE_COLUMNS,
    Resamples,
    Seen,
    concentration_rows,
    exposure_rows,
)
from engine.audit.findings import Audited, findings_table
from engine.audit.health import Neighbourhood, health_table
from engine.audit.online import SLOTS, online_effect
from engine.audit.shelf import Shelf
from engine.audit.stories import stories_table
from engine.audit.tiers import categories_table
from engine.config import Config, EvaluationConfig
from engine.datasets.contract import IMPLICIT, Catalogue
from engine.problem.division import Division, learnt_until
from engine.progress import Progress
from engine.reporting.aggregates import Aggregates
from engine.reporting.answers import Answers
from engine.reporting.catalogue import items_table, queries_table
from engine.reporting.causes import causes_table
from engine.reporting.drivers import drivers_table
from engine.reporting.learned import Learned
from engine.reporting.ledger import loss_ledger
from engine.reporting.measures import (
    Probe,
    clicked_pairs,
    later_log,
    measured_rows,
    probe_of,
    remembering,
    with_label_scores,
)
from engine.reporting.stories import relevant_moves
from engine.runs import Run, write_table

NEIGHBOUR_SAMPLE, NEIGHBOURS, RANDOM_PAIRS = 2_000, 10, 20_000
_CELLS = 8_000_000
"""Cosines held at once."""

UNMEASURED = pd.DataFrame(columns=["query_id", "metric", "value", "value_without", "difference"]).astype(
    dict.fromkeys(("value", "value_without", "difference"), float)
)
"""`query_metrics` where no ranking was measured."""
_UNTOLD = {
    "codes": ["prefix", "label", "exposure"],
    "health": ["level", "metric", "value", "threshold", "verdict", "note"],
    "coverage": ["category", "n_items", "protected", "high", "reason"],
    "sid_sharing": ["sid", "n_items", "n_categories", "n_conflicts", "harmful", "reason"],
}
"""What findings and stories read of tables that a run without SIDs does not fill."""

Tables = dict[str, pd.DataFrame]


class Subject(NamedTuple):
    """A run as the audit sees it."""

    catalogue: Catalogue
    items: pd.DataFrame  # Table `items`.
    queries: pd.DataFrame  # Table `queries`.
    query_metrics: pd.DataFrame  # Table `query_metrics`, or `UNMEASURED`.
    config: Config
    shelf: Shelf | None  # None where no SIDs are known.
    counted: Shelf | None  # The same, with codes and sizes by which the use of the codebook is counted.
    item_x: np.ndarray | None  # (N, D) unit vectors of the titles; None leaves out what needs them.
    probe: Probe
    until: str | None = None  # The last day whose interactions the run learnt from; None: all.


def audit(run: Run, catalogue: Catalogue, item_x: np.ndarray, division: Division, learned: Learned | None) -> None:
    """Tables sids, codes, sid_sharing, health, coverage, exposure, exposure_concentration, causes, drivers, loss_ledger,
    findings, stories, online, click_model; none where nothing was learnt."""
    if learned is None:
        return

    def body(folder: Path, progress: Progress) -> None:
        tables = run.folder / "tables"
        items, queries = items_table(catalogue), queries_table(catalogue, division)
        shelf = Shelf(
            items, learned.codes, learned.sizes, learned.forced, learned.latent, learned.residual_norms,
            learned.category_codes, catalogue.settings.category_separator,
        )  # fmt: skip
        measured = tables / "query_metrics.parquet"
        metrics = pd.read_parquet(measured) if measured.is_file() else UNMEASURED
        probe, until = (
            probe_of(run, catalogue, learned),
            learnt_until(catalogue, division.split, run.config.split.until),
        )
        subject = Subject(catalogue, items, queries, metrics, run.config, shelf, shelf, item_x, probe, until)
        with Answers(tables) as answers:
            sums = Aggregates(answers, items, queries, catalogue.judgments)
            made = audit_tables(subject, sums, progress) | (_online(subject, sums) if sums.scored else {})
        for name, frame in made.items():
            write_table(folder, name, frame)

    folder = run.stage("audit", "Auditing codebook, coverage, exposure", body)
    run.offer_tables(folder)


def audit_tables(subject: Subject, sums: Aggregates, progress: Progress) -> Tables:
    """Tables exposure, exposure_concentration, loss_ledger, findings, stories, and with SIDs sids, codes, sid_sharing,
    health, coverage, causes, drivers."""
    config = subject.config
    judged = sums.judged_pairs()
    seen = sums.seen(judged)
    progress(1, 10)
    made = exposure_tables(sums, seen, config.evaluation, config.seed)
    progress(6, 10)
    if subject.shelf is not None:
        made |= _codebook(subject, subject.shelf, sums, seen, judged)
    progress(7, 10)
    made |= _explained(subject, sums)
    progress(8, 10)
    told = {name: made.get(name, pd.DataFrame(columns=columns)) for name, columns in _UNTOLD.items()}
    audited = Audited(
        subject.queries, subject.query_metrics, exposure=made["exposure"], loss_ledger=made["loss_ledger"], **told
    )
    made["findings"] = findings_table(audited)
    codes = None if subject.shelf is None else subject.shelf.codes
    moves = relevant_moves(sums, subject.items, codes, subject.catalogue.settings.relevant_grade)
    made["stories"] = stories_table(moves, sums.first_codes(), subject.query_metrics, subject.queries, audited.labels)
    progress(9, 10)
    return made


def exposure_tables(sums: Aggregates, seen: Seen, evaluation: EvaluationConfig, seed: int) -> Tables:
    """Tables exposure and exposure_concentration; empty where nothing was ranked both with and without SIDs."""
    rows = [pd.DataFrame(columns=list(EXPOSURE_COLUMNS))]
    concentration = [pd.DataFrame(columns=list(CONCENTRATION_COLUMNS))]
    if sums.compared:
        many, fewer = (Resamples.draw(seen, n, seed) for n in (evaluation.exposure_resamples, evaluation.resamples))
        for dimension in sums.dimensions():
            rows.append(exposure_rows(dimension, seen, many))
            if dimension.name in CONCENTRATION_DIMENSIONS:
                concentration.append(concentration_rows(dimension, seen, fewer))
    return {"exposure": _stacked(rows), "exposure_concentration": _stacked(concentration)}


def _stacked(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all but the first part, which says the columns where there are no others."""
    return pd.concat(parts[1:], ignore_index=True) if len(parts) > 1 else parts[0]


def _codebook(subject: Subject, shelf: Shelf, sums: Aggregates, seen: Seen, judged: pd.DataFrame) -> Tables:
    settings, config = subject.catalogue.settings, subject.config
    reach = sums.beam_reach(shelf.codes.shape[1])
    sharing = sid_sharing_table(shelf, subject.catalogue.judgments, relevant_grade=settings.relevant_grade)
    near = _neighbourhood(shelf, subject.item_x, config.seed)
    probe = remembering(subject.probe)
    codes = codes_table(shelf, exposure=seen.by_item[0], reach=reach)
    codes = with_label_scores(shelf, codes, subject.item_x, probe)
    clicked = clicked_pairs(subject.catalogue, subject.until)
    more = measured_rows(shelf, codes, clicked, config, subject.item_x, probe)
    return {
        "sids": sids_table(shelf),
        "codes": codes,
        "sid_sharing": sharing,
        "health": health_table(
            subject.counted or shelf, sharing, near, more, resamples=config.evaluation.resamples, seed=config.seed
        ),
        "coverage": _coverage(subject, shelf, sums, judged, reach),
    }


def _explained(subject: Subject, sums: Aggregates) -> Tables:
    """Tables loss_ledger and, of a run with SIDs, causes and drivers."""
    codes = None if subject.shelf is None else subject.shelf.codes
    settings = subject.catalogue.settings
    made = {"loss_ledger": loss_ledger(sums, subject.items, subject.queries, codes, settings.relevant_grade)}
    if codes is not None:
        categories = categories_table(subject.items, settings.category_separator)
        made["causes"] = causes_table(sums, codes)
        made["drivers"] = drivers_table(sums, subject.items, categories, subject.config.retrieval.explained)
    return made


def _coverage(
    subject: Subject, shelf: Shelf, sums: Aggregates, judged: pd.DataFrame, reach: pd.DataFrame | None
) -> pd.DataFrame:
    """Table `coverage`; steps of the funnel, lifts and verdicts that rest on absent answers are NULL, and say so."""
    queries, settings, config = subject.queries, subject.catalogue.settings, subject.config
    test = queries["query_id"][queries["split"] == "test"]
    pairs = judged[judged["query_id"].isin(test) & judged["score_without_sid"].notna()]
    pairs = pairs.assign(
        category=pairs["query_id"].map(queries.set_index("query_id")["category"]),
        relevant=pairs["grade"] >= settings.relevant_grade,
    )
    best = sums.best_rank()
    table = coverage_table(
        shelf,
        categories_table(subject.items, settings.category_separator),
        Reached(np.empty(0, dtype=object) if reach is None else reach["prefix"].to_numpy(dtype=object), best),
        pairs,
        resamples=config.evaluation.resamples,
        seed=config.seed,
    )
    absent = []
    if reach is None:
        absent.append("beams")
        table["in_beam"] = pd.array([None] * len(table), "Int64")
    if not sums.scored:
        absent.append("scores")
        table["shown"] = pd.array([None] * len(table), "Int64")
    elif not sums.compared:
        absent.append("scores without SIDs")
    if reach is None or not sums.scored:
        table["in_top_k"] = pd.array([None] * len(table), "Int64")
    if absent:
        # A verdict weighs lift and reach together: without either there is none.
        table["protected"] = table["judged_by"] = None
        table["reason"] = f"not judged: there are no {' and no '.join(absent)}"
    return table


def _online(subject: Subject, sums: Aggregates) -> Tables:
    """Tables online and click_model, from the part of the log that the run has not learnt from."""
    catalogue, config = subject.catalogue, subject.config
    judgments = catalogue.judgments
    effect = online_effect(
        sums.pages(SLOTS),
        subject.queries,
        later_log(catalogue, subject.until),
        judgments[judgments["source"] != IMPLICIT],  # what was read from the log says nothing beside it
        max_grade=catalogue.settings.max_grade,
        resamples=config.evaluation.resamples,
        seed=config.seed,
    )
    return effect._asdict()


def _neighbourhood(shelf: Shelf, x: np.ndarray | None, seed: int) -> Neighbourhood | None:
    """Items that hold a SID, drawn at random, with their nearest neighbours by cosine (rows of `x` are unit vectors)."""
    if x is None:
        return None
    rng = np.random.default_rng(seed)
    held = np.flatnonzero(shelf.codes[:, 0] >= 0)
    sampled = np.sort(rng.choice(held, min(NEIGHBOUR_SAMPLE, len(held)), replace=False))
    k = min(NEIGHBOURS, len(x) - 1)
    found = np.empty((len(sampled), k), dtype=np.int64)
    step = max(1, min(256, _CELLS // len(x)))
    for start in range(0, len(sampled), step):
        own = sampled[start : start + step]
        near = x[own] @ x.T
        near[np.arange(len(own)), own] = -np.inf
        found[start : start + step] = np.argpartition(-near, k - 1, axis=1)[:, :k]
    return Neighbourhood(sampled, found, rng.integers(0, len(x), (RANDOM_PAIRS, 2)))
