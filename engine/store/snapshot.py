"""Snapshots: one read-only DuckDB file per publication, and the pointer to the current one.

    WORKSPACE/CURRENT                        'snapshots/snap-<hash>.duckdb', one line, replaced atomically
    WORKSPACE/snapshots/snap-<hash>.duckdb   never changed once it has this name
    WORKSPACE/snapshots/snap-<hash>.pinned   present: never pruned
    WORKSPACE/snapshots/leases/<id>--<who>   a reader's heartbeat (modification time); <who> names its process

A DuckDB writer blocks readers in other processes and the reverse, so a snapshot is built under a temporary
name and renamed; readers open it by its unique name and are never disturbed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pandas as pd

from engine import leftovers
from engine.errors import Refusal, SnapshotError, refused, shown
from engine.leftovers import replacing, temporary
from engine.store.building import RunTables, build, content_hash, find_sources, whole

_logger = logging.getLogger(__name__)

SCHEMA_VERSION = 8
SNAPSHOT_ID = re.compile(r"snap-[0-9a-z-]{1,64}")
"""No other text becomes a path."""
KEPT = 3
"""Snapshots kept besides pinned ones and those in use."""
LEASE_SECONDS = 600.0
"""A lease that was not renewed for this long, of a process that cannot be seen from here, no longer protects its snapshot."""


READER_MEMORY = "512MB"
"""What DuckDB may hold of one open snapshot; larger sorts go to a folder beside it."""
READER_THREADS = 4
"""Of one query: DuckDB asks for about 125 MB a thread."""


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
        leftovers.remove(self.lease)


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
        line = (workspace / "CURRENT").read_text(encoding="utf-8", errors="replace").strip()
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


def snapshot_file(workspace: Path, snapshot_id: str) -> Path:
    """Where a snapshot of that id lies. Raises SnapshotError where it does not."""
    path = workspace / "snapshots" / f"{snapshot_id}.duckdb"
    if not SNAPSHOT_ID.fullmatch(snapshot_id) or not path.is_file():
        raise SnapshotError(
            f"Snapshot '{shown(snapshot_id)}' is not in {workspace} (pruned, or from another workspace); "
            f"the current one is '{current_id(workspace) or 'none'}'."
        )
    return path


def open_snapshot(workspace: Path, snapshot_id: str | None = None) -> Snapshot:
    """Open a snapshot read-only: the current one, or the one named.

    Raises SnapshotError when there is none, or it was pruned, is corrupt or of another schema version.
    """
    wanted = snapshot_id or current_id(workspace)
    if wanted is None:
        raise SnapshotError(f"No snapshot in {workspace}: publish one with 'python -m engine demo' or 'publish'.")
    path = snapshot_file(workspace, wanted)
    try:
        connection = duckdb.connect(str(path), read_only=True)
    except duckdb.Error as error:
        raise unreadable(path, error) from error
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
    _bound(connection, path)
    snapshot = Snapshot(
        wanted, path, connection, temporary(path.parent / "leases" / f"{wanted}--{uuid.uuid4().hex[:8]}")
    )
    snapshot.heartbeat()
    return snapshot


def unreadable(path: Path, error: duckdb.Error) -> SnapshotError:
    """What a damaged file is told as; DuckDB checks every block that it reads."""
    return SnapshotError(f"Snapshot {path.name} cannot be read ({str(error).splitlines()[0]}); publish it again.")


def _bound(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Limit what a reader takes. Set after opening: DuckDB refuses a second connection that is configured otherwise."""
    connection.execute(f"SET memory_limit = '{READER_MEMORY}'")
    connection.execute(f"SET threads = {min(READER_THREADS, os.cpu_count() or 1)}")
    spill = str(temporary(path.with_suffix(".spill"))).replace("'", "''")
    with contextlib.suppress(duckdb.NotImplementedException):  # in use: by another connection of this process
        connection.execute(f"SET temp_directory = '{spill}'")


def publish(
    workspace: Path,
    *,
    snapshot: Mapping[str, Any],
    catalogue: Path,
    runs: Sequence[RunTables],
    given: Mapping[str, Path] | None = None,
    pin: bool = False,
) -> str:
    """Build a snapshot from finished runs and make it current; returns its id.

    `snapshot`: the row of table `snapshot` less id, version and time. `catalogue`: a folder of `<table>.parquet`
    for the tables without `run_id`; `given`: files of those of them that lie elsewhere. Equal inputs give an equal id. Raises SnapshotError when the disk is full or may not be written.
    """
    sources = find_sources(catalogue, runs, given or {})
    snapshot_id = f"snap-{content_hash(snapshot, sources)}"
    folder = workspace / "snapshots"
    path = folder / f"{snapshot_id}.duckdb"
    leftovers.clear(workspace)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not whole(path):
            made = pd.Timestamp.now("UTC").tz_localize(None)
            row = {**snapshot, "snapshot_id": snapshot_id, "schema_version": SCHEMA_VERSION, "created_at": made}
            spill = temporary(path.with_suffix(".spill"))
            try:
                with replacing(path) as building:
                    build(building, row, sources, spill)
            finally:
                leftovers.remove(spill)
        if pin:
            path.with_suffix(".pinned").touch()
        newest = max((s.modified for s in list_snapshots(workspace)), default=0.0)
        os.utime(path, (max(time.time(), newest + 0.001),) * 2)  # the newest, though the clock was set back
        with replacing(workspace / "CURRENT") as pointer:
            pointer.write_text(f"snapshots/{path.name}\n", encoding="utf-8")
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        reason, advice = _refusal(error)
        raise SnapshotError(
            f"Snapshot could not be written to {folder}: {reason}. The runs are safe; {advice} and publish again."
        ) from error
    pruned = prune(workspace)
    _logger.info("published", extra={"snapshot": snapshot_id, "runs": [run.run_id for run in runs], "pruned": pruned})
    return snapshot_id


def pin(workspace: Path, snapshot_id: str) -> None:
    """Keep an existing snapshot from being pruned."""
    (workspace / "snapshots" / f"{snapshot_id}.pinned").touch()


def _refusal(error: Exception) -> Refusal:
    if isinstance(error, duckdb.OutOfMemoryException):  # what memory does not hold goes to the disk
        return refused(error) or Refusal("memory and disk hold no more", "free space")
    return refused(error) or Refusal(str(error).splitlines()[0], "mend that")


def prune(workspace: Path) -> list[str]:
    """Delete snapshots beyond the last few that are neither current, pinned nor leased; returns their ids."""
    now = time.time()
    leased = set()
    for lease in (workspace / "snapshots" / "leases").glob("*--*"):
        with contextlib.suppress(FileNotFoundError):
            lives = leftovers.writer_lives(lease)
            if abs(now - lease.stat().st_mtime) < LEASE_SECONDS if lives is None else lives:
                leased.add(lease.name.split("--")[0])
            else:
                lease.unlink()
    removed = []
    for info in list_snapshots(workspace)[KEPT:]:
        if not (info.current or info.pinned or info.snapshot_id in leased):
            info.path.unlink(missing_ok=True)
            removed.append(info.snapshot_id)
    return removed
