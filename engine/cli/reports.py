"""What validation and inspection found, as tables and sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from engine import console
from engine.console import say, table

if TYPE_CHECKING:
    from engine.datasets.inspection import Inspection
    from engine.datasets.report import Report
    from engine.problem.possible import Possible


def show_report(report: Report) -> None:
    """Rows of each file, how it was read, what was rejected and why."""
    formats = {d.file: d.found for d in report.decisions if d.what == "format"}
    table(
        "Files", ["file", "is", "read as", "rows", "accepted", "rejected", "passed over"],
        [(f.file, f.table, formats.get(f.file, ""), f"{f.read:,}", f"{f.accepted:,}", f"{f.rejected:,}", f"{f.skipped:,}")
         for f in report.files],
        right=["rows", "accepted", "rejected", "passed over"],
    )  # fmt: skip
    if told := [d for d in report.decisions if d.what != "format"]:
        table("How it was read", ["file", "what", "found", "because", "change it with"], told)
    for file, why, n in report.skipped:
        say(f"[dim]{n:,} × {escape(file)}: {escape(why)}[/]")
    for issue in report.issues:
        cost = "the row is rejected" if issue.costs == "row" else "the row is kept without it"
        say(f"[yellow]{issue.count:,} ×[/] {console.escape(f'{issue.file}: {issue.rule} ({cost})')}")
        for example in issue.examples:
            say(f"      {console.escape(example)}")
    for warning in report.warnings:
        say(f"[yellow]Note:[/] {console.escape(warning)}")


def show_inspection(found: Inspection[Possible], typed: str) -> str | None:
    """One screen: what it is, how it would be read, what is missing, what can be done. The sentence of what can be done."""
    if found.report is None or found.told is None:
        if found.files:
            table("Files", ["file", "looks like", "read as", "columns"], found.files)
        console.fail(found.refusal or "")
        return None
    show_report(found.report)
    can = found.told
    say(can.sentence())
    for absent, text in can.lacks.items():
        if absent != "clicks" or not any("from clicks" in warning for warning in found.report.warnings):
            say(f"[dim]{console.escape(text)}[/]")
    verb = "import" if found.audit else "ingest"
    say(f"Next: [bold]python -m engine {verb} {typed}[/]")
    return can.sentence()
