"""Writing by rename, and clearing what a killed writer left.

    WORKSPACE/.../<name>.<pid>@<node>.tmp    while it is written; renamed to <name> at the end

A file is cleared when the process in its name runs no more on the node in its name. Another node's processes (another
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
import time
from collections.abc import Iterator
from pathlib import Path

ABANDONED_SECONDS = 86_400.0
"""A temporary file that nobody wrote to for so long is no living process's, whoever that may be."""
CLOCK_SECONDS = 2.0
"""A file's time and a process's start are compared no finer than this."""
PLACES = (
    "CURRENT.*.tmp",
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
    "uploads/*.tmp",
    "kept/*.tmp",
)
"""Where temporary files lie. Of the stages, the unfinished ones alone are searched: the others may be large."""

_WRITER = re.compile(r"\.(?P<pid>\d{1,7})(?:@(?P<node>[0-9a-f]{8}))?\.tmp(?:\.wal)?$")


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
    return path.with_name(f"{path.name}.{os.getpid()}@{NODE}.tmp")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name that replaces `path` at the end, so that a reader sees the old file or the new, never half.

    Removed on any failure, with the log that DuckDB keeps beside a database.
    """
    writing = temporary(path)
    try:
        yield writing
        os.replace(writing, path)
    finally:
        remove(writing)
        remove(writing.with_name(f"{writing.name}.wal"))


def remove(path: Path) -> None:
    """Delete a file or a folder, where there is one and the disk allows it."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def clear(workspace: Path) -> list[Path]:
    """Delete the temporary files of a workspace that no living process writes; returns them."""
    cleared = []
    for place in PLACES:
        for path in list(workspace.glob(place)):
            with contextlib.suppress(OSError):  # renamed or deleted since the listing
                if not _is_being_written(path):
                    remove(path)
                    cleared.append(path)
    return cleared


def _is_being_written(path: Path) -> bool:
    written = _written(path)
    writer = _WRITER.search(path.name)
    if writer and writer["node"] in (None, NODE) and os.name == "posix":  # elsewhere, signal 0 would end the process
        pid = int(writer["pid"])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # lives, as another user
        began = _began(pid)
        if began is not None:
            return written > began - CLOCK_SECONDS  # an older file is of a dead process whose number was given again
    return time.time() - written < ABANDONED_SECONDS


def _written(path: Path) -> float:
    """When a file last changed, or was given this name: a second name of a finished file is as old as that one is."""
    status = path.lstat()
    return max(status.st_mtime, status.st_ctime)


def _began(pid: int) -> float | None:
    """When a living process was started, in seconds since 1970; +inf for one that only waits to be reaped, None where
    the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        up = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
    except (OSError, IndexError, ValueError):
        return None
    if fields[0] in ("Z", "X"):
        return float("inf")
    return time.time() - up + int(fields[19]) / os.sysconf("SC_CLK_TCK")
