"""The audit of a run as one self-contained HTML file that prints on A4: the pages' own numbers, findings, notes, definitions.

python -m engine report --out audit.html [--run RUN] [--base RUN] [--csv DIR]      what a user types
python -m engine report --of "seller=NAME" --out answer.html                        the one-page answer of app/one_page.py
python -m app.report   the same command: it reads through the pages' queries, so its numbers are theirs
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import sys
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jinja2
import pandas as pd

from app import gate, health, one_page, rankers, text, worth
from app.export import csv, slug
from app.glossary import NAMES
from app.queries import benefit as benefit_queries
from app.queries import codebook, comparison, coverage, overview, sellers, snapshot
from engine.errors import ConfigError, EngineError, RunError, printable, shown
from engine.leftovers import replacing
from engine.store.handles import Handles
from engine.store.notes import Note, Notes
from engine.store.snapshot import open_snapshot
from engine.store.workspace import from_environment

if TYPE_CHECKING:
    import duckdb

MOST_ROWS = 25
"""Of a table: the report stays a few pages; `--csv` writes all of them."""
WHOLE = "whole"
"""Form of a column of sentences, which are not cut as other words are."""
TEMPLATE = Path(__file__).parent / "assets" / "report.html"
DEFINED = (
    "sid",
    "ndcg@10",
    "auc",
    "lift",
    "twin",
    "placebo",
    "severity",
    "exposure",
    "protection",
    "harmful_aliasing",
    "online",
)


class Table(NamedTuple):
    """A table in words; `whole` holds all its rows as numbers."""

    name: str
    caption: str
    header: Sequence[str]
    rows: list[list[str]]
    numbers: frozenset[int]
    """Columns that are set to the right."""
    whole: pd.DataFrame


class Section(NamedTuple):
    """A heading, sentences, notes, tables."""

    title: str
    lines: Sequence[str] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[Note] = ()


class Report(NamedTuple):
    """The whole."""

    title: str
    made: str
    lead: list[str]
    sections: list[Section]
    definitions: list[tuple[str, str]]
    origin: list[tuple[str, str]]
    filters: str
    run_id: str
    snapshot_id: str


class Other(NamedTuple):
    """The run it is compared with."""

    snapshot_id: str
    run_id: str


def collect(
    cursor: duckdb.DuckDBPyConnection,
    run_id: str,
    notes: list[Note],
    other: Other | None = None,
    audit: gate.Audit | None = None,
) -> Report:
    """Everything of a run that a decision rests on. `cursor` also reads the snapshot of `other` (see `Handles.cursor`), and
    `audit` is what the gate says of the two."""
    info = snapshot.info(cursor)
    run = snapshot.run(cursor, run_id)
    given = benefit_queries.worth(cursor, run_id)
    sections = [_findings(cursor, run_id), _worth(cursor, run_id, given)]
    if audit:
        sections.insert(0, _gate(audit))
    if other:
        sections.insert(0, _against(cursor, run_id, other))
    sections += [_health(cursor, run_id, run.levels), _coverage(cursor, run_id), _exposure(cursor, run_id)]
    if notes:
        sections.insert(0, Section("Notes and decisions", notes=notes))
    name = rankers.run_name(run_id, run.method)
    short = worth.in_short(given[given["metric"] == "ndcg@10"], "ndcg@10")
    return Report(
        title=f"{info['dataset']}: {name}", made=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M}",
        lead=[short or "Whether SIDs help cannot be told: too few judged test queries, or no ranking without SIDs.",
              rankers.method_in_words(run.method) + "."],
        sections=[s for s in sections if s.lines or s.notes or any(t.rows for t in s.tables)],
        definitions=[(NAMES.get(key, key), text.DEFINITIONS[key]) for key in (*DEFINED, *(("paired_runs",) if other else ()), *(("gate",) if audit else ()))],
        origin=_origin(cursor, info, run_id, other),
        filters=f"test queries; exposure by log2, all sellers; tables of at most {MOST_ROWS} rows",
        run_id=run_id, snapshot_id=str(info["snapshot_id"]),
    )  # fmt: skip


def _origin(
    cursor: duckdb.DuckDBPyConnection, info: dict[str, Any], run_id: str, other: Other | None
) -> list[tuple[str, str]]:
    run = next(r for r in snapshot.runs(cursor).to_dict("records") if r["run_id"] == run_id)
    counts = ", ".join(f"{int(info[f'n_{n}'] or 0):,} {n}" for n in ("items", "queries", "judgments", "interactions"))
    told = [
        (
            "Snapshot",
            f"{info['snapshot_id']} (a hash of its content), published {info['created_at']:%Y-%m-%d %H:%M} UTC",
        ),
        ("Run", f"{run_id}, seed {int(run['seed'])}, commit {run['git_commit'] or text.UNKNOWN}"),
        ("Catalogue", f"{info['dataset']}: {counts}; fingerprint {info['fingerprint']}"),
        ("Evaluation", f"{run['evaluation']}, {text.number(run['n_test_queries'], 'count')} test queries"),
    ]
    for what in ("derived", "simulated"):
        if info[what]:
            told.append((what.capitalize(), ", ".join(info[what])))
    if other:
        told.append(("Compared with", f"{other.run_id} of {other.snapshot_id}"))
    return told


def table(name: str, caption: str, rows: pd.DataFrame, columns: dict[str, tuple[str, str]]) -> Table:
    """The first MOST_ROWS rows in words; `columns` gives header and form of `text.number` ('' for words) by name."""
    first = rows.head(MOST_ROWS)
    cells = [[_cell(row[column], form) for column, (_, form) in columns.items()] for row in first.to_dict("records")]
    more = f"; the first {MOST_ROWS} of {len(rows):,}" if len(rows) > MOST_ROWS else ""
    return Table(
        name, caption + more, [header for header, _ in columns.values()], cells,
        frozenset(place for place, (_, form) in enumerate(columns.values()) if form not in ("", WHOLE)), rows,
    )  # fmt: skip


def _cell(value: Any, form: str) -> str:
    if form == WHOLE:
        return text.shortened(value, 500)
    if form:
        return "–" if pd.isna(value) else text.number(float(value), form)
    return text.shortened(value, 160) if isinstance(value, str) else "" if pd.isna(value) else str(value)


def _findings(cursor: duckdb.DuckDBPyConnection, run_id: str) -> Section:
    found = overview.findings(cursor, run_id)
    if found.empty:
        return Section("Findings")
    rows = found.assign(word=found["severity"].map(text.SEVERITY_NAMES))
    columns = {
        "word": ("Severity", ""), "title": ("Finding", ""), "detail": ("Detail", ""), "absolute": ("Loss, by traffic", "share"),
        "traffic": ("Traffic", "percent"),
    }  # fmt: skip
    heads, members = rows[rows["member"] == 0], rows[rows["member"] > 0]
    return Section(
        "Findings", [worth.counted(found)],
        [table("findings", "What was looked at, the most urgent first", heads, columns),
         table("findings-members", "The worst of each kind", members, columns)],
    )  # fmt: skip


def _worth(cursor: duckdb.DuckDBPyConnection, run_id: str, given: pd.DataFrame) -> Section:
    rows = overview.headline(cursor, run_id)
    rows = rows.assign(
        name=rows["metric"].map(text.METRIC_NAMES).fillna(rows["metric"]), of=rows["segment"].map(text.segment_name),
        reading=[text.TOO_SMALL if n < text.LEAST_QUERIES else text.evidence(low, high)
                 for n, low, high in zip(rows["n"], rows["low"], rows["high"], strict=True)],
    )  # fmt: skip
    columns = {
        "name": ("Measure", ""), "of": ("Queries", ""), "with_value": ("With SIDs", "number"), "without_value": ("Without", "number"),
        "difference": ("Difference", "points"), "low": ("Low", "points"), "high": ("High", "points"), "n": ("n", "count"), "reading": ("Reading", ""),
    }  # fmt: skip
    told = [
        f"{role[0].upper()}{role[1:]}: {text.number(row['difference'], 'points')} {text.interval(row['low'], row['high'], 'points')} "
        f"({text.METRIC_NAMES[row['metric']]})."
        for row, role in _roles(given)
    ]
    if simulated := worth.simulated(benefit_queries.simulated(cursor, run_id)):
        told.append(f"Simulated, not measured: {simulated}.")
    return Section("Do SIDs help?", told, [table("headline", "With and without SIDs, paired by query", rows, columns)])


ROLES = {
    "twin": "the same ideas without SIDs (dense twins) give",
    "beyond": "SIDs beyond them",
    "placebo": "shuffled SIDs (placebo), which must give nothing, give",
}


def _roles(given: pd.DataFrame) -> Iterable[tuple[dict[Hashable, Any], str]]:
    for row in given[given["n"] >= text.LEAST_QUERIES].to_dict("records"):
        if row["role"] in ROLES and row["metric"] in ("ndcg@10", "auc"):
            yield row, ROLES[row["role"]]


def _against(cursor: duckdb.DuckDBPyConnection, run_id: str, other: Other) -> Section:
    rows = comparison.by_query(cursor, other.snapshot_id, run_id, other.run_id, "ndcg@10")
    change = comparison.changes(cursor, other.snapshot_id, run_id, other.run_id, "ndcg@10")["all"]
    counts = comparison.tally(rows)
    said = [f"Compared with {other.run_id} ({other.snapshot_id}) on {change.n:,} queries that both were judged on."]
    if change.n < text.LEAST_QUERIES:
        said.append(f"{text.sentence(text.TOO_SMALL)} to say which ranks better.")
    else:
        said.append(
            f"nDCG@10 {text.number(change.value, 'points')} {text.interval(change.low, change.high, 'points')}: "
            f"{text.evidence(change.low, change.high)}; {counts.won:,} queries better, {counts.tied:,} the same, {counts.lost:,} worse."
        )
    common, new, gone = comparison.held(cursor, other.snapshot_id, run_id, other.run_id)
    said.append(
        f"{common:,} items have a SID in both, {new:,} are new in this run, {gone:,} are gone."
        if common
        else "The two runs give SIDs to no item in common."
    )
    worst = rows[rows["difference"] < 0]
    columns = {
        "text": ("Query", ""), "frequency": ("Searches", "count"), "base_value": ("Other run", "number"), "value": ("This run", "number"),
        "difference": ("Change", "points"),
    }  # fmt: skip
    return Section(
        "Against the other run",
        said,
        [table("worse-queries", "Queries that got worse, the worst first", worst, columns)],
    )


def _gate(audit: gate.Audit) -> Section:
    columns = {"said": ("Outcome", ""), "sentence": ("What was looked at", WHOLE), "allowed": ("A loss that fails", "")}
    checks = table("gate", "Every check of the gate, what failed first", gate.rows(audit), columns)
    return Section("Would the gate let it pass?", gate.lines(audit), [checks])


def _health(cursor: duckdb.DuckDBPyConnection, run_id: str, levels: int) -> Section:
    rows = codebook.health(cursor, run_id)
    return Section(
        "Health of the codebook" if levels else "", [said.words for said in health.sentences(rows)] if levels else []
    )


def _coverage(cursor: duckdb.DuckDBPyConnection, run_id: str) -> Section:
    rows = coverage.coverage(cursor, run_id)
    if rows.empty:
        return Section("Coverage of categories")
    tail = rows[rows["tier"] == "tail"]
    counts = tail["protected"].value_counts()
    said = (
        f"Of {text.plural(len(tail), 'tail category', 'tail categories')}, {int(counts.get('yes', 0)):,} are protected, {int(counts.get('no', 0)):,} are "
        f"not, and for {int(counts.get('n too small', 0)):,} n is too small to tell."
    )
    left = rows[rows["protected"] == "no"]
    columns = {
        "category": ("Category not protected", ""), "tier": ("Tier", ""), "n_items": ("Items", "count"), "in_beam": ("In a beam", "count"),
        "in_top_k": ("In a top 10", "count"), "reason": ("Why", ""),
    }  # fmt: skip
    return Section(
        "Coverage of categories", [said], [table("not-protected", "Categories that are not protected", left, columns)]
    )


def _exposure(cursor: duckdb.DuckDBPyConnection, run_id: str) -> Section:
    tables = []
    for dimension in ("seller", "category"):
        rows = sellers.exposure(cursor, run_id, "log2", dimension)
        clear = rows[rows["verdict"].str.contains(", clear", na=False)]
        columns = {
            "value": (text.DIMENSION_NAMES[dimension], ""), "share_without": ("Without", "share"), "share": ("With SIDs", "share"),
            "difference": ("Change", "share_points"), "low": ("Low", "share_points"), "high": ("High", "share_points"), "verdict": ("Verdict", ""),
        }  # fmt: skip
        if len(rows):
            caption = f"{len(clear):,} of {len(rows):,} change clearly (after correction for looking at many), the largest first"
            tables.append(table(f"exposure-{dimension}", caption, clear, columns))
    return Section("Who gains and who loses exposure", [t.caption.split(";")[0] + "." for t in tables], tables)


def document(report: Report) -> str:
    """The report as one HTML file that needs nothing else."""
    page = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    return page.render(report=report)


def write_csv(report: Report, folder: Path) -> list[Path]:
    """Every table whole, one CSV each, with the same head as the dashboard's exports."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for made in (t for section in report.sections for t in section.tables):
        path = folder / f"{slug(made.name)}.csv"
        with replacing(path) as writing:
            writing.write_bytes(
                csv(
                    made.whole,
                    made.caption,
                    snapshot=report.snapshot_id,
                    run=report.run_id,
                    filters={"report": report.filters},
                )
            )
        written.append(path)
    return written


def of(
    handles: Handles,
    workspace: Path,
    snapshot_id: str,
    run_id: str,
    other: Other | None = None,
    audit: gate.Audit | None = None,
) -> Report:
    """The report on a run of a snapshot. Raises SnapshotError as `open_snapshot` does."""
    with handles.cursor(workspace, snapshot_id, other.snapshot_id if other else None) as cursor:
        return collect(cursor, run_id, Notes(workspace).all(), other, audit)


EXAMPLES = """examples:
  python -m engine report --out audit.html
  python -m engine report --base dsirm-1a2b3c4d --csv tables
  python -m engine report --base snap-0123abcd4567:dsirm-1a2b3c4d --config gate.toml
  python -m engine report --of "seller=Blue Barn" --out answer.html
  python -m engine report --of "price_band=10-25 EUR" --discount click"""


def main(arguments: list[str] | None = None) -> int:
    """Write the report or a one-page answer. Exit codes: 0, 1 (nothing to report on, or not to be written), 2 (usage)."""
    parser = argparse.ArgumentParser(
        prog="python -m engine report", description=__doc__.split("\n")[0] if __doc__ else "", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "-w", "--workspace", type=Path, help="where snapshots are (default: $SIDELIGHT_WORKSPACE, else data/workspace)"
    )
    parser.add_argument("--out", type=Path, help="the file to write (default: audit.html; with --of: answer.html)")
    parser.add_argument("--snapshot", help="a snapshot's id (default: the current one)")
    parser.add_argument("--run", help="a run of it (default: the one that the dashboard opens first)")
    whole = parser.add_argument_group("the whole report")
    whole.add_argument("--base", help="a second run to compare with, the gate's baseline too: RUN, or SNAPSHOT:RUN")
    whole.add_argument(
        "--config", type=Path, metavar="FILE", help="with --base: the gate's rules, a TOML file (docs/gate.md)"
    )
    whole.add_argument("--csv", type=Path, metavar="DIR", help="also write every table whole, as CSV")
    one = parser.add_argument_group("or one page: why somebody is seen less or more")
    one.add_argument(
        "--of",
        metavar="WHO=NAME",
        help="of a seller, category, brand, price_band, age ..., or an attribute of the items",
    )
    one.add_argument("--discount", help="what a place counts by: log2 (default), click, top10")
    given = parser.parse_args(arguments)
    if given.of and (given.base or given.config or given.csv):
        parser.error("--base, --config and --csv belong to the whole report, --of to one page")
    if given.discount and not given.of:
        parser.error("--discount needs --of")
    if given.config and not given.base:
        parser.error("--config needs --base")
    try:
        workspace = given.workspace or from_environment()
        with contextlib.closing(open_snapshot(workspace, given.snapshot)) as opened:
            snapshot_id, run_id = opened.snapshot_id, _known(opened.cursor(), given.run)
        write = _write_answer if given.of else _write_report
        said = write(given, workspace, snapshot_id, run_id)
    except (EngineError, OSError) as error:
        sys.stderr.write(f"{printable(str(error))}\n")
        return 1
    sys.stdout.write("".join(f"{printable(line)}\n" for line in said))
    return 0


def _write_report(given: argparse.Namespace, workspace: Path, snapshot_id: str, run_id: str) -> list[str]:
    other = _other(workspace, snapshot_id, given.base) if given.base else None
    audit = gate.ask(workspace, (snapshot_id, run_id), other, given.config) if other else None
    if audit and audit.refused and given.config:
        raise ConfigError(audit.refused)
    with contextlib.closing(Handles()) as handles:
        report = of(handles, workspace, snapshot_id, run_id, other, audit)
    said = [f"{_written(given.out or Path('audit.html'), document(report))}, run {run_id} of {snapshot_id}"]
    if given.csv:
        said.append(f"{given.csv}: {len(write_csv(report, given.csv))} tables")
    return said


def _write_answer(given: argparse.Namespace, workspace: Path, snapshot_id: str, run_id: str) -> list[str]:
    with contextlib.closing(open_snapshot(workspace, snapshot_id)) as opened:
        cursor = opened.cursor()
        page = one_page.asked(lambda query, *args: query(cursor, *args), run_id, snapshot_id, given.of, given.discount)
    made = _written(given.out or Path("answer.html"), one_page.document(page))
    return [f"{made}, {page.kind} {shown(page.title)}, run {run_id} of {snapshot_id}"]


def _written(path: Path, page: str) -> str:
    with replacing(path) as writing:
        writing.write_text(page, encoding="utf-8")
    return f"{path}: {path.stat().st_size / 1024:,.0f} KB"


def _known(cursor: duckdb.DuckDBPyConnection, run_id: str | None) -> str:
    runs = [str(r) for r in snapshot.runs(cursor)["run_id"]]
    wanted = run_id or snapshot.info(cursor)["default_run"]
    if wanted not in runs:
        raise RunError(f"no run '{wanted}' in this snapshot; there are: {', '.join(runs) or 'none'}")
    return str(wanted)


def _other(workspace: Path, snapshot_id: str, base: str) -> Other:
    where, _, run_id = base.rpartition(":")
    with contextlib.closing(open_snapshot(workspace, where or snapshot_id)) as opened:
        return Other(opened.snapshot_id, _known(opened.cursor(), run_id))


if __name__ == "__main__":
    sys.exit(main())
