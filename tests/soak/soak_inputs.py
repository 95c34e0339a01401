"""Inputs by the thousand: whatever comes in is taken, or refused in one true sentence.

    python -m tests.soak inputs [--n 10000] [--seed 0] [--workers 2] [--ways files links ...]
    python -m tests.soak inputs --only links:17 sql:40 --seed 0

Ways in: datasets in every format (`files`), audits of foreign SIDs (`import`), handed-in `judgments`, `settings` (--set, rules,
secrets, URLs), the `judge`'s answers, what people `keep`, page `links`, `sql`, tools of the `mcp` server and whole `commands`.
Each input is one in which something went wrong; it is tried in a worker process, which is ended after LIMIT seconds and may
take so much address space. Held to: success or an error of the user's, nothing else; rows read = accepted + rejected +
passed over; every message plain text that names no place of this machine; memory below MOST_MB.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import os
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

from tests.soak import inputs_files, inputs_pages, inputs_words
from tests.soak.contract import FAULT, READ, REFUSED, Tried, Way

LIMIT = 10.0
"""Seconds for one input."""
START = 300.0
"""Seconds for a worker to start and to make a way in ready, on a busy machine."""
MOST_MB = 1_500
"""Peak resident memory of a worker, its libraries included."""
WAYS: dict[str, tuple[int, Way]] = {
    "files": (4_000, inputs_files.reading),
    "import": (500, inputs_files.importing),
    "judgments": (500, inputs_files.judgments),
    "settings": (1_600, inputs_words.settings),
    "judge": (1_200, inputs_words.judge),
    "keep": (700, inputs_words.keeping),
    "links": (400, inputs_pages.links),
    "sql": (400, inputs_pages.sql),
    "mcp": (400, inputs_pages.mcp),
    "commands": (300, inputs_pages.commands),
}
"""Each with its share of ten thousand."""

Case = tuple[str, int]
"""A way in, and which of its inputs."""


class Outcome(NamedTuple):
    """What became of one input."""

    case: Case
    tried: Tried
    seconds: float
    peak_mb: float


def cases(n: int, ways: Iterable[str] = ()) -> list[Case]:
    """The first `n` inputs of these ways together (all of them by default), by their shares."""
    chosen = list(ways) or list(WAYS)
    whole = sum(WAYS[way][0] for way in chosen)
    return [(way, number) for way in chosen for number in range(max(1, round(n * WAYS[way][0] / whole)))]


def _peak_mb() -> float:
    """Peak resident memory since the last `_reset_peak` (Linux)."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else 0.0


def _reset_peak() -> None:
    mark = Path("/proc/self/clear_refs")
    if mark.exists():
        mark.write_text("5")


def _work(link: Connection, seed: int) -> None:
    """Try what is asked for; a first word says that the way is ready."""
    with contextlib.suppress(ImportError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, resource.RLIM_INFINITY))
    logging.disable()  # what pages log is told by what they show
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    scratch = Path(tempfile.mkdtemp(prefix="inputs-"))
    ready: dict[str, Callable[[int, int], Tried]] = {}
    while (case := link.recv()) is not None:
        way, number = case
        if way not in ready:
            (scratch / way).mkdir()
            ready[way] = WAYS[way][1](scratch / way)
        link.send("ready")
        _reset_peak()
        start = time.perf_counter()
        tried = ready[way](seed, number)
        seconds, peak = time.perf_counter() - start, _peak_mb()
        if peak > MOST_MB and tried.how != FAULT:
            tried = tried._replace(how=FAULT, said=f"{peak:,.0f} MB of memory")
        link.send((tried, seconds, peak))
    shutil.rmtree(scratch, ignore_errors=True)


class _Worker:
    def __init__(self, seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.link, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, seed), daemon=False)
        self.process.start()
        theirs.close()
        self.case: Case = ("", -1)
        self.until = self.begun = 0.0

    def give(self, case: Case) -> None:
        self.case, self.begun = case, time.monotonic()
        self.until = self.begun + START
        self.link.send(case)

    def end(self) -> None:
        self.process.kill()
        self.process.join()


def run(chosen: Iterable[Case], seed: int, workers: int, *, limit: float = LIMIT) -> list[Outcome]:
    """The outcomes of some inputs of a seed, in their order."""
    waiting, found = iter(chosen), []
    busy: list[_Worker] = []

    def more(worker: _Worker | None = None) -> None:
        case = next(waiting, None)
        if case is not None:
            worker = worker or _Worker(seed)
            worker.give(case)
            busy.append(worker)
        elif worker is not None:
            worker.link.send(None)
            worker.process.join(10)
            worker.end()

    for _ in range(workers):
        more()
    try:
        while busy:
            ready = wait([worker.link for worker in busy], timeout=0.5)
            for worker in [w for w in busy if w.link in ready or time.monotonic() > w.until]:
                try:
                    if worker.link not in ready:
                        raise TimeoutError
                    if (answer := worker.link.recv()) == "ready":
                        worker.begun = time.monotonic()
                        worker.until = worker.begun + limit
                        continue
                    found.append(Outcome(worker.case, *answer))
                    busy.remove(worker)
                    more(worker)
                except (EOFError, OSError, TimeoutError) as error:
                    busy.remove(worker)
                    worker.end()
                    took = time.monotonic() - worker.begun
                    why = (
                        f"no answer in {took:.0f} s"
                        if isinstance(error, TimeoutError)
                        else f"the process ended ({worker.process.exitcode})"
                    )
                    found.append(Outcome(worker.case, Tried(f"{worker.case[0]}: ended", FAULT, why), took, 0.0))
                    more()
    finally:
        for worker in busy:
            worker.end()
    return sorted(found)


def summary(outcomes: list[Outcome], *, kinds: bool = False) -> str:
    """A table of the outcomes by way in (or by what went in), and the slowest and largest."""
    groups: dict[str, list[Outcome]] = {}
    for one in outcomes:
        groups.setdefault(one.tried.kind if kinds else one.case[0], []).append(one)
    rows = ["| way in | inputs | taken | refused | faults | slowest, s | peak, MB |", "|---|---|---|---|---|---|---|"]
    for name, some in [*groups.items(), ("all", outcomes)]:
        how = Counter(o.tried.how for o in some)
        rows.append(f"| {name} | {len(some):,} | {how[READ]:,} | {how[REFUSED]:,} | {how[FAULT]:,} | {max(o.seconds for o in some):.2f} | {max(o.peak_mb for o in some):,.0f} |")  # fmt: skip
    slow, large = max(outcomes, key=lambda o: o.seconds), max(outcomes, key=lambda o: o.peak_mb)
    return "\n".join([*rows, "", f"Slowest: {_called(slow)}; largest: {_called(large)}."])


def _called(one: Outcome) -> str:
    return f"{one.case[0]}:{one.case[1]} ({one.tried.kind})"


def main(argv: list[str]) -> int:
    """Try them; 1 where something was neither taken nor refused."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak inputs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=[])
    parser.add_argument("--only", nargs="+", metavar="WAY:NUMBER", help="these inputs alone")
    parser.add_argument("--kinds", action="store_true", help="a row for everything that went in")
    options = parser.parse_args(argv)
    if options.only:
        chosen = [(way, int(number)) for way, _, number in (each.partition(":") for each in options.only)]
    else:
        chosen = cases(options.n, options.ways)
    start = time.monotonic()
    outcomes = run(chosen, options.seed, options.workers)
    print(summary(outcomes, kinds=options.kinds), f"\n{time.monotonic() - start:,.0f} s")
    faults: dict[str, list[Outcome]] = {}
    for one in outcomes:
        if one.tried.how == FAULT:
            faults.setdefault(one.tried.said.strip().splitlines()[-1][:160], []).append(one)
    for last, some in sorted(faults.items(), key=lambda each: -len(each[1])):
        print(f"\n{len(some)} x {last}\n  {', '.join(map(_called, some[:8]))}")
        print(ascii(some[0].tried.said)[:3_000].replace("\\n", "\n    "))
    return int(bool(faults))
