"""Judgments that people gave in the workspace, taken up with a dataset's own as further raters:
`python -m engine ingest --with-judged`.

They go through the rules of the contract: an unknown query or item, a grade off the scale, a rater who judged the pair in the
file already. What breaks one is passed over and counted, for it is no fault of the dataset.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from engine.datasets.contract import COLUMNS, normalise_query
from engine.datasets.report import FileCount, Report
from engine.datasets.settings import SettingsFile
from engine.datasets.validation import Validator

LABEL = "judged in this workspace"
"""What reports call them."""
NONE_FITS = "no judgment given in this workspace is of this dataset, whose name is the one that the dashboard showed"
FILE = "judged.csv"
_COLUMNS = ("dataset", "query_id", "query", "item_id", "grade", "max_grade", "relevant_grade", "source", "rater")
_LEFT = {
    "dataset": "of another dataset",
    "scale": "graded on another scale",
    "query": "its query is unknown",
    "item": "its item is unknown",
    "again": "the file has this rater's judgment of the pair",
}
"""Why one is passed over, the first reason that holds."""


class JudgedRows(NamedTuple):
    """What people said, newest of each rater and pair."""

    rows: pd.DataFrame
    """dataset, query_id, query, item_id, grade, max_grade, relevant_grade, source, rater, in the order given."""

    def of(self, dataset: str) -> pd.DataFrame:
        """Those of one dataset."""
        return self.rows[self.rows["dataset"] == dataset]


def judged_rows(said: list[dict[str, Any]]) -> JudgedRows:
    """Answers as they are kept (engine/store/judged.py), with their `source`."""
    return JudgedRows(pd.DataFrame(said)[list(_COLUMNS)])


class Taken(NamedTuple):
    """What became of them."""

    file: FileCount
    left: tuple[tuple[str, str, int], ...]  # (LABEL, why, how many), as `Report.skipped`.
    shared: int  # Taken up, of pairs that the dataset judges itself.

    def added_to(self, report: Report) -> Report:
        """The report with these rows among the files."""
        n = self.file.accepted
        note = (
            f"{n:,} {'judgment' if n == 1 else 'judgments'} given in this workspace taken up as further raters, "
            f"{self.shared:,} of them of pairs that the dataset judges too"
        )
        return dataclasses.replace(
            report,
            files=(*report.files, self.file) if self.file.accepted else report.files,
            skipped=(*report.skipped, *(self.left if n else ())),
            warnings=(*report.warnings, note if n else f"no judgment given in this workspace fits: {self._why()}"),
        )

    def _why(self) -> str:
        return "; ".join(f"{n:,} {why}" for _, why, n in self.left) or "there are none"


def as_only_judgments(judged: JudgedRows, file: SettingsFile, staged: Path) -> tuple[Path | None, SettingsFile]:
    """The rows as a judgments file for a dataset that has none, and the settings with the scale that raters saw.

    None where no row is of the dataset.
    """
    rows = judged.of(file.settings.name)
    if rows.empty:
        return None, file
    path = staged / FILE
    rows[["query_id", "query", "item_id", "grade", "source", "rater"]].to_csv(path, index=False)
    own, seen = file.settings, rows.iloc[-1]
    top = own.max_grade if "max_grade" in file.stated else float(seen["max_grade"])
    bar = own.relevant_grade if "relevant_grade" in file.stated else float(seen["relevant_grade"])
    settings = dataclasses.replace(own, max_grade=top, relevant_grade=bar)
    return path, file._replace(settings=settings, stated=file.stated | {"max_grade", "relevant_grade"})


def take_up(validator: Validator, judged: JudgedRows) -> Taken:
    """Adds what keeps the rules to the accepted judgments of a dataset that has some of its own."""
    rows = judged.rows.reset_index(drop=True)
    by_id, known = _known_queries(validator)
    rows["_key"] = rows["query_id"] if by_id else rows["query"].map(normalise_query)
    connection = validator.connection
    items = {i for (i,) in connection.execute(f"SELECT item_id FROM {validator.accepted('items')}").fetchall()}
    own = connection.execute(
        f"SELECT _key, item_id, coalesce(source, '') AS source, rater, _row FROM {validator.accepted('judgments')}"
    ).df()
    pairs = pd.MultiIndex.from_frame(own[["_key", "item_id"]])
    by_rater = pd.MultiIndex.from_frame(own[["_key", "item_id", "source", "rater"]])
    settings = validator.settings
    broken = {
        "dataset": (rows["dataset"] != settings.name).to_numpy(),
        "scale": ((rows["max_grade"] != settings.max_grade) | ~rows["grade"].between(0, settings.max_grade)).to_numpy(),
        "query": np.zeros(len(rows), bool) if known is None else ~rows["_key"].isin(known).to_numpy(),
        "item": ~rows["item_id"].isin(items).to_numpy(),
        "again": pd.MultiIndex.from_frame(rows[["_key", "item_id", "source", "rater"]]).isin(by_rater),
    }
    why = np.select(list(broken.values()), [_LEFT[name] for name in broken], "")
    kept = rows[why == ""]
    first = int(own["_row"].max()) + 1 if len(own) else 0
    new = kept.assign(_row=range(first, first + len(kept)), split=None)
    connection.register("judged_here", new)
    names = ", ".join(f'"{c.name}"' for c in COLUMNS["judgments"])
    connection.execute(
        f"""INSERT INTO typed_judgments BY NAME
        SELECT _row, {names}, _key, false AS _faulty FROM judged_here ORDER BY _row"""
    )
    connection.unregister("judged_here")
    reasons, counts = np.unique(why[why != ""], return_counts=True)
    left = tuple((LABEL, str(reason), int(n)) for reason, n in zip(reasons, counts, strict=True))
    shared = int(pd.MultiIndex.from_frame(kept[["_key", "item_id"]]).isin(pairs).sum())
    passed = len(rows) - len(kept)
    return Taken(FileCount(LABEL, len(rows), len(kept), 0, passed, "judgments"), left, shared)


def _known_queries(validator: Validator) -> tuple[bool, set[str] | None]:
    """Whether queries go by an id, and the ids there are; None where any text may be asked."""
    if "queries" in validator.raw:
        found = validator.connection.execute(f"SELECT query_id FROM {validator.accepted('queries')}").fetchall()
        return True, {query for (query,) in found}
    return "query_id" in validator.raw["judgments"].columns, None
