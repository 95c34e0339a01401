"""Arrow as drivers give it -> Arrow that a Parquet file of the contract may hold: numbers, texts, dates, lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa

from engine.datasets.contract import COLUMNS
from engine.errors import DataError, shown

_IDS = {
    name
    for columns in COLUMNS.values()
    for column in columns
    if column.kind in ("id", "sid")
    for name in (column.name, *column.also)
}


class Reading(NamedTuple):
    """How one column is made readable."""

    type: pa.DataType
    convert: Callable[[pa.Array], pa.Array] | None  # None: as it is.


def readable_schema(schema: pa.Schema) -> tuple[pa.Schema, list[Reading]]:
    """The schema that is written, and how each column gets there."""
    readings = [_reading(field.name, field.type) for field in schema]
    fields = [pa.field(field.name, reading.type) for field, reading in zip(schema, readings, strict=True)]
    return pa.schema(fields), readings


def readable(batch: pa.RecordBatch, schema: pa.Schema, readings: list[Reading]) -> pa.RecordBatch:
    """A batch in the written schema. Raises DataError for a value that its column's type cannot say."""
    columns = []
    for name, column, reading in zip(schema.names, batch.columns, readings, strict=True):
        try:
            columns.append(column if reading.convert is None else reading.convert(column))
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise DataError(f"column '{name}' ({column.type}) cannot be read: {shown(str(error))}") from None
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def is_id(name: str) -> bool:
    """Whether a column of this name holds ids, whose digits must all stay."""
    name = name.casefold().strip()
    return name in _IDS or name.endswith(("_id", "_code", "_sku"))


def _reading(name: str, kind: pa.DataType) -> Reading:
    types = pa.types
    if types.is_dictionary(kind):
        inner = _reading(name, kind.value_type)
        return Reading(inner.type, lambda a: _then(inner, a.dictionary_decode()))
    if types.is_decimal(kind):
        # Whole ones are often ids with more digits than a double has.
        if kind.scale == 0 or is_id(name):
            return Reading(pa.string(), lambda a: a.cast(pa.string()))
        return Reading(pa.float64(), lambda a: a.cast(pa.float64()))
    if types.is_timestamp(kind):
        # A moment with a time zone is stored in UTC: to the type without one, that is the time there.
        return Reading(pa.timestamp("us"), lambda a: a.cast(pa.timestamp("us"), safe=False))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        value = kind.value_type
        if types.is_decimal(value) or types.is_floating(value):
            target = pa.list_(pa.float32() if value == pa.float32() else pa.float64())
            return Reading(target, lambda a: a.cast(target))
        if types.is_integer(value) or types.is_string(value) or types.is_boolean(value):
            return Reading(kind, None)
        return Reading(pa.string(), _as_json)
    if types.is_struct(kind) or types.is_map(kind):
        return Reading(pa.string(), _as_json)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind) or types.is_time(kind):
        return Reading(pa.string(), _as_text)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_date(kind):
        return Reading(kind, None)
    return Reading(pa.string(), _value_by_value)


def _then(inner: Reading, array: pa.Array) -> pa.Array:
    return array if inner.convert is None else inner.convert(array)


def _as_text(array: pa.Array) -> pa.Array:
    """Text whose bytes are UTF-8: others become �, because a database may not have looked at them."""
    texts = array.cast(pa.string())
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        raw = texts.cast(pa.binary()).to_pylist()
        return pa.array([None if value is None else value.decode(errors="replace") for value in raw], pa.string())
    return texts


def _as_json(array: pa.Array) -> pa.Array:
    def plain(value: Any) -> Any:
        if isinstance(value, list) and value and all(isinstance(v, tuple) and len(v) == 2 for v in value):
            return dict(value)  # a map
        return value

    values = (
        None if v is None else json.dumps(plain(v), ensure_ascii=False, default=_spelled) for v in array.to_pylist()
    )
    return pa.array(list(values), pa.string())


def _value_by_value(array: pa.Array) -> pa.Array:
    storage = array.storage if isinstance(array.type, pa.ExtensionType) else array
    if pa.types.is_string(storage.type):
        return _as_text(storage)
    return pa.array([None if v is None else _spelled(v) for v in array.to_pylist()], pa.string())


def _spelled(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    return str(value)
