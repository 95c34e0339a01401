"""Temporary files: renamed at the end, removed on failure, cleared when their writer is dead and never before."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.runs import write_text
from engine.store import leftovers
from engine.store.leftovers import ABANDONED_SECONDS, NODE, clear, replacing, temporary

LIVING = [sys.executable, "-c", "input()"]


@pytest.fixture
def dead() -> int:
    """The number of a process that ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def living() -> Iterator[int]:
    """The number of a process that runs."""
    process = subprocess.Popen(LIVING, stdin=subprocess.PIPE)
    yield process.pid
    process.communicate()


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is as old as its modification time says, which a test can set."""
    monkeypatch.setattr(leftovers, "_written", lambda path: path.stat().st_mtime)


def put(path: Path, age: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("half")
    os.utime(path, (time.time() - age,) * 2)
    return path


@pytest.mark.parametrize("node", ["", f"@{NODE}"], ids=["plain", "with node"])
def test_what_a_dead_process_left_is_cleared_wherever_it_lies(tmp_path: Path, dead: int, node: str) -> None:
    end = f"{dead}{node}.tmp"
    left = [
        put(tmp_path / name)
        for name in (
            f"CURRENT.{end}", f"snapshots/snap-1.duckdb.{end}", f"snapshots/snap-1.duckdb.{end}.wal",
            f"snapshots/snap-1.spill.{end}/duckdb_temp_storage-0.tmp", f"runs/r/config.json.{end}",
            f"runs/r/tables/scores.parquet.{end}", f"runs/r/tables/beams/part-00001.parquet.{end}", f"runs/r/catalogue/items.parquet.{end}",
            f"runs/r/stages/rank.json.{end}", f"runs/r/stages/rank.part/stack0/history.parquet.{end}",
            f"cache/pairs-1.json.{end}", f"cache/pairs-1.part/pairs.parquet.{end}", f"ablations/a/ladder.parquet.{end}",
        )
    ]  # fmt: skip
    kept = [put(tmp_path / name) for name in ("CURRENT", "snapshots/snap-1.duckdb", "runs/r/tables/scores.parquet")]
    assert len(clear(tmp_path)) == len(left)
    assert not [path for path in left if path.exists()]
    assert all(path.exists() for path in kept)
    assert not list((tmp_path / "snapshots").glob("*.spill*"))


def test_what_a_living_process_writes_stays(tmp_path: Path, living: int) -> None:
    own, other = put(temporary(tmp_path / "CURRENT")), put(tmp_path / "snapshots" / f"snap-1.duckdb.{living}.tmp")
    assert clear(tmp_path) == []
    assert own.exists()
    assert other.exists()


def test_a_living_process_may_link_a_file_older_than_itself(tmp_path: Path) -> None:
    """As a resumed run does when it offers the tables of stages that an earlier process finished."""
    finished = put(tmp_path / "runs" / "r" / "stages" / "score" / "scores.parquet", age=1e6)
    link = temporary(tmp_path / "runs" / "r" / "tables" / "scores.parquet")
    link.parent.mkdir()
    os.link(finished, link)
    assert clear(tmp_path) == []
    assert link.exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only /proc tells when a process started")
def test_a_file_older_than_the_process_of_its_number_is_cleared(tmp_path: Path, living: int, aged: None) -> None:
    path = put(tmp_path / "snapshots" / f"snap-1.duckdb.{living}@{NODE}.tmp", age=3600)
    assert clear(tmp_path) == [path]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only /proc tells who waits to be reaped")
def test_a_killed_process_that_was_not_reaped_is_dead(tmp_path: Path) -> None:
    process = subprocess.Popen(LIVING, stdin=subprocess.PIPE)
    path = put(tmp_path / f"CURRENT.{process.pid}@{NODE}.tmp")
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert clear(tmp_path) == [path]
    process.communicate()


def test_where_the_system_does_not_tell_age_decides(
    tmp_path: Path, living: int, dead: int, aged: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_began", lambda pid: None)
    young = put(tmp_path / "snapshots" / f"young.{living}@{NODE}.tmp", age=3600)
    old = put(tmp_path / "snapshots" / f"old.{living}@{NODE}.tmp", age=ABANDONED_SECONDS + 60)
    gone = put(tmp_path / "snapshots" / f"gone.{dead}@{NODE}.tmp")
    assert set(clear(tmp_path)) == {old, gone}
    assert young.exists()


def test_of_another_node_and_of_no_process_age_decides(tmp_path: Path, dead: int, aged: None) -> None:
    names = (f"config.json.{dead}@0123abcd.tmp", "weights.safetensors.tmp", ".vectors.npy.12345678.tmp")
    for name in names:
        young, old = (
            put(tmp_path / "runs" / "young" / name),
            put(tmp_path / "runs" / "old" / name, ABANDONED_SECONDS + 60),
        )
        assert clear(tmp_path) == [old]
        assert young.exists()


def test_only_the_workspaces_own_names_are_cleared_at_its_root(tmp_path: Path, dead: int) -> None:
    path = put(tmp_path / f"notes.{dead}.tmp")
    assert clear(tmp_path) == []
    assert path.exists()
    assert clear(tmp_path / "nowhere") == []


def test_a_failed_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_text(path, "old")

    def interrupted() -> None:
        with replacing(path) as writing:
            writing.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    write_text(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_wide_workspace_is_cleared_quickly(tmp_path: Path) -> None:
    """100 runs of 16 finished stages: under a second (30 ms on two cores)."""
    for run in range(100):
        for stage in range(16):
            (tmp_path / f"runs/r{run}/stages/s{stage}").mkdir(parents=True)
        (tmp_path / f"runs/r{run}/tables").mkdir()
    began = time.perf_counter()
    assert clear(tmp_path) == []
    assert time.perf_counter() - began < 1.0
