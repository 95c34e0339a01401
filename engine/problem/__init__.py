"""What a run is given: the catalogue, its frozen vectors, and who may learn from what."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.datasets.contract import Catalogue
from engine.datasets.ingest import load
from engine.problem.division import Division, divide, query_groups, require_lessons
from engine.problem.index import index, load_index
from engine.problem.keywords import item_views, load_views
from engine.problem.possible import possible
from engine.problem.requirements import require
from engine.problem.vectors import Vectors, encode, load_vectors
from engine.relevance.retrieval import FirstStage
from engine.runs import Run


class Problem(NamedTuple):
    """What always travels together."""

    catalogue: Catalogue
    vectors: Vectors
    division: Division
    first: FirstStage
    groups: np.ndarray  # (Q,) int64: queries that read the same share a number.
    views: np.ndarray  # (N, D) float32 unit vectors of the items as SIDs see them; those of the titles by default.


def pose(run: Run, catalogue: Catalogue) -> Problem:
    """The problem of a run that is being trained: encodes what no other run has encoded. Raises DataError where the
    judgments can teach nothing or the method asks for what the catalogue has not."""
    require(catalogue, run.config)
    division = divide(catalogue, run.config.split)
    if possible(catalogue).rank:
        require_lessons(catalogue, division.split)
    vectors = encode(run, catalogue)
    first = index(run, catalogue, vectors)
    views = item_views(run, catalogue.items, vectors)
    return Problem(catalogue, vectors, division, first, query_groups(catalogue), views)


def posed(run: Run) -> Problem:
    """The problem of a finished run. Raises RunError or DataError where its catalogue or vectors were deleted."""
    catalogue = load(run.workspace, run.fingerprint)
    vectors = load_vectors(run, catalogue)
    first = load_index(run, vectors)
    division, views = divide(catalogue, run.config.split), load_views(run, vectors)
    return Problem(catalogue, vectors, division, first, query_groups(catalogue), views)
