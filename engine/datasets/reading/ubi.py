"""User Behavior Insights of OpenSearch and Elasticsearch (docs.opensearch.org "UBI index schemas", specification 1.3).

`ubi_queries` holds a row a search: query_id, user_query, client_id, query_response_id, query_response_hit_ids (the items
in the order shown), query_attributes, timestamp. `ubi_events` holds what was done next: action_name, query_id, client_id,
session_id, event_attributes.object.object_id, event_attributes.position.ordinal, timestamp; it names the query only by its
id. Impressions come from the first, clicks from the second.

Both lie as JSON (lines, arrays, dumps), or as Parquet and CSV with flattened names (`event_attributes.object.object_id`),
or with JSON text in `event_attributes`: such tables go record by record through `rows`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from engine.datasets.reading import json_any
from engine.datasets.reading.raw import BadRow
from engine.datasets.reading.records import Record

Kind = Literal["queries", "events"]


def recognise_columns(names: Collection[str]) -> Kind | None:
    """Which of the two a table with such columns is; None for neither."""
    folded = {name.strip().casefold() for name in names}
    if {"action_name", "query_id"} <= folded or any(name.startswith("event_attributes") for name in folded):
        return "events"
    if "query_response_hit_ids" in folded or {"user_query", "query_response_id"} <= folded:
        return "queries"
    return None


def recognise(head: str) -> bool:
    """Whether a JSON file names UBI's fields in its first records."""
    names = [n for n in ("action_name", "query_id", "event_attributes", "query_response_hit_ids", "user_query",
                         "query_response_id") if f'"{n}"' in head]  # fmt: skip
    return json_any.recognise(head) and recognise_columns(names) is not None


def records(path: Path) -> Iterator[Record | BadRow]:
    """One record an event, and one an item shown; searches without items shown give none."""
    for record in json_any.records(path):
        if isinstance(record, BadRow):
            yield record
        else:
            yield from (Record(record.line, row) for row in rows(record.values))


def rows(record: Mapping[str, object]) -> list[dict[str, object]]:
    """The interactions of one record: an event as it is, of a search an impression for each item, counted from 1."""
    flat = flatten(record)
    if recognise_columns(record.keys()) != "queries":
        return [flat]
    shown = _ids(_at(record, "query_response_hit_ids"))
    return [flat | {"item_id": item, "event": "impression", "position": at} for at, item in enumerate(shown, start=1)]


def flatten(record: Mapping[str, object]) -> dict[str, object]:
    """query_id, query, session, item_id, event, position, date of a record of either kind; None where it says nothing.

    A session is the record's own, or else its client. Positions are as they stand: who wrote them chose the base.
    """
    session, query, other = _at(record, "session_id"), _at(record, "user_query"), record.get("query")
    if query is None and isinstance(other, str) and not other.lstrip().startswith("{"):
        query = other  # Where it is no request to the engine, which the specification keeps there.
    return {
        "query_id": _at(record, "query_id"),
        "query": query,
        "session": _at(record, "client_id") if session is None else session,
        "item_id": _at(record, "event_attributes", "object", "object_id"),
        "event": _at(record, "action_name"),
        "position": _at(record, "event_attributes", "position", "ordinal"),
        "date": _at(record, "timestamp"),
    }


def _at(record: Mapping[str, object], *path: str) -> object:
    """The value at a path, whose upper part may be flattened into one name and whose objects may be JSON text."""
    for n in range(len(path), 0, -1):
        for joint in (".", "_", "__"):
            value = record.get(joint.join(path[:n]))
            if value is None or (isinstance(value, float) and value != value) or (isinstance(value, str) and not value):
                continue
            if n == len(path):
                return value
            inner = _json(value) if isinstance(value, str) else value
            if isinstance(inner, Mapping) and (found := _at(inner, *path[n:])) is not None:
                return found
    return None


def _ids(value: object) -> list[object]:
    """Ids as a list, as JSON text of one, or with commas between them, in brackets or not."""
    if isinstance(value, str):
        read = _json(value)
        if not isinstance(read, list):
            read = [part.strip().strip("'\"") for part in value.strip().strip("[]{}").split(",")]
        value = read
    return [each for each in value if each is not None and each != ""] if isinstance(value, Iterable) else []


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
