"""Open snapshots of a process: one handle each, never closed under a cursor, leases kept and given back."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from engine.errors import SnapshotError
from engine.store import handles as store
from engine.store.handles import Handles
from engine.store.snapshot import READER_MEMORY, RunTables, Snapshot, open_snapshot, publish


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten snapshots, each with its number as a metric."""
    folder, run = tmp_path_factory.mktemp("ten"), tmp_path_factory.mktemp("run")
    for number in range(10):
        pd.DataFrame({"metric": ["auc"], "segment": ["all"], "value": [float(number)]}).to_parquet(
            run / "metrics.parquet"
        )
        row = {"dataset": "d", "fingerprint": f"f{number}"}
        snapshot_id = publish(folder, snapshot=row, catalogue=run, runs=[RunTables("dsirm-x", run)], pin=True)
        os.utime(folder / "snapshots" / f"{snapshot_id}.duckdb", (number, number))
    return folder


@pytest.fixture
def ids(workspace: Path) -> list[str]:
    """In the order of their numbers."""
    return [p.stem for p in sorted((workspace / "snapshots").glob("*.duckdb"), key=lambda p: p.stat().st_mtime)]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids in the order in which they are opened."""
    seen: list[str] = []

    def counted(workspace: Path, snapshot_id: str) -> Snapshot:
        seen.append(snapshot_id)
        return open_snapshot(workspace, snapshot_id)

    monkeypatch.setattr(store, "open_snapshot", counted)
    return seen


def leases(workspace: Path) -> list[str]:
    return sorted(path.name.split("--")[0] for path in (workspace / "snapshots" / "leases").iterdir())


def value(handles: Handles, workspace: Path, snapshot_id: str) -> float:
    with handles.cursor(workspace, snapshot_id) as cursor:
        row = cursor.execute("SELECT value FROM metrics").fetchone()
    assert row is not None
    return float(row[0])


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_three_snapshots_and_thirty_threads_open_each_once(workspace: Path, ids: list[str], opened: list[str]) -> None:
    handles = Handles()

    def session(number: int) -> set[float]:
        return {value(handles, workspace, ids[number]) for _ in range(40)}

    with ThreadPoolExecutor(30) as threads:
        found = list(threads.map(session, [n % 3 for n in range(30)]))
    assert found == [{float(n % 3)} for n in range(30)]
    assert sorted(opened) == sorted(ids[:3])
    assert leases(workspace) == sorted(ids[:3])
    handles.close()
    assert not leases(workspace)


def test_one_too_many_closes_the_idlest_whose_lease_stays_while_it_is_kept(
    workspace: Path, ids: list[str], opened: list[str]
) -> None:
    handles = Handles(most=8)
    for number in range(8):
        value(handles, workspace, ids[number])
    value(handles, workspace, ids[0])  # so that the second is the idlest
    value(handles, workspace, ids[8])
    assert opened == ids[:9]
    handles.keep(workspace, ids[1])
    assert opened == ids[:9], "keeping a lease opens nothing"
    assert leases(workspace) == sorted(ids[:9])
    assert value(handles, workspace, ids[0]) == 0.0
    assert opened == ids[:9]
    assert value(handles, workspace, ids[1]) == 1.0
    assert opened == [*ids[:9], ids[1]]
    assert leases(workspace) == sorted(ids[:9]), "one lease a snapshot"
    handles.close()
    assert not leases(workspace)


def test_a_cursor_at_work_is_not_closed_for_another(workspace: Path, ids: list[str]) -> None:
    handles = Handles(most=1, wait_seconds=0.05)
    with handles.cursor(workspace, ids[0]) as cursor:
        with (
            pytest.raises(SnapshotError, match="1 snapshots are being read at once"),
            handles.cursor(workspace, ids[1]),
        ):
            pass
        handles.close()
        assert cursor.execute("SELECT value FROM metrics").fetchone() == (0.0,)
    handles.close()
    assert not leases(workspace)


def test_a_further_snapshot_waits_until_a_handle_is_free(workspace: Path, ids: list[str]) -> None:
    handles, at_work, done = Handles(most=1), threading.Event(), threading.Event()

    def reader() -> None:
        with handles.cursor(workspace, ids[0]):
            at_work.set()
            done.wait(10)

    thread = threading.Thread(target=reader)
    thread.start()
    at_work.wait(10)
    threading.Timer(0.1, done.set).start()
    assert value(handles, workspace, ids[1]) == 1.0
    assert done.is_set()
    thread.join()
    handles.close()


def test_what_no_session_keeps_is_closed_and_its_lease_given_back(workspace: Path, ids: list[str]) -> None:
    handles = Handles(idle_seconds=0.2)
    with handles.cursor(workspace, ids[2]):
        value(handles, workspace, ids[0])
        value(handles, workspace, ids[1])
        for _ in range(30):
            handles.keep(workspace, ids[1])
            time.sleep(0.02)
        assert ids[1] in leases(workspace)
        assert ids[0] not in leases(workspace)
        until(lambda: leases(workspace) == [ids[2]])
    until(lambda: not leases(workspace))


def test_what_cannot_be_opened_is_said_each_time(workspace: Path, ids: list[str]) -> None:
    handles = Handles()
    for _ in range(2):
        with pytest.raises(SnapshotError, match="is not in"):
            handles.keep(workspace, "snap-000000000000")
    assert value(handles, workspace, ids[0]) == 0.0
    handles.close()


def test_a_handle_is_bounded_and_spills_beside_the_snapshot(workspace: Path, ids: list[str]) -> None:
    handles = Handles()
    with handles.cursor(workspace, ids[0]) as cursor:
        row = cursor.execute(
            "SELECT current_setting('memory_limit'), current_setting('threads'), current_setting('temp_directory')"
        ).fetchone()
    assert row is not None
    assert READER_MEMORY == "512MB"
    assert row[0].endswith("MiB")
    assert 480 < float(row[0].split()[0]) < 500
    assert 1 <= int(row[1]) <= 4
    assert Path(row[2]).parent == workspace / "snapshots"
    handles.close()
