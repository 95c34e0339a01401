"""Locks that say who holds them: of two engines on one workspace the second waits, and says for whom.

The system lets go of a lock when its holder dies, whatever the clock says: none is ever stale.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import filelock


@contextlib.contextmanager
def held(path: Path, waiting: Callable[[str], AbstractContextManager[Any]]) -> Iterator[None]:
    """Hold the lock `path`; while another process does, wait inside `waiting(who)`."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        with waiting(holder(path)):
            lock.acquire()
    try:
        sign(path)
        yield
    finally:
        lock.release()


def sign(path: Path) -> None:
    """Say in a lock, held by this process, who holds it."""
    with contextlib.suppress(OSError):  # where a locked file may not be written, nobody is named
        since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
        path.write_text(f"process {os.getpid()} on {platform.node()}, at work since {since}", encoding="utf-8")


def holder(path: Path) -> str:
    """Who holds a lock that is held, and since when."""
    try:
        return path.read_text(encoding="utf-8") or "another process"
    except (OSError, UnicodeDecodeError):
        return "another process"
