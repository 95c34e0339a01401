"""Imports of SIDs, beams and scores made elsewhere: what is read, what is rejected, and that the tables say what they should."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from pandas import DataFrame

from engine import pipeline
from engine.config import Config, preset
from engine.datasets.ingest import ingest, ingest_audit
from engine.datasets.sid_text import BadSid, parse_sid
from engine.errors import DataError
from engine.importing import tables
from engine.importing.run import Imported, ImportSettings, import_run
from engine.runs import StageMark, Watcher, list_runs
from engine.store.snapshot import open_snapshot
from tests.conftest import Trained
from tests.imported_files import write_files

ITEMS = "item_id,title,category\na,Red kettle,K\nb,Blue kettle,K\nc,Green pan,P\nd,Iron pan,P\n"
SIDS = "item_id,sid\na,0-1\nb,0-2\nc,1-1\nd,1-1\n"
JUDGED = "query,item_id,grade,split\nkettle,a,3,test\nkettle,c,0,test\npan,c,3,test\npan,b,0,test\npan,d,3,test\n"
BEAMS = "query,rank,sid,log_prob\nkettle,1,0-1,-0.5\nkettle,2,0-3,-1.5\npan,1,0-2,-1\npan,2,1-2,-2\n"
SCORES = "query,item_id,score,score_without_sid\nkettle,a,2,1\nkettle,c,1,2\npan,c,3,0.5\npan,b,2,1\npan,d,1,0.25\npan,a,0,0\n"


def config() -> Config:
    base = preset("tiny")
    return dataclasses.replace(base, evaluation=dataclasses.replace(base.evaluation, exposure_resamples=200))


def shop(folder: Path, **files: str | None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    named = {"items": ITEMS, "judgments": JUDGED, "sids": SIDS, "beams": BEAMS, "scores": SCORES} | files
    for stem, content in named.items():
        if content is not None:
            (folder / f"{stem}.csv").write_text(content)
    return folder


def imported(folder: Path, workspace: Path, **options: Any) -> Imported:
    settings = ImportSettings(config(), options.pop("sizes", None), embed=False)
    return import_run(folder, workspace, settings, **options)


def table(made: Imported, name: str) -> DataFrame:
    return pd.read_parquet(made.run.folder / "tables" / f"{name}.parquet")


# ---------------------------------------------------------------- SIDs as they are written


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("17-203-88", (17, 203, 88)),
        ("[17, 203, 88]", (17, 203, 88)),
        ('["<a_17>", "<b_203>"]', (17, 203)),
        ("['<a_17>', '<b_203>']", (17, 203)),
        ("<a_17><b_203><c_88>", (17, 203, 88)),
        ("<b_203> <a_17>", (17, 203)),
        ("<|sid_0_17|><|sid_1_3|>", (17, 3)),
        ("<sid_17><sid_3>", (17, 3)),
        ("a17 b203", (17, 203)),
        ("17.0-2.0", (17, 2)),
        ("17,2", (17, 2)),
        ("5", (5,)),
    ],
)
def test_spellings_of_a_sid(text: str, codes: tuple[int, ...]) -> None:
    assert parse_sid(text) == codes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "17--88",
        "-1-2",
        "1.5-2",
        "<a_1><a_2><b_3>",
        "99999999-1",
        "-".join("1" * 17),
        "1-" * 999,
        "<a_1>kettle",
    ],
)
def test_what_is_no_sid(text: str) -> None:
    with pytest.raises(BadSid):
        parse_sid(text)


@drawn(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=16))
def test_every_spelling_comes_back(codes: list[int]) -> None:
    tokens = [f"<{chr(97 + level)}_{code}>" for level, code in enumerate(codes)]
    for text in ("-".join(map(str, codes)), json.dumps(codes), json.dumps(tokens), "".join(reversed(tokens))):
        assert parse_sid(text) == tuple(codes)


def test_codes_in_columns_tokens_and_lists_are_the_same_sids(tmp_path: Path) -> None:
    spelled = {
        "dashes": SIDS,
        "columns": "item_id,code_2,code_1\na,1,0\nb,2,0\nc,1,1\nd,1,1\n",
        "from zero": "item_id,sid_0,sid_1\na,0,1\nb,0,2\nc,1,1\nd,1,1\n",
        "tokens": "item_id,sid\na,<x_0><y_1>\nb,<x_0><y_2>\nc,<x_1><y_1>\nd,<x_1><y_1>\n",
    }
    found = [ingest_audit(shop(tmp_path / name, sids=text), tmp_path / "ws").files for name, text in spelled.items()]
    (tmp_path / "dashes" / "sids.csv").unlink()
    DataFrame({"item_id": list("abcd"), "sid": [[0, 1], [0, 2], [1, 1], [1, 1]]}).to_parquet(
        tmp_path / "dashes" / "sids.parquet"
    )
    found.append(ingest_audit(tmp_path / "dashes", tmp_path / "ws").files)
    assert len({files.fingerprint() for files in found}) == 1
    assert found[0].sids is not None
    assert found[0].sids.column("codes").to_pylist() == [[0, 1], [0, 2], [1, 1], [1, 1]]


# ---------------------------------------------------------------- rejects


def test_every_bad_row_is_rejected_with_place_and_reason(tmp_path: Path) -> None:
    folder = shop(
        tmp_path / "shop",
        sids=SIDS + "404,0-1\na,9-9\n,1-1\nb,x-y\nc,1-2-3\n",
        beams=BEAMS + "kettle,3,0-1,-2\nkettle,2,1-1,-2\nsofa,1,0-1,-1\npan,0,1-1,-1\npan,1.5,1-1,-1\npan,3,1-1,0.5\npan,4,1-1,much\npan,5,1,-1\n",
        scores=SCORES + "kettle,a,5,5\nkettle,404,1,1\nsofa,a,1,1\npan,a,,1\npan,a,inf,1\nkettle,b,1,high\n",
    )  # fmt: skip
    done = ingest_audit(folder, tmp_path / "ws", max_reject_share=1)
    said = {(i.file, i.column, i.rule): " | ".join(i.examples) for i in done.report.issues}
    for place, words in {
        ("sids.csv", "item_id", "unknown item"): "sids.csv:6 item_id '404'",
        ("sids.csv", "item_id", "duplicate id"): "sids.csv:7 item_id 'a' -> already given at sids.csv:2",
        ("sids.csv", "item_id", "required value is missing"): "sids.csv:8",
        ("sids.csv", "sid", "not a SID"): "sids.csv:9 sid 'x-y' -> write it as 17-203-88",
        ("sids.csv", "sid", "SIDs of unequal length"): "sids.csv:10 sid '1-2-3' -> it has 3 levels where most have 2",
        ("beams.csv", "sid", "SID given twice for a query"): "beams.csv:6 sid '0-1' -> already given at beams.csv:2",
        ("beams.csv", "rank", "rank given twice for a query"): "beams.csv:7 rank '2' -> already given at beams.csv:3",
        ("beams.csv", "query", "unknown query"): "beams.csv:8 query 'sofa' -> no accepted row of judgments.csv names it",
        ("beams.csv", "rank", "not a rank"): "beams.csv:9 rank '0' -> ranks are whole numbers",
        ("beams.csv", "log_prob", "not a log-probability"): "beams.csv:11 log_prob '0.5'",
        ("beams.csv", "log_prob", "not a number"): "beams.csv:12 log_prob 'much'",
        ("beams.csv", "sid", "SIDs of unequal length"): "beams.csv:13 sid '1' -> it has 1 levels where the SIDs of sids.csv have 2",
        ("scores.csv", "item_id", "pair scored twice"): "scores.csv:8 item_id 'a' -> already given at scores.csv:2",
        ("scores.csv", "item_id", "unknown item"): "scores.csv:9 item_id '404'",
        ("scores.csv", "query", "unknown query"): "scores.csv:10 query 'sofa'",
        ("scores.csv", "score", "required value is missing"): "scores.csv:11",
        ("scores.csv", "score", "not a number"): "scores.csv:12 score 'inf'",
        ("scores.csv", "score_without_sid", "not a number"): "scores.csv:13 score_without_sid 'high'",
    }.items():  # fmt: skip
        assert words in said[place], place
    counted = {f.file: (f.accepted, f.rejected) for f in done.report.files}
    assert counted == {
        "items.csv": (4, 0),
        "judgments.csv": (5, 0),
        "sids.csv": (4, 5),
        "beams.csv": (5, 7),
        "scores.csv": (7, 5),
    }
    assert len(done.rejects) == 17
    assert done.catalogue.n_rejected == 0, "they are no part of the catalogue"
    assert "2 beams are SIDs that no item holds" in " ".join(done.report.warnings)
    with pytest.raises(DataError, match=r"beams.csv: 7 of 12 rows .* are rejected.* Nothing was stored"):
        ingest_audit(folder, tmp_path / "other")
    assert not list((tmp_path / "other" / "catalogues").glob("*/catalogue.json"))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"sids": None, "beams": None, "scores": None}, "nothing to audit"),
        ({"sids": "item_id,colour\na,0\n"}, "sids.csv has no column 'sid'"),
        ({"beams": "query,sid\nkettle,0-1\n"}, "beams.csv has no column 'rank'"),
        ({"scores": "item_id,score\na,1\n"}, "scores.csv has no column 'query'"),
        ({"scores": "query,item_id,weight\nkettle,a,1\n"}, 'score = "its name here" under [columns.scores]'),
        ({"scores": "query_id,item_id,score\nkettle,a,1\n"}, "no queries file gives their text"),
        ({"items": None, "sids": None}, "is not a dataset"),
        ({"sids": "item_id,code_1,code_3\na,0,1\n"}, "levels must follow each other"),
        ({"sids": "item_id,code_2,code_3\na,0,1\n"}, "levels must follow each other"),
    ],
)
def test_unusable_files_give_one_sentence(tmp_path: Path, files: dict[str, str | None], said: str) -> None:
    with pytest.raises(DataError) as caught:
        ingest_audit(shop(tmp_path / "shop", **files), tmp_path / "ws")
    assert said in str(caught.value)


def test_the_catalogue_is_that_of_a_plain_ingest(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop")
    assert (
        ingest_audit(folder, tmp_path / "ws").catalogue.fingerprint
        == ingest(folder, tmp_path / "ws").catalogue.fingerprint
    )


def test_queries_of_the_files_where_the_catalogue_has_none(tmp_path: Path) -> None:
    done = ingest_audit(shop(tmp_path / "shop", judgments=None), tmp_path / "ws")
    assert set(done.catalogue.queries.query("source != 'synthetic'")["text"]) == {"kettle", "pan"}


# ---------------------------------------------------------------- tables, worked by hand


def test_scores_beams_and_matches(tmp_path: Path) -> None:
    made = imported(shop(tmp_path / "shop"), tmp_path / "ws")
    scores = table(made, "scores").set_index(["query_id", "item_id"])
    assert scores["rank"].tolist() == [1, 2, 1, 2, 3, 4]
    assert scores["rank_without_sid"].tolist() == [2, 1, 2, 1, 3, 4]
    # kettle's beams 0-1 and 0-3, pan's 0-2 and 1-2, against a 0-1, b 0-2, c and d 1-1.
    assert scores["match_level"].tolist() == [2, 0, 1, 2, 1, 1]
    assert scores["beam_rank"].fillna(0).tolist() == [1, 0, 2, 1, 2, 1]
    assert scores["matched_prefix"].fillna("").tolist() == ["0-1", "", "1", "0-2", "1", "0"]
    assert scores["judged"].tolist() == [True, True, True, True, True, False]
    beams = table(made, "beams")
    assert beams["sid"].tolist() == ["0-1", "0-3", "0-2", "1-2"]
    assert beams["n_items"].tolist() == [1, 0, 1, 0]
    sids = table(made, "sids").set_index("item_id")
    assert sids["sid"].to_dict() == {"a": "0-1", "b": "0-2", "c": "1-1", "d": "1-1"}
    assert sids["n_sharing"].tolist() == [1, 1, 2, 2]
    coverage = table(made, "coverage").set_index("category")
    assert coverage.loc["K", ["has_sid", "in_beam", "in_top_k", "unshared"]].tolist() == [2, 2, 2, 2]
    assert coverage.loc["P", ["has_sid", "in_beam", "in_top_k", "unshared"]].tolist() == [2, 0, 0, 0]
    (shared,) = table(made, "sid_sharing").to_dict("records")
    assert (shared["sid"], shared["n_items"], shared["reason"]) == ("1-1", 2, "alike")
    notes = " ".join(json.loads(table(made, "runs")["notes"][0]))
    assert "2 of 4 beams are SIDs that no item holds" in notes
    assert "SIDs of 4 of 4 items, beams of 2 queries, scores of 6 pairs" in notes


def test_measures_by_hand(tmp_path: Path) -> None:
    made = imported(shop(tmp_path / "shop"), tmp_path / "ws")
    found = table(made, "metrics").query("segment == 'all'").set_index("metric")["value"]
    # Judged: kettle a+ 2, c- 1; pan c+ 3, b- 2, d+ 1. Positives 2, 3, 1 against negatives 1, 2: 1+.5, 1+1, .5+0 of 6.
    assert found["given.auc"] == pytest.approx(4 / 6)
    # Without: positives 1, .5, .25 against negatives 2, 1: 0+.5, 0, 0.
    assert found["given_without.auc"] == pytest.approx(0.5 / 6)
    assert found["given.within_query_auc"] == pytest.approx((1 + 0.5) / 2)
    # kettle's a is reached down to level 2; pan's c and d (1-1) by beam 1-2 to level 1.
    assert found["hit@2.level_1"] == 1
    assert found["hit@2.level_2"] == pytest.approx(0.5)
    # By item: a shares 0 with b, 0-1 with none; c and d share 1 and 1-1.
    assert found["item_hit@2.level_1"] == pytest.approx(0.5)
    assert found["item_hit@2.level_2"] == pytest.approx(0.5)
    assert found["validity"] == pytest.approx(0.5)
    per_query = table(made, "query_metrics").query("metric == 'within_query_auc'").set_index("query_id")
    assert per_query.loc["kettle", ["value", "value_without", "difference"]].tolist() == [1.0, 0.0, 1.0]
    difference = table(made, "comparisons").query("metric == 'auc' and segment == 'all'")["difference"]
    assert difference.tolist() == pytest.approx([3.5 / 6])


def test_exposure_by_hand(tmp_path: Path) -> None:
    made = imported(shop(tmp_path / "shop"), tmp_path / "ws")
    exposure = table(made, "exposure").query("discount == 'log2' and dimension == 'category'").set_index("value")
    weight = 1 / np.log2(1 + np.arange(1, 5))
    total = weight[:2].sum() + weight.sum()
    kettles = (weight[0] + weight[1] + weight[3]) / total, (weight[1] + weight[0] + weight[3]) / total
    assert exposure.loc["K", ["share", "share_without"]].tolist() == pytest.approx(kettles)
    item = table(made, "codes").query("level == 2").set_index("prefix")["exposure"]
    assert item["0-1"] == pytest.approx((weight[0] + weight[3]) / total)


def test_what_no_file_tells_is_null_and_not_zero(tmp_path: Path) -> None:
    made = imported(shop(tmp_path / "shop", beams=None, scores=None), tmp_path / "ws")
    assert {p.stem for p in (made.run.folder / "tables").glob("*.parquet")} == {
        "sids", "codes", "sid_sharing", "health", "coverage", "category_codes", "findings", "runs", "stages",
    }  # fmt: skip
    coverage = table(made, "coverage")
    assert coverage["has_sid"].tolist() == [2, 2]
    for column in ("in_beam", "shown", "in_top_k", "auc_lift", "protected"):
        assert coverage[column].isna().all(), column
    assert coverage["reason"][0] == "not judged: there are no beams and no scores"
    codes = table(made, "codes")
    for column in ("exposure", "exposure_without", "n_queries", "mean_distance", "centroid"):
        assert codes.loc[codes["n_items"] > 0, column].isna().all(), column
    assert table(made, "sids")[["residual_norms", "distance"]].isna().all(axis=None)
    row = table(made, "runs").iloc[0]
    assert (row["method"], row["levels"], row["ranker"]) == ("imported", 2, None)


def test_scores_without_a_baseline(tmp_path: Path) -> None:
    scores = "query,item_id,score\n" + "\n".join(line.rsplit(",", 1)[0] for line in SCORES.splitlines()[1:]) + "\n"
    made = imported(shop(tmp_path / "shop", scores=scores), tmp_path / "ws")
    names = {p.stem for p in (made.run.folder / "tables").glob("*.parquet")}
    assert not names & {"exposure", "exposure_concentration", "comparisons"}
    assert table(made, "scores")[["score_without_sid", "rank_without_sid"]].isna().all(axis=None)
    per_query = table(made, "query_metrics")
    assert per_query["value"].notna().all()
    assert per_query[["value_without", "difference"]].isna().all(axis=None)
    codes = table(made, "codes")
    assert codes["exposure"].sum() > 0
    assert codes.loc[codes["n_items"] > 0, "exposure_without"].isna().all()


def test_a_query_scored_only_in_part_without_sids_is_not_compared(tmp_path: Path) -> None:
    made = imported(shop(tmp_path / "shop", scores=SCORES.replace("pan,b,2,1", "pan,b,2,")), tmp_path / "ws")
    scores = table(made, "scores")
    assert scores.groupby("query_id")["rank_without_sid"].count().to_dict() == {"kettle": 2, "pan": 0}
    assert any("1 rows have no score_without_sid" in warning for warning in made.report.warnings)
    shares = table(made, "exposure").query("discount == 'log2' and dimension == 'category'")[["share", "share_without"]]
    assert shares.sum().tolist() == pytest.approx([1, 1]), "over the same queries"


# ---------------------------------------------------------------- codes


@pytest.mark.parametrize(("first", "said"), [(0, "from zero"), (1, "from one"), (512, "offset")])
def test_use_of_codes_does_not_depend_on_where_they_begin(tmp_path: Path, first: int, said: str) -> None:
    sids = "item_id,sid\n" + "".join(
        f"{i},{first + a}-{2 * first + b}\n" for i, (a, b) in zip("abcd", [(0, 0), (0, 1), (1, 0), (1, 1)], strict=True)
    )
    made = imported(shop(tmp_path / said, sids=sids, beams=None, scores=None), tmp_path / "ws")
    health = table(made, "health").query("metric == 'utilisation'")
    assert health["value"].tolist() == [1.0, 1.0]
    assert table(made, "runs")["sizes"][0].tolist() == [2, 2]
    codes = table(made, "codes")
    assert codes["dead"].sum() == 0
    assert set(codes.query("level == 1")["code"]) == {first, first + 1}, "codes are shown as given"


def test_known_sizes_tell_unused_codes(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop", beams=None, scores=None)
    made = imported(folder, tmp_path / "ws", sizes=(4, 8))
    health = table(made, "health").query("metric == 'utilisation'").set_index("level")["value"]
    assert health.tolist() == [2 / 4, 2 / 8]
    assert table(made, "codes")["dead"].sum() == 2
    assert imported(folder, tmp_path / "ws").run.run_id != made.run.run_id
    with pytest.raises(DataError, match="name 3 levels, the SIDs have 2"):
        imported(folder, tmp_path / "ws", sizes=(4, 8, 8))
    with pytest.raises(DataError, match="level 2 of the SIDs has code 2, but its size is 2"):
        imported(folder, tmp_path / "ws", sizes=(4, 2))
    assert all(info.finished for info in list_runs(tmp_path / "ws")), "refused sizes leave no run behind"


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_any_number_of_levels(tmp_path: Path, levels: int) -> None:
    rng = np.random.default_rng(levels)
    codes = rng.integers(0, 3, (4, levels))
    texts = ["-".join(map(str, row)) for row in codes.tolist()]
    sids = "item_id,sid\n" + "".join(f"{i},{t}\n" for i, t in zip("abcd", texts, strict=True))
    beams = f"query,rank,sid\nkettle,1,{texts[0]}\npan,1,{texts[2]}\n"
    made = imported(shop(tmp_path / "shop", sids=sids, beams=beams), tmp_path / "ws")
    assert table(made, "codes")["level"].max() == levels
    assert table(made, "scores")["match_level"].tolist()[0] == levels
    assert open_snapshot(tmp_path / "ws", pipeline.publish(tmp_path / "ws", [made.run.run_id]))


def items_of(*categories: str | None) -> DataFrame:
    return DataFrame({"category": list(categories)})


def test_level_one_is_the_categorys_only_if_it_follows_from_it() -> None:
    codes = np.array([[0, 1], [0, 2], [1, 1], [1, 3], [1, 0], [-1, -1]])
    found = tables.category_codes(codes, items_of("R > K", "R > K", "R > P", "R > P", "R > W", "R > K"), " > ")
    assert found.to_dict("records") == [
        {"category": "R > K", "code_1": 0, "code_name": "K", "merged": False},
        {"category": "R > P", "code_1": 1, "code_name": "P", "merged": True},
        {"category": "R > W", "code_1": 1, "code_name": "P", "merged": True},
    ]
    assert tables.category_codes(codes, items_of("K", "P", "P", "P", "P", "K"), " > ").empty, "K and P share code 0"
    assert tables.category_codes(codes, items_of("K", "K", "P", "K", "P", "K"), " > ").empty, "K has two codes"
    assert tables.category_codes(codes, items_of(*"ABCDEF"), " > ").empty, "one item each proves nothing"
    assert tables.category_codes(codes, items_of(*[None] * 6), " > ").empty
    assert tables.category_codes(None, items_of("K"), " > ").empty


# ---------------------------------------------------------------- the run


class Count(Watcher):
    def __init__(self) -> None:
        self.done: list[StageMark] = []

    def finish(self, mark: StageMark) -> None:
        self.done.append(mark)


def test_equal_files_are_one_run_and_a_stopped_import_goes_on(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "files")
    whole = imported(folder, tmp_path / "ws")
    again = Count()
    assert imported(folder, tmp_path / "ws", watcher=again).run.run_id == whole.run.run_id
    assert [mark.stage for mark in again.done] == ["Reading and validating"]
    other = tmp_path / "other"
    stopped = imported(folder, other)
    (stopped.run.folder / "run.json").unlink()
    for leftover in (stopped.run.folder / "stages").glob("audit*"):
        leftover.unlink() if leftover.is_file() else leftover.rename(tmp_path / "gone")
    resumed = Count()
    made = imported(folder, other, watcher=resumed)
    assert {mark.stage: mark.cached for mark in resumed.done} == {
        "Reading and validating": False,
        "take": True,
        "evaluate": True,
        "audit": False,
    }
    for path in sorted((whole.run.folder / "tables").glob("*.parquet")):
        if path.stem not in ("runs", "stages"):
            assert path.read_bytes() == (made.run.folder / "tables" / path.name).read_bytes(), path.stem
    (folder / "scores.csv").write_text((folder / "scores.csv").read_text().replace(".", ".0", 1))
    assert imported(folder, tmp_path / "ws").run.run_id != whole.run.run_id


def test_the_map_and_the_neighbours_come_from_titles(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "files", beams=False, scores=False)
    made = import_run(folder, tmp_path / "ws", ImportSettings(config()))
    assert len(table(made, "projection")) == 80
    assert "neighbour_agreement" in set(table(made, "health")["metric"])
    assert any("embeddings of titles" in note for note in json.loads(table(made, "runs")["notes"][0]))
    assert table(made, "codes")["centroid"].isna().all()


def test_published_with_every_row(tmp_path: Path) -> None:
    made = imported(write_files(tmp_path / "files"), tmp_path / "ws")
    snapshot = open_snapshot(tmp_path / "ws", pipeline.publish(tmp_path / "ws"))
    cursor = snapshot.cursor()
    for name in ("sids", "beams", "scores", "codes", "exposure", "coverage", "health", "metrics", "findings"):
        found = cursor.execute(f"SELECT count(*) FROM {name} WHERE run_id = ?", [made.run.run_id]).fetchone()
        assert found == (len(table(made, name)),), name
    assert cursor.execute("SELECT bool_and(seen IS NULL) FROM queries").fetchone() == (True,)
    for name in ("contributions", "reference_points", "ranker_weights", "beam_nodes", "free_beams", "training"):
        assert cursor.execute(f"SELECT count(*) FROM {name}").fetchone() == (0,), name
    snapshot.close()


def test_a_run_of_ours_exported_and_imported_is_audited_the_same(
    trained: Trained, marketplace: Path, tmp_path: Path
) -> None:
    """The audit of an import is the audit of the run its files came from, wherever the files suffice."""
    own = trained.workspace / "runs" / trained.dsirm_run / "tables"
    folder = tmp_path / "export"
    folder.mkdir()
    for path in marketplace.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    ours = {path.stem: pd.read_parquet(path) for path in own.iterdir()}
    ours["sids"][["item_id", "sid"]].to_csv(folder / "sids.csv", index=False)
    # Synthetic queries are ours, made at ingest: no other system knows them.
    known = set(pd.read_parquet(folder / "queries.parquet")["query_id"])
    beams = ours["beams"][ours["beams"]["query_id"].isin(known)]
    beams[["query_id", "rank", "sid", "log_prob"]].to_csv(folder / "beams.csv", index=False)
    retrieved = ours["scores"].query("retrieved").sort_values(["query_id", "first_stage_rank"])
    retrieved[["query_id", "item_id", "score", "score_without_sid"]].to_csv(folder / "scores.csv", index=False)
    sizes = tuple(int(size) for size in ours["runs"]["sizes"][0])
    made = import_run(folder, tmp_path / "ws", ImportSettings(preset("tiny"), sizes, embed=False))
    assert made.run.fingerprint == trained.fingerprint
    theirs = {path.stem: pd.read_parquet(path) for path in (made.run.folder / "tables").glob("*.parquet")}
    match = ["query_id", "item_id", "match_level", "beam_rank", "matched_prefix", "rank", "rank_without_sid"]
    pd.testing.assert_frame_equal(
        theirs["scores"][match].sort_values(match[:2], ignore_index=True),
        retrieved[match].sort_values(match[:2], ignore_index=True),
        check_dtype=False,
    )
    pd.testing.assert_frame_equal(theirs["sid_sharing"], ours["sid_sharing"], check_dtype=False)
    pd.testing.assert_frame_equal(theirs["exposure"], ours["exposure"], check_dtype=False)
    pd.testing.assert_frame_equal(theirs["exposure_concentration"], ours["exposure_concentration"], check_dtype=False)
    for name in (
        "category",
        "codes_owned",
        "codes_shared",
        "utilisation",
        "aliasing",
        "has_sid",
        "unshared",
    ):
        assert theirs["coverage"][name].tolist() == ours["coverage"][name].tolist(), name
    known = ["level", "metric", "value", "verdict"]
    asked = "neighbour|label_score|flip_rate|margin"  # of an encoder
    measured, told = (
        side["health"].loc[~side["health"]["metric"].str.match(asked), known].reset_index(drop=True)
        for side in (ours, theirs)
    )
    pd.testing.assert_frame_equal(told, measured, check_dtype=False)
    absent = theirs["health"][theirs["health"]["value"].isna()].set_index("metric")["note"]
    assert set(absent.index) == {"label_score", "flip_rate.typo", "flip_rate.reorder", "flip_rate.stuffing"}
    assert absent.str.contains("imported").all()
    same = ["level", "prefix", "label", "n_items", "purity", "exposure", "exposure_without"]
    pd.testing.assert_frame_equal(theirs["codes"][same], ours["codes"][same], check_dtype=False)
