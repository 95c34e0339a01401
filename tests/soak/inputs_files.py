"""Files: datasets in every format through `validate`, `ingest` and the audit of foreign SIDs; files of judgments."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from engine.datasets.ingest import ingest, ingest_audit, validate
from engine.datasets.judged_file import check_judgments
from engine.datasets.report import Report
from engine.errors import DataError
from engine.store.uploads import keep
from tests.soak.contract import FAULT, READ, REFUSED, Tried, drawn, tried, wrong_text
from tests.soak.hostile import word
from tests.soak.mutations import ROOT, Files, mutated

_OURS = {"items.csv", "queries.csv", "dataset.toml", "code_1", "judgments.csv"}
"""Files that messages may advise to add."""
_FILE = re.compile(r"(?:^|; |not read: )([^\s:;()']+\.(?:csv|tsv|txt|jsonl?|ndjson|parquet|pq|xlsx|xml|gz|zip))(?=[:\s])", re.IGNORECASE)  # fmt: skip


def lay_out(folder: Path, files: Files) -> Path:
    """Writes the files of an input."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def reading(place: Path) -> Callable[[int, int], Tried]:
    """Datasets: read, and stored every fifth."""

    def attempt(seed: int, number: int) -> Tried:
        kind, mutations, files = mutated(seed, number)
        how, said = problem_of(files, place / "input", number)
        shutil.rmtree(place / "input", ignore_errors=True)
        return Tried(f"files: {kind}", how, f"{said} ({', '.join(mutations)})" if how == FAULT else said)

    return attempt


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
        wrong = _wrong_message(said, files)
        return (FAULT, f"{wrong}: {said[:600]!r}") if wrong else (REFUSED, said)
    except BaseException:  # a fault of DuckDB's reader may be of any kind
        return FAULT, traceback.format_exc(limit=-6)
    return (FAULT, wrong) if wrong else (READ, "")


def importing(place: Path) -> Callable[[int, int], Tried]:
    """SIDs, beams and scores of another system: audited whole, without the map."""
    from engine.config import preset
    from engine.importing.run import ImportSettings, import_run

    config = preset("tiny")
    config = dataclasses.replace(
        config, evaluation=dataclasses.replace(config.evaluation, resamples=10, exposure_resamples=10)
    )

    def attempt(seed: int, number: int) -> Tried:
        kind, mutations, files = mutated(seed, number, kinds=("sid", "audited"))
        folder, workspace = lay_out(place / "input" / "shop", files), place / "input" / "ws"
        sizes = drawn(seed, number, "import").choice((None, None, None, (4, 4), (2, 2), (10**9, 1), (0, 0), (8, 8, 8)))

        def work() -> str:
            done = import_run(folder, workspace, ImportSettings(config, sizes, False), max_reject_share=1.0)
            held = done.run.folder / "tables"
            counts = {f.table: f.accepted for f in done.report.files}
            for table in ("sids", "scores"):
                path = held / f"{table}.parquet"
                kept = pq.read_metadata(path).num_rows if path.exists() else 0
                if counts.get(table, 0) > kept:
                    return f"{counts[table]} rows of {table} accepted, {kept} in the run"
            return _wrong_report(done.report, files)

        found = tried(f"import: {kind}", (mutations, sizes), work)
        shutil.rmtree(place / "input", ignore_errors=True)
        return found

    return attempt


def judgments(place: Path) -> Callable[[int, int], Tried]:
    """Files of judgments handed in: kept under a name of the sender's, checked against a stored catalogue."""
    catalogue = ingest(ROOT / "data" / "sample", place / "ws").catalogue
    whole = (ROOT / "data" / "sample" / "judgments.csv").read_bytes()

    def attempt(seed: int, number: int) -> Tried:
        rng = drawn(seed, number, "judgments")
        kind, mutations, files = mutated(seed, number, kinds=("judgments", "sample", "quepid", "rre", "qrels"))
        name, data = rng.choice(
            [(name, data) for name, data in files.items() if name != "items.csv"] or [("judgments.csv", whole)]
        )
        called = rng.choice((name, "judgments.csv", word(rng), f"{word(rng)}.csv", f"{word(rng)}.xlsx"))

        def work() -> str:
            shutil.rmtree(place / "ws" / "uploads", ignore_errors=True)
            kept = keep(place / "ws", called, data)
            if kept.path.read_bytes() != data or kept.path.parent.parent != place / "ws" / "uploads":
                return f"kept as {kept.path}"
            found = check_judgments(kept.path, catalogue)
            json.dumps(found.to_dict())
            (file,) = found.report.files
            if found.n_pairs > file.accepted or found.n_judged > found.n_pairs:
                return f"{found[1:]} of {file}"
            return _wrong_report(found.report, {kept.path.name: data, name: data})

        return tried(f"judgments: {kind}", (called, mutations, data[:300]), work)

    return attempt


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
    return next((f"{wrong}: {text[:600]!r}" for text in said if (wrong := _wrong_message(text, files))), "")


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


def _wrong_message(text: str, files: Files) -> str:
    """What is wrong with a message; '' where nothing is."""
    if wrong := wrong_text(text):
        return wrong
    if "/.sidelight-" in text or "/judgments-" in text or "raw_" in text or "typed_" in text:
        return "a message that names a place of our own"
    shown = next(
        (m[1] for m in _FILE.finditer(text) if m[1] not in files and m[1] not in _OURS and "/" not in m[1]), None
    )
    return f"a message that names {shown}, which is not there" if shown else ""
