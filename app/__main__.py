"""Serve the dashboard: `python -m app [--workspace DIR] [--port N] [--host NAME] [--secrets FILE]`.

Streamlit reads neither a configuration file of the repository's root nor puts that root on the path;
this command does both, says where the dashboard is, and names what is wrong when a port is taken.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import socket
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "streamlit_config.toml"
MAIN = ROOT / "app" / "main.py"


def flatten(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested tables as dotted option names: {"theme": {"dark": {"x": 1}}} -> ("theme.dark.x", 1)."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def options(config: Path = CONFIG) -> dict[str, Any]:
    """Streamlit's options by dotted name, as streamlit_config.toml states them."""
    return dict(flatten(tomllib.loads(config.read_text(encoding="utf-8"))))


def port_is_taken(host: str, port: int) -> bool:
    """Whether something already listens there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1" if host in ("", "0.0.0.0") else host, port)) == 0


def secrets_files(given: Path | None) -> tuple[str, ...]:
    """Where Streamlit is to look for secrets, the later file winning. Raises ConfigError for a named file that is not there:
    without it nobody would be asked to log in."""
    from engine.errors import ConfigError

    if given is None:
        return tuple(str(folder.resolve() / ".streamlit" / "secrets.toml") for folder in (Path.home(), Path()))
    if not given.is_file():
        raise ConfigError(f"--secrets {given} is no file")
    return (str(given.resolve()),)


def arguments_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(prog="python -m app", description="Serve the Sidelight dashboard.")
    parser.add_argument("--workspace", type=Path, help="folder with CURRENT and snapshots/ (default: data/workspace)")
    parser.add_argument("--port", type=int, help="default: the one in streamlit_config.toml")
    parser.add_argument("--host", help="address to listen on; 0.0.0.0 lets other machines in (default: localhost)")
    parser.add_argument("--allow-upload", action="store_true",
                        help="visitors may hand in files of judgments, kept in WORKSPACE/uploads (default: not)")  # fmt: skip
    parser.add_argument("--allow-sql", action="store_true",
                        help="visitors may ask snapshots in SQL, read-only and bounded, on the Data page (default: not)")  # fmt: skip
    parser.add_argument("--allow-metrics", action="store_true",
                        help="whoever reaches the port may read /_stcore/metrics, for Prometheus (default: not)")  # fmt: skip
    parser.add_argument("--log", metavar="FILE",
                        help="keep what happens there, one JSON object a line; '-': the error stream (default: $SIDELIGHT_LOG)")  # fmt: skip
    parser.add_argument("--secrets", type=Path, metavar="FILE",
                        help="who may look: a secrets.toml with [auth] and [allow] (default: ~/.streamlit/secrets.toml, then "
                             "./.streamlit/secrets.toml; without [auth] everybody is let in)")  # fmt: skip
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Parse, set the options, serve until interrupted. Exit codes: 0, 1 (port taken, former variable, wrong secrets), 2 (usage)."""
    given = arguments_parser().parse_args(arguments)
    settings = options()
    host = given.host or settings["server.address"]
    port = given.port or settings["server.port"]
    sys.path.insert(0, str(ROOT))
    from app import serving
    from app.login import settings as login_settings
    from engine import leftovers, logs
    from engine.errors import ConfigError, one_line
    from engine.store import locked
    from engine.store.uploads import ALLOWED, MOST_MB, allowed
    from engine.store.workspace import VARIABLE, from_environment

    try:
        files = secrets_files(given.secrets)
        login = login_settings(files)
        workspace = given.workspace or from_environment()
        logs.keep(given.log or os.environ.get(logs.VARIABLE))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    os.environ[VARIABLE] = str(workspace.resolve())
    if port_is_taken(host, port):
        sys.stderr.write(
            f"Port {port} is taken. Stop what runs there, or choose another: python -m app --port {port + 1}\n"
        )
        return 1

    if given.allow_upload:
        os.environ[ALLOWED] = "1"
    if allowed():
        settings["server.maxUploadSize"] = MOST_MB
    if given.allow_sql:
        os.environ[locked.ALLOWED] = "1"
    leftovers.clear(workspace)

    # what the first page needs, imported before the address is printed rather than while somebody waits
    for module in ("engine.store.handles", "app.charts.overview", "app.queries.overview", "streamlit.delta_generator"):
        importlib.import_module(module)

    settings |= {
        "secrets.files": list(files),
        "server.address": host,
        "server.port": port,
        "global.developmentMode": False,
    }
    sys.stdout.write(f"Sidelight dashboard: http://{'localhost' if host == '0.0.0.0' else host}:{port}\n")
    sys.stdout.write(f"Workspace: {one_line(str(workspace))}\n")
    sys.stdout.write("Login: asked for\n" if login else "Login: none, whoever reaches the port is let in\n")
    sys.stdout.write("Stop with Ctrl-C.\n")
    sys.stdout.flush()
    serving.serve(MAIN, settings, workspace, metrics=given.allow_metrics)
    return 0


if __name__ == "__main__":
    from app.log import PlainLog

    with contextlib.redirect_stderr(PlainLog(sys.stderr)):
        sys.exit(main())
