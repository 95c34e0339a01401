"""Who rated, and how far raters agree: two tables of a snapshot, made when it is published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.datasets.contract import IMPLICIT, Catalogue
from engine.errors import one_line
from engine.labeling.agreement import Agreement, Interval, human_ceiling, measure_agreement
from engine.labeling.answers import SETTINGS, read_answers
from engine.labeling.pairs import LLM, raw_judgments

PEOPLE = "people (mean)"
"""What a judge is held against: of each pair the mean of its ratings, a language model's left out."""
UNNAMED = "not named"
MEASURES = ("percent", "kappa", "kappa_quadratic", "binary_percent", "binary_kappa")
MOST_GRADES = 11
"""With more distinct grades than this, agreement is measured on whole ones."""
_PAIR = ["query_id", "item_id"]


def rating_tables(workspace: Path, catalogue: Catalogue) -> dict[str, pd.DataFrame]:
    """Tables `ratings` and `rater_agreement` of a catalogue; each absent where it would have no rows.

    Ratings are the catalogue's own, as they were given, and the answers of judges that were asked about this catalogue.
    """
    own = raw_judgments(workspace, catalogue)
    own = own[own["source"] != IMPLICIT]
    parts = [own[[*_PAIR, "grade", "source", "rater"]], *_judges(workspace, catalogue)]
    ratings = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    # Labels that were exported and came back with the dataset are also among the answers.
    ratings = ratings[~((ratings["source"] == LLM) & ratings.duplicated([*_PAIR, "source", "rater"]))]
    agreement = rater_agreement(ratings, catalogue.settings.max_grade, catalogue.settings.relevant_grade)
    return {name: rows for name, rows in (("ratings", ratings), ("rater_agreement", agreement)) if len(rows)}


def _judges(workspace: Path, catalogue: Catalogue) -> Iterator[pd.DataFrame]:
    """Usable answers of each judge of this catalogue, as ratings."""
    for path in sorted((workspace / "judgments").glob(f"*/{SETTINGS}")):
        asked = json.loads(path.read_text(encoding="utf-8"))
        if asked["fingerprint"] == catalogue.fingerprint:
            usable = read_answers(path.parent).usable()
            yield usable[[*_PAIR, "grade"]].assign(source=LLM, rater=asked["model"])


def rater_agreement(ratings: pd.DataFrame, max_grade: float, relevant_grade: float) -> pd.DataFrame:
    """Rows of table `rater_agreement` of `ratings` (query_id, item_id, grade, source, rater).

    Ratings whose rater is not named count as one rater a source, as long as there is one a pair of them.
    """
    called = ratings["rater"].where(ratings["rater"].notna(), ratings["source"].astype(str) + f", {UNNAMED}")
    named = ratings.assign(rater=called.map(one_line))
    crowd = named[ratings["rater"].isna()].duplicated([*_PAIR, "rater"]).groupby(named["rater"]).any()
    named = named[~named["rater"].isin(crowd.index[crowd])]
    people, models = (named[(named["source"] == LLM) == is_model] for is_model in (False, True))
    scale: dict[str, Any] = {"grades": _grades(ratings["grade"], max_grade), "relevant_grade": relevant_grade}
    found: list[tuple[str, str, str, Agreement]] = []
    if people["rater"].nunique() > 1:
        ceiling = human_ceiling(people, **scale)
        found += [("others", c.first, c.second, c.agreement) for c in ceiling.left_out]
        found += [("raters", c.first, c.second, c.agreement) for c in ceiling.between]
    stated = ratings[ratings["source"] != LLM].groupby(_PAIR, as_index=False)["grade"].mean()
    for model, rows in models.groupby("rater"):
        both = rows.merge(stated, on=_PAIR, suffixes=("_judge", ""))
        if len(both):
            columns = (both[name].to_numpy() for name in ("grade_judge", "grade", "query_id"))
            found.append(("judge", str(model), PEOPLE, measure_agreement(*columns, **scale)))
    return pd.DataFrame([row for part in found for row in _rows(*part)])


def _grades(given: pd.Series, max_grade: float) -> tuple[float, ...]:
    """The grades that raters chose among."""
    distinct = np.unique(given)
    return tuple(distinct) if len(distinct) <= MOST_GRADES else tuple(map(float, range(int(max_grade) + 1)))


def _rows(kind: str, rater: str, against: str, found: Agreement) -> Iterator[dict[str, object]]:
    for measure in MEASURES:
        interval: Interval = getattr(found, measure)
        if not np.isnan(interval.value):
            yield {
                "kind": kind, "rater": rater, "against": against, "measure": measure, **interval._asdict(),
                "n_pairs": found.n_pairs, "n_queries": found.n_queries,
            }  # fmt: skip
