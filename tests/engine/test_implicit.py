"""Judgments read from a search log: the rates against conjugate formulas, grades by hand, and no click counted twice."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

from app.queries.snapshot import grades_from_clicks
from engine import pipeline
from engine.audit.click_model import FITTED, Examination, fit_examination, lacking, search_log
from engine.audit.pair_rates import pair_rates
from engine.config import ClickGradesConfig, SplitConfig, click_grades, preset
from engine.datasets.contract import IMPLICIT, Catalogue, DatasetSettings, LogReader
from engine.datasets.ingest import ingest, load
from engine.errors import ConfigError, DataError
from engine.labeling.implicit import agreement, cut, grade_pairs, grade_scale, grades, log_reader, stated_thresholds
from engine.problem import Problem
from engine.problem.division import divide, held_out_by_clicks, learnt_until, query_groups
from engine.problem.feedback import collect_feedback
from engine.problem.possible import possible
from engine.problem.vectors import Vectors
from engine.relevance.signals.feedback import Feedback
from engine.store.snapshot import open_snapshot
from tests.engine.test_online import market

EASY = ClickGradesConfig(min_examined=2.0, min_queries=5)
"""A log of 500 items is short."""
FLAT = Examination(0.0, FITTED, np.zeros(1), 0)


def logged(*rows: tuple[str, str, int, int, int]) -> pd.DataFrame:
    """(query, item, position, impressions, clicks)."""
    frame = pd.DataFrame(rows, columns=["query_id", "item_id", "position", "impressions", "clicks"])
    return frame.assign(purchases=np.nan)


# ------------------------------------------------------------------------------------------------------------ rates


def test_a_pair_at_the_first_position_has_the_conjugate_posterior() -> None:
    rows = logged(("a", "x", 1, 40, 12), ("a", "y", 1, 10, 0), ("a", "z", 1, 30, 3), ("b", "x", 1, 20, 15))
    log = search_log(rows, pd.Index(["a", "b"]))
    found = pair_rates(log, FLAT, np.zeros(4, dtype=np.int64), least=1.0)
    a = found.clicks + found.strength * found.prior
    b = found.examined - found.clicks + found.strength * (1 - found.prior)
    np.testing.assert_allclose(found.rate, a / (a + b), atol=5e-4)
    np.testing.assert_allclose(found.low, beta.ppf(0.025, a, b), atol=1e-3)
    np.testing.assert_allclose(found.high, beta.ppf(0.975, a, b), atol=1e-3)


def test_a_prior_leaves_the_pair_itself_out() -> None:
    """Its own 1,000 impressions would make .1 or .6 of the query's mean; the other item says .2."""
    rest = (("a", "y", 1, 1000, 200), ("b", "x", 1, 1000, 50), ("b", "y", 1, 1000, 100))
    for own in (0, 1000):
        rows = logged(("a", "x", 1, 1000, own), *rest)
        found = pair_rates(search_log(rows, pd.Index(["a", "b"])), FLAT, np.zeros(4, np.int64), least=1)
        assert 0.13 < found.prior[0] < 0.25
        assert found.rate[0] == pytest.approx(own / 1000, abs=0.01)


def test_pairs_are_shrunk_towards_their_query_and_category() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for q in range(60):
        for i in range(8):
            rate = 0.5 if i < 4 else 0.05  # the first category is what the query means
            rows.append((f"q{q:02d}", f"i{i}", 1, 30, int(rng.binomial(30, rate))))
    rows += [("q00", "new-liked", 1, 2, 0), ("q00", "new-other", 1, 2, 0)]
    log = search_log(logged(*rows), pd.Index([f"q{q:02d}" for q in range(60)]))
    items = log.pairs["item_id"]
    category = np.where(items.isin(["i0", "i1", "i2", "i3", "new-liked"]), 0, 1)
    found = pair_rates(log, FLAT, category, least=1.0)
    liked, other = (found.rate[(items == name).to_numpy()][0] for name in ("new-liked", "new-other"))
    assert liked > 3 * other, "two impressions say little; the category within the query says the rest"


def test_position_bias_is_gone_from_the_rates_but_not_from_click_through() -> None:
    queries, rows, attractive = market(150, 60, decay=0.9)
    # Each item has a home: it is shown near it, so that its click-through carries its place.
    home = np.random.default_rng(1).integers(1, 11, (150, 12))
    q, i = rows["query_id"].str[1:].astype(int), rows["item_id"].str[1:].astype(int)
    kept = (rows["position"] - home[q, i]).abs() <= 2
    log = search_log(rows[kept], pd.Index(queries["query_id"]))
    examination = fit_examination(log, len(queries))
    assert examination.source == FITTED
    found = pair_rates(log, examination, np.zeros(len(log.pairs), np.int64), least=3.0)
    pairs = log.pairs.iloc[found.pair]
    true = attractive[pairs["query"], pairs["item_id"].str[1:].astype(int)]
    shown = np.bincount(log.pair, weights=log.impressions)
    place = (np.bincount(log.pair, weights=log.impressions * log.position) / shown)[found.pair]
    plain = found.clicks / shown[found.pair]
    assert np.corrcoef(plain - true, place)[0, 1] < -0.25
    assert abs(np.corrcoef(found.rate - true, place)[0, 1]) < 0.12
    assert np.corrcoef(found.rate, true)[0, 1] > np.corrcoef(plain, true)[0, 1] + 0.1
    inside = ((found.low <= true) & (true <= found.high)).mean()
    assert 0.9 < inside < 0.985, "the interval holds the truth about as often as it says"


# ----------------------------------------------------------------------------------------------------------- grades


def test_thresholds_are_the_geometric_middle_of_stated_rates() -> None:
    # Stated: .05 at grade 0, .5 at 3, between by 2^g - 1: .05, .1143, .2429, .5.
    assert stated_thresholds(4) == pytest.approx((0.1512, 0.3332, 0.6969), abs=1e-3)
    assert stated_thresholds(2) == pytest.approx((np.sqrt(0.1),))
    assert [grade_scale(g).tolist() for g in (1, 3, 0.5, 100)] == [
        [0, 1],
        [0, 1, 2, 3],
        [0, 0.5],
        [0, 20, 40, 60, 80, 100],
    ]


def test_grades_by_hand_and_purchases_raise_them() -> None:
    pairs = pd.DataFrame({"attractiveness": [0.01, 0.05, 0.15, 0.39, 0.5, 0.5], "examined": 10.0, "clicks": 20.0,
                          "purchases": [9.0, 0.0, 9.0, 0.0, 1.0, 0.0]})  # fmt: skip
    config = ClickGradesConfig(best=1.0, thresholds=(0.08, 0.4, 0.8), min_purchases=0)
    assert grades(pairs, 3, config).tolist() == [0, 1, 1, 2, 3, 3]
    # Nine purchases of twenty clicks against a usual 19 of 120; none raises what nobody clicks.
    assert grades(pairs, 3, dataclasses.replace(config, min_purchases=2)).tolist() == [0, 1, 2, 2, 3, 3]
    assert grades(pairs.assign(purchases=np.nan), 3, ClickGradesConfig(best=1.0)).tolist() == [0, 0, 1, 3, 3, 3]
    with pytest.raises(ConfigError, match="grades to 4 need 4"):
        grades(pairs, 4, config)


@pytest.mark.parametrize("wrong", [{"thresholds": (0.5, 0.2)}, {"min_examined": 0.0}, {"later": 1.0}, {"best": 0.2}])
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="click_grades"):
        ClickGradesConfig(**wrong)


def test_settings_are_read_from_text() -> None:
    found = click_grades(["click_grades.min_examined=3", "click_grades.thresholds=.1, .5", "click_grades.min_pairs=1"])
    assert found == ClickGradesConfig(min_examined=3.0, thresholds=(0.1, 0.5), min_pairs=1)
    with pytest.raises(ConfigError, match=r"one of: click_grades.min_examined"):
        click_grades(["click_grades.minimum=3"])
    with pytest.raises(ConfigError, match="allowed: a whole number"):
        click_grades(["click_grades.min_pairs=x"])


def test_the_cut_leaves_the_stated_share_for_later() -> None:
    days = pd.to_datetime(["2025-01-01T00", "2025-01-02T08", "2025-01-02T20", "2025-01-03T00", "2025-01-04T00"])
    log = pd.DataFrame({"date": days, "impressions": [10.0, 20.0, 30.0, 15.0, 25.0]})
    assert cut(log, 0.3) == "2025-01-03"
    assert cut(log, 0.6) == "2025-01-02"
    assert cut(log.assign(date=pd.NaT), 0.3) is None
    assert cut(log.assign(date=days[0]), 0.3) is None
    assert cut(log.assign(impressions=[10.0, np.nan, np.nan, np.nan, np.nan]), 0.3) is None, "one day alone was shown"


def test_what_the_log_lacks_is_said() -> None:
    whole = logged(("a", "x", 1, 4, 1)).assign(source="log")
    assert lacking(whole) is None
    assert "'position' (add it" in str(lacking(whole.assign(position=np.nan)))
    assert "'impressions' (add it" in str(lacking(whole.assign(impressions=np.nan)))
    assert "need a search log" in str(lacking(whole.assign(source="synthetic")))
    halves = pd.concat([whole.assign(position=np.nan), whole.assign(impressions=np.nan)])
    assert "together" in str(lacking(halves))


# ----------------------------------------------------------------------------------------------------------- ingest


@pytest.fixture(scope="module")
def log_only(marketplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log-only") / "files"
    shutil.copytree(marketplace, folder)
    (folder / "judgments.parquet").unlink()
    return folder


def reader(mode: str = "auto") -> LogReader:
    made = log_reader(mode, EASY)
    assert made is not None
    return made


@pytest.fixture(scope="module")
def dated(log_only: Path, tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return ingest(log_only, tmp_path_factory.mktemp("dated"), read_log=reader()).catalogue


def without_dates(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    log = pd.read_parquet(target / "interactions.parquet").drop(columns="date")
    log.to_parquet(target / "interactions.parquet")
    return target


def feedback_of(catalogue: Catalogue) -> Feedback:
    division = divide(catalogue, SplitConfig())
    x = np.zeros((len(catalogue.items), 4), dtype=np.float32)
    q = np.zeros((len(catalogue.queries), 4), dtype=np.float32)
    problem = Problem(catalogue, Vectors(x, q, None, None), division, None, query_groups(catalogue), x)  # type: ignore[arg-type]
    return collect_feedback(problem, None)


def taught(catalogue: Catalogue) -> tuple[set[str], set[str]]:
    """Ids of the queries that supervise, and of those that feed signals."""
    division, names = divide(catalogue, SplitConfig()), catalogue.queries["query_id"].to_numpy()
    return set(names[division.pair_query]), set(names[feedback_of(catalogue).position])


def test_a_log_without_judgments_becomes_a_catalogue_that_trains_and_tests(dated: Catalogue) -> None:
    judged = dated.judgments
    assert set(judged["source"]) == {IMPLICIT}
    assert set(judged["split"]) == {"train", "valid", "test"}
    assert set(judged["grade"]) == {0, 1, 2, 3}
    assert dated.settings.grades_after is not None
    evidence = pd.read_parquet(dated.folder / "click_grades.parquet")
    assert len(evidence) == len(judged)
    assert (evidence["examined"] >= EASY.min_examined).all()
    assert evidence["attractiveness"].between(evidence["low"], evidence["high"]).all()
    assert judged.groupby("query_id").size().min() >= 2
    # Training grades are those of the earlier rows alone, held-out ones of the later.
    ends = pd.Timestamp(dated.settings.grades_after) + pd.Timedelta(days=1)
    for rows, part in (
        (dated.interactions["date"] < ends, {"train"}),
        (dated.interactions["date"] >= ends, {"valid", "test"}),
    ):
        again = grade_pairs(dated.interactions[rows], dated.items, dated.queries, dated.settings, EASY).pairs
        own = judged[judged["split"].isin(part)].merge(again, on=["query_id", "item_id"], suffixes=("", "_again"))
        assert len(own) == judged["split"].isin(part).sum()
        assert (own["grade"] == own["grade_again"]).all()


def test_no_click_both_teaches_and_grades_a_held_out_query(dated: Catalogue) -> None:
    division = divide(dated, SplitConfig())
    held = held_out_by_clicks(dated, division.split)
    ids = dated.queries["query_id"].to_numpy()
    assert set(ids[held]) >= set(dated.judgments.loc[dated.judgments["split"] != "train", "query_id"])
    supervising, feeding = taught(dated)
    new = set(ids[held & (division.split.fold == 1)])
    assert new
    assert not new & (supervising | feeding), "queries of the first fold are new"
    assert set(ids[held]) & supervising, "the others are seen, by what was before the cut"

    assert dated.settings.grades_after is not None
    later = dated.interactions["date"] >= pd.Timestamp(dated.settings.grades_after) + pd.Timedelta(days=1)
    log = dated.interactions
    otherwise = dated.with_tables(interactions=log.assign(clicks=log["clicks"].where(~later, log["impressions"])))
    assert divide(otherwise, SplitConfig()).key() == division.key(), "clicks that grade teach nothing"
    for mine, theirs in zip(feedback_of(dated), feedback_of(otherwise), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    # And grades of held-out queries do not move with the clicks that teach.
    flipped = log.assign(clicks=log["clicks"].where(later, log["impressions"]))
    plain = dated.queries[dated.queries["source"] != "synthetic"]
    read = reader()(dated.items, plain, flipped[flipped["source"] == "log"], dated.judgments.iloc[:0],
                    dataclasses.replace(dated.settings, grades_after=None)).judgments  # fmt: skip
    test = [frame[frame["split"] == "test"].reset_index(drop=True) for frame in (read, dated.judgments)]
    pd.testing.assert_frame_equal(*test, check_dtype=False)


def test_without_dates_held_out_queries_teach_nothing_at_all(log_only: Path, tmp_path: Path) -> None:
    catalogue = ingest(without_dates(log_only, tmp_path / "files"), tmp_path, read_log=reader()).catalogue
    assert catalogue.settings.grades_after is None
    held = set(catalogue.judgments.loc[catalogue.judgments["split"] != "train", "query_id"])
    supervising, feeding = taught(catalogue)
    assert len(held) >= 5
    assert not held & (supervising | feeding)
    assert learnt_until(catalogue, divide(catalogue, SplitConfig()).split, None) is None


def test_an_earlier_day_of_the_run_wins_over_the_cut(dated: Catalogue) -> None:
    split = divide(dated, SplitConfig()).split
    assert learnt_until(dated, split, "2025-03-10") == "2025-03-10"
    assert learnt_until(dated, split, "2026-01-01") == dated.settings.grades_after


def test_beside_human_judgments_clicks_train_and_people_test(marketplace: Path, tmp_path: Path) -> None:
    done = ingest(marketplace, tmp_path, read_log=reader("always"))
    judged = done.catalogue.judgments
    implicit = judged["source"] == IMPLICIT
    people = set(judged.loc[~implicit, "query_id"])
    assert set(judged.loc[implicit, "split"]) == {"train"}
    assert not set(judged.loc[implicit, "query_id"]) & people
    split = pd.Series(divide(done.catalogue, SplitConfig()).split.split, index=done.catalogue.queries["query_id"])
    assert set(split[split.isin(["valid", "test"])].index) <= people
    assert any("kappa" in note for note in done.report.warnings)
    # Few judged queries without a split: people's are cross-validated, clicks only ever train.
    rows = pd.read_parquet(marketplace / "judgments.parquet").drop(columns="split")
    shutil.copytree(marketplace, tmp_path / "few")
    rows.to_parquet(tmp_path / "few" / "judgments.parquet")
    crossed = divide(ingest(tmp_path / "few", tmp_path, read_log=reader("always")).catalogue, SplitConfig()).split
    names = done.catalogue.queries["query_id"].to_numpy()
    assert crossed.mode == "cross_validation"
    assert set(names[crossed.split == "test"]) == people == set(names[crossed.cv_fold[0] >= 0])
    assert set(names[crossed.split == "train"]) == set(judged.loc[implicit, "query_id"])


def test_human_judgments_alone_stay_as_they_are(marketplace: Path, tmp_path: Path) -> None:
    plain = ingest(marketplace, tmp_path).catalogue.fingerprint
    assert ingest(marketplace, tmp_path, read_log=reader("auto")).catalogue.fingerprint == plain
    assert log_reader("never") is None
    with pytest.raises(ConfigError, match="allowed: auto, always, never"):
        log_reader("perhaps")


def test_a_log_that_cannot_grade_says_what_to_add(log_only: Path, tmp_path: Path) -> None:
    shutil.copytree(log_only, tmp_path / "files")
    file = tmp_path / "files" / "interactions.parquet"
    pd.read_parquet(file).drop(columns="position").to_parquet(file)
    done = ingest(tmp_path / "files", tmp_path, read_log=reader("auto"))
    assert done.catalogue.judgments.empty
    assert any("no 'position' (add it" in note for note in done.report.warnings)
    assert "no 'position'" in possible(done.catalogue).lacks["clicks"]
    with pytest.raises(DataError, match=r"no 'position'.*Nothing was stored"):
        ingest(tmp_path / "files", tmp_path / "other", read_log=reader("always"))
    few = log_reader("always", ClickGradesConfig(min_examined=1e6))
    with pytest.raises(DataError, match="0 queries have 2 items or more with 1e\\+06 examined"):
        ingest(log_only, tmp_path / "other", read_log=few)


def test_agreement_is_measured_on_pairs_with_both() -> None:
    mine = pd.DataFrame({"query_id": ["a", "a", "b", "c"], "item_id": list("xyxx"), "grade": [3.0, 0.0, 2.0, 1.0]})
    theirs = pd.DataFrame({"query_id": ["a", "a", "b"], "item_id": list("xyx"), "grade": [3.0, 1.0, 0.0]})
    found = agreement(mine, theirs, DatasetSettings(name="x"))
    assert found is not None
    assert found.n_pairs == 3
    assert found.percent.value == pytest.approx(1 / 3)
    assert found.binary_percent.value == pytest.approx(2 / 3)
    assert agreement(mine, theirs.iloc[:0], DatasetSettings(name="x")) is None


def test_the_catalogue_survives_reading(dated: Catalogue) -> None:
    again = load(dated.folder.parents[1], dated.fingerprint)
    pd.testing.assert_frame_equal(again.judgments, dated.judgments)
    assert again.settings == dated.settings


def test_it_trains_and_publishes_and_says_what_was_measured(dated: Catalogue) -> None:
    workspace = dated.folder.parents[1]
    run = pipeline.train(workspace, dated.fingerprint, preset("tiny", method="none"))
    assert run.config.split.until is None
    notes = run.manifest()["notes"]
    assert any(
        "agreement with clicks, not relevance" in note and str(dated.settings.grades_after) in note for note in notes
    )
    metrics = pd.read_parquet(run.folder / "tables" / "metrics.parquet")
    auc = metrics[metrics["metric"] == f"{run.config.served_ranker}.auc"].set_index("segment")
    assert auc.loc["all", "n"] == dated.judgments.loc[dated.judgments["split"] == "test", "query_id"].nunique()
    assert {"seen", "new"} <= set(auc.index)
    pipeline.publish(workspace, [run.run_id])
    snapshot = open_snapshot(workspace)
    with snapshot.cursor() as cursor:
        row = cursor.execute(
            "SELECT count(*), count(attractiveness), bool_and(low <= attractiveness AND attractiveness <= high), min(n_raters)"
            " FROM judgments WHERE source = 'implicit'"
        ).fetchone()
        assert row == (len(dated.judgments), len(dated.judgments), True, 0)
        assert grades_from_clicks(cursor)[1] == int(dated.judgments["split"].ne("train").sum())
    snapshot.close()
