"""What could go wrong on this machine with this workspace, looked at before it does: versions, disk, memory, snapshots."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from engine import leftovers
from engine.errors import EngineError, SnapshotError
from engine.runs import list_runs
from engine.store.snapshot import current_id, list_snapshots, open_snapshot

State = Literal["well", "watch", "bad"]
LEAST_MEMORY = 4e9
"""Bytes that the demo needs (README)."""
LEAST_DISK = 1e9
CLOCK_SECONDS = 2.0
"""Clocks that differ by less agree."""
OPTIONAL = ("requirements-connect.txt", "requirements-mcp.txt", "requirements-ray.txt")


class Sign(NamedTuple):
    """One thing looked at."""

    what: str
    state: State
    found: str
    do: str = ""


def examine(workspace: Path, requirements: Path) -> list[Sign]:
    """Everything, in the order in which it should be mended; what cannot be looked at is bad and says why.

    `requirements`: the folder of the pinned versions. Nothing is changed but a file that is written and removed at once.
    """
    looks: dict[str, Callable[[], Iterator[Sign]]] = {
        "packages": lambda: _packages(requirements), "memory": _memory, "disk": lambda: _disk(workspace),
        "workspace": lambda: _writable(workspace), "run": lambda: _runs(workspace),
        "snapshot": lambda: _snapshots(workspace), "leftovers": lambda: _left(workspace),
    }  # fmt: skip
    found = [Sign("Python", "well", ".".join(map(str, sys.version_info[:3])))]
    for what, look in looks.items():
        try:
            found += look()
        except (EngineError, OSError) as error:
            found.append(Sign(what, "bad", str(error), "mend what is named, and look again"))
    return found


def pinned(requirements: Path) -> dict[str, str]:
    """Versions by package of a requirements file."""
    lines = (line.split("#")[0].strip() for line in requirements.read_text(encoding="utf-8").splitlines())
    return {name.split("[")[0]: version for name, _, version in (line.partition("==") for line in lines) if version}


def _packages(folder: Path) -> Iterator[Sign]:
    for file, needed in [("requirements.txt", True), *((name, False) for name in OPTIONAL)]:
        wanted = pinned(folder / file)
        have = {name: _installed(name) for name in wanted}
        missing = [name for name, version in have.items() if version is None]
        others = [
            f"{name} {version} instead of {wanted[name]}"
            for name, version in have.items()
            if version is not None and version.split("+")[0] != wanted[name]
        ]
        if missing and not needed:
            yield Sign(file, "well", f"not installed ({', '.join(missing)}): optional")
        elif missing or others:
            told = [*others, *(f"{name} is missing" for name in missing)]
            yield Sign(file, "bad" if missing else "watch", "; ".join(told), f"pip install -r {file}")
        else:
            yield Sign(file, "well", f"{len(wanted)} packages as pinned")


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _memory() -> Iterator[Sign]:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    small = size < LEAST_MEMORY
    yield Sign("memory", "watch" if small else "well", f"{size / 1e9:,.1f} GB, {os.cpu_count()} cores",
               f"training the demo needs {LEAST_MEMORY / 1e9:.0f} GB" if small else "")  # fmt: skip


def _disk(workspace: Path) -> Iterator[Sign]:
    there = next(folder for folder in (workspace, *workspace.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    largest = max((info.path.stat().st_size for info in list_snapshots(workspace)), default=0)
    need = max(LEAST_DISK, 2 * largest)
    yield Sign("disk", "watch" if free < need else "well", f"{free / 1e9:,.1f} GB free",
               f"make room: a publication may need {need / 1e9:,.1f} GB" if free < need else "")  # fmt: skip


def _writable(workspace: Path) -> Iterator[Sign]:
    if not workspace.is_dir():
        yield Sign("workspace", "watch", f"{workspace} is not there", "python -m engine demo, or ingest")
        return
    probe = leftovers.temporary(workspace / "CURRENT")
    try:
        probe.touch()
        age = time.time() - probe.stat().st_mtime
        probe.unlink()
    except OSError as error:
        yield Sign("workspace", "watch", f"{workspace}: {error.strerror}", "it can be shown, not changed")
        return
    yield Sign("workspace", "well", f"{workspace} can be written")
    if abs(age) > CLOCK_SECONDS:
        yield Sign("clock", "watch", f"files are dated {age:+.0f} s from this machine's clock", "set both clocks alike")
    newest = max((info.path.stat().st_mtime for info in list_snapshots(workspace)), default=0.0)
    if newest > time.time() + CLOCK_SECONDS:
        yield Sign("clock", "watch", "a snapshot is dated in the future: the clock was set back", "set the clock")


def _runs(workspace: Path) -> Iterator[Sign]:
    unfinished = [run for run in list_runs(workspace) if not run.finished]
    for run in unfinished:
        yield Sign("run", "watch", f"{run.run_id} is not finished", "the command that began it goes on where it was")


def _snapshots(workspace: Path) -> Iterator[Sign]:
    current, listed = current_id(workspace), list_snapshots(workspace)
    if current is None:
        yield Sign("snapshot", "watch", "nothing is published", "python -m engine publish")
    elif current not in {info.snapshot_id for info in listed}:
        yield Sign("snapshot", "bad", f"CURRENT names {current}, which is not there", "python -m engine publish")
    for info in listed:
        try:
            opened = open_snapshot(workspace, info.snapshot_id)
        except SnapshotError as error:
            bad = info.snapshot_id == current
            yield Sign("snapshot", "bad" if bad else "watch", str(error), "python -m engine publish" if bad else "")
            continue
        row = opened.cursor().execute("SELECT n_items, (SELECT count(*) FROM runs) FROM snapshot").fetchone()
        opened.close()
        items, runs = row or (0, 0)
        told = f"{info.snapshot_id} opens: {items:,} items, {runs} runs, {info.path.stat().st_size / 1e6:,.0f} MB"
        yield Sign("snapshot", "well", told + (", current" if info.snapshot_id == current else ""))


def _left(workspace: Path) -> Iterator[Sign]:
    left = [path for place in leftovers.PLACES for path in workspace.glob(place)]
    if left:
        size = sum(path.stat().st_size for path in left if path.is_file())
        yield Sign("leftovers", "watch", f"{len(left)} temporary file{'' if len(left) == 1 else 's'}, {size / 1e6:,.0f} MB",
                   "they are cleared at the next start, once their writers have ended")  # fmt: skip
