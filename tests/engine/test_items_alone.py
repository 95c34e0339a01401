"""A catalogue that nobody has judged: everything that can be made of it is, the rest stays empty and says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from typer.testing import CliRunner

from engine import pipeline
from engine.answering.live import LiveRun
from engine.cli import app
from engine.config import preset
from engine.datasets.contract import Catalogue
from engine.datasets.ingest import ingest
from engine.errors import DataError, RunError
from engine.problem.division import divide
from engine.problem.possible import possible
from engine.runs import Run
from engine.store.snapshot import open_snapshot
from tests.unjudged import KINDS, write_unjudged


class Made(NamedTuple):
    """A trained, mapped and published run of a catalogue without judgments."""

    kind: str
    workspace: Path
    catalogue: Catalogue
    run: Run
    snapshot_id: str

    def query(self, sql: str) -> pd.DataFrame:
        snapshot = open_snapshot(self.workspace, self.snapshot_id)
        try:
            return snapshot.cursor().execute(sql).df()
        finally:
            snapshot.close()

    def count(self, table: str) -> int:
        return int(self.query(f'SELECT count(*) AS n FROM "{table}"')["n"][0])


def make(files: Path, workspace: Path, kind: str = "", method: str = "dsirm") -> Made:
    catalogue = ingest(files, workspace).catalogue
    run = pipeline.train(workspace, catalogue.fingerprint, preset("tiny", method=method))
    pipeline.project(workspace, run.run_id)
    return Made(kind, workspace, catalogue, run, pipeline.publish(workspace))


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp(request.param)
    return make(write_unjudged(folder / "files", request.param), folder / "ws", request.param)


def test_what_items_make_is_there(made: Made) -> None:
    sids = made.query("SELECT sid, codes, len(codes) AS levels FROM sids")
    assert len(sids) == 12
    assert (sids["levels"] == 3).all()
    assert sids["sid"].nunique() > 6
    for table in ("codes", "health", "projection", "projection_info", "training"):
        assert made.count(table) > 0, table
    assert made.count("coverage") == (2 if made.kind == "categories" else 0)
    assert made.query("SELECT value FROM health WHERE metric = 'utilisation' AND level = 1")["value"].notna().all()


def test_nothing_is_ranked_and_nothing_pretends(made: Made) -> None:
    for table in ("scores", "contributions", "reference_points", "ranker_weights", "metrics", "comparisons", "query_metrics",
                  "exposure", "exposure_concentration", "loss_ledger", "online", "causes", "drivers"):  # fmt: skip
        assert made.count(table) == 0, table
    row = made.query("SELECT * FROM runs").iloc[0]
    assert row["evaluation"] == "none"
    assert pd.isna(row["ranker"])
    assert pd.isna(row["baseline"])
    assert not made.query("SELECT 1 FROM findings WHERE kind NOT IN ('health', 'sharing')").shape[0]


def test_beams_of_the_queries_there_are(made: Made) -> None:
    n = len(made.catalogue.queries)
    beams = made.query(
        "SELECT query_id, b.sid, s.sid AS held FROM beams b LEFT JOIN (SELECT DISTINCT sid FROM sids) s USING (sid)"
    )
    assert (n == 0) == (made.kind == "items")
    assert beams["query_id"].nunique() == n
    assert beams["held"].notna().all()
    asked = {"items": 0, "categories": n, "log": 6}[made.kind]  # where all are synthetic they are shown like asked ones
    assert made.query("SELECT DISTINCT query_id FROM beam_nodes").shape[0] == asked
    assert made.query("SELECT DISTINCT query_id FROM free_beams").shape[0] == asked
    assert pd.isna(made.query("SELECT generator FROM runs")["generator"][0]) == (made.kind == "items")


def test_the_run_says_what_is_missing_and_what_would_bring_it(made: Made) -> None:
    row = made.query("SELECT notes, lacks FROM runs").iloc[0]
    notes, lacks = json.loads(row["notes"]), json.loads(row["lacks"])
    can = possible(made.catalogue)
    assert lacks == can.lacks
    assert set(lacks.values()) <= set(notes)
    assert "relevance is not ranked. Add judgments (query, item_id, grade)" in lacks["judgments"]
    assert ("queries" in lacks) == (made.kind == "items") == (not can.generate)
    assert ("categories" in lacks) == (made.kind != "categories")
    wanted = "the log has no 'impressions'" if made.kind == "log" else "they need a search log"
    assert wanted in lacks["clicks"]
    assert ("synthetic queries were made" in " ".join(notes)) == (made.kind == "categories")
    assert not any("No judged training query" in note for note in notes)


def test_what_can_be_done_is_one_sentence() -> None:
    assert possible(_items(2)).sentence() == (
        "With this: SIDs, codebook, map. Not: coverage by category (no categories); beams (no queries); "
        "relevance, exposure (no judgments)."
    )


def test_a_judged_catalogue_lacks_nothing(trained: Any) -> None:
    from engine.datasets.ingest import load

    can = possible(load(trained.workspace, trained.fingerprint))
    assert (can.rank, can.generate, can.lacks) == (True, True, {})
    assert can.sentence() == "With this: SIDs, codebook, map, coverage by category, beams, relevance, exposure."


def test_one_stack_learns_from_the_whole_log(made: Made) -> None:
    division = divide(made.catalogue, preset("tiny").split)
    assert (division.split.split == "log").all()
    assert division.seen.shape == (1, len(made.catalogue.queries))
    assert set(division.seen[0].nonzero()[0].tolist()) == set(division.pair_query.tolist())
    assert not division.judged(0).any()


def test_live_answers_are_beams_alone(made: Made) -> None:
    if made.kind == "items":
        with pytest.raises(RunError, match=r"no generator\. No query leads to an item"):
            LiveRun(made.run)
        return
    live = LiveRun(made.run)
    found = live.query("blue mug")
    assert len(found.beams)
    assert len(found.beam_nodes)
    assert (found.scores, found.contributions, found.reference) == (None, None, {})
    stored = made.catalogue.queries["text"].iloc[0]
    beams = made.query(
        f"SELECT sid FROM beams WHERE query_id = '{made.catalogue.queries['query_id'].iloc[0]}' ORDER BY rank"
    )
    assert live.query(stored).beams["sid"].tolist() == beams["sid"].tolist()
    with pytest.raises(RunError, match=r"no ranker\. No judgments"):
        live.explain("blue mug", "0")


@pytest.mark.parametrize("titles", [["oak tray"], ["oak tray"] * 2, ["oak tray", "wool cap"], ["oak tray"] * 12])
def test_the_smallest_catalogues(titles: list[str], tmp_path: Path) -> None:
    """One item; equal titles, which must share their SID."""
    (tmp_path / "files").mkdir()
    rows = pd.DataFrame({"item_id": [f"i{n}" for n in range(len(titles))], "title": titles})
    rows.to_csv(tmp_path / "files" / "items.csv", index=False)
    made = make(tmp_path / "files", tmp_path / "ws")
    sids = made.query("SELECT i.title, s.sid FROM sids s JOIN items i USING (item_id)")
    assert len(sids) == len(titles)
    assert sids["sid"].nunique() == len(set(titles))
    assert made.count("projection") == len(titles)


@pytest.mark.parametrize("method", ["tiger", "dsi", "rkmeans", "hash"])
def test_other_methods_need_no_judgments_either(method: str, tmp_path: Path) -> None:
    made = make(write_unjudged(tmp_path / "files", "items"), tmp_path / "ws", method=method)
    assert made.count("sids") == 12


def test_rankers_alone_cannot_be_trained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Method 'none' trains rankers alone.*Add judgments.*Other methods"):
        make(write_unjudged(tmp_path / "files", "items"), tmp_path / "ws", method="none")


def test_commands_from_files_to_a_snapshot(tmp_path: Path) -> None:
    """What `ingest` promises, `train` does; neither fails where there is nothing to measure."""
    files, workspace = write_unjudged(tmp_path / "files", "log"), str(tmp_path / "ws")

    def ran(*command: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, [*command, "--workspace", workspace])
        assert done.exit_code == code, done.output
        return " ".join(done.output.split())

    said = ran("ingest", str(files))
    assert "With this: SIDs, codebook, map, beams. Not: coverage by category (no categories); relevance" in said
    assert "Next: python -m engine train" in said
    trained = ran("train", "--preset", "tiny", "--no-map")
    assert "No judgments: relevance is not ranked." in trained
    assert "Test queries" not in trained
    ran("publish")
    assert "Beams of" in ran("beams", "mug")


def _items(n: int) -> Catalogue:
    from engine.datasets.contract import TABLES, DatasetSettings, plain_columns

    frames = {
        name: TABLES[name].empty_table().to_pandas()[plain_columns(name)] for name in TABLES if name != "judgments_raw"
    }
    frames["items"] = frames["items"].reindex(range(n)).assign(item_id=[f"i{k}" for k in range(n)], title="a title")
    return Catalogue("f", DatasetSettings(name="x"), 0, Path(), None).with_tables(**frames)
