"""The whole method on a tiny marketplace: same inputs same numbers, killed anywhere, nothing lost."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from engine import pipeline
from engine.config import Config, preset
from engine.errors import RunError
from engine.runs import Run, list_runs
from engine.store.building import table_columns
from engine.store.snapshot import open_snapshot
from tests.conftest import ROOT, Trained, tiny

TIMED = {"runs.parquet", "stages.parquet"}
"""Tables that hold times."""


def query(trained: Trained, sql: str) -> pd.DataFrame:
    snapshot = open_snapshot(trained.workspace, trained.snapshot_id)
    try:
        return snapshot.cursor().execute(sql).df()
    finally:
        snapshot.close()


def same_tables(left: Path, right: Path) -> None:
    names = {p.name for p in left.iterdir()} - TIMED
    assert names == {p.name for p in right.iterdir()} - TIMED
    for name in sorted(names):
        pd.testing.assert_frame_equal(
            pd.read_parquet(left / name), pd.read_parquet(right / name), check_exact=True, obj=name
        )


def test_every_table_is_filled(trained: Trained) -> None:
    empty = {table for table in table_columns() if query(trained, f'SELECT count(*) AS n FROM "{table}"')["n"][0] == 0}
    # no two items with one SID; no ablation; nothing assigned since; no fault in the files; one rating a pair
    may_be = {
        "sid_sharing",
        "ladder",
        "method_comparisons",
        "assigned",
        "rejects",
        "data_skipped",
        "data_issues",
        "rater_agreement",
    }
    assert empty <= may_be


def test_contributions_sum_to_score_minus_reference(trained: Trained) -> None:
    gaps = query(
        trained,
        """SELECT abs(s.score - r.score - sum(c.value)) AS gap FROM contributions c
           JOIN scores s USING (run_id, query_id, item_id) JOIN reference_points r USING (run_id, query_id)
           GROUP BY c.run_id, c.query_id, c.item_id, s.score, r.score""",
    )["gap"]
    assert len(gaps) > 1000
    assert gaps.max() < 1e-6


def test_every_beam_is_the_sid_of_some_item(trained: Trained) -> None:
    beams = query(
        trained,
        "SELECT count(*) AS n, count(s.sid) AS valid FROM beams b LEFT JOIN (SELECT DISTINCT run_id, sid FROM sids) s USING (run_id, sid)",
    )
    assert beams["n"][0] == beams["valid"][0] > 0


def test_match_level_is_the_deepest_agreement(trained: Trained) -> None:
    rows = query(
        trained,
        """SELECT s.match_level, max(CASE WHEN i.codes = b.codes THEN 3 WHEN i.codes[:2] = b.codes[:2] THEN 2
                  WHEN i.codes[1] = b.codes[1] THEN 1 ELSE 0 END) AS deepest
           FROM (SELECT * FROM scores WHERE match_level IS NOT NULL USING SAMPLE 2000 (reservoir, 1)) s
           JOIN sids i USING (run_id, item_id) JOIN beams b USING (run_id, query_id)
           GROUP BY s.run_id, s.query_id, s.item_id, s.match_level""",
    )
    assert len(rows) > 500
    assert (rows["match_level"] == rows["deepest"]).all()


def test_ranks_are_permutations_of_the_retrieved(trained: Trained) -> None:
    rows = query(
        trained,
        """SELECT count(*) AS n, max(rank) AS a, count(DISTINCT rank) AS b, count(DISTINCT rank_without_sid) AS c
           FROM scores WHERE retrieved GROUP BY run_id, query_id""",
    )
    assert (rows["n"] == rows["a"]).all()
    assert (rows["n"] == rows["b"]).all()
    assert (rows["n"] == rows["c"]).all()
    assert query(trained, "SELECT count(*) AS n FROM scores WHERE NOT retrieved AND rank IS NOT NULL")["n"][0] == 0


def test_without_sid_is_one_ranker_in_both_runs(trained: Trained) -> None:
    """The strong ranker is trained apart, on the same folds and seed: both runs hold the same one."""
    rows = query(
        trained,
        f"""SELECT max(abs(a.score_without_sid - b.score)) AS gap, count(*) AS n FROM scores a JOIN scores b
            USING (query_id, item_id) WHERE a.run_id = '{trained.dsirm_run}' AND b.run_id = '{trained.none_run}'""",
    )
    assert rows["n"][0] > 0
    assert rows["gap"][0] == 0


@pytest.mark.parametrize(("placebo", "baseline"), [("placebo", "strong"), ("rich_placebo", "strong_gbm")])
def test_shuffled_sids_give_no_lift(trained: Trained, placebo: str, baseline: str) -> None:
    lift = query(
        trained,
        f"""SELECT * FROM comparisons
            WHERE ranker = '{placebo}' AND baseline = '{baseline}' AND metric = 'auc' AND segment = 'all'""",
    )
    assert len(lift) == 1
    assert lift["low"][0] <= 0.002


@pytest.mark.timeout(1800)  # three starts of the command
def test_equal_inputs_give_equal_numbers_even_where_killed(trained: Trained, tmp_path: Path) -> None:
    """Nothing cached; kill -9 inside stages, again and again (many more: tests/soak), then the same once more."""
    shutil.copytree(trained.workspace / "catalogues", tmp_path / "catalogues")
    command = [sys.executable, "-m", "engine", "train", "--preset", "tiny", "--ladder", "full", "--no-map"]
    stages = tmp_path / "runs" / trained.dsirm_run / "stages"
    for moment in ("tokenize.part/stack1", "generate.part/stack0/checkpoint", "answer.part/done"):
        process = subprocess.Popen([*command, "--workspace", str(tmp_path)], cwd=ROOT, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while not list(stages.glob(f"{moment}*")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        assert process.poll() is None, f"the run ended before it could be killed at {moment}"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert list(stages.glob(f"{moment}*")), f"{moment} was never reached"
        run = Run.create(tmp_path, trained.fingerprint, tiny(), pipeline.versions(tiny()))
        assert not run.finished
    resumed = pipeline.train(tmp_path, trained.fingerprint, tiny())
    assert resumed.run_id == trained.dsirm_run
    assert {mark.stage for mark in resumed.marks if mark.cached} >= {"vectors", "tokenize", "generate"}
    pipeline.project(tmp_path, resumed.run_id)
    same_tables(resumed.folder / "tables", trained.workspace / "runs" / trained.dsirm_run / "tables")


def test_code_version_config_seed_and_input_change_the_run(tmp_path: Path) -> None:
    def name(fingerprint: str = "f", config: Config | None = None, versions: dict[str, int] | None = None) -> str:
        return Run.create(tmp_path, fingerprint, config or preset("tiny"), versions or {"tokenize": 1}).run_id

    names = {
        name(),
        name("g"),
        name(config=preset("tiny", seed=1)),
        name(config=preset("demo")),
        name(versions={"tokenize": 2}),
    }
    assert len(names) == 5
    assert name() in names


def test_a_shared_stage_is_done_anew_when_its_code_changed(tmp_path: Path) -> None:
    def share(own: int, pairs: int, seed: int) -> Path:
        run = Run.create(tmp_path, "f", preset("tiny", seed=seed), {"own": own, "pairs": pairs})
        body = lambda folder, _: done.append((own, pairs, seed))  # noqa: E731
        return run.shared("own", "Anything", ("key",), body, after=("pairs",))

    done: list[tuple[int, int, int]] = []
    assert len({share(1, 1, 0), share(1, 1, 1), share(2, 1, 1), share(2, 2, 1)}) == 3
    assert done == [(1, 1, 0), (2, 1, 1), (2, 2, 1)]


def test_a_run_named_twice_is_published_once(trained: Trained, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    for name in ("catalogues", "runs"):
        shutil.copytree(trained.workspace / name, workspace / name)
    twice = pipeline.publish(workspace, [trained.dsirm_run, trained.none_run, trained.dsirm_run])
    snapshot = open_snapshot(workspace, twice)
    with snapshot.cursor() as cursor:
        runs = cursor.execute("SELECT run_id FROM runs").fetchall()
    snapshot.close()
    assert runs == [(trained.dsirm_run,), (trained.none_run,)]
    assert twice == pipeline.publish(workspace, [trained.dsirm_run, trained.none_run])


def test_unknown_and_unfinished_runs_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No finished run"):
        pipeline.publish(tmp_path)
    run = Run.create(tmp_path, "f", preset("tiny"), {})
    with pytest.raises(RunError, match="unfinished"):
        Run.load(tmp_path, run.run_id)
    with pytest.raises(RunError, match=f"known runs: {run.run_id}"):
        Run.load(tmp_path, "nothing")
    assert not list_runs(tmp_path)[0].finished


def test_a_run_of_a_version_with_other_settings_is_a_sentence(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "f", preset("tiny"), {})
    run.finish(run.describe())
    assert Run.load(tmp_path, run.run_id).config == run.config
    saved = json.loads((run.folder / "config.json").read_text(encoding="utf-8"))
    saved["config"]["signals"]["no_longer_here"] = True
    (run.folder / "config.json").write_text(json.dumps(saved), encoding="utf-8")
    with pytest.raises(RunError, match=r"no_longer_here.*train again"):
        Run.load(tmp_path, run.run_id)
