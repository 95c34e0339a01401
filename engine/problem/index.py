"""The first stage's indexes, built once for all runs of an encoder."""

from __future__ import annotations

from engine.datasets.contract import Catalogue
from engine.problem.vectors import Vectors
from engine.relevance.retrieval import FirstStage
from engine.runs import Run


def index(run: Run, catalogue: Catalogue, vectors: Vectors) -> FirstStage:
    """Index titles and vectors."""
    return FirstStage(vectors.items, catalogue.items["title"].tolist(), top=run.config.retrieval.top)


def load_index(run: Run, catalogue: Catalogue, vectors: Vectors) -> FirstStage:
    """That of a finished run."""
    return index(run, catalogue, vectors)
