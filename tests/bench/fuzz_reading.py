"""Mutated inputs: whatever a folder holds, it is read or refused in one true sentence.

    python -m tests.bench.fuzz_reading [--n 10000] [--seed 0] [--workers 2] [--keep FOLDER]
    python -m tests.bench.fuzz_reading --replay FOLDER [FOLDER ...]

Each input is a small dataset of `tests.bench.mutations` in which one to three things went wrong. `validate` reads it (and
`ingest`, or the audit of SIDs, every fifth) in a worker process, which is ended after LIMIT seconds. Held to: a Report or a DataError
and nothing else; rows read = accepted + rejected + skipped, as many accepted as stored, as many read as a plain text has
lines; every message one line of printable text that names a file of the input and no other place; memory below MOST_MB.
Failing inputs are written to --keep (default: a folder beside the temporary ones) for a replay.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

from engine.datasets.ingest import ingest, ingest_audit, validate
from engine.datasets.report import Report
from engine.errors import DataError
from tests.bench.mutations import Files, mutated

LIMIT = 20.0
"""Seconds for one input."""
MOST_MB = 1_500
"""Peak resident memory of a worker, its libraries included."""
LONGEST = 4_000
"""Characters of a message."""
_OURS = {"items.csv", "queries.csv", "dataset.toml", "code_1", "judgments.csv"}
"""Files that messages may advise to add."""
_FILE = re.compile(r"(?:^|; |not read: )([^\s:;()']+\.(?:csv|tsv|txt|jsonl?|ndjson|parquet|pq|xlsx|xml|gz|zip))(?=[:\s])", re.IGNORECASE)  # fmt: skip


class Outcome(NamedTuple):
    """What became of one input."""

    number: int
    kind: str
    mutations: list[str]
    how: str  # 'read', 'refused' or 'fault'.
    said: str  # The refusal, or what is wrong.
    seconds: float
    peak_mb: float


def lay_out(folder: Path, files: Files) -> Path:
    """Writes the files of an input."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def problem_of(files: Files, scratch: Path, number: int) -> tuple[str, str]:
    """('read' | 'refused' | 'fault', what was said or is wrong) of one input."""
    name = "shop" if number % 3 else "a shop [1] {x,y}, it's 100%"  # patterns to some readers of files
    folder = lay_out(scratch / name, files)
    try:
        # A row more or less rejected is no refusal: what is read is looked at.
        report = validate(folder, max_reject_share=1.0)
        wrong = _wrong_report(report, files)
        if not wrong and number % 5 == 0:
            wrong = _wrong_store(folder, scratch, files)
    except DataError as error:
        said = str(error)
        wrong = _wrong_text(said, files)
        return ("fault", f"{wrong}: {said[:600]!r}") if wrong else ("refused", said)
    except BaseException:  # a fault of DuckDB's reader may be of any kind
        return "fault", traceback.format_exc(limit=-6)
    return ("fault", wrong) if wrong else ("read", "")


def _wrong_store(folder: Path, scratch: Path, files: Files) -> str:
    """What is wrong with the stored catalogue; '' where nothing is, or it is refused."""
    audit = any(name.lower().startswith(("sids", "beams")) or "index" in name for name in files)
    done = (ingest_audit if audit else ingest)(folder, scratch / "ws", max_reject_share=1.0)
    tables = {
        "items": done.catalogue.items,
        "queries": done.catalogue.queries,
        "interactions": done.catalogue.interactions,
    }
    for count in done.report.files:
        rows = tables.get(count.table)
        if rows is None:
            continue
        stored = int((rows["source"] != "synthetic").sum()) if "source" in rows else len(rows)
        if stored != count.accepted:
            return f"{count.file}: {count.accepted} accepted and {stored} stored"
    return _wrong_report(done.report, files)


def _wrong_report(report: Report, files: Files) -> str:
    adapted = any(d.what == "layout" for d in report.decisions)  # rows are those of files that an adapter wrote
    for f in report.files:
        if f.read != f.accepted + f.rejected + f.skipped or min(f.accepted, f.rejected, f.skipped) < 0:
            return f"{f.file}: {f.read} read, {f.accepted} accepted, {f.rejected} rejected, {f.skipped} skipped"
        if sum(n for file, _, n in report.skipped if file == f.file) != f.skipped:
            return f"{f.file}: {f.skipped} skipped and {report.skipped} said"
        wrong = _wrong_count(f.read, files.get(f.file), [d.found for d in report.decisions if (d.file, d.what) == (f.file, "format")])  # fmt: skip
        if wrong and not adapted:
            return f"{f.file}: {wrong}"
    said = [
        *report.warnings,
        *(e for i in report.issues for e in i.examples),
        *(v for d in report.decisions for v in d),
    ]
    if verdict := report.verdict():
        said.append(verdict)
    json.dumps(report.to_dict())
    return next((f"{wrong}: {text[:600]!r}" for text in said if (wrong := _wrong_text(text, files))), "")


def _wrong_count(read: int, content: bytes | None, formats: list[str]) -> str:
    """Whether a delimited text without quotation marks has as many rows as lines that are not blank."""
    at = re.search(r"header on line (\d+)$", formats[0]) if formats else None
    if (
        content is None
        or at is None
        or re.search(rb"[\"'\\\x80-\xff\0\x0b\x0c\x1c-\x1e]", content)
        or content[:1] == b"\x1f"
    ):
        return ""
    lines = [line for line in re.split(rb"\r\n|\r|\n", content)[int(at[1]) :] if line]
    return f"{read} rows of {len(lines)} lines" if read != len(lines) else ""


def _wrong_text(text: str, files: Files) -> str:
    """What is wrong with a message; '' where nothing is."""
    if len(text.splitlines()) != 1 and text:
        return "a message of several lines"
    if not text.replace("\u3000", " ").replace("\xa0", " ").isprintable():
        odd = next((c for c in text if not c.isprintable()), "")
        if odd and (ord(odd) < 32 or 0xD800 <= ord(odd) < 0xE000):
            return f"a message with {odd!r}"
    if len(text) > LONGEST:
        return f"a message of {len(text)} characters"
    if "/.sidelight-" in text or "raw_" in text or "typed_" in text:
        return "a message that names a place of our own"
    shown = next(
        (m[1] for m in _FILE.finditer(text) if m[1] not in files and m[1] not in _OURS and "/" not in m[1]), None
    )
    return f"a message that names {shown}, which is not there" if shown else ""


# ---------------------------------------------------------------- workers


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
    while (number := link.recv()) is not None:
        kind, mutations, files = mutated(seed, number)
        scratch = Path(tempfile.mkdtemp(prefix="fuzz-"))
        _reset_peak()
        start = time.perf_counter()
        how, said = problem_of(files, scratch, number)
        seconds, peak = time.perf_counter() - start, _peak_mb()
        if peak > MOST_MB and how != "fault":
            how, said = "fault", f"{peak:,.0f} MB of memory"
        link.send(Outcome(number, kind, mutations, how, said, seconds, peak))
        shutil.rmtree(scratch, ignore_errors=True)


class _Worker:
    def __init__(self, seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.link, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, seed), daemon=True)
        self.process.start()
        theirs.close()
        self.number, self.begun = -1, 0.0

    def give(self, number: int) -> None:
        self.number, self.begun = number, time.monotonic()
        self.link.send(number)


def run(numbers: Iterable[int], seed: int, workers: int, *, limit: float = LIMIT) -> list[Outcome]:
    """The outcomes of some inputs of a seed, in their order."""
    waiting, found = iter(numbers), []
    busy: list[_Worker] = []

    def more(worker: _Worker) -> None:
        number = next(waiting, None)
        if number is not None:
            worker.give(number)
            busy.append(worker)
        elif worker.process.is_alive():
            worker.link.send(None)

    for _ in range(workers):
        more(_Worker(seed))
    while busy:
        ready = wait([worker.link for worker in busy], timeout=0.5)
        for worker in list(busy):
            late = time.monotonic() - worker.begun > limit + 30 * (not found)  # The first also starts the libraries.
            if worker.link not in ready and not late:
                continue
            busy.remove(worker)
            try:
                if late and worker.link not in ready:
                    raise TimeoutError
                found.append(worker.link.recv())
            except (EOFError, TimeoutError) as error:
                worker.process.kill()
                worker.process.join()
                why = (
                    f"no answer in {limit:g} s"
                    if isinstance(error, TimeoutError)
                    else f"the process ended ({worker.process.exitcode})"
                )
                found.append(
                    Outcome(
                        worker.number,
                        *mutated(seed, worker.number)[:2],
                        "fault",
                        why,
                        time.monotonic() - worker.begun,
                        0.0,
                    )
                )
                worker = _Worker(seed)
            more(worker)
    return sorted(found)


def keep(outcomes: list[Outcome], seed: int, target: Path) -> None:
    """Writes failing inputs, each a folder, with what went wrong beside it."""
    for one in outcomes:
        folder = target / f"{seed}-{one.number}"
        shutil.rmtree(folder, ignore_errors=True)
        lay_out(folder, mutated(seed, one.number)[2])
        (target / f"{seed}-{one.number}.txt").write_text(
            f"{one.kind}: {', '.join(one.mutations)}\n{one.said}\n", errors="backslashreplace"
        )


def summary(outcomes: list[Outcome]) -> str:
    """A table of the outcomes by kind of file, and the slowest and largest."""
    kinds = {kind: [o for o in outcomes if o.kind == kind] for kind in dict.fromkeys(o.kind for o in outcomes)}
    rows = ["| kind | inputs | read | refused | faults | slowest, s | peak, MB |", "|---|---|---|---|---|---|---|"]
    for kind, some in [*kinds.items(), ("all", outcomes)]:
        how = Counter(o.how for o in some)
        rows.append(f"| {kind} | {len(some):,} | {how['read']:,} | {how['refused']:,} | {how['fault']:,} | {max(o.seconds for o in some):.2f} | {max(o.peak_mb for o in some):,.0f} |")  # fmt: skip
    slow = max(outcomes, key=lambda o: o.seconds)
    large = max(outcomes, key=lambda o: o.peak_mb)
    rows += [
        "",
        f"Slowest: {slow.number} ({slow.kind}: {', '.join(slow.mutations)}); largest: {large.number} ({large.kind}: {', '.join(large.mutations)}).",
    ]
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", type=int, nargs="+", help="numbers of inputs")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "sidelight-fuzz")
    parser.add_argument("--replay", type=Path, nargs="+", help="folders that were kept")
    options = parser.parse_args()
    if options.replay:
        for folder in options.replay:
            files = {p.name: p.read_bytes() for p in folder.iterdir()}
            with tempfile.TemporaryDirectory() as scratch:
                print(folder.name, *problem_of(files, Path(scratch), 0))
        return
    start = time.monotonic()
    outcomes = run(options.only or range(options.n), options.seed, options.workers)
    print(summary(outcomes), f"\n{time.monotonic() - start:,.0f} s")
    faults = [o for o in outcomes if o.how == "fault"]
    keep(faults, options.seed, options.keep)
    last = Counter(o.said.strip().splitlines()[-1][:160] for o in faults)
    for said, n in last.most_common():
        print(f"{n:5}  {said}   e.g. {next(o.number for o in faults if o.said.strip().splitlines()[-1][:160] == said)}")
    if faults:
        sys.exit(f"{len(faults):,} faults; kept in {options.keep}")


if __name__ == "__main__":
    main()
