"""The command that lets a language model judge pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine import console, leftovers
from engine.cli.options import Json, On, RayAddress, Seed, Workspace, app, chosen_catalogue, chosen_place, resumable
from engine.console import machine_line, say, table

if TYPE_CHECKING:
    from engine.labeling.agreement import Interval
    from engine.labeling.report import Report as AgreementReport


@app.command(
    epilog="Example: python -m engine judge --endpoint http://127.0.0.1:8000/v1 --model Qwen/Qwen3-30B-A3B --sample 500 · python -m engine judge --endpoint http://10.0.0.5:8000/v1 --model Qwen/Qwen3-30B-A3B --pairs retrieved --parallel 256 --on ray --ray-address auto"
)
def judge(
    endpoint: Annotated[str, typer.Option(help="OpenAI-compatible address, up to /v1.")],
    model: Annotated[str, typer.Option(help="Model, as the endpoint names it.")],
    workspace: Workspace,
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
    on: On = "here",
    ray_address: RayAddress = None,
    as_json: Json = False,
) -> None:
    """Let a language model judge pairs, and measure how far it agrees with people before its labels are used."""
    from engine.datasets.ingest import load
    from engine.labeling import answers as kept
    from engine.labeling import judge as judging
    from engine.labeling import pairs as choosing
    from engine.labeling.endpoint import EndpointSettings
    from engine.labeling.prompt import Prompt
    from engine.labeling.report import Terms, export, report, write_agreement

    settings = EndpointSettings(
        url=endpoint, model=model, key_env=key_env, parallel=parallel, timeout=timeout, tries=tries,
        temperature=temperature, max_tokens=max_tokens, seed=seed,
    )  # fmt: skip
    settings.key()
    choice = choosing.Choice(pairs, split, top, queries, sample, seed)
    data = load(workspace, chosen_catalogue(workspace, catalogue))
    top_grade = data.settings.max_grade
    prompt = Prompt.from_file(grades, top_grade) if grades else Prompt.for_scale(top_grade)
    people = choosing.human_judgments(workspace, data)
    rated = choosing.read_ratings(ratings, data) if ratings else choosing.individual_ratings(workspace, data)
    with resumable(), console.ConsoleWatcher() as watcher, watcher.step("Choosing the pairs") as progress:
        chosen = choosing.choose_pairs(choice, workspace, data, people, progress)
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
    leftovers.clear(workspace)
    kept.write_settings(folder, data.fingerprint, prompt, settings)
    graded = None
    if len(plan.pairs):
        place = chosen_place(on, ray_address, 1, None)
        with resumable(), console.remark_bar("Judging", len(plan.pairs)) as show:
            tally = judging.run_plan(
                plan,
                texts,
                prompt,
                settings,
                folder,
                prices=prices,
                watch=lambda t: show(t.done, t.remark()),
                on_ray=place,
            )
        say(console.escape(f"Asked {tally.done:,} pairs: {tally.summary()}"))
        graded = tally.ok
    answers = kept.read_answers(folder)
    found = report(answers, people, rated, prompt, relevant_grade=data.settings.relevant_grade, seed=seed)
    if found.agreement:
        say(f"Written: {console.escape(str(write_agreement(folder, found, answers)))}")
    _show_agreement(found, model)
    done = None
    if export_to:
        done = export(folder, export_to, workspace, data, answers, Terms(min_human_pairs, force, with_human))
        say(console.escape(f"Written: {export_to} with {done.sentence()}"))
    machine_line(
        as_json, folder=str(folder), answered=len(answers.usable()), asked=len(plan.pairs),
        agreement=found.agreement.to_dict() if found.agreement else None, exported=done._asdict() if done else None,
    )  # fmt: skip
    if graded == 0:
        raise typer.Exit(1)


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
