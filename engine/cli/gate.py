"""The command that holds a run against a pinned baseline, for scripts and continuous integration."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine import console
from engine.audit.gate_config import UNDECIDED_IS, level
from engine.cli.options import Json, Workspace, app
from engine.console import machine_line, say, table
from engine.errors import ConfigError
from engine.runs import write_text

if TYPE_CHECKING:
    from engine.audit.gate import Verdict

_COLOURS = {"passed": "green", "failed": "bold red", "undecided": "bold yellow"}
_WORDS = {"passed": "Passed", "failed": "Failed", "undecided": "Could not be decided"}


@app.command(
    epilog="Examples: python -m engine audit --baseline pinned --fail-on act · "
    "python -m engine audit --baseline snap-0123abcd4567 --pin --config gate.toml --junit gate.xml --markdown gate.md · "
    "python -m engine audit --baseline dsirm-default-1a2b3c4d --run tiger-default-5e6f7a8b --json"
)
def audit(
    workspace: Workspace,
    baseline: Annotated[
        str,
        typer.Option(
            help="A run id, a snapshot id, both as snap-...:run, or 'pinned': the newest other pinned snapshot."
        ),
    ],
    run: Annotated[
        str | None, typer.Option("--run", help="Run id; by default the one its snapshot opens with.")
    ] = None,
    snapshot: Annotated[str | None, typer.Option(help="Snapshot id; the current one by default.")] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(help="Least severity that fails: act (= high), watch (= medium), note (= low); act by default."),
    ] = None,
    undecided: Annotated[
        str | None,
        typer.Option(
            help=f"Where what must be decided cannot be: {', '.join(UNDECIDED_IS)} (exit code 4, the default; 3; 0)."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with a section [gate]: docs/gate.md.")] = None,
    pin: Annotated[bool, typer.Option(help="Never prune the baseline's snapshot.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write Markdown here, for a comment on a pull request.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json-file", help="Write the JSON of --json here.")] = None,
    as_json: Json = False,
) -> None:
    """Is a run worse than a pinned baseline? Exit codes: 0 passed, 3 failed, 4 not enough to say; 1 and 2 are errors."""
    with console.ConsoleWatcher() as watcher, watcher.step("Comparing with the baseline"):
        from engine.reporting import gate, gate_report

        rules = gate.read_rules(config)
        rules = dataclasses.replace(
            rules, fail_on=level(fail_on) if fail_on else rules.fail_on, undecided=undecided or rules.undecided
        )
        done = gate.compare(workspace, baseline, rules, snapshot_id=snapshot, run_id=run, pin_baseline=pin)
    _show(done.verdict)
    if not (done.baseline.pinned or pin):
        say(
            f"[yellow]Note:[/] the baseline {done.baseline.snapshot_id} is not pinned and may be pruned: add [bold]--pin[/]."
        )
    told = gate_report.as_dict(done)
    for path, text in (
        (junit, gate_report.as_junit(done)), (markdown, gate_report.as_markdown(done)), (json_file, console.json_line(told))
    ):  # fmt: skip
        if path is not None:
            _write(path, text)
    machine_line(as_json, **told)
    raise typer.Exit(done.verdict.exit_code)


def _show(verdict: Verdict) -> None:
    order = {"failed": 0, "undecided": 1, "passed": 2}
    rows = sorted(verdict.checks, key=lambda check: order[check.outcome])
    table(
        "Checks", ["outcome", "severity", "what"], [(_WORDS[c.outcome].lower(), c.severity, c.sentence) for c in rows]
    )
    say(f"[{_COLOURS[verdict.outcome]}]{_WORDS[verdict.outcome]}.[/] {console.escape(verdict.sentence)}")


def _write(path: Path, text: str) -> None:
    """Raises ConfigError where there is no such folder."""
    if not path.parent.is_dir():
        raise ConfigError(f"{path} cannot be written: {path.parent} is no folder")
    write_text(path, text)
