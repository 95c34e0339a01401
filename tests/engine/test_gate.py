"""The gate: decisions on numbers worked by hand, and on properties; a file of rules."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from engine.audit.gate import ALL, FAILED, PASSED, UNDECIDED, Change, Check, conclude, decide, decide_findings
from engine.audit.gate_config import MEASURES, Bars, GateConfig, gate_config, level
from engine.audit.severity import ACT, GOOD, NOTE, UNKNOWN, WATCH
from engine.cli import app
from engine.errors import ConfigError
from engine.reporting.gate import read_rules
from tests.conftest import ROOT

BARS = Bars(watch=0.01, act=0.02)
RULES = GateConfig()


def change(
    difference: float, low: float, high: float, *, n: int = 500, measure: str = "ndcg", of: str = "queries"
) -> Change:
    return Change(measure, ALL, 0.9 + difference, 0.9, difference, low, high, n, of)


@pytest.mark.parametrize(
    ("difference", "low", "high", "fail_on", "outcome", "severity"),
    [
        (-0.03, -0.04, -0.02, "act", FAILED, ACT),
        (-0.03, -0.07, 0.01, "act", UNDECIDED, UNKNOWN),  # large, but perhaps nothing
        (-0.015, -0.019, -0.011, "act", PASSED, WATCH),  # sure, and surely below the bar
        (-0.015, -0.019, -0.011, "watch", FAILED, WATCH),
        (-0.015, -0.025, -0.005, "act", UNDECIDED, UNKNOWN),  # sure, but perhaps 2 points
        (-0.001, -0.002, -0.0005, "watch", PASSED, NOTE),
        (-0.001, -0.002, -0.0005, "note", FAILED, NOTE),
        (0.0, 0.0, 0.0, "note", PASSED, GOOD),
        (0.0, -0.001, 0.001, "note", UNDECIDED, UNKNOWN),
        (0.05, 0.03, 0.07, "note", PASSED, GOOD),
        (0.05, -0.03, 0.13, "act", UNDECIDED, UNKNOWN),  # a gain that may be a loss
    ],
)
def test_intervals_decide(
    difference: float, low: float, high: float, fail_on: str, outcome: str, severity: str
) -> None:
    check = decide(change(difference, low, high), BARS, GateConfig(fail_on=fail_on))
    assert (check.outcome, check.severity) == (outcome, severity), check.sentence


def test_where_less_is_better_a_rise_is_the_loss() -> None:
    rise = change(0.03, 0.02, 0.04, measure="harmful_sharing")
    assert decide(rise, BARS, RULES).outcome == FAILED
    assert decide(rise._replace(measure="item_hit"), BARS, RULES).outcome == PASSED


def test_what_is_counted_needs_no_interval_and_few_queries_say_nothing() -> None:
    assert decide(change(-0.019, -0.019, -0.019, n=12, of="items"), BARS, RULES).outcome == PASSED
    few = decide(change(-0.3, -0.4, -0.2, n=29), BARS, RULES)
    assert few.outcome == UNDECIDED
    assert "rests on 29 queries that both have; 30 are needed" in few.sentence
    nan = float("nan")
    absent = decide(Change("auc", ALL, nan, nan, nan, nan, nan, 0, why_not="nobody judged"), BARS, RULES)
    assert (absent.outcome, absent.sentence) == (UNDECIDED, "AUC cannot be compared: nobody judged")


@given(st.floats(-0.1, 0.1), st.floats(0, 0.05), st.floats(0, 0.05), st.floats(0, 0.05))
def test_a_larger_loss_or_wider_interval_never_turns_red_to_green(
    at: float, below: float, above: float, more: float
) -> None:
    first = decide(change(at, at - below, at + above), BARS, RULES).outcome
    lower = decide(change(at - more, at - more - below, at - more + above), BARS, RULES).outcome
    wider = decide(change(at, at - below - more, at + above + more), BARS, RULES).outcome
    order = [PASSED, UNDECIDED, FAILED]
    assert order.index(lower) >= order.index(first)
    assert wider in (first, UNDECIDED)


@given(st.floats(-0.1, 0.1), st.floats(0, 0.05), st.floats(0, 0.05))
def test_a_failure_is_large_and_sure_and_a_pass_excludes_it(at: float, below: float, above: float) -> None:
    check = decide(change(at, at - below, at + above), BARS, RULES)
    if check.outcome == FAILED:
        assert -at >= BARS.act
        assert at + above < 0
    if check.outcome == PASSED:
        assert -(at - below) <= BARS.act


def finding(kind: str, member: int, severity: str, **params: str) -> dict[str, object]:
    return {"kind": kind, "member": member, "severity": severity, "title": f"{kind} {member}", "detail": "d", "params": json.dumps(params)}  # fmt: skip


def findings(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(rows)


def outcomes(now: pd.DataFrame, before: pd.DataFrame, rules: GateConfig = RULES) -> list[tuple[str, str]]:
    return [(check.segment, check.outcome) for check in decide_findings(now, before, rules)]


def test_a_finding_fails_where_it_is_new_or_more_urgent() -> None:
    before = findings(finding("sellers", 0, WATCH), finding("sellers", 1, WATCH, value="Blue"))
    assert outcomes(before, before) == [("sellers", PASSED)]
    worse = findings(finding("sellers", 0, ACT), finding("sellers", 1, ACT, value="Blue"))
    assert outcomes(worse, before) == [("sellers", FAILED), ("sellers", FAILED)]
    assert outcomes(before, worse) == [("sellers", PASSED)]
    other = findings(finding("sellers", 0, WATCH), finding("sellers", 1, WATCH, value="Red"))
    assert outcomes(other, before) == [("sellers", PASSED)]  # below 'act'
    assert outcomes(other, before, GateConfig(fail_on=WATCH)) == [("sellers", PASSED), ("sellers", FAILED)]


def test_a_member_that_the_baseline_may_have_left_out_is_not_new() -> None:
    full = findings(finding("sellers", 0, ACT), *(finding("sellers", n, ACT, value=f"S{n}") for n in (1, 2, 3)))
    other = findings(finding("sellers", 0, ACT), finding("sellers", 1, ACT, value="S9"))
    assert outcomes(other, full) == [("sellers", PASSED)]
    milder = findings(
        finding("sellers", 0, ACT),
        *(finding("sellers", n, s, value=f"S{n}") for n, s in ((1, ACT), (2, ACT), (3, WATCH))),
    )
    assert outcomes(other, milder) == [("sellers", PASSED), ("sellers", FAILED)]


def test_what_was_not_looked_for_is_no_pass() -> None:
    here = findings(finding("sellers", 0, GOOD))
    assert outcomes(here, findings(finding("brands", 0, GOOD))) == [("sellers", UNDECIDED), ("brands", UNDECIDED)]
    assert outcomes(findings(finding("sellers", 0, UNKNOWN)), here) == [("sellers", UNDECIDED)]
    assert outcomes(here, here.iloc[:0]) == [(ALL, UNDECIDED)]
    renamed = findings(finding("sharing", 0, WATCH), finding("sharing", 1, ACT, code="1-2-3"))
    assert outcomes(renamed, findings(finding("sharing", 0, WATCH))) == [("sharing", PASSED)]


def test_one_outcome_of_all() -> None:
    good, bad = Check("auc", ALL, PASSED, GOOD, "fine"), Check("ndcg", "tier=tail", FAILED, ACT, "Tail lost 3 pp")
    open_, aside = (
        Check("ndcg", ALL, UNDECIDED, UNKNOWN, "12 queries"),
        Check("ndcg", "tier=head", UNDECIDED, UNKNOWN, "8 queries"),
    )
    assert conclude([good, aside], RULES).exit_code == 0
    assert "1 could not be decided" in conclude([good, aside], RULES).sentence
    assert conclude([good, open_], RULES).exit_code == 4
    assert "12 queries" in conclude([good, open_], RULES).sentence
    assert conclude([good, open_], GateConfig(undecided="fail")).exit_code == 3
    assert conclude([good, open_], GateConfig(undecided="pass")).exit_code == 0
    assert conclude([good, open_], GateConfig(must_decide=())).exit_code == 0
    red = conclude([good, open_, bad], RULES)
    assert red.exit_code == 3
    assert red.sentence.endswith("Tail lost 3 pp.")


def test_levels_have_the_words_of_others_too() -> None:
    assert [level(word) for word in ("high", "medium", "low", ACT, WATCH, NOTE)] == [ACT, WATCH, NOTE] * 2
    with pytest.raises(ConfigError, match="fail-on 'loud' is unknown; allowed: act, watch, note"):
        level("loud")


def test_a_file_of_rules(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text('[gate]\nfail_on = "high"\nmust_decide = ["auc"]\n[gate.ndcg]\nact = 0.05\n')
    rules = read_rules(file)
    assert (rules.fail_on, rules.must_decide, rules.ndcg) == (ACT, ("auc",), Bars(watch=0.01, act=0.05))
    assert rules.auc == RULES.auc
    assert read_rules(None) == RULES
    assert all(isinstance(getattr(RULES, name), Bars) for name in MEASURES)
    assert len(MEASURES) == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[gate]\nndgc = 1\n", "gate.ndgc is unknown; allowed: fail_on, undecided"),
        ("[gate.ndcg]\nact = 0.001\n", "0 <= harmless <= watch <= act <= 1"),
        ('[gate.ndcg]\nact = "much"\n', "0 <= harmless <= watch <= act <= 1"),
        ("[gate.ndcg]\nworst = 1\n", "a section with harmless, watch, act"),
        ("[gate]\nndcg = 0.1\n", "a section with harmless, watch, act"),
        ('[gate]\nmust_decide = ["speed"]\n', "must_decide names"),
        ("[gate]\nmust_decide = 3\n", "a list of ndcg"),
        ('[gate]\nundecided = "maybe"\n', "allowed: own, fail, pass"),
        ("[gate]\nfail_on = 3\n", "fail-on '3' is unknown"),
        ("[gate]\nleast = 1\n", "whole numbers from 2"),
        ("gate = 3\n", "has no section"),
        ("[gate\n", "cannot be read"),
    ],
)
def test_a_wrong_file_of_rules_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"gate\.toml") as error:
        read_rules(file)
    assert said in str(error.value)


def test_a_section_keeps_the_bars_that_it_does_not_state() -> None:
    assert gate_config({"auc": {"harmless": 0.001}}).auc == Bars(harmless=0.001, watch=0.005, act=0.01)


def test_the_documentation_has_the_rules_and_the_bars() -> None:
    """The file of rules in docs/gate.md is accepted, and its table states the defaults in points."""
    text = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    block = re.search(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    assert block
    rules = gate_config(tomllib.loads(block.group(1))["gate"])
    assert rules.ndcg == Bars(harmless=0.002, watch=0.01, act=0.02)
    for name in MEASURES:
        row = re.search(rf"^\| `{name}`.*\| ([\d.]+) pp \| ([\d.]+) pp \|$", text, flags=re.MULTILINE)
        assert row, name
        bars = getattr(RULES, name)
        assert (float(row.group(1)), float(row.group(2))) == pytest.approx((100 * bars.watch, 100 * bars.act)), name


def test_the_workflow_of_the_documentation_names_options_that_exist() -> None:
    text = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    workflow = text.split("```yaml", 1)[1].split("```", 1)[0]
    command = workflow.split("-m engine audit", 1)[1].split("- name", 1)[0]
    audit = typer.main.get_command(app).commands["audit"]  # type: ignore[attr-defined]
    known = {option for parameter in audit.params for option in parameter.opts}
    used = re.findall(r"--[a-z-]+", command)
    assert len(used) >= 5
    assert set(used) <= known
