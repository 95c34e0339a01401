"""Whether a run would pass the gate with another run as its baseline, in sentences that the report and its page share.

`python -m engine audit` decides (docs/gate.md) and is asked, in a process of its own: the app does not import what reads its measures.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from app import text
from app.command import answered
from engine.audit.gate import FAILED, NAMES, PASSED, UNDECIDED, Check, Verdict, named
from engine.audit.gate_config import MEASURES, Bars, GateConfig, gate_config

LONGEST = 600
"""Seconds that the gate may take."""
REASONS = 5
"""Told beside the first one; the table has every check."""
_OUTCOMES = {FAILED: "failed", UNDECIDED: "could not be decided", PASSED: "passed"}
_ANSWERS = {FAILED: "No, it fails", UNDECIDED: "It could not be decided", PASSED: "Yes, it passes"}


class Audit(NamedTuple):
    """What the gate said, or why it said nothing."""

    command: str
    """What asks it from a shell."""
    verdict: Verdict | None
    rules: GateConfig
    rules_of: str
    """The file that states them; '' for the defaults."""
    baseline: str
    pinned: bool
    refused: str


def ask(workspace: Path, run: tuple[str, str], base: tuple[str, str], rules: Path | None = None) -> Audit:
    """Hold a run against another; both as (snapshot, run). `rules`: a TOML file with a section [gate]."""
    asked = ["audit", "--baseline", ":".join(base), "--snapshot", run[0], "--run", run[1]]
    chosen = ["--config", str(rules)] if rules else []
    exact = ["--config", str(rules.absolute())] if rules else []
    place = str(workspace.absolute())
    found, refused = answered(*asked, *exact, "--workspace", place, longest=LONGEST)
    verdict = None
    if found:
        checks = [Check(**check) for check in found["checks"]]
        verdict = Verdict(found["outcome"], found["sentence"], checks)
    return Audit(
        shlex.join(["python", "-m", "engine", *asked, *chosen]), verdict,
        gate_config(found["rules"]) if found else GateConfig(), str(rules or ""), f"{base[1]} of {base[0]}",
        bool(found and found["baseline"]["pinned"]), refused.replace(place, "WORKSPACE"),
    )  # fmt: skip


def lines(audit: Audit) -> list[str]:
    """The answer, its reasons, what it was held against and by which bars."""
    verdict = audit.verdict
    if verdict is None:
        return [text.one_line(f"It cannot be told whether the gate would pass: {audit.refused.rstrip('.')}.")]
    said = [f"{_ANSWERS[verdict.outcome]}. {verdict.sentence}"]
    others = verdict.of(FAILED)[1:]
    said += [f"{check.sentence.rstrip('.')}." for check in others[:REASONS]]
    if len(others) > REASONS:
        said.append(
            f"{text.plural(len(others) - REASONS, 'more check', 'more checks')} failed; the report's table has them all."
        )
    kept = "pinned" if audit.pinned else "not pinned, so it may be pruned"
    return [text.one_line(line) for line in (
        *said, f"The baseline is {audit.baseline}, {kept}.", _bars(audit), _rests(audit.rules),
        f"The same from a shell, with exit code {verdict.exit_code}: {audit.command}",
    )]  # fmt: skip


def _bars(audit: Audit) -> str:
    rules = audit.rules
    told = text.listed([f"{NAMES[name]} {_points(_of(rules, name).of(rules.fail_on))}" for name in MEASURES])
    whose = f"the rules in {audit.rules_of}" if audit.rules_of else "the gate's default rules (docs/gate.md)"
    more = f"; a finding that is new or more urgent fails at '{rules.fail_on}'" if rules.findings else ""
    return f"By {whose} it fails at '{rules.fail_on}', a loss that is sure and reaches its bar: {told}{more}."


def _of(rules: GateConfig, measure: str) -> Bars:
    bars: Bars = getattr(rules, measure)
    return bars


def _rests(rules: GateConfig) -> str:
    must = text.listed([NAMES[name] for name in rules.must_decide])
    kind = {"own": "else the gate is undecided", "fail": "else it fails", "pass": "but it passes where they are not"}[
        rules.undecided
    ]
    decided = f"; {must} over all queries must be decided, {kind}" if must else ""
    return f"Intervals are of 95 %, by {rules.resamples:,} resamples; a check must rest on {rules.least} queries or more{decided}."


def _points(bar: float) -> str:
    return f"{100 * bar:.2g} pp"


def rows(audit: Audit) -> pd.DataFrame:
    """Every check, what failed first: the columns of `engine.audit.gate.Check`, outcome and bar in words too."""
    checks = audit.verdict.checks if audit.verdict else []
    ordered = sorted(checks, key=lambda check: list(_OUTCOMES).index(check.outcome))
    found = pd.DataFrame(ordered, columns=list(Check._fields))
    return found.assign(
        said=[_OUTCOMES[check.outcome] for check in ordered],
        what=[named(check.name, check.segment) if check.name in NAMES else "Finding" for check in ordered],
        allowed=["" if check.bar is None else _points(check.bar) for check in ordered],
    )
