"""What an ablation will do, and how long it should take: methods x seeds, as the runs that `engine train` would make."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.config import METHODS, Config, override, preset
from engine.errors import ConfigError
from engine.runs import list_runs, run_id_of

LADDERS = {
    "core": ("none", "dsirm", "tiger", "dsi", "rkmeans", "category-path", "hash"),
    "all": ("none", *(m for m in METHODS if m != "none")),
}
"""Methods by the name of a ladder."""
START_SECONDS = 12.0
"""A worker's time before its first stage (importing torch and transformers)."""
WHOLE = "ranker.ladder=full"
"""An ablation trains every ranker: it is there to explain."""
REFERENCE = "dsirm"
"""The method that the others are tested against."""


class Job(NamedTuple):
    """One run of the ladder."""

    method: str
    seed: int
    run_id: str
    finished: bool  # Before the ablation started.


class Plan(NamedTuple):
    """Runs in the order in which they start: all methods at the first seed, then at the next."""

    workspace: Path
    fingerprint: str
    preset: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    jobs: list[Job]
    settings: tuple[str, ...] = ()  # What every run changes in the preset, like 'generator.kind=full'.
    skipped: tuple[str, ...] = ()  # Why methods that were asked for are left out, a sentence each.

    @property
    def folder(self) -> Path:
        """`WORKSPACE/ablations/<preset>-<hash8>`: the same for the same runs, in whatever order they were named."""
        key = json.dumps(sorted(job.run_id for job in self.jobs))
        name = f"{self.preset}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
        return self.workspace / "ablations" / name

    @property
    def todo(self) -> list[Job]:
        """The runs that are not finished yet."""
        return [job for job in self.jobs if not job.finished]


def make_plan(
    workspace: Path,
    fingerprint: str,
    preset_name: str,
    methods: Sequence[str],
    seeds: int,
    versions: Callable[[Config], Mapping[str, object]],
    settings: Sequence[str] = (),
) -> Plan:
    """The runs of `methods` at seeds 0 .. seeds-1; touches nothing. `versions` as `pipeline.versions`.

    Raises ConfigError for an unknown method, preset or setting, or no method at all.
    """
    wanted = tuple(dict.fromkeys(methods))
    if not wanted or seeds < 1:
        raise ConfigError(f"An ablation needs a method and a seed; given: methods {list(wanted)}, seeds {seeds}.")
    jobs = []
    for seed in range(seeds):
        for method in wanted:
            config = override(preset(preset_name, method=method, seed=seed), (WHOLE, *settings))
            run_id = run_id_of(fingerprint, config, versions(config))
            finished = (workspace / "runs" / run_id / "run.json").is_file()
            jobs.append(Job(method, seed, run_id, finished))
    return Plan(workspace, fingerprint, preset_name, wanted, tuple(range(seeds)), jobs, tuple(settings))


def methods_of(names: str | None, ladder: str) -> tuple[str, ...]:
    """The methods a user named (comma-separated), else those of the ladder. Raises ConfigError for an unknown one."""
    if ladder not in LADDERS:
        raise ConfigError(f"Ladder '{ladder}' is unknown; allowed: {', '.join(LADDERS)}.")
    wanted = tuple(name.strip() for name in names.split(",") if name.strip()) if names is not None else LADDERS[ladder]
    unknown = [name for name in wanted if name not in METHODS]
    if unknown:
        raise ConfigError(f"Method '{unknown[0]}' is unknown; allowed: {', '.join(METHODS)}.")
    return wanted


# ---------------------------------------------------------------- machine


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """Two where there are two cores: training takes one thread whatever there is (steps of small models are over before
    a second one has woken up; `engine.threads`), so a lone worker leaves a core idle. Each more needs its own
    gigabyte or two."""
    return min(2, cores())


def free_memory_mb() -> float | None:
    """Memory that new processes may take, in MB; None where the system does not say (not Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return int(found["MemAvailable"].split()[0]) / 1024 if "MemAvailable" in found else None


# ---------------------------------------------------------------- time and memory


class Cost(NamedTuple):
    """What a run took: its own stages alone, without those that runs share."""

    seconds: float
    peak_mb: float


def run_cost(folder: Path) -> Cost:
    """Cost of the finished run in this folder."""
    stages: list[dict[str, Any]] = json.loads((folder / "run.json").read_text(encoding="utf-8"))["stages"]
    shared = {path.stem for path in (folder / "stages").glob("*.shared")}
    own = [stage for stage in stages if stage["stage"] not in shared]
    return Cost(sum(stage["seconds"] for stage in own), max((stage["peak_mb"] for stage in own), default=0.0))


@dataclass
class Costs:
    """Costs of finished runs by method, and what they say of the next one."""

    known: dict[str, list[Cost]] = field(default_factory=dict)

    @classmethod
    def read(cls, workspace: Path, fingerprint: str, preset_name: str) -> Costs:
        """Of the finished runs of this catalogue and preset, whatever their seed and code version."""
        costs = cls()
        for info in list_runs(workspace):
            if info.finished and info.fingerprint == fingerprint and info.preset == preset_name:
                costs.add(info.method, run_cost(workspace / "runs" / info.run_id))
        return costs

    def add(self, method: str, cost: Cost) -> None:
        """Another finished run."""
        self.known.setdefault(method, []).append(cost)

    def seconds(self, method: str) -> float | None:
        """Seconds to expect: the mean of this method's runs; without any, of the other methods with SIDs; None where
        nothing of the kind was measured."""
        found = self.known.get(method, [])
        if not found and method != "none":
            found = [cost for name, group in self.known.items() if name != "none" for cost in group]
        return START_SECONDS + float(np.mean([cost.seconds for cost in found])) if found else None

    def peak_mb(self) -> float:
        """The largest peak memory seen; 0 where nothing was measured."""
        return max((cost.peak_mb for group in self.known.values() for cost in group), default=0.0)


def time_left(running: Sequence[float | None], waiting: Sequence[float | None], workers: int) -> float | None:
    """Seconds until all are done when each free worker takes the next waiting run; None where one is unknown."""
    loads: list[float] = []
    for seconds in running:
        if seconds is None:
            return None
        loads.append(seconds)
    loads += [0.0] * (workers - len(loads))
    for seconds in waiting:
        if seconds is None:
            return None
        loads[int(np.argmin(loads))] += seconds
    return max(loads, default=0.0)
