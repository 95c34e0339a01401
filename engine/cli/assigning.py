"""The command that gives new items SIDs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine import console
from engine.audit.newcomers import FAR_SHARE
from engine.cli.data import check_share
from engine.cli.options import Json, RunOption, Workspace, app, resumable
from engine.cli.reports import show_report
from engine.console import machine_line, say, table

if TYPE_CHECKING:
    from engine.assigning.assign import Assignment


@app.command(epilog="Example: python -m engine assign new-arrivals/ && python -m engine publish")
def assign(
    folder: Path,
    workspace: Workspace,
    run: RunOption = None,
    max_rejects: Annotated[float, typer.Option(help="Largest share of rows that may be rejected.")] = 0.05,
    as_json: Json = False,
) -> None:
    """Give new items SIDs under a finished run's codebook; no SID moves and nothing is trained."""
    check_share(max_rejects)
    with resumable(), console.ConsoleWatcher() as watcher:
        with watcher.step("Loading the libraries (10 s the first time)"):
            from engine.answering.live import newest_run
            from engine.assigning.assign import assign as give
        done = give(folder, workspace, run or newest_run(workspace), max_reject_share=max_rejects, watcher=watcher)
    show_report(done.report)
    say(_what_was_assigned(done))
    if done.generation is not None:
        row = done.generation
        table(
            f"Generation {row['generation']} of run {done.run_id}", ["", "before", "after"], _generation_rows(row),
            right=["before", "after"],
        )  # fmt: skip
        if row["beyond_p95"] > FAR_SHARE:
            say(
                f"[yellow]Warning:[/] {row['beyond_p95']:.1%} of these items lie farther from their SID than 95 % of those the "
                "run was trained on: the codebook does not know their kind. Train again on a catalogue that holds them."
            )
        say("Next: [bold]python -m engine publish[/]")
    machine_line(as_json, run_id=done.run_id, made=done.made, n_known=done.n_known, generation=done.generation)


def _what_was_assigned(done: Assignment) -> str:
    row = done.generation
    if row is None:
        return f"Nothing to assign: all {done.n_known:,} items have a SID of run [bold]{done.run_id}[/]."
    if not done.made:
        return f"These items were assigned before, as generation {row['generation']}: nothing was done."
    return f"Assigned {row['n_items']:,} items; {done.n_known:,} have a SID already and keep it."


def _generation_rows(row: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The table of a generation: what, before (or of the items that the run was trained on), after (or of the new ones)."""
    unknown = row["n_unknown_category"]
    return [
        ("items assigned", "", f"{row['n_items']:,}"),
        ("new SIDs", "", f"{row['n_new_sids']:,}"),
        *([] if unknown is None or unknown != unknown else [("category unknown to the codebook: nearest code", "", f"{int(unknown):,}")]),
        ("distance to their SID, median", f"{row['median_distance_base']:.3f}", f"{row['median_distance']:.3f}"),
        ("farther than the 95th percentile", "5.0%", f"{row['beyond_p95']:.1%}"),
        ("items a SID", f"{row['items_per_sid_before']:.2f}", f"{row['items_per_sid_after']:.2f}"),
        ("items that share their SID", f"{row['shared_before']:.1%}", f"{row['shared_after']:.1%}"),
        ("largest bucket, items", f"{int(row['largest_bucket_before']):,}", f"{int(row['largest_bucket_after']):,}"),
    ]  # fmt: skip
