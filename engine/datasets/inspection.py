"""`python -m engine inspect`: what files are and how they would be read, without a workspace and without failing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from engine.datasets.adapters import sid_index
from engine.datasets.contract import AUDIT_FILES, Catalogue, LogReader
from engine.datasets.ingest import Sources, ingest, ingest_audit, listed_sources
from engine.datasets.reading.decisions import listed
from engine.datasets.reading.files import look_at
from engine.datasets.report import Report
from engine.errors import DataError, shown
from engine.leftovers import working_folder
from engine.progress import Progress, silent

Told = TypeVar("Told")


class Inspection(NamedTuple, Generic[Told]):
    """What was found."""

    files: list[tuple[str, str, str, str]]  # Where it cannot be read: (file, the contract's file, format, columns).
    report: Report | None
    told: Told | None  # What was asked of the catalogue that they make.
    refusal: str | None  # Why it cannot be read as it is, with the remedy.
    audit: bool  # Whether SIDs, beams or scores of another system are among it.

    def to_dict(self) -> dict[str, object]:
        """For `json.dumps`."""
        report = self.report.to_dict() if self.report else None
        return {"files": self.files, "report": report, "refusal": self.refusal, "audit": self.audit}


def inspect(
    sources: Sources, tell: Callable[[Catalogue], Told], *, adapter: str | None = None, read_log: LogReader | None = None,
    progress: Progress = silent,
) -> Inspection[Told]:  # fmt: skip
    """Reads the sources as `ingest` would, into a workspace that is gone afterwards; SIDs of another system as `import` would.

    `tell` is asked about the catalogue while it is there.
    """
    paths = listed_sources(sources)
    with working_folder("inspect") as workspace:
        audit = _audited(paths)
        try:
            if audit:
                read = ingest_audit(paths, workspace, adapter=adapter, max_reject_share=1, progress=progress)
                return Inspection([], read.report, tell(read.catalogue), None, True)
            done = ingest(paths, workspace, adapter=adapter, max_reject_share=1, read_log=read_log, progress=progress)
            return Inspection([], done.report, tell(done.catalogue), None, False)
        except DataError as error:
            staged = workspace / "looked-at"
            staged.mkdir(exist_ok=True)
            return Inspection(_files(paths, staged), None, None, str(error), audit)


def _files(paths: Sequence[Path], staged: Path) -> list[tuple[str, str, str, str]]:
    return [
        (seen.label, seen.table or "?", seen.format, shown(listed(seen.names, most=8, quote=""), 160))
        for seen in look_at(paths, staged)
    ]


def _audited(paths: list[Path]) -> bool:
    """Whether SIDs, beams or scores of another system are among the sources."""
    with working_folder("inspect") as scratch:
        try:
            seen = look_at(paths, scratch)
            if any(file.table in AUDIT_FILES for file in seen):
                return True
            untold = paths[0].is_dir() or (seen[0].table is None and "json" in seen[0].format.casefold())
            return len(paths) == 1 and untold and sid_index.is_index(paths[0])
        except DataError:
            return False
