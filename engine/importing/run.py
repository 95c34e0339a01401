"""Makes a finished run of what another system made.

    python -m engine import PATH

`PATH` is a folder with the files of `data/README.md`: a catalogue, and beside it one at least of `sids`, `beams`, `scores`;
or an index of SIDs as another system wrote it (`engine.datasets.adapters.sid_files`), or the folder that holds one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from engine.audit.wording import counted
from engine.config import Config
from engine.datasets.audit_files import AuditFiles
from engine.datasets.contract import Catalogue
from engine.datasets.ingest import IngestedAudit, ingest_audit
from engine.datasets.report import Report
from engine.datasets.sid_text import MAX_CODE
from engine.encoders.fingerprint import ARITHMETIC, model_fingerprint
from engine.errors import DataError
from engine.importing import tables
from engine.importing.given import Given, read_given, trie_fingerprint
from engine.importing.tables import Case
from engine.problem.division import Division, divide
from engine.problem.vectors import encode, encode_texts
from engine.progress import Progress
from engine.reporting.answers import Answers
from engine.reporting.catalogue import items_table, queries_table
from engine.reporting.intake import REPORT
from engine.reporting.item_map import map_tables
from engine.reporting.measures import Probe
from engine.reporting.publication import write_catalogue, write_run
from engine.runs import Run, Watcher, write_table, write_text

METHOD, PRESET = "imported", "files"
VERSION = 4
"""Raised when the code changes what an imported run holds."""


class Imported(NamedTuple):
    """What `import_run` gives back."""

    run: Run
    report: Report


class ImportSettings(NamedTuple):
    """How another system's files are audited."""

    config: Config = Config()  # How to divide judged queries, evaluate and draw the map.
    sizes: tuple[int, ...] | None = None
    """Codes per level of the codebook; by default what lies between the smallest and the largest code seen."""
    embed: bool = True  # Also use vectors of titles, for the map and for the agreement of SIDs with near neighbours.


def import_run(
    folder: Path,
    workspace: Path,
    settings: ImportSettings = ImportSettings(),  # noqa: B008 - immutable
    *,
    adapter: str | None = None,
    dataset: str | None = None,
    sid_suffix: str | None = None,
    max_reject_share: float = 0.05,
    watcher: Watcher | None = None,
) -> Imported:
    """Validate and store the catalogue of a folder, and make a finished run of the SIDs, beams and scores beside it.

    Equal files give the same run, and a stopped import goes on where it was. Nothing is trained.

    Raises DataError as `ingest` does, where there is nothing to audit, and where `sizes` does not fit the SIDs.
    """
    watcher = watcher or Watcher()
    with watcher.step("Reading and validating") as progress:
        read = ingest_audit(
            folder, workspace, adapter=adapter, dataset=dataset, sid_suffix=sid_suffix, max_reject_share=max_reject_share,
            progress=progress,
        )  # fmt: skip
    base, sizes, embed = settings
    config = dataclasses.replace(
        base, method=METHOD, preset=PRESET, quantizer=dataclasses.replace(base.quantizer, sizes=sizes)
    )
    encoder = [ARITHMETIC, model_fingerprint(config.encoder.model)] if embed else None
    versions = {"import": VERSION, "files": read.files.fingerprint(), "encoder": encoder}
    given = read_given(read.catalogue, read.files)
    _check_sizes(given, sizes)
    run = Run.create(workspace, read.catalogue.fingerprint, config, versions, watcher)
    with run.lock():
        # of these files: others may have the same accepted rows
        write_table(run.folder, "rejects", read.rejects)
        write_text(run.folder / REPORT, json.dumps(read.report.to_dict(), ensure_ascii=False, indent=1))
        if run.finished:
            run.reopen_if_damaged()
        if not run.finished:
            _audit(run, read, given, embed=embed)
    return Imported(run, read.report)


def _audit(run: Run, read: IngestedAudit, given: Given, *, embed: bool) -> None:
    catalogue = read.catalogue
    items, queries = items_table(catalogue), _queries(catalogue, divide(catalogue, run.config.split))
    owners = tables.category_codes(given.codes, items, catalogue.settings.category_separator)
    case = Case(given, catalogue, items, queries, owners, run.config)

    def stage(name: str, title: str, make: Callable[[Progress], tables.Tables]) -> tables.Tables:
        def body(folder: Path, progress: Progress) -> None:
            for table, frame in make(progress).items():
                if len(frame):
                    write_table(folder, table, frame)

        folder = run.stage(name, title, body)
        run.offer_tables(folder)
        return {path.stem: pd.read_parquet(path) for path in folder.glob("*.parquet")}

    taken = {"beams": given.beams_table, "scores": given.scores, "category_codes": owners}
    stage("take", "Taking over SIDs, beams, scores", lambda _: taken)
    measured = stage("evaluate", "Evaluating on judged queries", lambda _: tables.evaluation_tables(case))
    vectors, probe = None, Probe(why_not="the SIDs were imported, and what made them is not here")
    if embed and given.codes is not None:
        own = catalogue.text_vectors().items
        vectors = encode(run, catalogue).items if own is None else own
        if own is None:
            probe = probe._replace(encode=lambda texts: encode_texts(run, texts))

    def audited(progress: Progress) -> tables.Tables:
        with Answers(run.folder / "tables") as answers:
            return tables.audit_tables(case, answers, measured, (vectors, probe), progress)

    stage("audit", "Auditing codebook, coverage, exposure", audited)
    if vectors is not None:
        x = vectors
        stage("project", "Drawing the map (UMAP)", lambda progress: map_tables(x, items, run.config, progress))
    _finish(run, case, _notes(read, case, embedded=vectors is not None), read.files)


def _check_sizes(given: Given, sizes: tuple[int, ...] | None) -> None:
    if sizes is None or given.levels is None:
        return
    if not all(1 <= size <= MAX_CODE + 1 for size in sizes):
        raise DataError(f"sizes {sizes}: each must be 1 to {MAX_CODE + 1:,}")
    if len(sizes) != given.levels:
        raise DataError(f"sizes {sizes} name {len(sizes)} levels, the SIDs have {given.levels}; give one size a level")
    for name, codes in (("SIDs", given.codes), ("beams", given.beams)):
        highest = [] if codes is None else codes.reshape(-1, given.levels).max(axis=0).tolist()
        for level, (code, size) in enumerate(zip(highest, sizes, strict=False), start=1):
            if code >= size:
                raise DataError(
                    f"level {level} of the {name} has code {code}, but its size is {size}: codes count from 0 to {size - 1}"
                )


def _queries(catalogue: Catalogue, division: Division) -> pd.DataFrame:
    """Table `queries`; which of them the other system learned from is not known."""
    table = queries_table(catalogue, division)
    return table.assign(seen=pd.array([None] * len(table), "boolean"))


def _notes(read: IngestedAudit, case: Case, *, embedded: bool) -> list[str]:
    """What a reader of any figure of this run should know."""
    given, queries = case.given, case.queries
    codes, scores = given.codes, given.scores
    held = 0 if codes is None else int((codes[:, 0] >= 0).sum())
    parts = [
        f"SIDs of {held:,} of {len(read.catalogue.items):,} items" if codes is not None else None,
        f"beams of {counted(given.beams_table['query_id'].nunique(), 'query', 'queries')}" if given.beams is not None else None,
        f"scores of {counted(len(scores), 'pair', 'pairs')}" if len(scores) else None,
    ]  # fmt: skip
    notes = [f"Imported: {', '.join(p for p in parts if p)}. Nothing was trained here."]
    rejected = len(read.rejects) - read.catalogue.n_rejected
    if rejected > 0:
        notes.append(
            f"{counted(rejected, 'row', 'rows')} of these files were rejected; rejects.parquet of the run has them."
        )
    if codes is not None:
        if case.sizes is None:
            notes.append(
                "The sizes of the codebook were not given: codes are counted between the smallest and the largest one seen "
                "at each level, so unused codes outside cannot be told."
            )
        if len(case.owners):
            notes.append(
                "All items of a category share their first code: level 1 is taken to be given by the category."
            )
        notes.append(
            "The vectors that were quantized are not known, so distances and centres are not either; "
            + (
                "the map and the agreement with near neighbours use embeddings of titles."
                if embedded
                else "there is no map."
            )
        )
    if given.beams is not None and codes is not None and given.beams_table["n_items"].eq(0).any():
        notes.append(
            f"{int(given.beams_table['n_items'].eq(0).sum()):,} of {len(given.beams_table):,} beams are SIDs that no item holds."
        )
    if given.beams is not None and given.beams_table["log_prob"].isna().any():
        notes.append("Beams without a probability are ranked, but say nothing of how sure the generator was.")
    test = queries["query_id"][queries["split"] == "test"]
    if len(scores) and len(test):
        judged = read.catalogue.judgments[read.catalogue.judgments["query_id"].isin(test)]
        missing = len(judged) - len(judged.merge(scores, on=["query_id", "item_id"]))
        if missing:
            notes.append(
                f"{missing:,} of {len(judged):,} judged pairs of test queries have no score and are left out of every measure of scores."
            )
        if scores["judged"].all():
            notes.append(
                "Only judged pairs were scored: ranks and exposure are among judged items, not among what searchers saw."
            )
    if len(test):
        notes.append(
            "Test queries are those of runs trained here; which queries the other system learned from is not known."
        )
    return notes


def _finish(run: Run, case: Case, notes: list[str], files: AuditFiles) -> None:
    """The catalogue's tables, the run's own row, and last the manifest."""
    write_catalogue(run, case.catalogue, case.items, case.queries)
    given = case.given
    known = None if given.codes is None else list(tables.codebook_use(given.codes, case.sizes)[1])
    manifest = {
        **run.describe(), "sizes": known, "evaluation": "given", "n_stacks": 0, "notes": notes,
        "files": files.fingerprint(),
    }  # fmt: skip
    write_run(run, manifest, _told(case), int((case.queries["split"] == "test").sum()))


def _told(case: Case) -> dict[str, Any]:
    """What the row of table `runs` says of an import. Of the config only what an import reads."""
    config, given = case.config, case.given
    parts = ("split", "evaluation", "projection", "encoder")
    used = {"method": METHOD, "seed": config.seed} | {p: dataclasses.asdict(getattr(config, p)) for p in parts}
    return {
        "config": json.dumps(used, sort_keys=True),
        "levels": given.levels,
        "level1": None if given.codes is None else "category" if len(case.owners) else None,
        "ranker": tables.GIVEN if len(given.scores) else None,
        "baseline": tables.WITHOUT if given.compared else None,
        "signal_columns": "[]",
        "beam_width": None if given.beams is None else int(given.beams.shape[1]),
        "trie_fingerprint": None if given.codes is None else trie_fingerprint(given.codes),
    }
