"""Input files -> a validated catalogue in the workspace: `python -m engine validate | ingest FOLDER`."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from pandas import DataFrame

from engine.datasets import rejects, storage
from engine.datasets.adapters import esci, icecat, sid_index, wands
from engine.datasets.assembly import assemble
from engine.datasets.audit_files import AuditFiles, AuditValidator, audit_files
from engine.datasets.contract import (
    CLICK_GRADES,
    FILES,
    TABLES,
    Catalogue,
    DatasetSettings,
    LogReader,
    normalise_query,
)
from engine.datasets.judged_rows import LABEL, NONE_FITS, JudgedRows, as_only_judgments, take_up
from engine.datasets.reading.categories import SEPARATOR
from engine.datasets.reading.decisions import Decision
from engine.datasets.reading.files import find_files, open_file
from engine.datasets.reading.interpretation import Interpretation
from engine.datasets.reading.names import stem_of
from engine.datasets.reading.raw import connected
from engine.datasets.report import Report
from engine.datasets.settings import SettingsFile, read_settings
from engine.datasets.storage import list_catalogues as list_catalogues
from engine.datasets.storage import load as load
from engine.datasets.synthetic_queries import synthetic_queries
from engine.datasets.validation import Validator
from engine.datasets.vector_rules import check_vectors, check_width
from engine.datasets.vectors import read_vectors
from engine.errors import DataError
from engine.leftovers import working_folder
from engine.progress import Progress, silent

ADAPTERS: dict[str, Callable[[Path, Path], list[Path]]] = {
    "icecat": icecat.adapt,
    "wands": wands.adapt,
    **esci.ADAPTERS,
}
"""Name -> function(source folder, empty contract folder) that writes there what of a public layout is not read as it is, and
gives the files that are. `sid-json` stands apart: it may be one file, and says more."""

FEW_LOGGED_QUERIES = 200
"""With fewer distinct logged queries, synthetic ones are made from the items."""
SYNTHETIC_SEED = 0

_SIGNS = {"icecat": icecat.FILES, "wands": wands.FILES, "esci": esci.FILES, "sid-json": (sid_index.INDEX,)}
"""Patterns of the files that give a layout away."""


class Ingested(NamedTuple):
    """What `ingest` gives back."""

    catalogue: Catalogue
    report: Report


class IngestedAudit(NamedTuple):
    """What `ingest_audit` gives back."""

    catalogue: Catalogue
    files: AuditFiles
    rejects: DataFrame  # Every rejected row, in the columns of `contract.REJECTS`.
    report: Report


class NewItems(NamedTuple):
    """What `read_items` gives back."""

    items: DataFrame  # (M) accepted rows in the columns of a catalogue's items, less the vectors.
    text_vectors: np.ndarray | None  # (M, D) float32 `text_embedding`, L2-normalised; None where the file gives none.
    content: str  # Fingerprint of the accepted rows, whatever the file's format.
    report: Report


Sources = Path | Sequence[Path]
"""A folder, a file, or several of either that are one dataset."""


def listed_sources(sources: Sources) -> list[Path]:
    """One or several, as a list."""
    return [sources] if isinstance(sources, Path) else list(sources)


class _AuditOptions(NamedTuple):
    """How the files of an audit are read: the arguments of `ingest_audit`."""

    dataset: str | None = None
    sid_suffix: str | None = None


class _How(NamedTuple):
    """How a dataset is read: the options of those who ask."""

    adapter: str | None = None
    audit: _AuditOptions | None = None
    judged: JudgedRows | None = None


class _Contract(NamedTuple):
    """Where the contract's files are, and what an adapter says of them."""

    paths: list[Path]
    decisions: list[Decision]
    warnings: list[str]
    labels: dict[str, str]  # File of the contract -> the user's file that its rows are of, where that is another one.


class _Checked(NamedTuple):
    validator: Validator
    file: SettingsFile
    settings: DatasetSettings  # The file's, and what the data says where it is silent.
    warnings: list[str]
    report: Report


def validate(folder: Sources, *, adapter: str | None = None, max_reject_share: float = 0.05) -> Report:
    """Checks a dataset folder against the contract and stores nothing.

    Raises DataError for what no row can be blamed for: no items file, a missing column, a damaged file.
    """
    scratch = Path(tempfile.gettempdir())
    with (
        storage.writing(scratch),
        working_folder("validate") as staged,
        connected(staged) as c,
    ):
        return _check(c, folder, _How(adapter), staged, max_reject_share, silent).report


def ingest(
    folder: Sources,
    workspace: Path,
    *,
    adapter: str | None = None,
    max_reject_share: float = 0.05,
    read_log: LogReader | None = None,
    judged: JudgedRows | None = None,
    progress: Progress = silent,
) -> Ingested:
    """Validates a dataset folder and stores it as `WORKSPACE/catalogues/<fingerprint>/`; equal content is stored once.

    `read_log` adds judgments that it reads from the search log (`engine.labeling.implicit`), `judged` those that people gave
    in the workspace. Raises DataError as
    `validate` does, where a file has a larger share of rejected rows than `max_reject_share`,
    and where the disk refuses; then nothing is stored.
    """
    with storage.writing(workspace), storage.staging(workspace) as staged, connected(staged) as connection:
        checked = _check(connection, folder, _How(adapter, judged=judged), staged, max_reject_share, progress)
        checked.report.require_ok()
        return _store(workspace, staged, checked, checked.report, progress, read_log)


def ingest_audit(
    folder: Sources,
    workspace: Path,
    *,
    adapter: str | None = None,
    dataset: str | None = None,
    sid_suffix: str | None = None,
    max_reject_share: float = 0.05,
    progress: Progress = silent,
) -> IngestedAudit:
    """The same for a folder that also holds SIDs, beams or scores made elsewhere: its catalogue is stored, they are given back.

    SIDs in another system's file (`adapters.sid_index`) are found without an adapter; `folder` may be that file, and
    `dataset` chooses among several. `sid_suffix` says what becomes of a suffix of some SIDs (`sid_levels.SUFFIXES`); by
    default what `dataset.toml` says.

    The catalogue is the one that `ingest` makes of the folder without judgments from its log, unless no file of it names
    any query: then those of the beams and scores become its queries. Raises DataError as `ingest` does, and where there
    is nothing to audit.
    """
    with storage.writing(workspace), storage.staging(workspace) as staged, connected(staged) as connection:
        checked = _check(
            connection, folder, _How(adapter, _AuditOptions(dataset, sid_suffix)), staged, max_reject_share, progress
        )
        checked.report.require_ok()
        found = audit_files(checked.validator)
        own = rejects.report(checked.validator, checked.warnings, max_reject_share=max_reject_share, tables=FILES)
        rejected = rejects.rejected_rows(checked.validator)
        catalogue, stored = _store(workspace, staged, checked, own, progress)
        made = stored.warnings[len(own.warnings) :]
        report = dataclasses.replace(checked.report, warnings=(*checked.report.warnings, *made))
        return IngestedAudit(catalogue, found, rejected, report)


def read_items(
    folder: Path, workspace: Path, settings: DatasetSettings, *, max_reject_share: float = 0.05, progress: Progress = silent
) -> NewItems:  # fmt: skip
    """Validates the items file of a dataset folder under the `settings` of a catalogue and stores nothing; other files are
    noted and not read. Raises DataError as `ingest` does."""
    with storage.writing(workspace), storage.staging(workspace) as staged, connected(staged) as connection:
        file = read_settings(folder)
        found = find_files([folder], file, staged)
        others = [opened.label for table, opened in found.files.items() if table != "items"]
        ignored = others + ["dataset.toml"] * (folder / "dataset.toml").exists()
        warnings = [*found.warnings, *([f"items alone are read; ignored: {', '.join(ignored)}"] if ignored else [])]
        raw = found.files["items"].load(connection, "items")
        # Paths that are found are joined as the catalogue's are; one that stated another separator goes on to.
        stated = frozenset({"category_separator"} if settings.category_separator != SEPARATOR else ())
        reading = Interpretation(connection, file._replace(settings=settings, stated=stated))
        reading.read({"items": raw})
        validator = Validator(connection, settings)
        validator.check("items", raw)
        check_width(validator, "items", validator.raw["items"], None)
        progress(4, 8)
        report = rejects.report(validator, [*reading.warnings, *warnings], max_reject_share=max_reject_share)
        report.require_ok()
        draft = storage.Draft(staged / "catalogue")
        draft.write("items", assemble(validator, "items"))
        new = NewItems(
            draft.frame("items"),
            read_vectors(draft.folder / "items.parquet", "text_embedding"),
            draft.fingerprint(settings, named=False),
            report,
        )
        progress(8, 8)
        return new


def _store(
    workspace: Path, staged: Path, checked: _Checked, report: Report, progress: Progress, read_log: LogReader | None = None
) -> Ingested:  # fmt: skip
    validator = checked.validator
    rejected = rejects.rejected_rows(validator, FILES)
    for raw in validator.raw.values():  # All that is still asked for is typed.
        validator.connection.execute(f"DROP TABLE {raw.name}")
    draft = storage.Draft(staged / "catalogue")
    draft.write("items", assemble(validator, "items"))
    progress(5, 8)
    settings = _with_currency(checked.settings, validator)
    made = _synthetic(validator, draft, settings)
    draft.write("queries", _joined(assemble(validator, "queries"), "queries", made and made.queries))
    draft.write(
        "interactions", _joined(assemble(validator, "interactions"), "interactions", made and made.interactions)
    )
    progress(6, 8)
    judgments, read = assemble(validator, "judgments"), None
    if read_log is not None:
        given = pa.Table.from_batches(judgments, TABLES["judgments"])
        read = read_log(*_given(draft), given.to_pandas(), settings)
        report = dataclasses.replace(report, warnings=(*report.warnings, *read.notes))
        judgments = iter(given.to_batches())
        if read.judgments.empty:
            read = None
        else:
            settings = dataclasses.replace(settings, grades_after=read.grades_after)
            evidence = pa.Table.from_pandas(read.evidence, CLICK_GRADES, preserve_index=False)
            draft.write("click_grades", evidence.to_batches())
    draft.write("judgments", _joined(judgments, "judgments", read and read.judgments))
    draft.write("judgments_raw", assemble(validator, "judgments_raw"))
    if made is not None:
        report = dataclasses.replace(report, warnings=(*report.warnings, made.note))
    progress(7, 8)
    name = draft.fingerprint(settings, named=checked.file.named)
    storage.store(workspace, draft, name, settings, rejected, report)
    progress(8, 8)
    return Ingested(load(workspace, name), report)


def _joined(batches: Iterator[pa.RecordBatch], table: str, more: DataFrame | None) -> Iterator[pa.RecordBatch]:
    """The rows of a table, and more of them after those."""
    yield from batches
    if more is not None:
        yield from pa.Table.from_pandas(more, TABLES[table], preserve_index=False).to_batches()


def _check(
    connection: duckdb.DuckDBPyConnection,
    sources: Sources,
    how: _How,
    staged: Path,
    max_reject_share: float,
    progress: Progress,
) -> _Checked:
    given = listed_sources(sources)
    adapter, audit, judged = how
    paths, decisions, warnings, labels = _contract_files(given, adapter, staged, audit)
    file = _settings_of(paths)
    try:
        found = find_files(paths, file, staged, audit=audit is not None)
    except DataError as error:  # An adapter's folder is of no use to anybody.
        raise DataError(str(error).replace(str(paths[0]), str(given[0]))) from None
    left = [warning.replace(sid_index.SIDS, labels.get("sids", sid_index.SIDS)) for warning in found.warnings]
    if judged is not None and "judgments" not in found.files:
        path, file = as_only_judgments(judged, file, staged)
        judged, labels = None, labels | {"judgments": LABEL}
        if path is None:
            warnings.append(NONE_FITS)
        else:
            found.files["judgments"] = open_file(path, "judgments", file, staged)
    raws = {}
    for done, (table, opened) in enumerate(found.files.items()):
        progress(2 * done // len(found.files), 8)
        opened.label = labels.get(table, opened.label)
        raws[table] = opened.load(connection, table)
        if not raws[table].n_read:
            raise DataError(f"{opened.label} has no rows; it needs at least one, or leave the file out")
        decisions += opened.decisions()
    progress(2, 8)
    reading = Interpretation(connection, file)
    reading.read(raws)
    progress(3, 8)
    if audit is None:
        validator = Validator(connection, reading.settings)
    else:
        suffix = audit.sid_suffix or file.options("sids").sid_suffix
        validator = AuditValidator(connection, reading.settings, sid_suffix=suffix)
    for table, raw in raws.items():
        validator.check(table, raw)
    taken = take_up(validator, judged) if judged is not None else None
    check_vectors(validator)
    progress(4, 8)
    validator.decisions = [*found.decisions, *decisions, *reading.decisions, *validator.decisions]
    warnings = [*file.warnings, *warnings, *left, *reading.warnings]
    report = rejects.report(validator, warnings, max_reject_share=max_reject_share)
    if taken is not None:
        report = taken.added_to(report)
    return _Checked(validator, file, reading.settings, warnings, report)


def _settings_of(paths: Sequence[Path]) -> SettingsFile:
    """`dataset.toml` of the first folder that is given, or beside the first file; a file lends its own name."""
    first = paths[0]
    folder = next((p for p in paths if p.is_dir()), None)
    if folder is not None:
        return read_settings(folder)
    file = read_settings(first.parent)
    name = file.settings.name if file.named else stem_of(first.name)
    return file._replace(settings=dataclasses.replace(file.settings, name=name or "dataset"))


def _contract_files(paths: list[Path], adapter: str | None, staged: Path, audit: _AuditOptions | None) -> _Contract:
    """The sources, or the folder of contract files that an adapter makes of one: the one named, else one whose layout it is."""
    first, why, dataset = paths[0], "--adapter says so", audit.dataset if audit else None
    if adapter is None:
        adapter, why = _layout(paths, audit=audit is not None), "its files are those of that layout"
    if dataset is not None and adapter != "sid-json":
        raise DataError(
            f"{first} holds no index of SIDs, so there is nothing to choose with --dataset {dataset}; leave it out"
        )
    if adapter is None:
        return _Contract(paths, [], [], {})
    if adapter not in (*ADAPTERS, "sid-json"):
        raise DataError(f"adapter '{adapter}' is unknown; allowed: {', '.join(ADAPTERS)}, sid-json")
    if len(paths) > 1 or not (first.is_dir() or (first.is_file() and adapter == "sid-json")):
        raise DataError(f"{first} is not a folder; give the folder that holds the files of '{adapter}'")
    contract = staged / "contract" / (first.resolve().name or "dataset")  # a dataset without a name is called after it
    contract.mkdir(parents=True)
    decision = Decision(first.name, "layout", adapter, why, "--adapter")
    if adapter == "sid-json":
        return _Contract([contract], [decision], *sid_index.adapt(first, contract, dataset))
    return _Contract([contract, *ADAPTERS[adapter](first, contract)], [decision], [], {})


def _layout(paths: list[Path], *, audit: bool) -> str | None:
    """The adapter whose layout the sources have; an index of SIDs is told by what is in it where it is to be audited."""
    if len(paths) > 1:
        return None
    if audit and sid_index.is_index(paths[0]):
        return "sid-json"
    signs = {name: files for name, files in _SIGNS.items() if paths[0].is_dir() and not (audit and name == "sid-json")}
    return next((name for name, files in signs.items() if all(any(paths[0].glob(f)) for f in files)), None)


def _with_currency(settings: DatasetSettings, validator: Validator) -> DatasetSettings:
    if settings.currency is not None:
        return settings
    currencies = validator.connection.execute(
        f"SELECT DISTINCT currency FROM {validator.accepted('items')} WHERE currency IS NOT NULL LIMIT 2"
    ).fetchall()
    return dataclasses.replace(settings, currency=currencies[0][0]) if len(currencies) == 1 else settings


def _given(draft: storage.Draft) -> tuple[DataFrame, DataFrame, DataFrame]:
    """Items, queries and interactions without what was made of the items."""
    queries, interactions = (draft.frame(name) for name in ("queries", "interactions"))
    return (
        draft.frame("items"),
        queries[queries["source"] != "synthetic"],
        interactions[interactions["source"] != "synthetic"],
    )


class _Synthetic(NamedTuple):
    queries: DataFrame
    interactions: DataFrame
    note: str  # For the report.


def _synthetic(validator: Validator, draft: storage.Draft, settings: DatasetSettings) -> _Synthetic | None:
    """Queries made from the items, where few are logged."""
    logged = 0
    if "interactions" in validator.raw:
        logged = validator.one(f"SELECT approx_count_distinct(_key) FROM {validator.accepted('interactions')}")
        if logged < 2 * FEW_LOGGED_QUERIES:
            logged = validator.one(f"SELECT count(DISTINCT _key) FROM {validator.accepted('interactions')}")
    if logged >= FEW_LOGGED_QUERIES:
        return None
    queries = pa.Table.from_batches(assemble(validator, "queries"), TABLES["queries"])
    if len(queries) and not queries.column("text_embedding").null_count:
        return None  # they would be the only queries that need an encoder of the vectors' space
    # A synthetic query that equals a judged one would carry its answer into training.
    taken = frozenset(map(normalise_query, queries["text"].to_pylist())) | frozenset(queries["query_id"].to_pylist())
    made = synthetic_queries(draft.frame("items"), settings, seed=SYNTHETIC_SEED, limit=None, taken=taken)
    if made.queries.empty:
        return None
    note = (
        f"{logged} logged queries (fewer than {FEW_LOGGED_QUERIES}): {len(made.queries):,} synthetic queries were made "
        f"from item fields and are marked as such"
    )
    return _Synthetic(made.queries, made.interactions, note)
