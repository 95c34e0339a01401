"""Writing by rename, and clearing what a killed writer left.

    WORKSPACE/.../<name>.<pid>-<start>@<node>.tmp    while it is written; renamed to <name> at the end

A file is cleared when the process in its name runs no more on the node in its name. `start`, in ticks since the machine
was booted, tells a process from a later one of its number whatever becomes of the clock. Another node's processes (another
machine, or a container with processes of its own) cannot be seen from here: what is theirs, or names no process at
all, is cleared when nobody has written to it for a day.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

ABANDONED_SECONDS = 86_400.0
"""A temporary file that nobody wrote to for so long is no living process's, whoever that may be."""
PLACES = (
    "CURRENT.*.tmp",
    "catalogues/.*.tmp",
    "snapshots/*.tmp",
    "snapshots/*.tmp.wal",
    "runs/*/*.tmp",
    "runs/*/*/*.tmp",
    "runs/*/tables/*/*.tmp",
    "runs/*/stages/*.part/**/*.tmp",
    "cache/*.tmp",
    "cache/embeddings/*.tmp",
    "cache/embeddings/*.parts/*.tmp",
    "cache/*.part/**/*.tmp",
    "ablations/*/*.tmp",
    "judgments/*/*.tmp",
    "uploads/*.tmp",
    "kept/*.tmp",
)
"""Where temporary files lie. Of the stages, the unfinished ones alone are searched: the others may be large."""

_WRITER = re.compile(r"\.(?P<pid>\d{1,7})(?:-(?P<start>\d+))?(?:@(?P<node>[0-9a-f]{8}))?\.tmp(?:\.wal)?$")


def _node() -> str:
    """8 hex digits that name the machine, or the container where it has processes of its own."""
    try:
        processes = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        processes = 0
    return hashlib.sha256(f"{platform.node()} {processes}".encode()).hexdigest()[:8]


NODE = _node()


def temporary(path: Path) -> Path:
    """The name beside `path` under which this process writes it."""
    return path.with_name(f"{path.name}.{os.getpid()}-{_start(os.getpid()) or 0}@{NODE}.tmp")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name that replaces `path` at the end, so that a reader sees the old file or the new, never half.

    Removed on any failure, with the log that DuckDB keeps beside a database. A device or a pipe is written into, not replaced.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    writing = temporary(path)
    try:
        yield writing
        os.replace(writing, path)
    finally:
        remove(writing)
        remove(writing.with_name(f"{writing.name}.wal"))


@contextlib.contextmanager
def working_folder(name: str, within: Path | None = None) -> Iterator[Path]:
    """A new folder that is gone afterwards, and at the next start where this process was killed: in `within`, else where
    the system keeps temporary files."""
    place = Path(tempfile.gettempdir()) if within is None else within
    folder = temporary(place / f".sidelight-{name}-{uuid.uuid4().hex[:8]}")
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        remove(folder)


def remove(path: Path) -> None:
    """Delete a file or a folder, where there is one and the disk allows it."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def clear(workspace: Path) -> list[Path]:
    """Delete the temporary files of a workspace, and of the system's folder of them, that no living process writes;
    returns them."""
    found = [path for place in PLACES for path in workspace.glob(place)]
    found += Path(tempfile.gettempdir()).glob(".sidelight-*.tmp")
    cleared = []
    for path in found:
        with contextlib.suppress(OSError):  # renamed or deleted since the listing
            if not _is_being_written(path):
                remove(path)
                cleared.append(path)
    return cleared


def writer_lives(path: Path) -> bool | None:
    """Whether the process in a temporary file's name runs; None where that cannot be told from here."""
    writer = _WRITER.search(path.name)
    if (
        not writer or writer["node"] not in (None, NODE) or os.name != "posix"
    ):  # elsewhere, signal 0 would end the process
        return None
    try:
        os.kill(int(writer["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # lives, as another user
    start = _start(int(writer["pid"]))
    return None if start is None or not int(writer["start"] or 0) else start == int(writer["start"])


def _is_being_written(path: Path) -> bool:
    lives = writer_lives(path)
    if lives is not None:
        return lives
    status = path.lstat()  # a second name of a finished file is as old as that one is, but for the time of its status
    return abs(time.time() - max(status.st_mtime, status.st_ctime)) < ABANDONED_SECONDS


def _start(pid: int) -> int | None:
    """When a living process was started, in ticks since the machine was; -1 for one that only waits to be reaped, None where
    the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return -1 if fields[0] in ("Z", "X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None
