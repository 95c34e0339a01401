"""What commands share: the application, their common options, how a stopped one goes on."""

from __future__ import annotations

import contextlib
import logging
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from engine import logs, on_ray
from engine.config import PRESETS
from engine.console import ConsoleWatcher, out
from engine.datasets.connectors.address import masked
from engine.errors import ConfigError, shown
from engine.on_ray import OnRay
from engine.store.workspace import VARIABLE, from_environment

if TYPE_CHECKING:
    from engine.datasets.connectors.source import Source

ROOT = Path(__file__).resolve().parents[2]
_logger = logging.getLogger(__name__)

app = typer.Typer(
    name="python -m engine",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _every(
    log: Annotated[
        str | None,
        typer.Option("--log", envvar=logs.VARIABLE, metavar="FILE",
                     help="Keep what happens there too, one JSON object a line ('-': the error stream)."),
    ] = None,
) -> None:  # fmt: skip
    """Train, serve and audit semantic identifiers (SIDs) for e-commerce search relevance."""
    logs.keep(log)
    _logger.info("command begins", extra={"arguments": [masked(argument) for argument in sys.argv[1:]]})


Workspace = Annotated[
    Path,
    typer.Option(
        "--workspace",
        "-w",
        file_okay=False,
        default_factory=from_environment,
        show_default=f"${VARIABLE}, else data/workspace",
        help="Where everything is kept.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Adapter = Annotated[
    str | None,
    typer.Option(
        help="Layout of the folder, where it is not the contract's: icecat, wands, esci[:us|es|jp[:large]], sid-json (which import finds)."
    ),
]
Places = Annotated[
    list[str] | None,
    typer.Argument(metavar="PLACE...", help="A folder, files that are one dataset, or a URL like s3://bucket/folder/."),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="Instead of a folder: a database (postgresql://, sqlite:///, duckdb:///, snowflake://, bigquery://) or any "
        "URL of fsspec. ${VARIABLE}s in it come from the environment.",
    ),
]
Items = Annotated[str | None, typer.Option(help="Of a database: SQL, @FILE with SQL, or the name of a table.")]
Judgments = Annotated[str | None, typer.Option(help="The same for judgments.")]
Interactions = Annotated[str | None, typer.Option(help="The same for the search log.")]
Queries = Annotated[str | None, typer.Option(help="The same for queries.")]
RunOption = Annotated[str | None, typer.Option("--run", help="Run id; the newest one with SIDs by default.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting of the preset, e.g. --set generator.kind=full; may be repeated."),
]
On = Annotated[
    str, typer.Option("--on", help="Where blocks of texts, queries or pairs are worked on: here, or ray (a cluster).")
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_ADDRESS", help="Of the cluster: auto, or HOST:6379 of its head. Without one, this machine's cores."
    ),
]
RayCpus = Annotated[
    int,
    typer.Option(min=1, help="CPUs of a worker on Ray: it loads the run once and works on so many blocks at a time."),
]
PresetName = Annotated[str, typer.Option("--preset", help=f"One of: {', '.join(PRESETS)}.")]


def chosen_place(on: str, address: str | None, cpus: int, workspace: Path | None) -> OnRay | None:
    """The Ray cluster that blocks go to, or None: they are worked on here. `workspace`: what its workers must see.
    Raises ConfigError where there is none, RunError where a node cannot work."""
    if on == "ray":
        return on_ray.connected(address, cpus=cpus, shared=workspace)
    if on != "here":
        raise ConfigError(f"--on '{shown(on)}' is unknown; allowed: here, ray")
    return None


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """Ctrl-C, or a polite request to end, says how to go on; nothing finished is lost."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except (KeyboardInterrupt, RuntimeError) as error:
        if isinstance(error, RuntimeError) and str(error) != "Query interrupted":  # so DuckDB tells of Ctrl-C
            raise
        command = escape(f"python -m engine {shlex.join(map(masked, sys.argv[1:]))}")
        out.print(f"\nStopped. Finished stages are kept; go on with: [bold]{command}[/]", soft_wrap=True)
        raise typer.Exit(130) from None


def given_source(
    places: list[str] | None, url: str | None, adapter: str | None, **statements: str | None
) -> list[Path] | Source:  # fmt: skip
    """Where the data lies: local folders and files, or elsewhere. Raises ConfigError where neither or both are given."""
    from engine.datasets.connectors.address import is_url
    from engine.datasets.connectors.source import Source

    given = {table: sql for table, sql in statements.items() if sql is not None}
    places = places or []
    if (not places) == (url is None):
        raise ConfigError("give a folder or files, or --from URL instead of them" + " (not both)" * (url is not None))
    if any(is_url(place) for place in places):
        if len(places) > 1:
            raise ConfigError("a URL is read alone: copy the other files beside it, or that one here")
        url = places[0]
    if url is not None:
        return Source(url, given, everything=adapter is not None)
    if given:
        raise ConfigError(f"{', '.join(f'--{table}' for table in given)}: statements need a database: --from URL")
    return [Path(place) for place in places]


@contextlib.contextmanager
def dataset_at(
    source: list[Path] | Source, scratch: AbstractContextManager[Path], watcher: ConsoleWatcher
) -> Iterator[list[Path]]:
    """What to read: what is given, or a temporary copy of what lies elsewhere, with a bar while it is fetched."""
    from engine.datasets.connectors.source import fetched

    if isinstance(source, list):
        yield source
        return
    with contextlib.ExitStack() as stack:
        with watcher.step("Fetching") as progress:
            folder = stack.enter_context(fetched(source, scratch, progress))
        yield [folder]


def chosen_catalogue(workspace: Path, wanted: str | None) -> str:
    """The fingerprint that starts with `wanted`, or the newest. Raises ConfigError."""
    from engine.datasets.ingest import list_catalogues

    known = list_catalogues(workspace)
    if known.empty:
        raise ConfigError(f"No catalogue in {workspace}: bring one in with 'python -m engine ingest FOLDER'.")
    matches = [f for f in known["fingerprint"] if f.startswith(wanted or "")]
    if not matches:
        raise ConfigError(
            f"Catalogue '{shown(wanted or '')}' is unknown; known: {', '.join(f[:12] for f in known['fingerprint'])}."
        )
    return str(matches[0])
