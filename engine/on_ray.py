"""Blocks of work on a Ray cluster (`--on ray`): the functions that work here, on other cores and machines.

A `Work` is opened once a worker (it loads a run, a model) and then does one block after the other. Between machines goes
text alone: a block and what came of it are JSON. What a worker makes lies on the disk that all share, one file a block,
written under a temporary name and renamed: a block that is done twice, because its worker died, is there once.
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
import socket
import sys
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engine import errors
from engine.errors import ConfigError, EngineError, RunError, shown

EXTRA = "requirements-ray.txt"
TRIES = 3
"""Times that a block is given to a worker again when the worker that had it died; then the block is what kills them."""
MOST_TASKS = 2_000
"""Of one piece of work: Ray's own cost is about a millisecond a task."""

Work = Callable[[], Callable[[Any], Any]]
"""Picklable; called once a worker, it gives the function of a block. What is known of a run is in its fields."""


class OnRay(NamedTuple):
    """A cluster that this process is connected to."""

    cpus: int
    """Of a worker, which works on so many blocks at a time and holds what it loads once."""
    workers: int
    gpus: int  # Of all nodes.

    def over(self, work: Work, blocks: Sequence[Any], *, most: int | None = None, gpu: bool = False) -> Iterator[Any]:
        """What `work` makes of each block, as they finish. `most`: workers; `gpu`: a worker gets one where there are any.

        Raises the EngineError that a block raised, and RunError where workers died of the same block again and again.
        """
        if not blocks:
            return
        import ray
        from ray.data import ActorPoolStrategy

        gpu = gpu and self.gpus > 0
        size = max(1, min(len(blocks), self.gpus if gpu else self.workers, most or len(blocks)))
        rows = ray.data.from_items(
            [{"block": json.dumps(block)} for block in blocks], override_num_blocks=min(len(blocks), MOST_TASKS)
        )
        pool = ActorPoolStrategy(size=size, max_concurrent_calls_per_actor=self.cpus, enable_true_multi_threading=True)
        with warnings.catch_warnings():  # these two have no other place in the pinned version
            warnings.simplefilter("ignore")
            done = rows.map_batches(
                _Worker, fn_constructor_args=(work,), batch_size=1, compute=pool, num_cpus=self.cpus,
                num_gpus=1 if gpu else None, max_restarts=-1, max_task_retries=TRIES,
            )  # fmt: skip
        try:
            for row in done.iter_rows():
                said = json.loads(row["said"])
                if "error" in said:
                    raise getattr(errors, said["error"], RunError)(said["message"])
                yield said["made"]
        except ray.exceptions.RayTaskError:  # a fault of ours, with its own trace
            raise
        except ray.exceptions.RayError as error:
            raise RunError(
                f"Ray gave up ({_first_line(error)}). Finished blocks are kept: repeat the command. Where workers die again, "
                "they lack memory: give each more CPUs (--ray-cpus), so that fewer of them share a machine."
            ) from error


class _Worker:
    """One process of the cluster."""

    def __init__(self, work: Work) -> None:
        self._work, self._opening = work, threading.Lock()
        self._do: Callable[[Any], Any] | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        try:
            with self._opening:
                self._do = self._do or self._work()
            said = [{"made": self._do(json.loads(block))} for block in batch["block"]]
        except EngineError as error:
            said = [{"error": type(error).__name__, "message": str(error)}]
        return {"said": [json.dumps(each) for each in said]}


def connected(address: str | None = None, *, cpus: int = 1, shared: Path | None = None) -> OnRay:
    """Connect to the cluster at `address`, or start one on this machine's cores that ends with this process.

    `shared`: the folder that workers read and write. Raises ConfigError where Ray is not installed or the cluster does
    not answer, RunError where a node has not this code or does not see that folder.
    """
    # Nothing is told to anybody; what goes wrong comes back as an error.
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_LOG_LEVEL": "CRITICAL", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    os.environ |= {name: value for name, value in quiet.items() if name not in os.environ}
    if address is None and "ray" not in sys.modules:
        # Ray listens on every interface and runs what it is sent; here, by who knows this process's secret. Read at import.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        import ray
        import ray.data
    except ImportError:
        raise ConfigError(f"--on ray needs Ray: pip install -r {EXTRA}") from None
    if not ray.is_initialized():
        _start(address)
    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.data.DataContext.get_current().print_on_execution_start = False
    if shared is not None:
        _check_nodes(shared.resolve())
    has = ray.cluster_resources()
    workers = int(has.get("CPU", 0)) // cpus
    if workers < 1:
        raise ConfigError(f"--ray-cpus {cpus}: the cluster has {int(has.get('CPU', 0))} CPUs in all")
    return OnRay(cpus, workers, int(has.get("GPU", 0)))


def _start(address: str | None) -> None:
    import ray

    host, colon, port = (address or "").rpartition(":")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is None:
            ray.init(address="local", include_dashboard=False, **quiet)
        else:
            if colon and port.isdigit() and "//" not in host:  # Ray itself would try for minutes
                socket.create_connection((host, int(port)), timeout=5).close()
            given = {name: os.environ[name] for name in ("HF_HUB_OFFLINE",) if name in os.environ}
            ray.init(address=address, runtime_env={"env_vars": given}, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        if address is None:
            raise RunError(f"Ray does not start on this machine ({_first_line(error)})") from error
        raise ConfigError(
            f"--ray-address {shown(address)}: no cluster to be had there ({_first_line(error)}). Give 'auto' on a machine of "
            "the cluster or HOST:6379 of its head, after 'ray start' on this machine too; without an address one starts here."
        ) from error


def _check_nodes(shared: Path) -> None:
    """Every node must have this code, and see in `shared` what is written there now."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    shared.mkdir(parents=True, exist_ok=True)
    sign = shared / f".shared-{uuid.uuid4().hex[:8]}.tmp"
    sign.write_text(str(sign), encoding="utf-8")
    try:
        for node in (node for node in ray.nodes() if node["Alive"]):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            look = ray.remote(_sees).options(num_cpus=0, scheduling_strategy=there)
            name = f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            try:
                sees = ray.get(look.remote(str(sign)))
            except ray.exceptions.RayError as error:
                raise RunError(
                    f"Ray's {name} cannot run Sidelight ({_first_line(error)}): install the same version there, with "
                    f"{EXTRA}, and start Ray in its folder."
                ) from error
            if not sees:
                raise RunError(
                    f"Ray's {name} does not see {shared}: the workspace must lie on a disk that every node mounts at the "
                    "same path."
                )
    finally:
        sign.unlink(missing_ok=True)


def _sees(path: str) -> bool:
    """Whether this machine has the engine and the file."""
    importlib.import_module("engine.runs")
    return Path(path).is_file() and Path(path).read_text(encoding="utf-8") == path


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
