"""Ten colleagues at one dashboard while snapshots are published and a run is trained.

python -m tests.soak colleagues --workspace data/workspace --minutes 10 --sessions 10

Works on a copy of the workspace, which holds two finished runs of its newest catalogue at least. Two sessions are drawn, each in
a browser context of its own; drawing all ten takes more than two cores, and would measure Chromium. The others speak Streamlit's
protocol: the server does the same for them. Broken: an error in the server's log, a page that fails, two snapshots on one page, a file
that another browser gets, two files of one snapshot that differ, memory that goes on growing, pages that are too slow, leases
or temporary files left behind by the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from playwright.async_api import async_playwright

from engine.leftovers import PLACES
from engine.runs import list_runs
from tests.browser.conftest import Snapshot
from tests.browser.dashboard import FLAGS, ROOT, Server, find_chromium, serve
from tests.browser.states import named
from tests.soak.at_browser import AtBrowser
from tests.soak.colleague import LIVE, Colleague, Seen
from tests.soak.on_wire import OnWire

COMES_EVERY = 2.0
"""Seconds between two colleagues' arrivals."""
READY = 4.0
"""p95 of the seconds until a page that asks no model is ready: twice what is asked of a quiet server with one visitor."""
GROWTH = 20.0
"""MB a minute over the second half that passes as flat; what is kept of answers fills up for some minutes."""
NOISE = re.compile(r"Traceback|ERROR|CRITICAL|Exception|Error:")


class Told(NamedTuple):
    """What the commands beside the dashboard did."""

    published: int
    built: int  # Of them, snapshots that were not there before.
    failed: list[str]


async def command(*words: str) -> tuple[int, str]:
    """One engine command's exit code and last words; `nice`, as docs/deploy.md asks of what runs beside a dashboard."""
    process = await asyncio.create_subprocess_exec(
        "nice",
        "-n",
        "19",
        sys.executable,
        "-m",
        "engine",
        *words,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()[-1500:]


async def publishing(workspace: Path, times: int, minutes: float) -> Told:
    """Publish other sets of the workspace's finished runs in turn, evenly over the time: another id becomes current each time."""
    newest = [info for info in list_runs(workspace) if info.finished]
    runs = [info.run_id for info in newest if info.fingerprint == newest[0].fingerprint]
    able = [info.run_id for info in newest if info.run_id in runs and info.method != "none"]
    sets = [s for n in range(len(runs), 0, -1) for s in itertools.combinations(runs, n) if set(s) & set(able)]
    began, built, failed = time.monotonic(), 0, []
    for place in range(times):
        await asyncio.sleep(max(0.0, began + 60 * minutes * (place + 0.5) / times - time.monotonic()))
        there = set((workspace / "snapshots").glob("*.duckdb"))
        chosen = [word for run in sets[place % len(sets)] for word in ("--run", run)]
        code, said = await command("publish", "--workspace", str(workspace), *chosen)
        built += bool(set((workspace / "snapshots").glob("*.duckdb")) - there)
        if code:
            failed.append(f"publication {place + 1}: {said}")
    return Told(times, built, failed)


async def training(workspace: Path, minutes: float) -> tuple[float, list[str]]:
    """A small run, trained from a fifth of the time on; how many seconds it took, and what failed."""
    await asyncio.sleep(60 * minutes / 5)
    began = time.monotonic()
    code, said = await command("train", "--workspace", str(workspace), "--preset", "tiny", "--no-map")
    return time.monotonic() - began, [f"training: {said}"] if code else []


def held(server: Server) -> tuple[float, float]:
    """MB that the server's process holds, and its processor seconds so far."""
    at = Path(f"/proc/{server.process.pid}")
    resident = next(line for line in (at / "status").read_text().splitlines() if line.startswith("VmRSS"))
    used = sum(int(n) for n in (at / "stat").read_text().rsplit(")", 1)[1].split()[11:13])
    return int(resident.split()[1]) / 1024, used / 100


async def watching(server: Server, end: float) -> list[tuple[float, float, float]]:
    """Minutes, MB and processor seconds, every five seconds."""
    began, rows = time.monotonic(), []
    while time.monotonic() < end:
        rows.append(((time.monotonic() - began) / 60, *held(server)))
        await asyncio.sleep(5)
    return rows


async def day(
    workspace: Path, server: Server, given: argparse.Namespace
) -> tuple[Seen, Told, float, list[str], np.ndarray]:
    """Everybody at work at once."""
    with contextlib.closing(Snapshot(workspace)) as opened:
        told = named(opened)
    seen, end = Seen(), time.monotonic() + 60 * given.minutes
    async with async_playwright() as playwright:
        path = find_chromium(playwright.chromium.executable_path)
        browser = await playwright.chromium.launch(executable_path=path, args=list(FLAGS))

        async def colleague(place: int) -> None:
            await asyncio.sleep(COMES_EVERY * place)
            known = (f"colleague {place + 1}", server.url, told, seen, end)
            one: Colleague = AtBrowser(browser, *known) if place < given.browsers else OnWire(*known)
            await one.work()

        beside = asyncio.gather(
            publishing(workspace, given.publications, given.minutes * 0.95), training(workspace, given.minutes),
            watching(server, end),
        )  # fmt: skip
        await asyncio.gather(*(colleague(place) for place in range(given.sessions)))
        published, (seconds, failed), rows = await beside
        await browser.close()
    return seen, published, seconds, failed, np.array(rows)


def left(workspace: Path) -> list[str]:
    """Leases and temporary files."""
    found = [*(workspace / "snapshots" / "leases").glob("*"), *(p for place in PLACES for p in workspace.glob(place))]
    return [str(path.relative_to(workspace)) for path in found]


def table(seen: Seen) -> str:
    """Seconds until ready, by how one looks and by what was done."""
    lines = ["| | what was done | n | median s | p95 s | slowest s |", "|---|---|---:|---:|---:|---:|"]
    rows = [*sorted(seen.seconds.items())]
    for kind in ("browser", "wire"):
        rows += [
            ((kind, "**pages of the snapshot**"), every(seen, kind, live=False)),
            ((kind, "**live**"), every(seen, kind, live=True)),
        ]
    for (kind, what), seconds in rows:
        if seconds:
            half, most = np.percentile(seconds, [50, 95])
            lines.append(f"| {kind} | {what} | {len(seconds)} | {half:.2f} | {most:.2f} | {max(seconds):.2f} |")
    return "\n".join(lines)


def every(seen: Seen, of: str, *, live: bool) -> list[float]:
    """Seconds of all pages of one kind of looking ('' for both): those that may wait for the model, or the others."""
    found = [s for (kind, what), s in seen.seconds.items() if of in ("", kind) and what.endswith(LIVE) == live]
    return [one for seconds in found for one in seconds]


def main(argv: list[str]) -> int:
    """Serve, let them work, stop, and say what broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak colleagues", description=__doc__)
    parser.add_argument("--workspace", type=Path, default=ROOT / "data" / "workspace")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--browsers", type=int, default=2, help="of the sessions, those that a Chromium draws")
    parser.add_argument("--publications", type=int, default=20)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="colleagues-") as folder:
        workspace, log = Path(folder) / "workspace", Path(folder) / "app.log"
        shutil.copytree(given.workspace, workspace, ignore=shutil.ignore_patterns("leases"))
        with serve(workspace, log) as server:
            seen, told, trained, failed, rows = asyncio.run(day(workspace, server, given))
            used = held(server)[1]
            asked = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(timeout=30)
            stopped = time.monotonic() - asked
        said, remains = log.read_text(), left(workspace)
    late = rows[rows[:, 0] >= rows[-1, 0] / 2]
    slope = float(np.polyfit(late[:, 0], late[:, 1], 1)[0])
    p95 = float(np.percentile(every(seen, "", live=False), 95))
    differ = [f"files of {key} differ" for key, digests in seen.files.items() if len(digests) > 1]
    broken = [
        *seen.faults, *told.failed, *failed, *differ,
        *(line for line in said.splitlines() if NOISE.search(line)), *(f"left behind: {name}" for name in remains),
        *([f"memory grows by {slope:.0f} MB a minute"] if slope > GROWTH else []),
        *([f"p95 {p95:.1f} s"] if p95 > READY else []),
        *([f"stopping took {stopped:.1f} s"] if stopped > 5 else []),
    ]  # fmt: skip
    print(table(seen))
    by_minute = [f"{rows[rows[:, 0] >= m][0, 1]:,.0f}" for m in range(int(rows[-1, 0]) + 1)]
    print(
        f"\n{given.sessions} sessions ({given.browsers} drawn), {given.minutes:g} minutes, {sum(map(len, seen.seconds.values()))} pages; {told.published} publications, {told.built} of them built "
        f"anew; a training of {trained:.0f} s beside. The server used {used:,.0f} s of processor time and stopped in {stopped:.1f} s.\n"
        f"Its memory by minute, MB: {', '.join(by_minute)}; over the second half {slope:+.1f} MB a minute.\n"
        f"{seen.turned} sessions turned to a newer snapshot; {len(seen.files)} different exports, {seen.refused} refused to another browser."
    )  # fmt: skip
    print(json.dumps({"broken": broken}, indent=1, ensure_ascii=False) if broken else "\nNothing broke.")
    return int(bool(broken))
