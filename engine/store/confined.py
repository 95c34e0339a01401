"""One SELECT of a stranger's, run in a process of its own that can do nothing else: what `locked` starts.

    python -m engine.store.confined < request.json     (its standard input stays open: closed, it ends at once)

Four walls, each enough for what it is for: the text is parsed by DuckDB itself and only one SELECT passes, over tables of
the schema and functions that compute; the database is read-only, without files, network, extensions or further settings;
the process has limits on memory, processor time and what it writes; a clock ends it. Its own database instance means that
nothing set here reaches the dashboard's pages, nor the other way round.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

TIMED_OUT, LEFT_ALONE = 3, 4
"""Exit codes: the clock ran out; whoever asked has gone, or wants no answer any more."""
LONGEST_SQL = 8_000
"""Characters."""
TABLE_FUNCTIONS = frozenset({"generate_series", "json_each", "json_tree", "range", "unnest"})
"""Those that compute. All others of DuckDB read files, settings or the catalogue, or hide SQL from this reading of it."""
REFUSED_FUNCTIONS = frozenset(
    {
        "current_setting", "currval", "get_block_size", "getenv", "getvariable", "json_deserialize_sql",
        "json_execute_serialized_sql", "json_serialize_plan", "json_serialize_sql", "nextval", "parse_duckdb_log_message",
        "pg_sleep", "setseed", "sleep_ms", "stats", "write_log",
    }
)  # fmt: skip
"""Of the others: what tells of the server, waits, writes, or hides SQL."""

_BATCH = 2_048
_WORDS = {
    "ParserException": "This is no SQL that DuckDB can read",
    "BinderException": "Names or types do not fit",
    "CatalogException": "There is no such thing",
    "ConversionException": "A value cannot be converted",
    "OutOfRangeException": "A value is out of range",
    "InvalidInputException": "An input is not allowed",
    "PermissionException": "That is not allowed here",
}
"""DuckDB's kinds of errors, in words."""


class Refused(Exception):
    """SQL that is not run, in a sentence on why."""


def check(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    """The one statement of a text that may run. Raises Refused for everything else, duckdb.Error where it is no SQL."""
    if len(sql) > LONGEST_SQL:
        raise Refused(f"The SQL has {len(sql):,} characters; at most {LONGEST_SQL:,} are read.")
    if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in sql):  # a parser stops reading there
        raise Refused("The SQL holds characters that are no text.")
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1:
        raise Refused(f"One SELECT at a time, please: this text holds {len(statements)} statements.")
    (serialized,) = connection.execute("SELECT json_serialize_sql($1)", [sql]).fetchone() or ("{}",)
    parsed = json.loads(serialized)
    if statements[0].type != duckdb.StatementType.SELECT or parsed.get("error", True):
        raise Refused("Only a SELECT is run here (WITH, FROM, VALUES, DESCRIBE and SUMMARIZE are SELECTs, too).")
    nodes = list(_nodes(parsed["statements"]))
    named = {key["key"].lower() for node in nodes if "cte_map" in node for key in node["cte_map"]["map"]}
    if hidden := named & _names(connection, "SELECT view_name FROM duckdb_views()"):
        raise Refused(f"A WITH may not be called {sorted(hidden)[0]}: DuckDB has something of that name.")
    known = _names(connection, "SELECT table_name FROM duckdb_tables()") | named
    for node in nodes:
        _allow(node, known)
    return statements[0]


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a parsed statement, without recursion: it may be nested deeply."""
    left = [tree]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            yield node
            left.extend(node.values())
        elif isinstance(node, list):
            left.extend(node)


def _names(connection: duckdb.DuckDBPyConnection, sql: str) -> set[str]:
    return {name.lower() for (name,) in connection.execute(sql).fetchall()}


def _allow(node: dict[str, Any], known: set[str]) -> None:
    """Raises Refused for a table, or a function, that is none of ours."""
    kind = node.get("type")
    if kind == "BASE_TABLE":
        name = node["table_name"]
        if name.lower() not in known or node["schema_name"].lower() not in ("", "main"):
            raise Refused(f"There is no table {name[:60]!r} in a snapshot; its tables are listed in the schema.")
    elif kind == "SHOW_REF" and node["query"] is None:
        raise Refused("What SHOW tells stands in the schema; DESCRIBE and SUMMARIZE take a table or a SELECT.")
    elif kind == "TABLE_FUNCTION":
        name = node["function"]["function_name"]
        if name.lower() not in TABLE_FUNCTIONS:
            raise Refused(
                f"The table function {name[:60]}() is not allowed; allowed: {', '.join(sorted(TABLE_FUNCTIONS))}."
            )
    if str(node.get("function_name", "")).lower() in REFUSED_FUNCTIONS:
        raise Refused(f"The function {node['function_name']}() is not allowed.")


def opened(path: str, memory_mb: int, threads: int) -> duckdb.DuckDBPyConnection:
    """The snapshot read-only, in an instance that can neither reach anything else nor be set otherwise any more."""
    connection = duckdb.connect(
        path,
        read_only=True,
        config={
            "enable_external_access": "false", "allow_community_extensions": "false", "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false", "python_enable_replacements": "false", "python_scan_all_frames": "false",
            "temp_directory": "", "memory_limit": f"{memory_mb}MB", "threads": str(threads),
        },
    )  # fmt: skip
    connection.execute("SET lock_configuration = true")
    return connection


def run(connection: duckdb.DuckDBPyConnection, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The rows of the request's SQL as an Arrow stream, cut at its limits, and whether they are all."""
    statement = check(connection, request["sql"])
    given, wanted = request["parameters"], set(statement.named_parameters)
    if missing := sorted(wanted - set(given)):
        raise Refused(f"The SQL asks for {', '.join('$' + name for name in missing)}, and no value was given.")
    reader = connection.execute(statement, {name: given[name] for name in wanted}).to_arrow_reader(_BATCH)
    rows_left, bytes_left, cut = request["rows"], request["bytes"], ""
    with io.BytesIO() as buffer:
        with pa.ipc.new_stream(buffer, reader.schema) as writer:
            for batch in reader:
                kept = batch.slice(0, rows_left)
                cut = "rows" if len(kept) < len(batch) else ""
                while kept.nbytes > bytes_left and len(kept):
                    kept, cut = kept.slice(0, len(kept) // 2), "bytes"
                writer.write_batch(kept)
                rows_left, bytes_left = rows_left - len(kept), bytes_left - kept.nbytes
                if cut:
                    break
        return {"cut": cut}, buffer.getvalue()


def said(error: Exception, request: dict[str, Any]) -> str:
    """An error in plain words, without the server's paths."""
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, MemoryError | duckdb.OutOfMemoryException):
        return (
            f"It needs more memory than the {request['memory_mb']} MB that one question may take; ask for less at once."
        )
    if isinstance(error, RecursionError):
        return "The SQL is nested too deeply."
    kind = type(error).__name__
    detail = str(error).replace(request["path"], "the snapshot").partition(": ")[2] or kind
    return f"{_WORDS.get(kind, 'It could not be run')}: {detail.strip()[:1_000]}"


def _limit(memory_mb: int, seconds: float, threads: int, most_bytes: int) -> None:
    """What the system itself holds this process to; Windows knows no such limits, macOS none on memory."""
    if sys.platform == "win32":
        return
    import resource

    wanted = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, int(seconds * threads) + 5),
        (resource.RLIMIT_FSIZE, 2 * most_bytes + 2**20),
    ]
    statm = Path("/proc/self/statm")
    if statm.exists():  # DuckDB's own limit does not count every buffer: half a gigabyte above it the system says no
        now = int(statm.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        wanted.append((resource.RLIMIT_AS, now + (memory_mb + 512) * 2**20))
    for what, most in wanted:
        with contextlib.suppress(ValueError, OSError):  # a stricter limit is set already
            resource.setrlimit(what, (most, most))


def _end_when(seconds: float) -> None:
    """End this process when its time is over, or when whoever asked has gone."""

    def clock() -> None:
        time.sleep(seconds)
        os._exit(TIMED_OUT)

    def listen() -> None:
        sys.stdin.buffer.read()
        os._exit(LEFT_ALONE)

    for work in (clock, listen):
        threading.Thread(target=work, daemon=True).start()


def main() -> None:
    """Read the request, answer: one line of JSON, then the Arrow stream."""
    request = json.loads(sys.stdin.buffer.readline())
    _end_when(request["seconds"])
    rows = b""
    try:
        connection = opened(request["path"], request["memory_mb"], request["threads"])
        _limit(request["memory_mb"], request["seconds"], request["threads"], request["bytes"])
        head, rows = run(connection, request)
    except (Refused, duckdb.Error, pa.ArrowException, MemoryError, RecursionError) as error:
        head = {"error": said(error, request)}
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + rows)
    sys.stdout.buffer.flush()
    os._exit(0)  # without waiting for DuckDB's threads


if __name__ == "__main__":
    main()
