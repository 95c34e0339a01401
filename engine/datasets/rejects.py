"""Collects what the rules broke: the report with places, and the rejected rows, whole."""

from __future__ import annotations

from collections.abc import Collection

import duckdb
import pandas as pd
from pandas import DataFrame

from engine.datasets.contract import COLUMNS, REJECTS, shown
from engine.datasets.reading.decisions import Decision, brief
from engine.datasets.reading.raw import RawTable
from engine.datasets.report import EXAMPLES, FileCount, Issue, Report
from engine.datasets.validation import Validator, row_json
from engine.errors import one_line


def report(
    validator: Validator, warnings: list[str], *, max_reject_share: float, tables: Collection[str] = COLUMNS
) -> Report:
    """Counts per file and per broken rule, with the first examples; of `tables` alone."""
    connection = validator.connection
    rejected = dict(
        connection.execute("SELECT file, count(DISTINCT _row) FROM broken WHERE costs = 'row' GROUP BY file").fetchall()
    )
    files, issues, skipped = [], [], []
    for table, raw in validator.raw.items():
        if table not in tables:
            continue
        bad = sum(b.rows for b in raw.bad_rows) + rejected.get(table, 0)
        passed = sum(raw.n_skipped.values())
        skipped += [(raw.file, why, n) for why, n in raw.n_skipped.items()]
        files.append(FileCount(raw.file, raw.n_read, raw.n_read - bad - passed, bad, passed, table))
        for rule in dict.fromkeys(b.rule for b in raw.bad_rows):
            rows = [b for b in raw.bad_rows if b.rule == rule]
            examples = tuple(one_line(f"{raw.file}:{b.line} {shown(b.text)} -> {b.why}") for b in rows[:EXAMPLES])
            issues.append(Issue(rule, raw.file, "row", sum(b.rows for b in rows), examples))
        issues += _issues(connection, table, validator)
    said = tuple(one_line(warning) for warning in validator.warnings + warnings)
    decisions = tuple(Decision(*map(one_line, decision)) for decision in validator.decisions)
    return Report(tuple(files), tuple(issues), said, max_reject_share, decisions, tuple(skipped))


def _issues(connection: duckdb.DuckDBPyConnection, table: str, validator: Validator) -> list[Issue]:
    raw = validator.raw[table]
    first = connection.execute(
        f"""SELECT rule, col, count(*) OVER w AS n, costs, _row, value, why, other_row FROM broken WHERE file = '{table}'
        WINDOW w AS (PARTITION BY col, rule)
        QUALIFY row_number() OVER (PARTITION BY col, rule ORDER BY _row) <= {EXAMPLES} ORDER BY n DESC, col, rule, _row"""
    ).fetchall()
    found: dict[tuple[str, str, int, str], list[str]] = {}
    for rule, column, count, costs, row, *said in first:
        found.setdefault((rule, column, count, costs), []).append(
            one_line(f"{raw.file}:{raw.lines[row]} {_reason(raw, column, *said)}")
        )
    return [
        Issue(rule, raw.file, column, n, tuple(examples), costs) for (rule, column, n, costs), examples in found.items()
    ]


def _reason(raw: RawTable, column: str, value: str | None, why: str, other: int | None) -> str:
    if other is not None:
        why = why.replace("{line}", f"{raw.file}:{raw.lines[other]}")
    return f"{brief(raw.called(column))} {'(missing)' if value is None else shown(value)} -> {why}"


def rejected_rows(validator: Validator, tables: Collection[str] = COLUMNS) -> DataFrame:
    """Every rejected row of `tables` in the columns of `contract.REJECTS`, in the order of the files."""
    connection, parts = validator.connection, []
    for table, raw in validator.raw.items():
        if table not in tables:
            continue
        broken = connection.execute(
            f"""SELECT b._row, {row_json(raw)} AS row, b.rule, b.col, b.value, b.why, b.other_row
            FROM broken b JOIN {raw.name} ON {raw.name}.rowid = b._row WHERE b.file = '{table}' AND b._row IN
            (SELECT _row FROM broken WHERE file = '{table}' AND costs = 'row') ORDER BY b._row, b.col, b.rule"""
        ).fetchall()
        rows: dict[int, dict[str, object]] = {}
        for row, text, rule, *said in broken:
            reason = _reason(raw, *said)
            if known := rows.get(row):
                known |= {"rules": f"{known['rules']}; {rule}", "reason": f"{known['reason']}; {reason}"}
            else:
                line = int(raw.lines[row])
                rows[row] = {"file": raw.file, "line": line, "rules": rule, "reason": reason, "row": text}
        whole = [
            {"file": raw.file, "line": b.line, "rules": b.rule, "reason": b.why, "row": b.text} for b in raw.bad_rows
        ]
        parts.append(DataFrame([*rows.values(), *whole], columns=REJECTS.names).sort_values("line", kind="stable"))
    return pd.concat(parts, ignore_index=True)
