"""Publishing and opening snapshots: atomic, never half, never one in use pruned."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from engine.errors import SnapshotError
from engine.store import snapshot as store
from engine.store.snapshot import RunTables, current_id, list_snapshots, open_snapshot, prune, publish

ROW: dict[str, Any] = {"dataset": "three lamps", "fingerprint": "f00d", "n_items": 3, "derived": ["category"]}


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, list[RunTables]]:
    catalogue, run = tmp_path / "catalogue", tmp_path / "run"
    catalogue.mkdir()
    run.mkdir()
    pd.DataFrame({"item_id": ["a", "b", "c"], "title": ["lamp", "<b>lamp</b>", "💡"]}).to_parquet(
        catalogue / "items.parquet"
    )
    pd.DataFrame({"item_id": ["a", "b"], "sid": ["0-1", "0-2"], "codes": [[0, 1], [0, 2]]}).to_parquet(
        run / "sids.parquet"
    )
    return catalogue, [RunTables("dsirm-x", run)]


def change(inputs: tuple[Path, list[RunTables]], value: int) -> None:
    pd.DataFrame({"metric": ["auc"], "segment": ["all"], "value": [float(value)]}).to_parquet(
        inputs[1][0].folder / "metrics.parquet"
    )


def put(workspace: Path, inputs: tuple[Path, list[RunTables]], **more: Any) -> str:
    return publish(workspace, snapshot=ROW, catalogue=inputs[0], runs=inputs[1], **more)


def test_round_trip(tmp_path: Path, inputs: tuple[Path, list[RunTables]]) -> None:
    snapshot_id = put(tmp_path, inputs)
    assert (tmp_path / "CURRENT").read_text() == f"snapshots/{snapshot_id}.duckdb\n"
    snapshot = open_snapshot(tmp_path)
    cursor = snapshot.cursor()
    assert cursor.execute("SELECT title FROM items ORDER BY item_id").fetchall() == [
        ("lamp",),
        ("<b>lamp</b>",),
        ("💡",),
    ]
    assert cursor.execute("SELECT run_id, sid, codes FROM sids ORDER BY item_id").fetchone() == (
        "dsirm-x",
        "0-1",
        [0, 1],
    )
    assert cursor.execute("SELECT derived FROM snapshot").fetchone() == (["category"],)
    with pytest.raises(duckdb.Error, match="read-only"):
        cursor.execute("DELETE FROM items")
    snapshot.close()
    assert not list((tmp_path / "snapshots" / "leases").iterdir())


@pytest.mark.parametrize("table", [{"metric": ["auc"], "gone": [1.0]}, {"metric": [None], "segment": ["all"]}])
def test_a_run_of_another_version_is_a_sentence(
    tmp_path: Path, inputs: tuple[Path, list[RunTables]], table: dict[str, list[Any]]
) -> None:
    """A column that is no more, or one that must be filled now: what to do is said, and the current snapshot stays."""
    before = put(tmp_path, inputs)
    pd.DataFrame(table).to_parquet(inputs[1][0].folder / "metrics.parquet")
    with pytest.raises(SnapshotError, match=r"dsirm-x was made by another version .* Train it again"):
        put(tmp_path, inputs)
    assert current_id(tmp_path) == before


def test_equal_inputs_equal_id_and_no_leftovers(tmp_path: Path, inputs: tuple[Path, list[RunTables]]) -> None:
    assert put(tmp_path, inputs) == put(tmp_path, inputs)
    change(inputs, 1)
    assert put(tmp_path, inputs) != list_snapshots(tmp_path)[-1].snapshot_id
    assert len(list_snapshots(tmp_path)) == 2
    assert not list(tmp_path.rglob("*.tmp"))


def test_publishing_leaves_an_open_reader_alone(tmp_path: Path, inputs: tuple[Path, list[RunTables]]) -> None:
    first = put(tmp_path, inputs)
    reader = open_snapshot(tmp_path)
    change(inputs, 2)
    second = put(tmp_path, inputs)
    assert current_id(tmp_path) == second != first
    assert reader.cursor().execute("SELECT count(*) FROM metrics").fetchone() == (0,)
    assert open_snapshot(tmp_path).cursor().execute("SELECT value FROM metrics").fetchone() == (2.0,)


def test_prune_keeps_last_three_pinned_and_leased(tmp_path: Path, inputs: tuple[Path, list[RunTables]]) -> None:
    ids = []
    for value in range(7):
        change(inputs, value)
        ids.append(put(tmp_path, inputs, pin=value == 0))
        os.utime(tmp_path / "snapshots" / f"{ids[-1]}.duckdb", (value, value))
        if value == 1:
            reader = open_snapshot(tmp_path, ids[1])
    prune(tmp_path)
    assert {s.snapshot_id for s in list_snapshots(tmp_path)} == {ids[0], ids[1], *ids[-3:]}
    with pytest.raises(SnapshotError, match="pruned"):
        open_snapshot(tmp_path, ids[2])
    stale = time.time() - store.LEASE_SECONDS - 1
    elsewhere = reader.lease.rename(reader.lease.with_name(f"{reader.snapshot_id}--1.{os.getpid()}-1@0123abcd.tmp"))
    os.utime(elsewhere, (stale, stale))
    assert prune(tmp_path) == [ids[1]]


@pytest.mark.parametrize("wanted", ["../../etc/passwd", "snap-nothing", ""])
def test_unknown_snapshot_is_a_sentence(tmp_path: Path, inputs: tuple[Path, list[RunTables]], wanted: str) -> None:
    with pytest.raises(SnapshotError, match=r"No snapshot|not in"):
        open_snapshot(tmp_path, wanted or None)
    put(tmp_path, inputs)
    if wanted:
        with pytest.raises(SnapshotError, match="the current one is 'snap-"):
            open_snapshot(tmp_path, wanted)


@pytest.mark.parametrize(
    "form",
    ["../../other/snapshots/{id}", "{other}/snapshots/{id}", "./{id}", "{id}/", "{id}\0", "{id}\n", "\0", "a" * 5_000,
     "snap-" + "a" * 5_000, "snap-İ", "snap-\ud800", "..", "%2e%2e%2f{id}", "{id}.duckdb", "SNAP-1", "snap-", " {id}"],
)  # fmt: skip
def test_only_an_id_opens_a_snapshot(tmp_path: Path, inputs: tuple[Path, list[RunTables]], form: str) -> None:
    """Of two workspaces side by side, no text given to the one opens a snapshot of the other or writes into it."""
    workspace, other = tmp_path / "workspace", tmp_path / "other"
    put(workspace, inputs)
    wanted = form.format(id=put(other, inputs), other=other)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SnapshotError, match=r"is not in .*the current one is 'snap-") as refused:
        open_snapshot(workspace, wanted)
    assert len(str(refused.value)) < 300 + len(str(workspace))
    assert str(refused.value).isprintable()
    assert sorted(tmp_path.rglob("*")) == before


def test_corrupt_foreign_and_older_files(tmp_path: Path, inputs: tuple[Path, list[RunTables]]) -> None:
    path = tmp_path / "snapshots" / f"{put(tmp_path, inputs)}.duckdb"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(SnapshotError, match=r"cannot be read|not a Sidelight"):
        open_snapshot(tmp_path)
    path.write_bytes(b"not a database")
    with pytest.raises(SnapshotError, match="cannot be read"):
        open_snapshot(tmp_path)
    path.unlink()
    with duckdb.connect(str(path)) as other:
        other.execute("CREATE TABLE cats(name VARCHAR)")
    with pytest.raises(SnapshotError, match="not a Sidelight snapshot"):
        open_snapshot(tmp_path)
    path.write_bytes(whole)
    with duckdb.connect(str(path)) as older:
        older.execute("UPDATE snapshot SET schema_version = 0")
    with pytest.raises(SnapshotError, match=r"schema version 0; this program reads \d+.*publish"):
        open_snapshot(tmp_path)


FULL, READ_ONLY = "the disk is full.*free space and publish again", "the disk is read-only.*choose a workspace"
RIGHTS = "may not write there.*rights"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), FULL),
        (duckdb.IOException('Could not write file "x.tmp": No space left on device'), FULL),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), FULL),
        (OSError(errno.EROFS, "Read-only file system"), READ_ONLY),
        (duckdb.IOException('Cannot open file "x.tmp": Read-only file system'), READ_ONLY),
        (PermissionError(errno.EACCES, "Permission denied"), RIGHTS),
        (duckdb.IOException('Cannot open file "x.tmp": Permission denied'), RIGHTS),
        (duckdb.OutOfMemoryException("failed to offload data block"), "memory and disk hold no more.*free space"),
        (OSError(errno.EIO, "Input/output error"), "the disk fails"),
    ],
)
def test_a_disk_that_refuses_keeps_the_current_snapshot(
    tmp_path: Path,
    inputs: tuple[Path, list[RunTables]],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    said: str,
) -> None:
    first = put(tmp_path, inputs)
    change(inputs, 3)

    def refused(*_: object) -> None:
        raise error

    monkeypatch.setattr(store.os, "replace", refused)
    with pytest.raises(SnapshotError, match=f"could not be written to .*{said}") as failed:
        put(tmp_path, inputs)
    if said != FULL:
        assert "full" not in str(failed.value)
    monkeypatch.undo()
    assert current_id(tmp_path) == first
    assert not list(tmp_path.rglob("*.tmp*"))
    open_snapshot(tmp_path).close()


def test_a_killed_publication_is_cleared_by_the_next(tmp_path: Path, inputs: tuple[Path, list[RunTables]]) -> None:
    code = (
        "from pathlib import Path; import os, sys; from engine.store import snapshot\n"
        "os.replace = lambda *_: os.kill(os.getpid(), 9)\n"
        "snapshot.publish(Path(sys.argv[1]), snapshot={'dataset': 'd', 'fingerprint': 'f'}, catalogue=Path(sys.argv[2]),"
        " runs=[])"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(inputs[0])], check=False)
    (left,) = (tmp_path / "snapshots").glob("*.tmp")
    assert left.stat().st_size > 10_000
    put(tmp_path, inputs)
    assert not list(tmp_path.rglob("*.tmp*"))
    open_snapshot(tmp_path).close()


def test_a_table_in_parts_is_the_table_whole(tmp_path: Path, inputs: tuple[Path, list[RunTables]]) -> None:
    """Rows in the order of the parts' names; columns by name; a part whose values are all NULL takes no type from it."""
    folder = inputs[1][0].folder
    frame = pd.DataFrame(
        {
            "query_id": [f"q{n:05d}" for n in range(9_000)],
            "metric": "auc",
            "value": [float(n % 7) for n in range(9_000)],
        }
    )
    frame.to_parquet(folder / "query_metrics.parquet", row_group_size=1_000)
    whole = put(tmp_path, inputs)
    (folder / "query_metrics.parquet").unlink()
    (folder / "query_metrics").mkdir()
    for number in (2, 0, 10, 1):
        start, stop = {0: (0, 10), 1: (10, 4_000), 2: (4_000, 8_999), 10: (8_999, 9_000)}[number]
        part = frame.iloc[start:stop]
        if number == 0:
            part = part.assign(value_without=None)
        part[sorted(part, reverse=number == 1)].to_parquet(folder / f"query_metrics/part-{number:05d}.parquet")
    (folder / "query_metrics" / "part-00011.parquet.1.tmp").write_bytes(b"half")
    parts = put(tmp_path, inputs)
    assert parts != whole
    assert parts == put(tmp_path, inputs)
    rows = []
    for snapshot_id in (whole, parts):
        snapshot = open_snapshot(tmp_path, snapshot_id)
        with snapshot.cursor() as cursor:
            rows.append(cursor.execute("SELECT * FROM query_metrics").fetchall())
        snapshot.close()
    assert rows[0] == rows[1]
    assert [row[1] for row in rows[1]] == list(frame["query_id"])


def test_a_change_in_any_part_is_another_snapshot(tmp_path: Path, inputs: tuple[Path, list[RunTables]]) -> None:
    folder = inputs[1][0].folder / "query_metrics"
    folder.mkdir()
    ids = set()
    for value in (1.0, 2.0):
        for part in range(3):
            frame = pd.DataFrame({"query_id": ["q"], "metric": ["auc"], "value": [value if part == 2 else 0.0]})
            frame.to_parquet(folder / f"part-{part:05d}.parquet")
        ids.add(put(tmp_path, inputs))
    assert len(ids) == 2


def test_two_publishers_at_once(tmp_path: Path, inputs: tuple[Path, list[RunTables]]) -> None:
    """Two processes publish the same content: both succeed, one file, readable."""
    code = (
        "from pathlib import Path; import sys; from engine.store.snapshot import *\n"
        "print(publish(Path(sys.argv[1]), snapshot={'dataset': 'd', 'fingerprint': 'f'}, catalogue=Path(sys.argv[2]),"
        " runs=[RunTables('dsirm-x', Path(sys.argv[3]))]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(inputs[0]), str(inputs[1][0].folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    ids = {process.communicate()[0].strip() for process in both}
    assert all(process.returncode == 0 for process in both)
    assert ids == {current_id(tmp_path)}
    open_snapshot(tmp_path).close()
