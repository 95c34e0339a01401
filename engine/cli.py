"""Commands: parse, build, run, report. The only prints, and the only catch of EngineError.

python -m engine demo
python -m engine --help
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine import console
from engine.config import METHODS, PRESETS, override, preset
from engine.console import machine_line, say, table
from engine.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from engine.ablation.report import Section
    from engine.datasets.ingest import Report
    from engine.inference import LiveRun
    from engine.labeling.agreement import Interval
    from engine.labeling.report import Report as AgreementReport

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
Adapter = Annotated[
    str | None,
    typer.Option(
        help="Layout of the folder, where it is not the contract's: icecat, wands, esci[:us|es|jp[:large]], sid-json."
    ),
]
RunOption = Annotated[str | None, typer.Option("--run", help="Run id; the newest one with SIDs by default.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting of the preset, e.g. --set generator.kind=full; may be repeated."),
]
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


@app.command(
    "import",
    epilog="Examples: python -m engine import FOLDER · python -m engine import FOLDER --adapter sid-json --no-map",
)
def import_(
    folder: Path,
    workspace: Workspace = DEFAULT_WORKSPACE,
    adapter: Adapter = None,
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
    with resumable(), console.ConsoleWatcher() as watcher:
        with watcher.step("Loading the libraries (10 s the first time)"):
            from engine.importing.run import import_run
        done = import_run(
            folder, workspace, adapter=adapter, max_reject_share=max_rejects, sizes=numbers, embed=project, config=config,
            watcher=watcher,
        )  # fmt: skip
    _show_report(done.report)
    manifest = done.run.manifest()
    for note in manifest["notes"]:
        say(console.escape(note))
    say(f"Run [bold]{done.run.run_id}[/] is finished. Next: [bold]python -m engine publish --run {done.run.run_id}[/]")
    machine_line(as_json, run_id=done.run.run_id, notes=manifest["notes"], **done.report.to_dict())


# ---------------------------------------------------------------------- training


@app.command(
    epilog="Examples: python -m engine train · python -m engine train --method none · python -m engine train --preset paper --seed 1 · python -m engine train --set generator.kind=full --set generator.model=./Qwen3-0.6B"
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
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Train a method on an ingested catalogue; a stopped run goes on where it was."""
    config = override(preset(preset_name, method=method, seed=seed), settings or [])
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


@app.command(
    epilog="Examples: python -m engine ablate · python -m engine ablate --methods none,dsirm,tiger --seeds 5 · "
    "python -m engine ablate --ladder all --preset demo --yes"
)
def ablate(
    workspace: Workspace = DEFAULT_WORKSPACE,
    ladder: Annotated[str, typer.Option(help="core (none, dsirm, tiger, dsi, rkmeans) or all methods.")] = "core",
    methods: Annotated[str | None, typer.Option(help="Methods by name, comma-separated, in place of a ladder.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of every method: 0 to this less one.")] = 3,
    preset_name: PresetName = "default",
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
    fingerprint = _catalogue(workspace, catalogue)
    with resumable():
        with console.ConsoleWatcher() as watcher, watcher.step("Loading the libraries (10 s the first time)"):
            from engine import pipeline
            from engine.ablation.ablate import conclude, encode_once
            from engine.ablation.workers import run_jobs

        plan = planning.make_plan(workspace, fingerprint, preset_name, names, seeds, pipeline.versions)
        costs = planning.Costs.read(workspace, fingerprint, preset_name)
        count = min(workers or planning.default_workers(), max(len(plan.todo), 1))
        _show_section(report.plan_section(plan, costs))
        say(report.plan_sentence(plan, costs, count))
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


# ---------------------------------------------------------------------- labels


@app.command(
    epilog="Example: python -m engine judge --endpoint http://127.0.0.1:8000/v1 --model Qwen/Qwen3-30B-A3B --sample 500"
)
def judge(
    endpoint: Annotated[str, typer.Option(help="OpenAI-compatible address, up to /v1.")],
    model: Annotated[str, typer.Option(help="Model, as the endpoint names it.")],
    workspace: Workspace = DEFAULT_WORKSPACE,
    catalogue: Annotated[str | None, typer.Option(help="Fingerprint (or its start); the newest by default.")] = None,
    key_env: Annotated[str | None, typer.Option(help="Environment variable that holds the API key.")] = None,
    pairs: Annotated[
        str, typer.Option(help="judged (pairs that people judged, for agreement) or retrieved (new labels).")
    ] = "judged",
    split: Annotated[str | None, typer.Option(help="Of the judged pairs: train, valid or test.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Candidates a query, for retrieved pairs.")] = 20,
    queries: Annotated[str, typer.Option(help="Of log, judged, synthetic, for retrieved pairs.")] = "log,judged",
    sample: Annotated[int | None, typer.Option(min=1, help="Judge a random sample of so many pairs.")] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Ask at most so many pairs now; 0 only reports.")] = None,
    parallel: Annotated[int, typer.Option(help="Requests at once.")] = 8,
    timeout: Annotated[float, typer.Option(help="Seconds until a request counts as lost.")] = 60.0,
    tries: Annotated[int, typer.Option(help="Requests for one answer before it is given up.")] = 6,
    temperature: Annotated[float, typer.Option(help="Of the model.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(help="Of an answer; models that think aloud need more.")] = 512,
    price_in: Annotated[float | None, typer.Option(help="Price of a million tokens sent.")] = None,
    price_out: Annotated[float | None, typer.Option(help="Price of a million tokens received.")] = None,
    grades: Annotated[Path | None, typer.Option(help="TOML file with your own definitions of the grades.")] = None,
    ratings: Annotated[Path | None, typer.Option(help="CSV of individual human ratings, for the ceiling.")] = None,
    retry_failed: Annotated[bool, typer.Option(help="Ask again where no usable answer came.")] = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Print the plan and ask nothing.")] = False,
    export_to: Annotated[Path | None, typer.Option("--export", help="Write the labels as a judgments CSV.")] = None,
    with_human: Annotated[bool, typer.Option(help="Export the catalogue's own judgments with them.")] = False,
    min_human_pairs: Annotated[int, typer.Option(help="Human pairs that agreement must rest on.")] = 100,
    force: Annotated[str | None, typer.Option(help="The reason for exporting without that agreement.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the answers' folder; the model's by default.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Let a language model judge pairs, and measure how far it agrees with people before its labels are used."""
    from engine.datasets.ingest import load
    from engine.labeling import answers as kept
    from engine.labeling import judge as judging
    from engine.labeling import pairs as choosing
    from engine.labeling.endpoint import EndpointSettings
    from engine.labeling.prompt import Prompt
    from engine.labeling.report import export, report, write_agreement

    settings = EndpointSettings(
        url=endpoint, model=model, key_env=key_env, parallel=parallel, timeout=timeout, tries=tries,
        temperature=temperature, max_tokens=max_tokens, seed=seed,
    )  # fmt: skip
    settings.key()
    data = load(workspace, _catalogue(workspace, catalogue))
    top_grade = data.settings.max_grade
    prompt = Prompt.from_file(grades, top_grade) if grades else Prompt.for_scale(top_grade)
    people = choosing.human_judgments(workspace, data)
    rated = choosing.read_ratings(ratings, data) if ratings else choosing.individual_ratings(workspace, data)
    with resumable(), console.ConsoleWatcher() as watcher, watcher.step("Choosing the pairs") as progress:
        chosen = choosing.choose_pairs(
            pairs, workspace, data, people, split=split, top=top, sources=queries, sample=sample, seed=seed,
            progress=progress,
        )  # fmt: skip
    folder = kept.judge_folder(workspace, data.fingerprint, prompt, settings, name)
    prices = judging.Prices(price_in, price_out)
    texts = choosing.PairTexts(data)
    plan = judging.make_plan(
        chosen, texts, prompt, kept.read_answers(folder), limit=limit, retry_failed=retry_failed, prices=prices
    )
    table("Plan", ["what", "value"], judging.plan_rows(plan, prompt, settings, folder, data.settings.name))
    if plan_only:
        machine_line(as_json, folder=str(folder), to_ask=len(plan.pairs), answered=plan.answered)
        return
    kept.write_settings(folder, data.fingerprint, prompt, settings)
    if len(plan.pairs):
        with resumable(), console.remark_bar("Judging", len(plan.pairs)) as show:
            tally = judging.run_plan(
                plan, texts, prompt, settings, folder, prices=prices, watch=lambda t: show(t.done, t.remark())
            )
        say(console.escape(f"Asked {tally.done:,} pairs: {tally.summary()}"))
    answers = kept.read_answers(folder)
    found = report(answers, people, rated, prompt, relevant_grade=data.settings.relevant_grade, seed=seed)
    if found.agreement:
        say(f"Written: {console.escape(str(write_agreement(folder, found, answers)))}")
    _show_agreement(found, model)
    done = None
    if export_to:
        done = export(
            folder, export_to, workspace, data, answers, fewest=min_human_pairs, force=force, with_human=with_human
        )
        say(console.escape(f"Written: {export_to} with {done.sentence()}"))
    machine_line(
        as_json, folder=str(folder), answered=len(answers.usable()), asked=len(plan.pairs),
        agreement=found.agreement.to_dict() if found.agreement else None, exported=done._asdict() if done else None,
    )  # fmt: skip


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


def _sizes(text: str | None) -> tuple[int, ...] | None:
    """'256,256,256' -> (256, 256, 256). Raises ConfigError."""
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--sizes {text}; write codes per level like 256,256,256") from None


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


def _show_agreement(found: AgreementReport, model: str) -> None:
    def cell(m: Interval, percent: bool = False) -> str:
        value = [f"{v:.1%}" if percent else f"{v:.3f}" for v in m]
        return "–" if m.value != m.value else f"{value[0]} [{value[1]}, {value[2]}]"

    if rows := found.rows(model):
        table(
            "Agreement, with 95 % intervals over queries",
            ["who", "pairs", "queries", "same grade", "kappa", "kappa, quadratic", "same side of relevant", "its kappa"],
            [(who, f"{a.n_pairs:,}", a.n_queries, cell(a.percent, True), cell(a.kappa), cell(a.kappa_quadratic),
              cell(a.binary_percent, True), cell(a.binary_kappa)) for who, a in rows],
            right=["pairs", "queries"],
        )  # fmt: skip
    if a := found.agreement:
        names = [str(grade) for grade in a.grades]
        table(
            "Grades of people (rows) and of the judge (columns)", ["", *names, "same grade"],
            [(g, *map(str, line), cell(a.recall[g], True)) for g, line in zip(a.grades, a.confusion.tolist(), strict=True)],
            right=names,
        )  # fmt: skip
    else:
        say(
            "No answered pair was judged by people: measure agreement (--pairs judged) before labels are used to train."
        )
    if not (found.ceiling.between or found.ceiling.left_out):
        say("No human ceiling: it needs pairs rated by two named raters or more (a rater column, or --ratings FILE).")
    elif not found.ceiling_on_answered:
        say("The rows of human raters are taken on all pairs that they rated, answered by the judge or not.")


def _show_section(section: Section) -> None:
    table(section.title, section.columns, section.rows, right=section.columns[1:])
    if section.note:
        say(f"[dim]{console.escape(section.note)}[/]")
    say("")


def _show_metrics(workspace: Path, run_id: str) -> None:
    import pandas as pd

    frame = pd.read_parquet(workspace / "runs" / run_id / "tables" / "metrics.parquet")
    chosen = frame[(frame["segment"] == "all") & frame["metric"].str.endswith((".auc", ".ndcg@10"))]
    table(
        "Test queries", ["metric", "value", "95 % interval", "n"],
        [(m.metric, m.value, f"[{m.low:.3f}, {m.high:.3f}]", m.n) for m in chosen.itertuples()], right=["value", "n"],
    )  # fmt: skip
