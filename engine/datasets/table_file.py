"""A table on its way to disk: in row groups of one size, its content hashed on the way, never held whole."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.datasets.vectors import BLOCK


class Written(NamedTuple):
    """What a table turned out to hold."""

    rows: int
    nulls: Counter[str]  # Missing values of each column.
    content: str  # `ContentDigest`.


class ContentDigest:
    """A sha256 of a table's values that depends on nothing else: not on how many come at once, offsets or unused bits."""

    def __init__(self) -> None:
        self._columns: dict[str, tuple[hashlib._Hash, ...]] = {}

    def update(self, table: pa.Table) -> None:
        """Takes the next rows."""
        for name, column in zip(table.column_names, table.columns, strict=True):
            # One stream each of what is there, of lengths and of values: joined in any other way, blocks would show.
            streams = self._columns.setdefault(name, tuple(hashlib.sha256() for _ in range(3)))
            for chunk in column.chunks:
                for stream, part in zip(streams, _parts(chunk), strict=True):
                    stream.update(part)

    def hexdigest(self) -> str:
        """Of all rows so far."""
        said = [name + "".join(s.hexdigest() for s in streams) for name, streams in self._columns.items()]
        return hashlib.sha256("\0".join(said).encode()).hexdigest()


def _parts(values: pa.Array) -> tuple[Any, Any, Any]:
    """Of one array: which values are there, lengths of lists or texts, the values; each a buffer."""
    valid = np.asarray(pc.is_valid(values)).astype(np.uint8).tobytes()
    if values.null_count:
        values = values.drop_null()
    lengths: Any = b""
    if pa.types.is_list(values.type):
        lengths = np.asarray(pc.list_value_length(values))
        values = pc.list_flatten(values)
    if pa.types.is_string(values.type):
        _, offsets, letters = values.buffers()
        if not len(values) or offsets is None:
            return valid, lengths, b""
        bounds = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
        return valid, np.diff(bounds), b"" if letters is None else memoryview(letters)[bounds[0] : bounds[-1]]
    numbers = np.asarray(values)
    # Adding 0 makes -0.0 and 0.0 one value.
    return valid, lengths, numbers.view(np.int64) if numbers.dtype.kind == "M" else numbers + 0


def write_table(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Written:
    """Writes rows of that schema as they come."""
    rows, nulls, digest = 0, Counter[str](), ContentDigest()
    with pq.ParquetWriter(path, schema, compression="zstd") as writer, ThreadPoolExecutor(1) as aside:
        for block in _blocks(batches, schema):
            hashed = aside.submit(digest.update, block)
            if block.num_rows:
                writer.write_table(block, row_group_size=BLOCK)
            hashed.result()
            rows += block.num_rows
            nulls.update({name: block.column(name).null_count for name in schema.names})
    return Written(rows, nulls, digest.hexdigest())


def _blocks(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """`BLOCK` rows at a time; at least one, so that an empty table has its columns' digest."""
    held = schema.empty_table()
    for batch in batches:
        held = pa.concat_tables([held, pa.Table.from_batches([batch])])
        while held.num_rows >= BLOCK:
            yield held.slice(0, BLOCK).combine_chunks()
            held = held.slice(BLOCK)
    yield held.combine_chunks()
