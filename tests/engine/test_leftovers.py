"""Temporary files: renamed at the end, removed on failure, cleared when their writer is dead and never before."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import leftovers
from engine.leftovers import NODE, clear, replacing, temporary, working_folder
from engine.runs import write_text

ROOT = Path(__file__).parents[2]
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
            f"runs/r/tables/scores.parquet.{end}", f"runs/r/tables/beams/part-00001.parquet.{end}", f"catalogues/.sidelight-ingest-0a1b2c3d.{end}/catalogue/items.parquet", f"runs/r/catalogue/items.parquet.{end}",
            f"runs/r/stages/rank.json.{end}", f"runs/r/stages/rank.part/stack0/history.parquet.{end}",
            f"cache/pairs-1.json.{end}", f"cache/pairs-1.part/pairs.parquet.{end}", f"ablations/a/ladder.parquet.{end}", f"judgments/m/agreement.json.{end}",
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


PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only /proc tells when a process started")


@PROC
def test_a_later_process_of_the_same_number_is_another(tmp_path: Path, living: int) -> None:
    """The start in the name is counted from the machine's own, so that a clock that jumps changes nothing."""
    start = int(Path(f"/proc/{living}/stat").read_text().rpartition(")")[2].split()[19])
    before = put(tmp_path / "snapshots" / f"snap-1.duckdb.{living}-{start - 100}@{NODE}.tmp")
    own = put(tmp_path / "snapshots" / f"snap-2.duckdb.{living}-{start}@{NODE}.tmp", age=1e6)
    assert clear(tmp_path) == [before]
    assert own.exists()


@PROC
def test_a_killed_process_that_was_not_reaped_is_dead(tmp_path: Path) -> None:
    process = subprocess.Popen(LIVING, stdin=subprocess.PIPE)
    path = put(tmp_path / f"CURRENT.{process.pid}-12@{NODE}.tmp")
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert clear(tmp_path) == [path]
    process.communicate()


@pytest.mark.parametrize("jump", [1e6, -1e6], ids=["forward", "back"])
def test_of_another_node_and_of_no_process_age_decides(
    tmp_path: Path, dead: int, living: int, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that was set back makes files of the future: they are no younger than those of the past are."""
    names = (f"config.json.{dead}@0123abcd.tmp", "weights.safetensors.tmp", f".vectors.npy.{living}@{NODE}.tmp")
    paths = [put(tmp_path / "runs" / "r" / name) for name in names]
    assert clear(tmp_path) == []
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump)
    assert sorted(clear(tmp_path)) == sorted(paths)


def test_a_working_folder_of_a_killed_process_is_cleared_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers.tempfile, "tempdir", str(tmp_path))
    code = "import os, engine.leftovers as l\nwith l.working_folder('fetch') as folder: os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}, cwd=ROOT, check=False)
    (left,) = tmp_path.iterdir()
    with working_folder("fetch") as own:
        assert clear(tmp_path / "workspace") == [left]
        assert own.is_dir()
    assert not list(tmp_path.iterdir())


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_or_a_device_is_written_into_and_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "out"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with replacing(pipe) as writing:
        writing.write_text("whole")
    assert os.read(reader, 100) == b"whole"
    os.close(reader)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]
