"""`engine doctor`: is this machine, and this workspace, fit?"""

from __future__ import annotations

import typer

from engine.cli.options import ROOT, Json, Workspace, app
from engine.console import machine_line, say, table


@app.command(epilog="Examples: python -m engine doctor · python -m engine doctor --workspace /srv/sidelight --json")
def doctor(workspace: Workspace, as_json: Json = False) -> None:
    """Versions, memory, disk, runs and snapshots, and what to do about them. Exit codes: 0, 1 where something is bad."""
    from engine.reporting.doctor import examine

    signs = examine(workspace, ROOT)
    table("Doctor", ["what", "", "found", "to do"], [(sign.what, sign.state, sign.found, sign.do) for sign in signs])
    counts = {state: sum(sign.state == state for sign in signs) for state in ("well", "watch", "bad")}
    say(f"{counts['well']} well, {counts['watch']} to watch, {counts['bad']} bad")
    machine_line(as_json, signs=[sign._asdict() for sign in signs])
    if counts["bad"]:
        raise typer.Exit(1)
