"""The gate's verdict for machines and for people: JSON, JUnit XML, and Markdown for a comment on a pull request."""

from __future__ import annotations

import dataclasses
import re
from typing import Any
from xml.etree import ElementTree

from engine.audit.gate import ALL, FAILED, PASSED, UNDECIDED, Check, Verdict, named
from engine.audit.wording import percent, points
from engine.reporting.gate import Audit, Side

_SIGN = {PASSED: "✅", FAILED: "❌", UNDECIDED: "❔"}
_HEADLINE = {PASSED: "passed", FAILED: "failed", UNDECIDED: "could not be decided"}
_UNWRITABLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML document may hold, escaped or not, and half pairs, which no file may."""


def as_dict(audit: Audit) -> dict[str, Any]:
    """Everything, by name; a number that is not known is None."""
    return {
        "outcome": audit.verdict.outcome,
        "exit_code": audit.verdict.exit_code,
        "sentence": audit.verdict.sentence,
        "run": audit.run._asdict(),
        "baseline": audit.baseline._asdict(),
        "rules": dataclasses.asdict(audit.rules),
        "checks": [check._asdict() for check in audit.verdict.checks],
    }


def as_junit(audit: Audit) -> str:
    """One test case a check: a failure for a regression, an error for what had to be decided and was not, skipped for the
    rest of what could not be decided."""
    verdict = audit.verdict
    must = [check for check in verdict.of(UNDECIDED) if _must(check, audit)]
    counts: dict[str, str] = {
        "tests": str(len(verdict.checks)), "failures": str(len(verdict.of(FAILED))), "errors": str(len(must)),
        "skipped": str(len(verdict.of(UNDECIDED)) - len(must)),
    }  # fmt: skip
    root = ElementTree.Element("testsuites", {"name": "sidelight gate", **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": "sidelight gate", **counts})
    properties = ElementTree.SubElement(suite, "properties")
    for name, text in (("run", audit.run.name), ("baseline", audit.baseline.name), ("outcome", verdict.outcome)):
        ElementTree.SubElement(properties, "property", name=name, value=_writable(text))
    for check in verdict.checks:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"gate.{check.name}", name=_writable(named(check.name, check.segment))
        )
        said = _writable(check.sentence)
        if check.outcome == FAILED:
            ElementTree.SubElement(case, "failure", message=said, type=check.severity).text = said
        elif check.outcome == UNDECIDED:
            ElementTree.SubElement(case, "error" if check in must else "skipped", message=said)
        else:
            ElementTree.SubElement(case, "system-out").text = said
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def as_markdown(audit: Audit) -> str:
    """The outcome first, then what failed, then what could not be said, then all numbers, folded."""
    verdict = audit.verdict
    lines = [
        f"### {_SIGN[verdict.outcome]} Sidelight gate {_HEADLINE[verdict.outcome]}", "",
        f"{_about(audit.run)} against {_about(audit.baseline)}{', pinned' if audit.baseline.pinned else ', **not pinned**'}; "
        f"fails on '{audit.rules.fail_on}'. {_counts(verdict)}", "",
    ]  # fmt: skip
    for title, outcome in (("Worse than the baseline", FAILED), ("Not enough to say", UNDECIDED)):
        if found := verdict.of(outcome):
            lines += [f"**{title}**", "", *(f"- {_SIGN[outcome]} {_markdown(check.sentence)}" for check in found), ""]
    lines += [
        "<details><summary>All checks</summary>",
        "",
        "| | check | now | baseline | change | 95 % interval | n |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [_row(check) for check in verdict.checks]
    return "\n".join([*lines, "", "</details>", ""])


def _must(check: Check, audit: Audit) -> bool:
    return check.name in audit.rules.must_decide and check.segment == ALL


def _counts(verdict: Verdict) -> str:
    counts = ", ".join(f"{len(verdict.of(outcome))} {_HEADLINE[outcome]}" for outcome in (PASSED, FAILED, UNDECIDED))
    return f"{len(verdict.checks)} checks: {counts}."


def _about(side: Side) -> str:
    return f"`{side.run_id}` of `{side.snapshot_id}`"


def _row(check: Check) -> str:
    cells = [_SIGN[check.outcome], _markdown(named(check.name, check.segment))]
    if check.difference is None or check.value is None or check.baseline is None:
        return "| " + " | ".join([*cells, "", "", "", _markdown(check.severity), str(check.n or "")]) + " |"
    assert check.low is not None
    assert check.high is not None
    interval = (
        "counted"
        if check.low == check.high == check.difference
        else f"{100 * check.low:+.2f} to {100 * check.high:+.2f}"
    )
    numbers = [percent(check.value, 2), percent(check.baseline, 2), points(check.difference), interval, f"{check.n:,}"]
    return "| " + " | ".join([*cells, *numbers]) + " |"


def _markdown(text: str) -> str:
    """Words of the catalogue as text: no markup of theirs, no mention of a person, one line."""
    escaped = re.sub(r"([\\`*_\[\]<>|#~$])", r"\\\1", " ".join(_writable(text).split()))
    return re.sub(r"(?<!\w)@", "@\u200b", escaped)


def _writable(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)
