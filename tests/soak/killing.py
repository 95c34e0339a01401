"""An engine command in a process that is killed: at a share of its time, or before its k-th change of a file.

Commands run in children forked from this process, which has imported the libraries and started no thread: a process of
its own would spend most of its life importing torch, and kills would fall there. `Zygote.start` and all that follows is
what `python -m engine` does.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.utime", "os.truncate"}
"""Audit events of Python that change a folder; 'open' for writing is one too. Writes of DuckDB and Arrow are none."""
IMPORTED = (
    "torch", "umap", "faiss", "lightgbm", "sklearn.metrics", "scipy.stats", "numba", "pyarrow.parquet", "duckdb",
    "engine.pipeline", "engine.cli", "engine.importing.run", "engine.labeling.judge", "engine.assigning.assign",
    "engine.ablation.ablate", "engine.ablation.workers", "engine.datasets.ingest", "engine.encoders.minilm",
)  # fmt: skip


class Ended(NamedTuple):
    """How a command ended."""

    code: int  # As Popen's: negative for a signal.
    seconds: float
    changes: int  # Of files, as far as they were counted.


def warm() -> None:
    """Import what commands need, once."""
    for name in IMPORTED:
        importlib.import_module(name)


def run(
    words: Sequence[str],
    workspace: Path,
    log: Path,
    *,
    after: float | None = None,
    before_change: int | None = None,
    whole_group: bool = True,
) -> Ended:
    """Run `python -m engine WORDS`; SIGKILL it `after` seconds, or just before its change of that number (from 1).

    `whole_group`: with the processes that it started.
    """
    counted = log.with_suffix(".changes")
    counted.unlink(missing_ok=True)

    def command() -> int:
        count = _watch_changes(workspace, before_change)
        sys.argv = ["python -m engine", *words]
        try:
            importlib.import_module("engine.cli").main()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        counted.write_text(str(count()))
        return code

    began = time.monotonic()
    pid = forked(command, log)
    killed_at = None if after is None else began + after
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if killed_at is not None and time.monotonic() >= killed_at:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if whole_group else os.kill)(pid, signal.SIGKILL)
            killed_at = None
        time.sleep(0.002)
    if before_change and whole_group:
        end_group(pid)
    changes = int(counted.read_text()) if counted.is_file() else 0
    return Ended(os.waitstatus_to_exitcode(status), time.monotonic() - began, changes)


def forked(body: Callable[[], int], log: Path) -> int:
    """Start `body` in a child and a session of its own, its output added to `log`; returns its process number."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        code = body()
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def in_child(body: Callable[[], int], log: Path) -> int:
    """The exit code of `body` in a child: this process stays without threads."""
    return os.waitstatus_to_exitcode(os.waitpid(forked(body, log), 0)[1])


@contextlib.contextmanager
def beside(body: Callable[[Callable[[], bool]], int], log: Path) -> Iterator[None]:
    """`body(stopped)` runs in a child until the block ends; raises AssertionError where it ended before, or failed."""

    def listening() -> int:
        asked: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
        return body(lambda: bool(asked))

    pid = forked(listening, log)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGTERM)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 0, f"see {log}"


def end_group(pid: int) -> None:
    """Kill what a command started and left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _watch_changes(workspace: Path, last: int | None) -> Callable[[], int]:
    """Count this process's changes below `workspace` and the folder of temporary files; SIGKILL it just before change
    number `last`, with all that it started."""
    inside = (str(workspace), tempfile.gettempdir())
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event == "open":
            writes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not writes:
                return
        elif event not in CHANGES:
            return
        if not any(isinstance(a, str | bytes | os.PathLike) and os.fsdecode(a).startswith(inside) for a in arguments):
            return
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return lambda: seen
