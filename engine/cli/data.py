"""Commands on data: look at it, check it, store it, audit what another system made of it."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from engine import console
from engine.cli.options import (
    Adapter,
    From,
    Interactions,
    Items,
    Json,
    Judgments,
    Places,
    PresetName,
    Queries,
    Workspace,
    app,
    chosen_catalogue,
    dataset_at,
    given_source,
    resumable,
)
from engine.cli.reports import show_inspection, show_report
from engine.config import click_grades, preset
from engine.console import machine_line, say
from engine.errors import ConfigError
from engine.leftovers import working_folder

if TYPE_CHECKING:
    from engine.datasets.judged_rows import JudgedRows


@app.command(
    epilog="Examples: python -m engine inspect my-shop/ · python -m engine inspect products_export.csv ratings.csv"
)
def inspect(places: Places = None, adapter: Adapter = None, as_json: Json = False) -> None:
    """What is this, how would it be read, what is missing, what can be done with it? The first command to type; changes nothing."""
    from engine.datasets.inspection import inspect as look
    from engine.labeling.implicit import log_reader
    from engine.problem.possible import possible

    source = given_source(places, None, adapter)
    with (
        resumable(),
        console.ConsoleWatcher() as watcher,
        dataset_at(source, working_folder("fetch"), watcher) as at,
        watcher.step("Looking") as progress,
    ):
        found = look(at, possible, adapter=adapter, read_log=log_reader("auto"), progress=progress)
    say_possible = show_inspection(found, _typed(places))
    machine_line(as_json, **found.to_dict(), possible=say_possible)
    if found.refusal:
        raise typer.Exit(1)


@app.command(
    epilog="Examples: python -m engine validate data/sample · python -m engine validate items.xlsx ratings.csv"
)
def validate(
    places: Places = None,
    adapter: Adapter = None,
    url: From = None,
    items: Items = None,
    judgments: Judgments = None,
    interactions: Interactions = None,
    queries: Queries = None,
    max_rejects: Annotated[float, typer.Option(help="Largest share of rows that may be rejected.")] = 0.05,
    as_json: Json = False,
) -> None:
    """Check a dataset against the contract of data/README.md, and say how it was read; changes nothing."""
    from engine.datasets.ingest import validate as check

    check_share(max_rejects)
    source = given_source(
        places, url, adapter, items=items, judgments=judgments, interactions=interactions, queries=queries
    )
    scratch = working_folder("fetch")
    with resumable(), console.ConsoleWatcher() as watcher, dataset_at(source, scratch, watcher) as at:
        report = check(at, adapter=adapter, max_reject_share=max_rejects)
    show_report(report)
    if report.ok:
        say(f"[green]It can be ingested.[/] Next: [bold]python -m engine ingest {_typed(places) or '…'}[/]")
    else:
        say("[red]It cannot be ingested as it is[/]: " + escape(report.verdict() or ""))
    machine_line(as_json, **report.to_dict())
    if not report.ok:
        raise typer.Exit(1)


@app.command(epilog="Example: python -m engine check-judgments new/judgments.csv")
def check_judgments(
    file: Annotated[Path, typer.Argument(help="Judgments: query (or query_id), item_id, grade.")],
    workspace: Workspace,
    catalogue: Annotated[str | None, typer.Option(help="Fingerprint (or its start); the newest by default.")] = None,
    as_json: Json = False,
) -> None:
    """Check a file of judgments against a stored catalogue; changes nothing."""
    from engine.datasets.ingest import load
    from engine.datasets.judged_file import check_judgments as check

    data = load(workspace, chosen_catalogue(workspace, catalogue))
    if not file.is_file():
        raise ConfigError(f"{file} is no file; give one with columns query (or query_id), item_id, grade")
    with resumable(), console.ConsoleWatcher() as watcher, watcher.step("Reading and validating"):
        found = check(file, data)
    show_report(found.report)
    say(
        f"{found.n_pairs:,} pairs of {found.n_queries:,} queries against [bold]{escape(data.settings.name)}[/]: "
        f"{found.n_judged:,} are judged there already, {found.n_new_queries:,} queries are new to it, "
        f"{found.n_unknown_items:,} items are unknown to it."
    )
    machine_line(as_json, fingerprint=data.fingerprint, **found.to_dict())
    if not found.n_pairs:
        raise typer.Exit(1)


@app.command(
    epilog="Examples: python -m engine ingest data/sample · python -m engine ingest products_export.csv quepid.csv · "
    "python -m engine ingest --from postgresql://user@host/shop --items products --judgments 'SELECT ...' · "
    "python -m engine ingest s3://bucket/folder/"
)
def ingest(
    workspace: Workspace,
    places: Places = None,
    url: From = None,
    items: Items = None,
    judgments: Judgments = None,
    interactions: Interactions = None,
    queries: Queries = None,
    adapter: Adapter = None,
    max_rejects: Annotated[float, typer.Option(help="Largest share of rows that may be rejected.")] = 0.05,
    judgments_from_log: Annotated[
        str,
        typer.Option(help="Read grades from clicks: auto (where nobody judged), always (training queries too), never."),
    ] = "auto",
    with_judged: Annotated[
        bool,
        typer.Option(
            "--with-judged", help="Take up what people judged on the dashboard of this workspace, as further raters."
        ),
    ] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="How they are read, e.g. --set click_grades.min_examined=3.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Validate a dataset and store it in the workspace; rejected rows are kept with their reasons."""
    from engine.datasets.ingest import ingest as take
    from engine.datasets.storage import staging
    from engine.labeling.implicit import log_reader
    from engine.problem.possible import possible

    check_share(max_rejects)
    read_log = log_reader(judgments_from_log, click_grades(settings or ()))
    source = given_source(
        places, url, adapter, items=items, judgments=judgments, interactions=interactions, queries=queries
    )
    with (
        resumable(),
        console.ConsoleWatcher() as watcher,
        dataset_at(source, staging(workspace), watcher) as at,
        watcher.step("Reading and validating") as progress,
    ):
        done = take(
            at, workspace, adapter=adapter, max_reject_share=max_rejects, read_log=read_log,
            judged=_judged(workspace) if with_judged else None, progress=progress,
        )  # fmt: skip
    show_report(done.report)
    c = done.catalogue
    say(
        f"Stored [bold]{escape(c.settings.name)}[/] as {c.fingerprint[:12]}: {len(c.items):,} items, {len(c.queries):,} queries, "
        f"{len(c.interactions):,} interactions, {len(c.judgments):,} judged pairs."
    )
    if given := c.given_text:
        say(f"Text vectors of {given.width} numbers came with all items and {given.queries:,} queries; nothing is encoded "
            f"but the other {len(c.queries) - given.queries:,} queries.")  # fmt: skip
    can = possible(c)
    say(can.sentence())
    for absent, why in can.lacks.items():
        if absent != "clicks":  # the report says it
            say(f"[dim]{escape(why)}[/]")
    say(f"Next: [bold]python -m engine train --catalogue {c.fingerprint[:12]}[/]")
    machine_line(as_json, fingerprint=c.fingerprint, lacks=can.lacks, **done.report.to_dict())


@app.command(
    "import",
    epilog="Examples: python -m engine import FOLDER · python -m engine import shop.index.json --no-map",
)
def import_(
    path: Annotated[Path, typer.Argument(help="A dataset folder, or an index of SIDs: a file or the folder it is in.")],
    workspace: Workspace,
    adapter: Adapter = None,
    dataset: Annotated[str | None, typer.Option(help="Which one, where a folder holds several indexes.")] = None,
    sid_suffix: Annotated[
        str | None,
        typer.Option(help="A last code that only some SIDs have: drop (items share a SID) or level (one more level)."),
    ] = None,
    sizes: Annotated[str | None, typer.Option(help="Codes per level, e.g. 256,256,256; by default those seen.")] = None,
    project: Annotated[
        bool, typer.Option("--map/--no-map", help="Embed titles for the map and near neighbours.")
    ] = True,
    preset_name: PresetName = "default",
    max_rejects: Annotated[float, typer.Option(help="Largest share of rows that may be rejected.")] = 0.05,
    as_json: Json = False,
) -> None:
    """Audit SIDs, beams or scores that another system made (data/README.md); nothing is trained."""
    config = preset(preset_name)
    numbers = _sizes(sizes)
    check_share(max_rejects)
    with resumable(), console.ConsoleWatcher() as watcher:
        with watcher.step("Loading the libraries (10 s the first time)"):
            from engine.importing.run import ImportSettings, import_run
        done = import_run(
            path, workspace, ImportSettings(config, numbers, project), adapter=adapter, dataset=dataset,
            sid_suffix=sid_suffix, max_reject_share=max_rejects, watcher=watcher,
        )  # fmt: skip
    show_report(done.report)
    manifest = done.run.manifest()
    for note in manifest["notes"]:
        say(console.escape(note))
    say(f"Run [bold]{done.run.run_id}[/] is finished. Next: [bold]python -m engine publish --run {done.run.run_id}[/]")
    machine_line(as_json, run_id=done.run.run_id, notes=manifest["notes"], **done.report.to_dict())


def _judged(workspace: Path) -> JudgedRows:
    """What people judged on the dashboard of a workspace. Raises ConfigError where nobody did."""
    from engine.datasets.judged_rows import judged_rows
    from engine.store.judged import SOURCE, JudgedStore

    store = JudgedStore(workspace)
    found = store.standing()
    if not found:
        raise ConfigError(
            f"{store.path} holds no judgment: judge pairs on the page Data first, or leave out --with-judged"
        )
    return judged_rows([dataclasses.asdict(answer) | {"source": SOURCE} for answer in found])


def _sizes(text: str | None) -> tuple[int, ...] | None:
    """'256,256,256' -> (256, 256, 256). Raises ConfigError."""
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--sizes {text}; write codes per level like 256,256,256") from None


def check_share(share: float) -> None:
    """Raises ConfigError for what is no share."""
    if not 0 <= share <= 1:
        raise ConfigError(f"--max-rejects {share}; allowed: 0 to 1, such as 0.05 for one row in twenty")


def _typed(places: list[str] | None) -> str:
    """The sources, as they would be typed again."""
    from engine.datasets.connectors.address import masked

    return escape(shlex.join(masked(place) for place in places or ()))
