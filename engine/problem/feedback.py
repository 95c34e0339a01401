"""What became known of items for past queries: all that signals may ever learn from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.problem import Problem
from engine.problem.division import supervising
from engine.relevance.signals.feedback import Feedback


def collect_feedback(problem: Problem, until: str | None) -> Feedback:
    """Grades of training queries and interactions of logged ones: all that signals may ever learn from."""
    catalogue, vectors, division = problem[:3]
    train = set(catalogue.queries["query_id"][division.split.split == "train"])
    judgments = catalogue.judgments[catalogue.judgments["query_id"].isin(train)]
    graded = judgments.assign(value=judgments["grade"] / catalogue.settings.max_grade, graded=True)
    log = supervising(catalogue, division.split, until).rename(columns={"weight": "value"}).assign(graded=False)
    parts = [part[["query_id", "item_id", "value", "graded"]] for part in (graded, log) if not part.empty]
    given = pd.concat(parts, ignore_index=True) if parts else graded[["query_id", "item_id", "value", "graded"]]
    position = pd.Index(catalogue.queries["query_id"]).get_indexer(given["query_id"])
    gave, row = np.unique(position, return_inverse=True)
    return Feedback(
        query_x=vectors.queries[gave],
        group=problem.groups[gave],
        position=gave.astype(np.int64),
        query=row.astype(np.int64),
        item=pd.Index(catalogue.items["item_id"]).get_indexer(given["item_id"]).astype(np.int64),
        value=given["value"].to_numpy(np.float32),
        graded=given["graded"].to_numpy(bool),
    )


def only(feedback: Feedback, allowed: np.ndarray) -> Feedback:
    """The feedback of the queries in the mask `allowed` (Q,) over all queries."""
    kept = np.flatnonzero(allowed[feedback.position])
    place = np.full(len(feedback.position), -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    rows = np.flatnonzero(place[feedback.query] >= 0)
    return Feedback(
        feedback.query_x[kept], feedback.group[kept], feedback.position[kept], place[feedback.query[rows]],
        feedback.item[rows], feedback.value[rows], feedback.graded[rows],
    )  # fmt: skip
