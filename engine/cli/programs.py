"""Commands for other programs: named questions, the schema, the MCP server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine import console
from engine.cli.options import Json, Workspace, app
from engine.console import table
from engine.errors import ConfigError
from engine.store import questions, rows, schema
from engine.store.locked import Value
from engine.store.snapshot import SCHEMA_VERSION, open_snapshot


@app.command(epilog='Example: python -m engine query ranking -p query="waterproof hiking boots" --format csv')
def query(
    workspace: Workspace,
    name: Annotated[str | None, typer.Argument(help="Name of a question; --list tells them.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="NAME=VALUE of the question; may be repeated.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="The questions, with their parameters.")] = False,
    format: Annotated[
        str | None, typer.Option(help="json, csv or parquet; else by the ending of --output, else json.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", dir_okay=False, help="A file instead of the screen.")] = None,
    snapshot: Annotated[str | None, typer.Option(help="Snapshot id; the current one by default.")] = None,
) -> None:  # fmt: skip
    """Ask a published snapshot a named question: JSON, CSV or Parquet for other programs."""
    if list_ or name is None:
        table(
            "Questions", ["name", "asks", "parameters"],
            [(q.name, q.sentence, ", ".join(p if questions.PARAMETERS[p].required else f"[{p}]" for p in q.parameters))
             for q in questions.QUESTIONS.values()],
        )  # fmt: skip
        table("Parameters", ["name", "is"], [(name, told.about) for name, told in questions.PARAMETERS.items()])
        return
    question, given = questions.find(name), _given(parameter or [])
    wanted = format or (output.suffix.removeprefix(".") if output else "json")
    if wanted not in rows.FORMATS:
        raise ConfigError(f"Format '{wanted}' is unknown; known: {', '.join(rows.FORMATS)}.")
    if wanted == "parquet" and output is None:
        raise ConfigError("Parquet needs a file: --output FILE.parquet")
    told = {
        "question": question.name,
        "parameters": questions.values(question, given),
        "schema_version": SCHEMA_VERSION,
    }
    opened = open_snapshot(workspace, snapshot)
    try:
        found = questions.ask(opened.cursor(), question, given)
        told["snapshot_id"] = opened.snapshot_id
    finally:
        opened.close()
    if output is not None:
        rows.write(found, output, wanted, told)
        console.say(f"{len(found):,} rows of '{question.name}' in {console.escape(str(output))}")
    else:
        console.data(rows.as_csv(found) if wanted == "csv" else rows.as_json(found, told) + "\n")


def _given(parameters: list[str]) -> dict[str, Value]:
    """What -p says. Raises ConfigError where it is not NAME=VALUE."""
    given: dict[str, Value] = {}
    for text in parameters:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"'{text}' is no NAME=VALUE; for example: -p query=\"trail shoes\"")
        given[name.strip()] = value
    return given


@app.command(name="schema", epilog="Example: python -m engine schema --json")
def schema_(as_json: Json = False) -> None:
    """The tables and columns of a snapshot and what they mean: docs/schema.md."""
    if as_json:
        told = [t._asdict() | {"columns": [c._asdict() for c in t.columns]} for t in schema.tables()]
        console.machine_line(True, schema_version=SCHEMA_VERSION, fingerprint=schema.fingerprint(), tables=told)
    else:
        typer.echo(schema.markdown(SCHEMA_VERSION), nl=False)


@app.command(epilog="Example: python -m engine mcp --workspace data/workspace")
def mcp(workspace: Workspace) -> None:
    """Serve the current snapshot to a language model's client: read-only MCP tools over standard input and output."""
    try:
        from engine.mcp import server
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise ConfigError("The MCP server needs the package 'mcp': pip install -r requirements-mcp.txt") from None
    server(workspace).run("stdio")
