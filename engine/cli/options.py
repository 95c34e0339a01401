"""What commands share: the application, their common options, how a stopped one goes on."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from engine.config import PRESETS
from engine.console import out
from engine.errors import ConfigError, shown
from engine.store.workspace import VARIABLE, from_environment

ROOT = Path(__file__).resolve().parents[2]

app = typer.Typer(
    name="python -m engine",
    help="Train, serve and audit semantic identifiers (SIDs) for e-commerce search relevance.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)

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
RunOption = Annotated[str | None, typer.Option("--run", help="Run id; the newest one with SIDs by default.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting of the preset, e.g. --set generator.kind=full; may be repeated."),
]
PresetName = Annotated[str, typer.Option("--preset", help=f"One of: {', '.join(PRESETS)}.")]


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """Ctrl-C, or a polite request to end, says how to go on; nothing finished is lost."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except (KeyboardInterrupt, RuntimeError) as error:
        if isinstance(error, RuntimeError) and str(error) != "Query interrupted":  # so DuckDB tells of Ctrl-C
            raise
        command = escape(f"python -m engine {shlex.join(sys.argv[1:])}")
        out.print(f"\nStopped. Finished stages are kept; go on with: [bold]{command}[/]", soft_wrap=True)
        raise typer.Exit(130) from None


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
