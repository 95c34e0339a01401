"""A run: one method trained on one catalogue with one resolved config and seed.

    WORKSPACE/runs/<name>-<hash8>/
        config.json            the resolved config, written first
        stages/<stage>/        artefacts of a finished stage ('<stage>.part' while it works)
        stages/<stage>.json    its marker: seconds, peak memory; written after the artefacts are in place
        tables/<table>.parquet what a snapshot takes
        run.json               the manifest: versions, times, fingerprints; written last
        generations/<n>/       items that were given SIDs afterwards (`engine.assigning`)
    WORKSPACE/cache/<stage>-<hash>/    the same for stages that several runs share

The hash covers the input's fingerprint, config, seed and the code version of every stage, so a stale stage is
never reused. A killed run resumes at its first unfinished stage; a stage that checkpoints resumes inside.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from engine.config import Config
from engine.errors import ConfigError, RunError
from engine.on_ray import OnRay
from engine.progress import Progress, silent
from engine.store import leftovers
from engine.store.leftovers import replacing
from engine.store.workspace import run_folder

_logger = logging.getLogger(__name__)

LIBRARIES = ("torch", "transformers", "numpy", "pandas", "duckdb", "faiss-cpu", "scikit-learn", "umap-learn", "bm25s")

StageBody = Callable[[Path, Progress], None]
"""Writes a stage's artefacts into the folder it is given; may find a checkpoint of its own there."""


class StageMark(NamedTuple):
    """What the marker of a finished stage says."""

    stage: str
    seconds: float
    peak_mb: float
    cached: bool


class Watcher:
    """Who is told of a run's stages; the command line draws bars from it."""

    def start(self, stage: str, title: str) -> Progress:
        """A stage begins; returns its progress callback."""
        return silent

    def finish(self, mark: StageMark) -> None:
        """A stage ended, or was found finished (`cached`)."""

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Progress]:
        """A piece of work outside a run's stages, told like a stage."""
        began = time.perf_counter()
        yield self.start(title, title)
        self.finish(StageMark(title, round(time.perf_counter() - began, 3), peak_memory_mb(), False))


@dataclass
class Run:
    """An open run. Create with `Run.create`, read finished ones with `Run.load`."""

    run_id: str
    folder: Path
    workspace: Path
    fingerprint: str
    config: Config
    watcher: Watcher = field(default_factory=Watcher)
    versions: Mapping[str, object] = field(default_factory=dict)
    """Of each stage's code, by stage; a loaded run computes no shared stage and has none."""
    marks: list[StageMark] = field(default_factory=list)
    on_ray: OnRay | None = None
    """The cluster that blocks of texts and queries go to; None: they are worked on here. It changes no result."""

    @classmethod
    def create(
        cls,
        workspace: Path,
        fingerprint: str,
        config: Config,
        versions: Mapping[str, object],
        watcher: Watcher | None = None,
        on_ray: OnRay | None = None,
    ) -> Run:
        """The run of these inputs: a new folder, or the one that exists. `versions`: of each stage's code, and of the encoder."""
        run_id = run_id_of(fingerprint, config, versions)
        folder = run_folder(workspace, run_id)
        leftovers.clear(workspace)
        (folder / "stages").mkdir(parents=True, exist_ok=True)
        (folder / "tables").mkdir(exist_ok=True)
        write_text(
            folder / "config.json", json.dumps({"fingerprint": fingerprint, "config": json.loads(config.to_json())})
        )
        return cls(run_id, folder, workspace, fingerprint, config, watcher or Watcher(), versions, on_ray=on_ray)

    @classmethod
    def load(cls, workspace: Path, run_id: str) -> Run:
        """A finished run. Raises RunError when it is unknown, unfinished, or of a version with other settings."""
        folder = run_folder(workspace, run_id)
        if not (folder / "config.json").is_file():
            known = ", ".join(r.run_id for r in list_runs(workspace)) or "none"
            raise RunError(f"Run '{run_id}' is not in {workspace / 'runs'}; known runs: {known}.")
        if not (folder / "run.json").is_file():
            raise RunError(f"Run '{run_id}' is unfinished; continue it with the same 'train' or 'import' command.")
        saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        try:
            config = Config.from_json(json.dumps(saved["config"]))
        except (TypeError, KeyError, ConfigError) as error:
            raise RunError(
                f"Run '{run_id}' was made by a version of Sidelight with other settings ({error}); "
                f"delete {folder} and train again."
            ) from error
        return cls(run_id, folder, workspace, saved["fingerprint"], config)

    @property
    def finished(self) -> bool:
        """Whether the manifest is there."""
        return (self.folder / "run.json").is_file()

    def stage_folder(self, name: str) -> Path:
        """Where a finished stage's artefacts lie."""
        return self.folder / "stages" / name

    def stage(self, name: str, title: str, body: StageBody) -> Path:
        """Do a stage of this run unless it is done; returns the folder of its artefacts."""
        return self._once(name, title, self.stage_folder(name), body)

    def shared(
        self, name: str, title: str, key: Iterable[Any], body: StageBody, *, after: tuple[str, ...] = ()
    ) -> Path:
        """The same for a stage that depends on `key` alone, on its code's version and on those of the stages `after`
        which it comes, and is computed once for all runs."""
        versions = [str(self.versions.get(stage)) for stage in (name, *after)]
        known = _hash(self.fingerprint, *versions, *map(str, key))
        folder = self.workspace / "cache" / f"{name}-{known[:16]}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_suffix(".lock")):
            self._once(name, title, folder, body)
        write_text(self.folder / "stages" / f"{name}.shared", folder.name)
        return folder

    def shared_folder(self, name: str) -> Path:
        """Where a shared stage of this run lies. Raises RunError when the cache was deleted."""
        link = self.folder / "stages" / f"{name}.shared"
        folder = self.workspace / "cache" / link.read_text(encoding="utf-8").strip()
        if not folder.is_dir():
            raise RunError(
                f"Run '{self.run_id}' needs {folder}, which was deleted; delete {self.folder} too and train again."
            )
        return folder

    def offer_tables(self, folder: Path) -> None:
        """Give the tables of a finished stage to snapshots: every Parquet file of its folder, and every folder of parts."""
        tables = self.folder / "tables"
        for path in sorted(folder.iterdir()):
            if path.suffix == ".parquet":
                _link(path, tables / path.name)
            elif path.is_dir() and any(path.glob("*.parquet")):
                (tables / path.name).mkdir(exist_ok=True)
                for part in sorted(path.glob("*.parquet")):
                    _link(part, tables / path.name / part.name)

    def elsewhere(self) -> Run:
        """This run as a worker on another machine opens it."""
        folder, workspace = self.folder.resolve(), self.workspace.resolve()
        return replace(self, folder=folder, workspace=workspace, watcher=Watcher(), on_ray=None)

    def lock(self) -> filelock.BaseFileLock:
        """Held while training; the system releases it when the process dies."""
        return filelock.FileLock(self.folder / "run.lock")

    def describe(self) -> dict[str, Any]:
        """What the manifest says of any run: when, by which code and libraries, how long each stage took."""
        return {
            "run_id": self.run_id,
            "fingerprint": self.fingerprint,
            "created_at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()),
            "git_commit": _git_commit(),
            "versions": {name: importlib.metadata.version(name) for name in LIBRARIES},
            "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
            "stages": [m._asdict() for m in self.marks],
        }

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest, last: from here on the run is finished."""
        write_text(self.folder / "run.json", json.dumps(manifest, indent=1))
        _logger.info("run finished", extra={"run": self.run_id})

    def manifest(self) -> dict[str, Any]:
        """The manifest of a finished run."""
        return json.loads((self.folder / "run.json").read_text(encoding="utf-8"))

    def _once(self, name: str, title: str, folder: Path, body: StageBody) -> Path:
        marker = folder.with_suffix(".json")
        if marker.is_file() and folder.is_dir():
            mark = StageMark(**{**json.loads(marker.read_text(encoding="utf-8")), "cached": True})
        else:
            progress = self.watcher.start(name, title)
            _logger.info("stage begins", extra={"run": self.run_id, "stage": name})
            part = folder.with_suffix(".part")
            if folder.exists():  # renamed, but killed before the marker: complete it anew
                shutil.rmtree(folder)
            part.mkdir(parents=True, exist_ok=True)
            began = time.perf_counter()
            body(part, progress)
            os.replace(part, folder)
            mark = StageMark(name, round(time.perf_counter() - began, 3), peak_memory_mb(), False)
            write_text(marker, json.dumps(mark._asdict()))
        self.marks.append(mark)
        _logger.info("stage ends", extra={"run": self.run_id, **mark._asdict()})
        self.watcher.finish(mark)
        return folder


def run_id_of(fingerprint: str, config: Config, versions: Mapping[str, object]) -> str:
    """The id that `Run.create` gives the run of these inputs."""
    key = _hash(fingerprint, config.to_json(), json.dumps(dict(versions), sort_keys=True))
    return f"{config.method}-{config.preset}-{key[:8]}"


def newest_ablation(workspace: Path, run_ids: Iterable[str]) -> Path | None:
    """The folder of the newest finished ablation whose runs are all among `run_ids`; None where there is none."""
    among, found = set(run_ids), []
    for path in (workspace / "ablations").glob("*/ablation.json"):
        if set(json.loads(path.read_text(encoding="utf-8"))["runs"]) <= among:
            found.append((path.stat().st_mtime, path.parent))
    return max(found)[1] if found else None


def ablation_tables(workspace: Path, run_ids: Iterable[str]) -> dict[str, Path]:
    """Files of a snapshot's tables by `newest_ablation`; empty where there is none."""
    newest = newest_ablation(workspace, run_ids)
    if newest is None:
        return {}
    return {"ladder": newest / "ladder.parquet", "method_comparisons": newest / "comparisons.parquet"}


class RunInfo(NamedTuple):
    """A run on disk."""

    run_id: str
    method: str
    preset: str
    seed: int
    fingerprint: str
    finished: bool
    created_at: str | None


def list_runs(workspace: Path) -> list[RunInfo]:
    """Runs on disk, finished or not, newest first."""
    found = []
    for path in (workspace / "runs").glob("*/config.json"):
        saved = json.loads(path.read_text(encoding="utf-8"))
        config, manifest = saved["config"], path.with_name("run.json")
        done = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
        info = RunInfo(
            path.parent.name, config["method"], config["preset"], config["seed"], saved["fingerprint"],
            bool(done), done.get("created_at"),
        )  # fmt: skip
        found.append((path.stat().st_mtime, info))
    return [info for _, info in sorted(found, key=lambda pair: pair[0], reverse=True)]


def write_text(path: Path, text: str) -> None:
    """Write to a temporary name, then rename: a reader sees the old text or the new, never half."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(folder: Path, name: str, frame: pd.DataFrame) -> None:
    """Write `<folder>/<name>.parquet` by rename."""
    write_arrow(folder, name, pa.Table.from_pandas(frame, preserve_index=False))


def write_arrow(folder: Path, name: str, table: pa.Table) -> None:
    """The same for an Arrow table."""
    with replacing(folder / f"{name}.parquet") as temporary:
        pq.write_table(table, temporary)


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays to one safetensors file by rename."""
    with replacing(path) as temporary:
        save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, str(temporary))


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read them back."""
    return load_file(str(path))


def _link(source: Path, target: Path) -> None:
    """Give a finished file a second name, by rename; a copy where the disk knows no links."""
    with replacing(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    import sys

    unit = 1024**2 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _git_commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            cwd=Path(__file__).parent,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
