"""Some queries, with what features and signals read of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.problem import Problem
from engine.relevance.features import DenseQueries


class Queries(NamedTuple):
    """Queries (B)."""

    id: np.ndarray  # (B,) object.
    position: np.ndarray  # (B,) int64 among the catalogue's queries; -1: not one of them.
    texts: list[str]
    x: np.ndarray  # (B, D) float32 unit embeddings.
    images: np.ndarray | None  # (B, M) float32 in the images' space, NaN rows where absent.
    group: np.ndarray  # (B,) int64: queries that read the same share a number; -1: like none of the catalogue's.

    @property
    def dense(self) -> DenseQueries:
        """As dense features read them."""
        return DenseQueries(self.x, self.images, self.texts)


def queries_at(problem: Problem, position: np.ndarray) -> Queries:
    """The catalogue's queries at `position` (B,)."""
    vectors, table = problem.vectors, problem.catalogue.queries
    return Queries(
        table["query_id"].to_numpy(dtype=object)[position],
        position,
        table["text"].iloc[position].tolist(),
        vectors.queries[position],
        None if vectors.query_images is None else vectors.query_images[position],
        problem.groups[position],
    )
