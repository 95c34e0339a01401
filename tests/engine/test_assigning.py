"""New items under a finished run: no SID moves, a generation is whole or not there, its SIDs can be predicted."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine import leftovers, pipeline
from engine.answering.live import LiveRun
from engine.assigning import generations
from engine.assigning.assign import Assignment, assign
from engine.audit.newcomers import Distance, Load
from engine.datasets.contract import GivenText
from engine.datasets.ingest import load
from engine.errors import DataError, RunError
from engine.runs import Run, load_arrays
from engine.store.snapshot import open_snapshot
from tests.conftest import ROOT, Trained

HOSTILE = "<b>Lamp</b> 💡 *bold* =1+1 | $x$"


@pytest.fixture
def workspace(trained: Trained, tmp_path: Path) -> Path:
    """A copy of the trained workspace: every file is replaced, none written into, so links will do."""
    for name in ("catalogues", "cache", "runs"):
        shutil.copytree(trained.workspace / name, tmp_path / "ws" / name, copy_function=os.link)
    return tmp_path / "ws"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a test writes its new items."""
    (tmp_path / "new").mkdir()
    return tmp_path / "new"


def catalogue(trained: Trained) -> pd.DataFrame:
    return load(trained.workspace, trained.fingerprint).items


def again(trained: Trained, *, every: int = 1) -> pd.DataFrame:
    """The run's own items under other ids."""
    items = catalogue(trained).iloc[::every].drop(columns=["attributes"])
    return items.assign(item_id="again-" + items["item_id"])


def strangers(trained: Trained, n: int = 40) -> pd.DataFrame:
    """Items of known categories whose titles are of no kind that the run has seen."""
    own = catalogue(trained)["category"].iloc[:n].tolist()
    titles = [f"quantum flux capacitor of the {i}th moon {i * i} Ω" for i in range(n)]
    return pd.DataFrame({"item_id": [f"new-{i}" for i in range(n)], "title": titles, "category": own, "seller": "Nova"})


def give(folder: Path, workspace: Path, run_id: str, items: pd.DataFrame) -> Assignment:
    items.to_csv(folder / "items.csv", index=False)
    return assign(folder, workspace, run_id)


def assigned(workspace: Path, run_id: str, number: int = 1) -> pd.DataFrame:
    return pd.read_parquet(workspace / "runs" / run_id / "generations" / str(number) / "assigned.parquet")


def published_sids(workspace: Path, run_id: str) -> pd.DataFrame:
    return pd.read_parquet(workspace / "runs" / run_id / "tables" / "sids.parquet")


def row(done: Assignment) -> dict[str, Any]:
    assert done.generation is not None
    return done.generation


# ---------------------------------------------------------------- what is given


def test_the_runs_own_items_get_their_published_sids(trained: Trained, workspace: Path, folder: Path) -> None:
    before = published_sids(workspace, trained.dsirm_run)
    done = give(folder, workspace, trained.dsirm_run, again(trained))
    made = assigned(workspace, trained.dsirm_run)
    assert made["item_id"].str.removeprefix("again-").tolist() == before["item_id"].tolist()
    assert made["sid"].tolist() == before["sid"].tolist()
    np.testing.assert_allclose(made["distance"], [norms[-1] for norms in before["residual_norms"]], atol=1e-5)
    pd.testing.assert_frame_equal(published_sids(workspace, trained.dsirm_run), before)
    assert row(done)["n_items"] == len(before)
    assert row(done)["n_new_sids"] == row(done)["n_known"] == row(done)["n_unknown_category"] == 0
    assert row(done)["beyond_p95"] == pytest.approx(0.05, abs=0.005)
    assert (made["bucket_after"] == 2 * made["bucket_before"]).all()
    assert row(done)["items_per_sid_after"] == pytest.approx(2 * row(done)["items_per_sid_before"])
    assert row(done)["shared_after"] == 1.0


def test_a_known_id_keeps_its_sid_whatever_its_title_says(trained: Trained, workspace: Path, folder: Path) -> None:
    known = catalogue(trained).iloc[:5].drop(columns=["attributes"]).assign(title="something else entirely")
    done = give(folder, workspace, trained.dsirm_run, pd.concat([known, strangers(trained, 3)]))
    assert (row(done)["n_items"], row(done)["n_known"]) == (3, 5)
    assert set(assigned(workspace, trained.dsirm_run)["item_id"]) == {"new-0", "new-1", "new-2"}


def test_an_id_of_an_earlier_generation_is_known(trained: Trained, workspace: Path, folder: Path) -> None:
    first = give(folder, workspace, trained.dsirm_run, strangers(trained, 3))
    second = give(folder, workspace, trained.dsirm_run, strangers(trained, 5))
    assert [row(d)["generation"] for d in (first, second)] == [1, 2]
    assert (row(second)["n_items"], row(second)["n_known"]) == (2, 3)
    assert row(second)["items_per_sid_before"] == row(first)["items_per_sid_after"]
    assert row(second)["largest_bucket_before"] == row(first)["largest_bucket_after"]
    third = give(folder, workspace, trained.dsirm_run, strangers(trained, 4))
    assert (third.generation, third.made, third.n_known) == (None, False, 4)
    assert not (workspace / "runs" / trained.dsirm_run / "generations" / "3").exists()


def test_equal_content_in_any_format_makes_no_second_generation(
    trained: Trained, workspace: Path, folder: Path
) -> None:
    give(folder, workspace, trained.dsirm_run, strangers(trained, 4))
    (folder / "items.csv").unlink()
    strangers(trained, 4).to_json(folder / "items.jsonl", orient="records", lines=True)
    done = assign(folder, workspace, trained.dsirm_run)
    assert not done.made
    assert row(done)["generation"] == 1
    assert not (workspace / "runs" / trained.dsirm_run / "generations" / "2").exists()


def test_level_1_is_the_categorys_code_or_else_the_nearest(trained: Trained, workspace: Path, folder: Path) -> None:
    own = catalogue(trained)[["title", "category"]].iloc[:6]
    other = catalogue(trained)["category"]
    foreign = [next(c for c in other if c != mine) for mine in own["category"]]
    items = pd.concat([own.assign(category=c) for c in (foreign, ["Nowhere > At all"] * 6, [None] * 6)])
    done = give(folder, workspace, trained.dsirm_run, items.assign(item_id=[f"x{i}" for i in range(18)]))
    owners = pd.read_parquet(workspace / "runs" / trained.dsirm_run / "tables" / "category_codes.parquet")
    code = owners.set_index("category")["code_1"]
    first = np.stack(assigned(workspace, trained.dsirm_run)["codes"].to_numpy())[:, 0]
    assert first[:6].tolist() == code[foreign].tolist(), "whatever is nearest"
    assert (first[6:12] == first[12:]).all()
    assert row(done)["n_unknown_category"] == 12


def test_distances_and_buckets_are_those_of_the_codebook(trained: Trained, workspace: Path, folder: Path) -> None:
    done = give(folder, workspace, trained.dsirm_run, pd.concat([strangers(trained), again(trained, every=25)]))
    run = Run.load(workspace, trained.dsirm_run)
    stack = load_arrays(run.stage_folder("tokenize") / "stack0" / "codes.safetensors")
    base = stack["residual_norms"][:, -1].astype(float)
    made = assigned(workspace, trained.dsirm_run)
    assert row(done)["median_distance"] == pytest.approx(made["distance"].median())
    assert row(done)["median_distance_base"] == pytest.approx(np.median(base))
    assert row(done)["beyond_p95"] == pytest.approx((made["distance"] > np.quantile(base, 0.95)).mean())
    assert made["distance_percentile"].tolist() == [(base <= d).mean() for d in made["distance"]]
    old = pd.Series(["-".join(map(str, c)) for c in stack["codes"].tolist()]).value_counts()
    both = old.add(made["sid"].value_counts(), fill_value=0)
    assert made["bucket_before"].tolist() == [old.get(s, 0) for s in made["sid"]]
    assert made["bucket_after"].tolist() == [both[s] for s in made["sid"]]
    assert made["new_sid"].tolist() == [s not in old for s in made["sid"]]
    assert row(done)["n_new_sids"] == len(both) - len(old) > 0
    assert row(done)["items_per_sid_after"] == pytest.approx(both.sum() / len(both))
    assert row(done)["shared_after"] == pytest.approx(both[both > 1].sum() / both.sum())
    assert row(done)["largest_bucket_after"] == both.max()


def test_load_and_distance_by_hand() -> None:
    assert Load.of(np.array([1, 0, 2, 1])) == Load(4 / 3, 0.5, 2)
    old = np.arange(101.0)
    assert Distance.of(np.array([10.0, 95.0, 95.5, 100.0]), old) == Distance(95.25, 50.0, 0.5)


def test_hostile_titles_are_texts_like_any_other(trained: Trained, workspace: Path, folder: Path) -> None:
    give(folder, workspace, trained.dsirm_run, pd.DataFrame({"item_id": ["h", "e"], "title": [HOSTILE, "👟" * 30]}))
    assert assigned(workspace, trained.dsirm_run)["title"].tolist() == [HOSTILE, "👟" * 30]


# ---------------------------------------------------------------- what is refused


def nothing_was_made(workspace: Path, run_id: str) -> None:
    home = workspace / "runs" / run_id / "generations"
    assert not home.exists() or {p.name for p in home.iterdir()} <= {"0"}
    assert len(list((workspace / "catalogues").iterdir())) == 1, "new items are no catalogue"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no items file"),
        ("", "is empty"),
        ("item_id,title\n", "no rows"),
        ("item_id,title\na,\nb,  \n", "which leaves no item"),
        ("item_id,what\na,Lamp\n", "no column 'title'"),
        ("item_id,title\na,Lamp\na,Rug\nb,Hose\n", "duplicate id"),
    ],
    ids=["empty folder", "empty file", "no rows", "none accepted", "no title", "duplicates"],
)
def test_bad_items_are_a_sentence(
    trained: Trained, workspace: Path, folder: Path, text: str | None, words: str
) -> None:
    if text is not None:
        (folder / "items.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        assign(folder, workspace, trained.dsirm_run)
    nothing_was_made(workspace, trained.dsirm_run)


def test_duplicates_within_the_allowance_keep_the_first(trained: Trained, workspace: Path, folder: Path) -> None:
    (folder / "items.csv").write_text("item_id,title\na,Lamp\na,Rug\nb,Hose\n")
    done = assign(folder, workspace, trained.dsirm_run, max_reject_share=0.5)
    assert done.report.n_rejected == 1
    assert assigned(workspace, trained.dsirm_run)["title"].tolist() == ["Lamp", "Hose"]


def test_other_files_are_noted_and_not_read(trained: Trained, workspace: Path, folder: Path) -> None:
    (folder / "queries.csv").write_text("this is no contract file")
    (folder / "dataset.toml").write_text("category_separator = '/'")
    done = give(folder, workspace, trained.dsirm_run, strangers(trained, 2))
    assert "items alone are read; ignored: queries.csv, dataset.toml" in " ".join(done.report.warnings)


def test_runs_that_cannot_encode_say_why(trained: Trained, workspace: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has no SIDs"):
        give(folder, workspace, trained.none_run, strangers(trained, 2))
    with pytest.raises(RunError, match=f"is not in .*known runs: .*{trained.dsirm_run}"):
        assign(folder, workspace, "dsirm-tiny-00000000")
    with pytest.raises(RunError, match="known runs: none"):
        assign(folder, tmp_path / "another", trained.dsirm_run)
    assert generations.folders(Run.load(workspace, trained.none_run)) == ()


@pytest.mark.parametrize(
    ("given", "vectors", "words"),
    [
        (None, ["[1, 0]"], "leave that column out"),
        (GivenText(3, 0), None, "add the column text_embedding"),
        (GivenText(3, 0), ["[1, 0]"], "has 2 numbers, those of run .* have 3"),
    ],
)
def test_vectors_must_be_of_the_runs_space(
    trained: Trained,
    workspace: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: GivenText | None,
    vectors: list[str] | None,
    words: str,
) -> None:
    from engine.assigning import assign as module

    known = dataclasses.replace(load(workspace, trained.fingerprint), given_text=given)
    monkeypatch.setattr(module, "load", lambda *_: known)
    items = strangers(trained, 1)
    with pytest.raises(DataError, match=words):
        give(folder, workspace, trained.dsirm_run, items if vectors is None else items.assign(text_embedding=vectors))
    nothing_was_made(workspace, trained.dsirm_run)


def test_vectors_that_come_with_the_items_stand_in_for_titles(
    trained: Trained, workspace: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's own vectors, as if they had come with its data: the published SIDs, and no title is read."""
    from engine.assigning import assign as module

    x = load_arrays(Run.load(workspace, trained.dsirm_run).shared_folder("vectors") / "text.safetensors")["items"]
    known = dataclasses.replace(load(workspace, trained.fingerprint), given_text=GivenText(x.shape[1], 0))
    monkeypatch.setattr(module, "load", lambda *_: known)
    items = again(trained).assign(title="-", text_embedding=list(3 * x.astype(float))).iloc[::-1]
    items.to_parquet(folder / "items.parquet")
    assert row(assign(folder, workspace, trained.dsirm_run))["encoder"] is None
    assert (
        assigned(workspace, trained.dsirm_run)["sid"].tolist()
        == published_sids(workspace, trained.dsirm_run)["sid"].tolist()[::-1]
    )


# ---------------------------------------------------------------- whole or not there


def test_two_at_once_make_one_generation_each(trained: Trained, workspace: Path, tmp_path: Path) -> None:
    """The second waits for the first and sees its items."""
    found: list[Assignment] = []

    def one(name: str, items: pd.DataFrame) -> None:
        (tmp_path / name).mkdir()
        found.append(give(tmp_path / name, workspace, trained.dsirm_run, items))

    threads = [
        threading.Thread(target=one, args=(f"f{n}", strangers(trained, n))) for n in (4, 6)
    ]  # the larger holds the smaller's items
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [d.generation["generation"] for d in found if d.generation]
    held = generations.later(Run.load(workspace, trained.dsirm_run), 3)
    assert sorted(made) == list(range(1, len(made) + 1))
    assert len(set(held.item_ids)) == len(held.item_ids) == 6


@pytest.mark.timeout(300)
def test_killed_in_the_middle_leaves_no_generation(trained: Trained, workspace: Path, folder: Path) -> None:
    strangers(trained, 3).to_csv(folder / "items.csv", index=False)
    code = (
        "import sys, time; from pathlib import Path; from engine.assigning import generations\n"
        "def slow(folder, name, frame):\n"
        "    (folder / 'half').touch(); print('writing', flush=True); time.sleep(600)\n"
        "from engine.assigning.assign import assign\n"
        "from engine.runs import Run; generations.folders(Run.load(Path(sys.argv[2]), sys.argv[3]))\n"
        "generations.write_table = slow\n"
        "assign(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])"
    )
    command = [sys.executable, "-c", code, str(folder), str(workspace), trained.dsirm_run]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    home = workspace / "runs" / trained.dsirm_run / "generations"
    assert any(path.name.endswith(".tmp") for path in home.iterdir())
    assert len(generations.folders(Run.load(workspace, trained.dsirm_run))) == 1
    done = assign(folder, workspace, trained.dsirm_run)
    assert row(done)["generation"] == 1
    assert {path.name for path in home.iterdir()} == {"0", "1"}, "what the dead one left is cleared"
    assert not leftovers.clear(workspace)


# ---------------------------------------------------------------- what follows


def test_sids_of_later_generations_are_predicted_and_stored_answers_stay(
    trained: Trained, workspace: Path, folder: Path
) -> None:
    text = "wireless headphones"
    live = LiveRun.load(workspace, trained.dsirm_run)
    plain, answered = live.beams(text, width=5), live.query(text)
    assert plain.beams["sid"].tolist() == answered.beams["sid"].tolist()
    np.testing.assert_array_equal(plain.beams["log_prob"], answered.beams["log_prob"])
    assert (plain.beams["generation"] == 0).all()
    assert (plain.beams["n_later"] == 0).all()

    give(folder, workspace, trained.dsirm_run, strangers(trained, 30))
    give(folder, workspace, trained.dsirm_run, pd.concat([strangers(trained), again(trained, every=50)]))
    old = published_sids(workspace, trained.dsirm_run)["sid"].value_counts()
    later = {n: assigned(workspace, trained.dsirm_run, n) for n in (1, 2)}
    new = pd.concat(later.values())["sid"].value_counts()
    assert len(new.index.difference(old.index)) > 3
    beams = live.beams(text, width=len(old) + len(new)).beams.set_index("sid")  # at this width nothing is pruned
    assert set(beams.index) == set(old.index) | set(new.index)
    assert np.exp(beams["log_prob"]).sum() == pytest.approx(1.0, abs=1e-9)
    assert (beams["n_later"] == new.reindex(beams.index).fillna(0)).all()
    assert (beams["n_items"] - beams["n_later"] == old.reindex(beams.index).fillna(0)).all()
    for sid, generation in beams["generation"].items():
        assert generation == (0 if sid in old else 1 if sid in set(later[1]["sid"]) else 2)

    for one in (live, LiveRun.load(workspace, trained.dsirm_run)):
        now = one.query(text)
        for table in ("beams", "scores", "contributions"):
            pd.testing.assert_frame_equal(getattr(now, table), getattr(answered, table), check_exact=True)


def test_a_generation_is_published_and_changes_the_snapshot_alone(
    trained: Trained, workspace: Path, folder: Path
) -> None:
    runs = [trained.none_run, trained.dsirm_run]
    assert pipeline.publish(workspace, runs) == trained.snapshot_id, "nothing new: the same snapshot"
    give(folder, workspace, trained.dsirm_run, pd.concat([strangers(trained), again(trained, every=25)]))
    give(folder, workspace, trained.dsirm_run, again(trained, every=20))
    snapshot_id = pipeline.publish(workspace, runs)
    assert snapshot_id != trained.snapshot_id
    assert pipeline.publish(workspace, runs) == snapshot_id

    snapshots = [open_snapshot(workspace, name) for name in (trained.snapshot_id, snapshot_id)]
    try:
        sids = [s.cursor().execute("SELECT * FROM sids ORDER BY ALL").df() for s in snapshots]
        pd.testing.assert_frame_equal(*sids)
        now = snapshots[1].cursor()
        assert now.execute("SELECT run_id, generation FROM generations ORDER BY 2").fetchall() == [
            (trained.dsirm_run, n) for n in (0, 1, 2)
        ]
        counted = now.execute(
            """
            WITH held AS (
                SELECT 0 AS generation, item_id, sid, residual_norms[-1]::DOUBLE AS distance FROM sids
                UNION ALL SELECT generation, item_id, sid, distance FROM assigned
            ), load AS (
                SELECT g.generation, h.sid, count(*) AS n, min(h.generation) AS since
                FROM generations g JOIN held h ON h.generation <= g.generation GROUP BY ALL
            ), bar AS (SELECT quantile_cont(distance, 0.95) AS p95, median(distance) AS middle FROM held WHERE generation = 0)
            SELECT generation, sum(n) / count(*) AS items_per_sid_after, max(n) AS largest_bucket_after,
                   sum(n) FILTER (n > 1) / sum(n) AS shared_after, count(*) FILTER (since = generation) AS n_new_sids,
                   (SELECT count(*) FROM held h WHERE h.generation = l.generation) AS n_items,
                   (SELECT median(distance) FROM held h WHERE h.generation = l.generation) AS median_distance,
                   (SELECT middle FROM bar) AS median_distance_base,
                   (SELECT avg((distance > p95)::INT) FROM held h, bar WHERE h.generation = l.generation) AS beyond_p95
            FROM load l GROUP BY generation ORDER BY generation
            """
        ).df()
        stored = now.execute("SELECT * FROM generations ORDER BY generation").df()
        for name in counted:
            np.testing.assert_allclose(stored[name], counted[name], rtol=1e-6, err_msg=name)
        for name in Load._fields:
            assert stored[f"{name}_before"].isna()[0]
            np.testing.assert_allclose(stored[f"{name}_before"][1:], stored[f"{name}_after"][:-1])
    finally:
        for snapshot in snapshots:
            snapshot.close()
