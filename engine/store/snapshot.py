"""Snapshots: one read-only DuckDB file per publication, and the pointer to the current one.

    WORKSPACE/CURRENT                        'snapshots/snap-<hash>.duckdb', one line, replaced atomically
    WORKSPACE/snapshots/snap-<hash>.duckdb   never changed once it has this name
    WORKSPACE/snapshots/snap-<hash>.pinned   present: never pruned
    WORKSPACE/snapshots/leases/<id>--<who>   a reader's heartbeat (modification time)

A DuckDB writer blocks readers in other processes and the reverse, so a snapshot is built under a temporary
name and renamed; readers open it by its unique name and are never disturbed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pandas as pd

from engine.errors import SnapshotError

SCHEMA_VERSION = 2
SCHEMA = Path(__file__).with_name("schema.sql")
KEPT = 3
"""Snapshots kept besides pinned ones and those in use."""
LEASE_SECONDS = 600.0
"""A lease that was not renewed for this long no longer protects its snapshot."""


class RunTables(NamedTuple):
    """A finished run as the store sees it: its id and a folder of `<table>.parquet` without `run_id`."""

    run_id: str
    folder: Path


@dataclass
class Snapshot:
    """An open snapshot. Take a cursor per call: one connection shared by threads fails."""

    snapshot_id: str
    path: Path
    connection: duckdb.DuckDBPyConnection
    lease: Path = field(repr=False)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor of its own for one call."""
        return self.connection.cursor()

    def heartbeat(self) -> None:
        """Renew the lease that keeps this snapshot from being pruned."""
        with contextlib.suppress(OSError):
            self.lease.parent.mkdir(parents=True, exist_ok=True)
            self.lease.touch()

    def close(self) -> None:
        """Close the connection and give the lease back."""
        self.connection.close()
        self.lease.unlink(missing_ok=True)


class SnapshotInfo(NamedTuple):
    """A snapshot on disk."""

    snapshot_id: str
    path: Path
    modified: float
    current: bool
    pinned: bool


def current_id(workspace: Path) -> str | None:
    """The id in CURRENT; None where nothing was published."""
    try:
        line = (workspace / "CURRENT").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    return Path(line).stem or None


def list_snapshots(workspace: Path) -> list[SnapshotInfo]:
    """Snapshots on disk, newest first."""
    current = current_id(workspace)
    found = []
    for path in (workspace / "snapshots").glob("snap-*.duckdb"):
        with contextlib.suppress(FileNotFoundError):  # pruned since the listing
            found.append(
                SnapshotInfo(
                    path.stem, path, path.stat().st_mtime, path.stem == current, path.with_suffix(".pinned").exists()
                )
            )
    return sorted(found, key=lambda s: s.modified, reverse=True)


def open_snapshot(workspace: Path, snapshot_id: str | None = None) -> Snapshot:
    """Open a snapshot read-only: the current one, or the one named.

    Raises SnapshotError when there is none, or it was pruned, is corrupt or of another schema version.
    """
    wanted = snapshot_id or current_id(workspace)
    if wanted is None:
        raise SnapshotError(f"No snapshot in {workspace}: publish one with 'python -m engine demo' or 'publish'.")
    path = workspace / "snapshots" / f"{wanted}.duckdb"
    if path.parent.resolve() != path.resolve().parent or not path.is_file():
        raise SnapshotError(
            f"Snapshot '{wanted}' is not in {workspace} (pruned, or from another workspace); "
            f"the current one is '{current_id(workspace) or 'none'}'."
        )
    lease = path.parent / "leases" / f"{wanted}--{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        connection = duckdb.connect(str(path), read_only=True)
    except duckdb.Error as error:
        raise SnapshotError(
            f"Snapshot {path.name} cannot be read ({str(error).splitlines()[0]}); publish it again."
        ) from error
    try:
        row = connection.execute("SELECT schema_version FROM snapshot").fetchone()
    except duckdb.Error as error:
        connection.close()
        raise SnapshotError(f"{path.name} is a DuckDB file but not a Sidelight snapshot; publish it again.") from error
    if row is None or row[0] != SCHEMA_VERSION:
        connection.close()
        raise SnapshotError(
            f"Snapshot {path.name} has schema version {row[0] if row else 'unknown'}; this program reads "
            f"{SCHEMA_VERSION}. Publish it again with 'python -m engine publish' (nothing is retrained)."
        )
    snapshot = Snapshot(wanted, path, connection, lease)
    snapshot.heartbeat()
    return snapshot


def publish(
    workspace: Path,
    *,
    snapshot: Mapping[str, Any],
    catalogue: Path,
    runs: Sequence[RunTables],
    ablation: Mapping[str, Path] | None = None,
    pin: bool = False,
) -> str:
    """Build a snapshot from finished runs and make it current; returns its id.

    `snapshot`: the row of table `snapshot` less id, version and time. `catalogue`: a folder of `<table>.parquet`
    for the tables without `run_id`; `ablation`: files of those that speak of several runs. Equal inputs give an equal id. Raises SnapshotError when the disk is full.
    """
    shared = {path.stem: path for path in sorted(catalogue.glob("*.parquet"))} | dict(ablation or {})
    snapshot_id = f"snap-{_content_hash(snapshot, shared, runs)}"
    folder = workspace / "snapshots"
    path = folder / f"{snapshot_id}.duckdb"
    building = folder / f"{snapshot_id}.duckdb.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with _removed_on_failure(building):
                _build(building, {**snapshot, "snapshot_id": snapshot_id}, shared, runs)
                os.replace(building, path)
        if pin:
            path.with_suffix(".pinned").touch()
        path.touch()
        pointer = workspace / f"CURRENT.{os.getpid()}.tmp"
        pointer.write_text(f"snapshots/{path.name}\n", encoding="utf-8")
        os.replace(pointer, workspace / "CURRENT")
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        full = (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "space" in str(error).lower()
        reason = "the disk is full" if full else str(error).splitlines()[0]
        raise SnapshotError(
            f"Snapshot could not be written to {folder}: {reason}. The runs are safe; free space and publish again."
        ) from error
    prune(workspace)
    return snapshot_id


def prune(workspace: Path) -> list[str]:
    """Delete snapshots beyond the last few that are neither current, pinned nor leased; returns their ids."""
    now = time.time()
    leased = set()
    for lease in (workspace / "snapshots" / "leases").glob("*--*"):
        with contextlib.suppress(FileNotFoundError):
            if now - lease.stat().st_mtime < LEASE_SECONDS:
                leased.add(lease.name.split("--")[0])
            else:
                lease.unlink()
    removed = []
    for info in list_snapshots(workspace)[KEPT:]:
        if not (info.current or info.pinned or info.snapshot_id in leased):
            info.path.unlink(missing_ok=True)
            removed.append(info.snapshot_id)
    for leftover in (workspace / "snapshots").glob("*.tmp"):  # of a publication that was killed
        with contextlib.suppress(FileNotFoundError):
            if now - leftover.stat().st_mtime > 3600:
                leftover.unlink()
    return removed


def table_columns() -> dict[str, list[str]]:
    """Column names of every table of the schema."""
    with duckdb.connect() as connection:
        connection.execute(SCHEMA.read_text(encoding="utf-8"))
        rows = connection.execute(
            "SELECT table_name, list(column_name ORDER BY column_index) FROM duckdb_columns() WHERE NOT internal GROUP BY 1"
        ).fetchall()
    return dict(rows)


@contextlib.contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for leftover in path.parent.glob(f"{path.name}*"):
            leftover.unlink(missing_ok=True)
        raise


def _build(path: Path, snapshot: Mapping[str, Any], shared: Mapping[str, Path], runs: Sequence[RunTables]) -> None:
    columns = table_columns()
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute(SCHEMA.read_text(encoding="utf-8"))
        connection.execute("SET preserve_insertion_order = true")
        row = {**snapshot, "schema_version": SCHEMA_VERSION, "created_at": pd.Timestamp.now("UTC").tz_localize(None)}
        names = ", ".join(row)
        connection.execute(f"INSERT INTO snapshot ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
        for table in columns:
            if table == "snapshot":
                continue
            if "run_id" not in columns[table]:
                if table in shared:
                    _insert(connection, table, columns[table], shared[table], None)
                continue
            for run in runs:
                _insert(connection, table, columns[table], run.folder / f"{table}.parquet", run.run_id)
        connection.execute("CHECKPOINT")


def _insert(
    connection: duckdb.DuckDBPyConnection, table: str, columns: Sequence[str], file: Path, run_id: str | None
) -> None:
    """Append one parquet file to a table by name; a file that is absent leaves the table as it is."""
    if not file.exists():
        return
    described = connection.execute("SELECT * FROM read_parquet(?) LIMIT 0", [str(file)]).description or []
    names = [d[0] for d in described if d[0] != "run_id"]
    unknown = [n for n in names if n not in columns]
    assert not unknown, f"{file.name}: columns {unknown} are not in table {table} of schema.sql"
    quoted = ", ".join(f'"{n}"' for n in names)
    if run_id is None:
        connection.execute(f'INSERT INTO "{table}" ({quoted}) SELECT {quoted} FROM read_parquet(?)', [str(file)])
    else:
        connection.execute(
            f'INSERT INTO "{table}" (run_id, {quoted}) SELECT ?, {quoted} FROM read_parquet(?)', [run_id, str(file)]
        )


def _content_hash(snapshot: Mapping[str, Any], shared: Mapping[str, Path], runs: Sequence[RunTables]) -> str:
    digest = hashlib.sha256(SCHEMA.read_bytes())
    digest.update(repr(sorted((k, str(v)) for k, v in snapshot.items())).encode())
    files = [("shared", table, shared[table]) for table in sorted(shared)]
    files += [(run.run_id, path.stem, path) for run in runs for path in sorted(run.folder.glob("*.parquet"))]
    for owner, table, path in files:
        digest.update(f"{owner}/{table}".encode())
        with path.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:12]
