"""Whether two workspaces hold the same: every file, table by table and row by row, but for times."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

TIMES = {
    "created_at", "seconds", "peak_mb", "cached", "at", "snapshot_id", "stages", "judged_at", "measured_at", "files",
}  # fmt: skip
"""Columns and keys that tell when, how long, or from where something was taken, and checksums of files that do."""
PASSED_OVER = re.compile(r"\.lock$|\.log$|^snapshots/|^CURRENT$|^ablations/.*\.md$")
"""Locks stay, logs tell of every try; snapshots are compared by what the current one holds."""
LEFT = re.compile(r"\.tmp\b|\.part\b|\.ingest-|\.wal$|\.spill|checkpoint")
"""In the path of what a killed process leaves."""


def differences(expected: Path, got: Path) -> list[str]:
    """What differs between two workspaces, in words."""
    names = [
        {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} for root in (expected, got)
    ]
    own, other = ({name for name in some if not PASSED_OVER.search(name) and not LEFT.search(name)} for some in names)
    found = [f"missing: {name}" for name in sorted(own - other)] + [f"more: {name}" for name in sorted(other - own)]
    found += [f"differs: {name}" for name in sorted(own & other) if not _same_file(expected / name, got / name)]
    return found + _snapshot_differences(expected, got)


def leftovers(workspace: Path, scratch: Path) -> list[str]:
    """Temporary names in a workspace, and whatever there is in the folder of temporary files but torch's own cache."""
    found = [path.relative_to(workspace).as_posix() for path in workspace.rglob("*")]
    scratched = [
        f"{scratch.name}/{path.name}" for path in scratch.iterdir() if not path.name.startswith("torchinductor")
    ]
    return [name for name in found if LEFT.search(name)] + scratched


def _same_file(one: Path, other: Path) -> bool:
    if one.read_bytes() == other.read_bytes():
        return True
    if one.suffix == ".json":
        return bool(_timeless(json.loads(one.read_text())) == _timeless(json.loads(other.read_text())))
    if one.suffix == ".jsonl":
        return _lines(one) == _lines(other)
    if one.suffix == ".parquet":
        return _rows(one) == _rows(other)
    return _tensors(one) == _tensors(other) is not None


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(v) for name, v in value.items() if name not in TIMES}
    if isinstance(value, list):
        return [_timeless(v) for v in value]
    return value


def _lines(path: Path) -> dict[str, Any]:
    """The newest line of every pair; a line that a kill tore is passed over, as by its readers."""
    newest: dict[str, Any] = {}
    for line in path.read_bytes().splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        newest[f"{said['query_id']}\0{said['item_id']}"] = _timeless(said)
    return newest


def _tensors(path: Path) -> tuple[Any, bytes] | None:
    """What a safetensors file holds, its metadata in whatever order they were written; None where it is none."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    try:
        return json.loads(data[8 : 8 + length]), data[8 + length :]
    except ValueError:
        return None


def _rows(path: Path) -> str:
    return _text(pq.read_table(path))


def _text(table: pa.Table) -> str:
    """The rows in their order, less times; those of a ladder that tell costs are left out."""
    rows = table.select([name for name in table.column_names if name not in TIMES]).to_pylist()
    return repr([row for row in rows if row.get("measure") not in TIMES])


def _snapshot_differences(expected: Path, got: Path) -> list[str]:
    one, other = (_current(root) for root in (expected, got))
    found = [] if one.keys() == other.keys() else ["tables of the current snapshot"]
    found += [f"snapshot: table {name}" for name in one.keys() & other.keys() if one[name] != other[name]]
    counts = [len(list((root / "snapshots").glob("snap-*.duckdb"))) for root in (expected, got)]
    return found + ([] if counts[0] == counts[1] else [f"{counts[1]} snapshots instead of {counts[0]}"])


def _current(workspace: Path) -> dict[str, str]:
    """Every table of the current snapshot as text, in the order of its rows."""
    with duckdb.connect(str(workspace / (workspace / "CURRENT").read_text().strip()), read_only=True) as connection:
        names = [row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        tables = {name: connection.execute(f'SELECT * FROM "{name}"').to_arrow_table() for name in names}
    return {name: _text(table) for name, table in tables.items()}
