"""Commands: parse, build, run, report. The only prints, and the only catch of EngineError.

python -m engine demo
python -m engine --help
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine import console
from engine.config import METHODS, PRESETS, preset
from engine.console import machine_line, say, table
from engine.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from engine.datasets.ingest import Report
    from engine.inference import LiveRun

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_WORKSPACE = ROOT / "data" / "workspace"

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
        envvar="SIDSCOPE_WORKSPACE",
        show_default="data/workspace",
        help="Where everything is kept.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Adapter = Annotated[str | None, typer.Option(help="Layout of the folder, where it is not the contract's: icecat.")]
RunOption = Annotated[str | None, typer.Option("--run", help="Run id; the newest one with SIDs by default.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
PresetName = Annotated[str, typer.Option("--preset", help=f"One of: {', '.join(PRESETS)}.")]


def main() -> None:
    """Run the command line; exit codes 0, 1 (the user's error), 2 (usage), 130 (Ctrl-C)."""
    try:
        app()
    except EngineError as error:
        console.fail(str(error))
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        console.fail(
            f"{error.strerror}: {error.filename or 'the workspace'}. What was finished is kept; mend it and repeat."
        )
        sys.exit(1)


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """Ctrl-C, or a polite request to end, says how to go on; nothing finished is lost."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        say(
            f"\nStopped. Finished stages are kept; go on with: [bold]{' '.join(['python -m engine', *sys.argv[1:]])}[/]"
        )
        raise typer.Exit(130) from None


# ---------------------------------------------------------------------- data


@app.command(epilog="Example: python -m engine validate data/sample")
def validate(folder: Path, adapter: Adapter = None, as_json: Json = False) -> None:
    """Check a dataset against the contract of data/README.md; changes nothing."""
    from engine.datasets.ingest import validate as check

    report = check(folder, adapter=adapter)
    _show_report(report)
    machine_line(as_json, **report.to_dict())
    if not report.ok:
        raise typer.Exit(1)


@app.command(epilog="Example: python -m engine ingest data/sample")
def ingest(
    folder: Path,
    workspace: Workspace = DEFAULT_WORKSPACE,
    adapter: Adapter = None,
    max_rejects: Annotated[float, typer.Option(help="Largest share of rows that may be rejected.")] = 0.05,
    as_json: Json = False,
) -> None:
    """Validate a dataset and store it in the workspace; rejected rows are kept with their reasons."""
    from engine.datasets.ingest import ingest as take

    with console.ConsoleWatcher() as watcher, watcher.step("Reading and validating") as progress:
        done = take(folder, workspace, adapter=adapter, max_reject_share=max_rejects, progress=progress)
    _show_report(done.report)
    c = done.catalogue
    say(
        f"Stored [bold]{c.settings.name}[/] as {c.fingerprint[:12]}: {len(c.items):,} items, {len(c.queries):,} queries, "
        f"{len(c.interactions):,} interactions, {len(c.judgments):,} judged pairs."
    )
    say(f"Next: [bold]python -m engine train --catalogue {c.fingerprint[:12]}[/]")
    machine_line(as_json, fingerprint=c.fingerprint, **done.report.to_dict())


# ---------------------------------------------------------------------- training


@app.command(
    epilog="Examples: python -m engine train · python -m engine train --method none · python -m engine train --preset paper --seed 1"
)
def train(
    workspace: Workspace = DEFAULT_WORKSPACE,
    method: Annotated[
        str, typer.Option(help=f"One of: {', '.join(METHODS)} (none = the rankers without SIDs).")
    ] = "dsirm",
    preset_name: PresetName = "default",
    seed: Seed = 0,
    catalogue: Annotated[
        str | None, typer.Option(help="Fingerprint (or its start) of the catalogue; the newest by default.")
    ] = None,
    project: Annotated[bool, typer.Option("--map/--no-map", help="Compute the UMAP map as the last stage.")] = True,
    as_json: Json = False,
) -> None:
    """Train a method on an ingested catalogue; a stopped run goes on where it was."""
    config = preset(preset_name, method=method, seed=seed)
    fingerprint = _catalogue(workspace, catalogue)
    with resumable(), console.ConsoleWatcher() as watcher:
        run_id = _train(workspace, fingerprint, config, watcher, project=project)
    _show_metrics(workspace, run_id)
    say("Next: [bold]python -m engine publish[/]")
    machine_line(as_json, run_id=run_id)


@app.command(epilog="Example: python -m engine publish && python -m app")
def publish(
    workspace: Workspace = DEFAULT_WORKSPACE,
    run: Annotated[
        list[str] | None, typer.Option("--run", help="Run ids; every finished run of the newest catalogue by default.")
    ] = None,
    pin: Annotated[bool, typer.Option(help="Never prune this snapshot.")] = False,
    as_json: Json = False,
) -> None:
    """Build a snapshot from finished runs and make it the one the dashboard shows."""
    from engine.pipeline import publish as build

    with console.ConsoleWatcher() as watcher, watcher.step("Building the snapshot"):
        snapshot_id = build(workspace, run, pin=pin)
    say(f"Published [bold]{snapshot_id}[/]. See it with: [bold]python -m app[/]")
    machine_line(as_json, snapshot_id=snapshot_id)


@app.command(epilog="Examples: python -m engine demo · python -m engine demo --no-serve --workspace /tmp/demo")
def demo(
    workspace: Workspace = DEFAULT_WORKSPACE,
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Serve the dashboard at the end.")] = True,
    items: Annotated[int, typer.Option(min=300, help="Items in the generated marketplace.")] = 6000,
    seed: Seed = 0,
    preset_name: PresetName = "demo",
    port: Annotated[int, typer.Option(help="Port of the dashboard.")] = 8501,
    as_json: Json = False,
) -> None:
    """Generate the bundled marketplace, train, publish, and serve the dashboard."""
    from engine.datasets.ingest import ingest as take
    from engine.datasets.marketplace import write_marketplace

    # Checked before minutes are spent.
    configs = [preset(preset_name, method=method, seed=seed) for method in ("none", "dsirm")]
    source = workspace / "datasets" / f"marketplace-{items}-{seed}"
    with resumable(), console.ConsoleWatcher() as watcher:
        if not (source / "dataset.toml").is_file():
            with watcher.step("Generating the marketplace") as progress:
                write_marketplace(source, n_items=items, seed=seed, progress=progress)
        with watcher.step("Reading and validating") as progress:
            catalogue = take(source, workspace, progress=progress).catalogue
        runs = [_train(workspace, catalogue.fingerprint, config, watcher, project=False) for config in configs]
        snapshot_id = _publish(workspace, runs)
        server = _serve(workspace, port) if serve else None
        try:
            _project(workspace, runs[-1], watcher)
            snapshot_id = _publish(workspace, runs)
            if server:
                say(f"The map is published too (snapshot {snapshot_id}). Ctrl-C stops the dashboard.")
                raise typer.Exit(server.wait())
        except KeyboardInterrupt:
            if server is None:
                raise
            say("\nDashboard stopped. Start it again with: [bold]make app[/]")
        finally:
            if server:
                server.terminate()
                server.wait()
    machine_line(as_json, snapshot_id=snapshot_id, runs=runs)


# ---------------------------------------------------------------------- looking


@app.command(epilog="Example: python -m engine status")
def status(workspace: Workspace = DEFAULT_WORKSPACE, as_json: Json = False) -> None:
    """What the workspace holds: catalogues, runs, snapshots."""
    from engine.datasets.ingest import list_catalogues
    from engine.runs import list_runs
    from engine.store.snapshot import current_id, list_snapshots

    catalogues = list_catalogues(workspace)
    snapshots = list_snapshots(workspace)
    size = sum(f.stat().st_size for f in workspace.rglob("*") if f.is_file()) / 1e6 if workspace.is_dir() else 0.0
    say(f"Workspace {workspace}: {len(catalogues)} catalogues, {len(list_runs(workspace))} runs, "
        f"{len(snapshots)} snapshots, {size:,.0f} MB")  # fmt: skip
    if len(catalogues):
        counts = ["n_items", "n_queries", "n_judgments", "n_rejected"]
        names = ["catalogue", "name", "items", "queries", "judged", "rejected"]
        rows = [
            (c["fingerprint"][:12], c["name"], *(f"{c[n]:,}" for n in counts)) for c in catalogues.to_dict("records")
        ]
        table("Catalogues", names, rows, right=names[2:])
    if snapshots:
        table(
            "Snapshots", ["snapshot", "current", "pinned", "MB"],
            [(s.snapshot_id, "yes" if s.current else "", "yes" if s.pinned else "", f"{s.path.stat().st_size / 1e6:,.0f}") for s in snapshots],
            right=["MB"],
        )  # fmt: skip
    if not snapshots:
        say("Nothing is published yet: [bold]python -m engine demo[/]")
    machine_line(
        as_json, workspace=str(workspace), current=current_id(workspace), snapshots=[s.snapshot_id for s in snapshots]
    )


@app.command(epilog="Example: python -m engine runs --json")
def runs(workspace: Workspace = DEFAULT_WORKSPACE, as_json: Json = False) -> None:
    """Runs in the workspace, newest first."""
    from engine.runs import list_runs

    found = list_runs(workspace)
    if not found:
        say("No runs yet: [bold]python -m engine train[/]")
    else:
        table(
            "Runs", ["run", "method", "preset", "seed", "catalogue", "state"],
            [(r.run_id, r.method, r.preset, r.seed, r.fingerprint[:12], r.created_at if r.finished else "unfinished") for r in found],
        )  # fmt: skip
    machine_line(as_json, runs=[r._asdict() for r in found])


@app.command(epilog='Example: python -m engine beams "waterproof hiking boots"')
def beams(
    query: str,
    workspace: Workspace = DEFAULT_WORKSPACE,
    run: RunOption = None,
    width: Annotated[int, typer.Option(min=1, max=256, help="Beams K.")] = 5,
    as_json: Json = False,
) -> None:
    """The SIDs predicted for a query, generated live."""
    live = _live(workspace, run)
    result = live.query(query, width=width)
    table(
        f"Beams of “{query}” (run {live.run_id})", ["rank", "sid", "probability", "items", "label"],
        [(b.rank, b.sid, f"{b.probability:.1%}", b.n_items, live.label(str(b.sid))) for b in
         result.beams.assign(probability=lambda f: f.log_prob.map(_exp)).itertuples()],
        right=["rank", "probability", "items"],
    )  # fmt: skip
    _timings(result.timings_ms)
    machine_line(
        as_json, run_id=live.run_id, query=query, beams=result.beams.to_dict("records"), timings_ms=result.timings_ms
    )


@app.command(epilog='Example: python -m engine score "waterproof hiking boots" --top 20')
def score(
    query: str,
    workspace: Workspace = DEFAULT_WORKSPACE,
    run: RunOption = None,
    top: Annotated[int, typer.Option(min=1, help="Items shown.")] = 20,
    as_json: Json = False,
) -> None:
    """The ranking of a query with and without SIDs, computed live."""
    live = _live(workspace, run)
    result = live.query(query)
    ranked = result.scores.sort_values("rank").head(top)
    table(
        f"Ranking of “{query}” (run {live.run_id})",
        ["with", "without", "item", "title", "score", "without SID", "match level"],
        [(r.rank, r.rank_without_sid, r.item_id, live.title(str(r.item_id)), r.score, r.score_without_sid, r.match_level)
         for r in ranked.itertuples()],
        right=["with", "without", "score", "without SID", "match level"],
    )  # fmt: skip
    _timings(result.timings_ms)
    machine_line(
        as_json, run_id=live.run_id, query=query, scores=ranked.to_dict("records"), timings_ms=result.timings_ms
    )


@app.command(epilog='Example: python -m engine explain "waterproof hiking boots" M000123')
def explain(
    query: str, item: str, workspace: Workspace = DEFAULT_WORKSPACE, run: RunOption = None, as_json: Json = False
) -> None:
    """Exact signed contributions to one item's score, computed live."""
    live = _live(workspace, run)
    explained = live.explain(query, item)
    rows = [("reference", explained.reference), *explained.contributions.items(), ("score", explained.score)]
    table(
        f"“{query}” → {item}: {live.title(item)}",
        ["part", "logit"],
        [(n, f"{v:+.6f}") for n, v in rows],
        right=["logit"],
    )
    gap = explained.score - explained.reference - sum(explained.contributions.values())
    say(f"Contributions sum to score minus reference within {abs(gap):.1e}.")
    machine_line(
        as_json, run_id=live.run_id, query=query, item_id=item, score=explained.score, reference=explained.reference,
        contributions=explained.contributions,
    )  # fmt: skip


# ---------------------------------------------------------------------- shared by commands


def _train(workspace: Path, fingerprint: str, config: object, watcher: console.ConsoleWatcher, *, project: bool) -> str:
    with watcher.step("Loading the libraries (10 s the first time)"):
        from engine import pipeline

    from engine.config import Config

    assert isinstance(config, Config)
    say(f"[bold]{config.method}[/] · preset {config.preset} · seed {config.seed}")
    run = pipeline.train(workspace, fingerprint, config, watcher)
    say(f"  Run [bold]{run.run_id}[/] is finished.")
    if project and config.method != "none":
        pipeline.project(workspace, run.run_id, watcher)
    return run.run_id


def _project(workspace: Path, run_id: str, watcher: console.ConsoleWatcher) -> None:
    from engine import pipeline

    pipeline.project(workspace, run_id, watcher)


def _publish(workspace: Path, run_ids: list[str]) -> str:
    from engine import pipeline

    snapshot_id = pipeline.publish(workspace, run_ids)
    say(f"Published [bold]{snapshot_id}[/].")
    return snapshot_id


def _serve(workspace: Path, port: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "SIDSCOPE_WORKSPACE": str(workspace.resolve())}
    return subprocess.Popen([sys.executable, "-m", "app", "--port", str(port)], cwd=ROOT, env=environment)


def _catalogue(workspace: Path, wanted: str | None) -> str:
    from engine.datasets.ingest import list_catalogues

    known = list_catalogues(workspace)
    if known.empty:
        raise ConfigError(f"No catalogue in {workspace}: bring one in with 'python -m engine ingest FOLDER'.")
    matches = [f for f in known["fingerprint"] if f.startswith(wanted or "")]
    if not matches:
        raise ConfigError(f"Catalogue '{wanted}' is unknown; known: {', '.join(f[:12] for f in known['fingerprint'])}.")
    return str(matches[0])


def _live(workspace: Path, run: str | None) -> LiveRun:
    from engine.inference import LiveRun, newest_run

    with console.ConsoleWatcher() as watcher, watcher.step("Loading the model"):
        return LiveRun.load(workspace, run or newest_run(workspace))


def _exp(value: float) -> float:
    import math

    return math.exp(value)


def _timings(timings: dict[str, float]) -> None:
    say("  ".join(f"{name} {value:,.1f} ms" for name, value in timings.items()))


def _show_report(report: Report) -> None:
    table(
        "Files", ["file", "read", "accepted", "rejected"],
        [(f.file, f"{f.read:,}", f"{f.accepted:,}", f"{f.rejected:,}") for f in report.files],
        right=["read", "accepted", "rejected"],
    )  # fmt: skip
    for issue in report.issues:
        say(f"[yellow]{issue.count:,} ×[/] {console.escape(issue.file + ': ' + issue.rule)}")
        for example in issue.examples:
            say(f"      {console.escape(example)}")
    for warning in report.warnings:
        say(f"[yellow]Note:[/] {console.escape(warning)}")


def _show_metrics(workspace: Path, run_id: str) -> None:
    import pandas as pd

    frame = pd.read_parquet(workspace / "runs" / run_id / "tables" / "metrics.parquet")
    chosen = frame[(frame["segment"] == "all") & frame["metric"].str.endswith((".auc", ".ndcg@10"))]
    table(
        "Test queries", ["metric", "value", "95 % interval", "n"],
        [(m.metric, m.value, f"[{m.low:.3f}, {m.high:.3f}]", m.n) for m in chosen.itertuples()], right=["value", "n"],
    )  # fmt: skip
