"""The snapshots that a process has open: one handle each, shared by its threads.

    handles = Handles()
    with handles.cursor(workspace, snapshot_id) as cursor:
        ...

A handle is opened when it is first asked for and closed, its lease given back, when nobody asked for it or kept it for
a while. Beyond `most` open ones the idlest is closed; a cursor at work is never closed under its user.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from engine.errors import SnapshotError
from engine.store.snapshot import Snapshot, open_snapshot, unreadable

MOST = 4
"""Open handles of a process; each holds `snapshot.READER_MEMORY` at most."""
IDLE_SECONDS = 300.0
"""A handle that no session asked for or kept for so long is closed; sessions keep theirs every minute."""
WAIT_SECONDS = 30.0
"""How long a further snapshot waits where every handle is at work."""


@dataclass
class _Handle:
    snapshot: Snapshot
    seen: float  # When a session last asked for it or kept it.
    used: float  # When a cursor was last taken.
    cursors: int = 0  # At work.
    open: bool = True  # False for one closed to make room: its lease stays while sessions keep it.


class Handles:
    """Open snapshots by workspace and id. Its methods may be called from any thread."""

    def __init__(
        self, most: int = MOST, idle_seconds: float = IDLE_SECONDS, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._most, self._idle_seconds, self._wait_seconds = most, idle_seconds, wait_seconds
        self._handles: dict[tuple[Path, str], _Handle] = {}
        self._changed = threading.Condition()
        self._sweeper: threading.Timer | None = None

    @contextlib.contextmanager
    def cursor(
        self, workspace: Path, snapshot_id: str, beside: str | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor of its own on a snapshot, which stays open until the block ends.

        `beside` is another snapshot of the workspace, whose tables it reads as `"<id>".<table>`; its own it may call so too.
        Raises SnapshotError as `open_snapshot` does, where every handle is at work and none becomes free, and where the file
        turns out to be damaged.
        """
        if beside not in (None, snapshot_id):
            self.keep(workspace, str(beside))  # checked and leased like any that is looked at
        with self._changed:
            handle = self._take(workspace, snapshot_id)
            if beside not in (None, snapshot_id):
                path = str(handle.snapshot.path.with_stem(str(beside))).replace("'", "''")
                handle.snapshot.connection.execute(f"ATTACH IF NOT EXISTS '{path}' AS \"{beside}\" (READ_ONLY)")
            handle.cursors += 1
            handle.seen = handle.used = time.monotonic()
        try:
            with handle.snapshot.cursor() as cursor:
                yield cursor
        except duckdb.IOException as error:
            raise unreadable(handle.snapshot.path, error) from error
        finally:
            with self._changed:
                handle.cursors -= 1
                handle.seen = handle.used = time.monotonic()
                self._changed.notify_all()

    def keep(self, workspace: Path, snapshot_id: str) -> None:
        """Somebody still looks at a snapshot: renew its lease. Raises SnapshotError where it must be opened and cannot."""
        with self._changed:
            handle = self._handles.get((workspace, snapshot_id)) or self._take(workspace, snapshot_id)
            handle.seen = time.monotonic()
            handle.snapshot.heartbeat()

    def close(self) -> None:
        """Close what no cursor works on, and give the leases back."""
        self._close_unseen_for(0.0)

    def _take(self, workspace: Path, snapshot_id: str) -> _Handle:
        key, patience = (workspace, snapshot_id), time.monotonic() + self._wait_seconds
        while (handle := self._handles.get(key)) is None or not handle.open:
            if self._has_room():
                opened = open_snapshot(workspace, snapshot_id)
                if handle is not None:
                    handle.snapshot.close()  # the lease of the one that made room
                self._handles[key] = handle = _Handle(opened, time.monotonic(), time.monotonic())
                self._sweep_later()
                return handle
            if not self._changed.wait(patience - time.monotonic()):
                raise SnapshotError(f"{self._most} snapshots are being read at once; open {snapshot_id} again later.")
        return handle

    def _has_room(self) -> bool:
        """Whether one more may be opened; closes the idlest where that makes room."""
        opened = [handle for handle in self._handles.values() if handle.open]
        if len(opened) < self._most:
            return True
        idle = [handle for handle in opened if not handle.cursors]
        if idle:
            idlest = min(idle, key=lambda handle: handle.used)
            idlest.snapshot.connection.close()
            idlest.open = False
        return bool(idle)

    def _close_unseen_for(self, seconds: float) -> None:
        with self._changed:
            before = time.monotonic() - seconds
            for key, handle in list(self._handles.items()):
                if not handle.cursors and handle.seen <= before:
                    handle.snapshot.close()
                    del self._handles[key]
            self._changed.notify_all()

    def _sweep(self) -> None:
        self._close_unseen_for(self._idle_seconds)
        with self._changed:
            self._sweeper = None
            if self._handles:
                self._sweep_later()

    def _sweep_later(self) -> None:
        if self._sweeper is None:
            self._sweeper = threading.Timer(self._idle_seconds / 2, self._sweep)
            self._sweeper.daemon = True
            self._sweeper.start()
