"""Causes of a change of place: by hand, as a property, and against a plain recomputation over a real run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.audit.causes import BELOW, NOT_SIDS, UNEXPLAINED, Moved, Told, numbered_prefixes, split_changes
from engine.audit.traffic import traffic_weights
from engine.reporting.aggregates import Aggregates
from engine.reporting.answers import Answers
from engine.reporting.causes import PREFIXES, SIDS, causes_table
from tests.answered import write_parts
from tests.conftest import Trained

CODES = np.array([[7, 1], [7, 2], [5, 0], [-1, -1]])
FEATURES = np.array([0, 1, 2])  # Levels: dm speaks of no SID, then sid_1.match, sid_2.memory.


def moved(rank: list[int], without: list[int], **more: list[float]) -> Moved:
    n = len(rank)
    known = {"score": [0.0] * n, "off": [0.0] * n, "row": list(range(n))} | more
    columns = (np.zeros(n, dtype=np.int64), np.arange(n), np.array(rank), np.array(without))
    return Moved(*columns, *(np.array(known[name]) for name in ("score", "off", "row")))


def shares(given: Moved, value: list[list[float]], telling: str = "by_signal") -> dict[tuple[int, int], float]:
    told = Told(np.array(value, dtype=np.float64).reshape(-1, 3), FEATURES, numbered_prefixes(CODES)[0])
    split = getattr(split_changes(given, told), telling)
    return {(int(m), int(p)): float(s) for m, p, s in zip(*split, strict=True)}


def test_a_change_is_split_by_what_favours_the_winner() -> None:
    # Item 0 rose from 3 to 1 past items 1 and 2; each of these fell one place behind it alone.
    given = moved([1, 2, 3], [3, 1, 2])
    value = [[0.2, 0.6, 0.4], [0.6, 0.4, 0.0], [0.0, 0.5, 0.1]]
    # Against 1: dm -.4 (favours the loser), level 1 +.2, level 2 +.4. Against 2: dm +.2, level 1 +.1, level 2 +.3.
    first, second = {4: 1 / 3, 5: 2 / 3}, {NOT_SIDS: 1 / 3, 4: 1 / 6, 5: 1 / 2}
    found = shares(given, value)
    assert found == pytest.approx(
        {(0, p): (first.get(p, 0) + second[p]) / 2 for p in (NOT_SIDS, 4, 5)}
        | {(1, p): s for p, s in first.items()}
        | {(2, p): s for p, s in second.items()}
    )
    # By prefix: the winner's, '7' at level 1 and '7-1' at level 2, for its gain and for their losses.
    number, texts = numbered_prefixes(CODES)
    names = {int(n) + 3: texts[n] for n in number[0]} | {NOT_SIDS: None}
    by_prefix = {(m, names[p]): s for (m, p), s in shares(given, value, "by_prefix").items()}
    assert by_prefix[1, "7"] == pytest.approx(1 / 3)
    assert by_prefix[1, "7-1"] == pytest.approx(2 / 3)
    assert by_prefix[2, None] == pytest.approx(1 / 3)


def test_a_tie_is_not_through_sids_and_a_winner_without_sid_has_no_prefix() -> None:
    assert shares(moved([1, 2], [2, 1]), [[0.1, 0.2, 0.3]] * 2) == {(0, NOT_SIDS): 1.0, (1, NOT_SIDS): 1.0}
    given = moved([4, 3, 2, 1], [1, 2, 3, 4])._replace(row=np.array([0, -1, -1, 1]))
    found = shares(given, [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], "by_prefix")
    assert found[0, BELOW] == found[3, BELOW] == 1.0


def test_without_stored_contributions_the_score_with_sids_off_decides() -> None:
    # 0 passed 1: SIDs give it 1 - 0 = 1 more, the rest .5 less. 2 passed 3: SIDs .2 less, the rest .3 more.
    given = moved([1, 2, 3, 4], [2, 1, 4, 3], score=[1.5, 1.0, 0.7, 0.6], off=[0.5, 1.0, 0.5, 0.2], row=[-1] * 4)
    assert shares(given, []) == {(0, BELOW): 1.0, (1, BELOW): 1.0, (2, NOT_SIDS): 1.0, (3, NOT_SIDS): 1.0}
    unknown = given._replace(off=np.full(4, np.nan))
    assert shares(unknown, []) == {(m, UNEXPLAINED): 1.0 for m in range(4)}


@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_the_shares_of_every_mover_sum_to_one(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    row = np.where(rng.random(n) < 0.6, 0, -1)
    row[row == 0] = np.arange((row == 0).sum())
    score = np.sort(rng.normal(size=n))[::-1]
    rank, without = np.arange(1, n + 1), rng.permutation(n) + 1
    given = Moved(np.zeros(n, np.int64), rng.integers(0, 4, n), rank, without, score, rng.normal(size=n), row)
    told = Told(rng.normal(size=(row.max() + 1, 3)).round(1), FEATURES, numbered_prefixes(CODES)[0])
    for split in split_changes(given, told):
        total = np.bincount(split.mover, split.share, n)
        assert total == pytest.approx(np.where(rank != without, 1.0, 0.0))
        assert (split.share > 0).all()
        assert UNEXPLAINED not in split.part


def read(run: Path, name: str) -> pd.DataFrame:
    folder = run / "tables" / name
    return pd.read_parquet(folder if folder.is_dir() else folder.with_suffix(".parquet"))


@pytest.fixture(scope="module")
def run(trained: Trained) -> Path:
    return trained.workspace / "runs" / trained.dsirm_run


@pytest.mark.parametrize("told", ["signal", "prefix"])
def test_causes_sum_to_the_audited_change_of_every_group(run: Path, told: str) -> None:
    keys = ["discount", "dimension", "value"]
    causes, exposure = read(run, "causes"), read(run, "exposure")
    summed = causes[causes["told"] == told].groupby(keys)["net"].sum()
    audited = exposure.set_index(keys)["difference"]
    assert set(summed.index) <= set(audited.index)
    np.testing.assert_allclose(summed.reindex(audited.index).fillna(0), audited, atol=1e-9)
    assert (causes["gain"] >= 0).all()
    assert (causes["loss"] <= 0).all()
    np.testing.assert_allclose(causes["gain"] + causes["loss"], causes["net"], atol=1e-15)
    assert (causes[causes["told"] == "prefix"].groupby(keys)["prefix"].nunique() <= PREFIXES).all()
    assert set(causes["part"]) == {SIDS, "through SIDs, part not stored", "not through SIDs"}
    page = causes[(causes["discount"] == "top10") & (causes["told"] == told)]
    assert SIDS + ", part not stored" not in set(page["part"]), "who enters or leaves page one is explained"


def test_one_sellers_causes_recomputed_pair_by_pair(run: Path) -> None:
    items, queries = (pd.read_parquet(run / "catalogue" / f"{name}.parquet") for name in ("items", "queries"))
    exposure = read(run, "exposure").query("dimension == 'seller' and discount == 'top10'")
    seller = exposure.sort_values("difference")["value"].iloc[0]
    weight = dict(zip(queries["query_id"], traffic_weights(queries["frequency"].to_numpy()), strict=True))
    scores = read(run, "scores").query("rank > 0")
    scores = scores[scores["query_id"].map(weight) > 0]
    total = sum(weight[q] * min(n, 10) for q, n in scores.groupby("query_id").size().items())
    told = read(run, "contributions").pivot(index=["query_id", "item_id"], columns="feature", values="value")
    own = set(items["item_id"][items["seller"] == seller])
    expected: dict[tuple[str, str], float] = {}
    for query_id, rows in scores.groupby("query_id"):
        rows = rows[[(query_id, i) in told.index for i in rows["item_id"]]]
        for one in rows[rows["item_id"].isin(own)].itertuples():
            delta = int(one.rank <= 10) - int(one.rank_without_sid <= 10)
            passed = rows[(rows["rank"] > one.rank) & (rows["rank_without_sid"] < one.rank_without_sid)]
            if one.rank > one.rank_without_sid:
                passed = rows[(rows["rank"] < one.rank) & (rows["rank_without_sid"] > one.rank_without_sid)]
            for other in passed["item_id"] if delta else ():
                pair = (other, one.item_id) if delta < 0 else (one.item_id, other)
                favour = (told.loc[query_id, pair[0]] - told.loc[query_id, pair[1]]).clip(lower=0)
                for feature, value in (favour / favour.sum()).items():
                    level, _, signal = str(feature).removeprefix("sid_").partition(".")
                    key = (level, signal) if str(feature).startswith("sid_") else ("", "")
                    amount = weight[str(query_id)] / total * delta * value / len(passed)
                    expected[key] = expected.get(key, 0.0) + amount
    rows = read(run, "causes").query("told == 'signal' and discount == 'top10' and value == @seller")
    known = rows[["level", "signal"]].astype(object).where(rows["level"].notna(), "").astype(str)
    found = dict(zip(known.itertuples(index=False, name=None), rows["net"], strict=True))
    assert found == pytest.approx({key: value for key, value in expected.items() if value}, abs=1e-12)


def test_causes_do_not_depend_on_how_answers_lie_on_disk(run: Path, tmp_path: Path) -> None:
    for name in ("scores", "contributions"):
        write_parts(tmp_path, name, read(run, name).sample(frac=1, random_state=0), 3)
    catalogue = (pd.read_parquet(run / "catalogue" / f"{name}.parquet") for name in ("items", "queries", "judgments"))
    items, queries, judgments = catalogue
    codes = np.array(read(run, "sids").set_index("item_id")["codes"][items["item_id"]].tolist())
    with Answers(tmp_path) as answers:
        made = causes_table(Aggregates(answers, items, queries, judgments), codes)
    pd.testing.assert_frame_equal(made, read(run, "causes"), check_dtype=False)


def test_drivers_are_weighted_means_over_the_shown_pairs(run: Path) -> None:
    queries, items = (pd.read_parquet(run / "catalogue" / f"{name}.parquet") for name in ("queries", "items"))
    weight = dict(zip(queries["query_id"], traffic_weights(queries["frequency"].to_numpy()), strict=True))
    shown = read(run, "scores").query("rank <= 20").merge(items[["item_id", "seller", "category"]])
    rows = shown.merge(read(run, "contributions"), on=["query_id", "item_id"])
    rows["weight"] = rows["query_id"].map(weight)
    rows = rows[rows["weight"] > 0]
    drivers = read(run, "drivers")
    moved = np.sign(rows["rank_without_sid"] - rows["rank"]).map({1: "gained", -1: "lost", 0: "unmoved"})
    for cohort, value, part in (
        ("all", "all", rows),
        *(("moved", name, rows[moved == name]) for name in ("gained", "lost")),
        *(("seller", name, rows[rows["seller"] == name]) for name in rows["seller"].value_counts().index[:3]),
        *(("department", d, rows[rows["category"].str.startswith(f"{d} > ")]) for d in drivers.query("cohort == 'department'")["value"].unique()[:2]),
    ):  # fmt: skip
        found = drivers[(drivers["cohort"] == cohort) & (drivers["value"] == value)].set_index("feature")
        assert found["share"].sum() == pytest.approx(1)
        for feature, own in part.groupby("feature"):
            row = found.loc[feature]
            assert row["mean"] == pytest.approx(np.average(own["value"], weights=own["weight"]), abs=1e-9)
            assert row["mean_absolute"] == pytest.approx(
                np.average(own["value"].abs(), weights=own["weight"]), abs=1e-9
            )
            assert (row["n_pairs"], row["n_queries"]) == (len(own), own["query_id"].nunique())
