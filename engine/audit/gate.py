"""The gate's decisions: is a run worse than its baseline, and can that be said at all?

Intervals decide, not values. Of a measure that may lose up to a bar,

    failed      the loss reaches the bar, and its whole interval lies beyond what is harmless
    passed      the whole interval lies below the bar
    undecided   everything else: the interval holds a loss that would fail and one that would not, or n is too small

so that few queries never pass for good news. Pure: what is compared is read by `engine/reporting/gate.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from engine.audit.findings import MOST_OF_A_KIND
from engine.audit.gate_config import FAIL_ON, Bars, GateConfig
from engine.audit.severity import ACT, GOOD, NOTE, SEVERITIES, UNKNOWN, WATCH
from engine.audit.wording import counted, percent, points

PASSED, FAILED, UNDECIDED = "passed", "failed", "undecided"
EXIT_CODES = {PASSED: 0, FAILED: 3, UNDECIDED: 4}
"""1 and 2 are the command line's own: an error of the user's, and of usage."""
ALL = "all"
UNNAMED = ("sharing", "health")
"""Kinds of findings whose members have no name that lasts: a retrained codebook numbers its SIDs anew."""
LOWER_IS_BETTER = ("concentration", "harmful_sharing")
NAMES = {
    "ndcg": "nDCG@10",
    "auc": "AUC",
    "item_hit": "Hits of the generator, by item",
    "tail_protection": "Tail categories that are protected",
    "concentration": "Exposure of the ten most seen sellers",
    "utilisation": "Codes in use",
    "harmful_sharing": "Items that share their SID with items unlike them",
}


class Change(NamedTuple):
    """A measure of a run and of its baseline, on the same queries."""

    measure: str  # One of MEASURES.
    segment: str  # 'all', 'tier=tail', 'level 2' ...
    value: float
    baseline: float
    difference: float  # value - baseline, paired.
    low: float
    high: float
    n: int
    of: str = "queries"  # What n counts; 'items': a count over all of them, which has no sampling error.
    why_not: str = ""  # Why it could not be measured; the numbers are NaN then.


class Check(NamedTuple):
    """One thing that was looked at, and what came of it."""

    name: str
    segment: str
    outcome: str
    severity: str  # Of the regression, as findings have it; 'good' where there is none, 'unknown' where nobody can say.
    sentence: str
    value: float | None = None
    baseline: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    bar: float | None = None  # The loss that fails.
    sampled: bool = True  # False: counted over all items, and the interval is the value.


class Verdict(NamedTuple):
    """What the gate says."""

    outcome: str
    sentence: str
    checks: list[Check]

    @property
    def exit_code(self) -> int:
        """0 passed, 3 failed, 4 could not be decided."""
        return EXIT_CODES[self.outcome]

    def of(self, outcome: str) -> list[Check]:
        """The checks that ended so."""
        return [check for check in self.checks if check.outcome == outcome]


def decide(change: Change, bars: Bars, rules: GateConfig) -> Check:
    """Whether a measure fell by more than it may."""
    bar = bars.of(rules.fail_on)
    sampled = change.of != "items"
    told = Check(change.measure, change.segment, UNDECIDED, UNKNOWN, "", n=change.n, bar=bar, sampled=sampled)
    if change.why_not:
        return told._replace(sentence=f"{_name(change)} cannot be compared: {change.why_not}")
    if sampled and change.n < rules.least:
        few = f"{_name(change)} rests on {change.n:,} {change.of} that both have; {rules.least} are needed to say anything"
        return told._replace(sentence=few)
    if not math.isfinite(change.difference):
        return told._replace(sentence=f"{_name(change)} is not defined on the {change.n:,} {change.of} that both have")
    sign = 1.0 if change.measure in LOWER_IS_BETTER else -1.0
    loss = sign * change.difference
    least, most = sorted((sign * change.low, sign * change.high))
    sure = least > bars.harmless
    severity = GOOD if not sure else ACT if loss >= bars.act else WATCH if loss >= bars.watch else NOTE
    outcome = FAILED if sure and loss >= bar else PASSED if most <= bar else UNDECIDED
    interval = f" [{100 * change.low:+.2f}, {100 * change.high:+.2f}]" if sampled else ""
    sentence = (
        f"{_name(change)}: {percent(change.value, 2)}, in the baseline {percent(change.baseline, 2)}; {points(change.difference)}{interval}, "
        f"{change.n:,} {change.of}. {_reason(outcome, loss, sure, bar, rules.fail_on)}"
    )
    return told._replace(
        outcome=outcome, severity=severity if outcome != UNDECIDED else UNKNOWN, sentence=sentence, value=change.value,
        baseline=change.baseline, difference=change.difference, low=change.low, high=change.high,
    )  # fmt: skip


def _name(change: Change) -> str:
    return named(change.measure, change.segment)


def named(measure: str, segment: str) -> str:
    """What is looked at, in words: 'nDCG@10, tail queries'."""
    kind, _, tier = segment.partition("tier=")
    where = segment if not tier else f"queries of {tier} categories" if kind else f"{tier} queries"
    return NAMES.get(measure, "Finding") + ("" if segment == ALL else f", {where}")


def _reason(outcome: str, loss: float, sure: bool, bar: float, fail_on: str) -> str:
    allowed = f"{100 * bar:.2g} pp ('{fail_on}')"
    if outcome == FAILED:
        return f"Worse, for sure, by more than {allowed}." if loss > bar else f"Worse, for sure, by {allowed}."
    if outcome == UNDECIDED:
        return f"Not enough to say: a loss of {allowed} and a harmless one are both inside the interval." if not sure else (
            f"Worse, for sure; whether by {allowed} cannot be said."
        )  # fmt: skip
    return f"Worse, for sure, but by less than {allowed}." if sure else f"No loss of {allowed}."


def decide_findings(now: pd.DataFrame, before: pd.DataFrame, rules: GateConfig) -> list[Check]:
    """A check of every kind of finding: its headline against the baseline's, and members that were none there.

    `now`, `before`: tables `findings`. Severities hold their own intervals (engine/audit/severity.py). A baseline keeps the
    worst three members of a kind: a member counts as new only where it would have been kept, had it been there.
    """
    if now.empty or before.empty:
        which = "this run" if now.empty else "the baseline"
        return [Check("finding", ALL, UNDECIDED, UNKNOWN, f"Findings cannot be compared: {which} has none told")]
    checks = []
    kinds = dict.fromkeys([*now["kind"], *before["kind"]])
    for kind in kinds:
        rows, old = now[now["kind"] == kind], before[before["kind"] == kind]
        head, old_head = _headline(rows), _headline(old)
        if head is None or old_head is None:
            which = "this run" if head is None else "the baseline"
            sentence = f"Finding “{kind}” was not looked for in {which}: nothing to compare"
            checks.append(Check("finding", kind, UNDECIDED, UNKNOWN, sentence))
            continue
        checks.append(_headline_check(kind, head, old_head, rules))
        if kind not in UNNAMED:
            checks += _member_checks(kind, rows[rows["member"] > 0], old[old["member"] > 0], rules)
    return checks


def _member_checks(kind: str, rows: pd.DataFrame, kept: pd.DataFrame, rules: GateConfig) -> list[Check]:
    known = {_key(params): word for params, word in zip(kept["params"], kept["severity"], strict=True)}
    last = kept["severity"].iloc[-1] if len(kept) >= MOST_OF_A_KIND else GOOD
    checks = []
    for row in rows.to_dict("records"):
        was = known.get(_key(row["params"]))
        if _more_urgent(row["severity"], was or last) and _fails(row["severity"], rules):
            what = f"Worse finding, '{row['severity']}' after '{was}'" if was else f"New finding, '{row['severity']}'"
            sentence = f"{what}: {row['title']} ({row['detail']})"
            checks.append(Check("finding", kind, FAILED, row["severity"], sentence))
    return checks


def _headline(rows: pd.DataFrame) -> pd.Series | None:
    heads = rows[rows["member"] == 0]
    return None if heads.empty else heads.iloc[0]


def _headline_check(kind: str, head: pd.Series, before: pd.Series, rules: GateConfig) -> Check:
    now, was = head["severity"], before["severity"]
    told = Check("finding", kind, PASSED, now, f"{head['title']}: '{now}', in the baseline '{was}'")
    if now == UNKNOWN and was != UNKNOWN:
        return told._replace(
            outcome=UNDECIDED, sentence=f"{head['title']}: n is too small to tell, in the baseline it was '{was}'"
        )
    if _more_urgent(now, was) and _fails(now, rules):
        return told._replace(
            outcome=FAILED, sentence=f"{head['title']}: '{now}', in the baseline '{was}' ({before['title']})"
        )
    return told


def _key(params: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(json.loads(params).items()))


def _more_urgent(first: str, second: str) -> bool:
    return SEVERITIES.index(first) < SEVERITIES.index(second)


def _fails(severity: str, rules: GateConfig) -> bool:
    return severity in FAIL_ON[: FAIL_ON.index(rules.fail_on) + 1]


def conclude(checks: Sequence[Check], rules: GateConfig) -> Verdict:
    """One outcome of all checks; what could not be decided is counted aloud whatever the outcome."""
    failed = [check for check in checks if check.outcome == FAILED]
    open_ = [check for check in checks if check.outcome == UNDECIDED]
    must = [check for check in open_ if check.name in rules.must_decide and check.segment == ALL]
    outcome = FAILED if failed else PASSED
    if must and not failed:
        outcome = {"own": UNDECIDED, "fail": FAILED, "pass": PASSED}[rules.undecided]
    said = f"{counted(len(checks), 'check', 'checks')}: {len(checks) - len(failed) - len(open_)} passed, {len(failed)} failed, {len(open_)} could not be decided"
    why = [check.sentence for check in (failed or must)[:1]]
    return Verdict(outcome, ". ".join([said, *why]).rstrip(".") + ".", list(checks))
