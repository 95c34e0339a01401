"""Answers written down as a run would, and what the audit makes of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from engine.config import EvaluationConfig
from engine.reporting.aggregates import Aggregates
from engine.reporting.answers import Answers
from engine.reporting.audit import exposure_tables

NO_JUDGMENTS = pd.DataFrame({"query_id": [], "item_id": [], "grade": []})


def write_parts(folder: Path, table: str, rows: pd.DataFrame, parts: int) -> None:
    """`<table>/part-*.parquet`; one `<table>.parquet` where `parts` is 0."""
    if not parts:
        rows.to_parquet(folder / f"{table}.parquet", index=False)
        return
    (folder / table).mkdir()
    for number, rows_of in enumerate(np.array_split(np.arange(len(rows)), parts)):
        rows.iloc[rows_of].to_parquet(folder / table / f"part-{number:05d}.parquet", index=False)


@contextmanager
def aggregates(
    items: pd.DataFrame, queries: pd.DataFrame, judgments: pd.DataFrame = NO_JUDGMENTS, *, parts: int = 0,
    **tables: pd.DataFrame,
) -> Iterator[Aggregates]:  # fmt: skip
    """Aggregates of `tables` (scores, beams), written in so many parts."""
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in tables.items():
            # Ranks of nothing retrieved are NULL, as a run writes them.
            write_parts(Path(folder), name, rows.convert_dtypes() if name == "scores" else rows, parts)
        with Answers(Path(folder)) as answers:
            yield Aggregates(answers, items, queries, judgments)


def exposures(
    scores: pd.DataFrame, items: pd.DataFrame, queries: pd.DataFrame, judgments: pd.DataFrame = NO_JUDGMENTS, *,
    resamples: int, seed: int = 0,
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """Tables exposure and exposure_concentration."""
    known = {"score": 0.0, "score_without_sid": 0.0, "matched_prefix": None}
    scores = scores.assign(**{name: value for name, value in known.items() if name not in scores})
    with aggregates(items, queries, judgments, scores=scores) as sums:
        evaluation = EvaluationConfig(resamples=resamples, exposure_resamples=resamples)
        return exposure_tables(sums, sums.seen(sums.judged_pairs()), evaluation, seed)
