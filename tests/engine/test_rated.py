"""Who rated and how far raters agree: rows of a snapshot against numbers worked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from engine.datasets.ingest import ingest
from engine.labeling.answers import ANSWERS, SETTINGS
from engine.labeling.rated import PEOPLE, rater_agreement, rating_tables

ROOT = Path(__file__).parents[2]


def rated(**raters: list[float]) -> pd.DataFrame:
    """Ratings of pairs 0, 1, 2 ... of four queries; 'source_rater' names both, NaN is not rated."""
    rows = [
        {"query_id": f"q{n % 4}", "item_id": f"i{n}", "grade": grade, "source": name.split("_")[0],
         "rater": name.split("_")[1] or None}
        for name, grades in raters.items()
        for n, grade in enumerate(grades)
    ]  # fmt: skip
    return pd.DataFrame(rows).dropna(subset="grade")


def value(table: pd.DataFrame, kind: str, rater: str, against: str, measure: str = "percent") -> pd.Series:
    [row] = table[
        (table["kind"] == kind) & (table["rater"] == rater) & (table["against"] == against) & (table["measure"] == measure)
    ].to_dict("records")  # fmt: skip
    return pd.Series(row)


def test_two_raters_by_hand() -> None:
    """40 pairs: both 2 on 18, both 0 on 12, apart on 10: agreement .75, chance .46 + ..., kappa by Cohen's formula."""
    ada = [2.0] * 18 + [0.0] * 12 + [2.0] * 6 + [0.0] * 4
    bob = [2.0] * 18 + [0.0] * 12 + [0.0] * 6 + [2.0] * 4
    table = rater_agreement(rated(human_ada=ada, human_bob=bob), 2.0, 1.0)
    share = value(table, "raters", "ada", "bob")
    assert (share["value"], share["n_pairs"], share["n_queries"]) == (0.75, 40, 4)
    assert share["low"] <= 0.75 <= share["high"]
    assert share["low"] < share["high"]
    chance = (24 * 22 + 16 * 18) / 40**2
    assert value(table, "raters", "ada", "bob", "kappa")["value"] == pytest.approx((0.75 - chance) / (1 - chance))


def test_fewer_than_thirty_in_common_are_not_compared() -> None:
    assert rater_agreement(rated(human_ada=[1.0, 0.0] * 7, human_bob=[1.0, 0.0] * 7), 1.0, 1.0).empty
    assert rater_agreement(rated(human_ada=[1.0, 0.0] * 30), 1.0, 1.0).empty


def test_who_is_not_named_is_one_rater_while_one_a_pair() -> None:
    grades = [1.0, 0.0, 2.0] * 12
    table = rater_agreement(rated(human_ada=grades, human_=grades), 2.0, 1.0)
    assert value(table, "raters", "ada", "human, not named")["value"] == 1.0
    twice = pd.concat([rated(human_ada=grades), rated(human_=grades), rated(human_=grades)], ignore_index=True)
    assert rater_agreement(twice, 2.0, 1.0).empty


def test_a_judge_is_held_against_the_mean_of_people() -> None:
    table = rater_agreement(
        rated(human_ada=[0.0, 2.0, 2.0, 0.0], human_bob=[2.0, 2.0, 2.0, 0.0], llm_m=[1.0, 2.0, 0.0, 0.0]), 2.0, 1.0
    )
    assert table["kind"].unique().tolist() == ["judge"]
    row = value(table, "judge", "m", PEOPLE)
    assert (row["value"], row["n_pairs"]) == (0.75, 4)  # the mean of 0 and 2 is 1, the grade that the model gave


def test_ratings_are_the_files_own_and_the_answers_of_judges(tmp_path: Path) -> None:
    catalogue = ingest(ROOT / "data" / "sample", tmp_path).catalogue
    raw = pd.read_parquet(catalogue.folder / "judgments_raw.parquet")
    tables = rating_tables(tmp_path, catalogue)
    assert len(tables["ratings"]) == len(raw)
    pair = raw.iloc[0]
    for name, fingerprint in (("ours", catalogue.fingerprint), ("theirs", "f" * 16)):
        folder = tmp_path / "judgments" / name
        folder.mkdir(parents=True)
        (folder / SETTINGS).write_text(json.dumps({"fingerprint": fingerprint, "model": name}))
        lines = [
            {"query_id": pair["query_id"], "item_id": pair["item_id"], "status": "ok", "grade": 1},
            {"query_id": pair["query_id"], "item_id": "other", "status": "malformed", "grade": None},
        ]
        (folder / ANSWERS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    tables = rating_tables(tmp_path, catalogue)
    answers = tables["ratings"].query("source == 'llm'")
    assert answers[["query_id", "item_id", "grade", "rater"]].values.tolist() == [[pair["query_id"], pair["item_id"], 1.0, "ours"]]  # fmt: skip
    judge = tables["rater_agreement"].query("kind == 'judge'")
    assert judge["rater"].unique().tolist() == ["ours"]
