"""The tables of an imported run that follow from its files: evaluation, codebook, coverage, exposure, findings, map.

What no file tells is absent or NULL: unknown, never zero.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.audit.shelf import Shelf
from engine.config import Config
from engine.datasets.contract import Catalogue
from engine.evaluation.beams import beam_diversity as diversity
from engine.evaluation.beams import items_under
from engine.evaluation.tables import Judged, evaluate, evaluate_queries
from engine.importing.given import Given
from engine.progress import Progress
from engine.relevance.prefix import match_pairs
from engine.reporting.aggregates import Aggregates
from engine.reporting.answers import Answers
from engine.reporting.audit import UNMEASURED, Subject, Tables
from engine.reporting.audit import audit_tables as tell
from engine.reporting.evaluation import Targets, beam_metrics, query_segments
from engine.reporting.measures import Probe

GIVEN, WITHOUT = "given", "given_without"
"""Names of the rankers whose scores were given, with and without SIDs."""


class Case(NamedTuple):
    """What was given, over the tables of its catalogue."""

    given: Given
    catalogue: Catalogue
    items: pd.DataFrame  # Table `items`.
    queries: pd.DataFrame  # Table `queries`.
    owners: pd.DataFrame  # Table `category_codes`.
    config: Config

    @property
    def sizes(self) -> tuple[int, ...] | None:
        """Codes per level where they are known."""
        return self.config.quantizer.sizes


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


def evaluation_tables(case: Case) -> Tables:
    """Tables metrics, comparisons, query_metrics: of the given scores and beams on judged test queries."""
    given, catalogue, queries, config = case.given, case.catalogue, case.queries, case.config
    relevant_grade = catalogue.settings.relevant_grade
    resamples, seed = config.evaluation.resamples, config.seed
    made: Tables = {}
    parts = []
    test = (queries["split"] == "test").to_numpy()
    tested = queries["query_id"][test]
    judged = catalogue.judgments[catalogue.judgments["query_id"].isin(tested)]
    segments = query_segments(queries, case.items) or {"all": np.ones(len(queries), dtype=bool)}
    scored = judged.merge(given.scores, on=["query_id", "item_id"], sort=False)
    rankers = {GIVEN: "score"}
    if scored["score_without_sid"].notna().any():
        # Compared on the same pairs, or not at all.
        scored = scored[scored["score_without_sid"].notna()]
        rankers[WITHOUT] = "score_without_sid"
    if len(scored):
        done = evaluate(
            Judged(
                {name: scored[column].to_numpy(dtype=np.float64) for name, column in rankers.items()},
                scored["grade"].to_numpy(dtype=np.float64),
                pd.Index(tested).get_indexer(scored["query_id"]),
                relevant_grade,
                tested.tolist(),
            ),
            {name: mask[test] for name, mask in segments.items()},
            comparisons=[(GIVEN, WITHOUT)] if WITHOUT in rankers else [],
            with_without=(GIVEN, WITHOUT if WITHOUT in rankers else GIVEN),
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


def _beam_values(
    given: Given, catalogue: Catalogue, relevant: pd.DataFrame, queries: pd.DataFrame
) -> dict[str, np.ndarray]:
    """Per-query values (Q,) of the given beams; NaN for queries without beams."""
    assert given.beams is not None
    if given.codes is None:
        return {f"beam_diversity.level_{d + 1}": column for d, column in enumerate(diversity(given.beams).T)}
    query = pd.Index(queries["query_id"]).get_indexer(relevant["query_id"])
    item = pd.Index(catalogue.items["item_id"]).get_indexer(relevant["item_id"])
    asked = (given.beams[query][:, 0, 0] >= 0) & (given.codes[item, 0] >= 0)
    query, item = query[asked], item[asked]
    level = match_pairs(given.codes, given.beams, query, item).level
    targets = Targets(level, items_under(given.codes)[item], query)
    return beam_metrics(given.codes, (np.arange(len(queries)), given.beams), targets, len(queries))


def audit_tables(
    case: Case, answers: Answers, measured: Tables, vectors: tuple[np.ndarray | None, Probe], progress: Progress
) -> Tables:
    """Tables sids, codes, sid_sharing, health, coverage, exposure, exposure_concentration, findings, stories.

    `answers`: the run's beams and scores; `measured`: what `evaluation_tables` made; `vectors`: unit vectors (N, D) of
    the titles or None, and how other texts are encoded.
    """
    catalogue = case.catalogue
    metrics = measured.get("query_metrics", UNMEASURED)
    shelf, counted = _shelves(case)
    subject = Subject(catalogue, case.items, case.queries, metrics, case.config, shelf, counted, *vectors)
    sums = Aggregates(answers, case.items, case.queries, catalogue.judgments)
    return tell(subject, sums, progress)


def _shelves(case: Case) -> tuple[Shelf | None, Shelf | None]:
    """The items with their SIDs, and the same as the use of the codebook is counted."""
    codes = case.given.codes
    if codes is None:
        return None, None
    held = codes[:, 0] >= 0
    first = codes[held, 0]
    # Where the sizes are not known, unused codes can be told only below the largest one, and only if codes begin at 0.
    sizes = case.sizes or ((int(first.max()) + 1 if first.min() == 0 else 0),)
    forced = held & case.items["category"].notna().to_numpy() & bool(len(case.owners))
    separator = case.catalogue.settings.category_separator
    shelf = Shelf(case.items, codes, sizes, forced, owners=case.owners, separator=separator)
    counted, counted_sizes = codebook_use(codes, case.sizes)
    return shelf, dataclasses.replace(shelf, codes=counted, sizes=counted_sizes)


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
