"""Commands that ask a trained run: beams, ranking, explanation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine import console
from engine.cli.options import Json, RunOption, Workspace, app
from engine.console import machine_line, say, table
from engine.errors import RunError

if TYPE_CHECKING:
    from engine.answering.live import LiveRun


@app.command(epilog='Example: python -m engine beams "waterproof hiking boots"')
def beams(
    query: str,
    workspace: Workspace,
    run: RunOption = None,
    width: Annotated[int, typer.Option(min=1, max=256, help="Beams K.")] = 5,
    as_json: Json = False,
) -> None:
    """The SIDs predicted for a query, generated live; among those of items assigned later, too."""
    live = _live(workspace, run)
    found, timings = live.beams(query, width=width)
    rows = found.assign(probability=found["log_prob"].map(math.exp)).to_dict("records")
    later = ["generation", "trained on", "assigned"] if found["n_later"].any() else []
    held = [(b["generation"], b["n_items"] - b["n_later"], b["n_later"]) if later else () for b in rows]
    table(
        f"Beams of “{query}” (run {live.run_id})", ["rank", "sid", "probability", "items", *later, "label"],
        [(b["rank"], b["sid"], f"{b['probability']:.1%}", b["n_items"], *own, live.label(b["sid"]))
         for b, own in zip(rows, held, strict=True)],
        right=["rank", "probability", "items", *later],
    )  # fmt: skip
    _timings(timings)
    machine_line(as_json, run_id=live.run_id, query=query, beams=found.to_dict("records"), timings_ms=timings)


@app.command(epilog='Example: python -m engine score "waterproof hiking boots" --top 20')
def score(
    query: str,
    workspace: Workspace,
    run: RunOption = None,
    top: Annotated[int, typer.Option(min=1, help="Items shown.")] = 20,
    as_json: Json = False,
) -> None:
    """The ranking of a query with and without SIDs, computed live."""
    live = _live(workspace, run)
    result = live.query(query)
    if result.scores is None:
        raise RunError(f"Run '{live.run_id}' has no ranker. {live.lacks['judgments']}")
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
def explain(query: str, item: str, workspace: Workspace, run: RunOption = None, as_json: Json = False) -> None:
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


def _live(workspace: Path, run: str | None) -> LiveRun:
    from engine.answering.live import LiveRun, newest_run

    with console.ConsoleWatcher() as watcher, watcher.step("Loading the model"):
        return LiveRun.load(workspace, run or newest_run(workspace))


def _timings(timings: dict[str, float]) -> None:
    say("  ".join(f"{name} {value:,.1f} ms" for name, value in timings.items()))
