"""Commands that train, compare and publish, and those that list what there is."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from engine import console
from engine.cli.options import (
    ROOT,
    Json,
    On,
    PresetName,
    RayAddress,
    RayCpus,
    Seed,
    Settings,
    Workspace,
    app,
    chosen_catalogue,
    chosen_place,
    resumable,
)
from engine.config import METHODS, Config, override, preset
from engine.console import machine_line, say, table
from engine.generator import together
from engine.store.workspace import VARIABLE

if TYPE_CHECKING:
    from engine.ablation.report import Section
    from engine.on_ray import OnRay


@app.command(
    epilog="Examples: python -m engine train · python -m engine train --method none · python -m engine train --preset paper --seed 1 · python -m engine train --set generator.kind=full --set generator.model=./Qwen3-0.6B · python -m engine train --on ray · python -m engine train --on ray --ray-address auto --ray-cpus 8"
)
def train(
    workspace: Workspace,
    method: Annotated[
        str, typer.Option(help=f"One of: {', '.join(METHODS)} (none = the rankers without SIDs).")
    ] = "dsirm",
    preset_name: PresetName = "default",
    seed: Seed = 0,
    catalogue: Annotated[
        str | None, typer.Option(help="Fingerprint (or its start) of the catalogue; the newest by default.")
    ] = None,
    project: Annotated[bool, typer.Option("--map/--no-map", help="Compute the UMAP map as the last stage.")] = True,
    ladder: Annotated[
        str,
        typer.Option(
            help="lean: the served ranker and what it is compared with; full: every ranker that explains it too."
        ),
    ] = "lean",
    settings: Settings = None,
    on: On = "here",
    ray_address: RayAddress = None,
    ray_cpus: RayCpus = 1,
    as_json: Json = False,
) -> None:
    """Train a method on an ingested catalogue; a stopped run goes on where it was."""
    config = override(preset(preset_name, method=method, seed=seed), [f"ranker.ladder={ladder}", *(settings or [])])
    fingerprint = chosen_catalogue(workspace, catalogue)
    if together.rank():
        from engine.generator.full_training import follow

        with contextlib.suppress(KeyboardInterrupt):
            follow()
        return
    with resumable(), console.ConsoleWatcher() as watcher, together.leading():
        place = chosen_place(on, ray_address, ray_cpus, workspace)
        run_id = _train(workspace, fingerprint, config, watcher, project=project, place=place)
    _show_metrics(workspace, run_id)
    say("Next: [bold]python -m engine publish[/]")
    machine_line(as_json, run_id=run_id)


@app.command(epilog="Example: python -m engine publish && python -m app")
def publish(
    workspace: Workspace,
    run: Annotated[
        list[str] | None, typer.Option("--run", help="Run ids; every finished run of the newest catalogue by default.")
    ] = None,
    pin: Annotated[bool, typer.Option(help="Never prune this snapshot.")] = False,
    as_json: Json = False,
) -> None:
    """Build a snapshot from finished runs and make it the one the dashboard shows."""
    from engine.pipeline import publish as build

    with resumable(), console.ConsoleWatcher() as watcher, watcher.step("Building the snapshot"):
        snapshot_id = build(workspace, run, pin=pin)
    say(f"Published [bold]{snapshot_id}[/]. See it with: [bold]python -m app[/]")
    machine_line(as_json, snapshot_id=snapshot_id)


@app.command(epilog="Examples: python -m engine demo · python -m engine demo --no-serve --workspace /tmp/demo")
def demo(
    workspace: Workspace,
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
            from engine import pipeline

            pipeline.project(workspace, runs[-1], watcher)
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


@app.command(
    epilog="Examples: python -m engine ablate · python -m engine ablate --methods none,dsirm,tiger --seeds 5 · "
    "python -m engine ablate --ladder all --preset demo --yes · "
    "python -m engine ablate --methods none,dsirm --set signals.stacks=0"
)
def ablate(
    workspace: Workspace,
    ladder: Annotated[
        str, typer.Option(help="core (none, dsirm, tiger, dsi, rkmeans, category-path, hash) or all methods.")
    ] = "core",
    methods: Annotated[str | None, typer.Option(help="Methods by name, comma-separated, in place of a ladder.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of every method: 0 to this less one.")] = 3,
    preset_name: PresetName = "default",
    settings: Settings = None,
    catalogue: Annotated[str | None, typer.Option(help="Fingerprint (or its start); the newest by default.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default="2, or 1 on one core",
            help="Runs trained at once. Training takes one thread, so one run leaves a core idle; each needs its memory.",
        ),
    ] = None,
    publish: Annotated[bool, typer.Option(help="Publish the runs and the table at the end.")] = True,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Start without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Train methods x seeds side by side and compare them in one table; a stopped ablation goes on where it was."""
    from engine.ablation import plan as planning
    from engine.ablation import report

    names = planning.methods_of(methods, ladder)
    fingerprint = chosen_catalogue(workspace, catalogue)
    with resumable():
        with console.ConsoleWatcher() as watcher, watcher.step("Loading the libraries (10 s the first time)"):
            from engine import pipeline
            from engine.ablation.ablate import conclude, encode_once, trainable
            from engine.ablation.workers import run_jobs

        chosen = trainable(workspace, fingerprint, preset_name, names, settings or ())
        for reason in chosen.skipped:
            say(console.escape(reason))
        plan = planning.make_plan(
            workspace, fingerprint, preset_name, chosen.methods, seeds, pipeline.versions, settings or ()
        )._replace(skipped=chosen.skipped)
        costs = planning.Costs.read(workspace, fingerprint, preset_name)
        # of all runs and not of those to do: one that goes on alone takes the threads it began with, and gives equal numbers
        count = min(workers or planning.default_workers(), len(plan.jobs))
        _show_section(report.plan_section(plan, costs))
        say(report.plan_sentence(plan, costs, min(count, max(len(plan.todo), 1))))
        if plan.todo and not yes and console.out.is_terminal and sys.stdin.isatty():
            typer.confirm("Start?", default=True, abort=True)
        with console.ConsoleWatcher() as watcher:
            encode_once(plan, watcher)
        with console.Board() as board:
            outcomes = run_jobs(
                plan, costs, workers=count, watch=lambda now: board.show(report.standing_lines(now)), cwd=ROOT
            )
        failed = [outcome for outcome in outcomes if not outcome.ok]
        for outcome in failed:
            console.fail("\n".join(report.failure_lines(outcome)))
        with console.ConsoleWatcher() as watcher, watcher.step("Comparing the methods") as progress:
            done = conclude(plan, outcomes, progress)
        for section in report.sections(done.tables.ladder, done.tables.comparisons):
            _show_section(section)
        say(f"Written to [bold]{console.escape(str(plan.folder))}[/]: ladder.md, ladder.parquet, comparisons.parquet.")
        snapshot_id = _publish(workspace, done.run_ids) if publish and not failed else None
        if failed:
            say("Nothing is published. Run the same command again: only what failed is trained.")
    machine_line(
        as_json, folder=plan.folder, runs=done.run_ids, snapshot_id=snapshot_id,
        failed=[{"run_id": o.job.run_id, "reason": o.reason, "log": o.log} for o in failed],
        **{name: json.loads(frame.to_json(orient="records")) for name, frame in
           (("ladder", done.tables.ladder), ("comparisons", done.tables.comparisons))},
    )  # fmt: skip
    if failed:
        raise typer.Exit(1)


@app.command(epilog="Example: python -m engine status")
def status(workspace: Workspace, as_json: Json = False) -> None:
    """What the workspace holds: catalogues, runs, snapshots."""
    from engine.datasets.ingest import list_catalogues
    from engine.runs import list_runs
    from engine.store.snapshot import current_id, list_snapshots

    catalogues = list_catalogues(workspace)
    snapshots = list_snapshots(workspace)
    size = sum(f.stat().st_size for f in workspace.rglob("*") if f.is_file()) / 1e6 if workspace.is_dir() else 0.0
    found = list_runs(workspace)
    held = (("catalogue", catalogues), ("run", found), ("snapshot", snapshots))
    counted = ", ".join(f"{len(many)} {name}{'' if len(many) == 1 else 's'}" for name, many in held)
    say(f"Workspace {escape(str(workspace))}: {counted}, {size:,.0f} MB")
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
        do = "publish" if any(run.finished for run in found) else "train" if len(catalogues) else "demo"
        say(f"Nothing is published yet: [bold]python -m engine {do}[/]")
    machine_line(
        as_json, workspace=str(workspace), current=current_id(workspace), snapshots=[s.snapshot_id for s in snapshots]
    )


@app.command(epilog="Example: python -m engine runs --json")
def runs(workspace: Workspace, as_json: Json = False) -> None:
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


@app.command(
    "report",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    epilog="Examples: python -m engine report --out audit.html --base RUN --csv tables · "
    'python -m engine report --of "seller=NAME" --out answer.html',
)
def report(context: typer.Context) -> None:
    """The audit of a run, or the answer to one seller, as an HTML file that prints on A4; --help lists the options."""
    raise typer.Exit(
        subprocess.run([sys.executable, "-m", "app.report", *context.args], cwd=Path.cwd(), env=_with_root()).returncode
    )


def _with_root() -> dict[str, str]:
    """The environment of a process that finds this package's neighbours from any folder."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {"STREAMLIT_LOGGER_LEVEL": "error", **os.environ, "PYTHONPATH": path}


def _train(
    workspace: Path, fingerprint: str, config: Config, watcher: console.ConsoleWatcher, *, project: bool,
    place: OnRay | None = None,
) -> str:  # fmt: skip
    with watcher.step("Loading the libraries (10 s the first time)"):
        from engine import pipeline

    say(f"[bold]{config.method}[/] · preset {config.preset} · seed {config.seed}")
    run = pipeline.train(workspace, fingerprint, config, watcher, place)
    say(f"  Run [bold]{run.run_id}[/] is finished.")
    if project and config.method != "none":
        pipeline.project(workspace, run.run_id, watcher)
    return run.run_id


def _publish(workspace: Path, run_ids: list[str]) -> str:
    from engine import pipeline

    snapshot_id = pipeline.publish(workspace, run_ids)
    say(f"Published [bold]{snapshot_id}[/].")
    return snapshot_id


def _serve(workspace: Path, port: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, VARIABLE: str(workspace.resolve())}
    return subprocess.Popen([sys.executable, "-m", "app", "--port", str(port)], cwd=ROOT, env=environment)


def _show_section(section: Section) -> None:
    table(section.title, section.columns, section.rows, right=section.columns[1:])
    if section.note:
        say(f"[dim]{console.escape(section.note)}[/]")
    say("")


def _show_metrics(workspace: Path, run_id: str) -> None:
    import pandas as pd

    measured = workspace / "runs" / run_id / "tables" / "metrics.parquet"
    if measured.is_file():  # not without judgments: the notes say so
        frame = pd.read_parquet(measured)
        chosen = frame[(frame["segment"] == "all") & frame["metric"].str.contains(r"\.auc$|\.ndcg@10$|hit@")]
        table(
            "Test queries", ["metric", "value", "95 % interval", "n"],
            [(m.metric, m.value, f"[{m.low:.3f}, {m.high:.3f}]", m.n) for m in chosen.itertuples()], right=["value", "n"],
        )  # fmt: skip
    manifest = json.loads((workspace / "runs" / run_id / "run.json").read_text(encoding="utf-8"))
    for note in manifest["notes"]:
        say(f"[dim]{console.escape(note)}[/]")
