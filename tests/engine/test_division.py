"""Who may learn from what: supervision by fold without a log, training as of a day, one test set for every seed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.config import Config, override, preset
from engine.datasets.contract import Catalogue
from engine.datasets.ingest import ingest, load
from engine.errors import DataError
from engine.problem import Problem
from engine.problem.division import PURCHASE_WEIGHT, Division, divide, query_groups, require_lessons
from engine.problem.feedback import collect_feedback
from engine.problem.vectors import Vectors
from engine.relevance.folds import split_queries
from engine.relevance.lexical import LexicalIndex
from engine.relevance.retrieval import FirstStage
from engine.relevance.vectors import VectorIndex
from tests.conftest import Trained


def divided(catalogue: Catalogue, config: Config) -> Division:
    return divide(catalogue, config.split)


@pytest.fixture(scope="module")
def without_log(marketplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """The marketplace's items and judgments alone: ingest adds synthetic queries."""
    folder = tmp_path_factory.mktemp("without-log")
    shutil.copytree(marketplace, folder / "files")
    (folder / "files" / "interactions.parquet").unlink()
    return ingest(folder / "files", folder / "workspace").catalogue


@pytest.fixture
def logged(trained: Trained) -> Catalogue:
    return load(trained.workspace, trained.fingerprint)


def test_without_a_log_judgments_supervise_by_fold_beside_synthetic_queries(
    without_log: Catalogue, tmp_path: Path
) -> None:
    catalogue = without_log
    assert set(catalogue.interactions["source"]) == {"synthetic"}
    config = preset("tiny")
    division = divided(catalogue, config)
    split, fold = division.split.split, division.split.fold
    judged = catalogue.judgments.merge(catalogue.queries[["query_id"]].assign(split=split, fold=fold), on="query_id",
                                       suffixes=("_given", ""))  # fmt: skip
    relevant = judged[(judged["split"] == "train") & (judged["grade"] >= catalogue.settings.relevant_grade)]
    assert len(relevant) > 50

    assert len(division.seen) == config.split.folds + 1
    names = catalogue.queries["query_id"].to_numpy()
    supervising = set(zip(names[division.pair_query], catalogue.items["item_id"].to_numpy()[division.pair_item],
                          strict=True))  # fmt: skip
    expected = {(r.query_id, r.item_id) for r in relevant.itertuples()}
    synthetic = catalogue.interactions[["query_id", "item_id"]]
    assert supervising == expected | set(synthetic.itertuples(index=False, name=None))

    for stack in range(len(division.seen)):
        seen = set(names[division.seen[stack]])
        mine = set(relevant["query_id"][relevant["fold"] != stack])
        assert seen & set(judged["query_id"]) == mine, "a stack learns from the training queries of other folds alone"
        assert set(names[division.pairs(stack)[0]]) == seen
    assert not division.seen[division.producer, np.arange(len(names))].any(), "no producer saw its query"
    assert not division.seen[:, np.isin(split, ["valid", "test"])].any()


def test_a_log_supervises_in_place_of_judgments(logged: Catalogue, tmp_path: Path) -> None:
    division = divided(logged, preset("tiny"))
    log = logged.interactions.fillna({"clicks": 0, "purchases": 0})
    log = log.assign(weight=log["clicks"] + PURCHASE_WEIGHT * log["purchases"])
    by_pair = log.groupby(["query_id", "item_id"])["weight"].sum()
    by_pair = by_pair[by_pair > 0]
    names, items = logged.queries["query_id"].to_numpy(), logged.items["item_id"].to_numpy()
    made = pd.Series(
        division.pair_weight,
        index=pd.MultiIndex.from_arrays(
            [names[division.pair_query], items[division.pair_item]], names=["query_id", "item_id"]
        ),
    )
    pd.testing.assert_series_equal(made.sort_index(), by_pair.sort_index(), check_names=False, check_dtype=False)


def test_until_leaves_out_what_came_later(logged: Catalogue, tmp_path: Path) -> None:
    day = "2025-04-15"
    config = override(preset("tiny"), [f"split.until={day}"])
    whole, past = (divided(logged, c) for c in (preset("tiny"), config))
    log = logged.interactions
    early = log[(log["date"].dt.strftime("%Y-%m-%d") <= day) & (log["clicks"] + log["purchases"] > 0)]
    assert 0 < len(early) < (log["clicks"] + log["purchases"] > 0).sum()
    names, items = logged.queries["query_id"].to_numpy(), logged.items["item_id"].to_numpy()
    found = set(zip(names[past.pair_query], items[past.pair_item], strict=True))
    assert found == set(early[["query_id", "item_id"]].itertuples(index=False, name=None))
    assert past.seen[0].sum() < whole.seen[0].sum()
    np.testing.assert_array_equal(past.split.split, whole.split.split)

    x = np.zeros((len(names), 1), dtype=np.float32)
    groups = query_groups(logged)
    problem = Problem(
        logged,
        Vectors(x[:0], x, None, None),
        past,
        FirstStage(VectorIndex(x[:1]), LexicalIndex(["a title"]), top=1),
        groups,
        x[:0],
    )
    feedback = collect_feedback(problem, config.split.until)
    ungraded = ~feedback.graded
    heard = set(zip(names[feedback.position[feedback.query[ungraded]]], items[feedback.item[ungraded]], strict=True))
    assert heard == found, "memory forgets what came later too"


def test_judgments_that_teach_nothing_are_refused_before_anything_is_trained(without_log: Catalogue) -> None:
    given, config = without_log.judgments, preset("tiny")

    def refused(judgments: pd.DataFrame, *settings: str) -> str:
        catalogue = without_log.with_tables(judgments=judgments)
        judged = catalogue.queries["query_id"].isin(judgments["query_id"]).to_numpy()
        split = judgments.drop_duplicates("query_id").set_index("query_id")["split"]
        made = split_queries(
            catalogue.queries["query_id"].tolist(), judged, catalogue.queries["query_id"].map(split).tolist(),
            override(config, settings).split, seed=0,
        )  # fmt: skip
        with pytest.raises(DataError) as caught:
            require_lessons(catalogue, made)
        return str(caught.value)

    assert "none of them of split train" in refused(given.assign(split="test"))
    assert "have grade 2" in refused(given.assign(grade=2.0, split=None))
    one = given[given["query_id"] == given["query_id"].iloc[0]]
    assert "has 1 judged query" in refused(one.assign(split=None), "split.cross_validate_below=10")


def test_every_run_seed_meets_the_same_test_queries(without_log: Catalogue, tmp_path: Path) -> None:
    drawn = without_log.with_tables(judgments=without_log.judgments.assign(split=None))
    for catalogue, few in ((drawn, 10), (drawn, 10_000), (without_log, 10)):
        first, second, other = (
            divided(catalogue, override(preset("tiny", seed=seed), [f"split.cross_validate_below={few}", *more]))
            for seed, more in ((0, []), (1, []), (0, ["split.seed=1"]))
        )  # fmt: skip
        for name in ("split", "fold", "cv_fold"):
            np.testing.assert_array_equal(getattr(first.split, name), getattr(second.split, name), err_msg=name)
        assert (first.split.split == "test").sum() > 20
        drew_again = (other.split.split != first.split.split).any(), (other.split.cv_fold != first.split.cv_fold).any()
        assert drew_again == (few == 10 and catalogue is drawn, few == 10_000), "split.seed alone draws anew"


def test_a_stack_is_taught_by_judgments_of_training_queries_that_it_sees_alone(
    without_log: Catalogue, logged: Catalogue
) -> None:
    for catalogue in (without_log, logged):
        division = divided(catalogue, preset("tiny"))
        split, fold = division.split.split, division.split.fold
        assert len(division.seen) > 1
        for stack in range(len(division.seen)):
            taught = division.judged(stack)
            assert taught.any()
            assert set(split[taught]) == {"train"}
            assert not (taught & ~division.seen[stack]).any()
            assert not (fold[taught] == stack).any()
    unsplit = logged.with_tables(judgments=logged.judgments.assign(split=None))
    crossed = divided(unsplit, override(preset("tiny"), ["split.cross_validate_below=1000000"]))
    assert crossed.split.mode == "cross_validation"  # every judged query is a test query
    assert not any(crossed.judged(stack).any() for stack in range(len(crossed.seen)))
