"""Tables that lie in several Parquet files: a directory `items/` or `items.parquet/` of parts is one table."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from engine.datasets.connectors.tables import TableWriter
from engine.datasets.contract import COLUMNS
from engine.errors import DataError

_BATCH_ROWS = 16_384


def part_folders(folder: Path, tables: Collection[str] = tuple(COLUMNS)) -> dict[str, Path]:
    """The directories of a dataset folder that are one table each, by table.

    Raises DataError where a table lies there twice, as a file beside a directory or as two directories.
    """
    found: dict[str, Path] = {}
    for table in tables:
        ways = [path for name in (table, f"{table}.parquet") if _is_table(path := folder / name)]
        files = [p.name for p in folder.glob(f"{table}.*") if p.is_file()] if ways else []
        if len(ways) + len(files) > 1:
            names = " and ".join([f"{p.name}/" for p in ways] + files)
            raise DataError(f"{folder.name} holds {names}; keep one of '{table}'")
        if ways:
            found[table] = ways[0]
    return found


def join_parts(parts: Path, target: Path) -> None:
    """Writes the parts of a table, in the order of their paths, as one Parquet file, without holding it in memory.

    Directories like `date=2025-05-01` are columns; names that begin with `_` or `.` are passed over, as Spark does.
    Columns that a part lacks are missing values. Raises DataError for a damaged part, and parts of clashing types.
    """
    label = f"{parts.name}/"
    paths = _paths(parts)
    given = {"format": "parquet", "partitioning": "hive", "partition_base_dir": str(parts)}
    try:
        schemas = [_schema(path, f"{label}{path.relative_to(parts)}") for path in paths]
        directories = ds.dataset([str(path) for path in paths], **given).schema  # with the columns in their names
        whole = pa.unify_schemas([*schemas, directories], promote_options="permissive")
        dataset = ds.dataset([str(path) for path in paths], schema=whole, **given)
        batches = dataset.to_batches(batch_size=_BATCH_ROWS, batch_readahead=2, fragment_readahead=1)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(label, error) from None
    with TableWriter(target) as writer:
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(label, error) from None
            if batch is None:
                break
            writer.write(batch)
        if not writer.rows:
            raise DataError(f"{label} has no rows; its {len(paths)} parts are empty")


def _schema(path: Path, label: str) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{label} cannot be read as Parquet ({str(error).splitlines()[0][:200]}); it may be cut short: copy or write it again"
        ) from None


def _unreadable(label: str, error: Exception) -> DataError:
    first = str(error).strip().splitlines()[0][:300]
    return DataError(
        f"{label} cannot be read as one Parquet table: {first}; a part may be cut short, or differ in its types"
    )


def _paths(parts: Path) -> list[Path]:
    """The part files, in the order of their paths."""
    found = (path for path in parts.rglob("*.parquet") if path.is_file())
    return sorted(path for path in found if not any(p.startswith((".", "_")) for p in path.relative_to(parts).parts))


def _is_table(path: Path) -> bool:
    return path.is_dir() and bool(_paths(path))
