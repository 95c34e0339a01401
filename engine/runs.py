"""A run: one method trained on one catalogue with one resolved config and seed.

    WORKSPACE/runs/<name>-<hash8>/
        config.json            the resolved config, written first
        stages/<stage>/        artefacts of a finished stage ('<stage>.part' while it works)
        stages/<stage>.json    its marker: seconds, peak memory, the files' checksums; written after the artefacts are in place
        tables/<table>.parquet what a snapshot takes
        run.json               the manifest: versions, times, fingerprints, the tables' checksums; written last
        generations/<n>/       items that were given SIDs afterwards (`engine.assigning`)
    WORKSPACE/cache/<stage>-<hash>/    the same for stages that several runs share

The hash covers the input's fingerprint, config, seed and the code version of every stage, so a stale stage is
never reused. A killed run resumes at its first unfinished stage; a stage that checkpoints resumes inside. A file that is no
longer as it was written is never read as if it were: the stage is done again, or an error names it.
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

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from engine import leftovers
from engine.config import Config
from engine.errors import ConfigError, RunError
from engine.leftovers import replacing
from engine.on_ray import OnRay
from engine.progress import Progress, silent
from engine.seal import broken, seal
from engine.store.held import held
from engine.store.workspace import run_folder

_logger = logging.getLogger(__name__)

LIBRARIES = ("torch", "transformers", "numpy", "pandas", "duckdb", "faiss-cpu", "scikit-learn", "umap-learn", "bm25s")

SEALED = ("tables", "catalogue")
"""Folders of a run whose files its manifest seals; a stage's marker seals its own."""
_REPEAT = "Repeat the 'train' or 'import' command that made run '{}': it makes anew what is damaged, and nothing else."

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
    _looked_at: set[Path] = field(default_factory=set)

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
        saved = _read_json(folder / "config.json")
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
        """Where a finished stage's artefacts lie. Raises RunError where they are not as they were written."""
        return self._sound(self.folder / "stages" / name)

    def stage(self, name: str, title: str, body: StageBody) -> Path:
        """Do a stage of this run unless it is done; returns the folder of its artefacts."""
        return self._once(name, title, self.folder / "stages" / name, body)

    def shared(
        self, name: str, title: str, key: Iterable[Any], body: StageBody, *, after: tuple[str, ...] = ()
    ) -> Path:
        """The same for a stage that depends on `key` alone, on its code's version and on those of the stages `after`
        which it comes, and is computed once for all runs."""
        versions = [str(self.versions.get(stage)) for stage in (name, *after)]
        known = _hash(self.fingerprint, *versions, *map(str, key))
        folder = self.workspace / "cache" / f"{name}-{known[:16]}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with held(folder.with_suffix(".lock"), self._waiting):
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
        return self._sound(folder)

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

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Held while training; the system releases it when the process dies."""
        return held(self.folder / "run.lock", self._waiting)

    def _waiting(self, who: str) -> contextlib.AbstractContextManager[Progress]:
        return self.watcher.step(f"Waiting for {who}")

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
        files = {name: seal(self.folder / name) for name in SEALED}
        write_text(self.folder / "run.json", json.dumps({**manifest, "files": files}, indent=1))
        _logger.info("run finished", extra={"run": self.run_id})

    def manifest(self) -> dict[str, Any]:
        """The manifest of a finished run. Raises RunError where it is damaged."""
        return _read_json(self.folder / "run.json")

    def reopen_if_damaged(self) -> None:
        """Make a finished run unfinished where a file of its own or of what it shares is no longer as it was written: what is
        damaged is then made anew, and nothing else."""
        try:
            self.check_tables()
            for marker in (self.folder / "stages").glob("*.json"):
                self.stage_folder(marker.stem)
            for link in (self.folder / "stages").glob("*.shared"):
                self.shared_folder(link.stem)
        except RunError:
            (self.folder / "run.json").unlink()

    def check_tables(self) -> None:
        """Raises RunError where a table that snapshots take is no longer as the finished run wrote it."""
        for name, files in self.manifest().get("files", {}).items():
            self._refuse(self.folder / name, broken(self.folder / name, files))

    def _sound(self, folder: Path) -> Path:
        """A finished stage's folder, looked through once a process."""
        if folder not in self._looked_at and folder.is_dir():
            self._refuse(folder, broken(folder, _read_json(folder.with_suffix(".json")).get("files", {})))
            self._looked_at.add(folder)
        return folder

    def _refuse(self, folder: Path, names: list[str]) -> None:
        if names:
            raise RunError(
                f"{folder / names[0]} is damaged: it is missing, or not as it was written. {_REPEAT.format(self.run_id)}"
            )

    def _once(self, name: str, title: str, folder: Path, body: StageBody) -> Path:
        mark = _finished(folder)
        if mark is None:
            marker = folder.with_suffix(".json")
            progress = self.watcher.start(name, title)
            _logger.info("stage begins", extra={"run": self.run_id, "stage": name})
            part = folder.with_suffix(".part")
            if folder.exists():  # renamed, but killed before the marker, or damaged: complete it anew
                shutil.rmtree(folder)
                marker.unlink(missing_ok=True)
            part.mkdir(parents=True, exist_ok=True)
            began = time.perf_counter()
            body(part, progress)
            os.replace(part, folder)
            mark = StageMark(name, round(time.perf_counter() - began, 3), peak_memory_mb(), False)
            write_text(marker, json.dumps({**mark._asdict(), "files": seal(folder)}))
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
        saved, manifest = _read_json(path), path.with_name("run.json")
        config = saved["config"]
        done = _read_json(manifest) if manifest.is_file() else {}
        info = RunInfo(
            path.parent.name, config["method"], config["preset"], config["seed"], saved["fingerprint"],
            bool(done), done.get("created_at"),
        )  # fmt: skip
        found.append((path.stat().st_mtime, info))
    return [info for _, info in sorted(found, key=lambda pair: pair[0], reverse=True)]


def _finished(folder: Path) -> StageMark | None:
    """What the marker of a stage says; None where there is none, or its files are not as they were written."""
    try:
        said = _read_json(folder.with_suffix(".json"))
        files = said.pop("files", {})
        return None if not folder.is_dir() or broken(folder, files) else StageMark(**{**said, "cached": True})
    except (RunError, TypeError):
        return None


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a run. Raises RunError where it is damaged."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(said, dict):
            raise ValueError("it holds no object")
        return said
    except (OSError, ValueError) as error:
        run = next((parent.name for parent in path.parents if parent.parent.name == "runs"), path.stem)
        raise RunError(f"{path} is damaged ({error}). {_REPEAT.format(run)}") from None


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
