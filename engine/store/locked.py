"""SQL that somebody else wrote, over a snapshot: bounded, read-only, and cancelled when asked.

    locked = Locked()
    answer = locked.ask(path, "SELECT count(*) AS n FROM items")          # raises QueryError
    running = locked.start(path, sql, {"run": run_id}); running.cancel()

Every question runs in a process of its own (`confined`), so that whatever it does, to memory or to a parser, ends with
that process: used by the dashboard's SQL console and by the MCP server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import pyarrow as pa

from engine.errors import QueryError
from engine.store.confined import LEFT_ALONE, TIMED_OUT

ALLOWED = "SIDELIGHT_ALLOW_SQL"
"""'1' where the dashboard has its SQL console; `python -m app --allow-sql` sets it."""
ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30.0
"""What a process may take to start, on a busy machine, beyond the time of its question."""
_PASSED_ON = ("PATH", "HOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV")
"""Of the environment: where Python and its libraries lie, and nothing else."""

Value = str | int | float | None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one question may take."""

    seconds: float = 15.0
    """Of the clock; processor time at most that of every thread."""
    memory_mb: int = 512
    """Of DuckDB, which may not spill to disk either."""
    threads: int = 2
    rows: int = 10_000
    """Of the answer; what is beyond is cut off, and the answer says so."""
    bytes: int = 8 * 2**20


class Answer(NamedTuple):
    """The rows of a question."""

    rows: pa.Table
    cut: str
    """'' where these are all; 'rows' or 'bytes': the limit at which they were cut off."""
    seconds: float


def allowed() -> bool:
    """Whether this server's dashboard runs SQL that visitors write."""
    return os.environ.get(ALLOWED) == "1"


class Running:
    """A question at work. Let go of, it ends by itself."""

    def __init__(self, request: dict[str, object], limits: Limits) -> None:
        self._limits, self._began = limits, time.monotonic()
        # not a pipe: nobody has to read while it writes; closed with this object
        self._out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "engine.store.confined"],
            cwd=ROOT,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            stdin=subprocess.PIPE,
            stdout=self._out,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        self._cancelled = False
        self._seconds = 0.0

    def done(self) -> bool:
        """Whether it has ended, of itself or not."""
        if self._process.poll() is None and self.seconds > self._limits.seconds + START_SECONDS:
            self._process.kill()
            self._process.wait()
        if self._process.poll() is None:
            return False
        self._seconds = self._seconds or time.monotonic() - self._began
        return True

    @property
    def seconds(self) -> float:
        """How long it has been, or was, at work."""
        return self._seconds or time.monotonic() - self._began

    def cancel(self) -> None:
        """End it now."""
        self._cancelled = self._process.poll() is None
        self._process.kill()
        self._process.wait()

    def answer(self) -> Answer:
        """Its rows, waited for. Raises QueryError where it was refused, failed, was too large or took too long."""
        while not self.done():
            time.sleep(0.01)
        if self._cancelled:
            raise QueryError("It was cancelled.")
        code, limits = self._process.returncode, self._limits
        if code in (TIMED_OUT, LEFT_ALONE) or self.seconds > limits.seconds + START_SECONDS:
            raise QueryError(
                f"It was stopped after {limits.seconds:g} seconds, the most that one question may take; ask for less at once."
            )
        self._out.seek(0)
        head = self._out.readline()
        if code or not head:
            raise QueryError(
                f"It was stopped: it took more memory or processor time than one question may ({limits.memory_mb} MB, "
                f"{limits.seconds:g} seconds), or broke DuckDB."
            )
        told = json.loads(head)
        if "error" in told:
            raise QueryError(told["error"])
        with pa.ipc.open_stream(self._out) as stream:
            rows = stream.read_all()
        return Answer(rows.rename_columns(_apart(rows.column_names)), told["cut"], self.seconds)


def _apart(names: list[str]) -> list[str]:
    """Column names of which no two are the same: SQL allows equal ones, tables on screen and JSON do not."""
    seen: dict[str, int] = {}
    apart = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        apart.append(name if seen[name] == 1 else f"{name}:{seen[name]}")
    return apart


class Locked:
    """Runs questions, at most `most` at once. Its methods may be called from any thread."""

    def __init__(self, limits: Limits | None = None, most: int = 2) -> None:
        self.limits, self._most = limits or Limits(), most
        self._running: list[Running] = []
        self._lock = threading.Lock()

    def start(self, path: Path, sql: str, parameters: Mapping[str, Value] | None = None) -> Running:
        """Begin a question over the snapshot at `path`; of the parameters those are used that the SQL names ($name).

        Raises QueryError where as many as may are at work already.
        """
        limits = self.limits
        request: dict[str, object] = {
            "path": str(path), "sql": sql, "parameters": dict(parameters or {}), "rows": limits.rows, "bytes": limits.bytes,
            "seconds": limits.seconds, "memory_mb": limits.memory_mb, "threads": limits.threads,
        }  # fmt: skip
        with self._lock:
            self._running = [one for one in self._running if not one.done()]
            if len(self._running) >= self._most:
                raise QueryError(
                    f"{self._most} questions are at work already, the most that may be; ask again in a moment."
                )
            running = Running(request, limits)
            self._running.append(running)
        return running

    def ask(self, path: Path, sql: str, parameters: Mapping[str, Value] | None = None) -> Answer:
        """`start`, waited for. Raises QueryError."""
        return self.start(path, sql, parameters).answer()
