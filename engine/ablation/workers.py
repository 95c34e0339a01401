"""Runs trained side by side, each by a process of its own; a failed one stops no other.

A worker is `python -m engine train` on its share of the cores, its output in a log file. Workers that are killed lose
nothing: a run goes on at its first unfinished stage. Of two ablations at once, the second waits at the run's lock and
finds the run finished.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from engine.ablation.plan import Costs, Job, Plan, cores, free_memory_mb, run_cost, time_left

THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS",
)  # fmt: skip
"""Read by the numerical libraries when they are imported, so they must be set before a worker starts."""
TAIL_LINES = 15
"""Of a failed worker's log, shown at the end."""
SPARE = 1.2
"""A further worker starts where so many times the largest known peak of memory is free."""
GRACE_SECONDS = 10.0
"""Between asking a worker to end and killing it."""

_AT_WORK = re.compile(r"^ {2}… (.+)$|^ {4}(.+ left)$", re.MULTILINE)

Command = Callable[[Plan, Job], Sequence[str]]
"""What a worker executes for a job."""


class Running(NamedTuple):
    """A worker at work."""

    job: Job
    doing: str  # The stage, with its time left where it is known.
    stages_done: int
    seconds: float


class Outcome(NamedTuple):
    """A worker that ended."""

    job: Job
    ok: bool
    reason: str  # Why it failed; empty where it did not.
    seconds: float
    log: Path
    tail: list[str]


class Standing(NamedTuple):
    """How the ablation stands."""

    running: list[Running]
    waiting: int
    outcomes: list[Outcome]
    left: float | None  # Seconds, about; None where nothing of the kind was measured yet.


class _Worker(NamedTuple):
    job: Job
    process: subprocess.Popen[bytes]
    log: Path
    offset: int
    began: float


def train_command(plan: Plan, job: Job) -> list[str]:
    """The command that a user would type for this run."""
    return [
        sys.executable, "-m", "engine", "train", "--method", job.method, "--seed", str(job.seed),
        "--preset", plan.preset, "--catalogue", plan.fingerprint, "--workspace", str(plan.workspace.resolve()),
        "--no-map", "--json", "--ladder", "full", *(word for setting in plan.settings for word in ("--set", setting)),
    ]  # fmt: skip


def worker_environment(workers: int, given: Mapping[str, str]) -> dict[str, str]:
    """The environment `given`, with each worker's share of the cores where the user set no number of threads."""
    share = str(max(1, cores() // workers))
    wide = {"COLUMNS": "200", "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**dict.fromkeys(THREAD_VARIABLES, share), **wide, **given}


def run_jobs(
    plan: Plan,
    costs: Costs,
    *,
    workers: int,
    watch: Callable[[Standing], None] = lambda standing: None,
    command: Command = train_command,
    cwd: Path | None = None,
    poll_seconds: float = 0.3,
) -> list[Outcome]:
    """Train what is not finished, at most `workers` at a time; returns how each run of the plan's `todo` ended.

    The first run works alone until its shared stages are done, so that no worker waits for another's embeddings.
    `costs` learns from every run that finishes. On Ctrl-C or any error the workers are ended first.
    """
    waiting, running, outcomes = list(plan.todo), list[_Worker](), list[Outcome]()
    (plan.folder / "logs").mkdir(parents=True, exist_ok=True)
    environment = worker_environment(workers, os.environ)
    shared_done = False
    try:
        while waiting or running:
            for worker in [w for w in running if w.process.poll() is not None]:
                running.remove(worker)
                outcomes.append(_outcome(plan, worker))
                if outcomes[-1].ok:
                    costs.add(worker.job.method, run_cost(_run_folder(plan, worker.job)))
            shared_done = shared_done or any(_own_stages_begun(plan, w.job) for w in running)
            shared_done = shared_done or any(o.ok for o in outcomes)
            room = workers if shared_done else 1
            if waiting and len(running) < room and (not running or _memory_allows(costs)):
                running.append(_start(plan, waiting.pop(0), command, environment, cwd))
                continue
            watch(_standing(plan, costs, workers, running, waiting, outcomes))
            if running:
                time.sleep(poll_seconds)
    finally:
        _end([w.process for w in running])
    return outcomes


def _start(plan: Plan, job: Job, command: Command, environment: Mapping[str, str], cwd: Path | None) -> _Worker:
    log = plan.folder / "logs" / f"{job.run_id}.log"
    words = list(command(plan, job))
    with log.open("ab") as handle:  # earlier attempts stay readable above
        handle.write(f"\n$ {' '.join(words)}\n".encode())
        handle.flush()
        offset = handle.tell()
        process = subprocess.Popen(words, stdout=handle, stderr=subprocess.STDOUT, env=dict(environment), cwd=cwd)
    return _Worker(job, process, log, offset, time.monotonic())


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _outcome(plan: Plan, worker: _Worker) -> Outcome:
    code = worker.process.returncode
    finished = (_run_folder(plan, worker.job) / "run.json").is_file()
    if code < 0:
        name = signal.Signals(-code).name
        reason = f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    elif code:
        reason = f"exit code {code}"
    else:
        reason = "" if finished else "ended without finishing its run"
    said = _said(worker).splitlines()
    lines = [line.rstrip() for line in said if line.strip()]
    seconds = time.monotonic() - worker.began
    return Outcome(worker.job, not reason, reason, seconds, worker.log, lines[-TAIL_LINES:])


def _standing(
    plan: Plan,
    costs: Costs,
    workers: int,
    running: Sequence[_Worker],
    waiting: Sequence[Job],
    outcomes: Sequence[Outcome],
) -> Standing:
    now = time.monotonic()
    shown, loads = [], []
    for worker in running:
        stages = _run_folder(plan, worker.job) / "stages"
        elapsed, expected = now - worker.began, costs.seconds(worker.job.method)
        loads.append(None if expected is None else max(expected - elapsed, 0.0))
        done = len(list(stages.glob("*.json"))) + len(list(stages.glob("*.shared")))
        shown.append(Running(worker.job, _doing(worker, stages), done, elapsed))
    left = time_left(loads, [costs.seconds(job.method) for job in waiting], workers)
    return Standing(shown, len(waiting), list(outcomes), left)


def _doing(worker: _Worker, stages: Path) -> str:
    at_work = _AT_WORK.findall(_said(worker, last=4_000))
    if at_work:
        return str(at_work[-1][0] or at_work[-1][1])
    return next((path.stem for path in stages.glob("*.part")), "starting")


def _said(worker: _Worker, *, last: int = 100_000) -> str:
    """The last bytes of what this attempt wrote."""
    with worker.log.open("rb") as handle:
        end = handle.seek(0, os.SEEK_END)
        handle.seek(max(worker.offset, end - last))
        return handle.read().decode("utf-8", "replace")


def _own_stages_begun(plan: Plan, job: Job) -> bool:
    """Whether the run is past the stages it shares with the others: a stage of its own is at work or finished."""
    stages = _run_folder(plan, job) / "stages"
    return any(path.suffix in (".part", ".json") for path in stages.glob("*"))


def _memory_allows(costs: Costs) -> bool:
    free = free_memory_mb()
    return free is None or free > SPARE * costs.peak_mb()


def _run_folder(plan: Plan, job: Job) -> Path:
    return plan.workspace / "runs" / job.run_id
