"""Writes a table batch by batch as a Parquet file of the contract."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from engine.datasets.connectors.readable import Reading, readable, readable_schema

_GROUP_ROWS = 65_536
_GROUP_BYTES = 64 << 20


class TableWriter:
    """A context; batches of one schema are made readable, gathered into row groups and written."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._readings: list[Reading] = []
        self._kept: list[pa.RecordBatch] = []
        self._kept_rows = self._kept_bytes = 0

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writer is not None:
            if kind is None:
                self._flush()
            self._writer.close()

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds a batch. Raises OSError where the disk refuses."""
        if self._writer is None:
            schema, self._readings = readable_schema(batch.schema)
            self._writer = pq.ParquetWriter(self._path, schema)
        made = readable(batch, self._writer.schema, self._readings)
        self.rows += made.num_rows
        self._kept.append(made)
        self._kept_rows += made.num_rows
        self._kept_bytes += made.nbytes
        if self._kept_rows >= _GROUP_ROWS or self._kept_bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        assert self._writer is not None
        if self._kept_rows:
            self._writer.write_table(pa.Table.from_batches(self._kept, self._writer.schema), self._kept_rows)
        self._kept, self._kept_rows, self._kept_bytes = [], 0, 0
