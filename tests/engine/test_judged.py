"""Grades that people give on the dashboard: kept whatever happens, and taken up by the next ingest as further raters."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from engine.cli import app
from engine.datasets.ingest import ingest
from engine.datasets.judged_rows import LABEL, JudgedRows, judged_rows
from engine.errors import DataError
from engine.store.judged import COLUMNS, SOURCE, Answer, JudgedStore, export_rows

SHOP = "item_id,title\na,Red kettle\nb,Blue kettle\nc,Green pan\n"
QUERIES = "query_id,text\nq1,kettle\nq2,pan\n"


def said(rater: str = "Ada", item: str = "a", grade: float = 2, query: str = "q1", **more: object) -> Answer:
    given = Answer(
        rater=rater, dataset="shop", query_id=query, query={"q1": "kettle", "q2": "pan"}.get(query, query), item_id=item,
        grade=grade, max_grade=2.0, relevant_grade=1.0,
    )  # fmt: skip
    return dataclasses.replace(given, **more)  # type: ignore[arg-type]


def rows_of(store: JudgedStore) -> JudgedRows:
    return judged_rows([dataclasses.asdict(answer) | {"source": SOURCE} for answer in store.standing()])


# ---------------------------------------------------------------- the store


def test_the_newest_answer_of_a_rater_stands(tmp_path: Path) -> None:
    store = JudgedStore(tmp_path)
    store.add(said(grade=0))
    store.add(said(rater="Bob", grade=1))
    newest = store.add(said(grade=2, reason="it is\none"))
    assert [(a.rater, a.grade) for a in store.standing()] == [("Bob", 1), ("Ada", 2)]
    assert store.standing()[1].reason == "it is one"
    store.take_back(newest.answer_id, rater="Ada")
    assert [(a.rater, a.grade) for a in store.standing()] == [("Ada", 0), ("Bob", 1)]


def test_what_a_crash_tore_and_a_hand_spoiled_is_passed_over(tmp_path: Path) -> None:
    store = JudgedStore(tmp_path)
    store.add(said())
    whole = store.path.read_text()
    store.path.write_text(whole + '[1]\n{"rater": "x"}\n' + json.dumps(json.loads(whole) | {"grade": float("nan")}) + "\n" + whole[:40])  # fmt: skip
    store.add(said(item="b"))
    assert [a.item_id for a in store.standing()] == ["a", "b"]


def _judge(workspace: Path, rater: str, n: int) -> None:
    store = JudgedStore(workspace)
    for place in range(n):
        store.add(said(rater=rater, item=f"i{place}"))


def test_two_raters_at_once_lose_nothing(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("spawn")
    raters = [fork.Process(target=_judge, args=(tmp_path, name, 40)) for name in ("Ada", "Bob")]
    for rater in raters:
        rater.start()
    for rater in raters:
        rater.join()
    assert len(JudgedStore(tmp_path).standing()) == 80


def test_a_killed_writer_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    writer = multiprocessing.get_context("spawn").Process(target=_judge, args=(tmp_path, "Ada", 100_000))
    writer.start()
    store = JudgedStore(tmp_path)
    while len(store.standing()) < 20:
        time.sleep(0.05)
    assert writer.pid
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    kept = len(store.standing())
    store.add(said(item="after"))
    assert kept >= 20
    assert [a.item_id for a in store.standing()] == [*(f"i{place}" for place in range(kept)), "after"]


@pytest.mark.parametrize("name", ["", "  \n", "=", "x" * 61])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="a rater needs a name"):
        JudgedStore(tmp_path).add(said(rater=name))
    assert not (tmp_path / "judged").exists()


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "judged").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        JudgedStore(tmp_path).add(said())


# ---------------------------------------------------------------- taken up by ingest


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "items.csv").write_text(SHOP)
    (folder / "queries.csv").write_text(QUERIES)
    (folder / "judgments.csv").write_text("query_id,item_id,grade,rater,source\nq1,a,0,Eve,human\nq1,b,2,Ada,human\n")
    (folder / "dataset.toml").write_text('name = "shop"\nmax_grade = 2\nrelevant_grade = 1\n')
    return folder


def test_conflicts_are_further_raters(tmp_path: Path, shop: Path) -> None:
    store = JudgedStore(tmp_path)
    for answer in (
        said(item="a", grade=2), said(item="c", grade=0), said(query="q2", item="c"), said(item="b", grade=0),
        said(item="gone"), said(query="q9"), said(dataset="another"), said(rater="Bob", max_grade=3.0),
    ):  # fmt: skip
        store.add(answer)
    done = ingest(shop, tmp_path, judged=rows_of(store))
    pairs = done.catalogue.judgments.set_index(["query_id", "item_id"])
    assert pairs["grade"].to_dict() == {("q1", "a"): 1.0, ("q1", "b"): 2.0, ("q1", "c"): 0.0, ("q2", "c"): 2.0}
    assert pairs["n_raters"].tolist() == [2, 1, 1, 1]
    assert pairs["source"].unique().tolist() == ["human"]
    raw = pd.read_parquet(done.catalogue.folder / "judgments_raw.parquet")
    assert raw["rater"].tolist() == ["Eve", "Ada", "Ada", "Ada", "Ada"]
    own = next(f for f in done.report.files if f.file == LABEL)
    assert (own.read, own.accepted, own.rejected, own.skipped) == (8, 3, 0, 5)
    assert {(why, n) for file, why, n in done.report.skipped if file == LABEL} == {
        ("the file has this rater's judgment of the pair", 1), ("its item is unknown", 1), ("its query is unknown", 1),
        ("of another dataset", 1), ("graded on another scale", 1),
    }  # fmt: skip
    assert any("3 judgments given in this workspace taken up as further raters, 1 of them" in w for w in done.report.warnings)  # fmt: skip


def test_a_dataset_that_nobody_judged_has_them_alone(tmp_path: Path, shop: Path) -> None:
    (shop / "judgments.csv").unlink()
    (shop / "dataset.toml").write_text('name = "shop"\n')
    store = JudgedStore(tmp_path)
    store.add(said(item="a", grade=1, max_grade=4.0, relevant_grade=2.0))
    done = ingest(shop, tmp_path, judged=rows_of(store))
    assert done.catalogue.judgments[["query_id", "item_id", "grade"]].values.tolist() == [["q1", "a", 1.0]]
    assert (done.catalogue.settings.max_grade, done.catalogue.settings.relevant_grade) == (4.0, 2.0)


def test_without_a_queries_file_the_text_tells(tmp_path: Path, shop: Path) -> None:
    (shop / "queries.csv").unlink()
    (shop / "judgments.csv").write_text("query,item_id,grade\nKettle,a,0\n")
    store = JudgedStore(tmp_path)
    store.add(said(query="kettle", item="a", grade=2))
    store.add(said(query="Green  PAN", item="c", grade=2))
    done = ingest(shop, tmp_path, judged=rows_of(store))
    assert done.catalogue.judgments[["query_id", "grade"]].values.tolist() == [["kettle", 1.0], ["green pan", 2.0]]
    assert set(done.catalogue.queries.query("source != 'synthetic'")["text"]) == {"Kettle", "Green  PAN"}


def test_the_export_is_a_judgments_file(tmp_path: Path, shop: Path) -> None:
    store = JudgedStore(tmp_path)
    store.add(said(item="c", grade=1, rater="Zoë, 2nd", reason='so "so"'))
    rows = pd.DataFrame(export_rows(store.standing()), columns=list(COLUMNS))
    rows.to_csv(shop / "judgments.csv", index=False)
    raw = pd.read_parquet(ingest(shop, tmp_path).catalogue.folder / "judgments_raw.parquet")
    assert raw[["query_id", "item_id", "grade", "source", "rater"]].values.tolist() == [["q1", "c", 1.0, "human", "Zoë, 2nd"]]  # fmt: skip


def test_by_command(tmp_path: Path, shop: Path) -> None:
    asked = ["ingest", str(shop), "--workspace", str(tmp_path), "--with-judged"]
    refused = CliRunner().invoke(app, asked)
    assert refused.exit_code != 0
    JudgedStore(tmp_path).add(said(item="c"))
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "3 judged pairs" in done.output
